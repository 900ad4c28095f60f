/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What each fault of the traced set did: copied a page because of a fork, copied a file's page, replaced the zero page,
 * re-used the page that was there, or failed. No event of its own marks the end of a fault, but the task's min_flt +
 * maj_flt moves as the last thing in one (mm_account_fault()): as long as it stands, a page that the task allocates
 * belongs to the fault that began. What the kernel does in each case, mm/memory.c:
 *
 *                                        exception   page allocated       rss_stat after it
 *   anonymous page copied                write, wp   1, not zeroed        none
 *   merged page copied (KSM)             write, wp   1, not zeroed        none; not shared by a fork
 *   private file page, read before       write, wp   1, not zeroed        FILE or SHMEM -1, ANON +1
 *   private file page, not read before   write       1, not zeroed        ANON +1
 *   zero page replaced                   write, wp   1, zeroed            ANON +1
 *   huge zero page replaced              write, wp   one of order 9       ANON
 *   fresh page                           write       1, zeroed            ANON +1
 *   read back from swap                  write       1, not zeroed        ANON +1, SWAPENTS -1
 *   re-used, or another thread was first write, wp   none, or given back  none
 *   shared file page made writable       write, wp   none                 none; the page turns dirty
 *   copied by the kernel on its own      none        1, not zeroed        none
 *
 * The exception is a tracepoint on x86 (exceptions:page_fault_*), a function on arm64, which has no such tracepoints: they
 * were refused there more than once.
 *
 * Which answer the kernel gives changed often (page_count, PageAnonExclusive, large folios), these signs did not.
 * Never one event per fault: counters per thread, one record at its end. Not seen: copies of hugetlb pages, which
 * come from a pool: what a write to one came to is unknown, and counted as nothing but a write-protect fault. */
#include "core.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "wire.h"
#include "marks.h"
#include "copying.h"
#include "faults.h"
#include "counting.h"
#include "mappings.h"
#include "hugetlb.h"
#include "telling.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";
const __u32 ft_abi SEC(".rodata.abi") = FT_ABI;
/* clang drops types that nothing refers to; the layout test wants them all */
const union ft_record *ft_keep_record __attribute__((unused));

/* include/linux/gfp_types.h; these have not moved from 5.15 to 6.18. GFP_HIGHUSER_MOVABLE without the bits that page
 * cache fills, readahead, write(2) and page tables carry. */
#define GFP_USER_PAGE 0x100ccaU
#define GFP_ZERO 0x100U
#define GFP_NOT_OURS (0x1000U | 0x2000U | 0x10000U | 0x20000U)	/* WRITE NOWARN NORETRY MEMALLOC */
#define GFP_COMP 0x40000U
#define GFP_HIGHMEM_MOVABLE 0xaU

/* One rss_stat for each change of a counter of mapped pages, since Linux commit f1a7941243c1 ("mm: convert mm's rss stats
 * into percpu_counter") (v6.2). Before, a task kept up to 64 to itself. */
static __always_inline bool rss_stat_batched(void)
{
	return bpf_core_field_exists(struct mm_struct___old, rss_stat.count);
}

static __always_inline int fault_began(__u64 addr, __u64 error, bool kernel)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct counters *c = counters_of(t);
	if (!c)
		return 0;
	__u64 flt = faults_done(t);
	/* A walk of the user stack (perf record -g, our own for --cow-stacks) may touch a page that is not there, in the
	 * middle of another fault. With faults disabled the kernel handles none: that is the beginning of nothing. A
	 * futex operation faults like that, too, but in no other fault, and is made good by a copy right after. */
	if (kernel && t->pagefault_disabled && c->state != IDLE && flt == c->flt)
		return 0;
	settle(t, c, flt);
	c->flt = flt;
	if (!(error & 2)) {
		c->state = READING;	/* what is allocated now is for the page cache */
		return 0;
	}
	c->state = PENDING;
	c->class = NONE;
	c->addr = addr;
	c->wp = error & 1;
	c->hugetlb = 0;
	if (c->wp)
		c->hugetlb = is_hugetlb(t, addr);
	c->count[C_WP] += error & 1;
	return 0;
}

#ifdef ESR_FAULT
/* Every abort enters here, with the syndrome (ESR_ELx) that says why. By a trampoline: on this processor since v6.4. */
SEC("fentry/do_mem_abort")
int BPF_PROG(on_fault_user, unsigned long far, unsigned long esr, struct pt_regs *regs)
{
	__u32 why = ESR_FAULT(esr);
	/* The top byte is the program's own (a tag); bit 55 says whose half of the addresses it is. */
	if (far >> 55 & 1 || (why != ESR_TRANSLATION && why != ESR_ACCESS && why != ESR_PERMISSION))
		return 0;
	__u64 error = (why == ESR_PERMISSION) | ESR_WRITE(esr) << 1;
	return fault_began(far & ((1ULL << 56) - 1), error, (regs->pstate & PSR_MODE_MASK) != 0);
}
#else
SEC("tp_btf/page_fault_user")
int BPF_PROG(on_fault_user, unsigned long addr, struct pt_regs *regs, unsigned long error)
{
	return fault_began(addr, error, false);
}

SEC("tp_btf/page_fault_kernel")
int BPF_PROG(on_fault_kernel, unsigned long addr, struct pt_regs *regs, unsigned long error)
{
	return (long)addr < 0 ? 0 : fault_began(addr, error, true);
}
#endif

/* A fault that failed moves no counter, and what a system call in the signal's handler allocates must not be taken
 * for its page. */
SEC("tp_btf/signal_generate")
int BPF_PROG(on_signal, int sig, struct kernel_siginfo *info, struct task_struct *t)
{
	if ((sig != SIGSEGV && sig != SIGBUS) || t != bpf_get_current_task_btf())
		return 0;
	struct counters *c = counters_if_made(t);
	if (c)
		settle(t, c, faults_done(t));
	return 0;
}

SEC("tp_btf/mm_page_alloc")
int BPF_PROG(on_page_alloc, struct page *page, unsigned int order, unsigned int gfp)
{
	if (order == 0) {
		if ((gfp & (GFP_USER_PAGE | GFP_NOT_OURS)) != GFP_USER_PAGE)
			return 0;
	} else if ((gfp & (GFP_HIGHMEM_MOVABLE | GFP_COMP)) != (GFP_HIGHMEM_MOVABLE | GFP_COMP)) {
		return 0;
	}
	struct task_struct *t = bpf_get_current_task_btf();
	struct counters *c = counters_if_made(t);
	if (!c || !page)
		return 0;
	__u64 flt = faults_done(t);
	if (is_again() && c->state == ALLOCATED && c->page == (__u64)page && flt == c->flt)
		return 0;
	if (c->state == IDLE || flt != c->flt) {
		/* No exception came before this one: get_user_pages() for ptrace, process_vm_writev, O_DIRECT, a shared
		 * futex, mlock. Or it is for the page cache, and then no fault will end, or one that changes rss_stat. */
		if (order == 0 && !(gfp & GFP_ZERO)) {
			settle(t, c, flt);
			c->state = ALLOCATED;
			c->class = UNASKED;
			c->flt = flt;
			c->page = (__u64)page;
		}
		return 0;
	}
	if (c->state != PENDING) {	/* for the page cache, which is filled inside the fault */
		__sync_fetch_and_add(&fault_stats.second_pages, c->state == ALLOCATED);
		return 0;
	}
	c->state = ALLOCATED;
	c->page = (__u64)page;
	if (order) {
		c->count[C_LARGE] += c->wp;
		c->class = c->wp ? LARGE : NONE;
	} else if (gfp & GFP_ZERO) {
		c->count[C_ZERO] += c->wp;
		c->class = c->wp ? ZEROED : NONE;
	} else {
		/* Until rss_stat says otherwise, and whatever the exception said of the page being there: the entry can
		 * change between the exception and its handler. */
		__u32 mapping = mapping_of(t, c);
		if (mapping == MERGEABLE) {
			struct counters *process = process_of(t, c);
			if (c->wp && process && !process->shared_ns && !(process->flags & T_FOUND)) {
				c->count[C_KSM]++;
				c->class = MERGED;
				return 0;
			}
			mapping = ANON;
		}
		if (mapping == SHARED) {
			c->class = NONE;
			return 0;
		}
		if (rss_stat_batched()) {
			/* A file's page and its private copy can not be told apart, and a page that was not there before
			 * came from swap. */
			if (mapping == FILE) {
				c->count[C_FILE_COPIES]++;
				c->class = FILE_COPY;
				return 0;
			}
			if (!c->wp) {
				c->class = NONE;
				return 0;
			}
		}
		c->class = COPY;
		c->mapping = mapping;
		c->count[C_HEAP + (mapping & 7)]++;
		count_for_process(t, c);
	}
	return 0;
}

SEC("tp_btf/rss_stat")
int BPF_PROG(on_rss_stat, struct mm_struct *mm, int member)
{
	struct task_struct *t = bpf_get_current_task_btf();
	if (mm != plain(t)->mm) {
		note_copying(t, mm);
		return 0;
	}
	struct counters *c = rss_stat_batched() ? NULL : counters_if_made(t);
	if (!c || handled(c->notes, N_RSS) || c->state != ALLOCATED || faults_done(t) != c->flt)
		return 0;
	if (c->class == COPY || c->class == UNASKED) {
		if (c->class == COPY)
			take_back(t, c);
		if (member == MM_ANONPAGES) {
			c->class = DIRECT;
			c->count[C_FILE_COPIES]++;
		} else {
			c->class = member == MM_SWAPENTS ? NONE : UNDECIDED;
		}
	} else if (c->class == UNDECIDED) {
		/* A shared file's page that was read in by a write ends here: nothing anonymous follows it. */
		c->class = NONE;
		if (member == MM_ANONPAGES) {
			c->class = FILE_COPY;
			c->count[C_FILE_COPIES]++;
		}
	} else if (c->class == DIRECT && member == MM_SWAPENTS) {
		c->class = NONE;
		c->count[C_FILE_COPIES]--;
		__sync_fetch_and_add(&fault_stats.swapped_in, 1);
	}
	return 0;
}

/* The page of this very fault is given back: another thread was first, or the fault is begun anew. Where there are no
 * threads only the second happens, and the page that is allocated anew needs no counting. As this fires for every
 * page that anyone frees, user space attaches it when the first thread is seen. */
SEC("tp_btf/mm_page_free")
int BPF_PROG(on_page_free, struct page *page, unsigned int order)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct counters *c = counters_if_made(t);
	if (!c || c->state != ALLOCATED || c->page != (__u64)page || faults_done(t) != c->flt)
		return 0;
	c->state = c->class == UNASKED ? IDLE : PENDING;
	uncount(t, c);
	__sync_fetch_and_add(&fault_stats.lost_races, 1);
	return 0;
}

static __always_inline int dirtied(void)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct counters *c = counters_if_made(t);
	if (!c || c->state != PENDING || !c->wp || faults_done(t) != c->flt)
		return 0;
	c->count[C_MKWRITES]++;
	c->state = DIRTIED;
	return 0;
}

SEC("tp_btf/writeback_dirty_folio")
int BPF_PROG(on_dirty_folio)
{
	return dirtied();
}

/* Its name before Linux commit b9b0ff61eef5 ("mm/writeback: Convert tracing writeback_page_template to folios") (v5.16). */
SEC("tp_btf/writeback_dirty_page")
int BPF_PROG(on_dirty_page)
{
	return dirtied();
}

/* A record that says nothing, but wakes the reader, who then attaches on_page_free. */
static __always_inline void say_threads(void)
{
	if (fault_stats.threads)
		return;
	fault_stats.threads = 1;
	union ft_record *r = bpf_ringbuf_reserve(&events, sizeof(*r), 0);
	if (r)
		bpf_ringbuf_discard(r, BPF_RB_FORCE_WAKEUP);
}

/* The child's counters, and what its parent had copied by then. */
SEC("tp_btf/task_newtask")
int BPF_PROG(on_newtask, struct task_struct *child, __u64 clone_flags)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct counters *c = counters_of(t);
	if (!c)
		return 0;
	struct counters *n = bpf_task_storage_get(&thrs, child, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (n && opt.copies > 1 && (__sync_fetch_and_or(&n->flags, T_BORN) & T_BORN))
		return 0;
	if (!n)
		__sync_fetch_and_add(&fault_stats.unmade, 1);
	if (clone_flags & CLONE_THREAD) {
		if (n)
			n->flags |= T_THREAD | (c->flags & T_EXECED);
		say_threads();
		return 0;
	}
	settle(t, c, faults_done(t));
	struct counters *process = process_of(t, c);
	if (!process)
		return 0;
	__u64 now = child->start_boottime;	/* set after the page tables were copied, and read at no price */
	if (n) {
		n->flags |= T_EDGE | (clone_flags & CLONE_VM ? T_SAME_MM : 0) |
			   (process->flags & T_OTHER_IMAGE ? T_PARENT_OTHER : 0);
		n->shared_ns = clone_flags & CLONE_VM ? 0 : now;
		n->parent_born = plain(t)->group_leader->start_boottime;
		n->parent_cow_birth = copies_of(process);
		n->parent_image = process->image;
	}
	if (clone_flags & CLONE_VM) {
		if (!(clone_flags & CLONE_VFORK))
			say_threads();
		return 0;
	}
	c->stamp_tick = 0;
	process->shared_ns = now;
	process->flags |= T_FORKED;
	if (n)
		keep_vmas(t, c, child, n);
	return 0;
}

/* The old address space is gone, and with it all that was shared. */
static __always_inline void new_image(struct task_struct *t, struct counters *c)
{
	if (opt.copies > 1) {
		__u32 exec_id = plain(t)->self_exec_id + 1;
		if (is_again() && c->exec_id == exec_id)
			return;
		c->exec_id = exec_id;
	}
	settle(t, c, faults_done(t));
	if (c->flags & T_HELD) {
		/* The held child becomes the program: its counters begin here. */
#pragma unroll
		for (int i = 0; i < COUNTERS; i++)
			c->told[i] = c->count[i];
		c->before = copies_of(c) + c->before;
	} else if (!(c->flags & T_EXECED) || (c->flags & T_FORKED)) {
		union ft_record *r = begin_faults(FT_FAULTS, t, c->flags & T_EXECED ? 0 : FT_BEFORE_EXEC);
		if (r) {
			tell_counters(r, c, 0, 0);
			tell_total(r, c);
			r->faults.parent_cow_birth = r->faults.parent_cow_end = ~0ULL;
			if (c->flags & T_EDGE)
				tell_edge(r, t, c);
			send(r, false);
		}
	}
	if (!(c->flags & T_HELD))
		tell_decay(t, c, 0);
	/* A thread that is not the first takes over as leader, and what was known of the process went with the old
	 * one: two steps say that there is no cow_at_exec for the step between. */
	c->image += c->flags & T_THREAD ? 2 : 1;
	c->cow_at_exec = copies_of(c);
	c->shared_ns = 0;
	c->flags |= (c->flags & (T_FORKED | T_HELD)) == T_FORKED ? T_OTHER_IMAGE : 0;
	c->flags &= ~(T_HELD | T_EDGE | T_SAME_MM | T_FORKED | T_THREAD);
	c->flags |= T_EXECED;
}

/* Inside exec this comes right after the address space was changed, and before the new image is touched. */
SEC("tp_btf/task_rename")
int BPF_PROG(on_rename, struct task_struct *t)
{
	struct counters *c = counters_if_made(t);
	if (c && BPF_CORE_READ_BITFIELD(t, in_execve))
		new_image(t, c);
	return 0;
}

/* For kernels without task->in_execve: a page or two of the new image are counted for the old one. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *t)
{
	struct counters *c = counters_if_made(t);
	if (c)
		new_image(t, c);
	return 0;
}

/* Only the first argument: group_dead was added in v6.16. signal->live is 0 before the last thread gets here, and more
 * than one may see it: the last pair of parent_cow_* stands, and the buckets are taken once. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *t)
{
	struct counters *c = counters_if_made(t);
	if (!c || (c->flags & T_ENDED))
		return 0;
	c->flags |= T_ENDED;
	settle(t, c, faults_done(t));
	bool leader = t->pid == t->tgid, last = plain(t)->signal->live.counter == 0;
	if (!leader && !last && !anything_to_tell(c))
		return 0;
	struct counters *process = process_of(t, c);
	union ft_record *r = begin_faults(FT_FAULTS, t, c->flags & T_EXECED ? 0 : FT_BEFORE_EXEC);
	if (r) {
		tell_counters(r, c, 0, 0);
		tell_total(r, process);
		r->faults.parent_cow_birth = r->faults.parent_cow_end = ~0ULL;
		if (process && last && (process->flags & T_EDGE))
			tell_edge(r, t, process);
		send(r, false);
	}
	if (process && last)
		tell_decay(t, process, 0);
	return 0;
}
