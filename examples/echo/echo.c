/* echo: sends back what it gets on each TCP connection, one process per connection; ends a connection when
 * the client has ended its half and everything was sent back. Listens on $PORT (default 7777). */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void echo_all(int fd)
{
	char bytes[65536];

	for (ssize_t n; (n = read(fd, bytes, sizeof(bytes))) > 0;) {
		for (ssize_t sent = 0, m; sent < n; sent += m) {
			m = write(fd, bytes + sent, (size_t)(n - sent));
			if (m < 0)
				return;
		}
	}
}

static void stop(int sig)
{
	(void)sig;
	_exit(0);
}

int main(void)
{
	const char *port = getenv("PORT");
	struct sockaddr_in any = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)(port ? strtoul(port, NULL, 10) : 7777)) };
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	signal(SIGTERM, stop);
	signal(SIGCHLD, SIG_IGN); /* children are reaped by the kernel */
	signal(SIGPIPE, SIG_IGN);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 || listen(fd, SOMAXCONN) < 0) {
		fprintf(stderr, "echo: listen: %s\n", strerror(errno));
		return 1;
	}
	fprintf(stderr, "echo: listening on port %u\n", ntohs(any.sin_port));
	for (;;) {
		int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		if (conn < 0)
			continue;
		pid_t pid = fork();
		if (pid == 0) {
			close(fd);
			echo_all(conn);
			_exit(0);
		}
		close(conn);
	}
}
