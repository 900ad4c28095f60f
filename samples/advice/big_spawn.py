"""fork and exec by a process of 200 MiB, seven times: posix_spawn would have copied no page tables."""

import os
from mmap import PAGESIZE

PAGES = 200 << 8
held = bytearray(PAGES * PAGESIZE)
for page in range(PAGES):
    held[page * PAGESIZE] = 1
for _ in range(7):
    child = os.fork()
    if not child:
        for page in range(53):  # something to write between the two, as a careless child does
            held[page * PAGESIZE] = 2
        os.execv("/bin/true", ["true"])
    os.waitpid(child, 0)
