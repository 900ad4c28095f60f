"""A command in a few words, without what differs from run to run: `gcc -c …`, `sh build.sh …`.

Looks at nothing else, so the same command has the same words in every run and on every host. Templates that are learnt
from the commands of one trace are templates.py's; those of a stream naming.py's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from tracer.redact import redact

_WORDS: Final = 4
_PLAIN: Final = re.compile(r"-{0,2}[A-Za-z][A-Za-z_-]{0,23}")
_INTERPRETER: Final = re.compile(r"(?:ba|da|z|k)?sh|python[0-9.]*|perl|ruby|node|php")
_SCRIPT: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,31}")


def label(argv: Sequence[str], *, scripts: bool = True) -> str:
    """The program's name and up to three plain words behind it; numbers, paths and whatever follows are one `…`.

    `scripts`: behind an interpreter the name of its script, too. Secrets are taken out first. `argv` is not empty.
    """
    first, *rest = redact(list(argv[: _WORDS * 2]))[0]
    words = [program(first)]
    if scripts and rest and _INTERPRETER.fullmatch(words[0]) and _SCRIPT.fullmatch(script := program(rest[0])):
        words.append(script)
        rest = rest[1:]
    for word in rest:
        if len(words) == _WORDS or not _PLAIN.fullmatch(word):
            words.append("…")
            break
        words.append(word)
    else:
        if len(argv) > _WORDS * 2:
            words.append("…")
    return " ".join(words)


def program(word: str) -> str:
    """The last part of a path."""
    return word.rpartition("/")[2] or word
