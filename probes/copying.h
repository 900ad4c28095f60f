/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* When a fork began to copy page tables. Of lifecycle.bpf.c, and of faults.bpf.c in its place where that is attached: a
 * second program on rss_stat would cost a fork 4 % more. */
#pragma once

/* rss_stat for a foreign address space: fork copies, or exec builds its stack, or ptrace pokes. The first is told from
 * the second by in_execve, and its end by the address space that the new task turns out to have. */
static __always_inline void note_copying(struct task_struct *t, struct mm_struct *mm)
{
	struct mm_struct *own = plain(t)->mm;
	if (!own || mm == own || BPF_CORE_READ_BITFIELD(t, in_execve))
		return;
	struct mark *m = mark_if_made(t);
	if (m && m->copy_mm != (__u64)mm) {
		m->copy_mm = (__u64)mm;
		m->copy_ns = bpf_ktime_get_boot_ns();
	}
}
