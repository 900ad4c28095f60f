"""Findings in words: what is, with its figures, and what to change.

    sentences(finding, tree) -> Words(what, change)    plain text, clean for a terminal

The figures are analyses/advice.py's; a figure that was not measured is left out, or is `-`. Knows no layout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from tracer.analyses.findings.finding import Finding
from tracer.analyses.summary import program
from tracer.reports.terminal import clean, cut, quoted
from tracer.reports.words import UNKNOWN, count, duration, plural, size
from tracer.tree.tree import ProcessTree

_NAME_MOST: Final = 32
_COMMAND_MOST: Final = 60


class Words(NamedTuple):
    """Two sentences."""

    what: str
    change: str


def sentences(finding: Finding, tree: ProcessTree, *, unicode: bool = True) -> Words:
    """Names from outside are made harmless, and cut."""
    return _WORDS[finding.kind](_Said(finding, tree, unicode))


class _Said:
    """The figures of one finding, each as text."""

    def __init__(self, finding: Finding, tree: ProcessTree, unicode: bool) -> None:
        self.finding = finding
        self.tree = tree
        self._unicode = unicode

    def __getitem__(self, name: str) -> Any:
        return self.finding.figures.get(name)

    def time(self, name: str) -> str:
        return duration(self[name], ascii_only=not self._unicode)

    def size(self, name: str) -> str:
        return size(self[name])

    def part(self, name: str) -> str:
        value = self[name]
        return UNKNOWN if value is None else f"{value * 100:.0f} %"

    def times(self, name: str) -> str:
        n = self[name]
        return "once" if n == 1 else "twice" if n == 2 else f"{count(n)} times"

    def text(self, word: str, most: int = _NAME_MOST) -> str:
        return cut(clean(word[: most * 4], unicode=self._unicode), most, dots="…" if self._unicode else "...")

    def who(self, row: int | None = None, fallback: str = "a process outside of the trace") -> str:
        """`python3 (5939)`."""
        row = self.finding.maker if row is None else row
        if row is None:
            return fallback
        return f"{self.name(row)} ({self.tree.value(row, 'pid') or UNKNOWN})"

    def name(self, row: int) -> str:
        return self.text(program(self.tree.value(row, "argv"), self.tree.value(row, "comm")))

    def command(self, words: Sequence[str | None] | None, comm: str | None) -> str:
        dots = "…" if self._unicode else "..."
        if words is None:
            return f"({self.text(comm or '?')})"
        said = (dots if word is None else quoted(word[:_COMMAND_MOST], unicode=self._unicode) for word in words[:16])
        return cut(" ".join(said), _COMMAND_MOST, dots=dots)

    def first(self) -> str:
        """The command of the first example."""
        row = self.finding.rows[0]
        return self.command(self.tree.value(row, "argv"), self.tree.value(row, "comm"))

    def examples(self, most: int = 3) -> str:
        """`pids 1, 2, 3, …`."""
        pids = [str(self.tree.value(row, "pid") or UNKNOWN) for row in self.finding.rows]
        more = len(pids) > most
        dots = ["…" if self._unicode else "..."] if more else []
        return f"{'pid' if len(pids) == 1 else 'pids'} {', '.join([*pids[:most], *dots])}"


def _fork_exec(s: _Said) -> Words:
    copied = f"; {s.size('copied_bytes')} of pages were copied meanwhile" if s["copied_bytes"] else ""
    of = f" of a process of {s.size('rss_bytes')}" if s["rss_bytes"] else ""
    return Words(
        f"{s.time('fork_ns')} went into copying page tables{of} for nothing: {s.who()} forked {s.times('forks')},"
        f" and the child went on to exec ({s.examples()}){copied}",
        "posix_spawn or vfork copies none of it (in Python: subprocess without preexec_fn)",
    )


def _copied_before_exec(s: _Said) -> Words:
    return Words(
        f"{s.size('copied_bytes')} of pages were copied between fork and exec, for nothing:"
        f" by {s.who()} and its {plural(s['forks'], 'child', 'children')} ({s.examples()})",
        "exec sooner after the fork, or use posix_spawn or vfork, which copy nothing",
    )


def _snapshot(s: _Said) -> Words:
    lived = f", which lived for {s.time('life_ns')}" if s["life_ns"] is not None else ""
    worst = f"; at {s['forks']} forks, this was the worst" if s["forks"] > 1 else ""
    return Words(
        f"{s.size('copied_bytes')}, {s.part('share')} of the memory of {s.who()}, had to be copied, as it wrote to what"
        f" it shared with a copy of itself ({s.examples(1)}){lived}{worst}",
        f"keep that much memory free for it, and {s.size('rss_bytes')} for when everything is written to meanwhile;"
        " a shorter life of the child needs less",
    )


def _workers(s: _Said) -> str:
    return (
        f"{plural(s['workers'], 'worker')} of {s.who()} copied {s.size('copied_bytes')} of what they were to share"
        f" with it, half of them {s.part('share')} of its memory and more ({s.examples()})"
    )


def _collector(s: _Said) -> Words:
    return Words(
        f"{_workers(s)}; {s.part('part')} of it in {s.text(s['function'])}: a collector of garbage writes to what it"
        " looks at",
        "collect once and freeze before the fork (Python: gc.freeze()), or keep the collector off in the workers",
    )


def _workers_copy(s: _Said) -> Words:
    if s["function"] is not None:
        by = f"; {s.part('part')} of it in {s.text(s['function'])}"
        return Words(_workers(s) + by, "see that function: what it writes to is shared no more")
    return Words(_workers(s), "which code does that is not in this trace: record with --cow-stacks")


_LIMITS: Final = {
    "EAGAIN": "which limit is not known: RLIMIT_NPROC (ulimit -u), pids.max of its control group, kernel.threads-max",
    "ENOMEM": "memory was short, or its overcommit is limited (vm.overcommit_memory); or the pid namespace has lost its"
    " first process",
}


def _failed_forks(s: _Said) -> Words:
    n = s["failed"]
    cause = f": {'' if s['sure'] else 'probably '}{s.text(s['cause'], _COMMAND_MOST)}" if s["cause"] else ""
    who = s.who() if s.finding.maker is not None else plural(s["callers"], "process", "processes")
    return Words(
        f"{plural(n, 'fork')} of {who} failed with {s.text(s['error'] or 'an error that is not known')}{cause}",
        "raise that limit, or start fewer at once" if s["cause"] else _LIMITS.get(s["error"], "see fork(2)"),
    )


def _respawn(s: _Said) -> Words:
    outcome = s["outcome"]
    how = f"by {outcome}" if isinstance(outcome, str) else f"with status {outcome}"
    cpu = f"; {s.time('cpu_ns')} of CPU" if s["cpu_ns"] is not None else ""
    rate = f", {count(round(s['forks_per_s']))} a second" if (s["forks_per_s"] or 0) >= 1.5 else ""
    return Words(
        f"{s.who()} started {s.first()} {s.times('times')}{rate}, and it ended {how} after {s.time('life_ns')} each"
        f" time but {count(s['times'] - s['failed'])}{cpu}"
        if s["times"] > s["failed"]
        else f"{s.who()} started {s.first()} {s.times('times')}{rate}, and each time it ended {how} after"
        f" {s.time('life_ns')}{cpu}",
        f"see why it fails, and wait longer than {s.time('pause_ns')} before it is started again",
    )


_DOES: Final = {
    "default": "it does nothing about SIGCHLD",
    "ignore": "it ignores SIGCHLD",
    "handler": "it has a handler for SIGCHLD, which does not wait for all",
    "nocldwait": "it has set SA_NOCLDWAIT",
}


def _unreaped(s: _Said) -> Words:
    does = f"; {_DOES[s['sigchld']]}" if s["sigchld"] in _DOES else ""
    who = s.who(fallback=f"the process {UNKNOWN if s['pid'] is None else s['pid']}, outside of the trace,")
    return Words(
        f"{who} never waited for {count(s['unreaped'])} of {plural(s['children'], 'child', 'children')} that ended:"
        f" zombies for up to {s.time('longest_ns')}, {count(s['at_once'])} at once ({s.examples()}){does}",
        "wait for every child; or set SIGCHLD to SIG_IGN, if nobody wants their status",
    )


def _reaped_late(s: _Said) -> Words:
    return Words(
        f"{s.who()} waited late for {plural(s['children'], 'child', 'children')}: zombies for up to"
        f" {s.time('longest_ns')}, {count(s['at_once'])} at once ({s.examples()})",
        "wait when SIGCHLD comes, for as many as there are",
    )


def _path_search(s: _Said) -> Words:
    missing = f", {count(s['missing'])} of which were nowhere" if s["missing"] else ""
    names = f"{s.text(s['name'])} most of all" if s["names"] > 1 else s.text(s["name"])
    return Words(
        f"{plural(s['failed'], 'exec')} failed in a search along the PATH: "
        f"{plural(s['processes'], 'process', 'processes')} tried folder by folder for {plural(s['names'], 'name')}"
        f"{missing} ({names}), {s.time('wasted_ns')} at least",
        "name programs by their whole path, or put the right folder first in PATH",
    )


def _shell(s: _Said) -> Words:
    others = f" and {plural(s['programs'] - 1, 'other program')}" if s["programs"] > 1 else ""
    return Words(
        f"{plural(s['shells'], 'shell')} ran one plain command each ({s.text(s['script'], _COMMAND_MOST)}{others})"
        f" and took {s.time('own_ns')} for it",
        "exec the command itself, without sh -c (in Python: shell=False and a list)",
    )


def _short_lived(s: _Said) -> Words:
    return Words(
        f"{s.command(s['words'], s['comm'])} ran {s.times('processes')}, half of them for less than"
        f" {s.time('life_ns')}, {s.time('cpu_ns')} of CPU together, {s.part('part')} of all that was used",
        "do that in the caller (in a shell: by what is built in), or in one process for many",
    )


def _threads(s: _Said) -> Words:
    return Words(
        f"{s.who()} forked {s.times('forks')} without an exec while {plural(s['threads'], 'other thread')} ran"
        f" ({s.examples()})",
        "in such a child only the forking thread goes on, and a lock that another one held stays locked:"
        " fork before threads begin, or exec at once",
    )


_WORDS: Final[dict[str, Callable[[_Said], Words]]] = {
    "fork_exec": _fork_exec,
    "copied_before_exec": _copied_before_exec,
    "snapshot": _snapshot,
    "collector": _collector,
    "workers_copy": _workers_copy,
    "failed_forks": _failed_forks,
    "respawn": _respawn,
    "unreaped": _unreaped,
    "reaped_late": _reaped_late,
    "path_search": _path_search,
    "shell": _shell,
    "short_lived": _short_lived,
    "threads": _threads,
}
