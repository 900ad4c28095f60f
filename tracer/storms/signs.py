"""What makes many births a storm, and what shape it has: judged by what is born below one ancestor.

A rate alone is no storm: a build may make as many. A build makes processes that differ, do some work, end well and
are waited for. Signs that something is wrong: forks fail; most children die of a signal or with a status; the living
grow and grow; or the same few commands again and again, each doing next to nothing.

Pure: tallies and words in, words out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tracer.window.lineage import Tally

SHAPES: Final = ("fan-out", "chain", "fork bomb", "respawn", "shell loop", "fork without exec")

SHELLS: Final = frozenset(
    {"sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "busybox", "csh", "tcsh", "yash", "rbash"}
)
# They start the same few commands for a living, and end by themselves.
BUILDERS: Final = frozenset(
    {
        "make",
        "gmake",
        "ninja",
        "samu",
        "cmake",
        "ctest",
        "meson",
        "configure",
        "autoreconf",
        "autoconf",
        "libtool",
        "bazel",
        "scons",
        "waf",
        "gradle",
        "mvn",
        "cargo",
        "go",
        "cabal",
        "stack",
        "dune",
        "bitbake",
        "portage",
        "emerge",
        "makepkg",
        "rpmbuild",
        "dpkg-buildpacka",
        "debuild",
        "sbuild",
        "xcodebuild",
        "distcc",
        "ccache",
    }
)

DYING: Final = 0.5  # of the ends
_SAME: Final = 0.85  # of the births, by the three most frequent commands
_IDLE_NS: Final = 4_000_000  # CPU of a process that did next to nothing
_SHORT_BITS: Final = 26  # life times below 2**26 ns, 67 ms: where CPU time is not known
_MANY: Final = 200  # more alive than before
_QUICK, _SLOW = 3, 5  # seconds of excess before a sign counts


@dataclass(frozen=True)
class Sign:
    """Why this is no healthy load. `after`: seconds of excess that it needs."""

    name: str  # failures dying growth churn rate
    words: str
    after: int


def dying(statuses: Mapping[int, int]) -> float:
    """Share of the ends that were not a plain exit(0)."""
    total = sum(statuses.values())
    return 1 - statuses.get(0, 0) / total if total else 0.0


def signs(tally: Tally, templates: Sequence[tuple[str, Tally]], alive: Sequence[int], *, builder: bool) -> list[Sign]:
    """The signs that hold, the gravest first. `alive`: how many lived below it, second by second."""
    found = []
    if tally.failures:
        share = tally.failures / (tally.failures + tally.forks)
        if tally.failures >= 10 or share >= DYING:
            found.append(Sign("failures", f"{share:.0%} of its forks fail", _QUICK))
    share = dying(tally.statuses)
    if share >= DYING and sum(tally.statuses.values()) >= 20:
        found.append(Sign("dying", f"{share:.0%} of what it makes ends with a status or of a signal", _QUICK))
    if len(alive) >= _QUICK and alive[-1] - alive[0] >= _MANY and _rises(alive):
        found.append(Sign("growth", "more and more live below it", _QUICK))
    if not builder and _churns(tally, templates):
        found.append(Sign("churn", "it makes the same few commands again and again, which do next to nothing", _SLOW))
    return found


def _rises(alive: Sequence[int]) -> bool:
    return all(later >= earlier for earlier, later in zip(alive[-_QUICK:], alive[-_QUICK + 1 :], strict=False))


def _churns(tally: Tally, templates: Sequence[tuple[str, Tally]]) -> bool:
    top = sum(each.forks for _, each in templates[:3])
    if not tally.forks or top < _SAME * tally.forks:
        return False
    ended = sum(tally.statuses.values())
    if not ended:
        return False
    if tally.cpu_ns:
        return tally.cpu_ns / ended < _IDLE_NS
    short = sum(n for bits, n in tally.spans.items() if bits <= _SHORT_BITS)
    return short >= DYING * sum(tally.spans.values())


def shape(
    tally: Tally, templates: Sequence[tuple[str, Tally]], comm: str | None, *, generations: int, makers: int, alive: int
) -> str:
    """One of SHAPES. `generations`: how many came and went below it; `makers`: living ones that have made others."""
    forks = max(tally.forks, 1)
    if generations >= 0.1 * forks and generations > 8:
        return "chain"
    # Of the births, those by the ancestor itself, by what it started and is gone, and by its living descendants
    if makers > 8 and alive >= 0.1 * forks:
        return "fork bomb"
    shell = comm in SHELLS
    one = templates[0][1].forks if templates else 0
    gone_wrong = dying(tally.statuses)
    if gone_wrong >= 0.8 and one >= 0.8 * forks:
        return "respawn"
    if tally.execs < 0.1 * forks:  # a shell may have started what forks, and wait for it
        return "fork without exec"
    return "shell loop" if shell else "fan-out"


def status_words(status: int) -> str:
    """An exit code, or minus a signal, as a person says it."""
    import signal

    if status < 0:
        try:
            return signal.Signals(-status).name
        except ValueError:
            return f"signal {-status}"
    more = {126: " (can not be executed)", 127: " (command not found)"}.get(status, "")
    return f"exit {status}{more}"
