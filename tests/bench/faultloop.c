/* SPDX-License-Identifier: MIT */
/* Takes faults of one sort by the thousand and says how many ns of CPU time each took.
 *
 *   stdin    one letter a line: c copy, r reuse, f fresh, z read the zero page, u unmap, k fork+exit+wait
 *   stdout   ns per fault (or per page, per fork), one line each
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096L
#define N 16384L
#define FORKS 300

static long now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static char *map(void)
{
	char *p = mmap(NULL, N * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED || madvise(p, N * PAGE, MADV_NOHUGEPAGE))
		exit(1);
	return p;
}

static void dirty(char *p)
{
	for (long i = 0; i < N; i++)
		((volatile char *)p)[i * PAGE] = i;
}

static long timed(void (*work)(char *), char *p)
{
	long start = now(CLOCK_THREAD_CPUTIME_ID);
	work(p);
	return now(CLOCK_THREAD_CPUTIME_ID) - start;
}

static void look(char *p)
{
	for (long i = 0; i < N; i++)
		(void)((volatile char *)p)[i * PAGE];
}

static void unmap(char *p)
{
	munmap(p, N * PAGE);
}

static void fork_once(char *p)
{
	(void)p;
	pid_t pid = fork();
	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
}

static long children(void)
{
	struct rusage u;
	getrusage(RUSAGE_CHILDREN, &u);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000L + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000L;
}

static void forks(char *p)
{
	for (int i = 0; i < FORKS; i++)
		fork_once(p);
}

static double measure(int what)
{
	int tube[2];
	long ns = 0;
	char *p;
	switch (what) {
	case 'c':
		p = map();
		dirty(p);
		if (pipe(tube))
			exit(1);
		if (!fork()) {
			ns = timed(dirty, p);
			_exit(write(tube[1], &ns, sizeof(ns)) != sizeof(ns));
		}
		if (read(tube[0], &ns, sizeof(ns)) != sizeof(ns))
			exit(1);
		wait(NULL);
		close(tube[0]);
		close(tube[1]);
		unmap(p);
		return (double)ns / N;
	case 'r':
		p = map();
		dirty(p);
		fork_once(p);
		ns = timed(dirty, p);
		unmap(p);
		return (double)ns / N;
	case 'f':
		p = map();
		ns = timed(dirty, p);
		unmap(p);
		return (double)ns / N;
	case 'z':
		p = map();
		ns = timed(look, p);
		unmap(p);
		return (double)ns / N;
	case 'u':
		p = map();
		dirty(p);
		return (double)timed(unmap, p) / N;
	case 'k':
		/* Of the children too: their ends are where records are sent. */
		ns = now(CLOCK_PROCESS_CPUTIME_ID) + children();
		forks(NULL);
		return (double)(now(CLOCK_PROCESS_CPUTIME_ID) + children() - ns) / FORKS;
	}
	exit(1);
}

int main(void)
{
	char line[16];
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	sched_setaffinity(0, sizeof(set), &set);
	while (fgets(line, sizeof(line), stdin)) {
		printf("%.1f\n", measure(line[0]));
		fflush(stdout);
	}
	return 0;
}
