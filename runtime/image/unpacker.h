/* teal-unpack, from outside: a child that turns one archive into one directory tree. What it says of the
 * archive is to be compared with what the archive should be before the tree is used. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"
#include "runtime/image/job.h"

struct unpack_sum {
	char digest[DIGEST_LEN];  /* of the archive as it is */
	char diff_id[DIGEST_LEN]; /* decompressed */
	uint64_t size;		  /* of the archive */
	uint64_t bytes, entries;  /* of the files in it */
	uint64_t left_out;	  /* device nodes and attributes that no container gets */
};

/* tree_fd: an empty directory. layer: whiteouts become marks, see layer_marks.h. -ECANCELED leaves the tree
 * half made, as every failure does. */
int unpacker_run(const char *program, int archive_fd, int tree_fd, bool layer, const struct image_job *job,
	struct unpack_sum *ret, struct err *err);
