#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "prober.h"

static const char *const PATHS[] = {
	/* masked */
	"/proc/acpi",
	"/proc/asound",
	"/proc/interrupts",
	"/proc/kcore",
	"/proc/keys",
	"/proc/latency_stats",
	"/proc/sched_debug",
	"/proc/scsi",
	"/proc/timer_list",
	"/proc/timer_stats",
	"/sys/firmware",
	"/sys/devices/virtual/powercap",
	"/sys/devices/system/cpu/cpu0/thermal_throttle",
	/* of the whole host: to be read at most */
	"/proc/bus",
	"/proc/fs",
	"/proc/irq",
	"/proc/irq/default_smp_affinity",
	"/proc/sysrq-trigger",
	"/proc/sys/kernel/core_pattern",
	"/proc/sys/kernel/modprobe",
	"/proc/sys/kernel/hostname",
	"/proc/sys/kernel/panic",
	"/proc/sys/kernel/sysrq",
	"/proc/sys/kernel/yama/ptrace_scope",
	"/proc/sys/kernel/randomize_va_space",
	"/proc/sys/vm/drop_caches",
	"/proc/sys/vm/panic_on_oom",
	"/proc/sys/vm/overcommit_memory",
	"/proc/sys/fs/file-max",
	"/proc/sys/fs/suid_dumpable",
	"/proc/sys/net/ipv4/ip_forward",
	"/proc/sys/fs/binfmt_misc/register",
	"/proc/kmsg",
	"/proc/mtrr",
	"/proc/kpagecount",
	"/proc/kpageflags",
	"/proc/kallsyms",
	"/proc/sys/kernel/kexec_load_disabled",
	"/sys/kernel/uevent_helper",
	"/sys/kernel/mm/transparent_hugepage/enabled",
	"/sys/power/state",
	"/sys/kernel/profiling",
	"/sys/class",
	"/sys/fs/cgroup",
	"/sys/fs/cgroup/cgroup.procs",
	"/sys/fs/cgroup/release_agent",
	"/sys/kernel/debug",
	"/sys/kernel/security",
	"/sys/kernel/tracing",
	"/sys/fs/bpf",
	"/sys/module",
	"/sys/kernel/vmcoreinfo",
	/* another process: what runs as pid 1 */
	"/proc/1/environ",
	"/proc/1/mem",
	"/proc/1/exe",
	"/proc/1/fd",
	"/proc/1/root",
	"/proc/1/cwd",
	"/proc/1/maps",
	"/proc/self/exe",
	"/proc/self/oom_score_adj",
	"/proc/self/loginuid",
	/* devices that no container gets */
	"/dev/mem",
	"/dev/kmem",
	"/dev/kmsg",
	"/dev/port",
	"/dev/kvm",
	"/dev/fuse",
	"/dev/net/tun",
	"/dev/loop0",
	"/dev/loop-control",
	"/dev/mapper/control",
	"/dev/sda",
	"/dev/vda",
	"/dev/nvme0",
	"/dev/console",
	"/dev/cpu/0/msr",
	"/dev/vhost-vsock",
	"/dev/uinput",
	"/dev/rtc0",
	"/dev/hpet",
	"/dev/vfio/vfio",
	"/dev/userfaultfd",
	"/dev/tty0",
	"/dev/tty1",
	"/dev/ptmx",
	"/dev/tty",
	"/dev/null",
	"/dev/zero",
	"/dev/full",
	"/dev/random",
	"/dev/urandom",
	/* files */
	"/",
	"/etc/passwd",
	"/etc/hosts",
	"/etc/resolv.conf",
	"/tmp",
	"/run",
	"/dev",
	"/dev/shm",
	"/dev/mqueue",
};

static const char *try_read(const char *path)
{
	static char text[16];
	char byte;
	struct stat st;
	if (stat(path, &st) < 0)
		return outcome(-1);
	if (S_ISDIR(st.st_mode)) {
		DIR *d = opendir(path);
		if (!d)
			return outcome(-1);
		int n = 0;
		for (struct dirent *e; (e = readdir(d));)
			n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
		closedir(d);
		return n ? "entries" : "empty";
	}
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return outcome(-1);
	ssize_t n = read(fd, &byte, 1);
	snprintf(text, sizeof text, n > 0 ? "bytes" : n == 0 ? "empty" : "E%d", errno);
	close(fd);
	return text;
}

/* A file in a directory, or the file itself opened for writing: nothing is written. */
static const char *try_write(const char *path)
{
	struct stat st;
	char name[128];
	if (stat(path, &st) < 0)
		return outcome(-1);
	snprintf(name, sizeof name, S_ISDIR(st.st_mode) ? "%s/prober" : "%s", path);
	int fd = open(name,
		S_ISDIR(st.st_mode) ? O_WRONLY | O_CREAT | O_EXCL : O_WRONLY | O_NONBLOCK | O_NOCTTY, 0600);
	const char *is = outcome(fd);
	if (fd >= 0)
		close(fd);
	if (fd >= 0 && S_ISDIR(st.st_mode))
		unlink(name);
	return is;
}

static void tell_devices(void)
{
	char text[300];
	DIR *d = opendir("/dev");
	for (struct dirent *e; d && (e = readdir(d));) {
		struct stat st;
		if (e->d_name[0] == '.' || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		snprintf(text, sizeof text, "%s %u:%u",
			S_ISCHR(st.st_mode)   ? "char"
			: S_ISBLK(st.st_mode) ? "block"
			: S_ISLNK(st.st_mode) ? "link"
					      : "other",
			major(st.st_rdev), minor(st.st_rdev));
		say(text, "dev.%s", e->d_name);
	}
	if (d)
		closedir(d);
}

/* A node made and opened would be the device itself. */
static const char *try_node(mode_t type, unsigned major_number)
{
	const char *path = "/tmp/prober-node";
	const char *is = outcome(mknod(path, type | 0600, makedev(major_number, 0)));
	if (strcmp(is, "ok") != 0)
		return is;
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	is = fd < 0 ? "made" : "opened";
	if (fd >= 0)
		close(fd);
	unlink(path);
	return is;
}

static void tell_descriptors(void)
{
	char list[256] = "", target[128];
	for (int fd = 0; fd < 4096; fd++) {
		char path[64];
		if (fcntl(fd, F_GETFD) < 0)
			continue;
		snprintf(list + strlen(list), sizeof list - strlen(list), "%s%d", *list ? "," : "", fd);
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		ssize_t n = readlink(path, target, sizeof target - 1);
		target[n > 0 ? n : 0] = '\0';
		say(target, "fd.%d", fd);
	}
	say(list, "fds");
}

void probe_paths(void)
{
	tell_descriptors();
	for (size_t i = 0; i < sizeof PATHS / sizeof *PATHS; i++) {
		say(try_read(PATHS[i]), "read.%s", PATHS[i]);
		say(try_write(PATHS[i]), "write.%s", PATHS[i]);
	}
	tell_devices();
	for (unsigned i = 0; i < 256; i++) {
		say(try_node(S_IFCHR, i), "node.char.%u", i);
		say(try_node(S_IFBLK, i), "node.block.%u", i);
	}
}
