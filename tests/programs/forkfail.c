/* Forks until it fails, and a few times more; never above a bound of its own.
 *
 *   forkfail MOST TRIES [uid=N nproc=N] [seccomp=ERRNO] [join=FILE]... [dead] [hold]
 *
 * Says on stdout: `made N`, then `failed ERRNO` for each try that failed. Its children wait and are killed at the end.
 *   uid, nproc     becomes that user under that RLIMIT_NPROC
 *   seccomp=E      a filter that answers fork, vfork, clone and clone3 with E
 *   join=FILE      writes its pid into FILE (a cgroup.procs)
 *   hold           stays as it is then, until its standard input ends
 *   dead           children are for a pid namespace whose init has ended */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BOUND 64

static void die(const char *what)
{
	perror(what);
	exit(99);
}

static void filter(int error)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fork, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_vfork, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
	};
	struct sock_fprog prog = { sizeof f / sizeof *f, f };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		die("seccomp");
}

int main(int argc, char **argv)
{
	pid_t kids[BOUND];
	if (argc < 3)
		return 96;
	int most = atoi(argv[1]), tries = atoi(argv[2]), made = 0, uid = 0, nproc = 0, seccomp = 0, dead = 0, hold = 0;
	if (most > BOUND || tries > 1000)
		return 98;
	for (int i = 3; i < argc; i++) {
		if (sscanf(argv[i], "uid=%d", &uid) == 1 || sscanf(argv[i], "nproc=%d", &nproc) == 1 ||
		    sscanf(argv[i], "seccomp=%d", &seccomp) == 1)
			continue;
		if (!strncmp(argv[i], "join=", 5)) {
			FILE *f = fopen(argv[i] + 5, "w");
			if (!f || fprintf(f, "%d\n", getpid()) < 0 || fclose(f))
				die(argv[i]);
		} else if (!strcmp(argv[i], "dead")) {
			dead = 1;
		} else if (!strcmp(argv[i], "hold")) {
			hold = 1;
		} else {
			return 97;
		}
	}
	if (dead) {
		if (unshare(CLONE_NEWPID))
			die("unshare");
		pid_t init = fork();
		if (!init)
			_exit(0);
		waitpid(init, NULL, 0);
	}
	if (nproc) {
		struct rlimit l = { nproc, nproc };
		if (setrlimit(RLIMIT_NPROC, &l))
			die("setrlimit");
	}
	if (uid && (setresgid(uid, uid, uid) || setresuid(uid, uid, uid)))
		die("setresuid");
	if (seccomp)
		filter(seccomp);
	while (made < most) {
		pid_t pid = fork();
		if (pid < 0)
			break;
		if (!pid) {
			for (;;)
				pause();
		}
		kids[made++] = pid;
	}
	printf("made %d\n", made);
	for (int i = 0; i < tries; i++) {
		pid_t pid = fork();
		if (!pid)
			_exit(0);
		if (pid < 0)
			printf("failed %d\n", errno);
		else
			waitpid(pid, NULL, 0);
	}
	fflush(stdout);
	if (hold)
		while (getchar() != EOF)
			;
	for (int i = 0; i < made; i++) {
		kill(kids[i], SIGKILL);
		waitpid(kids[i], NULL, 0);
	}
	return 0;
}
