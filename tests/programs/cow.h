/* SPDX-License-Identifier: MIT */
/* A program that does known things to pages, and stops before and after each so that an observer can look.
 *
 *   stdout   "begin PID" and "end PID WHOSE counter=n ... pages=ADDR+STRIDExCOUNT ..." lines
 *   stdin    one byte answers each line
 *
 * PID is the process that counts, WHOSE the one whose pages changed. What is not named is 0. Everything that
 * stopping itself touches is written to twice before `begin`, so that between the two lines only the work faults. */
#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PAGE	/* as who compiles asked the kernel */
#define PAGE 4096L
#endif
#define TOO_LONG 20	/* seconds: a mistake must not hang who watches */

static char line[4096], answer;

__attribute__((noinline)) static void tell(const char *format, ...)
{
	va_list list;
	va_start(list, format);
	int n = vsnprintf(line, sizeof(line), format, list);
	va_end(list);
	if (write(1, line, n) != n || read(0, &answer, 1) != 1)
		_exit(99);
}

/* The stack that `end` may need, which tells more. */
__attribute__((noinline)) static void touch_stack(void)
{
	volatile char room[4 * PAGE] __attribute__((unused));
	for (int i = 0; i < 4; i++)
		room[i * PAGE] = 1;
}

static void begin(void)
{
	touch_stack();
	for (int i = 0; i < 3; i++)
		tell("%s %d %d reuses=%d pages=%p+%ldx%ld\n", i < 2 ? "warm" : "begin", getpid(), 0, 0, (void *)0, 0L, 0L);
}

#define end(format, ...) tell("end %d %d " format "\n", getpid(), getpid(), ##__VA_ARGS__)

static void die(const char *what)
{
	dprintf(1, "die %s: %s\n", what, strerror(errno));
	_exit(98);
}

static inline char *map(long pages, int flags)
{
	char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (p == MAP_FAILED)
		die("mmap");
	/* Never merged with a neighbour into a huge page behind the program's back. */
	madvise(p, pages * PAGE, MADV_NOHUGEPAGE);
	return p;
}

static inline char *anon(long pages)
{
	return map(pages, MAP_PRIVATE | MAP_ANONYMOUS);
}

/* One byte into each of `count` pages, `stride` pages apart, and none is read. */
__attribute__((noinline)) static void dirty(char *p, long count, long stride)
{
	for (long i = 0; i < count; i++)
		((volatile char *)p)[i * stride * PAGE + 7] = i;
}

__attribute__((noinline, unused)) static long peek(const char *p, long count, long stride)
{
	long sum = 0;
	for (long i = 0; i < count; i++)
		sum += ((const volatile char *)p)[i * stride * PAGE];
	return sum;
}

#define PAGES "pages=%p+%ldx%ld"

static inline void reap(pid_t pid)
{
	int status;
	if (waitpid(pid, &status, 0) != pid || status)
		die("a child failed");
}

/* A child that does `work` and ends. */
static inline pid_t child(void (*work)(void))
{
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		alarm(TOO_LONG);
		work();
		_exit(0);
	}
	return pid;
}

static int hold[2];

static inline void wait_for_release(void)
{
	char c;
	if (read(hold[0], &c, 1) != 1)
		_exit(97);
}

/* A child that lives until `release`, and touches nothing. */
static inline pid_t sleeper(void)
{
	if (pipe(hold))
		die("pipe");
	return child(wait_for_release);
}

static inline void release(pid_t pid)
{
	if (write(hold[1], "", 1) != 1)
		die("release");
	reap(pid);
	close(hold[0]);
	close(hold[1]);
}

static void pin(int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

struct phase { const char *name; void (*run)(void); };

/* Not pinned, a page may sit in the other CPU's list of new pages and count as shared although it is not. */
static int run_phase(const struct phase *phases, int n, int argc, char **argv)
{
	for (int i = 0; i < n; i++) {
		if (argc < 2) {
			puts(phases[i].name);
		} else if (!strcmp(argv[1], phases[i].name)) {
			if (strcmp(argv[1], "race"))
				pin(0);
			alarm(TOO_LONG);
			phases[i].run();
			return 0;
		}
	}
	return argc < 2 ? 0 : 96;
}
