"""The limits that forktrace itself is under (ulimit), which must not be the program's trouble, nor a traceback.

    given = raise_own()      as much as we may have, once the program is forked; `restore(given)` in a later child
    check_room(saves=...)    raises ForktraceError before anything is started, where there is too little
    explain(error)           the sentence for an error that a limit caused; None for any other

A soft limit is a caller's wish for the program, which keeps it; the hard limit is what may not be exceeded.
"""

from __future__ import annotations

import errno
import os
import resource
from contextlib import suppress

from tracer.errors import ForktraceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_WANTED_FILES = 4096
_FREE_FILES = 48
"""Descriptors that must be free: bpf has 40 open while it loads, and a report imports modules."""
_SPACE = 112 << 20
_SPACE_TO_SAVE = 480 << 20
"""Address space (RLIMIT_AS): measured 90 MB to trace by bpf and report, 440 MB with pyarrow and numpy, which save."""

Given = dict[int, tuple[int, int]]


def raise_own() -> Given:
    """Raise our soft limits of files and address space to the hard ones; both, if we may. Returns what they were."""
    given: Given = {}
    for which, wanted in ((resource.RLIMIT_NOFILE, _WANTED_FILES), (resource.RLIMIT_AS, resource.RLIM_INFINITY)):
        soft, hard = given[which] = resource.getrlimit(which)
        if soft == resource.RLIM_INFINITY or soft >= wanted > 0:
            continue
        more = hard if hard == resource.RLIM_INFINITY or hard >= wanted > 0 else wanted
        for new in ((wanted, more), (hard, hard)):  # the first raises the hard limit too: CAP_SYS_RESOURCE
            try:
                resource.setrlimit(which, new)
            except (OSError, ValueError):
                continue
            break
    return given


def restore(given: Mapping[int, tuple[int, int]]) -> None:
    """The limits as they were."""
    for which, limits in given.items():
        with suppress(OSError, ValueError):
            resource.setrlimit(which, limits)


def check_room(*, saves: bool) -> None:
    """Raise ForktraceError if the hard limits leave too little to trace."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if files != resource.RLIM_INFINITY:
        used = sum(1 for fd in _open_descriptors() if fd < files)
        if files - used < _FREE_FILES:
            raise ForktraceError(
                f"the limit of {files} open files is too low to trace", f"raise `ulimit -n` to {used + _FREE_FILES}"
            )
    space = resource.getrlimit(resource.RLIMIT_AS)[1]
    needed = _SPACE_TO_SAVE if saves else _SPACE
    if space != resource.RLIM_INFINITY and space < needed:
        what = "write a trace" if saves else "trace"
        raise ForktraceError(
            f"the limit of {space >> 10:,} KiB of address space is too low to {what}",
            f"raise `ulimit -v` to {needed >> 10}" + (", or leave -o away" if saves and space >= _SPACE else ""),
        )


def explain(error: BaseException) -> ForktraceError | None:
    """One sentence where a limit, and nothing else, was the cause."""
    code = getattr(error, "errno", None)
    if code == errno.EMFILE:
        return ForktraceError("too many files are open", _raise_files())
    if code == errno.ENFILE:
        return ForktraceError("too many files are open on this host", "raise fs.file-max")
    starved = isinstance(error, RuntimeError) and "start new thread" in str(error)
    unmapped = isinstance(error, ImportError) and "failed to map segment" in str(error)
    if isinstance(error, MemoryError) or code == errno.ENOMEM or starved or unmapped:
        limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
        return ForktraceError(
            "forktrace is out of memory",
            "raise `ulimit -v`" if limited else "give it more, or trace less with --no-wait, -s or --duration",
        )
    return None


def _raise_files() -> str:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return f"raise `ulimit -n` ({soft}, at most {hard})" if soft < hard else f"raise `ulimit -n` ({soft})"


def _open_descriptors() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
    except OSError:
        return []
