/* Forks until it fails, and a few times more; never above a bound of its own.
 *
 *   forkfail MOST TRIES [uid=N nproc=N] [seccomp=ERRNO] [join=FILE]... [dead] [hold]
 *
 * Says on stdout: `made N`, then `failed ERRNO` for each try that failed. Its children wait and are killed at the end.
 *   uid, nproc     becomes that user under that RLIMIT_NPROC
 *   seccomp=E      a filter that answers fork, vfork, clone and clone3 with E
 *   join=FILE      writes its pid into FILE (a cgroup.procs)
 *   hold           stays as it is then, until its standard input ends
 *   burn=N         makes and waits for N children first, so that low pids are used up
 *   fill           writes into a memory file until there is no more memory, and frees it after its tries
 *   unkillable     the kernel is to choose somebody else when memory is short, and there is nobody
 *   big            has more data than there are memory and swap, none of it ever touched
 *   sysctl=N=V     sets the host's /proc/sys/N to V and leaves it so; for guests alone
 *   commit         has three fifths of what may still be promised, none of it ever touched
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
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
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

static void say(const char *path, const char *format, int value)
{
	FILE *f = fopen(path, "w");
	if (!f || fprintf(f, format, value) < 0 || fclose(f))
		die(path);
}

/* Whoever can not be given memory for a fault waits for it: the alarm ends that. */
static int fill(void)
{
	static char page[4096];
	int fd = memfd_create("fill", MFD_CLOEXEC);
	long written = 0;

	alarm(30);
	memset(page, 1, sizeof page);
	while (written < 1L << 28 && write(fd, page, sizeof page) == sizeof page)
		written += sizeof page;
	if (fd < 0 || written >= 1L << 28)
		die("fill: there is no bound");
	return fd;
}

/* Each step is below what there is, and that is all that is asked about it; a fork asks for the whole. */
static void big(void)
{
	struct sysinfo i;
	sysinfo(&i);
	size_t half = (i.totalram + i.totalswap) * i.mem_unit / 5 * 3 & ~4095UL;
	void *at = mmap(NULL, half, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED || mremap(at, half, 2 * half, MREMAP_MAYMOVE) == MAP_FAILED)
		die("big");
}

static void commit(void)
{
	unsigned long limit = 0, promised = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "r");
	while (f && fgets(line, sizeof line, f)) {
		sscanf(line, "CommitLimit: %lu", &limit);
		sscanf(line, "Committed_AS: %lu", &promised);
	}
	if (!f || limit <= promised || fclose(f))
		die("commit");
	size_t size = (limit - promised) / 5 * 3 << 10;
	if (mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		die("commit");
}

/* "kernel/threads-max=20" */
static void set(const char *words)
{
	char path[128];
	int name = strcspn(words, "=");
	snprintf(path, sizeof path, "/proc/sys/%.*s", name, words);
	say(path, "%d\n", atoi(words + name + 1));
}

int main(int argc, char **argv)
{
	static int errors[1000];
	pid_t kids[BOUND];
	if (argc < 3)
		return 96;
	int most = atoi(argv[1]), tries = atoi(argv[2]), made = 0, uid = 0, nproc = 0, seccomp = 0, dead = 0, hold = 0;
	int burn = 0, filled = -1;
	if (most > BOUND || tries > 1000)
		return 98;
	for (int i = 3; i < argc; i++) {
		if (sscanf(argv[i], "uid=%d", &uid) == 1 || sscanf(argv[i], "nproc=%d", &nproc) == 1 ||
		    sscanf(argv[i], "seccomp=%d", &seccomp) == 1 || sscanf(argv[i], "burn=%d", &burn) == 1)
			continue;
		if (!strncmp(argv[i], "join=", 5)) {
			say(argv[i] + 5, "%d\n", getpid());
		} else if (!strcmp(argv[i], "fill")) {
			filled = -2;
		} else if (!strcmp(argv[i], "unkillable")) {
			say("/proc/self/oom_score_adj", "%d\n", -1000);
		} else if (!strncmp(argv[i], "sysctl=", 7)) {
			set(argv[i] + 7);
		} else if (!strcmp(argv[i], "commit")) {
			commit();
		} else if (!strcmp(argv[i], "big")) {
			big();
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
	for (int i = 0; i < burn && i < 1000; i++) {
		pid_t pid = fork();
		if (!pid)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
	if (filled == -2)
		filled = fill();
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
	for (int i = 0; i < tries; i++) {
		pid_t pid = fork();
		if (!pid)
			_exit(0);
		if (pid < 0)
			errors[i] = errno;
		else
			waitpid(pid, NULL, 0);
	}
	if (filled >= 0)
		close(filled);
	printf("made %d\n", made);
	for (int i = 0; i < tries; i++)
		if (errors[i])
			printf("failed %d\n", errors[i]);
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
