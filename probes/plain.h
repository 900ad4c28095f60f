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

/* Of a raw tracepoint's argument, which is a number to the verifier. */
static __always_inline __u32 object_size(struct kmem_cache *cache, __u32 can_cast)
{
	if (can_cast)
		return ((struct kmem_cache *)bpf_rdonly_cast(cache, bpf_core_type_id_kernel(struct kmem_cache)))->object_size;
	return BPF_CORE_READ(cache, object_size);
}

/* signal_generate passes 0 or 1 in place of some siginfos, so the verifier takes the argument for a number (from v7.2
 * on, and in the stable 6.12.115: "R9 invalid mem access 'scalar'"). Where it does, the cast exists. */
static __always_inline struct kernel_siginfo *cast_siginfo(struct kernel_siginfo *info, __u32 can_cast)
{
	return can_cast ? bpf_rdonly_cast(info, bpf_core_type_id_kernel(struct kernel_siginfo)) : info;
}
