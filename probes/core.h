/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What the probes read of the kernel, and nothing else. CO-RE moves every field to where the running kernel has it,
 * so no vmlinux.h and no headers package is needed. A field that a kernel lacks is asked for with
 * bpf_core_field_exists(); a changed one has a flavour (name___old) with the commit that changed it. */
#pragma once

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32, __wsum;
typedef _Bool bool;
typedef int pid_t;
typedef __u64 size_t;

#define NULL ((void *)0)
#define true 1
#define false 0

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_STACK_TRACE = 7,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};
enum { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_F_NO_PREALLOC = 1, BPF_F_USER_STACK = 256 };
enum { BPF_LOCAL_STORAGE_GET_F_CREATE = 1 };
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2, BPF_RB_AVAIL_DATA = 0 };

#define PF_EXITING 0x00000004
#define PF_FORKNOEXEC 0x00000040
#define PF_IO_WORKER 0x00000010
#define PF_KTHREAD 0x00200000
#define PF_USER_WORKER 0x00004000
#define SIGNAL_GROUP_EXIT 0x00000004
#define EXIT_ZOMBIE 0x00000020
#define SIGCHLD 17
#define SIGKILL 9
#define SIGBUS 7
#define SIGSEGV 11
#define SA_NOCLDWAIT 0x00000002
#define SIG_DFL ((void *)0)
#define SIG_IGN ((void *)1)
#define WNOHANG 0x00000001
#define WEXITED 0x00000004
#define WNOWAIT 0x01000000

#define VM_SHARED 0x00000008UL
#define VM_GROWSDOWN 0x00000100UL
#define VM_MERGEABLE 0x80000000UL
#define VM_HUGETLB 0x00400000UL

#define CLONE_VM 0x00000100ULL
#define CLONE_VFORK 0x00004000ULL
#define CLONE_THREAD 0x00010000ULL

enum pid_type { PIDTYPE_PID, PIDTYPE_TGID, PIDTYPE_PGID, PIDTYPE_SID, PIDTYPE_MAX };
enum { MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES };
/* Only looked for: what a kernel has of it decides what is called. */
enum bpf_func_id { BPF_FUNC_find_vma = 180 };
enum cgroup_subsys_id { memory_cgrp_id = 4, pids_cgrp_id = 11 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct { __s64 counter; } atomic_long_t;
typedef struct { int counter; } atomic_t;
struct list_head { struct list_head *next, *prev; };
typedef struct { __s64 counter; } atomic64_t;
struct ns_common { unsigned int inum; };
struct pid_namespace { unsigned int pid_allocated, level; int pid_max; struct pid_namespace *parent; struct ns_common ns; };
struct nsproxy { struct pid_namespace *pid_ns_for_children; };
struct upid { int nr; struct pid_namespace *ns; };
struct pid { unsigned int level; struct upid numbers[]; };
typedef struct { unsigned int val; } kuid_t;
typedef struct { __u64 val; } kernel_cap_t;
struct ucounts;
struct user_namespace { int level; struct ucounts *ucounts; long rlimit_max[4]; };
struct ucounts { struct user_namespace *ns; kuid_t uid; atomic_long_t rlimit[4]; };
struct user_struct { kuid_t uid; };
/* Before Linux commit 21d1c5e386bc ("Reimplement RLIMIT_NPROC on top of ucounts") (v5.14). */
struct user_struct___old { atomic_t processes; };
struct cred { kuid_t uid; kernel_cap_t cap_effective; struct user_struct *user; struct user_namespace *user_ns; struct ucounts *ucounts; };
struct kernfs_node { __u64 id; const char *name; };
struct cgroup_root;
struct cgroup;
struct cgroup_subsys_state { struct cgroup *cgroup; struct cgroup_subsys_state *parent; };
struct cgroup { struct cgroup_subsys_state self; struct kernfs_node *kn; struct cgroup_root *root; };
struct pids_cgroup { struct cgroup_subsys_state css; atomic64_t counter, limit; atomic64_t events_local[2]; };
/* Before Linux commit 3f26a885a006 ("cgroup/pids: Add pids.events.local") (v6.11). */
struct pids_cgroup___old { atomic64_t events_limit; };
struct page_counter { atomic_long_t usage; unsigned long max; };
struct mem_cgroup { struct cgroup_subsys_state css; struct page_counter memory; };
struct rlimit { unsigned long rlim_cur; };
struct seccomp { int mode; };
struct css_set { struct cgroup *dfl_cgrp; struct cgroup_subsys_state *subsys[16]; };
struct sched_entity { __u64 sum_exec_runtime; };
struct qstr { const unsigned char *name; };
struct hlist_bl_node { struct hlist_bl_node **pprev; };
struct dentry { struct hlist_bl_node d_hash; struct dentry *d_parent; struct qstr d_name; };
struct vfsmount { struct dentry *mnt_root; };
struct mount { struct mount *mnt_parent; struct dentry *mnt_mountpoint; struct vfsmount mnt; };
struct path { struct vfsmount *mnt; struct dentry *dentry; };
struct fs_struct { struct path root, pwd; };
struct percpu_counter { __s64 count; };
struct seqcount { unsigned int sequence; };
typedef struct seqcount seqcount_t;
struct file { unsigned int f_flags; struct path f_path; };
struct vm_area_struct { unsigned long vm_start, vm_end, vm_flags; struct file *vm_file; };
struct mm_struct {
	unsigned long arg_start, arg_end, env_start, env_end;
	unsigned long hiwater_rss, data_vm;
	struct file *exe_file;
	atomic_long_t pgtables_bytes, hugetlb_usage;
	struct percpu_counter rss_stat[4];
	unsigned long start_brk, brk, start_stack;
};
/* Before Linux commit f1a7941243c1 ("mm: convert mm's rss stats into percpu_counter") (v6.2). */
struct mm_rss_stat { atomic_long_t count[4]; };
struct mm_struct___old { struct mm_rss_stat rss_stat; };
/* Both only with CONFIG_PER_VMA_LOCK, since Linux commit 5e31275cc997 ("mm: add per-VMA lock and helper functions to
 * control it") (v6.4); a sequence count since commit eb449bd96954 ("mm: convert mm_lock_seq to a proper seqcount") (v6.14). */
struct mm_struct___seqcount { seqcount_t mm_lock_seq; };
struct mm_struct___int { int mm_lock_seq; };
struct sigaction { void *sa_handler; unsigned long sa_flags; };
struct k_sigaction { struct sigaction sa; };
struct sighand_struct { struct k_sigaction action[64]; };
struct wait_queue_head { struct list_head head; };
struct wait_queue_entry { struct list_head entry; };
struct wait_opts {
	enum pid_type wo_type;
	int wo_flags;
	struct pid *wo_pid;
	struct wait_queue_entry child_wait;
};
struct signal_struct {
	atomic_t live;
	struct wait_queue_head wait_chldexit;
	int group_exit_code;
	unsigned int flags;
	struct pid *pids[4];
	unsigned long min_flt, maj_flt, maxrss;
	struct rlimit rlim[16];
};
union __sifields { struct { int _pid; } _sigchld; };
struct kernel_siginfo { int si_code; union __sifields _sifields; };
struct task_struct {
	unsigned int flags;
	struct sched_entity se;
	struct mm_struct *mm;
	int exit_state, exit_code, exit_signal;
	unsigned in_execve : 1;
	__u64 self_exec_id;
	pid_t pid, tgid;
	struct task_struct *real_parent, *group_leader;
	struct list_head children;
	struct pid *thread_pid;
	__u64 utime, stime, start_boottime;
	unsigned long min_flt, maj_flt;
	int pagefault_disabled;
	const struct cred *cred;
	char comm[16];
	struct fs_struct *fs;
	struct signal_struct *signal;
	struct sighand_struct *sighand;
	struct css_set *cgroups;
	struct nsproxy *nsproxy;
	struct seccomp seccomp;
	struct task_delay_info *delays;
	void *bpf_storage;
};
struct task_delay_info { __u32 wpcopy_count; };	/* since v5.16, with CONFIG_TASK_DELAY_ACCT */
struct linux_binprm { const char *filename, *interp; };
struct bpf_iter_meta { void *seq; };
struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; };
struct kmem_cache { unsigned int object_size; };
struct page { unsigned long flags; };

#pragma clang attribute pop

#include "machine.h"
