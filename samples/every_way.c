/* SPDX-License-Identifier: MIT */
/*
 * 11 ways to make a process, by number of the call and with flags of our own: what libc chooses does not
 * matter.
 */
#include <sched.h>
#include "truth.h"

static char stack[65536] __attribute__((aligned(16)));

static int child_main(void *code)
{
	syscall(SYS_exit_group, (long)(intptr_t)code); /* not exit(): with CLONE_VM these are the parent's buffers */
	return 0;
}

static void born(pid_t pid, int code, const char *how, const char *call, uint64_t flags, int exit_signal)
{
	if (!pid)
		_exit(code);
	must(pid > 0);
	tell("{'ev':'fork','parent':%d,'child':%d,'how':%s,'syscall':%s,'flags':%f,'exit_signal':%d}", getpid(), pid,
	     how, call, flags, exit_signal);
	must(WEXITSTATUS(told_wait(pid)) == code);
}

static void by_clone(int code, const char *how, int flags)
{
	pid_t pid = clone(child_main, stack + sizeof(stack), flags, (void *)(intptr_t)code);

	born(pid, code, how, "clone", flags & ~0xff, flags & 0xff);
}

static void by_clone3(int code, uint64_t flags, int exit_signal)
{
	struct clone_args args = {.flags = flags, .exit_signal = exit_signal};

	/* Any exit signal but SIGCHLD makes a "clone child", which a plain wait does not see. */
	born(clone3(&args), code, exit_signal == SIGCHLD ? "fork" : "clone", "clone3", flags, exit_signal);
}

int main(int argc, char **argv)
{
	(void)argc;
	tell_image(argv);
#ifdef SYS_fork
	born(syscall(SYS_fork), 1, "fork", "fork", 0, SIGCHLD);
#endif
	born(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0), 2, "fork", "clone", 0, SIGCHLD);
	born(syscall(SYS_clone, CLONE_FS | CLONE_FILES | SIGCHLD, 0, 0, 0, 0), 3, "fork", "clone",
	     CLONE_FS | CLONE_FILES, SIGCHLD);
	by_clone(4, "clone", CLONE_VM | SIGCHLD);
	by_clone(5, "clone", CLONE_VM | CLONE_SIGHAND | CLONE_FS | SIGCHLD);
	by_clone(6, "clone", 0);
	by_clone(11, "posix_spawn", CLONE_VM | CLONE_VFORK | SIGCHLD); /* a stack of its own: what libc does there */
	by_clone3(7, 0, SIGCHLD);
	by_clone3(8, CLONE_SYSVSEM | CLONE_IO | CLONE_CLEAR_SIGHAND, SIGCHLD);
	by_clone3(9, 0, 0);
#if defined(__x86_64__) || defined(__aarch64__)
	/* vfork as Python's subprocess and dash make it: clone on the caller's own stack, so no call in between. */
	pid_t pid;

#ifdef __aarch64__
	register long call __asm__("x8") = SYS_clone, x0 __asm__("x0") = CLONE_VM | CLONE_VFORK | SIGCHLD;
	register long x1 __asm__("x1") = 0, x2 __asm__("x2") = 0;

	__asm__ volatile("svc #0\n\tcbnz x0, 1f\n\tmov x8, %4\n\tmov x0, #10\n\tsvc #0\n1:"
			 : "+r"(x0), "+r"(call) : "r"(x1), "r"(x2), "i"(SYS_exit_group) : "memory");
	pid = x0;
#else
	__asm__ volatile("syscall\n\ttest %%eax, %%eax\n\tjnz 1f\n\tmov %2, %%eax\n\tmov $10, %%edi\n\tsyscall\n1:"
			 : "=a"(pid)
			 : "a"(SYS_clone), "i"(SYS_exit_group), "D"(CLONE_VM | CLONE_VFORK | SIGCHLD), "S"(0L), "d"(0L)
			 : "rcx", "r11", "memory");
#endif
	born(pid, 10, "vfork", "clone", CLONE_VM | CLONE_VFORK, SIGCHLD);
#endif
	told_end(0);
}
