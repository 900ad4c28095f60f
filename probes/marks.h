/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Who is traced, and how a record is begun and sent. The traced set starts with the target and grows on fork,
 * threads included: it is the set of tasks that have a mark. A task outside costs one look-up. */
#pragma once

#include "plain.h"

const volatile struct ft_options opt SEC(".rodata.opt");
#define PAGE_SIZE ((__u64)opt.page_size)
struct ft_stats stats SEC(".data.stats");

static __always_inline struct task_struct *plain(struct task_struct *t)
{
	return cast_task(t, opt.rdonly_cast);
}

/* M_FREED, M_ZOMBIE, M_LAST: that was recorded; the last one is of the whole process. */
enum { M_ROOT = 1, M_SEEN = 2, M_OOM = 8, M_ENDED = 16, M_FREED = 32, M_ZOMBIE = 64, M_LAST = 128 };
enum { N_WAITED = 1, N_FAILED = 2 };

struct mark {
	__u32 flags;
	__u32 kill_sig;		/* last signal sent to the process, SIGKILL apart */
	__u32 kill_pid;
	__u32 kill9_pid;
	__u64 copy_mm;		/* address space that is being copied to, and since when */
	__u64 copy_ns;
	__u64 renamed_ns;	/* inside exec: the old address space is gone by now */
	__u64 wait_ns;		/* last blocking wait entered */
	__u64 min_flt, maj_flt, utime, stime, runtime;	/* as told by the exit record */
	__u32 pid, tid;		/* likewise: when the task is let go of it has numbers in no namespace any more */
	__u32 exec_id;		/* of the exec that was recorded last */
	__u32 orphan;		/* pid of the child that was adopted last, while it ends */
	__u32 notes;		/* N_*, between copies of a program: once.h */
	__u32 unused;
};

#include "once.h"

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct mark);
} marks SEC(".maps");

/* Storage can not be made while an iterator holds its lock (seen: 4 of 20 attaches under churn), and a lost mark is a
 * lost subtree. Such tasks are noted here, by tid, and get their mark at their next event; stats.unmarked says that
 * there are any. (A second home for marks would do as well, but the verifier then walks every program twice.) */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u32);
} unmarked SEC(".maps");

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 16 << 20); } events SEC(".maps");

static __always_inline struct mark *mark_if_made(struct task_struct *t)
{
	return bpf_task_storage_get(&marks, t, 0, opt.everyone ? BPF_LOCAL_STORAGE_GET_F_CREATE : 0);
}

/* For births, execs and ends, where a mark that could not be made is made up for. */
static __always_inline struct mark *mark_of(struct task_struct *t)
{
	struct mark *m = mark_if_made(t);
	if (!m && stats.unmarked) {
		__u32 tid = t->pid;
		__u32 *flags = bpf_map_lookup_elem(&unmarked, &tid);
		if (!flags)
			return NULL;
		m = bpf_task_storage_get(&marks, t, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (m) {
			m->flags = *flags;
			bpf_map_delete_elem(&unmarked, &tid);
		}
	}
	return m;
}

/* Sets a flag of a mark; true for the one who is the first to. A birth and a walk over all tasks may come upon a task
 * at once (it is in the kernel's list before task_newtask), and what is counted twice never comes down to 0. */
static __always_inline bool first_to_set(struct mark *m, __u32 flag)
{
	return !(__sync_fetch_and_or(&m->flags, flag) & flag);
}

/* True for the one who has seen the task first. */
static __always_inline bool make_mark(struct task_struct *t)
{
	struct mark *m = bpf_task_storage_get(&marks, t, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!m)	/* when two make it at once, the second gets -EAGAIN, and may have the first one's now */
		m = bpf_task_storage_get(&marks, t, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (m)
		return first_to_set(m, M_SEEN);
	__u32 tid = t->pid, flags = M_SEEN;
	if (!bpf_map_update_elem(&unmarked, &tid, &flags, BPF_NOEXIST)) {
		__sync_fetch_and_add(&stats.unmarked, 1);
		return true;
	}
	if (!bpf_map_lookup_elem(&unmarked, &tid))
		__sync_fetch_and_add(&stats.unseen, 1);
	return false;
}

/* Whether a birth was recorded already, by an earlier copy of the program or by a walk. */
static __always_inline bool is_seen(struct task_struct *t)
{
	struct mark *m = bpf_task_storage_get(&marks, t, 0, 0);
	__u32 tid = t->pid;
	return m ? m->flags & M_SEEN : stats.unmarked && bpf_map_lookup_elem(&unmarked, &tid);
}

/* A pid as forktrace's namespace has it; 0 if it is not visible from there. */
static __always_inline __u32 pid_nr(struct pid *p)
{
	__u32 level = opt.ns_level;
	if (!level)
		return p->numbers[0].nr;	/* a load through NULL reads 0, as fault handling says */
	if (p->level < level)
		return 0;
#define AT(n) case n: return p->numbers[n].ns->ns.inum == opt.ns_inum ? p->numbers[n].nr : 0
	switch (level) {
	AT(1); AT(2); AT(3); AT(4);
	}
#undef AT
	return 0;
}

static __always_inline __u32 tgid_of(struct task_struct *t)
{
	return opt.ns_level ? pid_nr(t->signal->pids[PIDTYPE_TGID]) : t->tgid;
}

static __always_inline __u32 tid_of(struct task_struct *t)
{
	return opt.ns_level ? pid_nr(t->thread_pid) : t->pid;
}

static __always_inline struct cgroup *group_of(struct task_struct *t)
{
	if (opt.cgroup_v1 && bpf_core_enum_value_exists(enum cgroup_subsys_id, pids_cgrp_id))
		return t->cgroups->subsys[bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id)]->cgroup;
	return t->cgroups->dfl_cgrp;
}

static __always_inline __u64 cgroup_of(struct task_struct *t)
{
	return group_of(t)->kn->id;
}

/* A fork that comm is read for, 8 bytes at a time: needs no helper, so no permission either. */
#define COPY_COMM(dst, t) do { \
	((__u64 *)(dst))[0] = *(volatile __u64 *)&(t)->comm[0]; \
	((__u64 *)(dst))[1] = *(volatile __u64 *)&(t)->comm[8]; } while (0)

/* `t`: a plain task. */
static __always_inline union ft_record *begin(__u16 kind, struct task_struct *t)
{
	union ft_record *r = bpf_ringbuf_reserve(&events, sizeof(*r), 0);
	__u32 cpu = bpf_get_smp_processor_id();
	if (!r) {
		__sync_fetch_and_add(&stats.lost_events[cpu & (FT_MAX_CPUS - 1)], 1);
		return NULL;
	}
	r->head.time_ns = bpf_ktime_get_boot_ns();
	r->head.born_ns = t->group_leader->start_boottime;
	r->head.pid = tgid_of(t);
	r->head.tid = tid_of(t);
	r->head.flags = r->head.pid ? 0 : FT_HIDDEN;
	r->head.kind = kind;
	r->head.cpu = cpu;
	return r;
}

/* The reader comes by on a timer; it is woken early only when a quarter is full, and at the very end. */
static __always_inline void send(union ft_record *r, bool now)
{
	bool full = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > opt.events_bytes / 4;
	bpf_ringbuf_submit(r, now || full ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}
