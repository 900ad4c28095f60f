/* SPDX-License-Identifier: MIT */
/* Functions that copy known numbers of pages in a forked child, one by a store and one through memset. Speaks as cow.h.
 * Each is called from a function of its own, so that a stack has a caller to be right about. */
#include "cow.h"

#define SMALL 211
#define LARGE 307
#define BY_LIBC 127

static char *buf;

__attribute__((noinline, noclone)) void copy_small(void)
{
	for (long i = 0; i < SMALL; i++)
		((volatile char *)buf)[i * PAGE] = 1;
}

__attribute__((noinline, noclone)) void copy_large(void)
{
	for (long i = 0; i < LARGE; i++)
		((volatile char *)buf)[(SMALL + i) * PAGE] = 1;
}

__attribute__((noinline, noclone)) void fill(char *p, long pages)
{
	memset(p, 1, pages * PAGE);
	__asm__ volatile("" ::: "memory");	/* no tail call */
}

__attribute__((noinline, noclone)) void serve(void)
{
	copy_small();
	copy_large();
	fill(buf + (SMALL + LARGE) * PAGE, BY_LIBC);
	__asm__ volatile("" ::: "memory");
}

static void work(void)
{
	begin();
	serve();
	end("cow_anon=%d", SMALL + LARGE + BY_LIBC);
}

static void child_copies(void)
{
	buf = anon(SMALL + LARGE + BY_LIBC);
	dirty(buf, SMALL + LARGE + BY_LIBC, 1);
	reap(child(work));
}

/* A hundred times as many, by a parent whose children live for one round each, for who samples. */
static void rounds(void)
{
	buf = anon(SMALL + LARGE);
	begin();
	for (int i = 0; i < 100; i++) {
		dirty(buf, SMALL + LARGE, 1);
		pid_t pid = sleeper();
		copy_small();
		copy_large();
		release(pid);
	}
	end("cow_anon=%d", 100 * (SMALL + LARGE));
}

/* Children that are gone before anyone can look at them. */
static void short_lives(void)
{
	buf = anon(SMALL);
	dirty(buf, SMALL, 1);
	begin();
	for (int i = 0; i < 20; i++)
		reap(child(copy_small));
	end("cow_anon=%d", 20 * SMALL);
}

/* The fault that reads the stack while a frame pointer leads nowhere must not end the one that is handled. */
__attribute__((noinline, noclone)) void lost_frame(void)
{
	begin();
	for (long i = 0; i < SMALL; i++)
#if defined(__aarch64__)
		__asm__ volatile("mov x9, x29\n\tmov x29, %1\n\tmov w10, #1\n\tstrb w10, [%0]\n\tmov x29, x9"
				 : : "r"(buf + i * PAGE), "r"(0x100000000000UL + i * PAGE) : "memory", "x9", "x10");
#else
		__asm__ volatile("xchg %%rbp, %1\n\tmovb $1, (%0)\n\txchg %%rbp, %1"
				 : : "r"(buf + i * PAGE), "r"(0x100000000000UL + i * PAGE) : "memory");
#endif
	end("cow_anon=%d", SMALL);
}

static void bad_frames(void)
{
	buf = anon(SMALL);
	dirty(buf, SMALL, 1);
	reap(child(lost_frame));
}

/* Code that is made while the program runs, and a perf-map file that names it, as compilers write one. */
static void (*made)(char *p, long pages, long page);

static void run_made(void)
{
	begin();
	made(buf, SMALL, PAGE);
	end("cow_anon=%d", SMALL);
}

static void jitted(void)
{
#if defined(__aarch64__)
	static const unsigned int code[] = {
		0xa9bf7bfd, 0x910003fd,			/* stp x29, x30, [sp, #-16]!; mov x29, sp */
		0x52800023,				/* mov w3, #1 */
		0x39000003,				/* 1: strb w3, [x0] */
		0x8b020000,				/* add x0, x0, x2 */
		0xf1000421, 0x54ffffa1,			/* subs x1, x1, #1; b.ne 1b */
		0xa8c17bfd, 0xd65f03c0,			/* ldp x29, x30, [sp], #16; ret */
	};
#else
	static const unsigned char code[] = {
		0x55, 0x48, 0x89, 0xe5,			/* push %rbp; mov %rsp,%rbp */
		0xc6, 0x07, 0x01,			/* 1: movb $1,(%rdi) */
		0x48, 0x01, 0xd7,			/* add %rdx,%rdi */
		0x48, 0xff, 0xce,			/* dec %rsi */
		0x75, 0xf5,				/* jne 1b */
		0x5d, 0xc3,				/* pop %rbp; ret */
	};
#endif
	char name[64];
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		die("mmap");
	memcpy(page, code, sizeof(code));
	__builtin___clear_cache(page, (char *)page + sizeof(code));
	made = (void (*)(char *, long, long))page;
	snprintf(name, sizeof(name), "/tmp/perf-%d.map", getpid());
	FILE *map = fopen(name, "w");
	if (!map)
		die(name);
	fprintf(map, "%lx %lx JS:*copyPages server.js:7\n", (unsigned long)page, sizeof(code));
	fclose(map);
	buf = anon(SMALL);
	dirty(buf, SMALL, 1);
	reap(child(run_made));
	unlink(name);
}

int main(int argc, char **argv)
{
	static const struct phase phases[] = {
		{"child_copies", child_copies}, {"rounds", rounds}, {"short_lives", short_lives}, {"bad_frames", bad_frames},
		{"jitted", jitted},
	};
	return run_phase(phases, sizeof(phases) / sizeof(*phases), argc, argv);
}
