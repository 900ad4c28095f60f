/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What differs between machines: where a system call's number and arguments are when it has entered, where the user's
 * code and stack are, and what the calls are called. One object is compiled for each (Makefile).
 *
 *   CALL_NR(r)  CALL_ARG0(r) ... CALL_ARG3(r)     of the system call that r came with; ~0 for one of a 32-bit program
 *   USER_PC(r)  USER_SP(r)                        the next instruction, the stack
 *   USER_LR(r)                                    arm64 only: where the function that was called last returns to
 *
 * bpf_tracing.h's PT_REGS_* would read each by a copy of its own; these are typed loads. */
#pragma once

#if defined(__TARGET_ARCH_x86)

struct pt_regs { unsigned long sp, di, si, dx, r10, orig_ax, ip; } __attribute__((preserve_access_index));
#define CALL_NR(r) ((r)->orig_ax)
#define CALL_ARG0(r) ((r)->di)
#define CALL_ARG1(r) ((r)->si)
#define CALL_ARG2(r) ((r)->dx)
#define CALL_ARG3(r) ((r)->r10)
#define USER_PC(r) ((r)->ip)
#define USER_SP(r) ((r)->sp)

#define NR_CLONE 56
#define NR_FORK 57
#define NR_VFORK 58
#define NR_EXECVE 59
#define NR_WAIT4 61
#define NR_WAITID 247
#define NR_EXECVEAT 322

#elif defined(__TARGET_ARCH_arm64)

struct pt_regs { __u64 regs[31], sp, pc, pstate, orig_x0; int syscallno; } __attribute__((preserve_access_index));
#define PSR_MODE_MASK 0xfULL	/* 0: the program itself, of 64 or 32 bits */
#define PSR_MODE32_BIT 0x10ULL
/* The first argument's register has the result by the time that a call ends. A 32-bit program's calls have numbers of
 * their own, of which some are ours with another meaning. */
#define CALL_NR(r) ((r)->pstate & PSR_MODE32_BIT ? ~0ULL : (__u64)(__u32)(r)->syscallno)
#define CALL_ARG0(r) ((r)->orig_x0)
#define CALL_ARG1(r) ((r)->regs[1])
#define CALL_ARG2(r) ((r)->regs[2])
#define CALL_ARG3(r) ((r)->regs[3])
#define USER_PC(r) ((r)->pc)
#define USER_SP(r) ((r)->sp)
#define USER_LR(r) ((r)->regs[30])

/* The syndrome of an abort (ESR_ELx): which fault of what level, and whether a write. Maintenance of a cache (CM) faults
 * as a write and is none; an exclusive or atomic operation says "write" only where a read would have been fine. At level
 * -1 (52 bits of address) a translation fault has a code of its own. */
#define ESR_FAULT(esr) (((esr) & 0x3f) == 0x2b ? ESR_TRANSLATION : (esr) & 0x3c)
#define ESR_TRANSLATION 0x04	/* no page there */
#define ESR_ACCESS 0x08		/* a page there that is not marked as used, where the processor does not do it itself */
#define ESR_PERMISSION 0x0c	/* a page there, and not for this access */
#define ESR_WRITE(esr) ((esr) >> 6 & ~((esr) >> 8) & 1)

/* The generic numbers: no fork and no vfork, which the C library makes of clone. */
#define NR_FORK 0xfffffffeULL
#define NR_VFORK 0xfffffffdULL
#define NR_WAITID 95
#define NR_CLONE 220
#define NR_EXECVE 221
#define NR_WAIT4 260
#define NR_EXECVEAT 281

#else
#error "no registers of this machine: add them here, to the Makefile and to tracer/model/machines.py"
#endif

#define NR_CLONE3 435	/* on all */
