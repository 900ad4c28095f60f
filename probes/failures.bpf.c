/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Execs and forks that returned an error. No scheduler event tells of them, so this looks at the end of every system
 * call: some 45 ns each, on the whole host. Opt-in (`-e fail`). Shares marks, rings and counters with lifecycle.bpf.c. */
#include "core.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "wire.h"
#include "marks.h"
#include "texts.h"
#include "limits.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";
const __u32 ft_abi SEC(".rodata.abi") = FT_ABI;
const union ft_record *ft_keep_record __attribute__((unused));

/* Not failures: the call is made again once a signal has been handled (include/linux/errno.h), and a fork that a fatal
 * signal cuts short returns to nobody. */
#define ERESTARTSYS 512
#define ERESTARTNOINTR 513
#define ERESTARTNOHAND 514
#define ERESTART_RESTARTBLOCK 516

#define ENOMEM 12

/* Run once, before the other is attached. The helper is of Linux 5.16, and asks for the right to see addresses. */
SEC("syscall")
int find_symbols(void *ctx)
{
	char threads[] = "nr_threads", committed[] = "vm_committed_as";
	__u64 at = 0;
	if (!bpf_kallsyms_lookup_name(threads, sizeof(threads), 0, &at))
		symbols.threads = at;
	if (!bpf_kallsyms_lookup_name(committed, sizeof(committed), 0, &at))
		symbols.committed = at;
	return 0;
}

#define WORDS 256

struct words { struct scratch *s; unsigned long argv; __u32 start, cut, failed; };

static long put_word(__u32 i, struct words *w)
{
	unsigned long at = 0;
	if (bpf_probe_read_user(&at, sizeof(at), (void *)(w->argv + 8UL * i))) {
		w->failed = 1;
		return 1;
	}
	if (!at)
		return 1;
	if (i == WORDS - 1 || w->s->off - w->start > CHUNK) {
		w->cut = 1;
		return 1;
	}
	long n = bpf_probe_read_user_str(&w->s->data[w->s->off & OFF_MASK], CHUNK, (void *)at);
	if (n <= 0) {
		w->failed = 1;
		return 1;
	}
	w->s->off += n;
	return 0;
}

static __always_inline bool send_words(struct task_struct *t, unsigned long path, unsigned long argv, __u64 now)
{
	__u32 zero = 0;
	struct scratch *s = bpf_map_lookup_elem(&scratch, &zero);
	if (!s)
		return false;
	__builtin_memset(&s->t, 0, sizeof(s->t));
	s->off = 0;
	s->t.time_ns = now;
	s->t.tid = tid_of(t);
	long n = bpf_probe_read_user_str(s->data, CHUNK, (void *)path);
	if (n > 0)
		s->off = s->t.exe_len = n;
	else
		s->t.failed |= 4;
	struct words w = { .s = s, .argv = argv, .start = s->off };
	if (argv)
		bpf_loop(WORDS, put_word, &w, 0);
	s->t.argv_len = s->off - w.start;
	s->t.argv_full = s->t.argv_len + w.cut;
	s->t.failed |= w.failed;
	send_text(s, s->off & OFF_MASK);
	return true;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_sys_exit, struct pt_regs *regs, long ret)
{
	if (ret >= 0 || ret < -4095)
		return 0;
	unsigned long nr = CALL_NR(regs);
	bool exec = nr == NR_EXECVE || nr == NR_EXECVEAT;
	if (!exec && nr != NR_CLONE && nr != NR_CLONE3 && nr != NR_FORK && nr != NR_VFORK)
		return 0;
	if (ret == -ERESTARTSYS || ret == -ERESTARTNOINTR || ret == -ERESTARTNOHAND || ret == -ERESTART_RESTARTBLOCK)
		return 0;
	struct task_struct *t = bpf_get_current_task_btf();
	struct mark *m = mark_of(t);
	/* The held child's own exec is reported by its exit status. */
	if (!m || (m->flags & (M_ROOT | M_SEEN)) == M_ROOT || handled(m->notes, N_FAILED))
		return 0;
	__u64 now = bpf_ktime_get_boot_ns(), flags = 0;
	bool text = false;
	if (exec) {
		unsigned long path = nr == NR_EXECVE ? CALL_ARG0(regs) : CALL_ARG1(regs);
		unsigned long argv = nr == NR_EXECVE ? CALL_ARG1(regs) : CALL_ARG2(regs);
		text = send_words(t, path, argv, now);
	} else if (nr == NR_CLONE) {
		flags = CALL_ARG0(regs) & ~0xffUL;
	} else if (nr == NR_CLONE3) {
		bpf_probe_read_user(&flags, sizeof(flags), (void *)CALL_ARG0(regs));
	} else if (nr == NR_VFORK) {
		flags = CLONE_VM | CLONE_VFORK;
	}
	union ft_record *r = begin(exec ? FT_EXEC_FAILED : FT_FORK_FAILED, t);
	if (!r)
		return 0;
	r->head.time_ns = now;
	r->head.flags |= text ? FT_TEXT : 0;
	r->failed.parent_born_ns = t->real_parent->group_leader->start_boottime;
	r->failed.clone_flags = flags;
	r->failed.parent_pid = tgid_of(t->real_parent);
	r->failed.error = -ret;
	r->failed.syscall = nr;
	r->failed.uid = t->cred->uid.val;
	COPY_COMM(r->failed.comm, t);
	if (exec)
		no_limits(&r->failed);
	else
		fill_limits(&r->failed, plain(t));
	/* Where the count of promised pages cannot be read here, the reader is to look at it while it still holds. */
	send(r, !exec && ret == -ENOMEM && !r->failed.committed);
	return 0;
}
