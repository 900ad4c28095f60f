/* SPDX-License-Identifier: MIT */
/* orphan.c where the root is a subreaper: it adopts the 3 orphans and reaps them. */
#define SUBREAPER 1
#include "orphan.c"
