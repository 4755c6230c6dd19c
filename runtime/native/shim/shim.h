/* teal-shim: parent of one container's init. It sets the container up step by step, then keeps its output and
 * records how it ended. Small and static, because there is one per container.
 *
 * Two processes work through a table of steps each: the shim (host side: identity, cgroup, rootfs, veth) and
 * its child, which becomes the container's pid 1 (inside: mounts, pivot, network, confinement). The shim
 * hands descriptors of detached mounts to the child, which never opens a path of the host. */
#pragma once
#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fdpass.h"
#include "runtime/native/bundle.h"

enum { NS_USER, NS_MOUNT, NS_PID, NS_IPC, NS_UTS, NS_NET, NS_CGROUP, NS_TIME, NS_COUNT };

struct id_map {
	uint32_t inside, outside, size;
};

struct mount_spec {
	char *target, *type, *source; /* target: absolute, in the container */
	char **options;
	bool mapped; /* a bind whose owners are those of the user namespace */
};

struct device_spec {
	char *path; /* on the host and inside */
	bool block;
	unsigned major, minor;
};

struct secret_spec {
	char *name, *file;
	struct buf value; /* until it is in the container */
};

struct rlimit_spec {
	int resource;
	struct rlimit limit;
};

/* config.json, typed: only what the shim acts on. */
struct shim_config {
	char *id, *root, *hostname, *cwd;
	bool root_readonly, no_new_privs, has_seccomp;
	char **argv, **env;
	uint32_t uid, gid, umask;
	gid_t *groups;
	size_t n_groups;
	uint64_t caps; /* bit n = capability n: bounding, permitted and effective */
	bool ns[NS_COUNT];
	struct id_map uid_map, gid_map; /* size 0: none */
	struct mount_spec *mounts;
	size_t n_mounts;
	struct device_spec *devices;
	size_t n_devices;
	struct secret_spec *secrets;
	size_t n_secrets;
	int oom_score_adj;
	struct rlimit_spec *rlimits;
	size_t n_rlimits;
	char **sysctls; /* "net/ipv4/ip_unprivileged_port_start=0" */
	char **masked, **readonly;
	char **cgroups;
	char *address, *gateway, *bridge, *veth;
	char *log;
	uint64_t log_max_size;
	uint32_t log_max_files;
};

/* Reads config.json of the bundle. Unknown namespaces, capabilities, rlimits and sysctls are refused, not
 * skipped. */
int shim_config_read(int bundle_fd, struct shim_config *ret, struct err *err);
void shim_config_done(struct shim_config *c);

/* What init leaves for the shim in a page they share, so that no descriptor stays open inside. */
struct shim_shared {
	int ended; /* the application ended by itself; wstatus is valid */
	int wstatus;
};

#define GROUP_MAX 16
struct group_set {
	int v2;		      /* directory to be born into (CLONE_INTO_CGROUP), or -1 */
	int tasks[GROUP_MAX]; /* v1: to be written by the child itself */
	unsigned n_tasks;
};

struct output;

struct shim {
	const char *bundle_path;
	int bundle_fd, status_fd, root_fd;
	struct shim_config config;
	struct sock_filter *filter;
	size_t n_filter;
	struct shim_shared *shared;
	pid_t init;
	struct group_set group;
	int init_pidfd, sock;  /* sock: to init, until exec */
	struct output *output; /* NULL: no log, the container writes to the shim's own */
	int out[2], err[2];    /* the container's stdout and stderr; [0] ours */
	uint64_t init_start_time;
	int64_t started_ms;
	char *args; /* our own argv in memory, for the name that ps shows */
	size_t args_len;
	/* In the child: what came over the socket. */
	int mounts[FDPASS_MAX];
	unsigned n_mounts;
};

/* Order of the descriptors that INIT_MOUNTS carries. */
enum { MOUNTS_ROOT = 0, MOUNTS_DEV = 1, MOUNTS_BIND = MOUNTS_DEV + 6 };

/* A step either works or says why; the text is complete ("mount /proc: Operation not permitted"). */
struct shim_step {
	const char *name;
	int (*run)(struct shim *s, struct err *err);
};
/* Runs the table; 0, or the failed step's error with its row in *ret_step. */
int shim_run_steps(const struct shim_step *steps, unsigned n, struct shim *s, int *ret_step, struct err *err);

/* Messages over the socket to init: the mounts first, then the go for the network. */
#define INIT_MOUNTS  'm'
#define INIT_NETWORK 'n'

/* Opens the bundle, reads its configuration and its compiled filter. */
int shim_read_bundle(struct shim *s, struct err *err);

/* root.c: a detached mount of the container's root, idmapped, read-only or with a writable layer. */
int root_prepare(struct shim *s, int userns_fd, int *ret_mount, struct err *err);
/* tree.c: detached mounts of host paths (bind mounts, device nodes) for the child to attach. */
int tree_clone(int dirfd, const char *path, unsigned flags, int *ret_mount, struct err *err);
int tree_idmap(int mount_fd, int userns_fd, struct err *err);
int tree_new(const char *type, char *const *options, uint64_t attributes, int *ret_mount, struct err *err);
int tree_attach(int mount_fd, int target_fd, const char *what, struct err *err);
int tree_set(int mount_fd, uint64_t attributes, bool recursive, struct err *err);
/* Splits OCI mount options into mount attributes and the file system's own; `recursive` is set for rbind. */
int tree_options(char *const *options, uint64_t *ret_attributes, char ***ret_own, bool *ret_recursive);
/* Opens path below root, symlinks resolved inside it, as O_PATH. */
int tree_resolve(int root_fd, const char *path, int *ret);

/* dev.c: the devices of a container, by name and number. */
#define DEV_COUNT 6
int dev_clone(int ret_mounts[DEV_COUNT], struct err *err);
int dev_populate(int root_fd, const int mounts[DEV_COUNT], struct err *err);
/* The same for those that the spec lends. */
int dev_clone_lent(const struct device_spec *d, int *ret_mount, struct err *err);
int dev_attach_lent(int root_fd, const struct device_spec *d, int mount, struct err *err);

/* mounts.c, in the child: everything below the new root, then the new root itself. sources: of the binds,
 * then of the devices, in the order of config.json. */
int mounts_apply(struct shim *s, int root_mount, const int *sources, unsigned n_sources,
	const int devs[DEV_COUNT], struct err *err);
bool mount_is_bind(const struct mount_spec *m);

/* secrets.c: read on the host, written inside onto the file system that is mounted for them, then forgotten.
 */
int secrets_parse(const char *note, struct shim_config *c, struct err *err);
int secrets_read(struct shim *s, struct err *err);
int secrets_place(const struct shim_config *c, int root_fd, struct err *err);
void secrets_forget(const struct shim_config *c);

/* link.c: the container's end of the network, by rtnetlink. */
int link_create(const struct shim_config *c, pid_t peer, struct err *err);
int link_configure(const struct shim_config *c, struct err *err);

/* init.c: the child. Never returns. */
_Noreturn void init_main(struct shim *s);
/* Reports a failure over the socket, as the child or the application. */
void report_failure(int sock, int step, const struct err *err);

/* confine.c: the last steps of the application's process, up to execve. Returns only on failure. */
int confine_and_exec(const struct shim *s, char *const *argv, int report_fd, struct err *err);
/* What init keeps: the right to signal the application, nothing else. */
int confine_init(struct err *err);

/* output.c: the container's output into rotated files. */
int output_open(const struct shim_config *c, struct output **ret, struct err *err);
/* Reads what there is on a stream: 1, 0 at its end, -EAGAIN when there is nothing now. */
int output_read(struct output *o, int fd, bool is_stderr);
void output_close(struct output *o);

/* record.c: state.json, and exit.json, which is durable. */
int record_state(struct shim *s, struct err *err);
int record_exit(struct shim *s, const struct shim_report *end, struct err *err);

/* group.c: the cgroups made by the agent, opened by the shim and entered by its child. */
#define GROUP_NONE ((struct group_set){ .v2 = -1 })
int group_open(const struct shim_config *c, struct group_set *ret, struct err *err);
int group_add(struct group_set *g, int dirfd, const char *path, struct err *err);
int group_enter(const struct group_set *g, struct err *err);
void group_done(struct group_set *g);
/* fork, or clone3 with these flags and a pidfd, into the v2 group if there is one. 0 in the child. */
pid_t group_fork(const struct group_set *g, uint64_t flags, int *ret_pidfd);
bool group_oom(const struct shim_config *c);
void group_remove(const struct shim_config *c);

/* exec.c: teal-shim --exec. */
int exec_main(struct shim *s, char *const *argv);
