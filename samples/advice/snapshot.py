"""A server of 60 MiB that saves itself by a copy, and writes to five pages of six meanwhile."""

import os
from mmap import PAGESIZE

PAGES = 60 << 8
held = bytearray(PAGES * PAGESIZE)
for page in range(PAGES):
    held[page * PAGESIZE] = 1
done, go = os.pipe()
saver = os.fork()
if not saver:
    os.close(go)
    os.read(done, 1)  # it saves until the other side is closed
    os._exit(0)
for page in range(PAGES * 5 // 6):
    held[page * PAGESIZE] = 2
os.close(go)
os.waitpid(saver, 0)
