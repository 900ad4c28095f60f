"""What a file is, by its content; and what is said of files that are nothing."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

from tests.samples import ROOT
from tracer.errors import BadDataError, ForktraceError, UsageError
from tracer.importers import IMPORTERS, log_source, open_log, sniff
from tracer.model.schema import Kind

STRACE = ROOT / "samples" / "strace"
PERF = ROOT / "samples" / "perf"

_TEXTS = {
    "source code": b"int fd = open(path, O_RDONLY);\nwrite(1, x, n);\nif (close(fd) == -1) exit(1);\n" * 20,
    "a journal": b"Nov 24 08:00:01 host sshd[412]: Accepted publickey\nNov 24 08:00:02 host x[7]: (root) CMD\n" * 9,
    "a summary of strace -c": b"% time     seconds  usecs/call     calls\n100.00  0.0     0     1    read\n",
    "ltrace": b'strlen("abc") = 3\nmalloc(16) = 0x55\nputs("x") = 2\n' * 9,
    "a mail about strace": b"I saw +++ exited with 1 and then nothing.\nclone() fails?\n" * 5,
    "bytes": bytes(range(256)) * 20,
    "nothing": b"",
    "newlines": b"\n" * 99,
}


@pytest.mark.parametrize("path", [*STRACE.glob("*.log*"), *PERF.glob("*.txt")], ids=lambda path: path.name)
def test_recorded_files_are_known_by_their_content(path: Path) -> None:
    assert sniff(path.read_bytes()) == ("strace.log" if path.parent == STRACE else "perf.script")


@pytest.mark.parametrize("what", _TEXTS)
def test_what_is_nobody_s(what: str) -> None:
    assert sniff(_TEXTS[what]) is None


def test_a_log_among_much_other_text_is_known() -> None:
    log = (STRACE / "chain-o.log").read_bytes()

    assert sniff(b"some output of a build\n" * 2000 + log) == "strace.log"


def test_every_importer_has_what_it_must() -> None:
    for name in IMPORTERS:
        module = importlib.import_module(f"tracer.importers.{name}")
        assert module.NAME and module.score(b"") == 0.0 and callable(module.open_log)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PERFILE2" + bytes(99), "is a perf.data file"),
        (b"\xff\xff\xff\xff" + bytes(99), "is an Arrow stream"),
        (b"", "is empty"),
        (b"hello\n", "is neither a log of strace nor of perf script"),
        (b"\x1f\x8b\x08\x00broken", "is damaged or cut off"),
    ],
)
def test_what_is_no_log_is_refused_in_one_sentence(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)

    with pytest.raises(BadDataError) as refused:
        open_log([str(tmp_path / "file")])

    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_paths_that_make_no_sense() -> None:
    one = str(STRACE / "chain-o.log")
    with pytest.raises(UsageError, match="no log is named"):
        open_log([])
    with pytest.raises(UsageError, match="named twice"):
        open_log([one, one])
    with pytest.raises(BadDataError, match="different tools"):
        open_log([one, str(PERF / "chain-task.txt")])


def test_files_are_closed_where_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"hello\n")
    before = len(os.listdir("/proc/self/fd"))

    for paths in ([str(STRACE / "chain-o.log"), str(tmp_path / "bad")], [str(STRACE / "chain-o.log"), "nowhere"]):
        with pytest.raises(ForktraceError):
            open_log(paths)

    assert len(os.listdir("/proc/self/fd")) == before


def test_files_are_closed_by_who_does_not_read_to_the_end() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in (STRACE / "chain-o.log", PERF / "chain-task.txt"):
        _, batches = open_log([str(path)])
        batches.close()

    assert len(os.listdir("/proc/self/fd")) == before


def test_a_family_of_more_files_than_may_be_open(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    count = 300
    root = '1.000000 execve("/bin/sh", ["sh"], 0x7f /* 6 vars */) = 0\n'
    forks = "".join(f"{2 + n}.000000 fork() = {1001 + n}\n" for n in range(count))
    (tmp_path / "log.1000").write_text(root + forks)
    for n in range(count):
        (tmp_path / f"log.{1001 + n}").write_text(f"{2 + n}.500000 +++ exited with {n % 256} +++\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))  # what else this process has open is no matter of the test's
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 100, hard))
    try:
        _, batches = open_log(sorted(map(str, tmp_path.iterdir())))
        codes = [e.exit_code for b in batches for e in b.events() if e.kind == Kind.EXIT]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert codes == [n % 256 for n in range(count)]


def test_progress_is_told_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_source, "BLOCK", 1024)
    monkeypatch.setattr(log_source, "HEAD", 1024)
    log = (STRACE / "demo-terminal-full.log").read_bytes()
    (tmp_path / "log").write_bytes(log)
    told: list[tuple[int, int | None]] = []

    _, batches = open_log([str(tmp_path / "log")], progress=lambda done, total: told.append((done, total)))
    list(batches)

    assert len(told) > 3
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert {total for _, total in told} == {len(log)}
    assert told[-1][0] == len(log)
