/* SPDX-License-Identifier: MIT */
/* Pages of every sort that the kernel's wpcopy_count counts, and of one that it does not, by prime numbers:
 *
 *   root - P - C1       C1 writes 23 pages that it shares with P, 7 that were only read (the zero page), 11 of a file
 *            - C2       P writes 17 pages that it shares with C2, who stands still
 *
 * Before C2 is born P writes 13 of C1's pages: nobody shares them any more, so nothing is copied. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096L
enum { SHARED = 97, READ_ONLY = 31, IN_FILE = 41 };

static volatile char sink;

static void must(int ok)
{
	if (!ok)
		_exit(99);
}

static char *map(long pages, int fd)
{
	char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
	must(p != MAP_FAILED);
	if (fd < 0)
		must(!madvise(p, pages * PAGE, MADV_NOHUGEPAGE));
	return p;
}

static void write_to(char *p, int first, int count)
{
	for (int i = first; i < first + count; i++)
		((volatile char *)p)[i * PAGE] = 2;
}

static void read_from(char *p, int count)
{
	for (int i = 0; i < count; i++)
		sink = ((volatile char *)p)[i * PAGE];
}

static void parent(void)
{
	int fd = memfd_create("pages", 0), status, gate[2];

	must(fd >= 0 && !ftruncate(fd, IN_FILE * PAGE) && !pipe(gate));
	char *shared = map(SHARED, -1), *zero = map(READ_ONLY, -1), *file = map(IN_FILE, fd);
	write_to(shared, 0, SHARED);
	read_from(zero, READ_ONLY);
	read_from(file, IN_FILE);
	pid_t c1 = fork();
	if (!c1) {
		write_to(shared, 0, 23);
		write_to(zero, 0, 7);
		read_from(file, IN_FILE);
		write_to(file, 0, 11);
		_exit(0);
	}
	must(waitpid(c1, &status, 0) == c1 && !status);
	write_to(shared, 0, 13);
	pid_t c2 = fork();
	if (!c2) {
		char c;
		must(read(gate[0], &c, 1) == 1);
		_exit(0);
	}
	write_to(shared, 40, 17);
	must(write(gate[1], "x", 1) == 1 && waitpid(c2, &status, 0) == c2 && !status);
	_exit(0);
}

int main(void)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		parent();
	must(waitpid(pid, &status, 0) == pid && !status);
	return 0;
}
