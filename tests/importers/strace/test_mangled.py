"""Logs as they come back from mail, editors and terminals: the recorded samples, mangled, tell the same lives."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.importers.strace.seen import read, story

SAMPLES = Path(__file__).parents[3] / "samples" / "strace"
NAMES = sorted(path.stem for path in SAMPLES.glob("*.log"))
UNWRAPPED = {
    # What these need most stands in the middle of what a line break cuts.
    "exec_thread-terminal": "a notice in a line that is broken too",
    "leader_first-Y": "names with blanks in prefixes",
    "script-full-Y": "an argument whose blanks the break takes away",
    "leader_codes-full-Y": "a break behind the name in a prefix",
    "big_argv-full-Y": "a break inside of a long argument",
    "odd_bytes-xx": "the only line that tells the first pid",
    "pidns-translated": "a break before the comment that has the pid",
}


def wrapped(text: bytes, width: int = 76) -> bytes:
    """As a mail program breaks lines: at the last blank that fits, which goes; words stay whole."""
    out = []
    for line in text.split(b"\n"):
        while len(line) > width:
            at = line.rfind(b" ", 1, width + 1)
            at = at if at > 0 else line.find(b" ", width)
            if at < 0:
                break
            out.append(line[:at])
            line = line[at + 1 :]
        out.append(line)
    return b"\n".join(out)


def coloured(text: bytes) -> bytes:
    """As --color=always paints: escapes inside of every field."""
    for form, code in (
        (rb'()("(?:[^"\\\n]|\\.)*")()', 36),
        (rb"^(\[pid +)(\d+)()", 33),
        (rb"^()(\d+)( )", 33),
        (rb"()\b(execve|clone3?|vfork|fork|wait4|waitid|exit_group)(\()", 34),
        (rb"( = )(-?\d+)()", 32),
        (rb"()(\+\+\+ [^\n]* \+\+\+)()$", 31),
    ):
        text = re.sub(form, rb"\g<1>\033[%dm\g<2>\033[0m\g<3>" % code, text, flags=re.M)
    return text


def quoted(text: bytes) -> bytes:
    """As an answer to a mail."""
    return b"".join(b"> " + line + b"\n" for line in text.split(b"\n")[:-1])


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "CRLF": lambda text: text.replace(b"\n", b"\r\n"),
    "BOM": lambda text: b"\xef\xbb\xbf" + text,
    "colour": coloured,
    "quoted": quoted,
    "quoted twice": lambda text: quoted(quoted(text)),
    "blanks at ends": lambda text: text.replace(b"\n", b" \n"),
    "colour and CRLF": lambda text: coloured(text).replace(b"\n", b"\r\n"),
}
WRAPPED: dict[str, Callable[[bytes], bytes]] = {
    "wrapped": wrapped,
    "wrapped and quoted": lambda text: quoted(wrapped(text, 70)),
    "wrapped, CRLF": lambda text: wrapped(text).replace(b"\n", b"\r\n"),
    "flowed": lambda text: wrapped(text).replace(b"\n", b" \n"),
}


def text_of(name: str) -> bytes:
    return (SAMPLES / f"{name}.log").read_bytes()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_the_same_lives(name: str, form: str) -> None:
    text = text_of(name)

    batches, _ = read(FORMS[form](text))

    assert story(batches) == story(read(text)[0])


@pytest.mark.parametrize("form", WRAPPED)
@pytest.mark.parametrize("name", [name for name in NAMES if name not in UNWRAPPED])
def test_the_same_lives_where_a_mail_program_broke_the_lines(name: str, form: str) -> None:
    text = text_of(name)
    assert max(map(len, text.split(b"\n"))) > 76

    batches, _ = read(WRAPPED[form](text))

    assert story(batches) == story(read(text)[0])


@pytest.mark.parametrize("width", range(40, 110))
def test_broken_anywhere(width: int) -> None:
    """One of each sort of line."""
    text = (
        b'100 execve("/bin/sh", ["sh", "-c", "x"], 0x7ffd4e /* 6 vars */) = 0\n'
        b"100 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD, child_tidptr=0x7f) = 101\n"
        b"100 clone3({flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD, stack=0x7f, stack_size=0x9000}, 88) = 102\n"
        b'101 execve("/bin/no", ["no"], 0x7ffd4e /* 6 vars */) = -1 ENOENT (No such file or directory)\n'
        b"100 clone(child_stack=NULL, flags=SIGCHLD) = -1 EAGAIN (Resource temporarily unavailable)\n"
        b"101 exit_group(3) = ?\n101 +++ exited with 3 +++\n"
        b"102 +++ killed by SIGKILL +++\n"
        b"100 wait4(-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 3}], 0, NULL) = 101\n"
        b"100 wait4(-1, [{WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL}], 0, NULL) = 102\n"
        b"100 wait4(-1, 0x7ffd4e, 0, NULL) = -1 ECHILD (No child processes)\n"
        b"100 exit_group(0) = ?\n100 +++ exited with 0 +++\n"
    )

    batches, left = read(wrapped(text, width))

    assert story(batches) == story(read(text)[0])
    assert left.lines == 0


def test_an_error_that_the_break_took_away_is_no_other() -> None:
    text = b'100 execve("/bin/no", ["no"], 0x7f /* 6 vars */) = -1\nENOENT (No such file or directory)\n'

    batches, _ = read(b'100 execve("/bin/sh", ["sh"], 0x7f /* 6 vars */) = 0\n' + text)

    assert story(batches) == ["100 root; /bin/sh [sh]; ENOENT /bin/no"]
