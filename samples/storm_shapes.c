/* SPDX-License-Identifier: MIT */
/*
 * Fork storms of known shapes, with a bridle: `storm_shapes SHAPE [PER_SECOND [SECONDS]]` makes about that many
 * processes a second for so long (300 for 6; never more than 2,000 a second, 60 s, or 500 alive), then ends.
 *
 *	fanout		children that exec /bin/true
 *	noexec		children that do not
 *	respawn		a child that execs `sh -c 'exit 3'`, again and again, one at a time
 *	chain		each makes the next one and ends
 *	bomb		everyone makes more, who live until the bridle is pulled
 *	full		forks that fail: RLIMIT_NPROC is its own user's, and 0 (as another user than root)
 *
 * Whoever is born is bounded by RLIMIT_NPROC too, where it is not root's. Not told by truth lines: a storm is judged
 * by who is found to be behind it.
 */
#include <sys/mman.h>

#include "truth.h"

enum { USUAL = 300, FASTEST = 2000, LONGEST = 60, ALIVE = 500, NOBODY = 65534 };

static int64_t until, gap;

static int more(void)
{
	return now_ns(CLOCK_MONOTONIC) < until;
}

static void rest(int64_t *next)
{
	struct timespec t;

	*next += gap;
	t.tv_sec = *next / 1000000000;
	t.tv_nsec = *next % 1000000000;
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

/* At most ALIVE children: the oldest is waited for. */
static void many(char *const *argv)
{
	int64_t next = now_ns(CLOCK_MONOTONIC);
	int alive = 0;

	while (more()) {
		pid_t pid = fork();

		if (!pid) {
			if (argv)
				execv(argv[0], argv);
			_exit(argv ? 127 : 0);
		}
		alive += pid > 0;
		while (alive && waitpid(-1, NULL, alive >= ALIVE ? 0 : WNOHANG) > 0)
			alive--;
		rest(&next);
	}
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static void one_at_a_time(char *const *argv)
{
	int64_t next = now_ns(CLOCK_MONOTONIC);

	while (more()) {
		pid_t pid = fork();

		must(pid >= 0);
		if (!pid) {
			execv(argv[0], argv);
			_exit(127);
		}
		must(waitpid(pid, NULL, 0) == pid);
		rest(&next);
	}
}

static void chain(void)
{
	int64_t next = now_ns(CLOCK_MONOTONIC);

	while (more()) {
		pid_t pid = fork();

		must(pid >= 0);
		if (pid)
			_exit(0);
		rest(&next);
	}
}

/* Whoever takes a turn from the shared clock may make one when it has come; there are ALIVE - 1 turns. */
struct turns {
	int64_t next;
	int left;
};

static void bomb(struct turns *turns)
{
	while (more() && __atomic_fetch_sub(&turns->left, 1, __ATOMIC_RELAXED) > 0) {
		int64_t turn = __atomic_fetch_add(&turns->next, gap, __ATOMIC_RELAXED) - gap;

		rest(&turn);
		must(fork() >= 0);
	}
	while (more())
		wait_ms(20);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

int main(int argc, char **argv)
{
	const char *shape = argc > 1 ? argv[1] : "noexec";
	int rate = argc > 2 ? atoi(argv[2]) : USUAL, seconds = argc > 3 ? atoi(argv[3]) : 6;
	struct rlimit most = {2 * ALIVE, 2 * ALIVE};

	if (rate < 1 || rate > FASTEST || seconds < 1 || seconds > LONGEST) {
		fprintf(stderr, "storm_shapes: 1 to %d a second, for 1 to %d s\n", FASTEST, LONGEST);
		return 2;
	}
	must(!setrlimit(RLIMIT_NPROC, &most));
	gap = 1000000000 / rate;
	until = now_ns(CLOCK_MONOTONIC) + seconds * 1000000000LL;
	if (!strcmp(shape, "fanout")) {
		many((char *[]){"/bin/true", NULL});
	} else if (!strcmp(shape, "noexec")) {
		many(NULL);
	} else if (!strcmp(shape, "respawn")) {
		one_at_a_time((char *[]){"/bin/sh", "-c", "exit 3", NULL});
	} else if (!strcmp(shape, "chain")) {
		chain();
	} else if (!strcmp(shape, "bomb")) {
		struct turns *turns = mmap(NULL, sizeof(*turns), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

		must(turns != MAP_FAILED);
		*turns = (struct turns){now_ns(CLOCK_MONOTONIC), ALIVE - 1};
		bomb(turns);
	} else if (!strcmp(shape, "full")) {
		most = (struct rlimit){0, 0};
		must(!setrlimit(RLIMIT_NPROC, &most));
		if (!getuid())
			must(!setgid(NOBODY) && !setuid(NOBODY));
		many(NULL);
	} else {
		fprintf(stderr, "storm_shapes: no shape '%s'\n", shape);
		return 2;
	}
	return 0;
}
