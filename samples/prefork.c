/* SPDX-License-Identifier: MIT */
/*
 * A pre-fork server that fails half-way: 5 workers run, the sixth fork is refused with EAGAIN
 * (RLIMIT_NPROC), so the server ends the 5 and reaps them. It gives root up first: root knows no such
 * limit.
 */
#include "truth.h"

enum { WORKERS = 5 };

int main(int argc, char **argv)
{
	struct rlimit one = {1, 1};
	pid_t pid[WORKERS];
	int work[2], ready[2];

	(void)argc;
	tell_image(argv);
	must(geteuid() || (!setgid(65534) && !setuid(65534)));
	tell_fact("uid", getuid());
	must(!pipe(work) && !pipe(ready));
	for (int k = 0; k < WORKERS; k++) {
		pid[k] = told_fork();
		if (!pid[k]) {
			tell_fact("uid", getuid());
			release(ready[1]);
			hold(work[0]);
			_exit(99);
		}
	}
	for (int k = 0; k < WORKERS; k++)
		hold(ready[0]);
	must(!setrlimit(RLIMIT_NPROC, &one));
	must(fork() == -1 && errno == EAGAIN);
	tell("{'ev':'fork_failed','pid':%d,'errno':%d,'error':'EAGAIN'}", getpid(), EAGAIN);
	for (int k = 0; k < WORKERS; k++)
		must(!kill(pid[k], SIGTERM));
	for (int k = 0; k < WORKERS; k++) {
		must(WTERMSIG(told_wait(pid[k])) == SIGTERM);
		tell("{'ev':'killed','pid':%d,'by':%d}", pid[k], getpid());
	}
	told_end(1);
}
