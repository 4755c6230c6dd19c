#include "runtime/native/limits.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "base/own.h"

/* As in the spec, where Linux has another name or number. */
static const struct {
	const char *name;
	int resource;
} RLIMITS[] = {
	{ "as", RLIMIT_AS },
	{ "core", RLIMIT_CORE },
	{ "cpu", RLIMIT_CPU },
	{ "data", RLIMIT_DATA },
	{ "fsize", RLIMIT_FSIZE },
	{ "memlock", RLIMIT_MEMLOCK },
	{ "msgqueue", RLIMIT_MSGQUEUE },
	{ "nice", RLIMIT_NICE },
	{ "nofile", RLIMIT_NOFILE },
	{ "nproc", RLIMIT_NPROC },
	{ "rtprio", RLIMIT_RTPRIO },
	{ "sigpending", RLIMIT_SIGPENDING },
	{ "stack", RLIMIT_STACK },
};

/* "4096:8192", checked when the spec was read; -1 is no limit. */
static void split_ulimit(const char *text, json_int_t *ret_soft, json_int_t *ret_hard)
{
	long long soft = 0, hard = 0;
	sscanf(text, "%lld:%lld", &soft, &hard);
	*ret_soft = soft < 0 ? INT64_MAX : soft;
	*ret_hard = hard < 0 ? INT64_MAX : hard;
}

/* By the kernel's own account: root in a container of another engine may lack it. */
static bool have_capability(int cap)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };
	return syscall(SYS_capget, &head, data) == 0 && data[cap / 32].effective >> cap % 32 & 1;
}

static int check_ulimit(const struct spec_pair *p, struct err *err)
{
	json_int_t soft, hard;
	struct rlimit now;
	split_ulimit(p->value, &soft, &hard);
	for (size_t i = 0; i < ARRAY_LEN(RLIMITS); i++) {
		if (strcmp(RLIMITS[i].name, p->key) != 0)
			continue;
		if (getrlimit((__rlimit_resource_t)RLIMITS[i].resource, &now) < 0 ||
			now.rlim_max == RLIM_INFINITY || (rlim_t)hard <= now.rlim_max)
			return 0;
		return err_say(err, ENOTSUP,
			"ulimits.%s: teald itself may have %llu at most; start it with more, or with "
			"CAP_SYS_RESOURCE",
			p->key, (unsigned long long)now.rlim_max);
	}
	return 0;
}

static int check_device(const char *path, struct stat *ret, struct err *err)
{
	if (stat(path, ret) < 0)
		return err_say(err, ENOTSUP, "devices: %s: %s", path, strerror(errno));
	if (!S_ISCHR(ret->st_mode) && !S_ISBLK(ret->st_mode))
		return err_say(err, ENOTSUP, "devices: %s is not a device", path);
	return 0;
}

int limits_check(const struct spec_container *c, struct err *err)
{
	bool may_raise = have_capability(CAP_SYS_RESOURCE);
	struct stat st;
	int r = 0;
	for (size_t i = 0; r == 0 && !may_raise && i < c->n_ulimits; i++)
		r = check_ulimit(&c->ulimits[i], err);
	for (char **path = c->devices; r == 0 && path && *path; path++)
		r = check_device(*path, &st, err);
	if (r == 0 && c->oom_score_adj < 0 && !may_raise)
		r = err_say(err, ENOTSUP,
			"oom_score_adj: below 0 needs CAP_SYS_RESOURCE, which teald does not have here");
	return r;
}

static json_t *rlimit_json(const char *name, json_int_t soft, json_int_t hard)
{
	char type[32];
	snprintf(type, sizeof type, "RLIMIT_%s", name);
	for (char *p = type; *p; p++)
		*p = (char)toupper((unsigned char)*p);
	return json_pack("{s:s, s:I, s:I}", "type", type, "soft", soft, "hard", hard);
}

static json_t *default_nofile(void)
{
	struct rlimit now;
	rlim_t hard = 524288;
	if (getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_max < hard)
		hard = now.rlim_max;
	return rlimit_json("nofile", (json_int_t)(hard < 1024 ? hard : 1024), (json_int_t)hard);
}

json_t *limits_rlimits(const struct spec_container *c)
{
	json_t *a = json_array();
	bool nofile = false;
	for (size_t i = 0; i < c->n_ulimits; i++) {
		json_int_t soft, hard;
		split_ulimit(c->ulimits[i].value, &soft, &hard);
		json_array_append_new(a, rlimit_json(c->ulimits[i].key, soft, hard));
		nofile = nofile || strcmp(c->ulimits[i].key, "nofile") == 0;
	}
	if (!nofile)
		json_array_append_new(a, default_nofile());
	return a;
}

uint64_t limits_cpu_shares(uint32_t cpu_milli)
{
	uint64_t shares = (uint64_t)cpu_milli * 1024 / 1000;
	return shares < 2 ? 2 : shares > 262144 ? 262144 : shares;
}

json_t *limits_resources(const struct spec_limits *l)
{
	json_t *r = json_object(), *memory = json_object(), *cpu = json_object();
	if (l->memory_bytes)
		json_object_set_new(memory, "limit", json_integer((json_int_t)l->memory_bytes));
	if (l->reserved_memory_bytes)
		json_object_set_new(
			memory, "reservation", json_integer((json_int_t)l->reserved_memory_bytes));
	if (l->cpu_milli) {
		json_object_set_new(cpu, "quota", json_integer((json_int_t)l->cpu_milli * 100));
		json_object_set_new(cpu, "period", json_integer(100000));
	}
	if (l->reserved_cpu_milli)
		json_object_set_new(
			cpu, "shares", json_integer((json_int_t)limits_cpu_shares(l->reserved_cpu_milli)));
	if (json_object_size(memory) > 0)
		json_object_set(r, "memory", memory);
	if (json_object_size(cpu) > 0)
		json_object_set(r, "cpu", cpu);
	if (l->pids)
		json_object_set_new(r, "pids", json_pack("{s:I}", "limit", (json_int_t)l->pids));
	json_decref(memory);
	json_decref(cpu);
	return r;
}

int limits_devices(const struct spec_container *c, json_t **ret, struct err *err)
{
	OWN_JSON json_t *a = json_array();
	for (char **path = c->devices; path && *path; path++) {
		struct stat st;
		int r = check_device(*path, &st, err);
		if (r < 0)
			return r;
		json_array_append_new(
			a, json_pack("{s:s, s:s, s:I, s:I, s:I}", "path", *path, "type",
				   S_ISCHR(st.st_mode) ? "c" : "b", "major", (json_int_t)major(st.st_rdev),
				   "minor", (json_int_t)minor(st.st_rdev), "fileMode",
				   (json_int_t)(st.st_mode & 07777)));
	}
	*ret = TAKE_PTR(a);
	return 0;
}
