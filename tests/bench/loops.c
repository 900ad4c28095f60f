/* SPDX-License-Identifier: MIT */
/*
 * loops fork|spawn N        one after the other, prints the ns that all took
 * loops storm SECONDS       as many forks as this core makes in that time, prints how many
 */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
	char *args[] = {"true", NULL}, *env[] = {NULL};
	long n = argc == 3 ? atol(argv[2]) : 0, made = 0;
	long long begin = now();

	if (n <= 0 || n > 10000000)
		return 2;
	if (!strcmp(argv[1], "storm"))
		for (; now() - begin < n * 1000000000LL && made < 6000000; made++) {
			pid_t pid = fork();

			if (pid < 0)
				return 1;
			if (!pid)
				_exit(0);
			waitpid(pid, NULL, 0);
		}
	for (long i = 0; i < n && argv[1][1] != 't'; i++, made++) {
		pid_t pid;

		if (argv[1][0] == 'f') {
			pid = fork();
			if (!pid)
				_exit(0);
		} else if (posix_spawn(&pid, "/bin/true", NULL, NULL, args, env)) {
			return 1;
		}
		waitpid(pid, NULL, 0);
	}
	printf("%lld\n", argv[1][1] == 't' ? (long long)made : now() - begin);
	return 0;
}
