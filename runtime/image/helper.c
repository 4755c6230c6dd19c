#include "runtime/image/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/line.h"
#include "base/own.h"
#include "base/proc.h"

#define ANSWER_MAX 65536u
#define TIMEOUT_MS 10000
#define NOT_FOUND  "credentials not found"
#define TOKEN_USER "<token>"

static int find_program(const char *name, char *ret, size_t size, struct err *err)
{
	static const char *const dirs[] = { "/usr/local/bin", "/usr/bin", "/bin" };
	if (!*name || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") !=
			      strlen(name))
		return err_say(err, EINVAL, "the name of a credential helper is malformed");
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		snprintf(ret, size, "%s/docker-credential-%.100s", dirs[i], name);
		if (access(ret, X_OK) == 0)
			return 0;
	}
	return err_say(err, ENOENT, "there is no program docker-credential-%.100s", name);
}

static int start(const char *program, int in, int out, struct proc *ret, struct err *err)
{
	char get[] = "get", path[] = "PATH=/usr/local/bin:/usr/bin:/bin", home[256];
	const char *own = getenv("HOME");
	snprintf(home, sizeof home, "HOME=%.240s", own ? own : "/");
	char *argv[] = { (char *)(uintptr_t)program, get, NULL }, *envp[] = { path, home, NULL };
	const struct spawn_fd fds[] = { { .from = in, .to = 0 }, { .from = out, .to = 1 } };
	const struct spawn how = { .path = program,
		.argv = argv,
		.envp = envp,
		.fds = fds,
		.n_fds = ARRAY_LEN(fds),
		.new_session = true };
	return proc_spawn(&how, ret, err);
}

static int read_answer(int fd, struct buf *answer, struct err *err)
{
	int64_t end_ms = clock_boot_ms() + TIMEOUT_MS;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	for (;;) {
		char *to = buf_room(answer, 4096);
		int64_t left = end_ms - clock_boot_ms();
		if (!to || answer->len > ANSWER_MAX)
			return err_say(err, EFBIG, "it says too much");
		if (left <= 0 || poll(&p, 1, (int)left) == 0)
			return err_say(err, ETIMEDOUT, "it does not answer");
		ssize_t n = read(fd, to, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? err_set(err, errno, "read its answer") : 0;
		answer->len += (size_t)n;
		answer->data[answer->len] = '\0';
	}
}

static int ask(const char *program, const char *server, struct buf *answer, int *ret_status, struct err *err)
{
	int in[2], out[2];
	if (pipe2(in, O_CLOEXEC) < 0)
		return err_set(err, errno, "make a pipe");
	OWN_FD int in_read = in[0], in_write = in[1];
	if (pipe2(out, O_CLOEXEC) < 0)
		return err_set(err, errno, "make a pipe");
	OWN_FD int out_read = out[0], out_write = out[1];
	struct proc child = PROC_NONE;
	int r = start(program, in_read, out_write, &child, err);
	if (r < 0)
		return r;
	own_close(&in_read);
	own_close(&out_write);
	size_t len = strlen(server); /* fits into the pipe */
	if (write(in_write, server, len) != (ssize_t)len)
		r = err_set(err, errno, "tell it the server");
	own_close(&in_write);
	if (r == 0)
		r = read_answer(out_read, answer, err);
	if (r < 0)
		proc_signal(&child, SIGKILL);
	proc_reap(&child, ret_status);
	proc_close(&child);
	return r;
}

static int take_answer(const struct buf *answer, struct credentials *ret, struct err *err)
{
	OWN_JSON json_t *j = NULL;
	int r = json_parse(answer->data ? answer->data : "", answer->len, "its answer", &j, err);
	const char *user = json_str(j, "Username", ""), *secret = json_str(j, "Secret", "");
	if (r < 0 || !*secret)
		return r;
	if (strcmp(user, TOKEN_USER) == 0) {
		ret->refresh_token = strdup(secret);
		return ret->refresh_token ? 0 : err_set(err, ENOMEM, "read its answer");
	}
	ret->user = strdup(user);
	ret->password = strdup(secret);
	return ret->user && ret->password ? 0 : err_set(err, ENOMEM, "read its answer");
}

static int get(const char *program, const char *server, struct credentials *ret, struct err *err)
{
	struct buf answer = { 0 };
	int wstatus = 0, r = ask(program, server, &answer, &wstatus, err);
	if (r == 0 && wstatus == 0)
		r = take_answer(&answer, ret, err);
	else if (r == 0 && !(answer.data && strstr(answer.data, NOT_FOUND))) {
		char said[200]; /* its message: a helper that fails gives no secret */
		line_copy(said, sizeof said, answer.data ? answer.data : "");
		r = err_say(err, EIO, "it failed: %s", said);
	}
	if (answer.data)
		explicit_bzero(answer.data, answer.cap);
	buf_done(&answer);
	return r;
}

int helper_get(const char *name, const char *server, struct credentials *ret, struct err *err)
{
	char program[160];
	int r = find_program(name, program, sizeof program, err);
	if (r == 0)
		r = get(program, server, ret, err);
	return r < 0 ? err_wrap(err, "credential helper %.100s", name) : 0;
}
