/* SPDX-License-Identifier: MIT */
/*
 * 3 orphans: the middle process ends before its children, and each of them names its new parent.
 * adopted.c is the same with a subreaper, where the adopter is the sample itself and so the reaper is
 * known too.
 */
#include <sys/prctl.h>
#include "truth.h"

#ifndef SUBREAPER
#define SUBREAPER 0
#endif

enum { ORPHANS = 3 };

static void orphan(sigset_t *adoption, int ready, int k)
{
	int sig;

	/* The kernel sends this one when the parent has gone and the new one is in place: nothing to poll for. */
	must(!prctl(PR_SET_PDEATHSIG, SIGUSR1));
	release(ready);
	must(!sigwait(adoption, &sig) && sig == SIGUSR1);
	tell("{'ev':'adopted','pid':%d,'by':%d}", getpid(), getppid());
	if (SUBREAPER)
		_exit(10 + k);
	told_end(10 + k);
}

int main(int argc, char **argv)
{
	int ready[2], pids[2];
	pid_t middle, pid;
	sigset_t adoption;

	(void)argc;
	tell_image(argv);
	sigemptyset(&adoption);
	sigaddset(&adoption, SIGUSR1);
	sigprocmask(SIG_BLOCK, &adoption, NULL);
	must(!pipe(ready) && !pipe(pids) && !prctl(PR_SET_CHILD_SUBREAPER, SUBREAPER));
	middle = told_fork();
	if (!middle) {
		for (int k = 0; k < ORPHANS; k++) {
			pid = told_fork();
			if (!pid)
				orphan(&adoption, ready[1], k);
			must(write(pids[1], &pid, sizeof(pid)) == sizeof(pid));
		}
		for (int k = 0; k < ORPHANS; k++)
			hold(ready[0]);
		_exit(7);
	}
	must(WEXITSTATUS(told_wait(middle)) == 7);
	for (int k = 0; SUBREAPER && k < ORPHANS; k++) {
		must(read(pids[0], &pid, sizeof(pid)) == sizeof(pid));
		must(WEXITSTATUS(told_wait(pid)) == 10 + k);
	}
	told_end(0);
}
