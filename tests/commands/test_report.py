"""`forktrace report FILE`: saved traces, whole, torn and piped; a process of its own where streams matter."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from tests.build import META, batch, end, exec_, exit_, fork, reap, root
from tracer.commands import main
from tracer.model.batch import Batch
from tracer.recording import Writer

ROOT = Path(__file__).parents[2]
STEPS = [
    root(10, "make", "all"),
    fork(10, 11),
    exec_(11, "cc", "-c", "a.c"),
    exit_(11, 1),
    reap(11, 10),
    exit_(10, 2),
    end(),
]


def save(path: Path, *batches: Batch, torn: bool = False) -> str:
    writer = Writer(str(path), META)
    for each in batches:
        writer.write(each)
        writer.flush()
    if torn:
        writer.abandon()
    else:
        writer.close()
    return str(path)


@pytest.fixture
def saved(tmp_path: Path) -> str:
    return save(tmp_path / "build.ftrace", batch(*STEPS))


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["report", *words])
    out, err = capsys.readouterr()
    return status, out, err


def test_the_report_is_on_stdout(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, saved)

    assert (status, err) == (0, "")
    assert out.startswith("  trace      build.ftrace · make · host · 20")
    assert " 10  root  5.00 ms  exit 2  make all\n" in out
    assert " 11  fork  2.00 ms  exit 1  └─ cc -c a.c\n" in out
    assert "no end" not in out


def test_options_reach_it(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, saved, "--ascii", "--times", "--width", "60", "--color", "always")

    assert "`" in out and "BORN" in out and "\x1b[" in out
    assert run(capsys, saved, "-q")[1].splitlines()[-1].endswith("cc -c a.c")


def test_a_torn_file_says_so_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "t.ftrace", batch(*STEPS[:3]), torn=True)
    status, out, err = run(capsys, path)

    assert (status, err) == (0, "")
    assert f"torn {path} has no end: its writer was killed, or is still writing" in " ".join(out.split())
    assert "running" in out and "cc -c a.c" in out


def forktrace(*words: str, stdin: IO[bytes] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tracer", "report", *words]
    return subprocess.run(command, cwd=ROOT, stdin=stdin, text=True, capture_output=True, timeout=60, check=False)


def test_standard_input(saved: str) -> None:
    with open(saved, "rb") as file:
        through_file = forktrace("-", stdin=file)
    cat = subprocess.Popen(["cat", saved], stdout=subprocess.PIPE)
    through_pipe = forktrace("-", stdin=cat.stdout)
    cat.communicate()

    assert through_file.stdout == through_pipe.stdout
    assert through_file.stdout.startswith("  trace      standard input · make · host")


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("nowhere.ftrace",), 66, "there is no file nowhere.ftrace"),
        ((__file__,), 65, "is not a trace"),
        (("FILE", "--as", "poem"), 2, "there is no output called 'poem'; there are "),
        ((), 2, "the following arguments are required: FILE"),
    ],
)
def test_one_sentence(words: tuple[str, ...], status: int, sentence: str, saved: str) -> None:
    done = forktrace(*(saved if word == "FILE" else word for word in words))

    assert done.returncode == status
    assert done.stdout == ""
    assert done.stderr.startswith("forktrace: ") and done.stderr.count("\n") == 1
    assert sentence in done.stderr


def test_another_output(saved: str) -> None:
    rows = [json.loads(line) for line in forktrace(saved, "--as", "jsonl").stdout.splitlines()]

    assert [(row["pid"], row["exit_code"]) for row in rows] == [(10, 2), (11, 1)]


def test_what_is_not_for_a_terminal(saved: str) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "tracer", "report", saved, "--as", "parquet"],
        cwd=ROOT,
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(theirs)
    with contextlib.suppress(OSError):  # nobody holds the other end any more
        assert os.read(ours, 1000) == b""
    os.close(ours)

    assert done.returncode == 2
    assert done.stderr == "forktrace: parquet is not for a terminal; send it to a file with `> FILE`\n"


def test_a_full_disk(saved: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tracer", "report", saved],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 73
    assert done.stderr == "forktrace: the report can not be written: no space left on device\n"


def test_a_reader_that_leaves_at_once(tmp_path: Path) -> None:
    steps = [root(1, "sh")]
    for i in range(20_000):
        steps += [fork(1, 2 + i), exec_(2 + i, f"tool{i}"), exit_(2 + i)]
    path = save(tmp_path / "long.ftrace", batch(*steps))
    command = [sys.executable, "-m", "tracer", "report", path, "--full"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stderr is not None
        first = child.stdout.readline()
        child.stdout.close()
        said = child.stderr.read()

    assert first.startswith("  trace")
    assert (child.returncode, said) == (0, "")
