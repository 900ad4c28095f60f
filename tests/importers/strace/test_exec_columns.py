"""Execs read all at once say what each says when it is read alone, whatever stands beside it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.importers.strace.call_text import Texts
from tracer.importers.strace.exec_columns import hexadecimal, images_of
from tracer.importers.strace.tokens import EXEC, EXEC_HEAD, Tokenizer

USUAL = b'execve("/bin/sh", ["sh", "-c", "x"], 0x7ffd1e133378 /* 9 vars */) = 0'
FORMS = (
    USUAL,
    USUAL + b" <0.000351>",
    USUAL + b" <12.000351>",
    b'execve("/bin/a b", ["a b"], 0x7ffd1e133378 /* 1 var */) = 0 <0.000351>',
    b'execve("/bin/\xc3\xa9\xff", ["\xff"], 0x7ffd1e133378 /* 123 vars */) = 0',
    b'execve("/bin/x", ["x", ""], 0x7ffd1e133378 /* 10 vars */) = 0',
    b'execve("/bin/x", ["x", "], 0x7ffd1e133378 /* 9 vars */) = 0"], 0x7ffd1e133378 /* 10 vars */) = 0',
    # of other forms
    b'execve("/bin/x", [], 0x7ffd1e133378 /* 10 vars */) = 0',
    b'execve("/bin/x", ["x"], 0x7ffd1e13 /* 10 vars */) = 0',
    b'execve("/bin/x", ["x"], NULL) = 0 <0.000351>',
    b'execve("/bin/x", ["x"], 0x7ffd1e133378 /* 10 vars */) = -1 ENOENT (No such file or directory) <0.000021>',
    b'execve("/bin/x", ["x"], 0x7ffd1e133378 /* 10 vars */ <unfinished ...>',
    rb'execve("/bin/x", ["x", "\33[1m", "\"]"], 0x7ffd1e133378 /* 10 vars */) = 0',
    b'execve("/bin/x", ["x", "long"...], 0x7ffd1e133378 /* 10 vars */) = 0',
    b'execve("/bin/x", ["x", ...], 0x7ffd1e133378 /* 10 vars */) = 0',
    b'execve("/bin/x", 0x7ffd1e133300, 0x7ffd1e133378 /* 10 vars */) = 0',
    # of none: somebody's text
    b'execve("/bin/x", ["x"], 0x"7fd1e133378 /* 10 vars */) = 0',
    b'execve("/bin/x", ["x"], 0x7ffd1e133378 /* " vars */) = 0',
    b'execve("/bin/x", ["x", 5, null, {"a": 1}, ["b"]], 0x7ffd1e133378 /* 10 vars */) = 0',
    b'execve("/bin/x", ["x"]],["/bin/y", ["y"], 0x7ffd1e133378 /* 10 vars */) = 0',
    b'execve("/bin/x", ["x"]]]], 0x7ffd1e133378 /* 10 vars */) = 0',
    b'execve("/bin/x", [["x"], 0x7ffd1e133378 /* 10 vars */) = 0',
    b'execve("/bin/x", ["x], 0x7ffd1e133378 /* 10 vars */) = 0',
    b'execve("/bin/x", ["x\t\x01"], 0x7ffd1e133378 /* 10 vars */) = 0',
    b'execve("], 0x7ffd1e133378 /* 10 vars */) = 0',
    b'execve("/bin/x", ' + b"[" * 50_000 + b'"x"], 0x7ffd1e133378 /* 10 vars */) = 0',
)


def check(lines: list[bytes]) -> int:
    """How many were understood."""
    text = b"".join(b"%-5d %s\n" % (1000 + i, line) for i, line in enumerate(lines))
    block = Tokenizer().tokens(text, heads=True)
    assert block is not None
    at = np.flatnonzero((block.kind == EXEC) | (block.kind == EXEC_HEAD))
    assert len(at) == len(lines)

    found = list(zip(*images_of(block, text, Texts(), at), strict=True))

    alone = Texts()
    for line, (exe, argv, comm, done, error) in zip(lines, found, strict=True):
        one = alone.image(line, 0, len(line))
        if one is None:
            assert not exe, line
        else:
            assert (exe, argv, comm, error or None, bool(done or error)) == one, line
    return sum(bool(exe) for exe, *_ in found)


@pytest.mark.parametrize("form", FORMS)
def test_beside_usual_ones(form: bytes) -> None:
    for lines in ([form], [USUAL, form, USUAL], [form, form, USUAL], [USUAL] * 3 + [form]):
        assert check(lines) >= lines.count(USUAL)


@given(st.lists(st.sampled_from(FORMS[:-1]), min_size=1, max_size=12))
def test_any_of_them_together(lines: list[bytes]) -> None:
    check(lines)


def test_hexadecimal_digits() -> None:
    words = [bytes([i]) * 8 for i in range(256)] + [b"0123456" + bytes([i]) for i in range(256)]

    good = hexadecimal(np, np.array([int.from_bytes(word, "little") for word in words], np.uint64))

    assert [chr(i) for i in np.flatnonzero(good[:256])] == list("0123456789abcdef")
    assert (good[256:] == good[:256]).all()
