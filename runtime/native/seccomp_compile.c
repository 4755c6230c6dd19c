/* An OCI seccomp profile into the kernel's program, by libseccomp. */
#include <ctype.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "base/own.h"
#include "runtime/native/seccomp.h"

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#endif
#define X32_BIT		 0x40000000
#define INSTRUCTIONS_MAX 4096 /* the kernel's */
#define ARGUMENTS_MAX	 6

static void own_filter(scmp_filter_ctx *f)
{
	if (*f)
		seccomp_release(*f);
}

static const struct {
	const char *name;
	uint32_t action;
} ACTIONS[] = {
	{ "SCMP_ACT_ALLOW", SCMP_ACT_ALLOW },
	{ "SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(EPERM) },
	{ "SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD },
	{ "SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD },
	{ "SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS },
	{ "SCMP_ACT_LOG", SCMP_ACT_LOG },
	{ "SCMP_ACT_TRAP", SCMP_ACT_TRAP },
};

static const struct {
	const char *name;
	enum scmp_compare op;
} COMPARISONS[] = {
	{ "SCMP_CMP_NE", SCMP_CMP_NE },
	{ "SCMP_CMP_LT", SCMP_CMP_LT },
	{ "SCMP_CMP_LE", SCMP_CMP_LE },
	{ "SCMP_CMP_EQ", SCMP_CMP_EQ },
	{ "SCMP_CMP_GE", SCMP_CMP_GE },
	{ "SCMP_CMP_GT", SCMP_CMP_GT },
	{ "SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ },
};

static int refuse(struct err *err, const char *what, const char *value)
{
	return err_say(err, EINVAL, "seccomp profile: %s \"%s\" is not supported", what, value);
}

static bool is_empty(const json_t *v)
{
	return json_is_null(v) || (json_is_array(v) && json_array_size(v) == 0) ||
	       (json_is_object(v) && json_object_size(v) == 0);
}

/* Another key than these would have been meant to be obeyed: Docker's own form of a profile has some. */
static int check_keys(const json_t *object, const char *const *known, struct err *err)
{
	const char *key;
	json_t *value;
	if (!json_is_object(object))
		return err_say(err, EINVAL, "seccomp profile: not an object of the OCI's form");
	json_object_foreach ((json_t *)(uintptr_t)object, key, value) {
		size_t i = 0;
		while (known[i] && strcmp(known[i], key) != 0)
			i++;
		if (!known[i] && !is_empty(value))
			return refuse(err, "key", key);
	}
	return 0;
}

static int read_action(
	const json_t *object, const char *key, const char *errno_key, uint32_t *ret, struct err *err)
{
	const char *name = json_str(object, key, "");
	int64_t number = json_int(object, errno_key, EPERM);
	for (size_t i = 0; i < ARRAY_LEN(ACTIONS); i++) {
		if (strcmp(ACTIONS[i].name, name) != 0)
			continue;
		if (number < 0 || number > 4095)
			return err_say(err, EINVAL, "seccomp profile: %s is not an error number", errno_key);
		bool with_number = strcmp(name, "SCMP_ACT_ERRNO") == 0;
		*ret = with_number ? SCMP_ACT_ERRNO((uint32_t)number) : ACTIONS[i].action;
		return 0;
	}
	return refuse(err, key, name);
}

static int read_argument(const json_t *j, struct scmp_arg_cmp *ret, struct err *err)
{
	static const char *const KNOWN[] = { "index", "value", "valueTwo", "op", NULL };
	const char *op = json_str(j, "op", "");
	int64_t index = json_int(j, "index", -1);
	size_t i = 0;
	int r = check_keys(j, KNOWN, err);
	if (r < 0)
		return r;
	while (i < ARRAY_LEN(COMPARISONS) && strcmp(COMPARISONS[i].name, op) != 0)
		i++;
	if (i == ARRAY_LEN(COMPARISONS))
		return refuse(err, "op", op);
	if (index < 0 || index >= ARGUMENTS_MAX || !json_is_integer(json_object_get(j, "value")))
		return err_say(
			err, EINVAL, "seccomp profile: an argument needs an index of 0 to 5 and a value");
	*ret = (struct scmp_arg_cmp){ .arg = (unsigned)index,
		.op = COMPARISONS[i].op,
		.datum_a = (uint64_t)json_int(j, "value", 0),
		.datum_b = (uint64_t)json_int(j, "valueTwo", 0) };
	return 0;
}

struct rule {
	uint32_t action;
	struct scmp_arg_cmp args[ARGUMENTS_MAX];
	unsigned n_args;
	bool alternatives; /* the same argument twice: each is a rule of its own */
};

static int read_rule(const json_t *j, struct rule *ret, struct err *err)
{
	static const char *const KNOWN[] = { "names", "action", "errnoRet", "args", "comment", NULL };
	size_t i;
	json_t *v;
	int r = check_keys(j, KNOWN, err);
	if (r == 0)
		r = read_action(j, "action", "errnoRet", &ret->action, err);
	if (r < 0)
		return r;
	json_array_foreach (json_object_get(j, "args"), i, v) {
		if (i == ARGUMENTS_MAX)
			return err_say(err, EINVAL, "seccomp profile: more than %d args", ARGUMENTS_MAX);
		r = read_argument(v, &ret->args[i], err);
		if (r < 0)
			return r;
		for (size_t k = 0; k < i; k++)
			ret->alternatives |= ret->args[k].arg == ret->args[i].arg;
		ret->n_args++;
	}
	return 0;
}

static int add_for_call(scmp_filter_ctx f, const struct rule *rule, int number)
{
	int r = 0;
	if (!rule->alternatives)
		return seccomp_rule_add_array(f, rule->action, number, rule->n_args, rule->args);
	for (unsigned i = 0; r == 0 && i < rule->n_args; i++)
		r = seccomp_rule_add_array(f, rule->action, number, 1, &rule->args[i]);
	return r;
}

/* Leaving out an unknown call that was to be allowed is safe; one that was to be refused would stay open.
 * Calls that other architectures have resolve to negative numbers and need no rule here. */
static int add_rule(scmp_filter_ctx f, const json_t *j, uint32_t def, struct err *err)
{
	struct rule rule = { 0 };
	size_t i;
	json_t *v;
	int r = read_rule(j, &rule, err);
	if (r < 0 || rule.action == def)
		return r;
	json_array_foreach (json_object_get(j, "names"), i, v) {
		const char *name = json_is_string(v) ? json_string_value(v) : "";
		int number = seccomp_number(name);
		if (number == SECCOMP_UNKNOWN && rule.action != SCMP_ACT_ALLOW)
			return refuse(err, "system call", name);
		r = number >= 0 ? add_for_call(f, &rule, number) : 0;
		if (r < 0)
			return err_set(err, -r, "seccomp profile: rule for %s", name);
	}
	return 0;
}

/* libseccomp begins with the native one. */
static int add_architectures(scmp_filter_ctx f, const json_t *list, struct err *err)
{
	static const char prefix[] = "SCMP_ARCH_";
	size_t i;
	json_t *v;
	json_array_foreach (list, i, v) {
		char name[32] = "";
		const char *text = json_is_string(v) ? json_string_value(v) : "";
		if (strncmp(text, prefix, strlen(prefix)) == 0)
			for (size_t k = 0; text[k + strlen(prefix)] && k < sizeof name - 1; k++)
				name[k] = (char)tolower((unsigned char)text[k + strlen(prefix)]);
		uint32_t token = *name ? seccomp_arch_resolve_name(name) : 0;
		if (token == 0)
			return refuse(err, "architecture", text);
		int r = seccomp_arch_exist(f, token) < 0 ? seccomp_arch_add(f, token) : 0;
		if (r < 0)
			return err_set(err, -r, "seccomp profile: architecture %s", text);
	}
	return 0;
}

static int add_profile(scmp_filter_ctx f, const json_t *profile, uint32_t def, struct err *err)
{
	size_t i;
	json_t *v;
	/* A binary tree: nine comparisons a call instead of three hundred. */
	seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	int r = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM));
	if (r < 0)
		return err_set(err, -r, "make seccomp filter");
	r = add_architectures(f, json_object_get(profile, "architectures"), err);
	json_array_foreach (json_object_get(profile, "syscalls"), i, v)
		r = r < 0 ? r : add_rule(f, v, def, err);
	return r;
}

static int export_program(scmp_filter_ctx f, struct buf *out)
{
	OWN_FD int fd = memfd_create("seccomp", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = seccomp_export_bpf(f, fd);
	if (r < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return r < 0 ? r : -errno;
	for (;;) {
		char *to = buf_room(out, 4096);
		ssize_t n = to ? read(fd, to, 4096) : -1;
		if (n <= 0)
			return n < 0 ? -EIO : 0;
		out->len += (size_t)n;
	}
}

/* In front of what libseccomp makes: native calls past the newest known one are absent, not forbidden. Jumps
 * are relative, so nothing behind it changes. The x32 calls beyond are another ABI's, for the rest to judge.
 */
static int put_newest_check(struct buf *out)
{
	const struct sock_filter check[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, seccomp_newest, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	};
	return buf_add(out, check, sizeof check);
}

static int write_program(scmp_filter_ctx f, uint32_t def, struct buf *ret, struct err *err)
{
	OWN_BUF struct buf program = { 0 };
	bool denies = def != SCMP_ACT_ALLOW && def != SCMP_ACT_LOG;
	int r = denies ? put_newest_check(&program) : 0;
	if (r == 0)
		r = export_program(f, &program);
	if (r < 0)
		return err_set(err, -r, "make seccomp filter");
	if (program.len > INSTRUCTIONS_MAX * sizeof(struct sock_filter))
		return err_say(err, E2BIG, "seccomp profile: too long for the kernel: %zu instructions of %d",
			program.len / sizeof(struct sock_filter), INSTRUCTIONS_MAX);
	return buf_add(ret, program.data, program.len) < 0 ? err_set(err, ENOMEM, "make seccomp filter") : 0;
}

int seccomp_compile(const json_t *profile, struct buf *ret, struct err *err)
{
	static const char *const KNOWN[] = { "defaultAction", "defaultErrnoRet", "architectures", "syscalls",
		"comment", NULL };
	uint32_t def;
	int r = check_keys(profile, KNOWN, err);
	if (r == 0)
		r = read_action(profile, "defaultAction", "defaultErrnoRet", &def, err);
	if (r < 0)
		return r;
	OWN(own_filter) scmp_filter_ctx f = seccomp_init(def);
	if (!f)
		return err_set(err, ENOMEM, "make seccomp filter");
	r = add_profile(f, profile, def, err);
	return r < 0 ? r : write_program(f, def, ret, err);
}
