"""Findings in words: each kind has its sentences, unknown figures are none, hostile names are harmless."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from tests.build import exec_, exit_, root, tree
from tests.hostile import NAMES
from tests.strategies import META, PROFILE, History, histories
from tracer.analyses.findings.advice import advise
from tracer.analyses.findings.finding import Finding
from tracer.model.batch import Batch
from tracer.reports import findings
from tracer.reports.console.findings import FindingLines
from tracer.reports.findings import sentences
from tracer.reports.terminal import Terminal, cells
from tracer.tree.tree import ProcessTree

MIB = 1 << 20
FIGURES: dict[str, dict[str, Any]] = {
    "fork_exec": {"forks": 7, "fork_ns": 56_000_000, "copied_bytes": MIB, "rss_bytes": 300 * MIB},
    "copied_before_exec": {"forks": 1, "fork_ns": None, "copied_bytes": MIB, "rss_bytes": None},
    "snapshot": {"forks": 2, "copied_bytes": MIB, "parent_bytes": MIB, "share": 0.9, "rss_bytes": MIB, "life_ns": None},
    "collector": {"workers": 2, "copied_bytes": MIB, "share": 0.5, "function": "gc_collect_main", "part": 0.98},
    "workers_copy": {"workers": 2, "copied_bytes": MIB, "share": 0.5, "function": None, "part": None},
    "failed_forks": {"failed": 2, "callers": 2, "error": "EAGAIN", "cause": "pids.max 50/50", "sure": False},
    "respawn": {
        "times": 9,
        "failed": 8,
        "outcome": "SIGSEGV",
        "life_ns": 1000,
        "pause_ns": 1000,
        "cpu_ns": None,
        "forks_per_s": 12.3,
    },
    "unreaped": {"children": 1, "unreaped": 1, "longest_ns": 10**9, "at_once": 1, "sigchld": "handler", "pid": 7},
    "reaped_late": {"children": 2, "unreaped": 0, "longest_ns": 10**9, "at_once": 1, "sigchld": None, "pid": 7},
    "path_search": {"failed": 20, "processes": 1, "names": 2, "name": "cc", "wasted_ns": 10**6, "missing": 1},
    "shell": {"shells": 10, "in_place": 0, "own_ns": 10**7, "script": "ls -l", "of_script": 4, "programs": 3},
    "short_lived": {
        "processes": 100,
        "parents": 1,
        "words": ("date", None),
        "comm": None,
        "life_ns": 1,
        "lives_ns": 1,
        "cpu_ns": 1,
        "part": 0.5,
    },
    "threads": {"forks": 1, "threads": 1},
}


def finding(kind: str, **figures: Any) -> Finding:
    return Finding(kind, 0, (0,), {**FIGURES[kind], **figures}, 1)


def test_every_kind_has_its_sentences() -> None:
    assert set(findings._WORDS) == set(FIGURES)


@pytest.mark.parametrize("kind", FIGURES)
def test_both_sentences_say_something_and_no_none(kind: str) -> None:
    what, change = sentences(finding(kind), tree(root(1, "server", "--port", "1")))

    assert any(letter.isdigit() for letter in what)  # no advice without a number
    assert "None" not in what + change
    assert not what.endswith(".") and len(change) > 10


def test_one_in_full() -> None:
    assert sentences(finding("fork_exec"), tree(root(4711, "/usr/bin/server"))) == (
        "56.0 ms went into copying page tables of a process of 300 MiB for nothing: server (4711) forked 7 times, and"
        " the child went on to exec (pid 4711); 1 MiB of pages were copied meanwhile",
        "posix_spawn or vfork copies none of it (in Python: subprocess without preexec_fn)",
    )


@pytest.mark.parametrize("kind", FIGURES)
@pytest.mark.parametrize("name", NAMES)
def test_names_can_do_no_harm(kind: str, name: str) -> None:
    t = tree(root(1, "sh"), exec_(1, name, name, comm=name[:15]), exit_(1))
    figures = {key: name for key in ("function", "cause", "error", "name", "script", "comm") if key in FIGURES[kind]}
    hostile = finding(kind, **figures, **({"words": (name, None)} if kind == "short_lived" else {}))

    for unicode in (True, False):
        said = " ".join(sentences(hostile, t, unicode=unicode))
        assert said.isprintable(), said
        assert len(said) < 1000
        assert unicode or said.isascii()


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("unicode", [True, False])
def test_lines_fit_and_what_is_left_out_is_counted(width: int, unicode: bool) -> None:
    terminal = Terminal(width=width, color=False, unicode=unicode)
    t = tree(root(1, "server"))
    shown = [finding(kind) for kind in FIGURES]

    def lines(most: int | None) -> list[str]:
        return ["".join(text for text, _ in line) for line in FindingLines(t, shown, terminal, most=most).lines()]

    assert max(cells(line) for line in lines(None)) <= width
    assert sum(line.startswith("  finding ") for line in lines(None)) == len(FIGURES)
    assert sum(line.startswith("  finding ") for line in lines(6)) == 6
    assert lines(6)[-1].strip() == f"and {len(FIGURES) - 6} more: -v shows all"
    assert "more:" not in lines(len(FIGURES))[-1]


@PROFILE
@given(histories())
def test_any_history_can_be_told(history: History) -> None:
    t = ProcessTree(META)
    t.feed(Batch.from_rows(history.rows))

    for each in advise(t):
        assert " ".join(sentences(each, t)).isprintable()
