"""Thirteen children that nobody waits for, for 1.5 seconds."""

import os
import time

for _ in range(13):
    if not os.fork():
        os._exit(0)
time.sleep(1.5)
