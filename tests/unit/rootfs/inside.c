/* The only program in the test image: tells what a container looks like from inside, and misbehaves on
 * demand. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int do_exit(char **argv)
{
	return atoi(argv[0]);
}

static int do_echo(char **argv)
{
	for (; *argv; argv++)
		puts(*argv);
	return 0;
}

static _Noreturn int do_wait(char **argv)
{
	(void)argv;
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}

static int do_ignore(char **argv)
{
	signal(SIGTERM, SIG_IGN);
	return do_wait(argv);
}

static void say_bye(int sig)
{
	(void)sig;
	if (write(1, "bye\n", 4) < 0)
		_exit(1);
	_exit(3);
}

static int do_term(char **argv)
{
	signal(SIGTERM, say_bye);
	return do_wait(argv);
}

static int do_raise(char **argv)
{
	signal(atoi(argv[0]), SIG_DFL);
	raise(atoi(argv[0]));
	return 99;
}

/* Touches every page until somebody ends it. */
static int do_eat(char **argv)
{
	(void)argv;
	for (;;) {
		char *p = malloc(1 << 20);
		if (!p)
			return 98;
		memset(p, 1, 1 << 20);
	}
}

static int do_forks(char **argv)
{
	int n = 0;
	(void)argv;
	while (n < 1000) {
		pid_t pid = fork();
		if (pid == 0)
			for (;;)
				pause();
		if (pid < 0)
			break;
		n++;
	}
	printf("forks=%d errno=%d\n", n, errno);
	return 0;
}

static int do_flood(char **argv)
{
	for (int i = 0; i < atoi(argv[0]); i++)
		printf("line %d %s\n", i, argv[1] ? argv[1] : "");
	return 0;
}

/* One line of n bytes, then "end". */
static int do_long(char **argv)
{
	for (int i = 0; i < atoi(argv[0]); i++)
		putchar('a' + i % 26);
	puts("\nend");
	return 0;
}

/* Leaves a grandchild in a session of its own and waits: what a kill of the process alone would miss. */
static int do_tree(char **argv)
{
	if (fork() == 0) {
		setsid();
		if (fork() == 0)
			for (;;)
				pause();
		_exit(0);
	}
	wait(NULL);
	return do_wait(argv);
}

/* Orphans must be reaped by pid 1. */
static int do_orphans(char **argv)
{
	(void)argv;
	for (int i = 0; i < 20; i++)
		if (fork() == 0) {
			if (fork() == 0)
				_exit(0);
			_exit(0);
		}
	while (wait(NULL) > 0)
		;
	for (int tries = 0; tries < 1000; tries++) {
		int zombies = 0;
		DIR *d = opendir("/proc");
		for (struct dirent *e; (e = readdir(d));)
			zombies += atoi(e->d_name) > 0 && atoi(e->d_name) != 1 && atoi(e->d_name) != getpid();
		closedir(d);
		if (!zombies) {
			puts("zombies=0");
			return 0;
		}
		usleep(2000);
	}
	puts("zombies=some");
	return 1;
}

/* Answers every connection on $PORT with one line. */
static int do_serve(char **argv)
{
	int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_port = htons((unsigned short)atoi(getenv("PORT"))) };
	(void)argv;
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(s, (struct sockaddr *)&a, sizeof a) < 0 || listen(s, 16) < 0) {
		perror("listen");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		int c = accept(s, NULL, NULL);
		dprintf(c, "hello from %s\n", getenv("HOSTNAME"));
		close(c);
	}
}

static void fact_int(const char *key, long value)
{
	printf("%s=%ld\n", key, value);
}

static void fact_status(void)
{
	static const char *const KEYS[] = {
		"NoNewPrivs:", "Seccomp:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"
	};
	char line[256];
	FILE *f = fopen("/proc/self/status", "re");
	while (f && fgets(line, sizeof line, f))
		for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++)
			if (strncmp(line, KEYS[i], strlen(KEYS[i])) == 0) {
				char *value = line + strlen(KEYS[i]);
				value += strspn(value, "\t ");
				printf("%.*s=%s", (int)strlen(KEYS[i]) - 1, KEYS[i], value);
			}
	if (f)
		fclose(f);
}

static void fact_fds(void)
{
	int fds = 0, dir;
	for (int fd = 0; fd < 1024; fd++)
		fds += fcntl(fd, F_GETFD) >= 0;
	fact_int("fds", fds);
	dir = open("/proc/1/fd", O_RDONLY | O_DIRECTORY);
	fact_int("init_fds_errno", dir < 0 ? errno : 0);
	if (dir >= 0)
		close(dir);
}

static void fact_processes(void)
{
	int n = 0;
	DIR *d = opendir("/proc");
	for (struct dirent *e; d && (e = readdir(d));)
		n += atoi(e->d_name) > 0;
	fact_int("processes", n);
	if (d)
		closedir(d);
}

static void fact_file(const char *key, const char *path)
{
	char text[256] = "";
	int fd = open(path, O_RDONLY);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	printf("%s=%s\n", key, text);
	if (fd >= 0)
		close(fd);
}

static void fact_write(const char *key, const char *path, int flags)
{
	int fd = open(path, O_WRONLY | flags, 0644);
	fact_int(key, fd < 0 ? errno : 0);
	if (fd >= 0)
		close(fd);
}

static int do_facts(char **argv)
{
	char host[128] = "", cwd[256] = "";
	(void)argv;
	gethostname(host, sizeof host - 1);
	fact_int("pid", getpid());
	fact_int("uid", getuid());
	fact_int("gid", getgid());
	printf("hostname=%s\ncwd=%s\n", host, getcwd(cwd, sizeof cwd));
	fact_status();
	fact_fds();
	fact_processes();
	fact_file("init", "/proc/1/comm");
	fact_file("uid_map", "/proc/self/uid_map");
	fact_file("hosts", "/etc/hosts");
	fact_write("write_root", "/new", O_CREAT);
	fact_write("write_tmp", "/tmp/new", O_CREAT);
	fact_write("write_run", "/run/new", O_CREAT);
	fact_write("write_null", "/dev/null", 0);
	fact_write("write_sysctl", "/proc/sys/kernel/core_pattern", 0);
	fact_write("write_sysrq", "/proc/sysrq-trigger", 0);
	fact_write("write_sys", "/sys/kernel/mm/transparent_hugepage/enabled", 0);
	fact_file("keys", "/proc/keys");
	errno = 0;
	fact_int("mount_errno", mount("none", "/tmp", "tmpfs", 0, NULL) < 0 ? errno : 0);
	fact_int("unshare_errno", syscall(SYS_unshare, 0x10000000) < 0 ? errno : 0);
	fact_int("alg_errno", socket(38, SOCK_SEQPACKET, 0) < 0 ? errno : 0);
	fact_int("clone3_errno", syscall(SYS_clone3, NULL, 0) < 0 ? errno : 0);
	fact_int("future_errno", syscall(5000) < 0 ? errno : 0);
	fact_int("chown_errno", chown("/tmp/new", 1000, 1000) < 0 ? errno : 0);
	fact_int("foreign_id_errno", chown("/tmp/new", 70000, 70000) < 0 ? errno : 0);
	for (char **e = environ; *e; e++)
		printf("env:%s\n", *e);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(char **argv);
} COMMANDS[] = {
	{ "exit", do_exit },
	{ "echo", do_echo },
	{ "wait", do_wait },
	{ "ignore", do_ignore },
	{ "term", do_term },
	{ "raise", do_raise },
	{ "eat", do_eat },
	{ "forks", do_forks },
	{ "flood", do_flood },
	{ "long", do_long },
	{ "tree", do_tree },
	{ "orphans", do_orphans },
	{ "serve", do_serve },
	{ "facts", do_facts },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof COMMANDS / sizeof *COMMANDS; i++)
		if (strcmp(COMMANDS[i].name, argv[1]) == 0)
			return COMMANDS[i].run(argv + 2);
	fprintf(stderr, "inside: unknown command\n");
	return 64;
}
