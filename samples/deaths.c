/* SPDX-License-Identifier: MIT */
/*
 * 7 deaths by signal: by a bad pointer (the kernel sends it), by abort and by raise (the process itself),
 * by SIGQUIT, SIGTERM and SIGKILL from the parent; the first ones may leave a core, the others not.
 * Whether one was written is told from the wait status (WCOREDUMP), and the cores are removed.
 */
#include <dirent.h>
#include "truth.h"

static int ready[2], never[2];

static void crash(void)
{
	volatile int *volatile nowhere = NULL;

	*nowhere = 1;
}

static void send_self(void)
{
	raise(SIGSEGV);
}

static void wait_for_it(void)
{
	hold(never[0]);
}

static void die(void (*way)(void), int sig, int core, int by_parent)
{
	pid_t pid = told_fork();
	int status;

	if (!pid) {
		struct rlimit limit;

		must(!getrlimit(RLIMIT_CORE, &limit));
		limit.rlim_cur = core ? limit.rlim_max : 0;
		must(!setrlimit(RLIMIT_CORE, &limit));
		release(ready[1]);
		way();
		_exit(99);
	}
	hold(ready[0]); /* its limit is set */
	if (by_parent)
		must(!kill(pid, sig));
	status = told_wait(pid);
	must(WTERMSIG(status) == sig && (core || !WCOREDUMP(status)));
	tell("{'ev':'killed','pid':%d,'by':%l}", pid, by_parent ? (long)getpid() : way == crash ? NONE : (long)pid);
}

int main(int argc, char **argv)
{
	char *dir = temp_dir();
	DIR *d;

	(void)argc;
	tell_image(argv);
	must(!chdir(dir) && !pipe(ready) && !pipe(never));
	die(crash, SIGSEGV, 1, 0);
	die(abort, SIGABRT, 1, 0);
	die(wait_for_it, SIGQUIT, 1, 1);
	die(crash, SIGSEGV, 0, 0);
	die(send_self, SIGSEGV, 0, 0);
	die(wait_for_it, SIGTERM, 0, 1);
	die(wait_for_it, SIGKILL, 0, 1);
	must((d = opendir(".")));
	for (struct dirent *e; (e = readdir(d));)
		unlink(e->d_name); /* `.` and `..` refuse */
	closedir(d);
	must(!rmdir(dir));
	told_end(0);
}
