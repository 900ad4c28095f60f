/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What is kept of a thread between two of its faults, and how its counters are told. The traced set is the set of
 * tasks that have such counters; it grows on fork, threads included. A task outside costs one look-up. */
#pragma once

const volatile struct ft_fault_options opt SEC(".rodata.faultopt");
struct ft_fault_stats stats SEC(".data.faultstats");

enum counter {
	C_WP, C_HEAP, C_STACK, C_ANON, C_FILE, C_UNKNOWN, C_GUP, C_FILE_COPIES, C_ZERO, C_LARGE, C_REUSES, C_MKWRITES,
	C_FAILED, COUNTERS
};
enum mapping { HEAP, STACK, ANON, FILE, UNKNOWN };	/* C_HEAP + mapping is its counter */

enum { T_HELD = 1, T_EXECED = 2, T_ENDED = 4, T_THREAD = 8, T_EDGE = 16, T_SAME_MM = 32, T_FORKED = 64, T_NEW_IMAGE = 128 };

#define NO_BUCKET (2 * FT_DECAY_BUCKETS)

/* Written by its own thread alone, so nothing here needs an atomic, but for what is marked. */
struct counters {
	__u32 flags;
	__u8 state;		/* of the fault that is being handled: enum state in faults.bpf.c */
	__u8 class;
	__u8 wp;		/* the exception was a write to a page that is there */
	__u8 kernel;		/* it was taken in kernel mode */
	__u64 flt;		/* min_flt + maj_flt when it began */
	__u64 addr;
	__u64 page;		/* allocated for it */
	__u32 mapping;		/* what its copy was counted as, and in which bucket: to be taken back */
	__u32 bucket;
	__u64 gup_flt;		/* pages allocated without an exception, since when, and how many */
	__u32 gup_pages;
	__u32 image;		/* number of execs, as told apart by who shared memory with whom */
	__u64 vma_mm;		/* the mapping that was looked up last */
	__u64 vma_start, vma_end;
	__u32 vma_seq, vma_mapping;
	__s64 count[COUNTERS];
	__s64 told[COUNTERS];	/* atomic: by its own thread and by snapshots */
	/* In its leader's: of the process. */
	__u64 shared_ns;	/* the last fork that write-protected its memory: its birth, or one of its own */
	__u64 cow_total;	/* atomic: by its threads */
	__u64 cow_at_exec;
	__u64 parent_born;	/* who shares memory with it since its birth */
	__u64 parent_cow_birth;
	__u32 parent_image;
	__u32 snapped;		/* by a snapshot, at least once */
	__s32 decay[2 * FT_DECAY_BUCKETS];	/* atomic; by time since birth, then since its own last fork */
};
#define FT_COUNTERS_SIZE 600
_Static_assert(sizeof(struct counters) == FT_COUNTERS_SIZE, "change tracer/backends/_faults.py too");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct counters);
} thrs SEC(".maps");

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 16 << 20); } events SEC(".maps");

static __always_inline struct counters *counters_of(struct task_struct *t)
{
	return bpf_task_storage_get(&thrs, t, 0, opt.everyone ? BPF_LOCAL_STORAGE_GET_F_CREATE : 0);
}

/* Of the whole process. `own` are t's. */
static __always_inline struct counters *process_of(struct task_struct *t, struct counters *own)
{
	return t->pid == t->tgid ? own : bpf_task_storage_get(&thrs, t->group_leader, 0, 0);
}

/* As in marks.h. */
static __always_inline __u32 pid_nr(struct pid *p)
{
	__u32 level = opt.ns_level;
	if (!p || p->level < level)
		return 0;
#define AT(n) case n: return p->numbers[n].ns->ns.inum == opt.ns_inum ? p->numbers[n].nr : 0
	switch (level) {
	case 0: return p->numbers[0].nr;
	AT(1); AT(2); AT(3); AT(4);
	}
#undef AT
	return 0;
}

static __always_inline union ft_record *begin(__u16 kind, struct task_struct *t, __u32 flags)
{
	union ft_record *r = bpf_ringbuf_reserve(&events, sizeof(*r), 0);
	__u32 cpu = bpf_get_smp_processor_id();
	if (!r) {
		__sync_fetch_and_add(&stats.lost_events[cpu & (FT_MAX_CPUS - 1)], 1);
		return NULL;
	}
	r->head.time_ns = bpf_ktime_get_boot_ns();
	r->head.born_ns = t->group_leader->start_boottime;
	r->head.pid = opt.ns_level ? pid_nr(t->signal->pids[PIDTYPE_TGID]) : t->tgid;
	r->head.tid = opt.ns_level ? pid_nr(t->thread_pid) : t->pid;
	r->head.flags = flags | (r->head.pid ? 0 : FT_HIDDEN);
	r->head.kind = kind;
	r->head.cpu = cpu;
	return r;
}

static __always_inline void send(union ft_record *r)
{
	bool full = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > opt.events_bytes / 4;
	__sync_fetch_and_add(&stats.records, 1);
	bpf_ringbuf_submit(r, full ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
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
		if (parent->start_boottime == process->parent_born)
			pc = bpf_task_storage_get(&thrs, parent, 0, 0);
		if (pc && pc->image == process->parent_image)
			end = pc->cow_total;
		else if (pc && pc->image == process->parent_image + 1)
			end = pc->cow_at_exec;
		else if (pc)
			born = ~0ULL;
	}
	r->faults.parent_cow_birth = born;
	r->faults.parent_cow_end = end;
	r->head.flags |= FT_EDGE;
}

/* `extra` are what is certain but not counted yet, as the thread itself counts it at its next fault. Two may tell at
 * once, the thread and a snapshot: each says by how much it moved `told`, so the sum is right in any order. */
static __always_inline void tell_counters(union ft_record *r, struct counters *c, __u32 reuses, __u32 gup)
{
	__s64 *out = &r->faults.wp_faults;
#pragma unroll
	for (int i = 0; i < COUNTERS; i++) {
		__s64 now = *(volatile __s64 *)&c->count[i] + (i == C_REUSES ? reuses : i == C_GUP ? gup : 0);
		out[i] = now - __sync_lock_test_and_set(&c->told[i], now);
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
