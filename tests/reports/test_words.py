"""Figures and flags in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import PROFILE
from tracer.model.flags import CloneFlags
from tracer.reports.words import (
    count,
    duration,
    duration_range,
    is_plain_fork,
    plural,
    sharing,
    size,
    size_range,
)

MS, S = 10**6, 10**9


@pytest.mark.parametrize(
    ("ns", "words"),
    [
        (None, "-"),
        (0, "0 ns"),
        (-5, "0 ns"),
        (820, "820 ns"),
        (999, "999 ns"),
        (1000, "1.00 µs"),
        (12_400, "12.4 µs"),
        (999_499, "999 µs"),
        (999_500, "1.00 ms"),
        (12_345_678, "12.3 ms"),
        (300 * MS, "300 ms"),
        (1_240 * MS, "1.24 s"),
        (9_994 * MS, "9.99 s"),
        (9_996 * MS, "10.0 s"),
        (59_990 * MS, "60.0 s"),
        (60 * S, "1 min"),
        (125 * S, "2 min 5 s"),
        (3600 * S, "1 h"),
        (3 * 3600 * S + 12 * 60 * S, "3 h 12 min"),
        (86_400 * S, "1 d"),
        (1_000_000 * S, "11 d 13 h"),
        (10**9 * 86_400 * S, "1,000,000,000 d"),
    ],
)
def test_duration(ns: int | None, words: str) -> None:
    assert duration(ns) == words
    assert duration(ns, ascii_only=True) == words.replace("µ", "u")


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (12_400_000, 40 * MS, "12.4…40.0 ms"),
        (820, 1_240 * MS, "820 ns…1.24 s"),
        (5, 5, "5 ns"),
        (None, 5, "-"),
        (12_345_600, 12_345_700, "12.3 ms"),
        (60 * S, 125 * S, "1…2 min"),
        (S, 125 * S, "1.00 s…2 min"),
        (122 * S, 125 * S, "2 min"),
        (90 * S, 4000 * S, "1 min…1 h"),
    ],
)
def test_duration_range(low: int | None, high: int | None, words: str) -> None:
    assert duration_range(low, high) == words
    assert duration_range(low, high, ascii_only=True) == words.replace("…", "..")


@PROFILE
@given(st.integers(0, 1 << 62))
def test_a_duration_is_short_and_within_half_a_percent(ns: int) -> None:
    words = duration(ns)
    factor = {"ns": 1, "µs": 10**3, "ms": 10**6, "s": S, "min": 60 * S, "h": 3600 * S, "d": 86_400 * S}
    parts = words.replace(",", "").split()
    value = sum(float(n) * factor[unit] for n, unit in zip(parts[::2], parts[1::2], strict=True))

    assert len(words) <= 13
    assert abs(value - ns) <= 0.0051 * ns or (ns > 60 * S and abs(value - ns) < factor[parts[-1]] * 60)


@pytest.mark.parametrize(
    ("n", "words"),
    [
        (None, "-"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (4096, "4 KiB"),
        (24_576, "24 KiB"),
        (128 << 20, "128 MiB"),
        (3 << 29, "1.50 GiB"),
        (1_048_575, "1.00 MiB"),
        (5 << 60, "5120 PiB"),
    ],
)
def test_size(n: int | None, words: str) -> None:
    assert size(n) == words


def test_size_range() -> None:
    assert size_range(4096, 24_576) == "4…24 KiB"
    assert size_range(4096, 2 << 20, ascii_only=True) == "4 KiB..2 MiB"
    assert size_range(4096, 4096) == "4 KiB"
    assert size_range(0, 4096) == "0 B…4 KiB"
    assert size_range(None, 4096) == "-"


def test_counts() -> None:
    assert [count(n) for n in (None, 0, 999, 10_000)] == ["-", "0", "999", "10,000"]
    assert [plural(n, "process", "processes") for n in (None, 0, 1, 2)] == [
        "- processes",
        "0 processes",
        "1 process",
        "2 processes",
    ]


ALL = "memory, files, cwd, signal handlers"
FORK = ("CLONE_CHILD_SETTID", "CLONE_CHILD_CLEARTID")


@pytest.mark.parametrize(
    ("flags", "signal", "words"),
    [
        (FORK, "SIGCHLD", "shares nothing; copies memory, files, cwd, signal handlers"),
        (FORK, None, "shares nothing; copies memory, files, cwd, signal handlers"),
        (
            ("CLONE_VM", "CLONE_VFORK"),
            "SIGCHLD",
            "shares memory; copies files, cwd, signal handlers; parent waits until exec",
        ),
        (
            ("CLONE_VM", "CLONE_FS", "CLONE_FILES", "CLONE_SIGHAND", "CLONE_THREAD", "CLONE_SYSVSEM", "CLONE_SETTLS"),
            "",
            "shares memory, files, cwd, signal handlers, semaphore undo list",
        ),
        (("CLONE_NEWPID",), "SIGCHLD", "shares nothing; copies memory, files, cwd, signal handlers; new pid namespace"),
        (
            ("CLONE_NEWNS", "CLONE_NEWUSER", "CLONE_NEWNET"),
            "",
            f"shares nothing; copies {ALL}; new user, mount and network namespace; no signal at its end",
        ),
        (
            ("CLONE_VM", "CLONE_CLEAR_SIGHAND"),
            "SIGUSR1",
            "shares memory; copies files, cwd; signal handlers reset; SIGUSR1 at its end",
        ),
        (("CLONE_FILES", "0x400000000"), "SIGCHLD", "shares files; copies memory, cwd, signal handlers; 0x400000000"),
    ],
)
def test_sharing(flags: tuple[str, ...], signal: str | None, words: str) -> None:
    assert str(sharing(flags, signal)) == words


def test_what_a_plain_fork_is() -> None:
    assert is_plain_fork(FORK)
    assert is_plain_fork((), None)
    assert not is_plain_fork(FORK, "")
    assert not is_plain_fork((*FORK, "CLONE_NEWPID"))


@given(st.lists(st.sampled_from([str(flag.name) for flag in CloneFlags])))
def test_no_flags_are_too_odd_to_be_said(flags: list[str]) -> None:
    """The kernel refuses some together, CLONE_SIGHAND and CLONE_CLEAR_SIGHAND for one; a forged trace has them."""
    said = sharing(flags, None)

    assert not set(said.shares) & set(said.copies)
    assert str(said)
