/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* How deep forktrace's own pid namespace lies. Inside a container /proc does not tell, and without it no pid can be told
 * as it is called there. Loaded before the others, where it is needed. */
#include "core.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "wire.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";
const __u32 ft_abi SEC(".rodata.abi") = FT_ABI;

const volatile __u32 wanted SEC(".rodata.wanted");	/* inum of the namespace */
__u32 level_found SEC(".data.level");	/* its level plus 1 */

SEC("iter/task")
int find_level(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	if (!t || level_found)
		return 0;
	/* By a probe read, as a plain number: verifiers before 6.2 allow no variable offset from a typed pointer. */
	struct pid *id = BPF_CORE_READ(t, thread_pid);
	if (!id)
		return 0;
	__u32 level = BPF_CORE_READ(id, level);
	if (level > 32)
		return 0;
	struct upid *own = (void *)id + bpf_core_field_offset(struct pid, numbers) + level * bpf_core_type_size(struct upid);
	if (BPF_CORE_READ(own, ns, ns.inum) == wanted)
		level_found = level + 1;
	return 0;
}
