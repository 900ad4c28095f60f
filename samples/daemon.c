/* SPDX-License-Identifier: MIT */
/*
 * The double fork: root -> middle (setsid) -> daemon. The middle ends at once; the daemon, in a session
 * that it does not lead, ends after the root has.
 */
#include <sys/prctl.h>
#include "truth.h"

static void run_daemon(sigset_t *adoption, int ready, int root_lives)
{
	int sig;

	must(!prctl(PR_SET_PDEATHSIG, SIGUSR1));
	release(ready);
	must(!sigwait(adoption, &sig));
	tell("{'ev':'adopted','pid':%d,'by':%d}", getpid(), getppid());
	tell_fact("sid", getsid(0));
	tell_fact("pgid", getpgrp());
	must(getsid(0) != getpid());
	hold(root_lives);
	told_end(0);
}

int main(int argc, char **argv)
{
	int root_lives[2], ready[2];
	sigset_t adoption;
	pid_t middle;

	(void)argc;
	tell_image(argv);
	sigemptyset(&adoption);
	sigaddset(&adoption, SIGUSR1);
	sigprocmask(SIG_BLOCK, &adoption, NULL);
	must(!pipe(root_lives) && !pipe(ready));
	middle = told_fork();
	if (!middle) {
		close(root_lives[1]);
		must(setsid() == getpid());
		if (!told_fork())
			run_daemon(&adoption, ready[1], root_lives[0]);
		hold(ready[0]);
		_exit(0);
	}
	told_wait(middle);
	told_end(0);
}
