/* SPDX-License-Identifier: MIT */
/*
 * One process, 5 images: the child of the root execs itself 5 times with another first argument, then
 * exits 5.
 */
#include "truth.h"

enum { IMAGES = 5 };

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 0;
	pid_t pid = 1;

	tell_image(argv);
	if (!n)
		pid = told_fork();
	if (!n && pid) {
		must(WEXITSTATUS(told_wait(pid)) == IMAGES);
		told_end(0);
	}
	if (n < IMAGES) {
		char number[] = {'1' + n, 0};

		execv(self(), (char *[]){"execs", number, NULL});
	}
	tell_fact("execs", IMAGES);
	_exit(n);
}
