#include "runtime/native/nft.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/line.h"
#include "base/own.h"
#include "base/proc.h"

#define ANSWER_MAX (8u << 20)

const char *nft_program(void)
{
	static const char *const PLACES[] = { "/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft",
		"/usr/local/sbin/nft" };
	for (size_t i = 0; i < ARRAY_LEN(PLACES); i++)
		if (access(PLACES[i], X_OK) == 0)
			return PLACES[i];
	return NULL;
}

struct pipes {
	int in[2], out[2], err[2];
};

static void own_pipes(struct pipes *p)
{
	int *all[] = { p->in, p->out, p->err };
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		own_close(&all[i][0]);
		own_close(&all[i][1]);
	}
}

/* Requests are smaller than a pipe; what comes back may be bigger, and on both ends. */
static int read_both(struct pipes *p, struct buf *out, struct buf *complaint)
{
	struct pollfd fds[] = { { .fd = p->out[0], .events = POLLIN },
		{ .fd = p->err[0], .events = POLLIN } };
	struct buf *const to[] = { out, complaint };
	while (fds[0].fd >= 0 || fds[1].fd >= 0) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < 2; i++) {
			char part[4096];
			if (fds[i].fd < 0 || !fds[i].revents)
				continue;
			ssize_t n = read(fds[i].fd, part, sizeof part);
			if (n > 0)
				buf_add(to[i], part, (size_t)n);
			else if (n == 0 || errno != EINTR)
				fds[i].fd = -1;
		}
	}
	return out->failed ? -ENOMEM : 0;
}

static int await_end(struct proc *p)
{
	struct pollfd fd = { .fd = p->pidfd, .events = POLLIN };
	int wstatus = 0;
	while (poll(&fd, 1, -1) < 0 && errno == EINTR)
		;
	proc_reap(p, &wstatus);
	proc_close(p);
	return wstatus;
}

static int converse(const char *request, struct buf *answer, struct err *err)
{
	OWN(own_pipes) struct pipes p = { { -1, -1 }, { -1, -1 }, { -1, -1 } };
	OWN_BUF struct buf complaint = { .max = 65536 };
	struct proc child = PROC_NONE;
	char name[] = "nft", json[] = "-j", file[] = "-f", dash[] = "-";
	char *argv[] = { name, json, file, dash, NULL }, *envp[] = { NULL };
	const char *program = nft_program();
	if (!program)
		return err_say(err, ENOENT, "there is no nft program: install nftables");
	if (pipe2(p.in, O_CLOEXEC) < 0 || pipe2(p.out, O_CLOEXEC) < 0 || pipe2(p.err, O_CLOEXEC) < 0)
		return err_set(err, errno, "make pipes");
	struct spawn_fd fds[] = { { p.in[0], 0 }, { p.out[1], 1 }, { p.err[1], 2 } };
	struct spawn how = { .path = program, .argv = argv, .envp = envp, .fds = fds, .n_fds = 3 };
	int r = proc_spawn(&how, &child, err);
	if (r < 0)
		return r;
	own_close(&p.in[0]);
	own_close(&p.out[1]);
	own_close(&p.err[1]);
	ssize_t n = write(p.in[1], request, strlen(request));
	own_close(&p.in[1]);
	r = read_both(&p, answer, &complaint);
	int wstatus = await_end(&child);
	if (n == (ssize_t)strlen(request) && r == 0 && WIFEXITED(wstatus) && WEXITSTATUS(wstatus) == 0)
		return 0;
	char why[200];
	line_copy(why, sizeof why, complaint.len ? complaint.data : "it ended without a word");
	return err_say(err, strstr(why, "No such file") ? ENOENT : EIO, "nft: %s", why);
}

int nft_run(json_t *commands, json_t **ret_answer, struct err *err)
{
	OWN_JSON json_t *request = json_pack("{s:o}", "nftables", commands), *j = NULL;
	OWN_FREE char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	OWN_BUF struct buf answer = { .max = ANSWER_MAX };
	if (!text)
		return err_set(err, ENOMEM, "nft");
	int r = converse(text, &answer, err);
	if (r < 0 || !ret_answer)
		return r;
	r = json_parse(answer.len ? answer.data : "", answer.len, "nft's answer", &j, err);
	if (r < 0)
		return r;
	json_t *rows = json_object_get(j, "nftables");
	*ret_answer = rows ? json_incref(rows) : json_array();
	return 0;
}

uint32_t nft_generation(void)
{
	struct {
		struct nlmsghdr head;
		struct nfgenmsg body;
	} request = { .head = { .nlmsg_len = sizeof request,
			      .nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN,
			      .nlmsg_flags = NLM_F_REQUEST } };
	char answer[1024] __attribute__((aligned(NLMSG_ALIGNTO)));
	OWN_FD int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (sock < 0 || send(sock, &request, sizeof request, 0) < 0)
		return 0;
	ssize_t n = recv(sock, answer, sizeof answer, 0);
	const struct nlmsghdr *h = (const void *)answer;
	size_t head = NLMSG_LENGTH(sizeof(struct nfgenmsg));
	if (n < (ssize_t)(head + NLA_HDRLEN + sizeof(uint32_t)) ||
		h->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN))
		return 0;
	const struct nlattr *a = (const void *)(answer + head);
	uint32_t generation;
	if (a->nla_type != NFTA_GEN_ID)
		return 0;
	memcpy(&generation, (const char *)a + NLA_HDRLEN, sizeof generation);
	return ntohl(generation);
}
