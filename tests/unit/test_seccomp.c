/* The default profile against what it is meant to do, written down a second time; and profiles from files.
 * The programs run in an interpreter: every call, every door, no kernel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/own.h"
#include "bpf.h"
#include "runtime/native/seccomp.h"

#if defined(__x86_64__)
#define X32    0x40000000u
#define NEWEST 470

#define ALLOW	 SECCOMP_RET_ALLOW
#define ERROR(e) (SECCOMP_RET_ERRNO | (e))

static void compile(const char *setting, uint64_t caps, struct buf *ret)
{
	OWN_JSON json_t *profile = NULL;
	struct err err = { 0 };
	if (seccomp_profile(setting, caps, &profile, &err) < 0 || seccomp_compile(profile, ret, &err) < 0)
		fail_msg("%s: %s", setting, err.msg);
}

static uint32_t ask(
	const struct buf *program, uint32_t arch, unsigned number, unsigned argument, uint64_t value)
{
	struct seccomp_data call = { .nr = (int)number, .arch = arch };
	call.args[argument] = value;
	return bpf_run(program, &call);
}

static uint32_t ask_native(const struct buf *program, unsigned number)
{
	return ask(program, AUDIT_ARCH_X86_64, number, 0, 0);
}

static void expect(
	const struct buf *program, unsigned number, unsigned argument, uint64_t value, uint32_t answer)
{
	uint32_t is = ask(program, AUDIT_ARCH_X86_64, number, argument, value);
	if (is != answer)
		fail_msg("call %u, argument %u = %#llx: %#x, not %#x", number, argument,
			(unsigned long long)value, is, answer);
}

/* By number, so that nothing is shared with the table under test. */
static const unsigned short DENIED[] = { 101, 103, 134, 136, 139, 153, 154, 155, 156, 161, 163, 164, 165, 166,
	167, 168, 169, 170, 171, 172, 173, 174, 175, 176, 177, 178, 179, 180, 181, 182, 183, 184, 185, 212,
	214, 215, 216, 227, 236, 246, 248, 249, 250, 256, 272, 279, 298, 300, 301, 303, 304, 305, 308, 310,
	311, 312, 313, 320, 321, 323, 425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 440, 442, 443, 447,
	459, 460, 461, 467, 469, 470 };
/* Allowed for some arguments only. */
static const unsigned short BY_ARGUMENT[] = { SYS_socket, SYS_socketpair, SYS_clone, SYS_personality,
	SYS_mknod, SYS_mknodat };
#define CLONE3 435

static bool is_in(const unsigned short *list, size_t n, unsigned number)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == number)
			return true;
	return false;
}

static void test_every_native_call(void **state)
{
	OWN_BUF struct buf p = { 0 };
	(void)state;
	compile("default", 0, &p);
	for (unsigned i = 0; i <= NEWEST; i++) {
		bool gap = i > 336 && i < 424;
		if (is_in(BY_ARGUMENT, ARRAY_LEN(BY_ARGUMENT), i))
			continue;
		uint32_t wanted = i == CLONE3				       ? ERROR(ENOSYS)
				  : gap || is_in(DENIED, ARRAY_LEN(DENIED), i) ? ERROR(EPERM)
									       : ALLOW;
		if (ask_native(&p, i) != wanted)
			fail_msg("call %u: %#x, not %#x", i, ask_native(&p, i), wanted);
	}
	for (unsigned i = NEWEST + 1; i < 5000; i++)
		assert_int_equal(ask_native(&p, i), ERROR(ENOSYS));
}

static void test_other_doors_are_shut(void **state)
{
	static const uint32_t OTHERS[] = { AUDIT_ARCH_I386, AUDIT_ARCH_ARM, AUDIT_ARCH_AARCH64 };
	OWN_BUF struct buf p = { 0 };
	(void)state;
	compile("default", UINT64_MAX, &p);
	for (unsigned i = 0; i < 5000; i++) {
		assert_int_equal(ask_native(&p, X32 | i), ERROR(EPERM));
		for (size_t k = 0; k < ARRAY_LEN(OTHERS); k++)
			assert_int_equal(ask(&p, OTHERS[k], i, 0, 0), ERROR(EPERM));
	}
}

static void test_arguments(void **state)
{
	static const unsigned FLAGS[] = { 0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000,
		0x40000000 };
	static const uint64_t PERSONALITIES[] = { 0, 8, 0x20000, 0x20008, 0xffffffff };
	OWN_BUF struct buf p = { 0 };
	(void)state;
	compile("default", 0, &p);
	expect(&p, SYS_clone, 0, 0x3d0f00 | 17, ALLOW); /* a thread */
	for (size_t i = 0; i < ARRAY_LEN(FLAGS); i++)
		expect(&p, SYS_clone, 0, FLAGS[i] | 17, ERROR(EPERM));
	for (uint64_t i = 0; i <= 45; i++) {
		bool open = i == AF_UNIX || i == AF_INET || i == AF_INET6 || i == AF_NETLINK;
		expect(&p, SYS_socket, 0, i, open ? ALLOW : ERROR(EPERM));
		expect(&p, SYS_socketpair, 0, i, i == AF_UNIX ? ALLOW : ERROR(EPERM));
	}
	expect(&p, SYS_socket, 0, (UINT64_C(1) << 32) | AF_UNIX, ERROR(EPERM));
	for (size_t i = 0; i < ARRAY_LEN(PERSONALITIES); i++)
		expect(&p, SYS_personality, 0, PERSONALITIES[i], ALLOW);
	expect(&p, SYS_personality, 0, 0x0040000, ERROR(EPERM)); /* no address randomisation */
	expect(&p, SYS_mknod, 1, S_IFIFO | 0600, ALLOW);
	expect(&p, SYS_mknodat, 2, S_IFSOCK | 0600, ALLOW);
	expect(&p, SYS_mknodat, 2, 0600, ALLOW);
	expect(&p, SYS_mknodat, 2, S_IFCHR | 0600, ERROR(EPERM));
	expect(&p, SYS_mknod, 1, S_IFBLK | 0600, ERROR(EPERM));
}

static void test_capabilities_open_their_calls(void **state)
{
	static const struct {
		int capability;
		unsigned number;
	} OPENED[] = {
		{ CAP_SYS_PTRACE, SYS_ptrace },
		{ CAP_SYS_PTRACE, SYS_process_vm_writev },
		{ CAP_SYS_ADMIN, SYS_mount },
		{ CAP_SYS_ADMIN, SYS_unshare },
		{ CAP_SYS_ADMIN, CLONE3 },
		{ CAP_SYS_CHROOT, SYS_chroot },
		{ CAP_SYS_TIME, SYS_clock_settime },
		{ CAP_BPF, SYS_bpf },
		{ CAP_PERFMON, SYS_perf_event_open },
		{ CAP_SYSLOG, SYS_syslog },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(OPENED); i++) {
		OWN_BUF struct buf p = { 0 };
		compile("default", UINT64_C(1) << OPENED[i].capability, &p);
		expect(&p, OPENED[i].number, 0, 0, ALLOW);
		expect(&p, SYS_kexec_load, 0, 0, ERROR(EPERM));
	}
	OWN_BUF struct buf p = { 0 };
	compile("default", UINT64_C(1) << CAP_NET_RAW | UINT64_C(1) << CAP_MKNOD, &p);
	expect(&p, SYS_socket, 0, AF_PACKET, ALLOW);
	expect(&p, SYS_socket, 0, 38, ERROR(EPERM));
	expect(&p, SYS_mknod, 1, S_IFCHR, ALLOW);
}

static void test_unconfined_is_no_profile(void **state)
{
	json_t *profile = json_true();
	(void)state;
	assert_int_equal(seccomp_profile("unconfined", 0, &profile, NULL), 0);
	assert_null(profile);
}

#define RULE(text) "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[" text "]}"

static void test_profiles_of_files(void **state)
{
	OWN_BUF struct buf open = { 0 }, shut = { 0 };
	(void)state;
	compile(RULE("{\"names\":[\"mkdir\",\"no_such_call_here\"],\"action\":\"SCMP_ACT_ALLOW\"},"
		     "{\"names\":[\"getpid\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":71},"
		     "{\"names\":[\"kill\"],\"action\":\"SCMP_ACT_KILL_PROCESS\",\"args\":["
		     "{\"index\":1,\"value\":9,\"op\":\"SCMP_CMP_EQ\"},{\"index\":1,\"value\":15,\"op\":"
		     "\"SCMP_CMP_EQ\"}]}"),
		0, &open);
	expect(&open, SYS_getpid, 0, 0, ERROR(71));
	expect(&open, SYS_kill, 1, 9, SECCOMP_RET_KILL_PROCESS);
	expect(&open, SYS_kill, 1, 15, SECCOMP_RET_KILL_PROCESS);
	expect(&open, SYS_kill, 1, 1, ALLOW);
	expect(&open, 999, 0, 0, ALLOW);
	compile("{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":13,\"architectures\":[\"SCMP_ARCH_"
		"X86_64\","
		"\"SCMP_ARCH_X86\"],\"flags\":[],\"syscalls\":[{\"names\":[\"read\",\"cachestat\"],"
		"\"action\":\"SCMP_ACT_ALLOW\"}]}",
		0, &shut);
	expect(&shut, SYS_read, 0, 0, ALLOW);
	expect(&shut, 451, 0, 0, ALLOW);
	expect(&shut, SYS_write, 0, 0, ERROR(13));
	expect(&shut, 999, 0, 0, ERROR(ENOSYS));
	assert_int_equal(ask(&shut, AUDIT_ARCH_I386, 3, 0, 0), ALLOW); /* read, there */
	assert_int_equal(ask(&shut, AUDIT_ARCH_I386, 4, 0, 0), ERROR(13));
}

static void test_what_can_not_be_enforced_is_refused(void **state)
{
	static const struct {
		const char *profile, *says;
	} CASES[] = {
		{ "{\"defaultAction\":\"SCMP_ACT_NOTIFY\"}", "defaultAction \"SCMP_ACT_NOTIFY\"" },
		{ "{\"defaultAction\":7}", "defaultAction" },
		{ "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"/run/x\"}",
			"key \"listenerPath\"" },
		{ "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"SECCOMP_FILTER_FLAG_LOG\"]}",
			"key \"flags\"" },
		{ "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"SCMP_ARCH_Z80\"]}",
			"architecture \"SCMP_ARCH_Z80\"" },
		{ RULE("7"), "not an object" },
		{ RULE("{\"names\":[\"getpidd\"],\"action\":\"SCMP_ACT_ERRNO\"}"),
			"system call \"getpidd\"" },
		{ RULE("{\"names\":[\"getpid\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":9999}"),
			"errnoRet" },
		{ RULE("{\"names\":[\"getpid\"],\"action\":\"SCMP_ACT_ERRNO\",\"includes\":{\"caps\":[\"CAP_"
		       "BPF\"]}}"),
			"includes" },
		{ RULE("{\"names\":[\"kill\"],\"action\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":6,\"value\":"
		       "1,\"op\":\"SCMP_CMP_EQ\"}]}"),
			"0 to 5" },
		{ RULE("{\"names\":[\"kill\"],\"action\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":0,\"value\":"
		       "1,\"op\":\"EQ\"}]}"),
			"op \"EQ\"" },
		{ RULE("{\"names\":[\"kill\"],\"action\":\"SCMP_ACT_ERRNO\",\"args\":[3]}"),
			"not an object" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
		OWN_JSON json_t *profile = NULL;
		OWN_BUF struct buf program = { 0 };
		struct err err = { 0 };
		assert_int_equal(seccomp_profile(CASES[i].profile, 0, &profile, &err), 0);
		assert_int_equal(seccomp_compile(profile, &program, &err), -EINVAL);
		if (!strstr(err.msg, CASES[i].says))
			fail_msg("\"%s\" does not say %s", err.msg, CASES[i].says);
		assert_int_equal(program.len, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_native_call),
		cmocka_unit_test(test_other_doors_are_shut),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_capabilities_open_their_calls),
		cmocka_unit_test(test_unconfined_is_no_profile),
		cmocka_unit_test(test_profiles_of_files),
		cmocka_unit_test(test_what_can_not_be_enforced_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
	print_message("skip: the numbers are those of x86-64\n");
	return 0;
}
#endif
