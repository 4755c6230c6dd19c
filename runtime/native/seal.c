#include "runtime/native/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "base/own.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

/* Above the few numbers that a new process gives its own descriptors. */
#define LEAST_FD 64

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static int new_memory(void)
{
	int fd = memfd_create("teal-shim", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	if (fd < 0 && errno == EINVAL) /* Linux before 6.3 has no such flag: all are executable */
		fd = memfd_create("teal-shim", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd;
}

int seal_program(const char *path, int *ret_fd, struct err *err)
{
	struct stat st;
	OWN_FD int file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0 || fstat(file, &st) < 0)
		return err_set(err, errno, "open %s", path);
	OWN_FD int memory = new_memory();
	if (memory < 0)
		return err_set(err, errno, "copy %s", path);
	for (off_t done = 0; done < st.st_size;) {
		ssize_t n = sendfile(memory, file, NULL, (size_t)(st.st_size - done));
		if (n <= 0)
			return err_set(err, n < 0 ? errno : EIO, "copy %s", path);
		done += n;
	}
	int fd = fcntl(memory, F_DUPFD_CLOEXEC, LEAST_FD);
	if (fd < 0)
		return err_set(err, errno, "copy %s", path);
	if (fchmod(fd, 0555) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0) {
		int code = errno;
		close(fd);
		return err_set(err, code, "seal the copy of %s", path);
	}
	*ret_fd = fd;
	return 0;
}
