/* SPDX-License-Identifier: MIT */
/* 7 times posix_spawn: of a shell that exits with k. */
#include <spawn.h>
#include "truth.h"

enum { CHILDREN = 7 };

extern char **environ;

int main(int argc, char **argv)
{
	(void)argc;
	tell_image(argv);
	for (int k = 0; k < CHILDREN; k++) {
		char command[] = {'e', 'x', 'i', 't', ' ', '0' + k, 0};
		char *child_argv[] = {"sh", "-c", command, NULL};
		pid_t pid;

		must(!posix_spawn(&pid, "/bin/sh", NULL, NULL, child_argv, environ));
		/* clone or clone3, with or without CLONE_CLEAR_SIGHAND: that is libc's affair, so not told. */
		tell_fork(pid, "posix_spawn");
		tell_exec(pid, "/bin/sh", child_argv);
		must(WEXITSTATUS(told_wait(pid)) == k);
	}
	told_end(0);
}
