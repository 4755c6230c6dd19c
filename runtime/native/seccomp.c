#include "runtime/native/seccomp.h"

#include <errno.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/own.h"
#include "runtime/native/seccomp_table.h"

#if defined(__x86_64__)
#define NATIVE_NAME "SCMP_ARCH_X86_64"
#elif defined(__aarch64__)
#define NATIVE_NAME "SCMP_ARCH_AARCH64"
#else
#error "seccomp: name the native architecture here"
#endif

const unsigned seccomp_newest = NEWEST_SYSCALL;

int seccomp_number(const char *name)
{
	int number = seccomp_syscall_resolve_name(name);
	for (size_t i = 0; number < 0 && i < ARRAY_LEN(YOUNG); i++)
		if (strcmp(YOUNG[i].name, name) == 0)
			return YOUNG[i].number;
	return number == __NR_SCMP_ERROR ? SECCOMP_UNKNOWN : number;
}

static json_t *rule_json(json_t *names, const char *action)
{
	return json_pack("{s:o, s:s}", "names", names, "action", action);
}

static json_t *condition_json(size_t i)
{
	bool whole = CONDITIONAL[i].mask == UINT64_MAX;
	json_t *arg = json_pack("{s:i, s:I, s:s}", "index", (int)CONDITIONAL[i].argument, "value",
		(json_int_t)(whole ? CONDITIONAL[i].value : CONDITIONAL[i].mask), "op",
		whole ? "SCMP_CMP_EQ" : "SCMP_CMP_MASKED_EQ");
	if (!whole)
		json_object_set_new(arg, "valueTwo", json_integer((json_int_t)CONDITIONAL[i].value));
	json_t *rule = rule_json(json_pack("[s]", CONDITIONAL[i].name), "SCMP_ACT_ALLOW");
	json_object_set_new(rule, "args", json_pack("[o]", arg));
	return rule;
}

static json_t *allowed_json(void)
{
	json_t *names = json_array();
	for (size_t i = 0; i < ARRAY_LEN(ALLOWED); i++)
		json_array_append_new(names, json_string(ALLOWED[i]));
	for (size_t i = 0; i < ARRAY_LEN(YOUNG); i++)
		if (YOUNG[i].allowed)
			json_array_append_new(names, json_string(YOUNG[i].name));
	return rule_json(names, "SCMP_ACT_ALLOW");
}

static bool has_cap(uint64_t caps, int capability)
{
	return caps >> capability & 1;
}

static void add_privileged(json_t *rules, uint64_t caps)
{
	for (size_t i = 0; i < ARRAY_LEN(PRIVILEGED); i++) {
		if (!has_cap(caps, PRIVILEGED[i].capability))
			continue;
		json_t *names = json_array();
		for (const char *const *name = PRIVILEGED[i].names; *name; name++)
			json_array_append_new(names, json_string(*name));
		json_array_append_new(rules, rule_json(names, "SCMP_ACT_ALLOW"));
	}
	if (has_cap(caps, CAP_NET_RAW))
		json_array_append_new(rules, json_pack("{s:[s], s:s, s:[{s:i, s:i, s:s}]}", "names", "socket",
						     "action", "SCMP_ACT_ALLOW", "args", "index", 0, "value",
						     AF_PACKET, "op", "SCMP_CMP_EQ"));
}

/* The C library falls back to clone when clone3 is absent, whose flags a filter can't see. */
static json_t *absent_json(void)
{
	return json_pack(
		"{s:[s], s:s, s:i}", "names", "clone3", "action", "SCMP_ACT_ERRNO", "errnoRet", ENOSYS);
}

static json_t *default_json(uint64_t caps)
{
	json_t *rules = json_array();
	json_array_append_new(rules, allowed_json());
	for (size_t i = 0; i < ARRAY_LEN(CONDITIONAL); i++)
		json_array_append_new(rules, condition_json(i));
	add_privileged(rules, caps);
	if (!has_cap(caps, CAP_SYS_ADMIN))
		json_array_append_new(rules, absent_json());
	return json_pack("{s:s, s:i, s:[s], s:o}", "defaultAction", "SCMP_ACT_ERRNO", "defaultErrnoRet",
		EPERM, "architectures", NATIVE_NAME, "syscalls", rules);
}

int seccomp_profile(const char *setting, uint64_t caps, json_t **ret, struct err *err)
{
	if (setting && strcmp(setting, "unconfined") == 0) {
		*ret = NULL;
		return 0;
	}
	if (setting && strcmp(setting, "default") != 0)
		return json_parse(setting, strlen(setting), "seccomp profile", ret, err);
	*ret = default_json(caps);
	return *ret ? 0 : err_set(err, ENOMEM, "make seccomp profile");
}
