"""What a terminal can do, and text from outside made harmless for it."""

from __future__ import annotations

import io
import os
import pty
import struct
import subprocess
from collections.abc import Iterator
from fcntl import ioctl
from termios import TIOCSWINSZ

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.strategies import PROFILE
from tracer.reports import terminal
from tracer.reports.terminal import PIPE_WIDTH, Terminal, cells, clean, cut, facts, quoted

ANY = st.text(st.characters(codec=None), max_size=40)  # surrogates too


@pytest.fixture
def tty() -> Iterator[io.TextIOWrapper]:
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 50, 132, 0, 0))
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        yield stream
    os.close(ours)


def test_a_pipe() -> None:
    assert facts(io.StringIO()) == Terminal(tty=False, width=PIPE_WIDTH, color=False, unicode=True)
    assert facts(None) == Terminal(tty=False, width=PIPE_WIDTH, color=False, unicode=True)
    assert facts(io.StringIO(), color="always", width=72, ascii_only=True) == Terminal(False, 72, True, False)


def test_a_terminal(tty: io.TextIOWrapper) -> None:
    assert facts(tty, env={"TERM": "xterm"}) == Terminal(tty=True, width=132, color=True, unicode=True)
    assert facts(tty, env={"TERM": "xterm"}, width=60).width == 60
    assert facts(tty, env={}, width=3).width == 40, "narrower than anything can be"


@pytest.mark.parametrize(
    ("choice", "env", "color"),
    [
        ("auto", {"TERM": "xterm", "NO_COLOR": "1"}, False),
        ("auto", {"TERM": "xterm", "NO_COLOR": ""}, True),  # no-color.org: when not empty
        ("auto", {"TERM": "dumb"}, False),
        ("always", {"TERM": "dumb", "NO_COLOR": "1"}, True),  # who asks is answered
        ("never", {"TERM": "xterm"}, False),
    ],
)
def test_color(tty: io.TextIOWrapper, choice: str, env: dict[str, str], color: bool) -> None:
    assert facts(tty, color=choice, env=env).color is color


def test_a_terminal_without_a_size(tty: io.TextIOWrapper) -> None:
    ioctl(tty.fileno(), TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))

    assert facts(tty, env={}).width == PIPE_WIDTH
    assert facts(tty, env={"COLUMNS": "77"}).width == 77
    assert facts(tty, env={"COLUMNS": "wide"}).width == PIPE_WIDTH


def test_an_encoding_that_is_not_utf8() -> None:
    assert not facts(io.TextIOWrapper(io.BytesIO(), encoding="latin-1")).unicode
    assert facts(io.TextIOWrapper(io.BytesIO(), encoding="UTF-8")).unicode


def test_a_closed_stream() -> None:
    stream = io.TextIOWrapper(io.BytesIO())
    stream.close()

    assert not facts(stream).tty


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [bold]text[/bold] :smile:", "plain [bold]text[/bold] :smile:"),
        ("\x1b[31m", r"\x1b[31m"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\x00\x07\x7f", r"\x00\x07\x7f"),
        ("\x9b2J", r"\u009b2J"),
        ("\udcff\udc9b", r"\xff\x9b"),
        ("\u202e\u2066\u200b\ufeff", r"\u202e\u2066\u200b\ufeff"),
        ("\u2028", r"\u2028"),
        ("\U000e0041", r"\U000e0041"),
        ("\ud800", r"\ud800"),
        ("\xa0", r"\u00a0"),
        ("été 日本 👍", "été 日本 👍"),
        ("e\u0301", "e\u0301"),
        ("\u0301e", r"\u0301e"),
        ("e" + "\u0301" * 5, "e" + "\u0301" * 3 + r"\u0301\u0301"),
    ],
)
def test_clean(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_clean_ascii() -> None:
    assert clean("été 日\U0001f44d", unicode=False) == r"\u00e9t\u00e9 \u65e5\U0001f44d"


@PROFILE
@given(ANY)
def test_clean_text_is_harmless(text: str) -> None:
    for unicode in (True, False):
        shown = clean(text, unicode=unicode)

        assert all(c.isprintable() for c in shown)
        assert unicode or shown.isascii()
        assert shown.encode("utf-8").decode() == shown
        assert cell_len("|" + shown) == 1 + cell_len(shown), "nothing joins what stands before"


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("", "''"),
        ("a", "a"),
        ("a.b-c_d/e=f:g,h@i%j+k^", "a.b-c_d/e=f:g,h@i%j+k^"),
        ("a b", "'a b'"),
        ("it's", '"it\'s"'),
        ("$x's", "'$x'\\''s'"),
        ("~", "'~'"),
        ("#", "'#'"),
        ("[red]", "'[red]'"),
        ("日本", "日本"),
        ("naïve", "naïve"),
        ("\x1b[31m", r"$'\x1b[31m'"),
        ("a'b\\\n", r"$'a\'b\\\n'"),
        ("\udcff", r"$'\xff'"),
        ("👍", "'👍'"),
    ],
)
def test_quoted(word: str, shown: str) -> None:
    assert quoted(word) == shown


@PROFILE
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12), max_size=30))
def test_bash_reads_the_same_words_back(words: list[str]) -> None:
    for unicode in (True, False):
        line = " ".join(quoted(word, unicode=unicode) for word in words)
        script = f"set +H; for word in {line}; do printf '%s\\0' \"$word\"; done"
        out = subprocess.run(["bash", "-c", script], env={"LC_ALL": "C.UTF-8"}, capture_output=True, check=True).stdout

        assert out.decode().split("\0")[:-1] == words


def test_bash_reads_odd_bytes_back() -> None:
    line = quoted(b"\xff\xfe\x9b \x80'".decode(errors="surrogateescape"))

    out = subprocess.run(["bash", "-c", f"printf %s {line}"], capture_output=True, check=True).stdout

    assert out == b"\xff\xfe\x9b \x80'"


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "abcd…"),
        ("abcdef", 1, "…"),
        ("abcdef", 0, ""),
        ("日本", 4, "日本"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        ("e\u0301" * 4, 3, "e\u0301e\u0301…"),
        ("", 3, ""),
    ],
)
def test_cut(text: str, width: int, shown: str) -> None:
    assert cut(text, width) == shown


def test_cut_with_other_dots() -> None:
    assert cut("abcdef", 5, dots="...") == "ab..."
    assert cut("abcdef", 2, dots="...") == ".."
    assert cut("abcdef", 5, dots="") == "abcde"


@PROFILE
@given(ANY, st.integers(0, 30))
def test_what_is_cut_fits(text: str, width: int) -> None:
    shown = clean(text)

    assert cells(cut(shown, width)) <= width
    assert (cut(shown, width) == shown) == (cells(shown) <= width or (not width and not shown))


def test_two_mebibytes_are_cut_at_once() -> None:
    assert cut("x" * (2 << 20), 4) == "xxx…"
    assert cut("é" * (2 << 20), 4) == "ééé…"


def test_what_reports_write_themselves_is_a_column_each() -> None:
    for code in terminal._NARROW:
        assert cell_len(chr(code)) == 1, chr(code)
    assert cells("\u00e9\u4e2d…") == cell_len("\u00e9\u4e2d…") == 4
