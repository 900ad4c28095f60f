/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Walks over the tasks that live: to find those to join at the start, and to ask the last ones at the end. An object of
 * its own, over the maps of lifecycle.bpf.c, as most runs need neither. */
#include "core.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "wire.h"
#include "marks.h"
#include "facts.h"
#include "match.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";
const __u32 ft_abi SEC(".rodata.abi") = FT_ABI;

static __always_inline bool to_join(struct task_struct *t)
{
	return opt.everyone || bpf_task_storage_get(&marks, t->group_leader, 0, 0) ||
	       bpf_task_storage_get(&marks, t->real_parent, 0, 0) ||
	       (opt.match && t->pid == t->tgid && task_matches(plain(t)));
}

/* A zombie joins as what it is. Its mark says that its end has been told: it counts as none of the living. */
static __always_inline void join_zombie(struct task_struct *t)
{
	struct task_struct *p = plain(t);
	struct mark *m = bpf_task_storage_get(&marks, t, 0, 0);
	if (m && (m->flags & (M_SEEN | M_ROOT)))	/* who names one is told that it has ended */
		return;
	if (!m && !to_join(t))
		return;
	m = bpf_task_storage_get(&marks, t, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!m || !first_to_set(m, M_SEEN))
		return;
	m->flags |= M_ENDED | M_LAST;
	m->min_flt = p->min_flt, m->maj_flt = p->maj_flt;
	m->utime = p->utime, m->stime = p->stime, m->runtime = p->se.sum_exec_runtime;
	__sync_fetch_and_add(&stats.added, 1);
	union ft_record *r = begin(FT_EXISTING, p);
	if (r) {
		m->pid = r->head.pid;
		m->tid = r->head.tid;
		fill_birth(r, p, p->real_parent);
		r->fork.how = FT_HOW_EXISTING;
		send(r, false);
	}
	r = begin(FT_ZOMBIE, p);
	if (r) {
		r->head.flags |= FT_SNAPSHOT;
		fill_zombie(r, p, p->real_parent);
		send(r, false);
	}
}

/* Attaching to what lives: a task joins if its leader or its parent has a mark, or if it matches. Passes are repeated
 * until one adds none; task_newtask is attached before, so a fork in between is not missed. */
SEC("iter/task")
int find_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	if (!t || (t->flags & PF_KTHREAD))
		return 0;
	if (is_zombie(t)) {
		join_zombie(t);
		return 0;
	}
	if (t->flags & PF_EXITING)
		return 0;
	struct mark *m = mark_of(t);
	__u32 root = 0;
	if (m) {
		if (!first_to_set(m, M_SEEN))
			return 0;
		root = m->flags & M_ROOT;
	} else {
		if (!to_join(t) || !make_mark(t))
			return 0;
		__sync_fetch_and_add(&stats.alive, 1);
		m = mark_if_made(t);
	}
	__sync_fetch_and_add(&stats.added, 1);
	struct task_struct *p = plain(t);
	union ft_record *r = begin(FT_EXISTING, p);
	if (!r)
		return 0;
	fill_birth(r, p, p->real_parent);
	r->fork.how = root ? FT_HOW_ROOT : FT_HOW_EXISTING;
	r->head.flags |= root ? FT_ROOT : 0;
	send(r, false);
	r = m ? so_far(FT_BASE, t, m, 0) : NULL;
	if (r)
		send(r, false);
	return 0;
}

/* The trace ends and they live on: what they used so far. From here on their end is not told, or it would count twice.
 * Zombies that nobody has come for are told once more: their parent may be another one by now. */
SEC("iter/task")
int find_alive(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	if (!t || (t->flags & PF_KTHREAD))
		return 0;
	if (is_zombie(t)) {
		struct mark *z = bpf_task_storage_get(&marks, t, 0, 0);
		union ft_record *r = z && (z->flags & M_SEEN) ? begin(FT_ZOMBIE, plain(t)) : NULL;
		if (r) {
			r->head.flags |= FT_SNAPSHOT;
			fill_zombie(r, plain(t), plain(t)->real_parent);
			send(r, false);
		}
		return 0;
	}
	if (t->flags & PF_EXITING)
		return 0;
	struct mark *m = bpf_task_storage_get(&marks, t, 0, 0);
	if (!m || !(m->flags & M_SEEN) || !first_to_set(m, M_ENDED))
		return 0;
	first_to_set(m, M_LAST);	/* nor is its end to be made up for */
	union ft_record *r = so_far(FT_ALIVE, t, m, 0);
	if (r)
		send(r, false);
	return 0;
}
