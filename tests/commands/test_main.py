"""The command line: verbs and programs told apart, errors in one sentence, whatever the words and the streams are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build import META, batch, end, exit_, fork, root
from tests.strategies import PROFILE
from tracer import commands
from tracer.capture.session import Session
from tracer.commands import COMMANDS, dispatch, main, say, split
from tracer.errors import ForktraceError, UsageError
from tracer.recording import Writer

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("words", "verb", "own", "program"),
    [
        ([], "run", [], None),
        (["--", "ls", "-l"], "run", [], ["ls", "-l"]),
        (["-o", "x", "--", "ls", "--", "y"], "run", ["-o", "x"], ["ls", "--", "y"]),
        (["--", "report", "x"], "run", [], ["report", "x"]),
        (["run", "-q", "--", "ls"], "run", ["-q"], ["ls"]),
        (["--"], "run", [], []),
        (["report", "x", "--", "y"], "report", ["x", "--", "y"], None),
        (["-q", "--color", "never", "report", "x"], "report", ["-q", "--color", "never", "x"], None),
        (["--width=70", "--ascii", "report", "x", "-v"], "report", ["--width=70", "--ascii", "x", "-v"], None),
        (["-o", "report", "--", "ls"], "run", ["-o", "report"], ["ls"]),
        (["ls", "report"], "run", ["ls", "report"], None),
        (["--color"], "run", ["--color"], None),
    ],
)
def test_verbs_and_programs_are_told_apart(
    words: list[str], verb: str, own: list[str], program: list[str] | None
) -> None:
    assert split(words) == (verb, own, program)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said on stderr, which must be one sentence with its mend; nothing on stdout."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("forktrace: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err[len("forktrace: ") : -1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ls"], "'ls' is no verb; put `--` before a program that is to be run"),
        (["reprot", "x.ftrace"], "'reprot' is no verb; put `--` before a program that is to be run"),
        (["--frobnicate", "--", "ls"], "unrecognized arguments: --frobnicate; see `forktrace --help`"),
        (["--"], "nothing to watch; give a program after `--`, a process with -p, or -a for the host"),
        (["-q"], "nothing to watch; give a program after `--`, a process with -p, or -a for the host"),
        (["-a", "--", "ls"], "a program excludes -p, -a, groups and filters; choose one"),
        (["-a", "-p", "1"], "-a is the whole host: it excludes -p; choose one"),
        (["-p", "x"], "'x' is no pid; give a number, as in -p 1234"),
        (["-p", "0"], "'0' is no pid; give a number, as in -p 1234"),
        (["-p", "-5"], "'-5' is no pid; give a number, as in -p 1234"),
        (["-p", "\u00b2"], "'\u00b2' is no pid; give a number, as in -p 1234"),
        (["-p", "99999999999999999999"], "'99999999999999999999' is no pid; give a number, as in -p 1234"),
        (["-e", "nonsense", "--", "ls"], "-e knows no 'nonsense'; fail is what can be added"),
        (["-s", "x", "--", "ls"], "argument -s/--string-size: 'x' is not a size; see `forktrace --help`"),
        (["-s", "\u00b2", "--", "ls"], "argument -s/--string-size: '\u00b2' is not a size; see `forktrace --help`"),
        (["--buffer", "1K", "--", "ls"], "a buffer of 1024 bytes can not be had; give between 4K and 1G"),
        (["--buffer", "8G", "--", "ls"], "a buffer of 8589934592 bytes can not be had; give between 4K and 1G"),
        (["--duration", "nan", "-a"], "argument --duration: 'nan' is not a number of seconds; see `forktrace --help`"),
        (["--duration", "0", "-a"], "argument --duration: '0' is not a number of seconds; see `forktrace --help`"),
        (["--duration"], "argument --duration: expected one argument; see `forktrace --help`"),
        (["report"], "the following arguments are required: FILE; see `forktrace report --help`"),
        (["report", "a", "b"], "unrecognized arguments: b; see `forktrace report --help`"),
    ],
)
def test_errors_of_the_command_line_are_one_sentence_with_its_mend(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert one_line(capsys) == message


@pytest.mark.parametrize("words", [["--cow", "some"], ["--backend", "sysdig"], ["--reap", "x"], ["--color", "blue"]])
def test_a_wrong_choice_names_the_right_ones(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--", "ls"]) == 2
    assert "choose from" in one_line(capsys)


class StoppedError(ForktraceError):
    """What stands in for a capture here."""


OPTIONS = st.sampled_from(
    [
        "-p",
        "-a",
        "-o",
        "-e",
        "-E",
        "-s",
        "-q",
        "-qq",
        "-v",
        "-t",
        "-u",
        "-f",
        "--",
        "--all",
        "--duration",
        "--no-wait",
        "--backend",
        "--cow",
        "--env",
        "--reap",
        "--buffer",
        "--as-root",
        "--redact",
        "--threads",
        "--full",
        "--color",
        "--ascii",
        "--width",
        "--no-color",
        "run",
        "report",
        "export",
        "--as",
        "jsonl",
        "--table",
        "-",
        "full",
        "fail",
        "auto",
        "1",
        "-1",
        "4096",
        "1e9",
        "nobody",
        "A=1",
        "=",
        "",
    ]
)
JUNK = st.text(st.characters(exclude_characters="/\0"), max_size=6) | st.binary(max_size=4).map(
    lambda b: b.replace(b"/", b"").replace(b"\0", b"").decode("utf-8", "surrogateescape")
)


@pytest.fixture
def harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No capture begins, files are made in a folder of the test's own, and standard input is empty."""

    def stop(*_: Any) -> None:
        raise StoppedError("begun")

    monkeypatch.setattr(Session, "start", stop)
    monkeypatch.chdir(tmp_path)


def test_no_words_make_a_traceback(harmless: None, capsys: pytest.CaptureFixture[str]) -> None:
    @settings(PROFILE, max_examples=1000)
    @given(st.lists(OPTIONS | JUNK, max_size=7))
    def any_words(words: list[str]) -> None:
        with open(os.devnull) as sys.stdin:
            status = main(words)
        sys.stdin = sys.__stdin__
        err = capsys.readouterr().err

        assert status in (0, 2, 65, 66, 70, 73, 77)
        assert "Traceback" not in err
        assert err.count("\n") == (1 if status else err.count("\n"))
        assert not status or (err.startswith("forktrace: ") and err[:-1].isprintable())

    any_words()


@PROFILE
@given(st.lists(JUNK, max_size=4), st.lists(OPTIONS | JUNK, min_size=1, max_size=4))
def test_the_words_of_a_program_are_never_ours(own: list[str], program: list[str]) -> None:
    before = [word for word in own if word != "--"]
    verb, mine, theirs = split(["--ascii", *before, "--", *program])

    if verb == "run":
        assert theirs == program
        assert mine == ["--ascii", *before]


# Help


def test_no_word_at_all_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("usage: forktrace")


def test_help_names_every_verb_and_every_verb_has_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for verb, _, words in COMMANDS:
        assert verb == "run" or f"\n  {verb} " in text
        assert main([verb, "--help"]) == 0
        own = capsys.readouterr().out
        first = (commands.load(verb).__doc__ or "").strip().splitlines()[0]
        assert first in own
        assert first == f"{words[0].upper()}{words[1:]}."


def test_running_a_program_imports_no_other_verb() -> None:
    code = (
        "import sys; sys.argv=['forktrace', '-p', 'x']; from tracer.commands import main; main();"
        "print(*[m for m in sys.modules if m.startswith('tracer.commands.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    verbs = {f"tracer.commands.{module}" for _, module, _ in COMMANDS}
    assert verbs & {*done.stdout.split()} == {"tracer.commands.run"}


# Streams


@pytest.fixture
def saved(tmp_path: Path) -> str:
    path = tmp_path / "x.ftrace"
    with Writer(path, META) as writer:
        writer.write(batch(root(10), fork(10, 11), exit_(11), exit_(10), end()))
    return str(path)


def forktrace(*words: str, **streams: Any) -> subprocess.CompletedProcess[bytes]:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run([sys.executable, "-m", "tracer", *words], cwd=ROOT, timeout=60, check=False, **streams)


def shell(line: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    """`line` has forktrace as "$@"."""
    command = ["sh", "-c", line, "sh", sys.executable, "-m", "tracer", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("words", [["report"], ["export", "--as", "jsonl"], ["--help"]], ids=" ".join)
def test_a_full_disk_is_one_sentence(words: list[str], saved: str) -> None:
    done = shell('"$@" >/dev/full', *words, *([] if words == ["--help"] else [saved]))

    assert done.returncode == 73
    assert done.stderr.startswith(b"forktrace: ")
    assert done.stderr.count(b"\n") == 1
    assert b"no space left" in done.stderr


@pytest.mark.parametrize("words", [["report"], ["export", "--as", "jsonl"], ["--help"]], ids=" ".join)
def test_a_reader_that_has_left_is_no_error(words: list[str], saved: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = forktrace(*words, *([] if words == ["--help"] else [saved]), stdout=writer)
    os.close(writer)

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("close", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", [["report"], ["export", "--as", "jsonl"], ["--help"], ["-p", "x"]], ids=" ".join)
def test_closed_streams_are_an_error_only_where_they_are_used(words: list[str], close: str, saved: str) -> None:
    done = shell(f'"$@" {close}', *words, *([saved] if words[0] in ("report", "export") else []))
    status = 2 if words[0] == "-p" else 73 if ">&-" in close.replace("2>&-", "") else 0

    assert done.returncode == status
    assert b"Traceback" not in done.stderr
    assert done.stderr.count(b"\n") == (status != 0 and "2>&-" not in close)
    assert bool(done.stdout) == (status == 0)


def test_reading_a_closed_standard_input_is_one_sentence() -> None:
    done = shell('"$@" <&-', "report", "-")

    assert done.returncode in (65, 66)
    assert done.stderr.count(b"\n") == 1


def test_no_input_and_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("hello")

    assert main(["report", str(tmp_path / "none")]) == 66
    assert "none" in one_line(capsys)
    assert main(["report", str(tmp_path / "text")]) == 65
    assert "text" in one_line(capsys)


def test_what_is_said_can_not_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b[2J\r\n\x9b\u202eb\udcff[bold]")

    err = capsys.readouterr().err
    assert err.startswith("forktrace: a\\x1b[2J\\r\\n")
    assert err[:-1].isprintable()
    assert err.endswith("b\\xff[bold]\n")


class Broken:
    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None: ...


@pytest.mark.parametrize("stream", [None, Broken()])
def test_saying_never_fails(stream: IO[str] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    say("anything")


def test_a_keyboard_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(words: Sequence[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "dispatch", interrupt)

    assert main(["report", "x"]) == 130


def test_errors_carry_their_status(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError):
        dispatch(["ls"])
