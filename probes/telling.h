/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* How counters become records: what a thread has counted since it last told, what sharing has cost its parent, and when
 * its process' copies were made. */
#pragma once

static __always_inline union ft_record *begin_faults(__u16 kind, struct task_struct *t, __u32 flags)
{
	union ft_record *r = begin(kind, plain(t));
	if (r)
		r->head.flags |= flags;
	return r;
}

/* What sharing with the parent has cost the parent up to now. The child's real_parent is not always who forked it
 * (CLONE_PARENT, adoption): birth tells them apart, as tasks are born one nanosecond apart at least. */
static __always_inline void tell_edge(union ft_record *r, struct task_struct *t, struct counters *process)
{
	__u64 born = ~0ULL, end = ~0ULL;
	if (process->flags & T_SAME_MM) {
		born = end = 0;
	} else {
		struct task_struct *parent = t->real_parent->group_leader;
		struct counters *pc = NULL;
		born = process->parent_cow_birth;
		if (plain(parent)->start_boottime == process->parent_born)
			pc = bpf_task_storage_get(&thrs, parent, 0, 0);
		if (pc && pc->image == process->parent_image)
			end = copies_of(pc);
		else if (pc && pc->image == process->parent_image + 1)
			end = pc->cow_at_exec;
		else if (pc || (process->flags & T_PARENT_OTHER))
			born = ~0ULL;
	}
	r->faults.parent_cow_birth = born;
	r->faults.parent_cow_end = end;
	r->head.flags |= FT_EDGE;
}

/* Of a process that became another program after it had forked, the total at that exec is the last one told: it is what
 * its children need whose end it does not see. Those that it forks later do without (T_PARENT_OTHER). */
static __always_inline void tell_total(union ft_record *r, struct counters *process)
{
	r->faults.cow_total = process && !(process->flags & T_OTHER_IMAGE) ? copies_of(process) : ~0ULL;
}

/* `reuses` and `gup` are certain but not counted yet, as the thread itself counts them at its next fault. Two may tell at
 * once, the thread and a snapshot: each says by how much it moved `told`, so the sum is right in any order. */
static __always_inline void tell_counters(union ft_record *r, struct counters *c, __u32 reuses, __u32 gup)
{
	__s64 *out = &r->faults.wp_faults;
#pragma unroll
	for (int i = 0; i < COUNTERS; i++) {
		__s64 now = *(volatile __s64 *)&c->count[i] + (i == C_REUSES ? reuses : i == C_GUP ? gup : 0);
		__s64 moved = now - __sync_lock_test_and_set(&c->told[i], now);
		if (i < C_FAILED)
			out[i] = moved;
		else
			(&r->faults.failed_wp)[i - C_FAILED] = moved;
	}
}

static __always_inline bool anything_to_tell(struct counters *c)
{
	__s64 differs = 0;
#pragma unroll
	for (int i = 0; i < COUNTERS; i++)
		differs |= c->count[i] ^ c->told[i];
	return differs;
}

static __always_inline void tell_decay_side(struct task_struct *t, struct counters *c, __u32 flags, __u32 first)
{
	__s32 any = 0;
	for (__u32 i = 0; i < FT_DECAY_BUCKETS; i++)
		any |= c->decay[first + i];
	union ft_record *r = any ? begin_faults(FT_DECAY, t, flags) : NULL;
	if (!r)
		return;
	for (__u32 i = 0; i < FT_DECAY_BUCKETS; i++)
		r->decay.buckets[i] = __sync_lock_test_and_set(&c->decay[first + i], 0);
	send(r, false);
}

/* The loops are plain on purpose: the verifier walks each round of them. */
static __always_inline void tell_decay(struct task_struct *t, struct counters *c, __u32 flags)
{
	__u64 copies = copies_of(c);
	if (!copies)
		return;
	if (copies >= fault_opt.decay_min) {
		if (c->flags & T_EDGE)
			tell_decay_side(t, c, flags, 0);
		if (c->flags & T_FORKED)
			tell_decay_side(t, c, flags | FT_FORKED, FT_DECAY_BUCKETS);
	} else if (!(flags & FT_SNAPSHOT)) {
		for (__u32 i = 0; i < 2 * FT_DECAY_BUCKETS; i++) {
			__s32 n = c->decay[i];
			if (n) {
				__sync_fetch_and_add(&fault_stats.decay[i], n);
				c->decay[i] = 0;
			}
		}
	}
}
