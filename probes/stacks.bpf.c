/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Which code copies pages that a fork shared: a sample of the user stack at a copy. An object of its own over the
 * maps of faults.bpf.c, for --cow-stacks alone. Programs on one tracepoint run in the order of attaching, so these are
 * attached after those, and find the page already classified; what rss_stat says of it later is followed likewise.
 * Stacks are counted here, in a hash: never one event per copy. */
#include "core.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "wire.h"
#include "marks.h"
#include "faults.h"
#include "stacks.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";
const __u32 ft_abi SEC(".rodata.abi") = FT_ABI;
/* clang drops types that nothing refers to; the layout test wants them all */
const struct ft_stack_seen *ft_keep_seen __attribute__((unused));
const struct ft_stack_trace *ft_keep_trace __attribute__((unused));
const struct ft_stack_map *ft_keep_map __attribute__((unused));
const struct ft_stack_count *ft_keep_count __attribute__((unused));

const volatile struct ft_stack_options stack_opt SEC(".rodata.stackopt");
struct ft_stack_stats stack_stats SEC(".data.stackstats");

#define WINDOWS 8	/* a second */
#define MOST_SHIFT 16
#define NOT_DUE (~0U)
#define GFP_ZERO 0x100U	/* include/linux/gfp_types.h; a zeroed page is no copy */
#define SLOTS 1024

/* Whose last sample may still have to be taken back, by tid: rss_stat comes with every fresh page, and this costs it a
 * load in place of a look-up. Of two threads on one slot, in a fault at the same time, one would be missed. */
__u32 taken_by[SLOTS];

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct ft_stack_trace);
} traces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ft_stack_trace);
} trace_scratch SEC(".maps");

/* User space empties it when it is half full. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, struct ft_stack_key);
	__type(value, struct ft_stack_count);
} counts SEC(".maps");

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } seen SEC(".maps");

struct super_block { unsigned int s_dev; } __attribute__((preserve_access_index));
struct inode { unsigned long i_ino; struct super_block *i_sb; } __attribute__((preserve_access_index));
struct file___path { struct path f_path; struct inode *f_inode; } __attribute__((preserve_access_index));
struct vm_area_struct___pgoff { unsigned long vm_pgoff; } __attribute__((preserve_access_index));
struct bpf_iter_task_vma { __u64 opaque[1]; } __attribute__((aligned(8)));

struct sampled {
	struct ft_stack_key key;	/* the thread's last sample, to be taken back */
	__u64 flt;
	__u32 copies;		/* 0: nothing to be taken back */
	/* In the leader's: of the process. */
	__u32 told;		/* the image of which user space was told, plus 1 */
	__u32 image, samples;	/* and how many samples it had */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sampled);
} sampled SEC(".maps");

struct pace {
	__u64 began;		/* in jiffies: a clock reading costs more than all else here on some virtual machines */
	__u32 copies, samples;	/* since then */
	__u32 shift;		/* one copy in 1 << shift is a sample */
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pace);
} paces SEC(".maps");

/* Whether this page is looked at; 1 << what it says is how many it then stands for. Asked of every page, so that most
 * are turned away before anything is looked up. By chance and not by counting, or a loop that copies in step with it
 * would show one of its functions alone. */
static __always_inline __u32 due(struct pace *p)
{
	if (!stack_opt.rate)
		return 0;
	__u64 now = bpf_jiffies64(), span = now - p->began;
	if (span > stack_opt.hz / WINDOWS) {
		__u64 allowed = stack_opt.rate * (span > 1000000 ? 1000000 : span) / (stack_opt.hz + !stack_opt.hz);
		__u32 shift = 0;
#pragma unroll
		for (int i = 0; i < MOST_SHIFT; i++) {
			__u64 less = allowed - (p->copies >> i);	/* no branch, or the verifier goes both ways from each */
			barrier_var(less);
			shift += less >> 63;
		}
		p->shift = shift;
		p->began = now;
		p->copies = p->samples = 0;
	}
	__u32 shift = p->shift & 31;
	return shift && (bpf_get_prandom_u32() & ((1U << shift) - 1)) ? NOT_DUE : shift;
}

/* A sample was taken. The pace is found anew with each window, from the copies of the last one. Inside a window it only
 * goes up, each time its share of samples is used up, so a burst that comes out of nothing is walked a few hundred times
 * before the pace is right. */
static __always_inline void taken(struct pace *p, __u32 shift)
{
	p->copies += 1U << shift;
	if (++p->samples > stack_opt.rate / WINDOWS) {
		p->samples = 0;
		p->shift += p->shift < MOST_SHIFT;
	}
}

/* Its user stack, kept once for all samples that have it; 0 if there is none, or no room. */
static __always_inline __u64 trace_of(void *ctx)
{
	__u32 zero = 0;
	struct ft_stack_trace *s = bpf_map_lookup_elem(&trace_scratch, &zero);
	if (!s)
		return 0;
	long bytes = bpf_get_stack(ctx, s->addresses, sizeof(s->addresses), BPF_F_USER_STACK);
	if (bytes <= 0)
		return 0;
	s->n = bytes / sizeof(__u64);
	__u64 hash = 0xcbf29ce484222325ULL;
	for (int i = 0; i < FT_STACK_DEPTH && i < s->n; i++) {
		hash = (hash ^ s->addresses[i]) * 0x9e3779b97f4a7c15ULL;
		hash ^= hash >> 29;
	}
	hash |= 1;
	if (!bpf_map_lookup_elem(&traces, &hash)) {
		long error = bpf_map_update_elem(&traces, &hash, s, BPF_NOEXIST);
		if (error && error != -17 /* EEXIST: another CPU has just put it there */) {
			__sync_fetch_and_add(&stack_stats.cut, 1);
			return 0;
		}
	}
	return hash;
}

/* Where the function returns to, if the instruction before that is a call: in one that has pushed nothing the word on
 * top of the stack, or the link register. Of a leaf without a frame (memcpy), the walk by frame pointers leaves out just
 * the function that called it. */
static __always_inline __u64 caller_of(struct pt_regs *regs)
{
#ifdef USER_LR
	__u32 call = 0;
	/* Pointer authentication signs it in bits that no address has. */
	__u64 word = USER_LR(regs) & ((1ULL << 48) - 1);
	if (word < PAGE_SIZE || bpf_probe_read_user(&call, sizeof(call), (void *)(word - 4)))
		return 0;
	/* BL, or BLR with or without authentication */
	return (call & 0xfc000000) == 0x94000000 || (call & 0xfefff000) == 0xd63f0000 ? word : 0;
#else
	__u64 word = 0;
	__u8 b[8] = {};
	if (bpf_probe_read_user(&word, sizeof(word), (void *)USER_SP(regs)) || word < PAGE_SIZE)
		return 0;
	if (bpf_probe_read_user(b, 7, (void *)(word - 7)))
		return 0;
	/* E8 rel32, or FF /2 of 2, 3, 4, 6 and 7 bytes */
	if (b[2] == 0xe8 || (b[5] == 0xff && (b[6] & 0x38) == 0x10) || (b[4] == 0xff && (b[5] & 0x38) == 0x10) ||
	    (b[3] == 0xff && (b[4] & 0x38) == 0x10) || (b[1] == 0xff && (b[2] & 0x38) == 0x10) ||
	    (b[0] == 0xff && (b[1] & 0x38) == 0x10))
		return word;
	return 0;
#endif
}

static __always_inline void add(struct ft_stack_key *key, __s64 samples, __s64 copies)
{
	struct ft_stack_count *n = bpf_map_lookup_elem(&counts, key);
	if (!n) {
		struct ft_stack_count none = {};
		if (!bpf_map_update_elem(&counts, key, &none, BPF_NOEXIST))
			__sync_fetch_and_add(&stack_stats.entries, 1);
		n = bpf_map_lookup_elem(&counts, key);
	}
	if (!n) {
		__sync_fetch_and_add(&stack_stats.lost_copies, copies);
		return;
	}
	__sync_fetch_and_add(&n->samples, samples);
	__sync_fetch_and_add(&n->copies, copies);
}

#define VM_EXEC 0x4UL

extern int bpf_iter_task_vma_new(struct bpf_iter_task_vma *it, struct task_struct *task, __u64 addr) __ksym __weak;
extern struct vm_area_struct *bpf_iter_task_vma_next(struct bpf_iter_task_vma *it) __ksym __weak;
extern void bpf_iter_task_vma_destroy(struct bpf_iter_task_vma *it) __ksym __weak;

struct mapping_scratch {
	__u64 off;
	struct ft_stack_map m;
	char path[FT_STACK_PATH + 256];	/* room for one more component behind the last masked offset */
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mapping_scratch);
} mapping_scratch SEC(".maps");

struct path_walk { struct mapping_scratch *s; struct dentry *d; struct mount *m; };

/* A component a round, up to the root of the mount namespace, as /proc/PID/maps has it. */
static long path_up(__u32 i, struct path_walk *w)
{
	struct dentry *d = w->d;
	struct mount *m = w->m;
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
	long n = bpf_probe_read_kernel_str(&w->s->path[w->s->off & (FT_STACK_PATH - 1)], 256, BPF_CORE_READ(d, d_name.name));
	if (n <= 0 || w->s->off > FT_STACK_PATH - 256)
		return 1;
	w->s->off += n;
	w->d = parent;
	return 0;
}

/* Some lives are over before user space gets to read their mappings, so they are told from here: what is executable. */
static __always_inline void tell_mappings(struct task_struct *t, struct counters *process)
{
	__u32 zero = 0;
	struct mapping_scratch *s = bpf_map_lookup_elem(&mapping_scratch, &zero);
	if (!s)
		return;
	struct bpf_iter_task_vma it;
	struct vm_area_struct *vma;
	bpf_iter_task_vma_new(&it, t, 0);
	while ((vma = bpf_iter_task_vma_next(&it))) {
		if (!(vma->vm_flags & VM_EXEC))
			continue;
		s->m.born_ns = plain(t)->group_leader->start_boottime;
		s->m.image = process->image;
		s->m.start = vma->vm_start;
		s->m.end = vma->vm_end;
		s->m.offset = s->m.inode = s->m.device = s->m.unused = 0;
		s->off = 0;
		struct file___path *file = (void *)vma->vm_file;
		if (file) {
			s->m.offset = ((struct vm_area_struct___pgoff *)vma)->vm_pgoff * PAGE_SIZE;
			s->m.inode = BPF_CORE_READ(file, f_inode, i_ino);
			s->m.device = BPF_CORE_READ(file, f_inode, i_sb, s_dev);
			struct path_walk w = { .s = s, .d = BPF_CORE_READ(file, f_path.dentry) };
			w.m = (void *)BPF_CORE_READ(file, f_path.mnt) - bpf_core_field_offset(struct mount, mnt);
			bpf_loop(192, path_up, &w, 0);
		}
		__u64 n = sizeof(s->m) + (s->off & (FT_STACK_PATH - 1));
		if (bpf_ringbuf_output(&seen, &s->m, n, BPF_RB_NO_WAKEUP))
			__sync_fetch_and_add(&stack_stats.unseen, 1);
	}
	bpf_iter_task_vma_destroy(&it);
}

static __always_inline __u32 own_pid(struct task_struct *leader)
{
	struct pid *p = leader->thread_pid;
	__u32 level = p->level;
	return level < 32 ? BPF_CORE_READ(&p->numbers[level & 31], nr) : 0;
}

/* User space reads its mappings at once, while they are there; not those of a child that has its parent's, if the
 * parent's were asked for before. */
static __always_inline void tell(struct task_struct *t, struct counters *process, struct sampled *of, __u32 samples)
{
	struct ft_stack_seen *r = bpf_ringbuf_reserve(&seen, sizeof(*r), 0);
	if (!r) {
		__sync_fetch_and_add(&stack_stats.unseen, 1);
		return;
	}
	of->told = process->image + 1;
	r->born_ns = plain(t)->group_leader->start_boottime;
	r->pid = tgid_of(plain(t));
	r->image = process->image;
	r->samples = samples;
	r->parent_born_ns = 0;
	r->parent_pid = r->parent_image = r->unused = 0;
	r->uid = t->cred->uid.val;
	r->own_pid = own_pid(t->group_leader);
	bool known = false;
	if (process->flags & T_EDGE) {
		struct task_struct *parent = t->group_leader->real_parent->group_leader;
		r->parent_born_ns = process->parent_born;
		r->parent_image = process->parent_image;
		if (plain(parent)->start_boottime == process->parent_born) {
			struct sampled *above = bpf_task_storage_get(&sampled, parent, 0, 0);
			known = above && above->told == process->parent_image + 1;
			r->parent_pid = tgid_of(plain(parent));
		}
	}
	bpf_ringbuf_submit(r, known ? BPF_RB_NO_WAKEUP : BPF_RB_FORCE_WAKEUP);
}

SEC("tp_btf/mm_page_alloc")
int BPF_PROG(on_copy, struct page *page, unsigned int order, unsigned int gfp)
{
	if (order || (gfp & GFP_ZERO))
		return 0;
	struct task_struct *t = bpf_get_current_task_btf();
	if (!t->bpf_storage)
		return 0;
	__u32 zero = 0;
	struct pace *p = bpf_map_lookup_elem(&paces, &zero);
	__u32 shift = p ? due(p) : NOT_DUE;
	if (shift == NOT_DUE)
		return 0;
	struct counters *c = counters_if_made(t);
	/* flt: the page could be one that was copied to before, and serves another purpose now. */
	if (!c || c->class != COPY || c->state != ALLOCATED || c->page != (__u64)page ||
	    t->min_flt + t->maj_flt != c->flt || (c->flags & T_HELD))
		return 0;
	/* A program that has not forked since its exec shares nothing: its own start writes to pages of files. */
	struct counters *process = process_of(t, c);
	if (!process || (process->image && !(process->flags & (T_EDGE | T_FORKED))))
		return 0;
	taken(p, shift);
	struct sampled *s = bpf_task_storage_get(&sampled, t, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	struct sampled *of = s;
	if (t->pid != t->tgid)
		of = bpf_task_storage_get(&sampled, t->group_leader, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(t);
	if (!s || !of) {
		__sync_fetch_and_add(&stack_stats.lost_copies, 1 << shift);
		return 0;
	}
	if (s->copies && s->flt == c->flt)	/* this very fault was begun anew */
		add(&s->key, -1, -(__s64)s->copies);
	s->key.born_ns = plain(t)->group_leader->start_boottime;
	s->key.pid = tgid_of(plain(t));
	s->key.image = process->image;
	s->key.unused = 0;
	s->key.before_exec = !(process->flags & T_EXECED);
	s->flt = c->flt;
	s->copies = 1 << shift;
	/* Where the stack, or what garbage in a frame pointer points to, is not there, the kernel takes a fault of its own
	 * that goes nowhere; for the fault probes it would end the one that is being handled. */
	*(volatile __u8 *)&c->state = IDLE;
	s->key.stack = trace_of(ctx);
	s->key.caller = caller_of(regs);
	*(volatile __u8 *)&c->state = ALLOCATED;
	taken_by[t->pid & (SLOTS - 1)] = t->pid;
	s->key.leaf = USER_PC(regs);
	add(&s->key, 1, s->copies);
	if (of->image != process->image) {
		of->image = process->image;
		of->samples = 0;
	}
	/* A long life loads libraries: its mappings are read again. */
	__u32 samples = ++of->samples;
	if (of->told != process->image + 1 || samples == 64 || samples == 4096)
		tell(t, process, of, samples);
	return 0;
}

/* Taken for a copy when the page was allocated, and not one after all. */
SEC("tp_btf/rss_stat")
int BPF_PROG(on_no_copy, struct mm_struct *mm)
{
	struct task_struct *t = bpf_get_current_task_btf();
	__u32 *slot = &taken_by[t->pid & (SLOTS - 1)];
	if (*slot != (__u32)t->pid)
		return 0;
	struct sampled *s = bpf_task_storage_get(&sampled, t, 0, 0);
	struct counters *c = counters_if_made(t);
	if (s && s->copies && c && c->flt == s->flt && t->min_flt + t->maj_flt == s->flt) {
		if (c->class == COPY)
			return 0;
		add(&s->key, -1, -(__s64)s->copies);
		s->copies = 0;
	}
	*slot = 0;
	return 0;
}

/* Who forks will copy: its mappings are asked for before the first copy, as some lives end soon after it. */
SEC("tp_btf/task_newtask")
int BPF_PROG(on_sharing, struct task_struct *child, __u64 clone_flags)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct counters *c = clone_flags & CLONE_VM ? NULL : counters_if_made(t);
	struct counters *process = c ? process_of(t, c) : NULL;
	if (!process)
		return 0;
	struct sampled *of = bpf_task_storage_get(&sampled, t->group_leader, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (of && of->told != process->image + 1) {
		if (stack_opt.walk && !(process->flags & T_EDGE))
			tell_mappings(t, process);
		tell(t, process, of, 0);
	}
	return 0;
}
