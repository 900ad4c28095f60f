/* SPDX-License-Identifier: MIT */
/*
 * CLONE_PARENT: the middle process clones 3 brothers, children of the root, who reaps them. With the word
 * `top` the root does it itself: its 3 brothers are children of whoever started the sample, who has to
 * reap them.
 */
#include "truth.h"

enum { BROTHERS = 3 };

static void clone_brothers(int pids)
{
	for (int k = 0; k < BROTHERS; k++) {
		pid_t pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);

		must(pid >= 0);
		if (!pid) {
			if (pids < 0)
				told_end(20 + k);
			_exit(20 + k);
		}
		tell("{'ev':'fork','parent':%d,'creator':%d,'child':%d,'how':'fork','syscall':'clone','flags':%f}",
		     getppid(), getpid(), pid, (uint64_t)CLONE_PARENT);
		must(pids < 0 || write(pids, &pid, sizeof(pid)) == sizeof(pid));
	}
}

int main(int argc, char **argv)
{
	pid_t middle, pid;
	int pids[2];

	tell_image(argv);
	if (argc > 1 && !strcmp(argv[1], "top")) {
		clone_brothers(-1);
		told_end(0);
	}
	must(!pipe(pids));
	middle = told_fork();
	if (!middle) {
		clone_brothers(pids[1]);
		_exit(0);
	}
	told_wait(middle);
	for (int k = 0; k < BROTHERS; k++) {
		must(read(pids[0], &pid, sizeof(pid)) == sizeof(pid));
		must(WEXITSTATUS(told_wait(pid)) == 20 + k);
	}
	told_end(0);
}
