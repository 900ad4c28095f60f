/* SPDX-License-Identifier: MIT */
/* Mappings of files: what is read first and then written, what is written at once, what is shared. */
#include "cow.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/vfs.h>

#define TMPFS_MAGIC 0x01021994

static char *buf, *folder;
static int fd;

/* 503 pages on the disk, clean, and in the page cache or not. */
static void make_file(int warm)
{
	static char page[PAGE];
	char path[4096];
	snprintf(path, sizeof(path), "%s/pages", folder);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	memset(page, 'x', sizeof(page));
	for (int i = 0; i < 503; i++)
		if (write(fd, page, PAGE) != PAGE)
			die("write");
	if (fsync(fd))
		die("fsync");
	if (!warm && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
		die("posix_fadvise");
}

static void map_file(int flags)
{
	buf = mmap(NULL, 503 * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (buf == MAP_FAILED)
		die("mmap");
	madvise(buf, 503 * PAGE, MADV_RANDOM);
}

static void private_read_write(void)
{
	make_file(1);
	map_file(MAP_PRIVATE);
	peek(buf, 503, 1);
	begin();
	dirty(buf, 101, 4);
	end("wp_faults=101 file_copies=101 " PAGES, buf, 4L, 101L);
}

/* Read and written between the marks: one fault each. */
static void private_both(void)
{
	make_file(1);
	map_file(MAP_PRIVATE);
	begin();
	peek(buf, 503, 1);
	dirty(buf, 101, 4);
	end("wp_faults=101 file_copies=101 " PAGES, buf, 4L, 101L);
}

static void private_direct_warm(void)
{
	make_file(1);
	map_file(MAP_PRIVATE);
	begin();
	dirty(buf, 101, 4);
	end("file_copies=101 " PAGES, buf, 4L, 101L);
}

static void private_direct_cold(void)
{
	make_file(0);
	map_file(MAP_PRIVATE);
	begin();
	dirty(buf, 101, 4);
	end("file_copies=101 " PAGES, buf, 4L, 101L);
}

static void write_101(void)
{
	begin();
	dirty(buf, 101, 4);
	end("wp_faults=101 cow_file=101 " PAGES, buf, 4L, 101L);
}

static void private_then_fork(void)
{
	make_file(1);
	map_file(MAP_PRIVATE);
	dirty(buf, 503, 1);
	reap(child(write_101));
	begin();
	dirty(buf, 503, 1);
	end("wp_faults=503 reuses=503");
}

/* A file system that does not write back (tmpfs) has no need to know. */
static void shared_read_write(void)
{
	struct statfs fs;
	make_file(1);
	map_file(MAP_SHARED);
	peek(buf, 503, 1);
	int n = !fstatfs(fd, &fs) && fs.f_type == TMPFS_MAGIC ? 0 : 101;
	begin();
	dirty(buf, 101, 4);
	end("wp_faults=%d mkwrites=%d", n, n);
}

static void shared_cold(void)
{
	make_file(0);
	map_file(MAP_SHARED);
	begin();
	dirty(buf, 101, 4);
	end("reuses=0");
}

static void shared_memory(void)
{
	buf = map(503, MAP_SHARED | MAP_ANONYMOUS);
	begin();
	dirty(buf, 101, 4);
	end("reuses=0");
}

static void write_shared(void)
{
	begin();
	dirty(buf, 503, 1);
	end("reuses=0");
}

static void shared_memory_after_fork(void)
{
	buf = map(503, MAP_SHARED | MAP_ANONYMOUS);
	dirty(buf, 503, 1);
	reap(child(write_shared));
}

/* Read by the page and from the disk: page cache is filled inside these faults, and nothing copied. */
static void read_cold(void)
{
	make_file(0);
	map_file(MAP_PRIVATE);
	begin();
	peek(buf, 503, 1);
	end("reuses=0");
}

/* write(2) into memory that is a file: pages of the same sort as copies, and no fault. */
static void write_memory_file(void)
{
	static char page[PAGE];
	fd = memfd_create("pages", 0);
	if (fd < 0 || write(fd, page, PAGE) != PAGE)
		die("memfd");
	begin();
	for (int i = 0; i < 101; i++)
		if (write(fd, page, PAGE) != PAGE)
			die("write");
	dirty(map(1, MAP_PRIVATE | MAP_ANONYMOUS), 1, 1);	/* a fresh page: whatever was in doubt is decided here */
	end("reuses=0");
}

/* The kernel on its own, without an exception: reads pages in, then writes to them. */
static void populate(void)
{
	make_file(0);
	map_file(MAP_PRIVATE);
	begin();
	if (madvise(buf, 503 * PAGE, MADV_POPULATE_READ))
		die("MADV_POPULATE_READ");
	end("reuses=0");
	begin();
	if (madvise(buf, 101 * PAGE, MADV_POPULATE_WRITE))
		die("MADV_POPULATE_WRITE");
	end("file_copies=101 " PAGES, buf, 1L, 101L);
}

/* At once. */
static void populate_for_write(void)
{
	make_file(0);
	map_file(MAP_PRIVATE);
	begin();
	if (madvise(buf, 101 * PAGE, MADV_POPULATE_WRITE))
		die("MADV_POPULATE_WRITE");
	end("file_copies=101 " PAGES, buf, 1L, 101L);
}

static sigjmp_buf back;

static void jump(int sig)
{
	siglongjmp(back, sig);
}

/* The page for the copy is in hand before the kernel finds that the file has no such page. */
static void beyond_the_end(void)
{
	make_file(1);
	signal(SIGBUS, jump);
	buf = mmap(NULL, 703 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	volatile int i = 0;
	for (int times = 0; times < 2; times++) {
		if (times)
			begin();
		for (i = times ? 2 : 0; i < (times ? 103 : 2); i++)
			if (!sigsetjmp(back, 1))
				dirty(buf + (503 + i) * PAGE, 1, 1);
	}
	end("reuses=0");
}

static void direct_101(void)
{
	begin();
	dirty(buf, 101, 4);
	end("file_copies=101 " PAGES, buf, 4L, 101L);
}

/* In a child: for a moment each looks like a copy because of the fork. */
static void child_direct(void)
{
	make_file(1);
	map_file(MAP_PRIVATE);
	reap(child(direct_101));
}

static void map_file_over_buf(void)
{
	if (mmap(buf, 503 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0) != buf)
		die("mmap");
	dirty(buf, 503, 1);
}

static void remap_and_write(void)
{
	dirty(buf, 53, 1);
	map_file_over_buf();
	pid_t pid = sleeper();
	begin();
	dirty(buf, 101, 4);
	end("wp_faults=101 cow_file=101 " PAGES, buf, 4L, 101L);
	release(pid);
}

/* A file is mapped where anonymous memory was that has been copied. */
static void remapped(void)
{
	make_file(1);
	buf = anon(503);
	dirty(buf, 503, 1);
	reap(child(remap_and_write));
}

static int ask[2], answered[2];

static void *mapper(void *arg)
{
	char c;
	for (int i = 0; i < 3 && read(ask[0], &c, 1) == 1; i++) {
		if (i == 2)
			map_file_over_buf();
		if (write(answered[1], &c, 1) != 1)
			break;
	}
	return arg;
}

static void ask_mapper(void)
{
	static char c;
	if (write(ask[1], "", 1) != 1 || read(answered[0], &c, 1) != 1)
		die("the other thread");
}

static void remap_by_thread(void)
{
	pthread_t t;
	if (pipe(ask) || pipe(answered) || pthread_create(&t, NULL, mapper, NULL))
		die("pthread_create");
	ask_mapper();
	ask_mapper();
	dirty(buf, 53, 1);
	ask_mapper();
	reap(child(write_101));
	pthread_join(t, NULL);
}

/* As before, but another thread does it, and then a child is forked: what this one knew must not live on in it. */
static void remapped_by_thread(void)
{
	make_file(1);
	buf = anon(503);
	dirty(buf, 503, 1);
	reap(child(remap_by_thread));
}

static void do_nothing(void)
{
}

/* A page that was re-used, then a system call that allocates page cache for the same task. */
static void reuse_then_write(void)
{
	buf = map(503, MAP_PRIVATE | MAP_ANONYMOUS);
	dirty(buf, 503, 1);
	reap(child(do_nothing));
	make_file(1);
	begin();
	for (int i = 0; i < 101; i++) {
		dirty(buf + i * PAGE, 1, 1);
		if (pwrite(fd, buf, PAGE, (600L + i) * PAGE) != PAGE)
			die("pwrite");
	}
	end("wp_faults=101 reuses=101");
}

static void reuse_then_cold_read(void)
{
	static char into[PAGE];
	buf = map(503, MAP_PRIVATE | MAP_ANONYMOUS);
	dirty(buf, 503, 1);
	reap(child(do_nothing));
	make_file(0);
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	if (pread(fd, into, PAGE, 0) != PAGE)
		die("pread");
	begin();
	for (int i = 0; i < 101; i++) {
		dirty(buf + i * PAGE, 1, 1);
		if (pread(fd, into, PAGE, (1L + i) * PAGE) != PAGE)
			die("pread");
	}
	end("wp_faults=101 reuses=101");
}

static const struct phase phases[] = {
	{ "private_read_write", private_read_write }, { "private_both", private_both },
	{ "private_direct_warm", private_direct_warm }, { "private_direct_cold", private_direct_cold },
	{ "private_then_fork", private_then_fork }, { "shared_read_write", shared_read_write },
	{ "shared_cold", shared_cold }, { "shared_memory", shared_memory },
	{ "shared_memory_after_fork", shared_memory_after_fork }, { "reuse_then_write", reuse_then_write },
	{ "reuse_then_cold_read", reuse_then_cold_read },
	{ "read_cold", read_cold }, { "write_memory_file", write_memory_file },
	{ "populate", populate }, { "populate_for_write", populate_for_write }, { "beyond_the_end", beyond_the_end },
	{ "child_direct", child_direct }, { "remapped", remapped }, { "remapped_by_thread", remapped_by_thread },
};

int main(int argc, char **argv)
{
	folder = argc > 2 ? argv[2] : ".";
	return run_phase(phases, sizeof(phases) / sizeof(*phases), argc, argv);
}
