"""`forktrace import LOG... -o FILE`: logs of other tools to saved traces, and what is said of them."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tracer.commands import main
from tracer.commands.import_ import Bar, said
from tracer.importers.strace.line_attribution import Skipped
from tracer.model.schema import Kind
from tracer.recording import Reader

ROOT = Path(__file__).parents[2]
CHAIN = str(ROOT / "samples" / "strace" / "chain-o.log")
PERF = str(ROOT / "samples" / "perf" / "chain-task.txt")


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["import", *words])
    out, err = capsys.readouterr()
    return status, out, err


def forktrace(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "tracer", *words]
    return subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, timeout=60, check=False)


def test_a_log_becomes_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "chain.ftrace"

    assert run(capsys, CHAIN, "-o", str(target)) == (0, "", "")

    with Reader(target) as reader:
        events = [event for batch in reader for event in batch.events()]
    assert (reader.meta.source, reader.torn) == ("strace-log", False)
    assert reader.totals["skipped_lines"] == 0
    assert [event.kind for event in events].count(Kind.FORK) == 5


def test_the_trace_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = str(tmp_path / "chain.ftrace")
    run(capsys, PERF, "-o", target)

    assert main(["report", target, "--as", "jsonl"]) == 0

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["comm"], row["parent_id"]) for row in rows] == [("chain", above) for above in (None, 0, 1, 2, 3, 4)]


def test_from_a_pipe_into_a_pipe() -> None:
    done = forktrace("import", "-", "-o", "-", stdin=gzip.compress(Path(CHAIN).read_bytes()))

    assert (done.returncode, done.stderr) == (0, b"")
    events = [event for batch in Reader(io.BytesIO(done.stdout)) for event in batch.events()]
    assert sum(event.kind == Kind.FORK for event in events) == 5


def test_what_was_not_understood_is_counted_and_listed_clean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    log.write_bytes(Path(CHAIN).read_bytes() + b"\x1b]0;title\x07 rm -rf\n[red]what[/red]\xff\n")

    status, _, err = run(capsys, str(log), "-o", str(tmp_path / "t.ftrace"))
    assert (status, err) == (0, "forktrace: 2 lines not understood; -v lists them\n")

    status, _, err = run(capsys, str(log), "-o", str(tmp_path / "t.ftrace"), "-v")
    first, second, third = err.splitlines()
    assert first == "forktrace: 2 lines not understood"
    assert second.endswith(":" + second.split(":")[2] + ": \\x1b]0;title\\x07 rm -rf")
    assert third.endswith(": [red]what[/red]\\xff")
    assert "\x1b" not in err

    assert run(capsys, str(log), "-o", str(tmp_path / "t.ftrace"), "-q") == (0, "", "")


def test_a_cut_log_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    log.write_bytes(Path(CHAIN).read_bytes()[:-10])

    status, _, err = run(capsys, str(log), "-o", str(tmp_path / "t.ftrace"))

    assert status == 0
    assert "1 line not understood, 1 of them strace's own, cut or broken" in err


def test_secrets_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, target = tmp_path / "log", tmp_path / "t.ftrace"
    log.write_text('100 execve("/bin/x", ["x", "--password", "hunter2"], 0x7f /* 6 vars */) = 0\n')

    run(capsys, str(log), "-o", str(target))
    assert b"hunter2" in target.read_bytes()
    run(capsys, str(log), "-o", str(target), "--redact")

    events = [event for batch in Reader(target) for event in batch.events()]
    assert [event.argv[:2] for event in events if event.kind == Kind.EXEC] == [["x", "--password"]]
    assert b"hunter2" not in target.read_bytes()


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("LOG",), 2, "there is no place to write to"),
        (("-o", "OUT"), 2, "the following arguments are required: LOG"),
        (("nowhere.log", "-o", "OUT"), 66, "there is no file nowhere.log"),
        ((".", "-o", "OUT"), 66, ". is a directory"),
        ((__file__, "-o", "OUT"), 65, "is neither a log of strace nor of perf script"),
        (("/dev/zero", "-o", "OUT"), 65, "is neither a log of strace nor of perf script"),  # it never ends
        ((sys.executable, "-o", "OUT"), 65, "is neither a log of strace nor of perf script"),
        (("/dev/null", "-o", "OUT"), 65, "/dev/null is empty"),
        (("LOG", PERF, "-o", "OUT"), 65, "are logs of different tools"),
        (("LOG", "LOG", "-o", "OUT"), 2, "a log is named twice"),
        (("LOG", "-o", "LOG"), 2, "is the log itself"),
        (("LOG", "-o", "/nowhere/at/all"), 73, "there is no folder /nowhere/at"),
    ],
)
def test_one_sentence(
    words: tuple[str, ...], status: int, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    log.write_bytes(Path(CHAIN).read_bytes())
    files = {"LOG": str(log), "OUT": str(tmp_path / "out")}

    got, out, err = run(capsys, *(files.get(word, word) for word in words))

    assert (got, out) == (status, "")
    assert err.startswith("forktrace: ") and err.count("\n") == 1
    assert sentence in err
    assert log.read_bytes() == Path(CHAIN).read_bytes()
    assert not (tmp_path / "out").exists()


def test_the_list_of_what_was_skipped_ends() -> None:
    skipped = Skipped(lines=5, samples=[("log", 3, b"x"), ("log", 0, b"y")])

    assert list(said(skipped, ["a note"], all_of_it=True)) == [
        "a note",
        "5 lines not understood",
        "log:3: x",
        "log: y",
        "... and 3 more",
    ]


def test_the_bar_says_how_far_and_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("tracer.commands.import_.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    bar = Bar(stream)

    now[0] = 0.1
    bar.show(10_000_000, 100_000_000)
    assert stream.getvalue() == ""
    now[0] = 2.0
    bar.show(50_000_000, 100_000_000)
    assert stream.getvalue().strip() == "[##########          ]  50%  50 MB, 25 MB/s, 2 s left"
    now[0] = 4.0
    bar.show(80_000_000, None)
    assert stream.getvalue().endswith("80 MB, 20 MB/s".ljust(70))
    bar.clear()
    assert stream.getvalue().endswith("\r" + " " * 70 + "\r")
