/* SPDX-License-Identifier: MIT */
/*
 * churn THREADS LIMIT: makes child after child, each with a child of its own, until standard input ends or LIMIT
 * children were made. Up to 4 children at a time; THREADS threads stand by. Tells one line a life on standard output,
 * when it ends: pid, parent's pid, and from when until when it surely lived (CLOCK_BOOTTIME ns).
 */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void tell(long long since)
{
	char line[80];
	int n = snprintf(line, sizeof(line), "%d %d %lld %lld\n", getpid(), getppid(), since, now());

	if (write(1, line, n) != n)
		_exit(99);
}

static void *stand_by(void *unused)
{
	pause();
	return unused;
}

static void live(int generations)
{
	long long since = now();

	if (generations > 0) {
		pid_t child = fork();

		if (child < 0)
			_exit(98);
		if (!child) {
			live(generations - 1);
			_exit(0);
		}
		waitpid(child, NULL, 0);
	}
	tell(since);
}

int main(int argc, char **argv)
{
	int threads = argc > 1 ? atoi(argv[1]) : 0, limit = argc > 2 ? atoi(argv[2]) : 1000;
	long long since = now();
	struct pollfd in = {.fd = 0, .events = POLLIN};
	pthread_t thread;

	for (int i = 0; i < threads; i++)
		if (pthread_create(&thread, NULL, stand_by, NULL))
			return 97;
	for (int i = 0, alive = 0; i < limit && !poll(&in, 1, 0); i++) {
		pid_t child = fork();

		if (child < 0)
			return 98;
		if (!child) {
			live(1);
			_exit(0);
		}
		if (++alive == 4) {
			wait(NULL);
			alive--;
		}
	}
	while (wait(NULL) > 0)
		;
	poll(&in, 1, -1);
	tell(since);
	return 0;
}
