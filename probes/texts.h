/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The words of an exec: exe, interpreter, cwd, argv, environment, in records of their own length. They are put
 * together in per-CPU scratch (tracepoint programs do not migrate, and none nests in itself) and sent whole. */
#pragma once

#define CHUNK 4096

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 8 << 20); } texts SEC(".maps");

struct scratch {
	__u64 off;	/* where the next piece goes. Here and not on the stack: the verifier follows a growing range on the
			 * stack round by round, and asks nothing of what it has not written (540 ms of load against 10). */
	struct ft_text t;
	char data[FT_TEXT_SIZE + CHUNK + 4096];	/* room for one more piece behind the last masked offset */
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

#define OFF_MASK 0x3fff	/* FT_TEXT_SIZE + CHUNK - 1 */

static __always_inline void send_text(struct scratch *s, __u32 len)
{
	__u64 n = sizeof(s->t) + len;
	if (n > sizeof(s->t) + sizeof(s->data))
		n = sizeof(s->t) + sizeof(s->data);
	if (bpf_ringbuf_output(&texts, &s->t, n, BPF_RB_NO_WAKEUP))
		__sync_fetch_and_add(&stats.lost_texts[bpf_get_smp_processor_id() & (FT_MAX_CPUS - 1)], 1);
}

/* One component of the working directory per round, leaf first, up to the root that the process has. */
struct walk { struct scratch *s; struct dentry *d, *root_d; struct mount *m; struct vfsmount *root_m; };

static long walk_up(__u32 i, struct walk *w)
{
	struct dentry *d = w->d;
	struct mount *m = w->m;
	if (d == w->root_d && &m->mnt == w->root_m)
		return 1;
	if (d == BPF_CORE_READ(m, mnt.mnt_root)) {
		struct mount *up = BPF_CORE_READ(m, mnt_parent);
		if (up == m)
			return 1;
		w->d = BPF_CORE_READ(m, mnt_mountpoint);
		w->m = up;
		return 0;
	}
	struct dentry *parent = BPF_CORE_READ(d, d_parent);
	if (parent == d)
		return 1;
	long n = bpf_probe_read_kernel_str(&w->s->data[w->s->off & OFF_MASK], 256, BPF_CORE_READ(d, d_name.name));
	if (n <= 0 || w->s->off > 2 * CHUNK)
		return 1;
	w->s->off += n;
	w->d = parent;
	return 0;
}

static __always_inline void put_cwd(struct scratch *s, struct task_struct *t)
{
	struct fs_struct *fs = t->fs;
	if (!fs)
		return;
	__u64 start = s->off;
	struct dentry *cwd = fs->pwd.dentry;
	struct walk w = { .s = s, .d = cwd, .root_d = fs->root.dentry, .root_m = fs->root.mnt };
	w.m = (void *)fs->pwd.mnt - bpf_core_field_offset(struct mount, mnt);
	bpf_loop(192, walk_up, &w, 0);
	/* d_unlinked(), by which /proc/PID/cwd ends in " (deleted)". The top of a file system hangs in no hash either. */
	if (!BPF_CORE_READ(cwd, d_hash.pprev) && BPF_CORE_READ(cwd, d_parent) != cwd)
		s->t.failed |= 16;
	if (s->off == start) {	/* the root itself: one empty component */
		s->data[start & OFF_MASK] = 0;
		s->off = start + 1;
	}
	s->t.cwd_len = s->off - start;
}

/* Further pieces of a long argv or environment. */
struct more { struct scratch *s; unsigned long from, end; __u32 is_env; };

static long send_more(__u32 i, struct more *m)
{
	if (m->from >= m->end)
		return 1;
	__u64 n = m->end - m->from;
	if (n > CHUNK)
		n = CHUNK;
	struct scratch *s = m->s;
	s->t.seq++;
	s->t.argv_len = m->is_env ? 0 : n;
	s->t.env_len = m->is_env ? n : 0;
	if (bpf_probe_read_user(s->data, n, (void *)m->from))
		s->t.failed |= m->is_env ? 2 : 1;
	send_text(s, n);
	m->from += n;
	return 0;
}

static __always_inline __u64 capped(unsigned long from, unsigned long to, __u32 max)
{
	__u64 n = to > from ? to - from : 0;
	return n > max ? max : n;
}

static __always_inline bool send_texts(struct task_struct *t, struct linux_binprm *bprm, __u64 now)
{
	__u32 zero = 0;
	struct mm_struct *mm = t->mm;
	struct scratch *s = bpf_map_lookup_elem(&scratch, &zero);
	if (!s || !mm)
		return false;
	__builtin_memset(&s->t, 0, sizeof(s->t));
	s->off = 0;
	s->t.time_ns = now;
	s->t.tid = tid_of(t);

	/* AT_EXECFN, the path as execve was given it, is the string behind the environment. */
	long n = bpf_probe_read_user_str(s->data, CHUNK, (void *)mm->env_end);
	if (n > 0)
		s->off = s->t.exe_len = n;
	else
		s->t.failed |= 4;
	if (opt.kernel_reads) {
		if (bprm->interp != bprm->filename) {
			n = bpf_probe_read_kernel_str(&s->data[s->off & OFF_MASK], 256, bprm->interp);
			if (n > 0) {
				s->t.interp_len = n;
				s->off += n;
			}
		}
		put_cwd(s, t);
	} else {
		s->t.failed |= 8;
	}

	__u64 argv = capped(mm->arg_start, mm->arg_end, opt.argv_max);
	__u64 env = capped(mm->env_start, mm->env_end, opt.env_max);
	__u64 first = argv > CHUNK ? CHUNK : argv;
	s->t.argv_full = mm->arg_end - mm->arg_start;
	s->t.env_full = mm->env_end - mm->env_start;
	if (bpf_probe_read_user(&s->data[s->off & OFF_MASK], first, (void *)mm->arg_start))
		s->t.failed |= 1;
	s->t.argv_len = first;
	s->off += first;
	send_text(s, s->off & OFF_MASK);

	if (argv > first) {
		struct more m = { .s = s, .from = mm->arg_start + first, .end = mm->arg_start + argv };
		s->t.exe_len = s->t.interp_len = s->t.cwd_len = 0;
		bpf_loop(1024, send_more, &m, 0);
	}
	if (env) {
		struct more m = { .s = s, .from = mm->env_start, .end = mm->env_start + env, .is_env = 1 };
		s->t.exe_len = s->t.interp_len = s->t.cwd_len = 0;
		bpf_loop(1024, send_more, &m, 0);
	}
	return true;
}
