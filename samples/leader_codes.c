/* SPDX-License-Identifier: MIT */
/*
 * exit(2) of each thread by itself, no exit_group: the leader says 3, the only other thread later 5.
 * Which one the parent gets is the kernel's choice (5 on new ones, 3 on older), so it is told from the
 * wait status.
 */
#define LEADER_ENDS() syscall(SYS_exit, 3)
#define THREAD_ENDS() syscall(SYS_exit, 5)
enum { THREADS = 1 };
#include "leader_first.c"
