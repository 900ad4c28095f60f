"""Arrays that come and go cost no page faults once they were there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import resource, sys
if sys.argv[1] == "kept":
    from tracer.host.malloc_tuning import keep_freed
    keep_freed()
import numpy as np
def work():
    arrays = [np.ones(65536) for _ in range(20)]
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(word: str) -> int:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", CODE, word], capture_output=True, text=True, cwd=root, check=True)
    return int(done.stdout)


def test_what_was_freed_is_used_again() -> None:
    assert faults("kept") < 200 < faults("by default")
