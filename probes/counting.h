/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* How a fault's outcome is counted, and taken back when it turns out otherwise: for the thread, and for its process by
 * the time since the last fork. */
#pragma once

static __always_inline __u64 faults_done(struct task_struct *t)
{
	return t->min_flt + t->maj_flt;
}

/* 1 if v is above limit: without a branch, as the verifier would go both ways from each. */
static __always_inline __u64 above(__u64 limit, __u64 v)
{
	__u64 d = limit - v;
	barrier_var(d);
	return d >> 63;
}

/* 0 up to 1024 ns, n up to 1024 << n. */
static __always_inline __u32 bucket_of(__u64 ns)
{
	__u64 v = ns >> 10, n, k;
	v |= above(0xffffffff, v) * 0x80000000;
	v &= 0xffffffff;
	n = above(0xffff, v) << 4, v >>= n;
	k = above(0xff, v) << 3, v >>= k, n += k;
	k = above(0xf, v) << 2, v >>= k, n += k;
	k = above(0x3, v) << 1, v >>= k, n += k;
	n += v - above(2, v);	/* v is 0 to 3: its two bits are 0, 1, 2, 2 buckets */
	return n - above(FT_DECAY_BUCKETS - 1, n);
}

/* A clock reading costs as much as all else here on some virtual machines (230 ns seen). So the second one serves for the
 * next 3 copies too, the third for 15, then 63, as long as the tick stands (1 to 10 ms): of a burst the first copies
 * are dated exactly, and the buckets are logarithmic as well. */
static __always_inline __u64 now_or_so(struct counters *c)
{
	__u64 tick = bpf_jiffies64();
	if (c->stamp_tick != tick) {
		c->stamp_tick = tick;
		c->stamp_grown = 0;
	} else if (c->stamp_uses) {
		c->stamp_uses--;
		return c->stamp_ns;
	} else if (c->stamp_grown < 63) {
		c->stamp_grown = c->stamp_grown * 4 + 3;
	}
	c->stamp_uses = c->stamp_grown;
	c->stamp_ns = bpf_ktime_get_boot_ns();
	return c->stamp_ns;
}

static __always_inline void count_for_process(struct task_struct *t, struct counters *c)
{
	struct counters *process = process_of(t, c);
	c->bucket = NO_BUCKET;
	if (!process)
		return;
	if (process != c)
		__sync_fetch_and_add(&process->others_copies, 1);
	if (process->shared_ns) {
		__s64 since = now_or_so(c) - process->shared_ns;
		__u32 bucket = bucket_of(since < 0 ? 0 : since);
		bucket += process->flags & T_FORKED ? FT_DECAY_BUCKETS : 0;
		if (bucket < NO_BUCKET) {
			__sync_fetch_and_add(&process->decay[bucket], 1);
			c->bucket = bucket;
		}
	}
}

/* The page was counted as copied because of a fork, and was not. */
static __always_inline void take_back(struct task_struct *t, struct counters *c)
{
	c->count[C_HEAP + (c->mapping & 7)]--;
	struct counters *process = process_of(t, c);
	if (!process)
		return;
	if (process != c)
		__sync_fetch_and_add(&process->others_copies, -1);
	if (c->bucket < NO_BUCKET)
		__sync_fetch_and_add(&process->decay[c->bucket], -1);
}

static __always_inline void uncount(struct task_struct *t, struct counters *c)
{
	if (c->class == COPY)
		take_back(t, c);
	else if (c->class == ZEROED)
		c->count[C_ZERO]--;
	else if (c->class == FILE_COPY || c->class == DIRECT)
		c->count[C_FILE_COPIES]--;
	else if (c->class == LARGE)
		c->count[C_LARGE]--;
	else if (c->class == MERGED)
		c->count[C_KSM]--;
	c->class = NONE;
}

/* At the thread's next event. A write-protect fault that got no page has ended, or it failed; one that failed with a page
 * in hand gave it back; and a page without an exception was a copy if a fault was accounted since. */
static __always_inline void settle(struct task_struct *t, struct counters *c, __u64 flt)
{
	bool ended = flt != c->flt;
	if (c->state == PENDING && c->wp) {
		if (!ended)
			c->count[C_FAILED]++;
		else if (!c->hugetlb)
			c->count[C_REUSES]++;
	} else if (c->state == ALLOCATED) {
		if (!ended) {
			uncount(t, c);
		} else if (c->class == UNASKED) {
			c->count[C_GUP]++;
			count_for_process(t, c);
		}
	}
	c->state = IDLE;
}
