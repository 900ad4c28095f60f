/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Walks over the tasks that live: what they have counted so far, and who is to be counted. An object of its own, over the
 * maps of faults.bpf.c, as most runs need neither. */
#include "core.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "wire.h"
#include "marks.h"
#include "faults.h"
#include "telling.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";
const __u32 ft_abi SEC(".rodata.abi") = FT_ABI;

/* All that live, as they stand. A thread may be inside a fault meanwhile: what was seen too soon, its own next record
 * takes back. A fault that has ended but was not judged yet is judged here, or a sleeper's last one would be missing. */
SEC("iter/task")
int snap_faults(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	if (!t)
		return 0;
	struct counters *c = bpf_task_storage_get(&thrs, t, 0, 0);
	if (!c || (c->flags & (T_ENDED | T_HELD)))
		return 0;
	__u64 flt = t->min_flt + t->maj_flt;
	bool ended = flt != c->flt;
	__u32 reuse = ended && c->state == PENDING && c->wp && !c->hugetlb;
	__u32 gup = ended && c->state == ALLOCATED && c->class == UNASKED;
	bool leader = t->pid == t->tgid;
	/* A process is told of once even if it did nothing: nothing measured is not the same as not measured. */
	if (!reuse && !gup && (!leader || (c->snapped && !(c->flags & T_EDGE))) && !anything_to_tell(c))
		return 0;
	c->snapped = 1;
	union ft_record *r = begin_faults(FT_FAULTS, t, FT_SNAPSHOT | (c->flags & T_EXECED ? 0 : FT_BEFORE_EXEC));
	if (!r)
		return 0;
	tell_counters(r, c, reuse, gup);
	tell_total(r, leader ? c : NULL);
	r->faults.parent_cow_birth = r->faults.parent_cow_end = ~0ULL;
	if (leader && (c->flags & T_EDGE))
		tell_edge(r, t, c);
	send(r, false);
	if (leader)
		tell_decay(t, c, FT_SNAPSHOT);
	return 0;
}

/* Attaching to what lives: a task joins if its leader or its parent has counters. Passes are repeated until one adds
 * none; on_newtask is attached before, so a fork in between is not missed. */
SEC("iter/task")
int find_faulters(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	if (!t || (t->flags & (PF_EXITING | PF_KTHREAD)) || bpf_task_storage_get(&thrs, t, 0, 0))
		return 0;
	if (!opt.everyone && !(opt.match && bpf_task_storage_get(&marks, t, 0, 0)) &&
	    !bpf_task_storage_get(&thrs, t->group_leader, 0, 0) &&
	    !bpf_task_storage_get(&thrs, t->real_parent, 0, 0))
		return 0;
	struct counters *c = bpf_task_storage_get(&thrs, t, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!c)
		return 0;
	c->flags |= T_FOUND | T_EXECED | (t->pid == t->tgid ? 0 : T_THREAD);
	if (t->pid != t->tgid)
		fault_stats.threads = 1;
	__sync_fetch_and_add(&fault_stats.added, 1);
	return 0;
}
