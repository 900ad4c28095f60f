"""Three forks without an exec while five other threads run."""

import os
import threading

leave = threading.Event()
threads = [threading.Thread(target=leave.wait) for _ in range(5)]
for thread in threads:
    thread.start()
for _ in range(3):
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
leave.set()
