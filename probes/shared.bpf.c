/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The maps that several objects share, and no program. The life-cycle and the fault probes are loaded at once, one
 * thread each: neither may have to wait until the other's maps are there. Nothing in here refers to the kernel's
 * types, so libbpf does not read these: it loads in a millisecond. */
#include "core.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "wire.h"
#include "marks.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";
