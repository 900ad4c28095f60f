/* SPDX-License-Identifier: MIT */
/*
 * One pid, 5 lives: clone3 with set_tid gives each child the pid of the one just reaped. Life k exits
 * with k, and life 2 has a child of its own. Needs CAP_CHECKPOINT_RESTORE or root.
 */
#include "truth.h"

enum { LIVES = 5 };

int main(int argc, char **argv)
{
	pid_t first = 0;

	(void)argc;
	tell_image(argv);
	for (int k = 0; k < LIVES; k++) {
		struct clone_args args = {.exit_signal = SIGCHLD};
		int told[2];
		pid_t pid;

		if (k) {
			args.set_tid = (uintptr_t)&first;
			args.set_tid_size = 1;
		}
		must(!pipe(told));
		pid = clone3(&args);
		must(pid >= 0);
		if (!pid) {
			hold(told[0]); /* until the parent has told: only so do the lines name the right life */
			if (k == 2 && (pid = told_fork()))
				told_wait(pid);
			_exit(k);
		}
		must(!k || pid == first);
		first = pid;
		tell("{'ev':'fork','parent':%d,'child':%d,'how':'fork','syscall':'clone3','flags':[]}", getpid(), pid);
		release(told[1]);
		told_wait(pid);
	}
	told_end(0);
}
