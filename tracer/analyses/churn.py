"""Short-lived processes: which commands come again and again, searches along the PATH, shells that were not needed.

    churn(tree) -> Churn

A shell was not needed where `sh -c WORDS` ran one program and its words mean nothing to a shell: no quotes, no
variables, no patterns, no redirections, no built-in. Where a shell is of use this is silent, also where it might be.

Pure: a tree in, frozen results out. Refuses to know how it is printed.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from tracer.analyses.alike import Alike
from tracer.analyses.shape import Shape
from tracer.events import NULL
from tracer.record import record
from tracer.tree import ProcessTree
from tracer.whole import different, numpy_for, ordered, packed, taken, total, view, where

SHORT_NS: Final = 10_000_000
"""A process that lives no longer is a short one."""

_SAID: Final = 8  # rows that stand for all
_SHELLS: Final = frozenset({"sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "busybox"})
_PLAIN: Final = re.compile(r"[\w@%+:,./ -]+", re.ASCII)
_BUILT_IN: Final = frozenset({
    "alias", "bg", "bind", "break", "builtin", "case", "cd", "command", "compgen", "complete", "continue",
    "coproc", "declare", "dirs", "disown", "do", "done", "echo", "elif", "else", "enable", "esac", "eval", "exit",
    "export", "false", "fc", "fg", "fi", "for", "function", "getopts", "hash", "help", "history", "if", "in",
    "jobs", "kill", "let", "local", "logout", "mapfile", "popd", "printf", "pushd", "pwd", "read", "readonly",
    "return", "select", "set", "shift", "shopt", "source", "suspend", "test", "then", "time", "times", "trap",
    "true", "type", "typeset", "ulimit", "umask", "unalias", "unset", "until", "wait", "while", ".", ":",
})  # fmt: skip


@record
class Repeated:
    """Short processes of one template and one parent or many. `words`: of the command, None for what differs."""

    words: tuple[str | None, ...] | None  # None: never exec'd
    comm: str | None
    rows: tuple[int, ...]  # some
    count: int
    parents: int
    life_ns: int  # median
    lives_ns: int  # sum
    cpu_ns: int | None


@record
class Probing:
    """Execs of one name that failed with ENOENT, folder by folder. `wasted_ns`: at least, see `probes`."""

    name: str
    failed: int
    processes: int
    found: int  # of these processes, those that did exec in the end
    wasted_ns: int
    rows: tuple[int, ...]


@record
class Wrapped:
    """`sh -c` around one plain command. `in_place`: of `count`, those that exec'd it themselves."""

    script: str  # of the first
    count: int
    in_place: int
    own_ns: int  # how long the shells lived before the exec, or beyond the life of the command
    rows: tuple[int, ...]


@record
class Churn:
    """Each most first. `short` of `ended`: how many lived for SHORT_NS or less."""

    short: int
    ended: int
    repeated: tuple[Repeated, ...]
    probing: tuple[Probing, ...]
    wrapped: tuple[Wrapped, ...]


def churn(tree: ProcessTree, shape: Shape | None = None, alike: Alike | None = None, *, least: int = 20) -> Churn:
    """Commands that came `least` times and more."""
    shape = shape or Shape(tree)
    alike = alike or Alike(tree)
    short = _short(shape)
    groups = _groups(taken(alike.templates, taken(alike.commands.of, short)), short, least)
    runtime = tree.column("runtime_ns")
    return Churn(
        short=len(short),
        ended=shape.ended.count(1),
        repeated=tuple(
            _repeated(alike.words(number), rows, shape, runtime)
            for number, rows in sorted(groups.items(), key=lambda item: -len(item[1]))
        ),
        probing=tuple(sorted(probes(tree), key=lambda p: -p.failed)),
        wrapped=tuple(sorted(wrappers(tree, shape), key=lambda w: -w.count)),
    )  # fmt: skip


def _short(shape: Shape) -> Sequence[int]:
    """Rows of those that lived for SHORT_NS or less."""
    np = numpy_for(len(shape))
    if np is not None:
        life = view(np, shape.life)
        return where(np, (np.frombuffer(shape.ended, np.uint8) == 1) & (life >= 0) & (life <= SHORT_NS))
    lives = enumerate(zip(shape.life, shape.ended, strict=True))
    return array("q", [row for row, (life, dead) in lives if dead and 0 <= life <= SHORT_NS])


def _groups(templates: Sequence[int], rows: Sequence[int], least: int) -> dict[int, Sequence[int]]:
    """The rows of each template that comes `least` times, in the order in which they come first."""
    np = numpy_for(len(rows))
    if np is None:
        counts = Counter(templates)
        found: dict[int, Sequence[int]] = {number: array("q") for number, n in counts.items() if n >= least}
        for number, row in zip(templates, rows, strict=True):
            if number in found:
                found[number].append(row)  # type: ignore[attr-defined]
        return found
    template = view(np, templates)
    counts = np.bincount(template)
    at = np.flatnonzero((counts >= least)[template])
    at = at[np.argsort(template[at], kind="stable")]
    parts = np.split(at, np.flatnonzero(np.diff(template[at])) + 1) if len(at) else []
    parts.sort(key=lambda part: part[0])
    return {int(template[part[0]]): packed(view(np, rows)[part]) for part in parts}


def _repeated(
    words: tuple[tuple[str | None, ...] | None, str | None], rows: Sequence[int], shape: Shape, runtime: Sequence[int]
) -> Repeated:
    lives = ordered(taken(shape.life, rows))
    return Repeated(
        *words, tuple(rows[:_SAID]), len(rows), different(taken(shape.parent, rows)), lives[len(lives) // 2],
        total(lives) or 0, total(taken(runtime, rows)),
    )  # fmt: skip


def probes(tree: ProcessTree) -> Iterator[Probing]:
    """Searches along the PATH. `wasted_ns` is from a process' first failure to its last: the last call is left out."""
    tries: dict[tuple[int, str], list[int]] = {}
    for event in tree.failed_execs:
        if event.error != "ENOENT" or not event.exe or "/" not in event.exe or event.born_ns is None:
            continue
        row = tree.row(event.pid, event.born_ns)
        if row is None:
            continue
        at = event.ts_ns if event.ts_ns is not None else NULL
        seen = tries.setdefault((row, event.exe.rpartition("/")[2]), [0, at, at])
        seen[0] += 1
        seen[2] = at
    names: dict[str, list[tuple[int, int, int]]] = {}
    for (row, name), (n, first, last) in tries.items():
        if n > 1:  # one alone is a missing file, not a search
            names.setdefault(name, []).append((row, n, 0 if NULL in (first, last) else max(0, last - first)))
    execs = tree.column("execs")
    for name, found in names.items():
        yield Probing(
            name=name,
            failed=sum(n for _, n, _ in found),
            processes=len(found),
            found=sum(_became(tree, row, name) for row, _, _ in found if execs[row]),
            wasted_ns=sum(ns for *_, ns in found),
            rows=tuple(row for row, _, _ in found[:_SAID]),
        )


def _became(tree: ProcessTree, row: int, name: str) -> bool:
    return any((image.exe or "").rpartition("/")[2] == name for image in tree.execs(row))


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
    np = numpy_for(len(tree))
    if np is None:
        children = Counter(shape.parent)
        rows = enumerate(zip(execs, shape.ended, strict=True))
        return bytearray(n > 1 or (dead == 1 and children[row] == 1) for row, (n, dead) in rows)
    parent = view(np, shape.parent)
    alone = np.bincount(parent[parent >= 0], minlength=len(tree)) == 1
    return bytearray(((view(np, execs) > 1) | (alone & (np.frombuffer(shape.ended, np.uint8) == 1))).tobytes())


def _scripts(tree: ProcessTree, wanted: bytearray) -> Iterator[tuple[int, str]]:
    """(row, script) of each `wanted` process whose first image was `sh -c script`."""
    rows, _ = tree.all_execs()
    argvs, numbers = tree.argvs()
    scripts = list(map(_script, argvs))
    execs: Iterable[int] = range(len(rows))
    np = numpy_for(len(rows))
    if np is not None:
        has = np.array([script is not None for script in scripts] or [False])
        number = view(np, numbers)
        asked = np.frombuffer(wanted, np.uint8)[view(np, rows)] == 1
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
