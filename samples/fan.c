/* SPDX-License-Identifier: MIT */
/*
 * A fan of 23: all children live at once, child k exits with k, and they are reaped from the last to the
 * first.
 */
#include "truth.h"

enum { CHILDREN = 23 };

int main(int argc, char **argv)
{
	pid_t pid[CHILDREN];
	int go[2];

	(void)argc;
	tell_image(argv);
	must(!pipe(go));
	for (int k = 0; k < CHILDREN; k++) {
		pid[k] = told_fork();
		if (!pid[k]) {
			close(go[1]);
			hold(go[0]);
			_exit(k);
		}
	}
	close(go[1]);
	for (int k = CHILDREN; k--;)
		must(WEXITSTATUS(told_wait(pid[k])) == k);
	told_end(0);
}
