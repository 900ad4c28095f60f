/* SPDX-License-Identifier: MIT */
/* Who did it? 5 victims that do not end by themselves, killed by a sibling; the parent only reaps. */
#include "truth.h"

enum { VICTIMS = 5 };

int main(int argc, char **argv)
{
	pid_t victim[VICTIMS], killer;
	int go[2];

	(void)argc;
	tell_image(argv);
	must(!pipe(go));
	for (int k = 0; k < VICTIMS; k++) {
		victim[k] = told_fork();
		if (!victim[k]) {
			hold(go[0]);
			_exit(99);
		}
	}
	killer = told_fork();
	if (!killer) {
		for (int k = 0; k < VICTIMS; k++)
			must(!kill(victim[k], SIGKILL));
		_exit(0);
	}
	told_wait(killer);
	for (int k = 0; k < VICTIMS; k++) {
		must(WTERMSIG(told_wait(victim[k])) == SIGKILL);
		tell("{'ev':'killed','pid':%d,'by':%d}", victim[k], killer);
	}
	told_end(0);
}
