/* SPDX-License-Identifier: MIT */
/*
 * Pid namespaces inside one another: root -> init of the first -> init of the second (clone3,
 * CLONE_NEWPID), and there 3 children by fork. Pids are told as the root's namespace numbers them: /proc
 * is the one mounted there, so /proc/self/status knows (NSpid). `pidns N` nests N deep. Needs root.
 */
#include "truth.h"

enum { CHILDREN = 3, DEEPEST = 7 };

/* Tells the caller's birth, with pids as /proc shows them; returns its own. */
static pid_t told_birth(const char *call, uint64_t flags)
{
	char text[64], inner[128] = "";
	FILE *f = fopen("/proc/self/status", "r");
	int pid = 0, ppid = 0;

	must(f);
	while (fscanf(f, "%63s", text) == 1)
		if (!strcmp(text, "PPid:"))
			must(fscanf(f, "%d", &ppid) == 1);
		else if (!strcmp(text, "NSpid:"))
			must(fscanf(f, "%d%127[0-9\t]", &pid, inner) >= 1);
	fclose(f);
	tell("{'ev':'fork','parent':%d,'child':%d,'how':'fork','syscall':%s,'flags':%f}", ppid, pid, call, flags);
	snprintf(text, sizeof(text), "%d%.50s", pid, inner);
	tell("{'ev':'fact','pid':%d,'name':'ns_pids','value':%s}", pid, text); /* with tabs between */
	return pid;
}

static void end_of(pid_t inner, pid_t pid, pid_t by)
{
	int status;

	must(waitpid(inner, &status, 0) == inner);
	tell_exit(pid, status);
	tell("{'ev':'reap','pid':%d,'by':%d}", pid, by);
}

/* One generation: the child tells its outer pid through the pipe, then runs `inside`. */
static void generation(pid_t me, int deeper)
{
	struct clone_args args = {.flags = deeper ? CLONE_NEWPID : 0, .exit_signal = SIGCHLD};
	int told[2];
	pid_t inner, pid;

	must(!pipe(told));
	inner = clone3(&args);
	must(inner >= 0);
	if (!inner) {
		pid = told_birth("clone3", args.flags);
		must(write(told[1], &pid, sizeof(pid)) == sizeof(pid));
		if (deeper) {
			must(getpid() == 1);
			if (deeper > 1)
				generation(pid, deeper - 1);
			for (int k = 0; deeper == 1 && k < CHILDREN; k++)
				generation(pid, 0);
		}
		_exit(30 + deeper);
	}
	must(read(told[0], &pid, sizeof(pid)) == sizeof(pid));
	close(told[0]);
	close(told[1]);
	end_of(inner, pid, me);
}

int main(int argc, char **argv)
{
	int depth = argc > 1 ? atoi(argv[1]) : 2;

	tell_image(argv);
	must(depth > 0 && depth <= DEEPEST);
	generation(getpid(), depth);
	told_end(0);
}
