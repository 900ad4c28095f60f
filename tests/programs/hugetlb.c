/* hugetlb: a child writes to three huge pages that it shares with its parent since the fork. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	const long size = 2L << 20;
	char *memory = mmap(0, 3 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (memory == MAP_FAILED)
		return 1;
	for (int i = 0; i < 3; i++)
		memory[i * size] = 1;
	int status = 1;
	if (!fork()) {
		for (int i = 0; i < 3; i++)
			memory[i * size] = 2;
		_exit(0);
	}
	wait(&status);
	return status;
}
