/* SPDX-License-Identifier: MIT */
/*
 * What a fork takes: fork_cost MIB fork|vfork|posix_spawn huge|small TIMES. A parent with MIB of touched
 * anonymous memory starts TIMES children, one after the other, and tells how long each call kept it. A
 * forked child leaves at once; vfork and posix_spawn run /bin/true, as that is what they exist for.
 */
#include <spawn.h>
#include <sys/mman.h>
#include "truth.h"

int main(int argc, char **argv)
{
	char *args[] = {"true", NULL}, *env[] = {NULL};

	must(argc == 5);
	tell_image(argv);

	size_t bytes = strtoul(argv[1], NULL, 10) << 20;

	if (bytes) {
		/* Aligned, so that with huge pages all of it is made of them. */
		char *p = aligned_alloc(2 << 20, bytes);

		must(p);
		must(!madvise(p, bytes, strcmp(argv[3], "huge") ? MADV_NOHUGEPAGE : MADV_HUGEPAGE));
		memset(p, 1, bytes);
	}
	for (int i = 0; i < atoi(argv[4]); i++) {
		pid_t pid = 0;
		int64_t begin = now_ns(CLOCK_MONOTONIC);

		if (!strcmp(argv[2], "fork"))
			pid = fork();
		else if (!strcmp(argv[2], "vfork"))
			pid = vfork();
		else
			must(!posix_spawn(&pid, "/bin/true", NULL, NULL, args, env));
		if (pid == 0) {
			if (!strcmp(argv[2], "vfork"))
				execve("/bin/true", args, env);
			_exit(0);
		}
		must(pid > 0);
		tell("{'ev':'call','pid':%d,'ns':%l}", pid, (long)(now_ns(CLOCK_MONOTONIC) - begin));
		must(waitpid(pid, NULL, 0) == pid);
	}
	told_end(0);
}
