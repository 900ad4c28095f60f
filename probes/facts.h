/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What is read of a task: when it is born or found, and what it has used so far. Tasks are plain ones (plain.h). */
#pragma once

#define NOT_READ (~0ULL)

/* Resident pages; NOT_READ where the kernel does not let them be read. */
static __always_inline __u64 rss_pages(struct mm_struct *mm)
{
	__s64 n;
	if (bpf_core_field_exists(struct mm_struct___old, rss_stat.count)) {
		/* An array of a typedef: these verifiers refuse to walk through it ("Type 'atomic_long_t' is not a
		 * struct"), so it is a probe read, which lockdown may forbid. */
		struct mm_struct___old *old = (void *)mm;
		if (!opt.kernel_reads)
			return NOT_READ;
		n = BPF_CORE_READ(old, rss_stat.count[MM_FILEPAGES].counter) +
		    BPF_CORE_READ(old, rss_stat.count[MM_ANONPAGES].counter) +
		    BPF_CORE_READ(old, rss_stat.count[MM_SHMEMPAGES].counter);
	} else {
		n = mm->rss_stat[MM_FILEPAGES].count + mm->rss_stat[MM_ANONPAGES].count + mm->rss_stat[MM_SHMEMPAGES].count;
	}
	return n < 0 ? 0 : n;
}

/* Copies at a write by the kernel's own count (wp_page_copy calls): those because of a fork, private file pages that
 * had been read before, and zero pages. Tasks that are born while kernel.task_delayacct is 0 never have it. */
static __always_inline __u64 wpcopies(struct task_struct *t)
{
	if (!bpf_core_field_exists(t->delays) || !bpf_core_field_exists(struct task_delay_info, wpcopy_count))
		return ~0ULL;
	struct task_delay_info *d = t->delays;
	return d ? d->wpcopy_count : ~0ULL;
}

static __always_inline void fill_birth(union ft_record *r, struct task_struct *c, struct task_struct *p)
{
	struct signal_struct *sig = c->signal;
	struct pid *id = c->thread_pid;
	struct mm_struct *mm = p->mm;

	r->fork.creator_born_ns = p->group_leader->start_boottime;
	r->fork.parent_born_ns = c->real_parent->group_leader->start_boottime;
	r->fork.clone_flags = 0;
	r->fork.fork_ns = ~0ULL;
	r->fork.pgtables_bytes = mm ? mm->pgtables_bytes.counter : ~0ULL;
	__u64 rss = mm ? rss_pages(mm) : NOT_READ;
	r->fork.rss_bytes = rss == NOT_READ ? NOT_READ : rss * PAGE_SIZE;
	r->fork.cgroup = cgroup_of(c);
	r->fork.creator_pid = tgid_of(p);
	r->fork.creator_tid = tid_of(p);
	r->fork.parent_pid = tgid_of(c->real_parent);
	r->fork.uid = c->cred->uid.val;
	r->fork.pgid = pid_nr(sig->pids[PIDTYPE_PGID]);
	r->fork.sid = pid_nr(sig->pids[PIDTYPE_SID]);
	r->fork.syscall = 0;
	r->fork.exit_signal = c->exit_signal;
	__u32 level = opt.ns_level, depth = id->level;
	r->fork.levels = depth >= level ? depth - level + 1 : 0;
#pragma unroll
	for (int i = 0; i < 4; i++)
		r->fork.ns_pids[i] = 0;
#define NR(i, n) if (depth >= (n)) r->fork.ns_pids[i] = id->numbers[n].nr
#define FROM(l) case l: NR(0, l); NR(1, l + 1); NR(2, l + 2); NR(3, l + 3); break
	if (r->head.pid)
		switch (level) { FROM(0); FROM(1); FROM(2); FROM(3); FROM(4); }
#undef FROM
#undef NR
	COPY_COMM(r->fork.comm, c);
}

static __always_inline __s32 status_of(struct task_struct *leader)
{
	struct signal_struct *sig = leader->signal;
	return sig->flags & SIGNAL_GROUP_EXIT ? sig->group_exit_code : leader->exit_code;
}

static __always_inline __u32 sigchld_of(struct task_struct *parent)
{
	struct sigaction *sa = &parent->sighand->action[SIGCHLD - 1].sa;
	if (sa->sa_handler == SIG_IGN)
		return FT_CHLD_IGNORE;
	if (sa->sa_flags & SA_NOCLDWAIT)
		return FT_CHLD_NOWAIT;
	return sa->sa_handler == SIG_DFL ? FT_CHLD_DEFAULT : FT_CHLD_HANDLER;
}

static __always_inline void fill_zombie(union ft_record *r, struct task_struct *leader, struct task_struct *parent)
{
	r->zombie.parent_born_ns = parent->group_leader->start_boottime;
	r->zombie.parent_pid = tgid_of(parent);
	r->zombie.pgid = pid_nr(leader->signal->pids[PIDTYPE_PGID]);
	r->zombie.status = status_of(leader);
	r->zombie.sigchld = sigchld_of(parent);
}

/* Its last thread has ended, and it waits for its parent. */
static __always_inline bool is_zombie(struct task_struct *t)
{
	return t->exit_state == EXIT_ZOMBIE && t->pid == t->tgid && !plain(t)->signal->live.counter;
}

static __always_inline union ft_record *so_far(__u16 kind, struct task_struct *t, struct mark *m, __s32 status)
{
	struct task_struct *p = plain(t);
	struct signal_struct *sig = p->signal;
	union ft_record *r = begin(kind, p);
	if (!r)
		return NULL;
	struct mm_struct *mm = p->mm;
	struct mark *lm = p->pid == p->tgid ? m : mark_if_made(t->group_leader);
	m->pid = r->head.pid;
	m->tid = r->head.tid;
	r->exit.parent_born_ns = p->real_parent->group_leader->start_boottime;
	r->exit.min_flt = m->min_flt = p->min_flt;
	r->exit.maj_flt = m->maj_flt = p->maj_flt;
	r->exit.utime_ns = m->utime = p->utime;
	r->exit.stime_ns = m->stime = p->stime;
	r->exit.runtime_ns = m->runtime = p->se.sum_exec_runtime;
	/* signal->maxrss holds the peaks of earlier images: for the root that would be the tracer's own. */
	__u64 peak = lm && lm->flags & M_ROOT ? 0 : sig->maxrss;
	if (mm) {
		__u64 now = rss_pages(mm), high = mm->hiwater_rss;
		high = now == NOT_READ || high > now ? high : now;
		peak = peak > high ? peak : high;
	}
	/* Up to 6.15 the address space is gone here, and signal->maxrss has been brought up to date from it. */
	r->head.flags |= peak ? 0 : FT_NO_MM;
	r->exit.max_rss_bytes = peak * PAGE_SIZE;
	r->exit.parent_pid = tgid_of(p->real_parent);
	r->exit.uid = p->cred->uid.val;
	r->exit.status = status;
	r->exit.killed_by = 0;
	if (lm) {
		__u32 signal = status & 0x7f;
		if (signal == SIGKILL)
			r->exit.killed_by = lm->kill9_pid;
		else if (signal && signal == lm->kill_sig)
			r->exit.killed_by = lm->kill_pid;
		r->head.flags |= lm->flags & M_OOM ? FT_OOM : 0;
	}
	COPY_COMM(r->exit.comm, p->group_leader);	/* a process is called as its leader is */
	r->exit.wpcopy_count = wpcopies(p);
	return r;
}
