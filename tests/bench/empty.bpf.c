/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The two tracepoints of page faults with programs that do nothing: what nobody can go below. */
#include "../../probes/core.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

SEC("tp_btf/page_fault_user")
int BPF_PROG(on_fault_user)
{
	return 0;
}

SEC("tp_btf/page_fault_kernel")
int BPF_PROG(on_fault_kernel)
{
	return 0;
}

SEC("tp_btf/mm_page_alloc")
int BPF_PROG(on_page_alloc)
{
	return 0;
}

SEC("tp_btf/mm_page_free")
int BPF_PROG(on_page_free)
{
	return 0;
}

SEC("tp_btf/rss_stat")
int BPF_PROG(on_rss_stat)
{
	return 0;
}
