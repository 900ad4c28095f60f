/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The programs of the bcc backend: who is born, becomes another program, ends; and write-protect faults. BCC compiles
 * this on the host where it runs, so it reads nothing but tracepoint arguments, the answers of helpers, user memory and
 * the saved user registers: no field of task_struct, whose place headers of another version would give wrongly and
 * without a word. What can be known so is less than lifecycle.bpf.c knows: no reaps, no CPU time, no copies.
 *
 * Records are those of wire.h. tracer/backends/bcc/backend.py defines the OPT_ words before it hands this over:
 *
 *   OPT_EVENTS_PAGES OPT_TEXTS_PAGES  size of the two rings
 *   OPT_EVERYONE      1: the whole host; nobody has to be followed first
 *   OPT_REGS          1: bpf_task_pt_regs() is there (5.15, with BTF): calls and words from registers and the user stack;
 *                    0: calls from their own tracepoints, which tax every system call of the host; no words
 *   OPT_RENAME_PID    1: task_rename says which task it is of; newer kernels leave it to the running one
 *   OPT_GROUP_DEAD    1: sched_process_exit says which task was the last (6.16)
 *   OPT_LEADERS_CODE  1: where all tasks have called exit(), the leader's status is the process' (before 6.0)
 *   OPT_OOM OPT_FAULTS 1: those tracepoints are there and wanted
 *   OPT_ARGV_MAX OPT_ENV_MAX OPT_PIECES  bytes to keep of an exec's words; how many further records that may take */
#include <linux/types.h>
#include "wire.h"

#define SIG_CHLD 17
#define SIG_KILL 9
#define CLD_DUMPED 3
#define CHUNK 4096

#define VM 0x00000100ULL
#define VFORK 0x00004000ULL
#define PARENT 0x00008000ULL
#define THREAD 0x00010000ULL
#define INTO_CGROUP 0x200000000ULL

#define CORE_UNKNOWN 0x80000000u	/* ft_head.flags of an end, for tracer/backends/bcc/backend.py alone */

/* proc.flags */
#define P_ROOT 1u
#define P_EXECED 2u	/* since its birth, or since it was found */
#define P_OOM 4u
#define P_KILLED 8u	/* SIGKILL was sent */
#define P_PENDING 16u	/* over, and whether it dumped core will be told with SIGCHLD */

/* A followed process, by pid. tracer/backends/_bcc_maps.py writes its first five fields. */
struct proc {
	u64 born_ns;
	u64 parent_born_ns;
	u32 parent;
	u32 live;	/* its tasks */
	u32 flags;
	u32 exit_code;	/* 0x100 | status, by exit() */
	u32 group_code;	/* 0x100 | status, by exit_group(): the first stands */
	u32 died_of;	/* a signal that was delivered, with nobody to handle it */
	u32 kill_sig;	/* the last one sent that could kill, SIGKILL apart, and by whom */
	u32 kill_pid;
	u32 kill9_pid;
	u32 last_tid;	/* whose end was the last */
	u64 ended_ns;
	u64 wp_faults;
	u32 uid;
	char comm[16];
};

_Static_assert(sizeof(struct proc) == 96, "change tracer/backends/bcc/procs.py too");

struct call {	/* that makes a task, as it was asked for */
	u64 flags;
	u64 stack;
	u32 exit_signal;
	u32 nr;
};

struct birth {	/* between task_newtask and sched_process_fork; the kernel's own helpers never come to the second */
	u64 time_ns;
	u64 flags;
	char comm[16];
};

struct counts {
	u64 alive;
	u64 lost_events;
	u64 lost_texts;
	u64 unseen;	/* the table of processes was full */
	u64 sent;
};

struct scratch {
	u64 from, left, env, env_left;	/* pieces still to send. Here and not on the stack: of what lies in a map the
					 * verifier knows no range, and so does not follow it round by round */
	struct ft_text t;
	char data[2 * CHUNK];
};

BPF_RINGBUF_OUTPUT(events, OPT_EVENTS_PAGES);
BPF_RINGBUF_OUTPUT(texts, OPT_TEXTS_PAGES);
BPF_HASH(procs, u32, struct proc, 65536);
BPF_HASH(threads, u32, u32, 65536);	/* tid -> pid, of tasks that are not the first */
BPF_TABLE("lru_hash", u32, struct birth, births, 16384);
BPF_TABLE("lru_hash", u32, struct call, calls, 16384);
BPF_ARRAY(counts, struct counts, 1);
BPF_PERCPU_ARRAY(scratches, struct scratch, 1);

static __always_inline struct counts *counters(void)
{
	u32 zero = 0;
	return counts.lookup(&zero);
}

static __always_inline bool fatal(u32 sig)
{	/* unless it is handled or ignored */
	return sig && sig != SIG_CHLD && sig != 18 && sig != 23 && sig != 28 && !(sig >= 19 && sig <= 22);
}

static __always_inline bool dumps(u32 sig)
{	/* QUIT ILL TRAP ABRT BUS FPE SEGV XCPU XFSZ SYS */
	return sig < 32 && (1u << sig) & (1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 8 | 1u << 11 |
					  1u << 24 | 1u << 25 | 1u << 31);
}

static __always_inline union ft_record *begin(u32 kind, u64 at, struct proc *p, u32 pid, u32 tid)
{
	union ft_record *r = events.ringbuf_reserve(sizeof(union ft_record));
	if (!r) {
		struct counts *c = counters();
		if (c)
			lock_xadd(&c->lost_events, 1);
		return NULL;
	}
	__builtin_memset(r, 0, sizeof(*r));
	r->head.time_ns = at;
	r->head.born_ns = p->born_ns;
	r->head.pid = pid;
	r->head.tid = tid;
	r->head.kind = kind;
	r->head.cpu = bpf_get_smp_processor_id();
	return r;
}

static __always_inline void send(union ft_record *r, bool wake)
{
	struct counts *c = counters();
	if (c)	/* BCC knows no way to ask how full a ring is; two that count at once may count one, which is no harm */
		wake |= ++c->sent % (OPT_EVENTS_PAGES * 4096ULL / 4 / (sizeof(*r) + 8) + 1) == 0;
	events.ringbuf_submit(r, wake ? 2 /* FORCE_WAKEUP */ : 1 /* NO_WAKEUP */);
}

/* ---- registers ---- */

#define BX_AT 40
#define SI_AT 104
struct words {	/* of struct pt_regs of x86-64, which is the ABI of ptrace and does not move. The whole is much for a stack */
	u64 si, di, orig_ax, ip, cs, flags, sp;
};

#if OPT_REGS
static void *(*task_btf)(void) = (void *)158;
static void *(*task_regs)(void *task) = (void *)175;
static long (*read_user)(void *to, u32 size, const void *from) = (void *)112;
static long (*read_kernel)(void *to, u32 size, const void *from) = (void *)113;

static __always_inline bool registers(struct words *w)
{
	return read_kernel(w, sizeof(*w), task_regs(task_btf()) + SI_AT) == 0;
}

static __always_inline bool narrow(struct words *w)
{
	return w->cs == 0x23;	/* a 32-bit program: other numbers, other words on the stack */
}

static __always_inline u32 first_argument(struct words *w)
{
	u64 bx = 0;
	if (narrow(w))
		read_kernel(&bx, sizeof(bx), task_regs(task_btf()) + BX_AT);
	return narrow(w) ? bx : w->di;
}

/* The call that makes a task; nr 0 where it is not one, as for the kernel's own helpers. */
static __always_inline void current_call(struct call *c)
{
	struct words w;
	if (!registers(&w) || narrow(&w))
		return;
	if (w.orig_ax == 56) {
		c->flags = w.di & ~0xffULL;
		c->exit_signal = w.di & 0xff;
		c->stack = w.si;
	} else if (w.orig_ax == 435) {	/* struct clone_args: flags pidfd child_tid parent_tid exit_signal stack */
		u64 a[6];
		if (read_user(a, sizeof(a), (void *)w.di))
			return;
		c->flags = a[0];
		c->exit_signal = a[4];
		c->stack = a[5];
	} else if (w.orig_ax == 57 || w.orig_ax == 58) {
		c->exit_signal = SIG_CHLD;
	} else {
		return;
	}
	if (c->stack == w.sp)
		c->stack = 0;	/* it may be given, and be the caller's own */
	c->nr = w.orig_ax;
}
#else
static __always_inline void current_call(struct call *c)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct call *had = calls.lookup(&tid);
	if (had)
		*c = *had;
}

static __always_inline int called(u32 nr, u64 flags, u32 exit_signal, u64 stack)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 pid = id >> 32, tid = id;
	struct call c = {};
	if (!OPT_EVERYONE && !procs.lookup(&pid))
		return 0;
	c.flags = flags;
	c.exit_signal = exit_signal;
	c.stack = stack;
	c.nr = nr;
	calls.update(&tid, &c);
	return 0;
}

TRACEPOINT_PROBE(syscalls, sys_enter_clone) { return called(56, args->clone_flags & ~0xffULL, args->clone_flags & 0xff, args->newsp); }
TRACEPOINT_PROBE(syscalls, sys_enter_fork) { return called(57, 0, SIG_CHLD, 0); }
TRACEPOINT_PROBE(syscalls, sys_enter_vfork) { return called(58, VM | VFORK, SIG_CHLD, 0); }
TRACEPOINT_PROBE(syscalls, sys_enter_clone3)
{
	u64 a[6] = {};
	bpf_probe_read_user(a, sizeof(a), args->uargs);
	return called(435, a[0], a[4], a[5]);
}

TRACEPOINT_PROBE(syscalls, sys_enter_exit)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32, tid = bpf_get_current_pid_tgid();
	struct proc *p = procs.lookup(&pid);
	if (p && (!OPT_LEADERS_CODE || tid == pid))
		p->exit_code = 0x100 | (args->error_code & 0xff);
	return 0;
}

TRACEPOINT_PROBE(syscalls, sys_enter_exit_group)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc *p = procs.lookup(&pid);
	if (p && !p->group_code)
		p->group_code = 0x100 | (args->error_code & 0xff);
	return 0;
}
#endif

/* ---- birth ---- */

TRACEPOINT_PROBE(task, task_newtask)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32, child = args->pid;
	struct birth b = {};
	if (!OPT_EVERYONE && !procs.lookup(&pid))
		return 0;
	b.time_ns = bpf_ktime_get_boot_ns();
	b.flags = args->clone_flags;
	__builtin_memcpy(b.comm, args->comm, 16);
	births.update(&child, &b);
	return 0;
}

static __always_inline u8 how_of(u64 flags, struct call *c)
{
	if (flags & VFORK && flags & VM) {
		if (c->nr == 58 || !c->stack)
			return FT_HOW_VFORK;
		return FT_HOW_SPAWN;
	}
	return flags & VM || (c->nr && c->exit_signal != SIG_CHLD) ? FT_HOW_CLONE : FT_HOW_FORK;
}

static __always_inline void tell_end(struct proc *p, u32 pid, u32 status, u32 flags);

TRACEPOINT_PROBE(sched, sched_process_fork)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 pid = id >> 32, tid = id, child = args->child_pid;
	struct birth *b = births.lookup(&child);
	struct counts *n = counters();
	struct proc *creator = procs.lookup(&pid), fresh = {};
	struct call c = {};
	if (!b || !n || (!creator && (!OPT_EVERYONE || pid == 2)))
		return 0;
	current_call(&c);
	u64 flags = b->flags, creator_born = creator ? creator->born_ns : 0;
	bool thread = flags & THREAD, above = flags & (PARENT | THREAD);
	u32 parent = !above ? pid : creator ? creator->parent : 0;
	u64 parent_born = !above ? creator_born : creator ? creator->parent_born_ns : 0;
	struct proc *of = creator;
	if (thread) {
		if (!creator)
			return 0;
		threads.update(&child, &pid);
		lock_xadd(&creator->live, 1);
	} else {
		struct proc *old = procs.lookup(&child);
		if (old && old->flags & P_PENDING)	/* its parent ignored SIGCHLD, and its pid is in use again */
			tell_end(old, child, old->died_of, CORE_UNKNOWN);
		fresh.born_ns = b->time_ns;
		fresh.parent_born_ns = parent_born;
		fresh.parent = parent;
		fresh.live = 1;
		fresh.uid = bpf_get_current_uid_gid();
		__builtin_memcpy(fresh.comm, b->comm, 16);
		if (procs.update(&child, &fresh)) {
			lock_xadd(&n->unseen, 1);
			return 0;
		}
		of = &fresh;
	}
	lock_xadd(&n->alive, 1);
	union ft_record *r = begin(FT_FORK, b->time_ns, of, thread ? pid : child, child);
	if (r) {
		r->fork.creator_born_ns = creator_born;
		r->fork.parent_born_ns = parent_born;
		r->fork.clone_flags = flags;
		r->fork.fork_ns = r->fork.pgtables_bytes = r->fork.rss_bytes = ~0ULL;
		r->fork.cgroup = flags & INTO_CGROUP ? 0 : bpf_get_current_cgroup_id();
		r->fork.creator_pid = pid;
		r->fork.creator_tid = tid;
		r->fork.parent_pid = parent;
		r->fork.uid = bpf_get_current_uid_gid();
		r->fork.syscall = c.nr;
		r->fork.how = how_of(flags, &c);
		r->fork.exit_signal = thread ? 0 : c.exit_signal;
		__builtin_memcpy(r->fork.comm, b->comm, 16);
		send(r, false);
	}
	births.delete(&child);
	return 0;
}

/* ---- exec ---- */

static __always_inline void tell_faults(struct proc *p, u64 at, u32 pid, u32 flags)
{
	union ft_record *r = begin(FT_FAULTS, at, p, pid, pid);
	if (!r)
		return;
	r->head.flags = flags;
	r->faults.wp_faults = p->wp_faults;
	r->faults.parent_cow_birth = r->faults.parent_cow_end = r->faults.cow_total = ~0ULL;
	p->wp_faults = 0;
	send(r, false);
}

static __always_inline void send_text(struct scratch *s, u32 len)
{
	if (texts.ringbuf_output(&s->t, sizeof(s->t) + (len & (2 * CHUNK - 1)), 1)) {
		struct counts *c = counters();
		if (c)
			lock_xadd(&c->lost_texts, 1);
	}
}

#if OPT_REGS
/* Where the new image's words lie. The kernel has just laid them out, and the stack pointer says where: argc, argv[], 0,
 * envp[], 0, the auxiliary vector; and the strings one behind the other: argv, environment, the path that was given to
 * execve, to which AT_EXECFN (31) points. */
struct places { u64 argv, env, end; };

static __always_inline bool find_words(struct places *at)
{
	struct words w;
	u64 argc = 0, pair[2];
	if (!registers(&w) || narrow(&w) || read_user(&argc, 8, (void *)w.sp) || argc > 0x7fffffff)
		return false;
	u64 slot = w.sp + 8 * (argc + 2);
	if (read_user(&at->argv, 8, (void *)(w.sp + 8)) || read_user(&at->env, 8, (void *)slot))
		return false;
	at->end = 0;
	if (at->env && !OPT_ENV_MAX)
		return true;
	if (at->env) {
		for (int i = 0; i < 2048; i++) {
			u64 pointer = 0;
			if (read_user(&pointer, 8, (void *)slot))
				return true;
			slot += 8;
			if (!pointer)
				break;
		}
	} else {
		slot += 8;
	}
	for (int i = 0; i < 40; i++) {
		if (read_user(pair, 16, (void *)slot) || !pair[0])
			break;
		if (pair[0] == 31) {
			at->end = pair[1];
			break;
		}
		slot += 16;
	}
	if (!at->env)
		at->env = at->end;
	return at->env != 0;
}

static __always_inline u64 capped(u64 from, u64 to, u64 max)
{
	u64 n = to > from ? to - from : 0;
	return n > max ? max : n;
}

static __always_inline void send_piece(struct scratch *s)
{
	u64 n = s->left;
	bool of_env = s->env == 0;
	if (n > CHUNK)
		n = CHUNK;
	s->t.seq++;
	s->t.argv_len = of_env ? 0 : n;
	s->t.env_len = of_env ? n : 0;
	if (read_user(s->data, n & (2 * CHUNK - 1), (void *)s->from))
		s->t.failed |= of_env ? 2 : 1;
	send_text(s, n);
	s->from += n;
	s->left -= n;
}

static __always_inline void put_words(struct scratch *s, u32 off)
{
	struct places at = {};
	if (!find_words(&at)) {
		s->t.failed |= 1 | 2;
		send_text(s, off);
		return;
	}
	u64 argv = capped(at.argv, at.env, OPT_ARGV_MAX), env = capped(at.env, at.end, OPT_ENV_MAX);
	u64 first = argv > CHUNK ? CHUNK : argv;
	s->t.argv_full = at.env - at.argv;
	s->t.env_full = at.end ? at.end - at.env : 0;
	off &= CHUNK - 1;
	if (read_user(s->data + off, first & (2 * CHUNK - 1), (void *)at.argv))
		s->t.failed |= 1;
	s->t.argv_len = first;
	send_text(s, off + first);
	s->t.exe_len = 0;
	s->from = at.argv + first;
	s->left = argv - first;
	s->env = at.env;
	s->env_left = env;
	for (int i = 0; i < OPT_PIECES; i++) {
		bool of_env = !s->left;
		if (of_env) {
			s->from = s->env;
			s->left = s->env_left;
			s->env_left = 0;
			s->env = 0;
			if (!s->left)
				break;
		}
		send_piece(s);
	}
}
#else
static __always_inline void put_words(struct scratch *s, u32 off)
{
	s->t.failed |= 1 | 2;
	send_text(s, off);
}
#endif

TRACEPOINT_PROBE(sched, sched_process_exec)
{
	u32 pid = args->pid, old_tid = args->old_pid, zero = 0;
	struct proc *p = procs.lookup(&pid);
	struct scratch *s = scratches.lookup(&zero);
	if (!p || !s)
		return 0;
	u64 now = bpf_ktime_get_boot_ns();
	if (old_tid != pid)
		threads.delete(&old_tid);
	p->died_of = p->exit_code = 0;	/* of threads that had to make room */
	bpf_get_current_comm(p->comm, sizeof(p->comm));
	p->uid = bpf_get_current_uid_gid();
	if (!(p->flags & P_EXECED)) {
		if (!(p->flags & P_ROOT) && p->wp_faults)
			tell_faults(p, now, pid, FT_BEFORE_EXEC);
		p->wp_faults = 0;	/* the root's figures begin here */
		p->flags |= P_EXECED;
	}
	__builtin_memset(&s->t, 0, sizeof(s->t));
	s->t.time_ns = now;
	s->t.tid = pid;
	int n = bpf_probe_read_kernel_str(s->data, CHUNK - 1, (char *)args + (args->data_loc_filename & 0xffff));
	if (n > 0)
		s->t.exe_len = n;
	else
		n = 0;
	put_words(s, n);
	union ft_record *r = begin(FT_EXEC, now, p, pid, pid);
	if (r) {
		r->head.flags = FT_TEXT;
		r->exec.parent_born_ns = p->parent_born_ns;
		r->exec.cgroup = bpf_get_current_cgroup_id();
		r->exec.parent_pid = p->parent;
		r->exec.uid = p->uid;
		r->exec.old_tid = old_tid;
		r->exec.wpcopy_count = ~0U;
		__builtin_memcpy(r->exec.comm, p->comm, 16);
		send(r, !OPT_REGS);	/* without words: the sooner /proc is read, the better */
	}
	return 0;
}

TRACEPOINT_PROBE(task, task_rename)
{
#if OPT_RENAME_PID
	u32 pid = args->pid;
#else	/* it is the task that runs; by another's name in /proc it would be looked up as the writer's */
	u32 pid = bpf_get_current_pid_tgid();
#endif
	struct proc *p = procs.lookup(&pid);
	if (!p)
		return 0;
	__builtin_memcpy(p->comm, args->newcomm, 16);
#if OPT_REGS
	struct words w;
	if (registers(&w) && (narrow(&w) ? w.orig_ax == 11 || w.orig_ax == 358 : w.orig_ax == 59 || w.orig_ax == 322))
		return 0;	/* inside exec, which has a record of its own */
#endif
	union ft_record *r = begin(FT_RENAME, bpf_ktime_get_boot_ns(), p, pid, pid);
	if (r) {
		__builtin_memcpy(r->rename.comm, p->comm, 16);
		send(r, false);
	}
	return 0;
}

/* ---- signals ---- */

TRACEPOINT_PROBE(signal, signal_generate)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32, target = args->pid, sig = args->sig;
	struct proc *p = procs.lookup(&pid);
	if (p && p->flags & P_PENDING && args->code >= 1 && args->code <= CLD_DUMPED && target != pid) {
		tell_end(p, pid, p->died_of | (args->code == CLD_DUMPED ? 0x80 : 0), 0);
		return 0;
	}
	if (!fatal(sig) || args->result > 0 && args->result != 3 /* the queue was full; the signal was sent */)
		return 0;
	u32 *of = threads.lookup(&target);
	if (of)
		target = *of;
	p = procs.lookup(&target);
	if (!p || p->flags & P_PENDING)
		return 0;
	u32 by = args->code <= 0 ? pid : 0;
	if (sig == SIG_KILL) {
		if (!(p->flags & P_KILLED))
			p->kill9_pid = by;
		p->flags |= P_KILLED;
	} else {
		p->kill_sig = sig;
		p->kill_pid = by;
	}
	return 0;
}

/* One that kills without a core dump is told as SIGKILL to each task: the kernel has made its decision when it was sent. */
TRACEPOINT_PROBE(signal, signal_deliver)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32, sig = args->sig;
	struct proc *p = procs.lookup(&pid);
	if (!p || !fatal(sig))
		return 0;
	if (args->sa_handler) {
		if (p->kill_sig == sig)
			p->kill_sig = 0;
	} else if (!p->died_of || p->died_of == SIG_KILL) {
		p->died_of = sig;
	}
	return 0;
}

#if OPT_OOM
TRACEPOINT_PROBE(oom, mark_victim)
{
	u32 pid = args->pid, *of = threads.lookup(&pid);
	if (of)
		pid = *of;
	struct proc *p = procs.lookup(&pid);
	if (p)
		p->flags |= P_OOM;
	return 0;
}
#endif

/* ---- end ---- */

/* The end of the process, with all that is known of it. */
static __always_inline void tell_end(struct proc *p, u32 pid, u32 status, u32 flags)
{
	u32 sig = status & 0x7f;
	u64 at = p->ended_ns;
	struct counts *n = counters();
	if (OPT_FAULTS)
		tell_faults(p, at, pid, p->flags & (P_EXECED | P_ROOT) ? 0 : FT_BEFORE_EXEC);
	if (n)
		lock_xadd(&n->alive, -1);
	union ft_record *r = begin(FT_EXIT, at, p, pid, p->last_tid);
	if (r) {
		r->head.flags = flags | FT_LAST | FT_NO_MM | (p->flags & P_OOM ? FT_OOM : 0);
		r->exit.parent_born_ns = p->parent_born_ns;
		r->exit.parent_pid = p->parent;
		r->exit.uid = p->uid;
		r->exit.status = status;
		r->exit.killed_by = sig == SIG_KILL ? p->kill9_pid : sig && sig == p->kill_sig ? p->kill_pid : 0;
		r->exit.wpcopy_count = ~0ULL;
		__builtin_memcpy(r->exit.comm, p->comm, 16);
		send(r, n && n->alive == 0);
	}
	procs.delete(&pid);
}

static __always_inline u32 status_of(struct proc *p)
{
	u32 sig = p->died_of;
	if (p->group_code)
		return (p->group_code & 0xff) << 8;
	if (sig == SIG_KILL && !(p->flags & P_KILLED) && p->kill_sig)
		return p->kill_sig;
	return sig ? sig : (p->exit_code & 0xff) << 8;
}

TRACEPOINT_PROBE(sched, sched_process_exit)
{
	u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_boot_ns();
	u32 pid = id >> 32, tid = id;
	struct proc *p = procs.lookup(&pid);
	struct counts *n = counters();
	if (!p || !n || p->flags & P_PENDING)
		return 0;
	/* A helper of the kernel's (io_uring) was never born as others are. It may be the last to go, though. */
	bool helper = tid != pid && !threads.lookup(&tid);
#if OPT_GROUP_DEAD
	bool last = args->group_dead;
	if (helper && !last)
		return 0;
#else
	if (helper)
		return 0;
#endif
	if (tid != pid && !helper)
		threads.delete(&tid);
	calls.delete(&tid);
#if OPT_REGS
	struct words w;
	if (registers(&w)) {
		u32 code = 0x100 | (first_argument(&w) & 0xff);
		bool group = w.orig_ax == (narrow(&w) ? 252 : 231), single = w.orig_ax == (narrow(&w) ? 1 : 60);
		if (group && !p->group_code)
			p->group_code = code;
		if (single && (!OPT_LEADERS_CODE || tid == pid))
			p->exit_code = code;
	}
#endif
	if (!helper)
		lock_xadd(&p->live, -1);
#if !OPT_GROUP_DEAD
	bool last = p->live == 0;
#endif
	p->uid = bpf_get_current_uid_gid();
	if (tid == pid)
		bpf_get_current_comm(p->comm, sizeof(p->comm));
	if (!last) {
		if (p->live)	/* else a helper is left: the process is over with that one */
			lock_xadd(&n->alive, -1);
		union ft_record *r = begin(FT_EXIT, now, p, pid, tid);
		if (r) {
			r->head.flags = FT_NO_MM;
			r->exit.parent_born_ns = p->parent_born_ns;
			r->exit.parent_pid = p->parent;
			r->exit.uid = p->uid;
			r->exit.wpcopy_count = ~0ULL;
			__builtin_memcpy(r->exit.comm, p->comm, 16);
			send(r, false);
		}
		return 0;
	}
	p->ended_ns = now;
	p->last_tid = tid;
	u32 status = status_of(p);
	if (dumps(status)) {
		p->died_of = status;
		p->flags |= P_PENDING;
		return 0;
	}
	tell_end(p, pid, status, 0);
	return 0;
}

/* Of a core dump that no SIGCHLD told about, as the parent ignores it, nobody knows. */
TRACEPOINT_PROBE(sched, sched_process_free)
{
	u32 pid = args->pid;
	struct proc *p = procs.lookup(&pid);
	if (p && p->flags & P_PENDING)
		tell_end(p, pid, p->died_of, CORE_UNKNOWN);
	return 0;
}

/* ---- faults ---- */

#if OPT_FAULTS
static __always_inline void fault(u64 address, u64 error)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	if ((error & 3) != 3 || (s64)address < 0)	/* present, and written to */
		return;
	struct proc *p = procs.lookup(&pid);
	if (p)
		lock_xadd(&p->wp_faults, 1);
}

TRACEPOINT_PROBE(exceptions, page_fault_user) { fault(args->address, args->error_code); return 0; }
TRACEPOINT_PROBE(exceptions, page_fault_kernel) { fault(args->address, args->error_code); return 0; }
#endif
