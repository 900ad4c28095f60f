/* contention PAGES CHILDREN ROUNDS CPUS: in each round children that share PAGES with their parent write to all of
 * them at once, on CPUS processors; then they end, and are waited for. What is true of it: CHILDREN * ROUNDS births and
 * ends with status 7, and in each child PAGES copies, and those few that every child of a fork makes. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc != 5)
		return 2;
	long pages = atol(argv[1]), children = atol(argv[2]), rounds = atol(argv[3]), cpus = atol(argv[4]);
	char *memory = mmap(0, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED || madvise(memory, pages * 4096, MADV_NOHUGEPAGE))
		return 1;
	for (long i = 0; i < pages; i++)
		memory[i * 4096] = 1;
	cpu_set_t set;
	CPU_ZERO(&set);
	for (long cpu = 0; cpu < cpus; cpu++)
		CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		return 1;
	for (long round = 0; round < rounds; round++) {
		int gate[2];
		if (pipe(gate))
			return 1;
		for (long child = 0; child < children; child++) {
			pid_t pid = fork();
			if (pid < 0)
				return 1;
			if (!pid) {
				char byte;
				close(gate[1]);
				if (read(gate[0], &byte, 1))
					_exit(1);
				for (long i = 0; i < pages; i++)
					memory[i * 4096] = 2;
				_exit(7);
			}
		}
		close(gate[0]);
		close(gate[1]);
		for (long child = 0; child < children; child++) {
			int status;
			if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 7)
				return 1;
		}
	}
	return 0;
}
