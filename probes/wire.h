/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The records that the probes send: the single truth about their layout. tracer/backends/wire.py mirrors it, and a test
 * compares the two through the object's BTF. Fixed-width fields, largest first, no implicit padding.
 *
 *   ring `events`  fixed records of FT_RECORD_SIZE bytes, whatever the kind: order in this ring is the order of things
 *   ring `texts`   ft_text records of their own length: argv and paths; sent before the fixed record they belong to
 */
#pragma once

#define FT_ABI 1
#define FT_RECORD_SIZE 160
#define FT_TEXT_SIZE 12288
#define FT_MAX_CPUS 512

enum ft_kind {
	FT_FORK = 1,	/* a task was born */
	FT_EXEC = 2,
	FT_EXIT = 3,	/* a task ended */
	FT_ZOMBIE = 4,	/* a process' parent was told of its end */
	FT_WAIT = 5,	/* a parent with zombies called wait */
	FT_FREE = 6,	/* the kernel let go of a task: its last CPU figures, and whose child it was then */
	FT_RENAME = 7,
	FT_EXISTING = 8,	/* as FT_FORK, for a task that was there before */
	FT_REAP = 9,	/* exact reap, opt-in */
	FT_FAULTS = 10,	/* fault counters of one thread */
	FT_ALIVE = 12,	/* as FT_EXIT, for a task that is still there when the trace ends */
	FT_BASE = 15,	/* as FT_EXIT, for a task found at attach: what it had used before anybody watched */
	FT_EXEC_FAILED = 13,	/* opt-in: an execve that returned an error */
	FT_FORK_FAILED = 14,	/* opt-in: a fork, vfork, clone or clone3 that did */
	FT_ADOPT = 16,	/* a zombie's parent has ended without waiting for it: it has another one now */
	FT_MKDIR = 17,	/* a control group was made */
	FT_DECAY = 11,	/* when a process' copies were made, after the fork that made them necessary */
};

enum ft_how { FT_HOW_ROOT = 1, FT_HOW_FORK = 2, FT_HOW_VFORK = 3, FT_HOW_CLONE = 4, FT_HOW_SPAWN = 5, FT_HOW_WORKER = 6, FT_HOW_EXISTING = 7 };

/* ft_head.flags */
#define FT_LAST 1u	/* exit: the process ended with this task */
#define FT_OOM 2u	/* exit: chosen by the OOM killer */
#define FT_NO_MM 4u	/* figures of the address space could not be read */
#define FT_TEXT 8u	/* exec: a text record was sent */
#define FT_WAITED 16u	/* zombie: the parent was blocked in a wait that takes it */
#define FT_MAYBE 32u	/* zombie: the parent has entered a wait before: it counts if no later one takes this child */
#define FT_AUTOREAP 64u	/* zombie: SA_NOCLDWAIT, there is nothing to wait for */
#define FT_ROOT 128u	/* the program forktrace started */
#define FT_HIDDEN 256u	/* not visible from forktrace's pid namespace */
#define FT_BEFORE_EXEC 512u	/* faults: of the image it was born with; it has not called exec since its birth */
#define FT_SNAPSHOT 1024u	/* faults, decay: it lives on, more will follow; zombie: found as one, since when is not known */
#define FT_EDGE 2048u	/* faults: parent_cow_* are filled */
#define FT_FORKED 4096u	/* decay: by time since its own last fork, not since its birth */

struct ft_head {
	__u64 time_ns;	/* CLOCK_BOOTTIME */
	__u64 born_ns;	/* start_boottime of the process (of its leader) */
	__u32 pid;	/* tgid, in forktrace's pid namespace */
	__u32 tid;
	__u32 flags;
	__u16 kind;
	__u16 cpu;
};

struct ft_fork {
	struct ft_head h;
	__u64 creator_born_ns;
	__u64 parent_born_ns;
	__u64 clone_flags;
	__u64 fork_ns;		/* ~0: page tables were not copied, or not watched */
	__u64 pgtables_bytes;	/* ~0: unknown */
	__u64 rss_bytes;	/* ~0: unknown */
	__u64 cgroup;
	__u32 creator_pid;
	__u32 creator_tid;
	__u32 parent_pid;
	__u32 uid;
	__u32 ns_pids[4];	/* from forktrace's namespace inwards; 0 ends it */
	__u32 pgid;
	__u32 sid;
	__u16 syscall;
	__u8 how;
	__u8 levels;		/* pids it has from forktrace's namespace inwards: may be more than 4 */
	__u32 exit_signal;
	char comm[16];
};

struct ft_exec {
	struct ft_head h;
	__u64 parent_born_ns;
	__u64 cgroup;
	__u64 min_flt;		/* of the process so far */
	__u64 maj_flt;
	__u64 utime_ns;
	__u64 stime_ns;
	__u64 runtime_ns;
	__u64 vfork_done_ns;	/* when the old address space was given back */
	__u32 parent_pid;
	__u32 uid;
	__u32 old_tid;
	__u32 wpcopy_count;	/* as in ft_exit */
	char comm[16];
};

struct ft_exit {
	struct ft_head h;
	__u64 parent_born_ns;
	__u64 min_flt;
	__u64 maj_flt;
	__u64 utime_ns;
	__u64 stime_ns;
	__u64 runtime_ns;
	__u64 max_rss_bytes;
	__u32 parent_pid;
	__u32 uid;
	__s32 status;		/* as wait4() gives it: the process' with FT_LAST, else the thread's */
	__u32 killed_by;	/* 0: nobody, or the kernel */
	char comm[16];
	__u64 wpcopy_count;	/* the kernel's own, of this task; ~0: kernel.task_delayacct was off at its birth */
};

struct ft_zombie {
	struct ft_head h;
	__u64 parent_born_ns;
	__u32 parent_pid;
	__u32 pgid;
	__s32 status;		/* as wait4() will give it */
	__u32 sigchld;		/* enum ft_sigchld: what the parent does with SIGCHLD */
};

enum ft_sigchld { FT_CHLD_DEFAULT = 1, FT_CHLD_IGNORE = 2, FT_CHLD_HANDLER = 3, FT_CHLD_NOWAIT = 4 };

/* h: the parent that has ended. */
struct ft_adopt {
	struct ft_head h;
	__u64 parent_born_ns;	/* of the new one */
	__u32 parent_pid;
	__u32 child_pid;	/* 0: not known in forktrace's pid namespace */
};

/* In the hierarchy that places processes. h: who made it. */
#define FT_GROUP_NAME 112
struct ft_mkdir {
	struct ft_head h;
	__u64 group;
	__u64 above;
	char name[FT_GROUP_NAME];	/* its last component; one that fills the field is cut */
};

struct ft_wait {	/* h: the waiter */
	struct ft_head h;
	__s32 target;	/* a pid; 0 any child; -pgid a process group */
	__u32 options;
};

struct ft_free {
	struct ft_head h;
	__u64 parent_born_ns;
	__u64 min_flt;		/* these five: since the exit record of this task */
	__u64 maj_flt;
	__u64 utime_ns;
	__u64 stime_ns;
	__u64 runtime_ns;
	__u32 parent_pid;
	__s32 exit_signal;	/* 0: none would have been sent; -1: a thread */
};

struct ft_rename {
	struct ft_head h;
	char comm[16];
};

struct ft_reap {
	struct ft_head h;
	__u32 reaper_pid;
	__u32 unused;
};

/* Faults of one thread since its birth or since its previous record, whichever is later: a sum over all records of
 * (pid, born_ns) is the process' own number. Signed, as a record may take back what a snapshot had seen a moment too
 * soon. Sent at the thread's end; when a process first calls exec (FT_BEFORE_EXEC), or after it has forked;
 * for all that live when user space asks (FT_SNAPSHOT). A process' first thread always sends one at its end, others
 * only if there was something. Nothing is sent for what the program's root did before its first exec. */
struct ft_faults {
	struct ft_head h;
	__s64 wp_faults;
	__s64 cow_heap;		/* copies because of a fork: cow_* together, by mapping */
	__s64 cow_stack;
	__s64 cow_anon;
	__s64 cow_file;
	__s64 cow_unknown;	/* the mapping could not be looked up: its lock was taken */
	__s64 cow_gup;		/* the kernel copied without an exception, for this thread, perhaps in another process */
	__s64 file_copies;
	__s64 zero_copies;
	__s64 large_copies;
	__s64 reuses;
	__s64 mkwrites;
	__s32 failed_wp;
	__s32 ksm_copies;	/* of pages that the kernel had merged (KSM), in a process that shares none by a fork */
	/* What the parent copied while it shared memory with this process is parent_cow_end - parent_cow_birth. The last
	 * pair sent is the one that stands: sharing ends with this process' first exec or with its end. A parent of
	 * several living children copies a page once for all of them, and it is found in each one's difference.
	 *   end ~0: the parent ended first, and its last cow_total is the end; birth and end ~0: not known */
	__u64 parent_cow_birth;
	__u64 parent_cow_end;
	__u64 cow_total;	/* copies of the whole process up to here; ~0: another record has what its children need */
};

/* Sent at the ends of sharing and with snapshots, for a process that copied as much as ft_fault_options.decay_min;
 * what smaller ones did is summed in ft_fault_stats.decay. Bucket 0: up to 1024 ns after the fork, bucket n: up to
 * 1024 << n; the last bucket takes all that is later. Signed and summed as ft_faults. */
#define FT_DECAY_BUCKETS 32
struct ft_decay {
	struct ft_head h;
	__s32 buckets[FT_DECAY_BUCKETS];
};

struct ft_failed {	/* h: the caller */
	struct ft_head h;
	__u64 parent_born_ns;
	__u64 clone_flags;
	__u32 parent_pid;
	__s32 error;
	__u32 syscall;
	__u32 uid;
	char comm[16];
	/* The rest: of a fork alone, what bounds it, read as the call returned. Of several bounds on a path upwards that one
	 * which has least room left. "now" may be past its bound, and below it if somebody ended meanwhile. */
	__u64 cgroup;		/* the caller's own, of the pids controller */
	__u64 pids_cgroup;	/* 0: no bound above it */
	__u64 mem_cgroup;	/* 0: no bound above it */
	__u32 pids_now;
	__u32 pids_max;
	__u32 pids_fails;	/* forks that this controller refused in `cgroup` so far */
	__u32 nproc_now;	/* tasks of user nproc_uid; ~0: not known */
	__u32 nproc_max;	/* ~0: none */
	__u32 nproc_uid;
	__u32 ns_now;		/* pids given out in the pid namespace of children; */
	__u32 ns_max;		/* 0: the kernel has one for all namespaces */
	__u32 mem_now;		/* pages */
	__u32 mem_max;
	__u32 data_pages;	/* of the caller's address space, those that a fork would have to be promised */
	__u32 limits;		/* FT_L_* */
	__u32 tasks_now;	/* of the host: nr_threads, or without FT_L_TASKS the pids given out, some of which are of no task */
	__u32 committed;	/* pages promised to all (vm_committed_as); 0: not known */
};

/* ft_failed.limits */
#define FT_L_READ 1u		/* all this was read */
#define FT_L_EXEMPT 2u		/* RLIMIT_NPROC does not hold for the caller: root, CAP_SYS_ADMIN or CAP_SYS_RESOURCE */
#define FT_L_NS_DEAD 4u		/* the init of the pid namespace of children has ended */
#define FT_L_NS_INNER 8u	/* ns_* are of a namespace inside the host's */
#define FT_L_SECCOMP 16u	/* the caller runs under a seccomp filter */
#define FT_L_TASKS 32u		/* tasks_now is the kernel's own count */

union ft_record {
	struct ft_head head;
	struct ft_fork fork;
	struct ft_exec exec;
	struct ft_exit exit;
	struct ft_zombie zombie;
	struct ft_wait wait;
	struct ft_free free;
	struct ft_rename rename;
	struct ft_reap reap;
	struct ft_faults faults;
	struct ft_decay decay;
	struct ft_failed failed;
	struct ft_adopt adopt;
	struct ft_mkdir mkdir;
	__u64 words[FT_RECORD_SIZE / 8];
};

/* One exec's words. `data` holds, one behind the other: exe, interpreter, cwd (components, leaf first, each ending in
 * NUL), argv, environment. A first record has seq 0; more argv or environment follows in records with seq 1, 2, ... */
struct ft_text {
	__u64 time_ns;	/* with tid: which exec record it belongs to */
	__u32 tid;
	__u32 seq;
	__u32 argv_full;	/* bytes that the process has */
	__u32 env_full;
	__u16 exe_len;
	__u16 interp_len;
	__u16 cwd_len;
	__u16 argv_len;
	__u16 env_len;
	__u16 failed;	/* bit 0 argv, 1 env, 2 exe, 3 cwd could not be read (whole); 4 cwd is gone */
	__u32 unused;
};

struct ft_options {
	__u32 ns_level;		/* of forktrace's own pid namespace */
	__u32 ns_inum;
	__u32 everyone;		/* the whole host */
	__u32 kernel_reads;	/* bpf_probe_read_kernel is allowed (not under lockdown confidentiality) */
	__u32 fork_cost;	/* rss_stat is attached */
	__u32 argv_max;		/* bytes */
	__u32 env_max;		/* bytes; 0: none */
	__u32 cgroup_v1;	/* take the pids controller's group, as the unified tree has no controllers */
	__u32 events_bytes;	/* size of ring `events` */
	__u32 sighand_size;	/* --reap exact: object size of the sighand cache */
	__u32 rdonly_cast;	/* the kernel has bpf_rdonly_cast() */
	__u32 match;		/* MATCH_* of match.h: who matches is followed too */
	__u32 match_v1;		/* groups are told by this controller, its number plus 1; 0: by the unified tree */
	__u32 page_size;	/* bytes: 4, 16 or 64 KiB on arm64, as the kernel was built */
	__u32 copies;		/* 1, or 2 for several of a program, one behind the other on a tracepoint: once.h */
	__u32 copy;		/* which of them this is, 0 the first */
};

struct ft_stats {
	__u64 alive;		/* tasks marked and not yet ended */
	__u64 unmarked;		/* task storage could not be made: the hash took it */
	__u64 unseen;		/* neither took it: a subtree is lost */
	__u64 added;		/* by the attach pass */
	__u64 records;
	__u64 joined;		/* processes with threads or children that began to match: another pass is due */
	__u64 late_ends;	/* recorded when the task was let go of, as they had been missed */
	__u64 lost_events[FT_MAX_CPUS];
	__u64 lost_texts[FT_MAX_CPUS];
};

struct ft_fault_options {	/* besides ft_options */
	__u32 decay_min;
	__u32 ksm;		/* the host merges pages */
};

struct ft_fault_stats {
	__u64 unmade;		/* a thread's counters could not be made: its row, and its children's, are unknown */
	__u64 added;		/* by the attach pass */
	__u64 lost_races;	/* copies thrown away, as another thread was first: not counted as copies */
	__u64 second_pages;	/* a second page inside one fault: not counted */
	__u64 swapped_in;
	__u64 threads;		/* there are some: on_page_free is needed */
	__s64 decay[2 * FT_DECAY_BUCKETS];	/* since birth, then since own last fork */
};

_Static_assert(sizeof(struct ft_head) == 32, "change tracer/backends/wire.py too");
_Static_assert(sizeof(struct ft_fork) == 152, "change tracer/backends/wire.py too");
_Static_assert(sizeof(struct ft_exec) == 128, "change tracer/backends/wire.py too");
_Static_assert(sizeof(struct ft_exit) == 128, "change tracer/backends/wire.py too");
_Static_assert(sizeof(struct ft_faults) == 160, "change tracer/backends/wire.py too");
_Static_assert(sizeof(struct ft_decay) == 160, "change tracer/backends/wire.py too");
_Static_assert(sizeof(struct ft_zombie) == 56, "change tracer/backends/wire.py too");
_Static_assert(sizeof(struct ft_mkdir) == 160, "change tracer/backends/wire.py too");
_Static_assert(sizeof(struct ft_failed) == 160, "change tracer/backends/wire.py too");
_Static_assert(sizeof(union ft_record) == FT_RECORD_SIZE, "every record fits");
_Static_assert(sizeof(struct ft_text) == 40, "change tracer/backends/wire.py too");
