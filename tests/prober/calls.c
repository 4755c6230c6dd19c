/* Every call, with arguments that can do no harm where it is let through: all ones, or what the filter looks
 * at. */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "prober.h"

#define CALLS	    471
#define X32_BIT	    0x40000000L
#define NOT_BACK    (-5000L)
#define PATIENCE_US 200000

struct arguments {
	long number, a, b, c;
};

/* Those whose answer depends on an argument, with one that is fit for a program. */
static const struct arguments SPECIAL[] = {
	{ SYS_clone, SIGCHLD, 0, 0 },
	{ SYS_personality, 0xffffffff, -1, -1 },
	{ SYS_socket, 1, 1, 0 },
	{ SYS_socketpair, 1, 1, 0 },
	{ SYS_mknod, -1, S_IFIFO, 0 },
	{ SYS_mknodat, -1, -1, S_IFIFO },
};

#if defined(__x86_64__)
/* A call that comes back twice (fork, vfork) must find nothing of its first return on the stack: each return
 * stores the result and ends its process, in one piece. */
static _Noreturn __attribute__((noinline)) void call_and_end(
	volatile long *slot, long number, const struct arguments *given)
{
	register long d __asm__("r10") = -1, e __asm__("r8") = -1, f __asm__("r9") = -1;
	register volatile long *to __asm__("r12") = slot;
	__asm__ volatile("syscall\n\t"
			 "movq %%rax, (%[to])\n\t"
			 "xorl %%edi, %%edi\n\t"
			 "movl $231, %%eax\n\t"
			 "syscall\n\t"
			 :
			 : "a"(number), "D"(given->a), "S"(given->b), "d"(given->c), "r"(d), "r"(e),
			 "r"(f), [to] "r"(to)
			 : "rcx", "r11", "memory");
	__builtin_unreachable();
}

static _Noreturn __attribute__((noinline)) void call_i386_and_end(
	volatile long *slot, long number, const struct arguments *given)
{
	register volatile long *to __asm__("r12") = slot;
	(void)given;
	__asm__ volatile("int $0x80\n\t"
			 "movslq %%eax, %%rax\n\t"
			 "movq %%rax, (%[to])\n\t"
			 "xorl %%edi, %%edi\n\t"
			 "movl $231, %%eax\n\t"
			 "syscall\n\t"
			 :
			 : "a"(number), "b"(-1L), "c"(-1L), "d"(-1L), "S"(-1L), "D"(-1L), [to] "r"(to)
			 : "r8", "r9", "r10", "r11", "memory");
	__builtin_unreachable();
}
#endif

typedef void (*door_fn)(volatile long *slot, long number, const struct arguments *given);

static const struct arguments *arguments_of(long number)
{
	static const struct arguments ones = { 0, -1, -1, -1 };
	for (size_t i = 0; i < sizeof SPECIAL / sizeof *SPECIAL; i++)
		if (SPECIAL[i].number == number)
			return &SPECIAL[i];
	return &ones;
}

static void probe_one(const char *door, door_fn call, long bit, long number, volatile long *slot)
{
	char text[32];
	int wstatus = 0;
	struct itimerval patience = { .it_value.tv_usec = PATIENCE_US };
	*slot = NOT_BACK;
	pid_t pid = fork();
	if (pid == 0) {
		setitimer(ITIMER_REAL, &patience, NULL);
		call(slot, number | bit, arguments_of(number));
	}
	waitpid(pid, &wstatus, 0);
	if (*slot != NOT_BACK)
		snprintf(text, sizeof text, *slot < 0 && *slot > -4096 ? "E%ld" : "ok", -*slot);
	else if (WIFSIGNALED(wstatus))
		snprintf(text, sizeof text, WTERMSIG(wstatus) == SIGALRM ? "hung" : "died %d",
			WTERMSIG(wstatus));
	else
		snprintf(text, sizeof text, "gone");
	say(text, "call.%s.%ld", door, number);
}

void probe_calls(void)
{
#if defined(__x86_64__)
	static const struct {
		const char *name;
		door_fn call;
		long bit;
	} DOORS[] = {
		{ "native", call_and_end, 0 },
		{ "x32", call_and_end, X32_BIT },
		{ "i386", call_i386_and_end, 0 },
	};
	volatile long *slot = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fflush(stdout);
	signal(SIGALRM, SIG_DFL);
	for (size_t door = 0; door < sizeof DOORS / sizeof *DOORS; door++)
		for (long number = 0; number < CALLS; number++) {
			probe_one(DOORS[door].name, DOORS[door].call, DOORS[door].bit, number, slot);
			fflush(stdout); /* a child must not inherit what is still to be written */
		}
	munmap((void *)(uintptr_t)slot, 4096);
#endif
}
