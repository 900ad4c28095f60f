"""CLOCK_BOOTTIME as the kernel stamps events with it, also in a time namespace.

A time namespace (time_namespaces(7), since Linux 5.6) shifts what clock_gettime and /proc/PID/stat give to those
inside, and not what probes, the proc connector and taskstats give. Read by different clocks, births come after ends.
So all of forktrace reads this clock, which is the initial namespace's.
"""

from __future__ import annotations

import functools
import time
from contextlib import suppress
from typing import Final

_PATH: Final = "/proc/self/timens_offsets"
_NS: Final = 10**9
_NAMES: Final = {"7": "boottime", "1": "monotonic"}  # the clocks' numbers, before 5.11


def now_ns() -> int:
    """CLOCK_BOOTTIME of the host, ns."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - offset_ns()


def monotonic_ns() -> int:
    """CLOCK_MONOTONIC of the host, ns: the proc connector's clock."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) - _offsets()[1]


def offset_ns() -> int:
    """What this time namespace adds to the host's CLOCK_BOOTTIME, ns."""
    return _offsets()[0]


@functools.cache
def _offsets() -> tuple[int, int]:
    """Of both clocks. A process cannot leave its time namespace, nor change it."""
    with suppress(OSError, ValueError), open(_PATH, encoding="ascii") as file:  # noqa: PTH123  no pathlib at a start
        return parse(file.read())
    return 0, 0


def parse(text: str) -> tuple[int, int]:
    """The offsets of `boottime` and `monotonic` in a timens_offsets file, ns; 0 without one. Raises ValueError."""
    found = {}
    for line in text.splitlines():
        name, seconds, ns = line.split()
        found[_NAMES.get(name, name)] = int(seconds) * _NS + int(ns)
    return found.get("boottime", 0), found.get("monotonic", 0)
