/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What stacks.bpf.c shares with user space: tracer/backends/bpf/stacks.py mirrors it, and a test compares the two. */
#pragma once

/* Map `counts`: one stack of one image of one process. */
struct ft_stack_key {
	__u64 born_ns;
	__u64 leaf;	/* the instruction that wrote */
	__u64 caller;	/* the word on top of the user stack where it is a return address; 0: it is none */
	__u64 stack;	/* key of map `traces`; 0: only leaf and caller are known */
	__u32 pid;	/* as forktrace's namespace has it; 0: not visible from there */
	__u32 image;	/* number of execs */
	__u32 before_exec;	/* it has not become a program of its own yet */
	__u32 unused;
};

/* Map `traces`, by a hash of the addresses. BPF_MAP_TYPE_STACK_TRACE has one place for each of its short hashes, and
 * turns away every other stack that falls there: of a thousand stacks in 16 MiB every twentieth. */
#define FT_STACK_DEPTH 127	/* kernel.perf_event_max_stack, as it is by default: the walk ends there */
struct ft_stack_trace {
	__u64 n;
	__u64 addresses[FT_STACK_DEPTH];	/* innermost first, the leaf too */
};

struct ft_stack_count {
	__s64 samples;
	__s64 copies;	/* that they stand for */
};

/* Ring `seen`: an image whose mappings will be asked for. Records of either sort; their lengths tell them apart. */
struct ft_stack_seen {
	__u64 born_ns;
	__u64 parent_born_ns;	/* 0: it has exec'd, or its birth was not seen: its mappings are nobody else's */
	__u32 pid;
	__u32 image;
	__u32 parent_pid;	/* 0: not there any more, or not visible */
	__u32 parent_image;
	__u32 samples;
	__u32 uid;
	__u32 own_pid;	/* as the process itself has it */
	__u32 unused;
};

/* One executable mapping of an image, sent before its ft_stack_seen. */
#define FT_STACK_PATH 4096
struct ft_stack_map {
	__u64 born_ns;
	__u64 start;
	__u64 end;
	__u64 offset;
	__u64 inode;
	__u32 device;	/* major << 20 | minor */
	__u32 image;
	__u64 unused;
	/* then the components of its path, leaf first, each ending in NUL; nothing for anonymous memory */
};

struct ft_stack_options {
	__u32 rate;	/* samples a second and CPU at most, or nearly; 0: every copy is one */
	__u32 hz;	/* of jiffies */
	__u32 walk;	/* mappings can be told from here */
};

struct ft_stack_stats {
	__u64 entries;		/* made in `counts`, ever */
	__u64 lost_copies;	/* sampled, and there was no room in `counts` */
	__u64 cut;		/* samples for whose stack there was no room in `traces` */
	__u64 unseen;		/* no room in `seen` */
};

_Static_assert(sizeof(struct ft_stack_key) == 48, "change tracer/backends/bpf/stacks.py too");
_Static_assert(sizeof(struct ft_stack_trace) == 1024, "change tracer/backends/bpf/stacks.py too");
_Static_assert(sizeof(struct ft_stack_count) == 16, "change tracer/backends/bpf/stacks.py too");
_Static_assert(sizeof(struct ft_stack_map) == 56, "change tracer/backends/bpf/stacks.py too");
_Static_assert(sizeof(struct ft_stack_seen) == 48, "change tracer/backends/bpf/stacks.py too");
