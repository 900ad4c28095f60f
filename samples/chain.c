/* SPDX-License-Identifier: MIT */
/* A chain of 5: each process forks the next one and waits for it. Link k exits with k. */
#include "truth.h"

enum { LINKS = 5 };

int main(int argc, char **argv)
{
	(void)argc;
	tell_image(argv);
	for (int k = 1; k <= LINKS; k++) {
		pid_t pid = told_fork();

		if (!pid) {
			if (k < LINKS)
				continue;
			_exit(k);
		}
		must(WEXITSTATUS(told_wait(pid)) == k);
		if (k > 1)
			_exit(k - 1);
		break;
	}
	told_end(0);
}
