/* SPDX-License-Identifier: MIT */
/* The fork of every textbook: the child exits 42, the parent waits and checks. */
#include "truth.h"

int main(int argc, char **argv)
{
	pid_t pid;

	(void)argc;
	tell_image(argv);
	pid = told_fork();
	if (!pid)
		_exit(42);
	must(WEXITSTATUS(told_wait(pid)) == 42);
	told_end(0);
}
