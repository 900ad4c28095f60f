/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
#pragma once

static long look_for_hugetlb(struct task_struct *t, struct vm_area_struct *vma, __u32 *found)
{
	*found = !!(vma->vm_flags & VM_HUGETLB);
	return 0;
}

/* Copies of hugetlb pages come from a pool and show as no allocation, so whether one was copied is not known. Looked up
 * only in processes that have such pages: interrupts are off here, and the look-up is dear. */
static __always_inline bool is_hugetlb(struct task_struct *t, __u64 addr)
{
	struct mm_struct *mm = plain(t)->mm;
	__u32 found = 0;
	if (!bpf_core_field_exists(mm->hugetlb_usage) || !mm || !mm->hugetlb_usage.counter)
		return false;
	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_find_vma))
		return true;
	return bpf_find_vma(t, addr, look_for_hugetlb, &found, 0) || found;
}
