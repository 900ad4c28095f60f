/* SPDX-License-Identifier: MIT */
/*
 * A fork storm with a bridle: `storm N` makes N children (211; never above 100,000), at most 16 alive at
 * a time.
 */
#include "truth.h"

enum { USUAL = 211, LIMIT = 100000, ALIVE = 16 };

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : USUAL;
	pid_t alive[ALIVE] = {0};

	tell_image(argv);
	if (n < 0 || n > LIMIT) {
		fprintf(stderr, "storm: between 0 and %d children, not %s\n", LIMIT, argv[1]);
		told_end(2);
	}
	for (int k = 0; k < n + ALIVE; k++) {
		pid_t *slot = &alive[k % ALIVE];

		if (*slot)
			told_wait(*slot);
		*slot = 0;
		if (k < n && !(*slot = told_fork()))
			_exit(k & 0x7f);
	}
	told_end(0);
}
