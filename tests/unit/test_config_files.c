/* Files: specs with what they name, env files, the agent's settings. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fsx.h"
#include "base/own.h"
#include "config/settings.h"
#include "config_rig.h"

struct dir {
	char path[64];
};

static int enter_dir(void **state)
{
	struct dir *dir = calloc(1, sizeof *dir);
	snprintf(dir->path, sizeof dir->path, "/tmp/teal-config.XXXXXX");
	assert_non_null(mkdtemp(dir->path));
	assert_int_equal(chdir(dir->path), 0);
	*state = dir;
	return 0;
}

static int leave_dir(void **state)
{
	struct dir *dir = *state;
	struct err err = { 0 };
	assert_int_equal(chdir("/"), 0);
	int r = fs_remove_tree(AT_FDCWD, dir->path, &err);
	free(dir);
	return r;
}

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static struct spec *load(const char *path, char **ret_faults)
{
	struct diag_list d = { 0 };
	struct err err = { 0 };
	struct buf out = { 0 };
	struct spec *s = NULL;
	int r = cfg_load_file(path, &s, &d, &err);
	diag_print(&d, false, &out);
	buf_adds(&out, err.msg);
	assert_int_equal(r == 0, s != NULL);
	*ret_faults = buf_take(&out);
	diag_done(&d);
	return s;
}

static void test_relative_to_the_file(void **state)
{
	struct dir *dir = *state;
	OWN_FREE char *faults = NULL;
	char wanted[100];
	assert_int_equal(mkdir("specs", 0755), 0);
	put("specs/web.yaml", "name: web\nimage: rootfs:../root\ncommand: run\nenv_file: web.env\n");
	put("specs/web.env", "A=1\n");
	assert_int_equal(symlink("specs/web.yaml", "link.yaml"), 0);
	OWN_SPEC struct spec *s = load("specs/web.yaml", &faults);
	assert_string_equal(faults, "");
	snprintf(wanted, sizeof wanted, "rootfs:%s/specs/../root", dir->path);
	assert_string_equal(s->container.image, wanted);
	assert_string_equal(s->container.environment[0].value, "1");
}

static void test_what_can_not_be_read(void **state)
{
	OWN_FREE char *absent = NULL;
	OWN_FREE char *directory = NULL;
	(void)state;
	assert_null(load("absent.yaml", &absent));
	assert_string_equal(absent, "open absent.yaml: No such file or directory");
	assert_null(load(".", &directory));
	assert_string_equal(directory, "read .: Is a directory");
}

static void test_too_big(void **state)
{
	OWN_FREE char *faults = NULL;
	OWN_BUF struct buf text = { 0 };
	(void)state;
	buf_addf(&text, "name: %0300000d\n", 1);
	put("big.yaml", text.data);
	assert_null(load("big.yaml", &faults));
	assert_memory_equal(faults, "big.yaml:1:1: error: the file is too big: at most 262144 bytes\n", 63);
}

static void check_env(const char *file, const char *wanted)
{
	OWN_FREE char *faults = NULL;
	OWN_BUF struct buf got = { 0 };
	put("e.env", file);
	put("e.yaml", "name: web\nimage: rootfs:/x\ncommand: run\nenv_file: e.env\n");
	OWN_SPEC struct spec *s = load("e.yaml", &faults);
	for (size_t i = 0; s && i < s->container.n_environment; i++)
		buf_addf(&got, "%s=%s;", s->container.environment[i].key, s->container.environment[i].value);
	OWN_FREE char *first_line = strndup(faults, strcspn(faults, "\n"));
	OWN_FREE char *all = buf_take(&got);
	assert_string_equal(s ? all : first_line, wanted);
}

static void test_env_files(void **state)
{
	(void)state;
	check_env("", "");
	check_env("# comment\n\n  A=1\r\nexport B = two words  # why\nC=a#b\nD=\n",
		"A=1;B=two words;C=a#b;D=;");
	check_env("A='x $Y \\n' # c\nB=\"a\\n\\t\\\"b\\\\ #\"\nC=\"q\"", "A=x $Y \\n;B=a\n\t\"b\\ #;C=q;");
	check_env("A=1\nA=2\n", "A=2;");
	check_env("A=1\nNOVALUE\n", "e.yaml:4:11: error: `env_file`: e.env:2: a line must be KEY=VALUE");
	check_env("A=\"x\n", "e.yaml:4:11: error: `env_file`: e.env:1: the value's quotes are not balanced");
	check_env("A='x'y\n", "e.yaml:4:11: error: `env_file`: e.env:1: the value's quotes are not balanced");
	check_env("A B=x\n", "e.yaml:4:11: error: `env_file`: e.env:1: the variable's name is malformed");
}

static void test_env_file_order(void **state)
{
	OWN_FREE char *faults = NULL;
	(void)state;
	put("a.env", "A=a\nB=a\nC=a\n");
	put("b.env", "B=b\nC=b\n");
	put("o.yaml", "name: web\nimage: rootfs:/x\ncommand: run\nenv_file: [a.env, b.env]\nenvironment: { "
		      "C: c, D: d }\n");
	OWN_SPEC struct spec *s = load("o.yaml", &faults);
	OWN_FREE char *canonical = rig_canonical(s);
	assert_non_null(
		strstr(canonical, "\"environment\":{\"A\":\"a\",\"B\":\"b\",\"C\":\"c\",\"D\":\"d\"}"));
}

static void test_env_file_not_text(void **state)
{
	OWN_FREE char *faults = NULL;
	struct dir *dir = *state;
	char wanted[160];
	put("n.env", "A=\xff\n");
	put("n.yaml", "name: web\nimage: rootfs:/x\ncommand: run\nenv_file: [n.env]\n");
	assert_null(load("n.yaml", &faults));
	snprintf(wanted, sizeof wanted, "n.yaml:4:12: error: `env_file`: %s/n.env is not plain UTF-8 text",
		dir->path);
	assert_memory_equal(faults, wanted, strlen(wanted));
}

static void test_env_file_too_long(void **state)
{
	OWN_BUF struct buf text = { 0 };
	(void)state;
	for (unsigned i = 0; i < 1025; i++)
		buf_addf(&text, "K%u=x\n", i);
	check_env(text.data, "e.yaml:4:11: error: `env_file`: e.env:1025: too many variables");
}

/* The text fits, but not with what it names: it could not come back from its canonical form. */
static void test_too_big_with_its_files(void **state)
{
	OWN_FREE char *faults = NULL;
	OWN_BUF struct buf env = { 0 }, spec = { 0 };
	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		buf_addf(&env, "K%u=%0200u\n", i, i);
	put("big.env", env.data);
	buf_adds(&spec, "name: web\nimage: rootfs:/x\ncommand: run\nenv_file: big.env\nlabels:\n");
	for (unsigned i = 0; i < 100; i++)
		buf_addf(&spec, "  l%u: '%01000u'\n", i, i);
	put("big.yaml", spec.data);
	assert_null(load("big.yaml", &faults));
	assert_non_null(strstr(faults, "with its environment files the spec has "));
}

static void test_places_of_an_agent(void **state)
{
	struct dir *dir = *state;
	struct settings s, other;
	struct diag_list d = { 0 };
	struct err err = { 0 };
	char wanted[100];
	assert_int_equal(settings_load("r/./x", NULL, &s, &d, &err), 0);
	snprintf(wanted, sizeof wanted, "%s/r/x/run/teal.sock", dir->path);
	assert_string_equal(s.socket_path, wanted);
	OWN_FREE char *socket = settings_socket_path("r/x/");
	assert_string_equal(socket, wanted);
	assert_false(s.system);
	assert_int_equal(strlen(s.tag), 6);
	assert_int_equal(s.userns, USERNS_REQUIRED);
	assert_null(s.network_pool);
	assert_true(s.proxy_workers >= 1 && s.proxy_workers <= 16);
	assert_non_null(s.proxy_user);
	/* the same place by another name, before and after it is there */
	assert_int_equal(symlink("r", "link"), 0);
	assert_int_equal(mkdir("r", 0755), 0);
	assert_int_equal(settings_load("link/x", NULL, &other, &d, &err), 0);
	assert_string_equal(other.tag, s.tag);
	settings_done(&other);
	assert_int_equal(settings_load("elsewhere", NULL, &other, &d, &err), 0);
	assert_string_not_equal(other.tag, s.tag);
	settings_done(&other);
	settings_done(&s);
	diag_done(&d);
}

static void test_system_places(void **state)
{
	struct settings s;
	struct diag_list d = { 0 };
	struct err err = { 0 };
	(void)state;
	put("empty.yaml", "# nothing\n");
	assert_int_equal(settings_load(NULL, "empty.yaml", &s, &d, &err), 0);
	assert_true(s.system);
	assert_null(s.root);
	assert_string_equal(s.state_dir, "/var/lib/teal");
	assert_string_equal(s.socket_path, "/run/teal/teal.sock");
	OWN_FREE char *socket = settings_socket_path(NULL);
	assert_string_equal(socket, s.socket_path);
	settings_done(&s);
	diag_done(&d);
}

static void test_settings_file(void **state)
{
	struct settings s;
	struct diag_list d = { 0 };
	struct err err = { 0 };
	(void)state;
	assert_int_equal(mkdir("root", 0755), 0);
	assert_int_equal(mkdir("root/etc", 0755), 0);
	put("root/etc/teald.yaml",
		"userns: preferred\nnetwork_pool: 10.99.0.0/16\nproxy_workers: 3\nproxy_user: www-data\n");
	setenv("TEAL_LIBEXEC", "/opt/teal/", 1);
	assert_int_equal(settings_load("root", NULL, &s, &d, &err), 0);
	unsetenv("TEAL_LIBEXEC");
	assert_int_equal(s.userns, USERNS_PREFERRED);
	assert_string_equal(s.network_pool, "10.99.0.0/16");
	assert_int_equal(s.proxy_workers, 3);
	assert_string_equal(s.proxy_user, "www-data");
	assert_string_equal(s.libexec_dir, "/opt/teal");
	settings_done(&s);
	diag_done(&d);
}

static void test_bad_settings(void **state)
{
	struct settings s = { .system = true };
	struct diag_list d = { 0 };
	struct err err = { 0 };
	OWN_BUF struct buf out = { 0 };
	(void)state;
	assert_int_equal(settings_load("root", "absent.yaml", &s, &d, &err), -ENOENT);
	put("bad.yaml", "userns: maybe\nnetwork_pool: 10.0.0.1/16\nproxy_worker: 2\n");
	assert_int_equal(settings_load("root", "bad.yaml", &s, &d, &err), -EINVAL);
	assert_string_equal(err.msg, "bad.yaml is not valid");
	assert_true(s.system); /* untouched */
	diag_print(&d, false, &out);
	assert_string_equal(out.data,
		"bad.yaml:1:9: error: `userns`: `maybe` is not one of required, preferred\n"
		"    1 | userns: maybe\n"
		"      |         ^~~~~\n"
		"bad.yaml:2:15: error: `network_pool`: `10.0.0.1/16` has bits set behind its prefix\n"
		"    2 | network_pool: 10.0.0.1/16\n"
		"      |               ^~~~~~~~~~~\n"
		"bad.yaml:3:1: error: unknown key `proxy_worker`\n"
		"    3 | proxy_worker: 2\n"
		"      | ^~~~~~~~~~~~\n"
		"      = hint: did you mean `proxy_workers`?\n");
	diag_done(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_relative_to_the_file),
		cmocka_unit_test(test_what_can_not_be_read),
		cmocka_unit_test(test_too_big),
		cmocka_unit_test(test_env_files),
		cmocka_unit_test(test_env_file_order),
		cmocka_unit_test(test_env_file_not_text),
		cmocka_unit_test(test_env_file_too_long),
		cmocka_unit_test(test_too_big_with_its_files),
		cmocka_unit_test(test_places_of_an_agent),
		cmocka_unit_test(test_system_places),
		cmocka_unit_test(test_settings_file),
		cmocka_unit_test(test_bad_settings),
	};
	return cmocka_run_group_tests(tests, enter_dir, leave_dir);
}
