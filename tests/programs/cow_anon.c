/* SPDX-License-Identifier: MIT */
/* Anonymous memory: who writes first, who after, and what the other had done by then. */
#include "cow.h"
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>

extern char **environ;
static char *buf;

static void write_101(void)
{
	begin();
	dirty(buf, 101, 5);
	end("wp_faults=101 cow_anon=101 " PAGES, buf, 5L, 101L);
}

static void child_writes(void)
{
	buf = anon(509);
	dirty(buf, 509, 1);
	reap(child(write_101));
}

static void parent_after_exit(void)
{
	buf = anon(509);
	dirty(buf, 509, 1);
	reap(child(write_101));
	begin();
	dirty(buf, 509, 1);
	end("wp_faults=509 reuses=509");
}

static void second_writer(void)
{
	wait_for_release();
	begin();
	dirty(buf, 509, 1);
	end("wp_faults=509 reuses=509");
}

static void parent_while_child_lives(void)
{
	buf = anon(509);
	dirty(buf, 509, 1);
	if (pipe(hold))
		die("pipe");
	pid_t pid = child(second_writer);
	begin();
	dirty(buf, 509, 1);
	end("wp_faults=509 cow_anon=509 " PAGES, buf, 1L, 509L);
	release(pid);
}

static void zero_page(void)
{
	buf = anon(509);
	peek(buf, 509, 1);
	begin();
	dirty(buf, 509, 1);
	end("wp_faults=509 zero_copies=509 " PAGES, buf, 1L, 509L);
}

static void fresh(void)
{
	buf = anon(509);
	begin();
	dirty(buf, 509, 1);
	end("reuses=0");
}

static void no_work(void)
{
	begin();
	end("reuses=0");
}

/* The parent says which frames it had; the child, as soon as it can, which it has now. */
static void birth(void)
{
	buf = anon(101);
	dirty(buf, 101, 1);
	begin();
	reap(child(no_work));
}

static void dont_fork(void)
{
	buf = anon(101);
	dirty(buf, 101, 1);
	if (madvise(buf, 101 * PAGE, MADV_DONTFORK))
		die("MADV_DONTFORK");
	pid_t pid = sleeper();
	begin();
	dirty(buf, 101, 1);
	end("reuses=0");
	release(pid);
}

static void write_fresh(void)
{
	begin();
	dirty(buf, 101, 1);
	end("reuses=0");
}

static void wipe_on_fork(void)
{
	buf = anon(101);
	dirty(buf, 101, 1);
	if (madvise(buf, 101 * PAGE, MADV_WIPEONFORK))
		die("MADV_WIPEONFORK");
	reap(child(write_fresh));
}

static void discard_and_write(void)
{
	madvise(buf, 101 * PAGE, MADV_DONTNEED);
	write_fresh();
}

static void dont_need(void)
{
	buf = anon(101);
	dirty(buf, 101, 1);
	reap(child(discard_and_write));
}

static void vfork_exec(void)
{
	buf = anon(509);
	dirty(buf, 509, 1);
	pid_t pid = vfork();
	if (!pid) {
		execl("/bin/true", "true", NULL);
		_exit(95);
	}
	begin();
	dirty(buf, 509, 1);
	end("reuses=0");
	reap(pid);
}

static void posix_spawned(void)
{
	buf = anon(509);
	dirty(buf, 509, 1);
	pid_t pid;
	char *argv[] = { "true", NULL };
	if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ))
		die("posix_spawn");
	begin();
	dirty(buf, 509, 1);
	end("reuses=0");
	reap(pid);
}

#define HUGE (PAGE * PAGE / 8)	/* what a table of pages covers */
static char *huge(void)
{
	char *p = mmap(NULL, 3 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	p = (char *)(((long)p + HUGE - 1) & ~(HUGE - 1));
	if (madvise(p, 2 * HUGE, MADV_HUGEPAGE))
		die("MADV_HUGEPAGE");
	return p;
}

static void write_151(void)
{
	begin();
	dirty(buf, 151, 6);
	end("wp_faults=151 cow_anon=151 " PAGES, buf, 6L, 151L);
}

static void huge_pages(void)
{
	buf = huge();
	dirty(buf, 2 * HUGE / PAGE, 1);
	reap(child(write_151));
	begin();
	dirty(buf, 2 * HUGE / PAGE, 1);
	end("wp_faults=2 reuses=2");
}

/* A written huge zero page is replaced by a huge page, or split by older kernels (6.12 is one), where only the small page
 * that is written becomes one of its own. Tried on pages beside. */
static int huge_zero_is_replaced(void)
{
	char line[512], *p = huge();
	unsigned long start, end, kb = 0;
	int mine = 0;

	peek(p, 2, HUGE / PAGE);
	dirty(p, 2, HUGE / PAGE);
	FILE *f = fopen("/proc/self/smaps", "r");
	if (!f)
		die("smaps");
	while (fgets(line, sizeof line, f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			mine = start <= (unsigned long)p && (unsigned long)p < end;
		else if (mine && sscanf(line, "AnonHugePages: %lu kB", &kb) == 1)
			break;
	}
	fclose(f);
	munmap(p, 2 * HUGE);
	return kb > 0;
}

static void huge_zero_page(void)
{
	int replaced = huge_zero_is_replaced();
	buf = huge();
	peek(buf, 2, HUGE / PAGE);
	begin();
	dirty(buf, 2, HUGE / PAGE);
	end("wp_faults=2 %s=2 pages_unknown=1", replaced ? "large_copies" : "zero_copies");
}

static long first[4], count[4];

static void *writer(void *arg)
{
	long i = (long)arg;
	dirty(buf + first[i] * PAGE, count[i], 1);
	return NULL;
}

static void four_threads(void)
{
	pthread_t t[4];
	for (long i = 0; i < 4; i++)
		if (pthread_create(&t[i], NULL, writer, (void *)i))
			die("pthread_create");
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}

static void split(void)
{
	for (long i = 0, at = 0; i < 4; i++, at += count[i - 1]) {
		first[i] = at;
		count[i] = i < 3 ? 127 : 128;
	}
}

static void split_509(void)
{
	four_threads();
	four_threads();
	split();
	begin();
	four_threads();
	end("wp_faults=509 cow_anon=509 loose=1 " PAGES, buf, 1L, 509L);
}

static void threads(void)
{
	buf = anon(509);
	dirty(buf, 509, 1);
	reap(child(split_509));
}

/* Both threads write to a page at the same moment, and only then to the next. */
static long arrived, race_pages;

static void *racer(void *arg)
{
	pin((long)arg);
	for (long i = 0; i < race_pages; i++) {
		__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
		for (long spins = 0; __atomic_load_n(&arrived, __ATOMIC_SEQ_CST) < 2 * (i + 1); spins++)
			if (spins > 1000)
				sched_yield();
		dirty(buf + i * PAGE, 1, 1);
	}
	return NULL;
}

static void two_racers(long pages)
{
	pthread_t t[2];
	arrived = 0;
	race_pages = pages;
	for (long i = 0; i < 2; i++)
		if (pthread_create(&t[i], NULL, racer, (void *)i))
			die("pthread_create");
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
}

static void race_211(void)
{
	two_racers(0);
	two_racers(0);
	begin();
	two_racers(211);
	end("cow_anon=211 loose=1 " PAGES, buf, 1L, 211L);
}

static void race(void)
{
	buf = anon(211);
	dirty(buf, 211, 1);
	reap(child(race_211));
}

/* Threads that were there before. */
static pthread_barrier_t gate;

static void *stander(void *arg)
{
	for (int i = 0; i < 2; i++) {
		pthread_barrier_wait(&gate);
		writer(arg);
		pthread_barrier_wait(&gate);
	}
	return NULL;
}

static void standing_threads(void)
{
	pthread_t t[4];
	buf = anon(509);
	dirty(buf, 509, 1);
	pid_t pid = sleeper();
	pthread_barrier_init(&gate, NULL, 5);
	for (long i = 0; i < 4; i++)
		if (pthread_create(&t[i], NULL, stander, (void *)i))
			die("pthread_create");
	pthread_barrier_wait(&gate);
	pthread_barrier_wait(&gate);
	split();
	begin();
	pthread_barrier_wait(&gate);
	pthread_barrier_wait(&gate);
	end("wp_faults=509 cow_anon=509 loose=1 " PAGES, buf, 1L, 509L);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	release(pid);
}

static void third(void)
{
	begin();
	dirty(buf, 401, 1);
	end("wp_faults=401 cow_anon=401 " PAGES, buf, 1L, 401L);
}

static void second(void)
{
	begin();
	dirty(buf, 101, 1);
	end("wp_faults=101 cow_anon=101 " PAGES, buf, 1L, 101L);
	reap(child(third));
	/* 101 are its own again; 202 more are still shared with the parent. */
	begin();
	dirty(buf, 303, 1);
	end("wp_faults=303 cow_anon=202 reuses=101 " PAGES, buf + 101 * PAGE, 1L, 202L);
}

static void generations(void)
{
	buf = anon(509);
	dirty(buf, 509, 1);
	reap(child(second));
	begin();
	dirty(buf, 307, 1);
	end("wp_faults=307 reuses=307");
}

static void snapshot_server(void)
{
	enum { PAGES_HAD = 8191, WRITES = 4993 };
	static char seen[PAGES_HAD];
	unsigned seed = 2463534242u;
	long distinct = 0;
	buf = anon(PAGES_HAD);
	dirty(buf, PAGES_HAD, 1);
	memset(seen, 0, sizeof(seen));
	for (unsigned i = 0, x = seed; i < WRITES; i++) {
		x ^= x << 13, x ^= x >> 17, x ^= x << 5;
		distinct += !seen[x % PAGES_HAD];
		seen[x % PAGES_HAD] = 1;
	}
	pid_t saver = sleeper();
	begin();
	for (unsigned i = 0, x = seed; i < WRITES; i++) {
		x ^= x << 13, x ^= x >> 17, x ^= x << 5;
		dirty(buf + x % PAGES_HAD * PAGE, 1, 1);
	}
	end("wp_faults=%ld cow_anon=%ld pages_unknown=1", distinct, distinct);
	release(saver);
	begin();
	dirty(buf, PAGES_HAD, 1);
	end("wp_faults=%ld reuses=%ld", PAGES_HAD - distinct, PAGES_HAD - distinct);
}

static char in_bss[61 * PAGE] __attribute__((aligned(PAGE)));
static char in_data[31 * PAGE] __attribute__((aligned(PAGE))) = { 1 };
static char *heap;

__attribute__((noinline)) static char *on_stack(long first, long pages)
{
	volatile char area[64 * PAGE];
	char *p = (char *)(((long)area + 2 * PAGE) & ~(PAGE - 1));
	dirty(p + first * PAGE, pages, 1);
	return p;
}

static void write_all_kinds(void)
{
	on_stack(0, 0);
	begin();
	dirty(heap, 41, 1);
	char *stack = on_stack(0, 19);
	dirty(in_bss, 61, 1);
	dirty(in_data, 31, 1);
	dirty(buf, 53, 1);
	end("wp_faults=205 cow_heap=41 cow_stack=19 cow_anon=114 cow_file=31 " PAGES " " PAGES " " PAGES " " PAGES " " PAGES,
	    heap, 1L, 41L, stack, 1L, 19L, in_bss, 1L, 61L, in_data, 1L, 31L, buf, 1L, 53L);
}

static void mappings(void)
{
	heap = sbrk(0);
	heap = (char *)(((long)heap + PAGE - 1) & ~(PAGE - 1));
	if (brk(heap + 43 * PAGE))
		die("brk");
	buf = anon(53);
	dirty(heap, 41, 1);
	on_stack(-1, 21);	/* from a frame that may lie in another page than the child's */
	dirty(in_bss, 61, 1);
	dirty(in_data, 31, 1);
	dirty(buf, 53, 1);
	reap(child(write_all_kinds));
}

static int log_fd;

static void barrier(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)context;
	char *page = (char *)((long)info->si_addr & ~(PAGE - 1));
	if (mprotect(page, PAGE, PROT_READ | PROT_WRITE) || write(log_fd, page, 100) != 100)
		_exit(94);
}

/* As a garbage collector does it. The write(2) in the handler must not be taken for the end of the fault. */
static void write_barrier(void)
{
	struct sigaction action = { .sa_sigaction = barrier, .sa_flags = SA_SIGINFO };
	FILE *file = tmpfile();
	log_fd = fileno(file);
	sigaction(SIGSEGV, &action, NULL);
	buf = anon(512);
	dirty(buf, 512, 1);
	mprotect(buf, 512 * PAGE, PROT_READ);
	dirty(buf + 509 * PAGE, 3, 1);
	begin();
	dirty(buf, 509, 1);
	end("wp_faults=509 failed_wp=509");
}

static const struct phase phases[] = {
	{ "child_writes", child_writes }, { "parent_after_exit", parent_after_exit },
	{ "parent_while_child_lives", parent_while_child_lives }, { "zero_page", zero_page }, { "fresh", fresh },
	{ "no_work", no_work }, { "birth", birth }, { "dont_fork", dont_fork }, { "wipe_on_fork", wipe_on_fork }, { "dont_need", dont_need },
	{ "vfork_exec", vfork_exec }, { "posix_spawned", posix_spawned }, { "huge_pages", huge_pages },
	{ "huge_zero_page", huge_zero_page }, { "threads", threads }, { "race", race },
	{ "standing_threads", standing_threads }, { "generations", generations },
	{ "snapshot_server", snapshot_server }, { "mappings", mappings }, { "write_barrier", write_barrier },
};

int main(int argc, char **argv)
{
	return run_phase(phases, sizeof(phases) / sizeof(*phases), argc, argv);
}
