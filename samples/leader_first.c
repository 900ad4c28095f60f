/* SPDX-License-Identifier: MIT */
/*
 * The leader of the child ends first (pthread_exit in main) and stands as a zombie while 3 threads go on;
 * they see that, and end. With leader_codes.c the leader says 3 and the last thread 5.
 */
#include <pthread.h>
#include "truth.h"

#ifndef LEADER_ENDS
#define LEADER_ENDS() pthread_exit(NULL)
#define THREAD_ENDS() pthread_exit(NULL) /* libc makes the last one exit(0) */
enum { THREADS = 3 };
#endif

static int leader_is_gone(void)
{
	char path[64], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", getpid());
	f = fopen(path, "r");
	must(f && fscanf(f, "%*d (%*[^)]) %c", &state) == 1);
	fclose(f);
	return state == 'Z';
}

static void *go_on(void *arg)
{
	for (int tries = 0; !leader_is_gone(); tries++) {
		must(tries < 10000);
		wait_ms(1);
	}
	THREAD_ENDS();
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	pid_t pid;

	(void)argc;
	tell_image(argv);
	pid = told_fork();
	if (!pid) {
		tell_threads(THREADS);
		for (int k = 0; k < THREADS; k++)
			must(!pthread_create(&thread, NULL, go_on, NULL));
		LEADER_ENDS();
	}
	told_wait(pid);
	told_end(0);
}
