/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What is kept of a thread between two of its faults, and how its counters are told. The traced set is the set of
 * tasks that have such counters; it grows on fork, threads included. A task outside costs one look-up. */
#pragma once

const volatile struct ft_fault_options fault_opt SEC(".rodata.faultopt");
struct ft_fault_stats fault_stats SEC(".data.faultstats");

enum counter {
	C_WP, C_HEAP, C_STACK, C_ANON, C_FILE, C_UNKNOWN, C_GUP, C_FILE_COPIES, C_ZERO, C_LARGE, C_REUSES, C_MKWRITES,
	C_FAILED, C_KSM, COUNTERS
};
/* Of the last fault that began, or of the last page that came without one; it may have ended since. */
enum state { IDLE, PENDING, ALLOCATED, DIRTIED, READING };
enum class { NONE, COPY, UNDECIDED, DIRECT, FILE_COPY, ZEROED, LARGE, UNASKED, MERGED };
enum mapping { HEAP, STACK, ANON, FILE, UNKNOWN, SHARED, MERGEABLE };	/* C_HEAP + mapping is its counter, but for the last two */

enum { T_HELD = 1, T_EXECED = 2, T_ENDED = 4, T_THREAD = 8, T_EDGE = 16, T_SAME_MM = 32, T_FORKED = 64,
       T_OTHER_IMAGE = 128, T_PARENT_OTHER = 256, T_BORN = 512, T_FOUND = 1024 };	/* T_FOUND: what it shared before is not known */

enum { N_RSS = 1 };

#define NO_BUCKET (2 * FT_DECAY_BUCKETS)

#define KNOWN_VMAS 8
struct known_vma { __u64 start, end; };	/* enum mapping in the low bits of start */

/* Written by its own thread alone, so nothing here needs an atomic, but for what is marked. What a copy touches comes
 * first. */
struct counters {
	__u32 flags;
	__u8 state;
	__u8 class;
	__u8 wp;		/* the exception was a write to a page that is there */
	__u8 stamp_uses, stamp_grown;	/* how often the reading of the clock below may still serve, and served in all */
	__u8 notes;		/* N_RSS, between copies of a program: once.h */
	__u8 hugetlb;		/* the write went to a mapping of hugetlb pages */
	__u8 unused;
	__u32 mapping;		/* what the copy was counted as, and in which bucket: to be taken back */
	__u32 bucket;
	__u32 snapped;		/* by a snapshot, at least once */
	__u32 exec_id;		/* of the exec that was handled last, plus 1; once.h */
	__u32 unused_too;
	__u64 flt;		/* min_flt + maj_flt when the fault began */
	__u64 addr;
	__u64 page;		/* allocated for it */
	__u64 vma_mm;		/* mappings that were looked up, good while their address space stands at vma_seq */
	__u32 vma_seq, vma_next;
	struct known_vma vmas[KNOWN_VMAS];
	__s64 count[COUNTERS];
	__u64 stamp_ns, stamp_tick;
	/* In its leader's: of the process. */
	__u64 shared_ns;	/* the last fork that write-protected its memory: its birth, or one of its own */
	__s32 decay[2 * FT_DECAY_BUCKETS];	/* atomic; by time since birth, then since its own last fork */
	__s64 others_copies;	/* atomic: of its other threads, those that have ended too */
	__u64 parent_born;	/* who shares memory with it since its birth */
	__u64 parent_cow_birth;
	__u64 cow_at_exec;
	__u32 parent_image;
	__u32 image;		/* number of execs: only the image that forked shares memory with its children */
	__u64 before;		/* copies that are not told: of the time when the root was held */
	__s64 told[COUNTERS];	/* atomic: by its own thread and by snapshots */
};
#define FT_COUNTERS_SIZE 752
_Static_assert(sizeof(struct counters) == FT_COUNTERS_SIZE, "change tracer/backends/bpf/faults.py too");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct counters);
} thrs SEC(".maps");

/* Most tasks of a host have no storage of any sort: this costs them a load in place of a call. */
static __always_inline struct counters *counters_if_made(struct task_struct *t)
{
	return plain(t)->bpf_storage ? bpf_task_storage_get(&thrs, t, 0, 0) : NULL;
}

static __always_inline struct counters *counters_of(struct task_struct *t)
{
	if (opt.everyone)
		return bpf_task_storage_get(&thrs, t, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	struct counters *c = counters_if_made(t);
	/* It began to match, and nobody's counters were handed down to it. */
	if (opt.match && !c && plain(t)->bpf_storage && mark_if_made(t)) {
		c = bpf_task_storage_get(&thrs, t, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (c)
			c->flags |= (t->flags & PF_FORKNOEXEC ? 0 : T_EXECED) | (t->pid == t->tgid ? 0 : T_THREAD);
	}
	return c;
}

/* Of the whole process. `own` are t's. */
static __always_inline struct counters *process_of(struct task_struct *t, struct counters *own)
{
	return t->pid == t->tgid ? own : bpf_task_storage_get(&thrs, t->group_leader, 0, 0);
}

static __always_inline __u64 copies_of(struct counters *process)
{
	__s64 *n = process->count;
	return n[C_HEAP] + n[C_STACK] + n[C_ANON] + n[C_FILE] + n[C_UNKNOWN] + n[C_GUP] + process->others_copies -
	       process->before;
}
