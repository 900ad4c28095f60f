/* SPDX-License-Identifier: MIT */
/*
 * 2 MiB of argv: 17 arguments of 130,001 letters (the kernel takes no longer one than 131,071) and the
 * name.
 */
#include "truth.h"

enum { ARGUMENTS = 17, LETTERS = 130001 };

int main(int argc, char **argv)
{
	static char text[LETTERS + 1];
	char *child_argv[ARGUMENTS + 2] = {"true"};
	struct rlimit limit;
	pid_t pid;

	(void)argc;
	tell_image(argv);
	memset(text, 'x', LETTERS);
	for (int k = 1; k <= ARGUMENTS; k++)
		child_argv[k] = text;
	must(!getrlimit(RLIMIT_STACK, &limit));
	limit.rlim_cur = 32 << 20; /* arguments may take a quarter of it */
	must(!setrlimit(RLIMIT_STACK, &limit));
	pid = told_fork();
	if (!pid) {
		execv("/bin/true", child_argv);
		_exit(99);
	}
	tell("{'ev':'exec','pid':%d,'exe':'/bin/true','argv':['true'],"
	     "'more':{'count':%d,'letter':'x','length':%d}}",
	     pid, ARGUMENTS, LETTERS);
	must(!WEXITSTATUS(told_wait(pid)));
	told_end(0);
}
