/* SPDX-License-Identifier: MIT
 *
 * world: prints all that a program can see of the circumstances it was started in, a line each, `NAME VALUE`.
 *
 * What cannot be equal in two starts (its pid, times, counters) is left out. Written to descriptor 1, or to the file that is
 * named by argv[1], as descriptor 1 may be closed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

extern char **environ;
static FILE *out;

static void quoted(const char *name, const char *text)
{
	fprintf(out, "%s ", name);
	for (const unsigned char *c = (const unsigned char *)text; *c; c++)
		fprintf(out, *c > ' ' && *c < 0x7f && *c != '\\' ? "%c" : "\\x%02x", *c);
	fputc('\n', out);
}

static void lines_of(const char *path, const char *const *wanted)
{
	char line[4096];
	FILE *file = fopen(path, "r");

	if (!file) {
		fprintf(out, "%s errno=%d\n", path, errno);
		return;
	}
	while (fgets(line, sizeof(line), file)) {
		int take = !wanted;

		for (int i = 0; wanted && wanted[i]; i++)
			take |= !strncmp(line, wanted[i], strlen(wanted[i])) && line[strlen(wanted[i])] == ':';
		line[strcspn(line, "\n")] = 0;
		if (take)
			quoted(strrchr(path, '/') + 1, line);
	}
	fclose(file);
}

static void link_of(const char *name, const char *path)
{
	char target[4096];
	ssize_t n = readlink(path, target, sizeof(target) - 1);

	target[n > 0 ? n : 0] = 0;
	quoted(name, target);
}

static void descriptors(void)
{
	struct stat st;
	char path[64], target[256], name[32];

	for (int fd = 0; fd < 1024; fd++) {
		int flags = fcntl(fd, F_GETFD);

		if (flags < 0 || fd == fileno(out))
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		snprintf(name, sizeof(name), "fd%d", fd);
		ssize_t n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = 0;
		if (strchr(target, ':')) /* pipe:[123] and the like: another one in each start */
			*strchr(target, ':') = 0;
		int stat_failed = fstat(fd, &st);
		fprintf(out, "%s flags=%#x status=%#x at=%lld mode=%o ", name, flags, fcntl(fd, F_GETFL),
			(long long)lseek(fd, 0, SEEK_CUR), stat_failed ? 0 : st.st_mode);
		quoted("is", strncmp(target, "/dev/pts/", 9) ? target : "/dev/pts/N");
	}
}

int main(int argc, char **argv)
{
	static const char *const status[] = {
		"Name", "Umask", "Uid", "Gid", "Groups", "NStgid_", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "CapInh",
		"CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "THP_enabled",
		"CoreDumping", "Cpus_allowed", "Mems_allowed", "TracerPid", "Threads",
		"Speculation_Store_Bypass", "SpeculationIndirectBranch", NULL,
	};
	static const char *const spaces[] = { "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts" };
	char path[64], cwd[4096];
	struct sigaction action;
	struct itimerval timer;
	int n = 0;

	out = argc > 1 && *argv[1] ? fopen(argv[1], "we") : fdopen(fcntl(1, F_DUPFD_CLOEXEC, 900), "w");
	if (!out)
		return 99;
	for (int i = 0; i < argc; i++)
		quoted("argv", i == 1 ? "-" : argv[i]); /* 1: another file each time */
	for (char **entry = environ; *entry; entry++, n++)
		quoted("env", *entry);
	fprintf(out, "environment %d\n", n);
	lines_of("/proc/self/status", status);
	lines_of("/proc/self/limits", NULL);
	lines_of("/proc/self/cgroup", NULL);
	for (int i = 0; i < 8; i++) {
		snprintf(path, sizeof(path), "/proc/self/ns/%s", spaces[i]);
		link_of(spaces[i], path);
	}
	const char *files[] = { "oom_score_adj", "coredump_filter", "loginuid", "timerslack_ns", "comm" };
	for (int i = 0; i < 5; i++) {
		snprintf(path, sizeof(path), "/proc/self/%s", files[i]);
		lines_of(path, NULL);
	}
	descriptors();
	quoted("cwd", getcwd(cwd, sizeof(cwd)) ? cwd : strerror(errno));
	link_of("root", "/proc/self/root");
	quoted("execfn", (const char *)getauxval(AT_EXECFN));
	fprintf(out, "secure %lu\n", getauxval(AT_SECURE));
	for (int signo = 1; signo < 65; signo++)
		if (!sigaction(signo, NULL, &action) && action.sa_handler != SIG_DFL)
			fprintf(out, "signal %d %s\n", signo, action.sa_handler == SIG_IGN ? "ignored" : "handled");
	fprintf(out, "in session %d, group %d\n", getsid(0), getpgrp());
	int terminal = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	fprintf(out, "terminal %d foreground %d\n", terminal >= 0, terminal >= 0 && tcgetpgrp(terminal) == getpgrp());
	fprintf(out, "nice %d policy %d ioprio %ld\n", getpriority(PRIO_PROCESS, 0), sched_getscheduler(0),
		syscall(SYS_ioprio_get, 1, 0));
	fprintf(out, "personality %#x\n", personality(0xffffffff));
	fprintf(out, "dumpable %d keepcaps %d securebits %#x subreaper ", prctl(PR_GET_DUMPABLE), prctl(PR_GET_KEEPCAPS),
		prctl(PR_GET_SECUREBITS));
	n = -1;
	prctl(PR_GET_CHILD_SUBREAPER, &n);
	fprintf(out, "%d pdeathsig ", n);
	n = -1;
	prctl(PR_GET_PDEATHSIG, &n);
	fprintf(out, "%d thp %d timing %d slack %d tsc ", n, prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), prctl(PR_GET_TIMING),
		prctl(PR_GET_TIMERSLACK));
	prctl(PR_GET_TSC, &n);
	fprintf(out, "%d mce %d\n", n, prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
	n = syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING, cwd, sizeof(cwd));
	quoted("keyring", n > 0 ? cwd : strerror(errno));
	for (int which = 0; which < 3; which++)
		if (!getitimer(which, &timer))
			fprintf(out, "timer %d %s\n", which, timer.it_value.tv_sec || timer.it_value.tv_usec ? "runs" : "none");
	return fclose(out) ? 98 : 0;
}
