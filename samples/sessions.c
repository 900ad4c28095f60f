/* SPDX-License-Identifier: MIT */
/*
 * Sessions and groups, as a shell makes them: a leader (setsid) with 3 jobs, each born in the leader's
 * group, the second and third then in groups of their own (setpgid), with a child each born into it.
 */
#include "truth.h"

enum { JOBS = 3 };

/* Where a process is born to; told before it moves. */
static void tell_place(void)
{
	tell_fact("sid", getsid(0));
	tell_fact("pgid", getpgrp());
}

static void job(int k)
{
	tell_place();
	if (k) {
		must(!setpgid(0, 0));
		pid_t pid = told_fork();

		if (!pid) {
			tell_place();
			_exit(50 + k);
		}
		told_wait(pid);
	}
	_exit(k);
}

int main(int argc, char **argv)
{
	pid_t leader;

	(void)argc;
	tell_image(argv);
	leader = told_fork();
	if (!leader) {
		tell_place();
		must(setsid() == getpid());
		for (int k = 0; k < JOBS; k++) {
			pid_t pid = told_fork();

			if (!pid)
				job(k);
			told_wait(pid);
		}
		_exit(0);
	}
	told_wait(leader);
	told_end(0);
}
