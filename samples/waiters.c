/* SPDX-License-Identifier: MIT */
/*
 * Waits that reap nothing: 5 with WNOHANG while the child lives, 3 with WNOWAIT when it has ended, one
 * for a pid that is no child, and one for a stop. Only the last wait, for any child, reaps.
 */
#include "truth.h"

int main(int argc, char **argv)
{
	int64_t before, dead;
	siginfo_t info;
	int go[2], status;
	pid_t pid;

	(void)argc;
	tell_image(argv);
	must(!pipe(go));
	pid = told_fork();
	if (!pid) {
		hold(go[0]);
		_exit(13);
	}
	for (int k = 0; k < 5; k++)
		must(waitpid(k % 2 ? -1 : pid, &status, WNOHANG) == 0);
	must(waitpid(1 << 30, &status, 0) == -1 && errno == ECHILD);
	before = now_ns(CLOCK_BOOTTIME);
	release(go[1]);
	must(!waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) && info.si_pid == pid);
	dead = now_ns(CLOCK_BOOTTIME);
	must(!waitid(P_PID, pid, &info, WEXITED | WNOWAIT) && info.si_status == 13);
	wait_ms(40);
	must(!waitid(P_ALL, 0, &info, WEXITED | WNOWAIT | WNOHANG) && info.si_pid == pid);
	must(waitid(P_ALL, 0, &info, WSTOPPED | WNOHANG) == -1 && errno == ECHILD); /* it stops no more */
	wait_ms(40);
	long held = now_ns(CLOCK_BOOTTIME) - dead;

	must(waitpid(-1, &status, 0) == pid);
	tell_exit(pid, status);
	tell("{'ev':'reap','pid':%d,'by':%d,'zombie_ns_min':%l,'zombie_ns_max':%l}", pid, getpid(), held,
	     (long)(now_ns(CLOCK_BOOTTIME) - before));
	told_end(0);
}
