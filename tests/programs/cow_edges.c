/* SPDX-License-Identifier: MIT */
/* Who copied how much because of which fork: a parent and its children, each saying what it did. Speaks as cow.h. */
#include "cow.h"
#include <signal.h>

static char *buf;
static int go[2];

static void wait_for_go(void)
{
	char c;
	if (read(go[0], &c, 1) != 1)
		_exit(97);
}

/* `child copies` pages before its exec, and what it does after counts for the new image. */
static void copy_then_exec(void)
{
	begin();
	dirty(buf, 53, 1);
	end("wp_faults=53 cow_anon=53 " PAGES, buf, 1L, 53L);
	wait_for_go();
	execl("/bin/true", "true", NULL);
	_exit(95);
}

static void start(void)
{
	buf = anon(509);
	dirty(buf, 509, 1);
	if (pipe(go))
		die("pipe");
}

static void go_on(pid_t pid)
{
	if (write(go[1], "", 1) != 1)
		die("go");
	reap(pid);
}

/* While the child lives the parent writes 211; after the child's exec the parent's 97 have no sharer. */
static void exec_after_copies(void)
{
	start();
	pid_t pid = child(copy_then_exec);
	begin();
	dirty(buf + 101 * PAGE, 211, 1);
	end("wp_faults=211 cow_anon=211 " PAGES, buf + 101 * PAGE, 1L, 211L);
	go_on(pid);
	begin();
	dirty(buf + 401 * PAGE, 97, 1);
	end("wp_faults=97 reuses=97");
}

/* Two children at once: a page that the parent copies is found in both differences. */
static void two_children(void)
{
	start();
	pid_t a = child(wait_for_go), b = child(wait_for_go);
	begin();
	dirty(buf, 103, 1);
	end("wp_faults=103 cow_anon=103 " PAGES, buf, 1L, 103L);
	if (write(go[1], "", 1) != 1)
		die("go");
	pid_t first = wait(NULL), last = first == a ? b : a;
	begin();
	dirty(buf + 200 * PAGE, 59, 1);
	end("wp_faults=59 cow_anon=59 " PAGES, buf + 200 * PAGE, 1L, 59L);
	go_on(last);
}

static void wait_for_end(int fd)
{
	char c;
	while (read(fd, &c, 1) > 0)
		;
}

/* Until its parent has ended and another has adopted it. */
static void outlive(void)
{
	pid_t parent = getppid();
	close(go[1]);
	wait_for_end(go[0]);
	while (getppid() == parent)
		sched_yield();
}

/* The middle one copies 83 pages while its child lives, and ends first. */
static void middle(void)
{
	child(outlive);
	begin();
	dirty(buf, 83, 1);
	end("wp_faults=83 cow_anon=83 " PAGES, buf, 1L, 83L);
}

static void parent_ends_first(void)
{
	start();
	pid_t pid = child(middle);
	close(go[1]);
	reap(pid);
}

/* The parent becomes another program while its child lives: what it copies then is no fault of that fork. */
static void exec_away(void)
{
	start();
	pid_t pid = child(wait_for_go);
	(void)pid;
	begin();
	dirty(buf, 71, 1);
	end("wp_faults=71 cow_anon=71 " PAGES, buf, 1L, 71L);
	char number[16], *argv[] = { "sh", "-c", "(:); (:); printf x >&$0; wait", number, NULL };
	snprintf(number, sizeof(number), "%d", go[1]);
	execv("/bin/sh", argv);
	_exit(95);
}

static void vfork_exec(void)
{
	start();
	pid_t pid = vfork();
	if (!pid) {
		execl("/bin/true", "true", NULL);
		_exit(95);
	}
	begin();
	dirty(buf, 71, 1);
	end("reuses=0");
	reap(pid);
}

static int wait_there(void *arg)
{
	(void)arg;
	wait_for_go();
	return 0;
}

/* One child shares memory by copy, the other shares it outright: the copies are the first one's. */
static void same_memory(void)
{
	start();
	static char stack[16 * PAGE];
	pid_t by_copy = child(wait_for_go);
	pid_t outright = clone(wait_there, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);
	begin();
	dirty(buf, 71, 1);
	end("wp_faults=71 cow_anon=71 " PAGES, buf, 1L, 71L);
	if (write(go[1], "go", 2) != 2)
		die("go");
	reap(by_copy);
	reap(outright);
}

static const struct phase phases[] = {
	{ "exec_after_copies", exec_after_copies }, { "two_children", two_children },
	{ "parent_ends_first", parent_ends_first }, { "exec_away", exec_away }, { "vfork_exec", vfork_exec }, { "same_memory", same_memory },
};

int main(int argc, char **argv)
{
	return run_phase(phases, sizeof(phases) / sizeof(*phases), argc, argv);
}
