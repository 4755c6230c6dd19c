#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "prober.h"

#define PATIENCE_US 300000

void say(const char *value, const char *key, ...)
{
	va_list list;
	va_start(list, key);
	vprintf(key, list);
	va_end(list);
	printf(" %s\n", value);
}

const char *outcome(long result)
{
	static char text[16];
	if (result >= 0)
		return "ok";
	snprintf(text, sizeof text, "E%d", errno);
	return text;
}

/* The result comes back in a page that both have: a child that can still write is no proof that it may. */
const char *attempt(long (*act)(long argument), long argument)
{
	static char text[32];
	int wstatus = 0;
	struct itimerval patience = { .it_value.tv_usec = PATIENCE_US };
	int *failed = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	*failed = -1;
	pid_t pid = fork();
	if (pid == 0) {
		signal(SIGALRM, SIG_DFL);
		setitimer(ITIMER_REAL, &patience, NULL);
		*failed = act(argument) < 0 ? errno : 0;
		_exit(0);
	}
	waitpid(pid, &wstatus, 0);
	if (WIFSIGNALED(wstatus) && WTERMSIG(wstatus) == SIGALRM)
		snprintf(text, sizeof text, "hung");
	else if (*failed < 0)
		snprintf(text, sizeof text, "died %d", WIFSIGNALED(wstatus) ? WTERMSIG(wstatus) : 0);
	else
		snprintf(text, sizeof text, *failed ? "E%d" : "ok", *failed);
	munmap(failed, 4096);
	return text;
}

static void wait_for_ever(void)
{
	for (;;)
		pause();
}

static void tell_end(void)
{
	say("of all", "end");
	fflush(stdout);
}

static void tell_identity(void)
{
	char text[32];
	snprintf(text, sizeof text, "%d %d", (int)getuid(), (int)geteuid());
	say(text, "ids");
}

/* Touches memory until it is stopped. */
static void eat(void)
{
	for (;;) {
		char *block = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (block != MAP_FAILED)
			memset(block, 1, 1 << 20);
	}
}

static const struct section SECTIONS[] = {
	{ "calls", probe_calls },
	{ "rights", probe_rights },
	{ "paths", probe_paths },
	{ "sockets", probe_sockets },
	{ "acts", probe_acts },
	{ "processes", probe_processes },
	{ "spy", spy },
	{ "enough", spy_enough },
	{ "ids", tell_identity },
	{ "eat", eat },
	{ "end", tell_end },
	{ "wait", wait_for_ever },
};

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		for (size_t k = 0; k < sizeof SECTIONS / sizeof *SECTIONS; k++)
			if (strcmp(SECTIONS[k].name, argv[i]) == 0) {
				SECTIONS[k].run();
				fflush(stdout);
			}
	return 0;
}
