"""strace's words, by its version and by what was asked for."""

from __future__ import annotations

import pytest

from tracer.backends.strace.command import attach, options, start


@pytest.mark.parametrize(
    ("version", "there", "missing"),
    [
        ((0, 0), "-ttt -T -D", "seccomp pidns DDD precision"),
        ((5, 2), "-ttt -T -D", "seccomp pidns DDD precision"),
        ((5, 3), "-ttt --seccomp-bpf -D", "pidns DDD precision"),
        ((5, 4), "-DDD --seccomp-bpf -ttt", "pidns precision"),
        ((5, 6), "--absolute-timestamps=format:unix,precision:ns --syscall-times=ns", "-ttt pidns"),
        ((5, 9), "--pidns-translation --seccomp-bpf", "-ttt"),
        ((7, 2), "--pidns-translation --seccomp-bpf -DDD -f -q", "-ttt -qq"),
    ],
)
def test_options_by_version(version: tuple[int, int], there: str, missing: str) -> None:
    words = options(version, "/log", seccomp=True, string_size=7, environment=False)
    words = start("strace", version, words)

    assert set(there.split()) <= set(words)
    assert not [w for w in words for m in missing.split() if w == m or (m[0] != "-" and m in w)]
    assert words[-1] == "--"


def test_options_that_are_asked_for() -> None:
    words = options((6, 1), "/log", seccomp=False, string_size=0, environment=True)

    assert "--seccomp-bpf" not in words
    assert "abbrev=!wait4,waitid,execve,execveat" in words
    assert words[words.index("-s") + 1] == "1"  # with 0 strace would show no word at all


def test_living_processes_are_named_each() -> None:
    assert attach("strace", ["-f"], [7, 8]) == ["strace", "-f", "-p", "7", "-p", "8"]
