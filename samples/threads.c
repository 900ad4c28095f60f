/* SPDX-License-Identifier: MIT */
/* 7 threads made and joined in the root, then 3 in its child. */
#include <pthread.h>
#include "truth.h"

enum { MINE = 7, CHILDS = 3 };

static void *nothing(void *arg)
{
	return arg;
}

static void make(int n)
{
	pthread_t thread[MINE];

	for (int k = 0; k < n; k++)
		must(!pthread_create(&thread[k], NULL, nothing, NULL));
	for (int k = 0; k < n; k++)
		must(!pthread_join(thread[k], NULL));
	tell_threads(n);
}

int main(int argc, char **argv)
{
	pid_t pid;

	(void)argc;
	tell_image(argv);
	make(MINE);
	pid = told_fork();
	if (!pid) {
		make(CHILDS);
		_exit(3);
	}
	told_wait(pid);
	told_end(0);
}
