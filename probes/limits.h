/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What bounds the making of a process, as it stands when a fork has just failed: read in the caller, before it can do
 * anything about it. Which of them it was is decided in user space (tracer/host/fork_errors.py). Tasks are plain ones. */
#pragma once

#define RLIMIT_NPROC 6
#define CAP_SYS_ADMIN 21
#define CAP_SYS_RESOURCE 24
#define PIDNS_ADDING (1u << 31)
#define SECCOMP_MODE_FILTER 2
#define NO_LIMIT (~0U)
#define LEVELS 16	/* of groups or namespaces, upwards */

/* Counts of the kernel's that hang on no task. Found once, by name (failures.bpf.c); 0: not known, as where the kernel
 * has no CONFIG_KALLSYMS_ALL. */
struct { __u64 threads, committed; } symbols SEC(".data.symbols");

static __always_inline __u32 narrow(__u64 n)
{
	return n > NO_LIMIT ? NO_LIMIT : n;
}

static __always_inline void no_limits(struct ft_failed *f)
{
	f->cgroup = f->pids_cgroup = f->mem_cgroup = 0;
	f->pids_now = f->pids_max = f->pids_fails = f->mem_now = f->mem_max = 0;
	f->nproc_now = f->nproc_uid = f->ns_now = f->ns_max = f->data_pages = f->limits = 0;
	f->tasks_now = f->committed = 0;
	f->nproc_max = NO_LIMIT;
}

/* A subsystem's state, its first member being the css; NULL without that controller. */
#define STATE_OF(t, ss) (bpf_core_enum_value_exists(enum cgroup_subsys_id, ss) ? \
	(t)->cgroups->subsys[bpf_core_enum_value(enum cgroup_subsys_id, ss)] : NULL)

/* pids_can_fork() asks all but the topmost, which has no bound. */
static __always_inline void fill_pids(struct ft_failed *f, struct task_struct *t)
{
	struct cgroup_subsys_state *css = STATE_OF(t, pids_cgrp_id);
	__s64 least = 0;
	if (!css)
		return;
	struct pids_cgroup *own = (void *)css;
	f->cgroup = css->cgroup->kn->id;
	if (bpf_core_field_exists(own->events_local))
		f->pids_fails = BPF_CORE_READ(own, events_local[1].counter);
	else
		f->pids_fails = BPF_CORE_READ((struct pids_cgroup___old *)own, events_limit.counter);
	for (int i = 0; i < LEVELS; i++) {
		struct pids_cgroup *p = (void *)css;
		struct cgroup_subsys_state *up = BPF_CORE_READ(css, parent);
		if (!up)
			break;
		__s64 limit = BPF_CORE_READ(p, limit.counter), now = BPF_CORE_READ(p, counter.counter);
		__s64 room = limit - now;
		if (limit <= 4 << 20 && (!f->pids_cgroup || room < least)) {	/* PIDS_MAX is PID_MAX_LIMIT + 1 */
			least = room;
			f->pids_now = narrow(now);
			f->pids_max = narrow(limit);
			f->pids_cgroup = BPF_CORE_READ(css, cgroup, kn, id);
		}
		css = up;
	}
}

static __always_inline void fill_memory(struct ft_failed *f, struct task_struct *t)
{
	struct cgroup_subsys_state *css = STATE_OF(t, memory_cgrp_id);
	__s64 least = 0;
	for (int i = 0; css && i < LEVELS; i++) {
		struct mem_cgroup *m = (void *)css;
		struct cgroup_subsys_state *up = BPF_CORE_READ(css, parent);
		if (!up)
			break;
		__u64 max = BPF_CORE_READ(m, memory.max), now = BPF_CORE_READ(m, memory.usage.counter);
		__s64 room = max - now;
		if (max < NO_LIMIT && (!f->mem_cgroup || room < least)) {
			least = room;
			f->mem_now = narrow(now);
			f->mem_max = max;
			f->mem_cgroup = BPF_CORE_READ(css, cgroup, kn, id);
		}
		css = up;
	}
}

/* Since v5.14 the processes of a user are counted in each user namespace on the way up, against the limit that held in
 * the one below when it was made. */
static __always_inline void fill_user(struct ft_failed *f, struct task_struct *t)
{
	const struct cred *cred = t->cred;
	__u64 caps, max = t->signal->rlim[RLIMIT_NPROC].rlim_cur;
	f->nproc_uid = cred->uid.val;
	f->nproc_max = narrow(max);
	/* Both are below 32, and the first word is the low one. */
	caps = *(volatile __u32 *)((void *)cred + bpf_core_field_offset(struct cred, cap_effective));
	/* capable() asks in the host's own user namespace; its root is never counted out. */
	if (!cred->user_ns->level &&
	    (!cred->user->uid.val || (caps & (1ULL << CAP_SYS_ADMIN | 1ULL << CAP_SYS_RESOURCE))))
		f->limits |= FT_L_EXEMPT;
	if (bpf_core_field_exists(struct user_struct___old, processes)) {
		f->nproc_now = ((struct user_struct___old *)cred->user)->processes.counter;
		return;
	}
	if (!bpf_core_field_exists(struct ucounts, rlimit)) {	/* from v5.14 up to v6.0 it is among others there, unnamed */
		f->nproc_now = NO_LIMIT;
		return;
	}
	bool first = true;
	__s64 least = 0;
	struct ucounts *u = cred->ucounts;
	for (int i = 0; u && i < 8; i++) {
		struct user_namespace *ns = BPF_CORE_READ(u, ns);
		__u64 now = BPF_CORE_READ(u, rlimit[0].counter), above = BPF_CORE_READ(ns, rlimit_max[0]);
		__s64 room = max - now;
		if (max < NO_LIMIT && (first || room < least)) {
			least = room;
			f->nproc_now = narrow(now);
			f->nproc_max = max;
			f->nproc_uid = BPF_CORE_READ(u, uid.val);
			first = false;
		} else if (first) {
			f->nproc_now = narrow(now);
			f->nproc_max = NO_LIMIT;
		}
		max = above;
		u = BPF_CORE_READ(ns, ucounts);
	}
}

static __always_inline void fill_namespace(struct ft_failed *f, struct task_struct *t)
{
	struct nsproxy *proxy = t->nsproxy;
	if (!proxy)
		return;
	struct pid_namespace *ns = proxy->pid_ns_for_children;
	__s64 least = 0;
	if (!(BPF_CORE_READ(ns, pid_allocated) & PIDNS_ADDING))
		f->limits |= FT_L_NS_DEAD;
	for (int i = 0; ns && i < 8; i++) {
		__u32 now = BPF_CORE_READ(ns, pid_allocated) & ~PIDNS_ADDING;
		__u32 max = bpf_core_field_exists(ns->pid_max) ? BPF_CORE_READ(ns, pid_max) : 0;
		__s64 room = (__s64)max - now;
		/* One bound for all: the outermost namespace has them all. */
		if (!i || !max || room < least) {
			least = room;
			f->ns_now = now;
			f->ns_max = max;
			f->limits &= ~FT_L_NS_INNER;
			f->limits |= BPF_CORE_READ(ns, level) ? FT_L_NS_INNER : 0;
		}
		f->tasks_now = now;	/* of the outermost, which comes last */
		ns = BPF_CORE_READ(ns, parent);
	}
}

/* What threads-max and overcommit were compared with. It is over in a moment: whoever was refused ends, and takes what it
 * had along. percpu_counter_read_positive() is the rough count that __vm_enough_memory() goes by. */
static __always_inline void fill_host(struct ft_failed *f)
{
	__u32 threads = 0;
	__s64 pages = 0;
	if (symbols.threads && !bpf_probe_read_kernel(&threads, sizeof(threads), (void *)symbols.threads)) {
		f->tasks_now = threads;
		f->limits |= FT_L_TASKS;
	}
	struct percpu_counter *committed = (void *)symbols.committed;
	if (committed && !bpf_probe_read_kernel(&pages, sizeof(pages), &committed->count) && pages > 0)
		f->committed = narrow(pages);
}

static __always_inline void fill_limits(struct ft_failed *f, struct task_struct *t)
{
	struct mm_struct *mm = t->mm;
	no_limits(f);
	if (!opt.kernel_reads)
		return;
	f->limits = FT_L_READ;
	if (t->seccomp.mode == SECCOMP_MODE_FILTER)
		f->limits |= FT_L_SECCOMP;
	f->data_pages = mm ? narrow(mm->data_vm) : 0;
	fill_pids(f, t);
	fill_memory(f, t);
	fill_user(f, t);
	fill_namespace(f, t);
	fill_host(f);
}
