/* Owned resources: acquire into OWN_*, hand over with TAKE_*. What is not handed over is
 * released at the end of the scope, so that no function needs a ladder of gotos. */
#pragma once
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void own_free(void *p)
{
	free(*(void **)p);
}
static inline void own_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}
static inline void own_closedir(DIR **d)
{
	if (*d)
		closedir(*d);
}
static inline void own_fclose(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define OWN(fn)	 __attribute__((cleanup(fn)))
#define OWN_FREE OWN(own_free)
#define OWN_FD	 OWN(own_close)
#define OWN_DIR	 OWN(own_closedir)
#define OWN_FILE OWN(own_fclose)

#define TAKE_PTR(p)                                                                                          \
	__extension__({                                                                                      \
		__typeof__(p) _t = (p);                                                                      \
		(p) = NULL;                                                                                  \
		_t;                                                                                          \
	})
#define TAKE_FD(fd)                                                                                          \
	__extension__({                                                                                      \
		int _t = (fd);                                                                               \
		(fd) = -1;                                                                                   \
		_t;                                                                                          \
	})

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
/* The struct that holds this member: for callbacks that get a pointer to a member. */
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
