/* SPDX-License-Identifier: MIT */
/*
 * burst N: makes N children, which nobody needs to wait for, and says "ready". When standard input ends, they end; when
 * the last has, it says "done" and exits with 7. So it makes just these records: N births, N ends, N releases, and the
 * root's own.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void until_the_end(void)
{
	char c;

	while (read(0, &c, 1) > 0)
		;
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 0;

	signal(SIGCHLD, SIG_IGN);
	for (int i = 0; i < n; i++) {
		pid_t child = fork();

		if (child < 0)
			return 98;
		if (!child) {
			until_the_end();
			_exit(0);
		}
	}
	if (write(1, "ready\n", 6) != 6)
		return 99;
	until_the_end();
	while (wait(NULL) > 0 || errno == EINTR)
		;
	if (write(1, "done\n", 5) != 5)
		return 99;
	return 7;
}
