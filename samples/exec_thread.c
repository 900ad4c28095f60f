/* SPDX-License-Identifier: MIT */
/*
 * exec from a thread that is not the leader: a child with 3 threads, the third calls execv. The kernel
 * ends the leader and the other two (their exits say 0), and the process lives on under its own pid, in a
 * new image that exits 17.
 */
#include <pthread.h>
#include "truth.h"

static void *idle(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void *change(void *arg)
{
	char *next[] = {"exec_thread", "after", NULL};

	execv(self(), next);
	must(!"execv returned");
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	pid_t pid;

	tell_image(argv);
	if (argc > 1) {
		tell_fact("execs", 1);
		return 17;
	}
	pid = told_fork();
	if (!pid) {
		tell_threads(3);
		must(!pthread_create(&thread, NULL, idle, NULL));
		must(!pthread_create(&thread, NULL, idle, NULL));
		must(!pthread_create(&thread, NULL, change, NULL));
		idle(NULL);
	}
	must(WEXITSTATUS(told_wait(pid)) == 17);
	told_end(0);
}
