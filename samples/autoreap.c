/* SPDX-License-Identifier: MIT */
/*
 * 3 children that nobody needs to wait for: SIGCHLD is ignored, or with the word `nocldwait` handled with
 * SA_NOCLDWAIT (then the signal is still sent). The kernel reaps them; the parent's wait ends with
 * ECHILD.
 */
#include "truth.h"

enum { CHILDREN = 3 };

static void noted(int sig)
{
	(void)sig;
}

int main(int argc, char **argv)
{
	struct sigaction act = {.sa_handler = SIG_IGN};
	int go[2];

	tell_image(argv);
	if (argc > 1) {
		must(!strcmp(argv[1], "nocldwait"));
		act = (struct sigaction){.sa_handler = noted, .sa_flags = SA_NOCLDWAIT | SA_RESTART};
	}
	must(!sigaction(SIGCHLD, &act, NULL) && !pipe(go));
	for (int k = 0; k < CHILDREN; k++) {
		pid_t pid = told_fork();

		if (!pid) {
			close(go[1]);
			hold(go[0]);
			told_end(40 + k);
		}
		tell("{'ev':'autoreap','pid':%d}", pid);
	}
	close(go[1]);
	must(waitpid(-1, NULL, 0) == -1 && errno == ECHILD);
	told_end(0);
}
