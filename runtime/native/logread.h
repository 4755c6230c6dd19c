/* Reads the rotated log of one replica, oldest file first, as the shim writes it (CRI format). Blocking. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

struct log_cursor {
	char *dir, *name; /* "…/logs/web/7", "1.log" */
	int fd;		  /* the file being read; -1: none yet */
	off_t offset;	  /* of the first byte not read yet */
};

int log_cursor_open(const char *dir, const char *name, struct log_cursor *ret);
void log_cursor_done(struct log_cursor *c);
/* Goes to where at most `lines` whole lines follow (UINT32_MAX: to the beginning of the oldest file). */
int log_cursor_seek_tail(struct log_cursor *c, uint32_t lines);
/* Reads whole records into out (emptied first), over file ends; an empty out means there are no more now. */
int log_cursor_read(struct log_cursor *c, struct buf *out);

struct log_record {
	int64_t at_ms;
	const char *stream; /* "stdout" | "stderr" */
	bool partial;	    /* the line goes on in this stream's next record */
	const char *text;
	size_t len;
};
/* One record without its newline; false if it is not one. */
bool log_record_parse(const char *text, size_t len, struct log_record *ret);
