"""Figures and flags in words: durations, sizes, counts, what clone's flags make two processes share.

Pure text from plain values. Knows no terminal beyond "may I use more than ASCII", and no tree.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tracer.model.frozen import record

UNKNOWN: Final = "-"

_TIME_UNITS: Final = ((1, "ns"), (10**3, "µs"), (10**6, "ms"), (10**9, "s"))
_SIZE_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_LONG_UNITS: Final = ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))


def _three(value: float) -> str:
    """Three significant digits, never an exponent."""
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _duration(ns: int, ascii_only: bool, *, coarse: bool = False) -> tuple[str, str]:
    """(number, unit); over a minute there are two of each, or one if `coarse`."""
    ns = max(0, ns)
    if ns >= 59_995_000_000:
        seconds = (ns + 500_000_000) // 10**9
        for large, big, small, little in _LONG_UNITS:
            if seconds >= large:
                rest = 0 if coarse else seconds % large // small
                return (f"{seconds // large:,} {big} {rest}", little) if rest else (f"{seconds // large:,}", big)
    for i, (factor, unit) in enumerate(_TIME_UNITS):
        if ns * 2 < 1999 * factor or i == len(_TIME_UNITS) - 1:  # 999.5 µs is 1.00 ms already
            number = str(ns) if factor == 1 else _three(ns / factor)
            return number, "us" if ascii_only and unit == "µs" else unit
    raise AssertionError


def duration(ns: int | None, *, ascii_only: bool = False) -> str:
    """`820 ns`, `12.4 ms`, `1.24 s`, `2 min 5 s`, `3 d 4 h`; `-` for None. Negative is 0: stamps of two CPUs."""
    if ns is None:
        return UNKNOWN
    return " ".join(_duration(ns, ascii_only))


def duration_range(low: int | None, high: int | None, *, ascii_only: bool = False) -> str:
    """`12.4…40.0 ms`, `2…40 min`: the unit said once where it is one; one figure where the two look the same."""
    if low is None or high is None:
        return UNKNOWN
    if _duration(low, ascii_only) == _duration(high, ascii_only):
        return duration(low, ascii_only=ascii_only)
    (a, unit_a), (b, unit_b) = _duration(low, ascii_only, coarse=True), _duration(high, ascii_only, coarse=True)
    if (a, unit_a) == (b, unit_b):
        return f"{a} {unit_a}"
    dots = ".." if ascii_only else "…"
    return f"{a if unit_a == unit_b else f'{a} {unit_a}'}{dots}{b} {unit_b}"


def size(n: int | None) -> str:
    """`24 KiB`, `1.50 GiB`; `-` for None. Three significant digits, none behind the point of a whole number."""
    if n is None:
        return UNKNOWN
    value, i = float(n), 0
    while value >= 999.5 and i < len(_SIZE_UNITS) - 1:
        value, i = value / 1024, i + 1
    number = f"{value:.0f}" if value == int(value) else _three(value)
    return f"{number} {_SIZE_UNITS[i]}"


def size_range(low: int | None, high: int | None, *, ascii_only: bool = False) -> str:
    """`4…24 KiB`."""
    a, b = size(low), size(high)
    if a == b or UNKNOWN in (a, b):
        return a if a == b else UNKNOWN
    dots = ".." if ascii_only else "…"
    if a.split()[1] == b.split()[1]:
        a = a.split()[0]
    return f"{a}{dots}{b}"


def count(n: int | None) -> str:
    """`10,000`; `-` for None."""
    return UNKNOWN if n is None else f"{n:,}"


def plural(n: int | None, one: str, many: str | None = None) -> str:
    """`1 process`, `3 processes`, `- processes`."""
    return f"{count(n)} {one if n == 1 else many or one + 's'}"


# -- clone flags ------------------------------------------------------------------------------------------------

_RESOURCES: Final = (
    ("CLONE_VM", "memory"),
    ("CLONE_FILES", "files"),
    ("CLONE_FS", "cwd"),
    ("CLONE_SIGHAND", "signal handlers"),
)
_SHARED_ONLY: Final = (("CLONE_SYSVSEM", "semaphore undo list"), ("CLONE_IO", "I/O priority"))
_NAMESPACES: Final = (
    ("CLONE_NEWUSER", "user"),
    ("CLONE_NEWPID", "pid"),
    ("CLONE_NEWNS", "mount"),
    ("CLONE_NEWNET", "network"),
    ("CLONE_NEWIPC", "IPC"),
    ("CLONE_NEWUTS", "host name"),
    ("CLONE_NEWCGROUP", "cgroup"),
)
_ASIDES: Final = (
    ("CLONE_VFORK", "parent waits until exec"),
    ("CLONE_PARENT", "child of its maker's parent"),
    ("CLONE_INTO_CGROUP", "born into a cgroup of its own"),
    ("CLONE_CLEAR_SIGHAND", "signal handlers reset"),
    ("CLONE_PIDFD", "parent holds a pidfd"),
    ("CLONE_PTRACE", "traced by its maker's tracer"),
    ("CLONE_UNTRACED", "no tracer may follow it"),
)
# What glibc's fork() sets for itself: where to write the child's id. Nothing is shared by these.
_BOOKKEEPING: Final = frozenset(
    {"CLONE_PARENT_SETTID", "CLONE_CHILD_SETTID", "CLONE_CHILD_CLEARTID", "CLONE_SETTLS", "CLONE_DETACHED"}
)
_SIGCHLD: Final = "SIGCHLD"


@record
class Sharing:
    """What a birth shared, what it copied, and what else was special about it; each a tuple of words."""

    shares: tuple[str, ...]
    copies: tuple[str, ...]
    asides: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"shares {_listed(self.shares)}" if self.shares else "shares nothing"]
        parts += [f"copies {_listed(self.copies)}"] if self.copies else []
        return "; ".join([*parts, *self.asides])


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(words)


def is_plain_fork(flags: Iterable[str], exit_signal: str | None = _SIGCHLD) -> bool:
    """Whether nothing is shared, nothing is new, and the parent gets the usual SIGCHLD."""
    return set(flags) <= _BOOKKEEPING and exit_signal in (_SIGCHLD, None)


def sharing(flags: Iterable[str], exit_signal: str | None = _SIGCHLD) -> Sharing:
    """CLONE_ names in words. `exit_signal`: its name, "" for no signal, None for unknown.

    Memory is copied on write; sharing of memory and handlers ends with an exec. clone(2) is the source.
    """
    have = set(flags)
    shares = [word for flag, word in (*_RESOURCES, *_SHARED_ONLY) if flag in have]
    reset = "CLONE_CLEAR_SIGHAND" in have  # the kernel refuses it with CLONE_SIGHAND; a forged trace does not
    copies = [w for flag, w in _RESOURCES if flag not in have and not (reset and flag == "CLONE_SIGHAND")]
    asides = [word for flag, word in _ASIDES if flag in have]
    new = [word for flag, word in _NAMESPACES if flag in have]
    if new:
        asides.append(f"new {' and '.join([', '.join(new[:-1]), new[-1]] if new[1:] else new)} namespace")
    if "CLONE_THREAD" not in have and exit_signal not in (_SIGCHLD, None):
        asides.append(f"{exit_signal} at its end" if exit_signal else "no signal at its end")
    known = {flag for table in (_RESOURCES, _SHARED_ONLY, _NAMESPACES, _ASIDES) for flag, _ in table}
    asides += sorted(have - known - _BOOKKEEPING - {"CLONE_THREAD"})
    return Sharing(tuple(shares), tuple(copies), tuple(asides))
