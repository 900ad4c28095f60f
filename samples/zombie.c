/* SPDX-License-Identifier: MIT */
/* 3 zombies of 300 ms: the parent knows that each has ended (WNOWAIT reaps nothing), then lets it wait. */
#include "truth.h"

enum { ZOMBIES = 3, HELD_MS = 300 };

int main(int argc, char **argv)
{
	int64_t before[ZOMBIES], dead[ZOMBIES];
	pid_t pid[ZOMBIES];
	siginfo_t info;
	int go[2];

	(void)argc;
	tell_image(argv);
	must(!pipe(go));
	for (int k = 0; k < ZOMBIES; k++) {
		pid[k] = told_fork();
		if (!pid[k]) {
			hold(go[0]);
			_exit(k);
		}
		before[k] = now_ns(CLOCK_BOOTTIME);
		release(go[1]);
		must(!waitid(P_PID, pid[k], &info, WEXITED | WNOWAIT));
		dead[k] = now_ns(CLOCK_BOOTTIME);
	}
	wait_ms(HELD_MS);
	for (int k = 0; k < ZOMBIES; k++) {
		int64_t held = now_ns(CLOCK_BOOTTIME) - dead[k];
		int status;

		must(waitpid(pid[k], &status, 0) == pid[k]);
		tell_exit(pid[k], status);
		tell("{'ev':'reap','pid':%d,'by':%d,'zombie_ns_min':%l,'zombie_ns_max':%l}", pid[k], getpid(),
		     (long)held, (long)(now_ns(CLOCK_BOOTTIME) - before[k]));
	}
	told_end(0);
}
