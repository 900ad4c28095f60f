/* SPDX-License-Identifier: MIT */
/*
 * Names that hurt: escape sequences, markup, bytes that are no UTF-8, blanks, new lines, what strace
 * prints after a call. 11 children take one each as comm; one more execs a program of such a name with
 * all of them as arguments.
 */
#include <sys/prctl.h>
#include "truth.h"

static char *names[] = {
	"\033[31mred\033[0m", "[red]x[/red]", "[/]", "\xff\xfe\x80", "two words", "line\nfeed",
	") = 5",	      "\"quo\\te'",   "\xc3\xa9t\xc3\xa9", "\r\t\b\x7f", "<b>&amp;",  NULL,
};
enum { NAMES = sizeof(names) / sizeof(*names) - 1 };

int main(int argc, char **argv)
{
	char *dir, link[PATH_MAX + 32];
	pid_t pid;

	tell_image(argv);
	if (argc > 1)
		return 0;
	for (int k = 0; k < NAMES; k++) {
		pid = told_fork();
		if (!pid) {
			must(!prctl(PR_SET_NAME, names[k]));
			tell_text("comm", names[k]);
			_exit(k);
		}
		told_wait(pid);
	}
	dir = temp_dir();
	snprintf(link, sizeof(link), "%s/%s", dir, "\033]0;a\a[b] \xff\n");
	must(!symlink(self(), link));
	pid = told_fork();
	if (!pid) {
		char *child_argv[NAMES + 3] = {"", names[0], ""};

		memcpy(child_argv + 3, names + 1, (NAMES - 1) * sizeof(*names));
		child_argv[NAMES + 2] = NULL;
		execv(link, child_argv);
		_exit(99);
	}
	must(!WEXITSTATUS(told_wait(pid)));
	must(!unlink(link) && !rmdir(dir));
	told_end(0);
}
