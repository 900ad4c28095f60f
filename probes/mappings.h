/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* In which mapping a page was copied: heap, stack, other anonymous memory, a private file. Asked of the kernel once for
 * each mapping, and remembered for as long as the address space is not changed. */
#pragma once

struct found { __u64 start, end, brk_start, brk_end, stack; __u32 mapping; };

static long name_vma(struct task_struct *t, struct vm_area_struct *vma, struct found *f)
{
	f->start = vma->vm_start;
	f->end = vma->vm_end;
	if (vma->vm_flags & VM_SHARED)
		f->mapping = SHARED;
	else if (vma->vm_file)
		f->mapping = FILE;
	else if (fault_opt.ksm && (vma->vm_flags & VM_MERGEABLE))
		f->mapping = MERGEABLE;
	else if (f->start <= f->brk_end && f->end > f->brk_start && f->brk_end > f->brk_start)
		f->mapping = HEAP;
	else if ((f->start <= f->stack && f->end > f->stack) || (vma->vm_flags & VM_GROWSDOWN))
		f->mapping = STACK;
	else
		f->mapping = ANON;
	return 0;
}

/* Moves at the beginning and at the end of every change to the mappings; as an int only at the end. */
static __always_inline __u32 lock_seq(struct mm_struct *mm)
{
	if (bpf_core_field_exists(struct mm_struct___seqcount, mm_lock_seq.sequence))
		return ((struct mm_struct___seqcount *)mm)->mm_lock_seq.sequence;
	if (bpf_core_field_exists(struct mm_struct___int, mm_lock_seq))
		return ((struct mm_struct___int *)mm)->mm_lock_seq;
	return 0;
}

static __always_inline __u32 lock_seq_step(void)
{
	if (bpf_core_field_exists(struct mm_struct___seqcount, mm_lock_seq.sequence))
		return 2;
	return bpf_core_field_exists(struct mm_struct___int, mm_lock_seq) ? 1 : 0;
}

/* Only where a page was allocated: there interrupts are on. At the exception they are off, and the look-up would give its
 * lock back through a self-interrupt (six times the price of the fault). */
static __always_inline __u32 mapping_of(struct task_struct *t, struct counters *c)
{
	struct mm_struct *mm = plain(t)->mm;
	__u64 addr = c->addr;
	if (!mm || !bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_find_vma))
		return UNKNOWN;
	__u32 seq = lock_seq(mm);
	if (lock_seq_step() && c->vma_seq == seq && c->vma_mm == (__u64)mm) {
#pragma unroll
		for (int i = 0; i < KNOWN_VMAS; i++)
			if ((addr | 7) >= c->vmas[i].start && addr < c->vmas[i].end)
				return c->vmas[i].start & 7;
	} else {
		c->vma_seq = seq;
		c->vma_mm = (__u64)mm;
#pragma unroll
		for (int i = 0; i < KNOWN_VMAS; i++)
			c->vmas[i].end = 0;
	}
	struct found f = { .brk_start = mm->start_brk, .brk_end = mm->brk, .stack = mm->start_stack, .mapping = UNKNOWN };
	if (!fault_opt.ksm && addr >= f.brk_start && addr < f.brk_end)
		return HEAP;
	if (bpf_find_vma(t, addr, name_vma, &f, 0))
		return UNKNOWN;
	struct known_vma *v = &c->vmas[c->vma_next++ % KNOWN_VMAS];
	v->start = f.start | (f.mapping & 7);
	v->end = f.end;
	return f.mapping;
}

/* A fork is one change to the parent's mappings that changes none, and the child's are the same: both go on with what
 * is known. */
static __always_inline void keep_vmas(struct task_struct *t, struct counters *c, struct task_struct *child, struct counters *n)
{
	struct mm_struct *mm = plain(t)->mm, *new = plain(child)->mm;
	if (!mm || !new || !lock_seq_step() || c->vma_mm != (__u64)mm || lock_seq(mm) != c->vma_seq + lock_seq_step())
		return;
	c->vma_seq += lock_seq_step();
	n->vma_mm = (__u64)new;
	n->vma_seq = lock_seq(new);
	n->vma_next = c->vma_next;
	__builtin_memcpy(n->vmas, c->vmas, sizeof(n->vmas));
}
