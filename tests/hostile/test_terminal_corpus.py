"""Whatever a trace holds, nothing reaches a terminal that is not visible, but forktrace's own colours.

Every string column of every kind of event, and every field of Meta, holds each of the hostile values in turn; every
command and every format writes to a pseudo terminal. What comes out is compared with what a harmless trace gives.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests import hostile
from tests.hostile.mutations import LIMIT_WORDS
from tracer.capture.nonblocking_writer import Outlet
from tracer.commands import main, say
from tracer.live.screen import Frame, Screen
from tracer.model.meta import Meta
from tracer.model.schema import EVENT_COLUMNS, Kind
from tracer.model.visible import visible

SOURCE: Final = Path(__file__).parents[2] / "tracer"
CORPUS: Final = {
    "escape sequences": "a\x1b[2J\x1b]0;title\x07\x1b[31;5mb\x1bc\x1b(0",
    "hyperlink": "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;ZXZpbA==\x07",
    "device control": '\x1bP$q"p\x1b\\\x1b[6n\x1b[c\x1b[?1049h\x1b[>0q',
    "C0": "".join(map(chr, range(32))) + "\x7f",
    "C1": "".join(map(chr, range(0x80, 0xA0))),
    "C1 as raw bytes": "".join(chr(0xDC00 + byte) for byte in range(0x80, 0x100)),
    "bidi": "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c",
    "invisible": "\u200b\u2028\u2029\ufeff\u00ad\U000e0041\ufff9",
    "line ends": "a\r\nforktrace: all is well\r\n\x0b\x0c\x85",
    "markup": "[bold red]x[/] [link=file:///etc]y[/link] {{x}} %s {0}",
    "surrogates": "\ud800\udfff\udc1b[2J",
    "formula": "=cmd|'\x1b[2J'!A0",
}
HARMLESS: Final = "plain"
TEXTS: Final = ("jsonl", "csv", "folded", "chrome", "dot", "mermaid", "html")
COMMANDS: Final = {
    "report": ["report", "{}"],
    "report -v": ["report", "{}", "-v", "-t", "--threads", "--width", "60"],
    "report --full": ["report", "{}", "--full", "--color", "always"],
    "report --ascii": ["report", "{}", "--ascii"],
    "check": ["check", "{}", *LIMIT_WORDS, "--max-lost", "99"],
    "check json": ["check", "{}", "--max-processes", "0", "--max-lost", "99", "--format", "json"],
    "diff": ["diff", "{}", "{}"],
    "diff with another": ["diff", "{}", "{plain}"],
    "diff json": ["diff", "--format", "json", "{plain}", "--", "{}"],
    "fleet": ["fleet", "{folder}", "--by", "command"],
    "replay": ["replay", "{}", "--format", "lines", "--speed", "max"],
    "replay -v": ["replay", "{}", "-v", "--format", "lines", "--speed", "max"],
    "replay json": ["replay", "{}", "-v", "--format", "jsonl", "--speed", "max"],
    **{f"report --as {name}": ["report", "{}", "--as", name, "--no-redact"] for name in TEXTS},
    **{f"export {name}": ["export", "{}", "--as", name, "--no-redact"] for name in TEXTS},
    **{f"export {name} events": ["export", "{}", "--as", name, "--table", "events"] for name in ("jsonl", "csv")},
    **{
        f"export folded {weight}": ["export", "{}", "--as", "folded", "--weight", weight]
        for weight in ("count", "life", "cpu", "cow", "stacks")
    },
    "import": ["import", "{}"],
    "a word": ["export", "{}", "--as", "{word}"],
    "a name": ["report", "{word}"],
    "an option": ["report", "{}", "--{word}"],
}
COLOUR: Final = re.compile(rb"\x1b\[[0-9;]*m")
BAR: Final = re.compile(rb"\r\x1b\[2K[^\r]*|\r +\r")  # of progress, on a slow machine
ODD: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9]")


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, list[bytes]]]:
    """A pseudo terminal that changes nothing on the way, and what came out of it, once it is closed."""
    master, slave = os.openpty()
    tty.setraw(slave)
    got: list[bytes] = []

    def drain() -> None:
        with contextlib.suppress(OSError):  # EIO: closed
            while data := os.read(master, 65536):
                got.append(data)

    reader = threading.Thread(target=drain)
    reader.start()
    try:
        yield slave, got
    finally:
        os.close(slave)
        reader.join()
        os.close(master)


def shown(words: list[str]) -> bytes:
    """What a command writes to a terminal, standard output and error together."""
    with terminal() as (slave, got):
        files = [io.TextIOWrapper(os.fdopen(os.dup(slave), "wb"), "utf-8", "backslashreplace") for _ in range(2)]
        try:
            with contextlib.redirect_stdout(files[0]), contextlib.redirect_stderr(files[1]):
                main(words)
        finally:  # the reader would wait for ever
            for file in files:
                file.close()
    return b"".join(got)


def meta(word: str) -> Meta:
    """`word` in every string of it."""
    return Meta(
        word,
        hostile.META.facts,
        1_767_268_800 * 10**9,
        word,
        word,
        word,
        word,
        word,
        (word, word),
        {"cow": word, word: [word]},
        (word, "x" + word),
    )


def make(path: Path, word: str) -> None:
    path.write_bytes(hostile.saved(hostile.every_column(word, 1), meta(word)))


def colours(data: bytes) -> set[bytes]:
    return set(COLOUR.findall(data))


def odd(data: bytes) -> str | None:
    """The first character that must not be there; what is not UTF-8 counts as one."""
    text = COLOUR.sub(b"", BAR.sub(b"", data)).decode("utf-8", "surrogateescape")
    found = ODD.search(text) or re.search("[\ud800-\udfff]", text)
    return None if found is None else text[max(0, found.start() - 60) : found.end() + 20]


@pytest.mark.parametrize("command", COMMANDS)
def test_only_what_is_visible_comes_out(command: str, tmp_path: Path) -> None:
    plain, folder, path = tmp_path / "plain.ftrace", tmp_path / "fleet", tmp_path / "x.ftrace"
    folder.mkdir()
    make(plain, HARMLESS)

    def words(word: str) -> list[str]:
        named = word.replace("\0", "")
        return [w.format(path, plain=plain, folder=folder, word=named) for w in COMMANDS[command]]

    make(path, HARMLESS)
    make(folder / "x.ftrace", HARMLESS)
    usual = colours(shown(words(HARMLESS)))
    for name, word in CORPUS.items():
        make(path, word)
        for old in folder.rglob("*"):
            if old.is_file():
                old.unlink()
        make(folder / "x.ftrace", word)
        data = shown(words(word))

        assert data, name
        assert odd(data) is None, name
        assert colours(data) <= usual | {b"\x1b[0m"} | COLOURS_OF_REPORTS, name


COLOURS_OF_REPORTS: Final = {b"\x1b[2m", b"\x1b[1m", b"\x1b[3m", b"\x1b[36m", b"\x1b[33m", b"\x1b[31m", b"\x1b[1;31m"}
"""A hostile trace may have other findings than a harmless one, and so other of these, and none beside them."""


def test_every_string_of_a_trace_is_hostile() -> None:
    """So that a column, a kind or a field of Meta that is added later is in this test too."""
    rows = hostile.every_column("@")
    strings = {f.name for f in EVENT_COLUMNS if f.type in "sS" and f.name != "kind"}

    assert {kind for kind, _ in rows} == set(Kind) - {Kind.END}
    for _, row in rows[1:]:
        assert all(row[name] in ("@", ["@", "@"]) for name in strings)
    texts = [v for v in meta("@") if isinstance(v, str | tuple)]
    assert len(texts) == len(Meta._fields) - 3  # facts, wall_offset_ns, options
    assert all("@" in "".join(v) for v in texts)


@pytest.mark.parametrize("word", CORPUS.values(), ids=CORPUS)
def test_every_door_by_itself(word: str) -> None:
    with terminal() as (slave, got):
        file = io.TextIOWrapper(os.fdopen(os.dup(slave), "wb"), "utf-8", "backslashreplace")
        with contextlib.redirect_stderr(file):
            say(word)
        file.close()
        outlet = Outlet(slave)
        outlet.write(word)
        outlet.close()
        screen = Screen(color=True)
        for selected in (None, 0):
            painted = screen.paint(Frame([[(word, "bad"), (word, "")]], selected), 80, 24, fresh=True)
            plain = Screen(color=True).paint(Frame([[("x", "bad"), ("x", "")]], selected), 80, 24, fresh=True)
            assert set(re.findall(rb"\x1b\[[?0-9;]*[a-zA-Z]", painted)) <= set(
                re.findall(rb"\x1b\[[?0-9;]*[a-zA-Z]", plain)
            )
            assert odd(re.sub(rb"\x1b\[[?0-9;]*[HJKhlm]", b"", painted)) is None
    assert odd(b"".join(got)) is None


@pytest.mark.parametrize("word", CORPUS.values(), ids=CORPUS)
def test_visible_twice_is_visible_once(word: str) -> None:
    once = visible(word)

    assert visible(once) == once
    assert not ODD.search(once)


DIRECT: Final = {
    f"sys.{stream}.{name}"
    for stream in ("stdout", "stderr", "__stdout__", "__stderr__")
    for name in ("write", "writelines", "buffer")
}


def direct_writes(tree: ast.AST) -> Iterator[int]:
    """Lines that write to a standard stream without a door."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            yield node.lineno
        if isinstance(node, ast.Attribute) and ast.unparse(node) in DIRECT:
            yield node.lineno


ALLOWED: Final = {
    "commands/doctor.py": 1,  # colours of its own around what _safe has cleaned
    "commands/import_.py": 1,  # a trace to a pipe: refused on a terminal
}


def test_nobody_writes_to_a_standard_stream_but_by_a_door() -> None:
    found: dict[str, Any] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        lines = list(direct_writes(ast.parse(path.read_text("utf-8"))))
        if lines:
            found[str(path.relative_to(SOURCE))] = len(lines)

    assert found == ALLOWED
