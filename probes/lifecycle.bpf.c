/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Births, execs, ends and reaps of the traced set, one record each. What each hook can and can not be trusted for is
 * said above it. Counts no fault: that is faults.bpf.c. */
#include "core.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "wire.h"
#include "marks.h"
#include "copying.h"
#include "texts.h"
#include "facts.h"
#include "match.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";
const __u32 ft_abi SEC(".rodata.abi") = FT_ABI;
/* clang drops types that nothing refers to; the layout test wants them all */
const union ft_record *ft_keep_record __attribute__((unused));
const struct ft_text *ft_keep_text __attribute__((unused));
const enum ft_kind *ft_keep_kind __attribute__((unused));

/* Parents, traced or not, that have zombies nobody was waiting for when they ended. */
struct parent { __u32 pending; __u32 credit; __u64 last_ns; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct parent);
} parents SEC(".maps");

/* --reap exact: whose signal handlers' table is it that will be freed by the reaper. */
struct ended { __u64 born_ns; __u32 pid, unused; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct ended);
} sighands SEC(".maps");

/* posix_spawn gives the child a stack of its own; vfork() by any name lets it run on the parent's. */
static __always_inline __u8 how_born(struct task_struct *c, struct task_struct *p, __u64 flags, __u64 nr)
{
	if (c->flags & (PF_IO_WORKER | PF_USER_WORKER))
		return FT_HOW_WORKER;
	if (flags & CLONE_THREAD)
		return FT_HOW_CLONE;
	if (nr == NR_VFORK)
		return FT_HOW_VFORK;
	if ((flags & (CLONE_VM | CLONE_VFORK)) == (CLONE_VM | CLONE_VFORK)) {
		struct pt_regs *rp = (void *)bpf_task_pt_regs(p), *rc = (void *)bpf_task_pt_regs(c);
		return USER_SP(rp) == USER_SP(rc) ? FT_HOW_VFORK : FT_HOW_SPAWN;
	}
	if ((flags & CLONE_VM) || c->exit_signal != SIGCHLD)
		return FT_HOW_CLONE;
	return FT_HOW_FORK;
}

/* The birth, in the parent. sched_process_fork would add nothing but absence: it knows no flags. */
SEC("tp_btf/task_newtask")
int BPF_PROG(on_newtask, struct task_struct *c, __u64 flags)
{
	struct task_struct *p = bpf_get_current_task_btf();
	if (is_again() && is_seen(c))
		return 0;
	struct mark *m = mark_of(p);
	if (!m) {
		if (!opt.match)
			return 0;
		/* Its process may have begun to match a moment ago, and this thread have no mark yet. */
		struct mark *leader = mark_if_made(p->group_leader);
		if (!leader && ((flags & CLONE_THREAD) || !task_matches(plain(c))))
			return 0;
	}
	if (make_mark(c))
		__sync_fetch_and_add(&stats.alive, 1);
	struct task_struct *pc = plain(c);
	union ft_record *r = begin(FT_FORK, pc);
	if (r) {
		__u64 nr = CALL_NR((struct pt_regs *)bpf_task_pt_regs(p));
		fill_birth(r, pc, plain(p));
		r->fork.clone_flags = flags;
		r->fork.syscall = nr;
		/* Late, and stored at once: six constants kept in a register are six walks of the rest for the verifier. */
		r->fork.how = how_born(c, p, flags, nr);
		/* From the first page-table entry that was copied to here. */
		if (m && m->copy_mm && m->copy_mm == (__u64)pc->mm && !(flags & CLONE_VM))
			r->fork.fork_ns = r->head.time_ns - m->copy_ns;
		send(r, false);
	}
	if (m)
		m->copy_mm = 0;
	return 0;
}

SEC("tp_btf/rss_stat")
int BPF_PROG(on_rss_stat, struct mm_struct *mm)
{
	note_copying(bpf_get_current_task_btf(), mm);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *t, pid_t old, struct linux_binprm *bprm)
{
	struct mark *m = mark_of(t);
	if (!m && opt.match && task_matches(plain(t)))
		m = join(t);
	if (!m)
		return 0;
	union ft_record *r;
	struct task_struct *pt = plain(t);
	__u32 exec_id = pt->self_exec_id;
	if (is_again() && m->exec_id == exec_id)
		return 0;
	m->exec_id = exec_id;	/* counted up by each exec, so at 1 or more here */
	__u64 now = bpf_ktime_get_boot_ns();
	if ((m->flags & (M_ROOT | M_SEEN)) == M_ROOT) {
		/* The held child becomes the program: its row begins here. */
		first_to_set(m, M_SEEN);
		r = begin(FT_EXISTING, pt);
		if (r) {
			fill_birth(r, pt, pt->real_parent);
			r->head.time_ns = now;
			r->head.flags |= FT_ROOT;
			r->fork.how = FT_HOW_ROOT;
			send(r, false);
		}
	}
	bool text = send_texts(pt, bprm, now);
	r = begin(FT_EXEC, pt);
	if (!r)
		return 0;
	struct signal_struct *sig = pt->signal;
	r->head.time_ns = now;
	r->head.flags |= text ? FT_TEXT : 0;
	r->exec.parent_born_ns = pt->real_parent->group_leader->start_boottime;
	r->exec.cgroup = cgroup_of(pt);
	r->exec.min_flt = pt->min_flt + sig->min_flt;
	r->exec.maj_flt = pt->maj_flt + sig->maj_flt;
	r->exec.utime_ns = pt->utime;
	r->exec.stime_ns = pt->stime;
	r->exec.runtime_ns = pt->se.sum_exec_runtime;
	r->exec.vfork_done_ns = m->renamed_ns;
	r->exec.parent_pid = tgid_of(pt->real_parent);
	r->exec.uid = pt->cred->uid.val;
	/* `old` is a kernel-wide tid; inside another pid namespace there is no way back from it. */
	r->exec.old_tid = opt.ns_level ? 0 : old;
	r->exec.wpcopy_count = wpcopies(pt);
	COPY_COMM(r->exec.comm, pt);
	send(r, false);
	return 0;
}

/* Fires before the new name is stored. Inside exec it comes right after the old address space was given back. */
SEC("tp_btf/task_rename")
int BPF_PROG(on_rename, struct task_struct *t, const char *comm)
{
	struct mark *m = mark_if_made(t);
	if (!m && (opt.match & MATCH_COMM) && t->pid == t->tgid && !BPF_CORE_READ_BITFIELD(t, in_execve)) {
		struct name n = {};
		bpf_probe_read_kernel_str(n.text, sizeof(n.text), comm);
		if (matches(plain(t), &n))
			m = join(t);
	}
	if (!m)
		return 0;
	if (BPF_CORE_READ_BITFIELD(t, in_execve)) {
		m->renamed_ns = bpf_ktime_get_boot_ns();
		return 0;
	}
	if (!opt.kernel_reads || t->pid != t->tgid)
		return 0;
	union ft_record *r = begin(FT_RENAME, plain(t));
	if (!r)
		return 0;
	r->words[4] = r->words[5] = 0;
	bpf_probe_read_kernel_str(r->rename.comm, sizeof(r->rename.comm), comm);
	send(r, false);
	return 0;
}

/* After the move. A single thread of a process is not what is asked for. */
SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(on_moved, struct cgroup *to, const char *path, struct task_struct *t)
{
	if (!(opt.match & MATCH_CGROUP) || t->pid != t->tgid || mark_of(t) || !task_matches(plain(t)))
		return 0;
	join(t);
	return 0;
}

static __always_inline bool same_tree(struct cgroup *a, struct cgroup *b)
{
	return a && BPF_CORE_READ(a, root) == BPF_CORE_READ(b, root);
}

/* Groups come and go faster than anybody could look their names up. Nobody is in a new one yet. */
SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(on_mkdir, struct cgroup *made)
{
	struct task_struct *t = bpf_get_current_task_btf();
	bool matched = opt.match & MATCH_CGROUP;
	if (!opt.kernel_reads)
		return 0;
	struct group_name n = {};
	__u64 id = BPF_CORE_READ(made, kn, id);
	n.above = BPF_CORE_READ(made, self.parent, cgroup, kn, id);
	bpf_probe_read_kernel_str(n.text, sizeof(n.text), BPF_CORE_READ(made, kn, name));
	if (matched && same_tree(match_group_of(plain(t)), made) && bpf_map_lookup_elem(&match_names, &n)) {
		__u32 yes = 1;
		bpf_map_update_elem(&match_groups, &id, &yes, BPF_ANY);
	}
	if (!same_tree(group_of(plain(t)), made))
		return 0;
	union ft_record *r = begin(FT_MKDIR, plain(t));
	if (!r)
		return 0;
	r->mkdir.group = id;
	r->mkdir.above = n.above;
	__builtin_memcpy(r->mkdir.name, n.text, sizeof(n.text));
	send(r, false);
	return 0;
}

/* In the leader's mark, which outlives those of the other threads. */
static __always_inline void note_last(struct task_struct *t, struct mark *m)
{
	struct mark *lm = t->pid == t->tgid ? m : mark_if_made(t->group_leader);
	if (lm)
		first_to_set(lm, M_LAST);
}

/* A leader that another thread's exec zaps comes here too, status 0, and the process lives on: FT_LAST alone ends it. */
static __always_inline int task_ended(struct task_struct *t, bool last)
{
	struct mark *m = mark_of(t);
	if (!m) {
		__u32 tid = t->pid;
		if (stats.unmarked && !bpf_map_delete_elem(&unmarked, &tid)) {	/* nor can its mark be made now */
			__sync_fetch_and_add(&stats.alive, -1);
			__sync_fetch_and_add(&stats.unseen, 1);
		}
		return 0;
	}
	if (!first_to_set(m, M_ENDED))
		return 0;
	if (last && opt.copies > 1)
		note_last(t, m);
	__u64 alive = __sync_fetch_and_add(&stats.alive, -1);
	__s32 status = t->exit_code;
	if (last) {
		struct task_struct *p = plain(t);
		struct signal_struct *sig = p->signal;
		status = sig->flags & SIGNAL_GROUP_EXIT ? sig->group_exit_code : p->group_leader->exit_code;
	}
	union ft_record *r = so_far(FT_EXIT, t, m, status);
	if (!r)
		return 0;
	r->head.flags |= last ? FT_LAST : 0;
	/* Of a host there is no last one, and zero is passed often. */
	send(r, alive == 1 && !opt.everyone && !opt.match);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *t, bool group_dead)
{
	return task_ended(t, group_dead);
}

/* Before Linux commit 3e816361e94a ("exit: Mark and report the last thread of a group") (v6.16) there is no
 * group_dead; signal->live was counted down already, and two threads that end at once may both see 0. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit_old, struct task_struct *t)
{
	return task_ended(t, plain(t)->signal->live.counter == 0);
}

static __always_inline bool takes(int type, int flags, struct pid *wanted, struct task_struct *child)
{
	struct pid *own = child->signal->pids[type == PIDTYPE_PGID ? PIDTYPE_PGID : PIDTYPE_TGID];
	bool any = type == PIDTYPE_MAX;
	return ((flags & (WEXITED | WNOWAIT)) == WEXITED) & (any | !wanted | (wanted == own));
}

/* Is some thread of the parent blocked in a wait that will take this child? The waiters hang on signal->wait_chldexit. */
static __always_inline bool awaited(struct task_struct *parent, struct task_struct *child)
{
	struct list_head *head = &parent->signal->wait_chldexit.head, *at = head->next;
	if (at == head)
		return false;
	if (!opt.kernel_reads || !bpf_core_type_exists(struct wait_opts))
		return true;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		struct wait_opts *wo = (void *)at - bpf_core_field_offset(struct wait_opts, child_wait) -
				       bpf_core_field_offset(struct wait_queue_entry, entry);
		if (takes(BPF_CORE_READ(wo, wo_type), BPF_CORE_READ(wo, wo_flags), BPF_CORE_READ(wo, wo_pid), child))
			return true;
		at = BPF_CORE_READ(at, next);
		if (at == head)
			break;
	}
	return false;
}

/* Is the parent waiting for it? Returns flags of the record, and counts the child among the parent's pending ones if
 * not. Not inlined: verifiers before 6.4 do not know at a second null check that a reserved record is there, and report
 * "Unreleased reference" at the return behind it. */
static __noinline __u32 note_zombie(struct task_struct *child, struct task_struct *parent, struct mark *leader)
{
	struct task_struct *up = plain(parent);
	__u32 flags = 0, key = parent->tgid;

	if (up->sighand->action[SIGCHLD - 1].sa.sa_flags & SA_NOCLDWAIT) {
		flags = FT_AUTOREAP;
	} else if (awaited(up, child)) {
		flags = FT_WAITED;
	} else {
		/* It may have entered wait and not be on the queue yet (preempted in between), or that wait has long
		 * returned: if no later wait takes this child, the former was so. */
		struct mark *pm = mark_if_made(parent);
		if (pm && pm->wait_ns)
			flags = FT_MAYBE;
		struct parent fresh = { .pending = 1, .credit = 64 }, *have = bpf_map_lookup_elem(&parents, &key);
		if (have) {
			__sync_fetch_and_add(&have->pending, 1);
			__sync_fetch_and_add(&have->credit, 16);
		} else {
			bpf_map_update_elem(&parents, &key, &fresh, BPF_ANY);
		}
		if (leader)
			leader->kill_sig = ~0U;	/* "counted as pending"; nobody reads the killer any more */
	}
	if (opt.sighand_size) {
		__u64 sighand = (__u64)child->sighand;
		struct ended e = { .born_ns = child->start_boottime, .pid = tgid_of(child) };
		if (leader)
			bpf_map_update_elem(&sighands, &sighand, &e, BPF_ANY);
	}
	return flags;
}

/* The end of a process as its parent is notified of it: the zombie's beginning. The exit tracepoint is up to 23 ms
 * earlier with 512 MiB, as exit_mm lies between. With SIGCHLD ignored there is no signal, and no zombie. The record is
 * reserved first: the parent's next wait must come behind it in the ring. */
static __always_inline void zombie(struct task_struct *cur, struct task_struct *parent, struct mark *leader)
{
	struct task_struct *child = plain(cur)->group_leader;
	if (opt.copies > 1 && leader && !first_to_set(leader, M_ZOMBIE))
		return;
	union ft_record *r = begin(FT_ZOMBIE, plain(cur));
	if (!r) {
		note_zombie(child, parent, leader);
		return;
	}
	r->head.flags |= note_zombie(child, parent, leader);
	fill_zombie(r, child, plain(parent));
	send(r, false);
}

/* The parent ends and did not wait: from within its own end, the zombie's new parent is told of it. It waits for that
 * one now. */
static __always_inline void adopted(struct task_struct *cur, struct mark *m, struct task_struct *parent,
				    struct kernel_siginfo *info)
{
	struct task_struct *up = plain(parent), *old = plain(cur);
	if (opt.copies > 1) {	/* one after the other, each once */
		__u32 child = info->_sifields._sigchld._pid;
		if (is_again() && m->orphan == child)
			return;
		m->orphan = child;
	}
	__u32 key = cur->tgid, flags = 0;
	struct parent *have = bpf_map_lookup_elem(&parents, &key);
	if (have && have->pending && __sync_fetch_and_add(&have->pending, -1) == 1)
		bpf_map_delete_elem(&parents, &key);
	if (awaited(up, old)) {
		flags = FT_WAITED;
	} else {
		key = parent->tgid;
		struct parent fresh = { .pending = 1, .credit = 64 };
		have = bpf_map_lookup_elem(&parents, &key);
		if (have) {
			__sync_fetch_and_add(&have->pending, 1);
			__sync_fetch_and_add(&have->credit, 16);
		} else {
			bpf_map_update_elem(&parents, &key, &fresh, BPF_ANY);
		}
	}
	union ft_record *r = begin(FT_ADOPT, old);
	if (!r)
		return;
	r->head.flags |= flags;
	r->adopt.parent_born_ns = up->group_leader->start_boottime;
	r->adopt.parent_pid = tgid_of(up);
	/* The child's pid is given as the new parent's namespace has it. */
	struct pid *id = up->thread_pid;
	__u32 level = id->level;
	bool ours = level == opt.ns_level && (!level || r->adopt.parent_pid);
	r->adopt.child_pid = ours ? info->_sifields._sigchld._pid : 0;
	send(r, false);
}

SEC("tp_btf/signal_generate")
int BPF_PROG(on_signal, int sig, struct kernel_siginfo *given, struct task_struct *t)
{
	struct task_struct *cur = bpf_get_current_task_btf();
	struct kernel_siginfo *info = cast_siginfo(given, opt.rdonly_cast);
	if (cur->exit_state && t->tgid != cur->tgid) {
		if (sig == plain(cur)->group_leader->exit_signal && mark_if_made(cur))
			zombie(cur, t, mark_if_made(cur->group_leader));
		return 0;
	}
	if (sig == SIGCHLD) {
		if ((cur->flags & PF_EXITING) && t->tgid != cur->tgid && (unsigned long)info > 1 && info->si_code > 0) {
			struct mark *own = mark_if_made(cur);
			if (own)
				adopted(cur, own, t, info);
		}
		return 0;
	}
	if (!mark_if_made(t))
		return 0;
	struct mark *m = mark_if_made(t->group_leader);
	if (!m)
		return 0;
	/* info is 0 (kill without siginfo), 1 (the kernel itself), or a siginfo, where si_code > 0 is the kernel. */
	__u32 by = 0;
	if ((unsigned long)info == 0 || ((unsigned long)info > 1 && info->si_code <= 0))
		by = tgid_of(plain(cur));
	if (sig == SIGKILL) {
		/* The first one kills; the kernel's own, for the other threads of the group, must not hide its sender. */
		if (!m->kill9_pid)
			m->kill9_pid = by;
	} else {
		m->kill_sig = sig;
		m->kill_pid = by;
	}
	return 0;
}

SEC("tp_btf/mark_victim")
int BPF_PROG(on_oom, struct task_struct *t)
{
	struct mark *m = mark_if_made(t->group_leader);
	if (m)
		first_to_set(m, M_OOM);
	return 0;
}

/* Fires on entry, without the child for wait(-1), also for waits that will take nothing. Waits matter only while the
 * waiter has zombies that were not waited for, and a poller must not flood the ring: each zombie gives 16 credits,
 * each millisecond one. */
SEC("tp_btf/sched_process_wait")
int BPF_PROG(on_wait, struct pid *pid)
{
	struct task_struct *t = bpf_get_current_task_btf();
	__u32 key = t->tgid, options = 0;
	struct pt_regs *regs = (void *)bpf_task_pt_regs(t);
	__s32 target = pid ? pid_nr(pid) : 0;

	if (CALL_NR(regs) == NR_WAIT4) {
		__s32 which = CALL_ARG0(regs);
		options = (__u32)CALL_ARG2(regs) | WEXITED;
		if (which < -1 || which == 0)
			target = -target;
	} else if (CALL_NR(regs) == NR_WAITID) {
		options = CALL_ARG3(regs);
		if (CALL_ARG0(regs) == 2)
			target = -target;
	} else {
		options = WEXITED;
	}
	if (!(options & WEXITED) || (options & WNOWAIT))
		return 0;
	struct mark *m = mark_if_made(t);
	if (m ? handled(m->notes, N_WAITED) : is_again())	/* of those outside, a skipped wait stays lost */
		return 0;
	if (m && !(options & WNOHANG))
		m->wait_ns = bpf_ktime_get_boot_ns();
	struct parent *p = bpf_map_lookup_elem(&parents, &key);
	if (!p || !p->pending)
		return 0;
	__u64 now = bpf_ktime_get_boot_ns();
	if (!p->credit) {
		if (now - p->last_ns < 1000000)
			return 0;
	} else {
		p->credit--;
	}
	p->last_ns = now;
	union ft_record *r = begin(FT_WAIT, plain(t));
	if (!r)
		return 0;
	r->wait.target = target;
	r->wait.options = options;
	send(r, false);
	return 0;
}

/* release_task() gives the table of signal handlers back in the reaper's own context, within 2 to 11 us of the reap.
 * Every free of the host comes by here (open/close loops x1.12), so it is opt-in: `--reap exact`. */
/* A raw tracepoint: as a typed one its second argument, a pointer to nothing in particular, is refused before 6.13. */
SEC("raw_tp/kmem_cache_free")
int BPF_PROG(on_sighand_free, unsigned long site, __u64 key, struct kmem_cache *cache)
{
	if (object_size(cache, opt.rdonly_cast) != opt.sighand_size)
		return 0;
	struct ended *e = bpf_map_lookup_elem(&sighands, &key);
	if (!e)
		return 0;
	union ft_record *r = begin(FT_REAP, plain(bpf_get_current_task_btf()));
	if (r) {
		r->reap.reaper_pid = r->head.pid;
		r->reap.unused = 0;
		r->head.pid = r->head.tid = e->pid;
		r->head.born_ns = e->born_ns;
		send(r, false);
	}
	bpf_map_delete_elem(&sighands, &key);
	return 0;
}

/* An end that all copies of on_exit missed, late: what a task used is still there, and so is the status. */
static __always_inline void late_end(struct task_struct *t, struct mark *m, struct task_struct *p)
{
	bool last = t->pid == t->tgid && first_to_set(m, M_LAST);
	union ft_record *r = so_far(FT_EXIT, t, m, status_of(p->group_leader));
	if (!r)
		return;
	r->head.flags |= FT_SNAPSHOT | (last ? FT_LAST : 0);
	__sync_fetch_and_add(&stats.late_ends, 1);
	send(r, false);
}

/* 12 to 27 ms after the reap (RCU), in whatever task is running: real_parent is still the one that reaped. CPU time
 * is whole only now, as the last slice ran after the exit record. */
SEC("tp_btf/sched_process_free")
int BPF_PROG(on_free, struct task_struct *t)
{
	struct mark *m = bpf_task_storage_get(&marks, t, 0, 0);
	struct task_struct *p = plain(t), *parent = p->real_parent;
	__u32 key = parent->tgid;
	if (!m)
		return 0;
	if (first_to_set(m, M_ENDED)) {
		/* It had passed the exit hook when its mark was made, or all copies of that were skipped: its end was not
		 * recorded, but it is over. */
		if (m->flags & (M_SEEN | M_ROOT))
			__sync_fetch_and_add(&stats.alive, -1);
		if (opt.copies < 2)
			return 0;
		late_end(t, m, p);
	} else if (opt.copies > 1 && t->pid == t->tgid && (m->flags & (M_SEEN | M_LAST)) == M_SEEN) {
		late_end(t, m, p);	/* its own end was recorded, but not the one that was the last of its process */
	}
	if (opt.copies > 1 && !first_to_set(m, M_FREED))
		return 0;
	if (m->kill_sig == ~0U) {
		struct parent *have = bpf_map_lookup_elem(&parents, &key);
		if (have && have->pending && __sync_fetch_and_add(&have->pending, -1) == 1)
			bpf_map_delete_elem(&parents, &key);
	}
	union ft_record *r = begin(FT_FREE, p);
	if (r) {
		if (opt.ns_level) {
			r->head.pid = m->pid;
			r->head.tid = m->tid;
			r->head.flags = m->pid ? 0 : FT_HIDDEN;
		}
		r->free.parent_born_ns = parent->group_leader->start_boottime;
		r->free.min_flt = t->min_flt - m->min_flt;
		r->free.maj_flt = t->maj_flt - m->maj_flt;
		r->free.utime_ns = t->utime - m->utime;
		r->free.stime_ns = t->stime - m->stime;
		r->free.runtime_ns = t->se.sum_exec_runtime - m->runtime;
		r->free.parent_pid = tgid_of(parent);
		if (opt.ns_level && !r->free.parent_pid) {	/* let go of before its child was */
			struct mark *above = bpf_task_storage_get(&marks, t->real_parent, 0, 0);
			r->free.parent_pid = above ? above->pid : 0;
		}
		r->free.exit_signal = t->exit_signal;
		send(r, false);
	}
	return 0;
}
