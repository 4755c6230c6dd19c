#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <linux/filter.h>
#include <stdbool.h>
#include <string.h>

#include "bpf.h"

static bool jumps(const struct sock_filter *i, uint32_t a)
{
	switch (BPF_OP(i->code)) {
	case BPF_JEQ: return a == i->k;
	case BPF_JGT: return a > i->k;
	case BPF_JGE: return a >= i->k;
	case BPF_JSET: return (a & i->k) != 0;
	default: fail_msg("jump %#x", i->code); return false;
	}
}

uint32_t bpf_run(const struct buf *program, const struct seccomp_data *call)
{
	size_t n = program->len / sizeof(struct sock_filter);
	uint32_t a = 0;
	for (size_t at = 0; at < n; at++) {
		struct sock_filter i;
		memcpy(&i, program->data + at * sizeof i, sizeof i);
		switch (BPF_CLASS(i.code)) {
		case BPF_LD:
			assert_true(i.k <= sizeof *call - sizeof a);
			memcpy(&a, (const char *)call + i.k, sizeof a);
			break;
		case BPF_ALU:
			assert_int_equal(BPF_OP(i.code), BPF_AND);
			a &= i.k;
			break;
		case BPF_JMP: at += BPF_OP(i.code) == BPF_JA ? i.k : jumps(&i, a) ? i.jt : i.jf; break;
		case BPF_RET: return i.k;
		default: fail_msg("instruction %#x", i.code);
		}
	}
	fail_msg("the program has no end");
	return 0;
}
