"""The priority of forktrace itself while it watches a storm."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_NICE: Final = -10
_AGAIN, _AGAIN_S = 6, 0.06
_AUTOGROUP: Final = Path("/proc/self/autogroup")


@contextmanager
def raised() -> Iterator[None]:
    """Raise priority so that detection keeps up while a storm takes CPU from everybody, and collect no garbage.

    Nothing of ours is in reference circles, and the collector would walk a million held rows for a second.
    """
    collecting, nice, session = gc.isenabled(), os.getpriority(os.PRIO_PROCESS, 0), _session_nice()
    gc.disable()
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, min(_NICE, nice))
    if session is not None:
        _session_nice(min(_NICE, session))
    try:
        yield
    finally:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, nice)
        if session is not None:
            _session_nice(session)
        if collecting:
            gc.enable()


def _session_nice(new: int | None = None) -> int | None:
    """Of our session among the others: with autogroups (sched(7)) a nice value counts inside of a session alone."""
    with suppress(OSError, ValueError, IndexError):
        for _ in range(_AGAIN) if new is not None else ():
            try:
                _AUTOGROUP.write_text(str(new))
            except BlockingIOError:  # without CAP_SYS_ADMIN, one such write in 0.1 s on the whole host
                time.sleep(_AGAIN_S)
                continue
            break
        return int(_AUTOGROUP.read_text("ascii").split()[-1])
    return None
