/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Whom of a host to follow, beside those named by pid: a task that is in one of the groups, and is called, runs and
 * belongs as asked, roots a traced subtree. Looked at when a task is born, calls exec, is renamed or is moved to another
 * group, and once in a walk over those that live. What was not asked for is no code at all: opt is read-only. */
#pragma once

enum { MATCH_CGROUP = 1, MATCH_COMM = 2, MATCH_EXE = 4, MATCH_UID = 8 };

#define GROUPS_DEEP 32
#define PATH_DEEP 40

/* Groups by their kernfs number; who is in a group below is in it too. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u32);
} match_groups SEC(".maps");

/* Where such a group stands, and what it is called: a unit that is started again gets a new group, and its first process
 * is in it before anybody could look. */
struct group_name { __u64 above; char text[FT_GROUP_NAME]; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct group_name);
	__type(value, __u32);
} match_names SEC(".maps");

struct name { char text[16]; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct name);
	__type(value, __u32);
} match_comms SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} match_uids SEC(".maps");

/* Paths of executables as a machine that reads them from their end: in a state, a component leads to the next one. */
#define PATH_ANYWHERE (1u << 31)	/* it matches, whatever stands before */
#define PATH_AT_ROOT (1u << 30)		/* it matches if this was the first component */
struct component { __u32 state; char text[60]; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct component);
	__type(value, __u32);
} match_exes SEC(".maps");

/* In the hierarchy that the groups are of. */
static __always_inline struct cgroup *match_group_of(struct task_struct *t)
{
	if (!opt.match_v1)
		return t->cgroups->dfl_cgrp;
	struct cgroup_subsys_state *css = NULL;
	__u32 at = bpf_core_field_offset(struct css_set, subsys) + 8 * (opt.match_v1 - 1);
	if (bpf_probe_read_kernel(&css, sizeof(css), (void *)t->cgroups + at) || !css)
		return NULL;
	return BPF_CORE_READ(css, cgroup);
}

static __always_inline bool in_group(struct task_struct *t)
{
	struct cgroup *g = match_group_of(t);
	if (!g)
		return false;
	for (int i = 0; i < GROUPS_DEEP; i++) {
		__u64 id = BPF_CORE_READ(g, kn, id);
		if (bpf_map_lookup_elem(&match_groups, &id))
			return true;
		struct cgroup_subsys_state *up = BPF_CORE_READ(g, self.parent);
		if (!up)
			return false;
		g = BPF_CORE_READ(up, cgroup);
	}
	return false;
}

struct exe_walk {
	struct dentry *d, *root_d;
	struct mount *m;
	struct vfsmount *root_m;
	struct component at;
	__u32 first;	/* PATH_AT_ROOT of the component before */
	__u32 found;
};

static long exe_step(__u32 i, struct exe_walk *w)
{
	struct dentry *d = w->d;
	struct mount *m = w->m;
	if (d == w->root_d && &m->mnt == w->root_m) {
		w->found = w->first;
		return 1;
	}
	if (d == BPF_CORE_READ(m, mnt.mnt_root)) {
		struct mount *up = BPF_CORE_READ(m, mnt_parent);
		if (up == m) {
			w->found = w->first;
			return 1;
		}
		w->d = BPF_CORE_READ(m, mnt_mountpoint);
		w->m = up;
		return 0;
	}
	struct dentry *parent = BPF_CORE_READ(d, d_parent);
	if (parent == d)
		return 1;
	__builtin_memset(w->at.text, 0, sizeof(w->at.text));
	if (bpf_probe_read_kernel_str(w->at.text, sizeof(w->at.text), BPF_CORE_READ(d, d_name.name)) <= 0)
		return 1;
	__u32 *next = bpf_map_lookup_elem(&match_exes, &w->at);
	if (!next)
		return 1;
	if (*next & PATH_ANYWHERE) {
		w->found = 1;
		return 1;
	}
	w->first = *next & PATH_AT_ROOT;
	w->at.state = *next & ~PATH_AT_ROOT;
	w->d = parent;
	return 0;
}

/* The path is as the process itself has it: from its own root. */
static __always_inline bool runs_exe(struct task_struct *t)
{
	struct mm_struct *mm = t->mm;
	struct fs_struct *fs = t->fs;
	if (!mm || !fs)
		return false;
	struct file *file = BPF_CORE_READ(mm, exe_file);
	if (!file)
		return false;
	struct exe_walk w = { .root_d = BPF_CORE_READ(fs, root.dentry), .root_m = BPF_CORE_READ(fs, root.mnt) };
	w.d = BPF_CORE_READ(file, f_path.dentry);
	w.m = (void *)BPF_CORE_READ(file, f_path.mnt) - bpf_core_field_offset(struct mount, mnt);
	bpf_loop(PATH_DEEP, exe_step, &w, 0);
	return w.found;
}

/* `t`: a plain task, the first of its process. `comm`: as it is called, or will be in a moment. */
static __always_inline bool matches(struct task_struct *t, struct name *comm)
{
	if (t->flags & PF_KTHREAD)
		return false;
	if (opt.match & MATCH_UID) {
		__u32 uid = t->cred->uid.val;
		if (!bpf_map_lookup_elem(&match_uids, &uid))
			return false;
	}
	if ((opt.match & MATCH_COMM) && !bpf_map_lookup_elem(&match_comms, comm))
		return false;
	if ((opt.match & MATCH_CGROUP) && !in_group(t))
		return false;
	return !(opt.match & MATCH_EXE) || runs_exe(t);
}

/* As a string: what stands behind its end is not always zero. */
static __always_inline void named(struct name *n, struct task_struct *t)
{
	COPY_COMM(n->text, t);
	bool ended = false;
#pragma unroll
	for (int i = 0; i < 16; i++) {
		ended |= !n->text[i];
		n->text[i] = ended ? 0 : n->text[i];
	}
}

static __always_inline bool task_matches(struct task_struct *t)
{
	struct name comm;
	named(&comm, t);
	return matches(t, &comm);
}

/* A living process begins to match. Its threads and children are found by user space, which is told that there are
 * some. Returns its mark. */
static __always_inline struct mark *join(struct task_struct *t)
{
	struct task_struct *p = plain(t);
	if (!make_mark(t))
		return mark_if_made(t);
	__sync_fetch_and_add(&stats.alive, 1);
	struct mark *m = mark_if_made(t);
	struct list_head *children = (void *)p + bpf_core_field_offset(struct task_struct, children);
	bool more = p->children.next != children || p->signal->live.counter > 1;
	if (more)
		__sync_fetch_and_add(&stats.joined, 1);
	union ft_record *r = begin(FT_EXISTING, p);
	if (!r)
		return m;
	fill_birth(r, p, p->real_parent);
	r->fork.how = FT_HOW_EXISTING;
	send(r, false);
	r = m ? so_far(FT_BASE, t, m, 0) : NULL;
	if (r)
		send(r, more);
	return m;
}
