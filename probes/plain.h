/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* For every pointer that is loaded through a trusted one, the verifier searches all of vmlinux' type names, four times
 * over, for a note that it stays trusted (btf_nested_type_is_trusted, since v6.2): some 0.5 ms a load, 200 ms for
 * these programs. Through a read-only cast to its own type a task is walked at no such price. Helpers still want the
 * trusted one. Where the kernel has no bpf_rdonly_cast() it has no such search either. */
#pragma once

extern void *bpf_rdonly_cast(void *obj, __u32 btf_id) __ksym __weak;

static __always_inline struct task_struct *cast_task(struct task_struct *t, __u32 can_cast)
{
	return can_cast ? bpf_rdonly_cast(t, bpf_core_type_id_kernel(struct task_struct)) : t;
}
