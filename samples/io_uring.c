/* SPDX-License-Identifier: MIT */
/*
 * An io_uring user, by bare system calls: a ring with a polling kernel thread (iou-sqp) and one whose 3
 * requests are forced onto workers (iou-wrk). These are tasks of the process, but nobody's threads: 0 are
 * to be counted.
 */
#include <dirent.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include "truth.h"

enum { REQUESTS = 3 };

static int make_ring(unsigned flags)
{
	struct io_uring_params p = {.flags = flags, .sq_thread_idle = 10};
	int fd = syscall(SYS_io_uring_setup, 4, &p);
	unsigned enter = IORING_ENTER_GETEVENTS | (flags & IORING_SETUP_SQPOLL ? IORING_ENTER_SQ_WAKEUP : 0);
	struct io_uring_sqe *sqe;
	unsigned *array;
	char *sq;

	must(fd >= 0);
	sq = mmap(NULL, p.sq_off.array + 4 * sizeof(*array), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		  IORING_OFF_SQ_RING);
	sqe = mmap(NULL, 4 * sizeof(*sqe), PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES);
	must(sq != MAP_FAILED && sqe != MAP_FAILED);
	array = (unsigned *)(sq + p.sq_off.array);
	for (unsigned k = 0; k < REQUESTS; k++) {
		sqe[k] = (struct io_uring_sqe){.opcode = IORING_OP_NOP, .flags = IOSQE_ASYNC};
		array[k] = k;
	}
	__atomic_store_n((unsigned *)(sq + p.sq_off.tail), REQUESTS, __ATOMIC_RELEASE);
	must(syscall(SYS_io_uring_enter, fd, REQUESTS, REQUESTS, enter, NULL, 0) >= 0);
	return fd;
}

static int tasks(void)
{
	DIR *d = opendir("/proc/self/task");
	int n = 0;

	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

int main(int argc, char **argv)
{
	(void)argc;
	tell_image(argv);
	make_ring(0);
	make_ring(IORING_SETUP_SQPOLL);
	tell_fact("io_uring_tasks", tasks() - 1);
	must(tasks() > 1);
	tell_threads(0);
	told_end(0);
}
