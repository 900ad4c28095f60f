/* SPDX-License-Identifier: MIT */
/* Writes that the kernel does for the program: by a fault of its own in kernel mode, or with no exception at all. */
#include "cow.h"
#include <linux/futex.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static char *buf, *folder;
static int fd;

/* What the child does while its parent, who shares all pages of buf with it, is asleep. */
static void shared_with_child(void (*work)(void))
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/pages", folder);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	buf = anon(509);
	dirty(buf, 509, 1);
	if (write(fd, buf, 101 * PAGE) != 101 * PAGE || fsync(fd))
		die("write");
	reap(child(work));
}

static void read_101(void)
{
	begin();
	if (pread(fd, buf, 101 * PAGE, 0) != 101 * PAGE)
		die("pread");
	end("wp_faults=101 cow_anon=101 " PAGES, buf, 1L, 101L);
}
static void read_file(void) { shared_with_child(read_101); }

static int tube[2];
static void read_tube(void)
{
	static char page[PAGE];
	for (int i = 0; i < 2; i++) {
		if (write(tube[1], page, PAGE) != PAGE || read(tube[0], page, PAGE) != PAGE)
			die("pipe");
	}
	begin();
	for (int i = 0; i < 97; i++)
		if (write(tube[1], page, PAGE) != PAGE || read(tube[0], buf + i * PAGE, PAGE) != PAGE)
			die("pipe");
	end("wp_faults=97 cow_anon=97 " PAGES, buf, 1L, 97L);
}
static void read_pipe(void)
{
	if (pipe(tube))
		die("pipe");
	shared_with_child(read_tube);
}

/* The exception finds page faults switched off and fails at once; the kernel then faults the page in by itself. */
static void futex_101(void)
{
	begin();
	for (int i = 0; i < 101; i++)
		syscall(SYS_futex, buf + i * PAGE, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, 0, buf + i * PAGE,
			FUTEX_OP(FUTEX_OP_SET, 1, FUTEX_OP_CMP_EQ, 5));
	end("wp_faults=101 cow_anon=101 " PAGES, buf, 1L, 101L);
}
static void futex(void) { shared_with_child(futex_101); }

static void direct_101(void)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/pages", folder);
	int direct = open(path, O_RDONLY | O_DIRECT);
	if (direct < 0)
		die("O_DIRECT");
	begin();
	if (pread(direct, buf, 101 * PAGE, 0) != 101 * PAGE)
		die("pread");
	end("cow_gup=101 " PAGES, buf, 1L, 101L);
}
static void direct_read(void) { shared_with_child(direct_101); }

static void proc_mem_101(void)
{
	static char page[PAGE];
	int mem = open("/proc/self/mem", O_RDWR);
	if (mem < 0 || pwrite(mem, page, PAGE, (long)page) != PAGE)
		die("/proc/self/mem");
	begin();
	for (int i = 0; i < 101; i++)
		if (pwrite(mem, page, PAGE, (long)buf + i * PAGE) != PAGE)
			die("pwrite");
	end("cow_gup=101 " PAGES, buf, 1L, 101L);
}
static void proc_mem(void) { shared_with_child(proc_mem_101); }

static void populate_101(void)
{
	begin();
	if (madvise(buf, 101 * PAGE, MADV_POPULATE_WRITE))
		die("MADV_POPULATE_WRITE");
	end("cow_gup=101 " PAGES, buf, 1L, 101L);
}
static void populate_write(void) { shared_with_child(populate_101); }

static void lock_101(void)
{
	begin();
	if (mlock(buf, 101 * PAGE))
		die("mlock");
	end("cow_gup=101 " PAGES, buf, 1L, 101L);
}
static void lock_pages(void) { shared_with_child(lock_101); }

static int child_ready[2];
static void stand_by(void)
{
	begin();
	if (write(child_ready[1], "", 1) != 1)
		die("pipe");
	wait_for_release();
}

/* The copies are made in the child and charged to who asked for them. */
static void write_to_child(void)
{
	static char page[PAGE];
	char c;
	buf = anon(509);
	dirty(buf, 509, 1);
	if (pipe(child_ready) || pipe(hold))
		die("pipe");
	pid_t pid = child(stand_by);
	if (read(child_ready[0], &c, 1) != 1)
		die("pipe");
	struct iovec from = { page, PAGE }, to = { page, PAGE };
	if (process_vm_writev(pid, &from, 1, &to, 1, 0) != PAGE)
		die("process_vm_writev");
	begin();
	for (int i = 0; i < 101; i++) {
		to.iov_base = buf + i * PAGE;
		if (process_vm_writev(pid, &from, 1, &to, 1, 0) != PAGE)
			die("process_vm_writev");
	}
	tell("end %d %d cow_gup=101 " PAGES "\n", getpid(), pid, buf, 1L, 101L);
	release(pid);
}

static const struct phase phases[] = {
	{ "read_file", read_file }, { "read_pipe", read_pipe }, { "futex", futex }, { "direct_read", direct_read },
	{ "proc_mem", proc_mem }, { "populate_write", populate_write }, { "lock_pages", lock_pages },
	{ "write_to_child", write_to_child },
};

int main(int argc, char **argv)
{
	folder = argc > 2 ? argv[2] : ".";
	return run_phase(phases, sizeof(phases) / sizeof(*phases), argc, argv);
}
