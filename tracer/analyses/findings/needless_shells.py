"""Shells that were not needed.

    wrappers(tree, shape) -> Wrapped ...

A shell was not needed where `sh -c WORDS` ran one program and its words mean nothing to a shell: no quotes, no
variables, no patterns, no redirections, no built-in. Where a shell is of use this is silent, also where it might be.

Pure: a tree in, frozen results out. Refuses to know how it is printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from tracer.analyses.tree_index import Shape
from tracer.model.frozen import record
from tracer.model.schema import NULL
from tracer.model.vector_ops import view
from tracer.tree.tree import ProcessTree

_SAID: Final = 8  # rows that stand for all
_SHELLS: Final = frozenset({"sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "busybox"})
_PLAIN: Final = re.compile(r"[\w@%+:,./ -]+", re.ASCII)
_BUILT_IN: Final = frozenset(
    {
        "alias",
        "bg",
        "bind",
        "break",
        "builtin",
        "case",
        "cd",
        "command",
        "compgen",
        "complete",
        "continue",
        "coproc",
        "declare",
        "dirs",
        "disown",
        "do",
        "done",
        "echo",
        "elif",
        "else",
        "enable",
        "esac",
        "eval",
        "exit",
        "export",
        "false",
        "fc",
        "fg",
        "fi",
        "for",
        "function",
        "getopts",
        "hash",
        "help",
        "history",
        "if",
        "in",
        "jobs",
        "kill",
        "let",
        "local",
        "logout",
        "mapfile",
        "popd",
        "printf",
        "pushd",
        "pwd",
        "read",
        "readonly",
        "return",
        "select",
        "set",
        "shift",
        "shopt",
        "source",
        "suspend",
        "test",
        "then",
        "time",
        "times",
        "trap",
        "true",
        "type",
        "typeset",
        "ulimit",
        "umask",
        "unalias",
        "unset",
        "until",
        "wait",
        "while",
        ".",
        ":",
    }
)


@record
class Wrapped:
    """`sh -c` around one plain command. `in_place`: of `count`, those that exec'd it themselves."""

    script: str  # of the first
    count: int
    in_place: int
    own_ns: int  # how long the shells lived before the exec, or beyond the life of the command
    rows: tuple[int, ...]


def wrappers(tree: ProcessTree, shape: Shape) -> Iterator[Wrapped]:
    """Shells around one plain command, by the program that it names."""
    found: dict[str, list[tuple[int, bool, int, str]]] = {}
    for row, script in _scripts(tree, _candidates(tree, shape)):
        words = _plain(script)
        if words is None:
            continue
        own = _own(tree, shape, row, words[0])
        if own is not None:
            found.setdefault(words[0], []).append((row, *own, script))
    for shells in found.values():
        yield Wrapped(
            script=shells[0][3],
            count=len(shells),
            in_place=sum(in_place for _, in_place, _, _ in shells),
            own_ns=sum(ns for _, _, ns, _ in shells),
            rows=tuple(row for row, *_ in shells[:_SAID]),
        )


def _candidates(tree: ProcessTree, shape: Shape) -> bytearray:
    """1 for each process that exec'd another program, or has ended and had one child."""
    execs = tree.column("execs")
    parent = view(shape.parent)
    alone = np.bincount(parent[parent >= 0], minlength=len(tree)) == 1
    return bytearray(((view(execs) > 1) | (alone & (np.frombuffer(shape.ended, np.uint8) == 1))).tobytes())


def _scripts(tree: ProcessTree, wanted: bytearray) -> Iterator[tuple[int, str]]:
    """(row, script) of each `wanted` process whose first image was `sh -c script`."""
    rows, _ = tree.all_execs()
    argvs, numbers = tree.argvs()
    scripts = list(map(_script, argvs))
    has = np.array([script is not None for script in scripts] or [False])
    number = view(numbers)
    asked = np.frombuffer(wanted, np.uint8)[view(rows)] == 1
    execs = np.flatnonzero(asked & (number != NULL) & has[np.maximum(number, 0)]).tolist()
    seen: set[int] = set()
    for at in execs:
        row, script = rows[at], None if numbers[at] == NULL else scripts[numbers[at]]
        if script is not None and wanted[row] and row not in seen:
            seen.add(row)
            yield row, script


def _script(argv: Sequence[str]) -> str | None:
    if len(argv) < 3 or argv[0].rpartition("/")[2].lstrip("-") not in _SHELLS:
        return None
    at = 2 if argv[1] == "-c" else 3 if argv[1:3] == ("sh", "-c") else 0  # busybox sh -c
    return argv[at] if at and len(argv) == at + 1 else None


def _plain(script: str) -> list[str] | None:
    """The words of a command that needs no shell, else None."""
    words = script.split()
    if not words or not _PLAIN.fullmatch(script.strip()):
        return None
    if words[0] == "exec":
        words = words[1:]
    return words if words and words[0] not in _BUILT_IN and not words[0].startswith("-") else None


def _own(tree: ProcessTree, shape: Shape, row: int, name: str) -> tuple[bool, int] | None:
    """(whether it exec'd the command itself, ns that the shell itself took); None: it did something else."""
    children, images = shape.children(row), tree.execs(row)
    at = next((i for i, image in enumerate(images) if image.argv and _script(image.argv) is not None), len(images))
    if at + 1 < len(images):
        if children or NULL in (images[at].ts_ns, images[at + 1].ts_ns):
            return None
        return True, max(0, images[at + 1].ts_ns - images[at].ts_ns)
    if len(children) != 1 or not shape.ended[row]:
        return None  # after an exec that is no script
    child = children[0]
    name = name.rpartition("/")[2]
    if not any(image.argv and image.argv[0].rpartition("/")[2] == name for image in tree.execs(child)):
        return None
    if NULL in (shape.life[row], shape.life[child]):
        return None
    return False, max(0, shape.life[row] - shape.life[child])
