/* SPDX-License-Identifier: MIT */
/*
 * 3 children that use a known amount of CPU, for themselves and in the kernel, and touch 97 pages each.
 * wait4 says what the kernel charged them: the oracle for CPU time, faults and memory.
 */
#include <sys/mman.h>
#include "truth.h"

enum { CHILDREN = 3, PAGES = 97 };

static void burn(int user_ms, int kernel_ms)
{
	size_t page = sysconf(_SC_PAGESIZE);
	volatile char *p = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(p != MAP_FAILED && !madvise((void *)p, PAGES * page, MADV_NOHUGEPAGE));
	for (int k = 0; k < PAGES; k++)
		p[k * page] = 1;
	while (now_ns(CLOCK_PROCESS_CPUTIME_ID) < user_ms * 1000000LL)
		for (volatile int k = 0; k < 10000; k++)
			;
	while (now_ns(CLOCK_PROCESS_CPUTIME_ID) < (user_ms + kernel_ms) * 1000000LL)
		for (int k = 0; k < 100; k++)
			syscall(SYS_getppid);
}

int main(int argc, char **argv)
{
	static const int user_ms[CHILDREN] = {3, 17, 41}, kernel_ms[CHILDREN] = {0, 23, 5};

	(void)argc;
	tell_image(argv);
	for (int k = 0; k < CHILDREN; k++) {
		pid_t pid = told_fork();
		struct rusage ru;
		int status;

		if (!pid) {
			burn(user_ms[k], kernel_ms[k]);
			_exit(0);
		}
		must(wait4(pid, &status, 0, &ru) == pid);
		tell_exit(pid, status);
		tell("{'ev':'reap','pid':%d,'by':%d}", pid, getpid());
		tell("{'ev':'rusage','pid':%d,'utime_us':%l,'stime_us':%l,'minflt':%l,'majflt':%l,'maxrss_kb':%l}", pid,
		     ru.ru_utime.tv_sec * 1000000 + ru.ru_utime.tv_usec, ru.ru_stime.tv_sec * 1000000 + ru.ru_stime.tv_usec,
		     ru.ru_minflt, ru.ru_majflt, ru.ru_maxrss);
	}
	told_end(0);
}
