"""Three workers that collect garbage in memory that they were to share with the server; with `frozen`, they share it.

A server of real size is needed: what the workers copy is a third of it.
"""

import gc
import os
import sys

held = [[i] for i in range(200_000)]
if "frozen" in sys.argv:
    gc.freeze()
workers = []
for _ in range(3):
    worker = os.fork()
    if not worker:
        gc.collect()
        os._exit(0)
    workers.append(worker)
for worker in workers:
    os.waitpid(worker, 0)
