/* SPDX-License-Identifier: MIT */
/*
 * 3 execs with a variable of its own each, SAMPLE_COLOUR, among others: asked for by name, only it is
 * seen.
 */
#include "truth.h"

int main(int argc, char **argv)
{
	static char *colour[] = {"SAMPLE_COLOUR=teal", "SAMPLE_COLOUR=", "SAMPLE_COLOUR=a=b c"};

	(void)argc;
	tell_image(argv);
	for (int k = 0; k < 3; k++) {
		char *child_argv[] = {"true", NULL};
		char *environment[] = {"SAMPLE_SECRET=hush", colour[k], "SAMPLE_COLOURS=many", NULL};
		pid_t pid = told_fork();

		if (!pid) {
			execve("/bin/true", child_argv, environment);
			_exit(99);
		}
		tell("{'ev':'exec','pid':%d,'exe':'/bin/true','argv':%v,'env':%v}", pid, child_argv,
		     (char *[]){colour[k], NULL});
		told_wait(pid);
	}
	told_end(0);
}
