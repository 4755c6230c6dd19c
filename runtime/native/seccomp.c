#include "runtime/native/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/own.h"
#include "runtime/native/seccomp_table.h"

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#define NATIVE_NAME "SCMP_ARCH_X86_64"
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#define NATIVE_NAME "SCMP_ARCH_AARCH64"
#else
#error "seccomp: name the native architecture here"
#endif

static void own_filter(scmp_filter_ctx *f)
{
	if (*f)
		seccomp_release(*f);
}

static json_t *rule_json(json_t *names, const char *action, int errno_ret)
{
	json_t *rule = json_pack("{s:o, s:s}", "names", names, "action", action);
	if (errno_ret)
		json_object_set_new(rule, "errnoRet", json_integer(errno_ret));
	return rule;
}

static json_t *condition_json(size_t i)
{
	bool whole = CONDITIONAL[i].mask == UINT64_MAX;
	json_t *arg = json_pack("{s:i, s:I, s:s}", "index", (int)CONDITIONAL[i].argument, "value",
		(json_int_t)(whole ? CONDITIONAL[i].value : CONDITIONAL[i].mask), "op",
		whole ? "SCMP_CMP_EQ" : "SCMP_CMP_MASKED_EQ");
	if (!whole)
		json_object_set_new(arg, "valueTwo", json_integer((json_int_t)CONDITIONAL[i].value));
	json_t *rule = rule_json(json_pack("[s]", CONDITIONAL[i].name), "SCMP_ACT_ALLOW", 0);
	json_object_set_new(rule, "args", json_pack("[o]", arg));
	return rule;
}

json_t *seccomp_profile_json(void)
{
	json_t *rules = json_array(), *names = json_array();
	for (size_t i = 0; i < ARRAY_LEN(ALLOWED); i++)
		json_array_append_new(names, json_string(ALLOWED[i]));
	for (size_t i = 0; i < ARRAY_LEN(ALLOWED_NEW); i++)
		json_array_append_new(names, json_string(ALLOWED_NEW[i].name));
	json_array_append_new(rules, rule_json(names, "SCMP_ACT_ALLOW", 0));
	for (size_t i = 0; i < ARRAY_LEN(CONDITIONAL); i++)
		json_array_append_new(rules, condition_json(i));
	for (size_t i = 0; i < ARRAY_LEN(REFUSED); i++)
		json_array_append_new(rules,
			rule_json(json_pack("[s]", REFUSED[i].name), "SCMP_ACT_ERRNO", REFUSED[i].error));
	return json_pack("{s:s, s:i, s:[s], s:o}", "defaultAction", "SCMP_ACT_ERRNO", "defaultErrnoRet",
		EPERM, "architectures", NATIVE_NAME, "syscalls", rules);
}

/* Calls that this architecture never had (open on arm64) resolve to negative numbers and need no rule. */
static int allow_plain(scmp_filter_ctx f)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(ALLOWED); i++) {
		int number = seccomp_syscall_resolve_name(ALLOWED[i]);
		r = number >= 0 ? seccomp_rule_add(f, SCMP_ACT_ALLOW, number, 0) : 0;
	}
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(ALLOWED_NEW); i++)
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, ALLOWED_NEW[i].number, 0);
	return r;
}

static int add_rules(scmp_filter_ctx f)
{
	int r = allow_plain(f);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(CONDITIONAL); i++) {
		struct scmp_arg_cmp cmp = { .arg = CONDITIONAL[i].argument,
			.op = SCMP_CMP_MASKED_EQ,
			.datum_a = CONDITIONAL[i].mask,
			.datum_b = CONDITIONAL[i].value };
		r = seccomp_rule_add_array(
			f, SCMP_ACT_ALLOW, seccomp_syscall_resolve_name(CONDITIONAL[i].name), 1, &cmp);
	}
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(REFUSED); i++)
		r = seccomp_rule_add(f, SCMP_ACT_ERRNO((unsigned)REFUSED[i].error),
			seccomp_syscall_resolve_name(REFUSED[i].name), 0);
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

/* In front of what libseccomp makes: native calls past the newest known one are absent, not forbidden. Takes
 * the x32 numbers along, which begin at 0x40000000. Jumps are relative, so nothing behind it changes. */
static int put_newest_check(struct buf *out)
{
	const struct sock_filter check[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, NEWEST_SYSCALL, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	};
	return buf_add(out, check, sizeof check);
}

int seccomp_compile(struct buf *ret, struct err *err)
{
	OWN(own_filter) scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (!f)
		return err_set(err, ENOMEM, "make seccomp filter");
	seccomp_attr_set(
		f, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree: 9 comparisons a call instead of 300 */
	int r = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM));
	if (r == 0)
		r = add_rules(f);
	if (r == 0)
		r = put_newest_check(ret);
	if (r == 0)
		r = export_program(f, ret);
	return r < 0 ? err_set(err, -r, "make seccomp filter") : 0;
}
