/* SPDX-License-Identifier: MIT */
/*
 * 3 children chdir, then exec: the working directory of an exec is the one at that moment, not at birth
 * or end.
 */
#include "truth.h"

int main(int argc, char **argv)
{
	static const char *where[] = {"/", "/proc", "/usr/bin"};

	tell_image(argv);
	if (argc > 1) {
		char cwd[PATH_MAX];

		must(getcwd(cwd, sizeof(cwd)));
		tell_text("cwd", cwd);
		must(!chdir("/tmp"));
		tell_text("cwd_later", "/tmp");
		return 0;
	}
	for (int k = 0; k < 3; k++) {
		pid_t pid = told_fork();

		if (!pid) {
			char *program = self();

			must(!chdir(where[k]));
			execv(program, (char *[]){"chdir_exec", "there", NULL});
			_exit(99);
		}
		must(!WEXITSTATUS(told_wait(pid)));
	}
	told_end(0);
}
