/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* From Linux 7.0 on tracepoints run their programs preemptible (commit a46023d5616e, "tracing: Guard
 * __DECLARE_TRACE() use of __DO_TRACE_CALL() with SRCU-fast"), and the kernel skips a program that another task,
 * preempted on the same CPU, is inside of. It counts that in bpf_prog_info.recursion_misses, and nothing else shows it.
 * So user space loads hot programs again, attached behind the first ones: a copy does what the ones before it missed.
 * opt.copy is a constant to the verifier: where there is one copy alone, as on older kernels, none of this is there. */
#pragma once

/* A program that can see from its own results whether an earlier copy ran needs this alone. */
static __always_inline bool is_again(void)
{
	return opt.copy > 0;
}

/* For the others: has an earlier copy handled this very event? All copies of a task's event run one after the other in
 * that task. The first leaves a note, in a variable that its own task alone writes to, and the last takes it away. Two
 * of these at most: with a third, a note that was left because the last one was skipped could not be told from a fresh one. */
#define handled(notes, note) ({ \
	bool _had = false; \
	if (opt.copies > 1) { \
		if (opt.copy) { \
			_had = (notes) & (note); \
			(notes) &= ~(note); \
		} else { \
			(notes) |= (note); \
		} \
	} \
	_had; })
