/* SPDX-License-Identifier: MIT */
/*
 * 5 times vfork and exec. The third child waits 50 ms first, so the parent is held that long: the program
 * knows.
 */
#include "truth.h"

enum { CHILDREN = 5, SLOW = 2, SLOW_MS = 50 };

static __attribute__((noinline)) pid_t launch(char **child_argv, int ms)
{
	pid_t pid = vfork();

	if (pid)
		return pid;
	if (ms)
		wait_ms(ms);
	execv("/bin/sh", child_argv);
	_exit(99);
}

int main(int argc, char **argv)
{
	char *child_argv[] = {"sh", "-c", "exit 7", NULL};

	(void)argc;
	tell_image(argv);
	for (int k = 0; k < CHILDREN; k++) {
		int ms = k == SLOW ? SLOW_MS : 0;
		int64_t start = now_ns(CLOCK_BOOTTIME);
		pid_t pid = launch(child_argv, ms);
		long took = now_ns(CLOCK_BOOTTIME) - start;

		must(pid > 0);
#ifdef SYS_vfork /* where there is none, libc uses clone */
		tell("{'ev':'fork','parent':%d,'child':%d,'how':'vfork','syscall':'vfork','flags':%f,"
		     "'vfork_ns_min':%l,'vfork_ns_max':%l}",
		     getpid(), pid, (uint64_t)(CLONE_VM | CLONE_VFORK), ms * 1000000L, took);
#else
		tell("{'ev':'fork','parent':%d,'child':%d,'how':'vfork','vfork_ns_min':%l,'vfork_ns_max':%l}",
		     getpid(), pid, ms * 1000000L, took);
#endif
		tell_exec(pid, "/bin/sh", child_argv);
		must(WEXITSTATUS(told_wait(pid)) == 7);
	}
	told_end(0);
}
