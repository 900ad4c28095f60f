/* ksm PAGES: lets the kernel merge PAGES equal pages, writes to all of them, and says how many it had merged. Forks none. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static long merged(void)
{
	long n = -1;
	FILE *f = fopen("/proc/self/ksm_merging_pages", "r");
	if (!f || fscanf(f, "%ld", &n) != 1)
		exit(3);
	fclose(f);
	return n;
}

int main(int argc, char **argv)
{
	long pages = argc == 2 ? atol(argv[1]) : 0;
	char *memory = mmap(0, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED || madvise(memory, pages * 4096, MADV_NOHUGEPAGE))
		return 1;
	memset(memory, 0x5a, pages * 4096);
	if (madvise(memory, pages * 4096, MADV_MERGEABLE))
		return 1;
	for (int tries = 0; tries < 1000 && merged() < pages; tries++)
		usleep(10000);
	printf("%ld\n", merged());
	for (long i = 0; i < pages; i++)
		memory[i * 4096] = 1;
	return 0;
}
