"""`forktrace doctor`: what works on this host, and what to do about the rest.

Prints what tracer.host.features and the backends answer, and adds nothing of its own. Draws with the standard library
alone: it must run where nothing else does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tracer.errors import ForktraceError
from tracer.host import features as kernel
from tracer.model.visible import write

if TYPE_CHECKING:
    from tracer.backends import Trial, Verdict

SCHEMA: Final = 1
"""Of the JSON: raised when a key changes its meaning or goes; new keys may come at any time."""

_GROUPS: Final = {
    "programs": "programs of the bpf backend, tried in this kernel",
    "bpf": "for the bpf backend",
    "copies": "for counting copied pages (--cow full)",
    "bcc": "for the bcc backend",
    "netlink": "for the netlink backend",
    "strace": "for the strace backend",
    "all": "for every backend",
}
_WORDS: Final = {True: "ok", False: "missing", None: "unknown"}
_MARKS: Final = {True: "✓", False: "✗", None: "?"}
_ASCII_MARKS: Final = {True: "+", False: "x", None: "?"}
_COLORS: Final = {True: "32", False: "31", None: "33"}
_NARROWEST, _WIDEST = 60, 200
_LEAST_DETAIL: Final = 36  # with less room than this beside the name, the detail goes below it


class Row(NamedTuple):
    """One line of the report: a backend or a feature. `sees`, `more`: of a backend, facts, and those with an option."""

    group: str
    name: str
    ok: bool | None
    detail: str
    why: str
    mend: str | None
    sees: frozenset[str] = frozenset()
    more: Mapping[str, str] = {}


class Doctor:
    """What works on this host, and what to do about the rest.

    One row for each backend, and for each feature of the kernel and the
    system that a backend asks for: ok, missing or unknown. For what is not
    ok, why it matters and the command that mends it (-v: why, for all).
    Nothing is installed, mounted or changed. The exit status is 0 if some
    backend is ready, else 70.
    """

    name = "doctor"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Its one option of its own."""
        parser.add_argument("--json", action="store_true", help="one JSON object: host, backends, programs, features")

    def run(self, args: argparse.Namespace) -> int:
        """Ask everything, print the report to stdout."""
        tried = list(trials())
        backends, features = [row for row, _ in tried], list(feature_rows())
        verdicts = [verdict for _, trial in tried for verdict in trial.verdicts]
        chosen = taken(backends)
        if args.json:
            write(sys.stdout, json.dumps(as_json(backends, features, verdicts), indent=2) + "\n")
        else:
            paper = Paper.fitting(args)
            rows = [*program_rows(verdicts), *features]
            for line in report(backends, rows, paper, whys=bool(getattr(args, "verbose", 0))):
                sys.stdout.write(line + "\n")
        return 0 if chosen else 70


COMMAND: Final = Doctor()


def feature_rows() -> Iterator[Row]:
    """Every feature, in the order of tracer.host.features."""
    for check in kernel.features():
        yield Row(kernel.group(check.name), check.name, check.ok, check.detail, check.why, check.mend)


def trials() -> Iterator[tuple[Row, Trial]]:
    """Every backend, in the order of preference, with what the kernel says to its programs."""
    from tracer import backends
    from tracer.backends.cover import with_options

    for name in backends.BACKENDS:
        trial = backends.Trial(backends.Readiness(False))
        try:
            trial = backends.trial(name)
            state = trial.readiness
            cover = backends.load(name).cover
            sees, more = cover(backends.Options()), with_options(cover, backends.Options())
            sees, more = sees - trial.lost, {fact: how for fact, how in more.items() if fact not in trial.lost}
            detail = _ready_words(trial.verdicts) if state.ok else state.why
            yield Row("backends", name, state.ok, detail, "", state.mend, sees, more), trial
        except ForktraceError as e:
            yield Row("backends", name, ok=False, detail=e.message, why="", mend=e.mend), trial
        except ImportError as e:
            yield Row("backends", name, ok=False, detail=f"cannot be imported: {e}", why="", mend=None), trial


def _ready_words(verdicts: Sequence[Verdict]) -> str:
    """ready, without when children are waited for: on_wait refused: R9 invalid mem access"""
    lacks = [f"{v.costs}: {v.program} refused: {v.why}" for v in verdicts if not v.ok]
    return "ready" + (f", without {'; without '.join(lacks)}" if lacks else "")


def program_rows(verdicts: Sequence[Verdict]) -> Iterator[Row]:
    """A row for each object of which the kernel takes all programs; of any other, one for each that it refuses."""
    for name in dict.fromkeys(verdict.object for verdict in verdicts):
        own = [verdict for verdict in verdicts if verdict.object == name]
        refused = [verdict for verdict in own if not verdict.ok]
        if len(refused) < len(own):
            loaded = ", ".join(verdict.program for verdict in own if verdict.ok)
            detail = f"{len(own) - len(refused)} of {len(own)} load"
            yield Row("programs", name, ok=True, detail=detail, why=loaded, mend=None)
        for verdict in refused:
            why = f"without it, not measured: {verdict.costs}"
            yield Row("programs", f"{name} {verdict.program}", ok=False, detail=verdict.why, why=why, mend=None)


def taken(rows: Sequence[Row]) -> str | None:
    """Which backend `forktrace -- PROGRAM` would take, as far as can be told without starting one."""
    from tracer.backends.cover import usual

    ready = [row for row in rows if row.ok]
    return next((row.name for row in ready if usual(row.sees)), ready[0].name if ready else None)


def host() -> dict[str, Any]:
    """What the report is about."""
    return {"kernel": platform.release(), "machine": platform.machine(), "euid": os.geteuid()}


def as_json(backends: Sequence[Row], features: Sequence[Row], verdicts: Sequence[Verdict] = ()) -> dict[str, Any]:
    """The report in JSON's types. `ok` is true, false, or null for what could not be found out."""
    return {
        "schema": SCHEMA,
        "host": host(),
        "chosen": taken(backends),
        "backends": [
            {
                "name": r.name,
                "ok": r.ok,
                "why": None if r.ok else r.detail,
                "mend": r.mend,
                "sees": sorted(r.sees),
                "sees_with": dict(r.more),
            }
            for r in backends
        ],
        "programs": [verdict._asdict() for verdict in verdicts],
        "features": [
            {"name": r.name, "for": r.group, "ok": r.ok, "detail": r.detail, "why": r.why, "mend": r.mend}
            for r in features
        ],
    }


class Paper(NamedTuple):
    """What we draw on."""

    width: int = 100
    color: bool = False
    ascii: bool = False

    @classmethod
    def fitting(cls, args: argparse.Namespace) -> Paper:
        """From --width, --color, --ascii, and what stdout is."""
        width = getattr(args, "width", None) or shutil.get_terminal_size((100, 24)).columns
        color = getattr(args, "color", "auto")
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        colored = color == "always" or (color == "auto" and sys.stdout.isatty() and not plain)
        ascii_ = bool(getattr(args, "ascii", False)) or not _encodable("".join(_MARKS.values()))
        return cls(min(max(width, _NARROWEST), _WIDEST), colored, ascii_)

    def paint(self, text: str, code: str) -> str:
        """`text` in a colour or weight (SGR), where there is colour."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.color else text


def report(backends: Sequence[Row], features: Sequence[Row], paper: Paper, *, whys: bool = False) -> Iterator[str]:
    """The report's lines, no wider than the paper. `whys`: of what is ok too."""
    about = host()
    who = "root" if about["euid"] == 0 else f"user {about['euid']}"
    yield from _wrapped(f"Linux {about['kernel']}, {about['machine']}, as {who}", paper.width, "", "")
    yield ""
    yield paper.paint("backends, best first", "1")
    names = max(len(row.name) for row in (*backends, *features)) if backends or features else 0
    for row in backends:
        yield from _row(row, paper, names, whys=whys)
    for group, title in _GROUPS.items():
        rows = [row for row in features if row.group == group]
        if rows:
            yield ""
            yield paper.paint(title, "1")
        for row in rows:
            yield from _row(row, paper, names, whys=whys)
    yield ""
    chosen = taken(backends)
    verdict = f"`forktrace -- PROGRAM` takes the {chosen} backend here." if chosen else "No backend is ready here."
    yield from _wrapped(verdict, paper.width, "", "")


def _row(row: Row, paper: Paper, names: int, *, whys: bool) -> Iterator[str]:
    mark = (_ASCII_MARKS if paper.ascii else _MARKS)[row.ok]
    word = "refused" if row.group == "programs" and not row.ok else _WORDS[row.ok]
    head = f"  {mark} {word:<7}  {row.name:<{names}}"
    painted = f"  {paper.paint(f'{mark} {word:<7}', _COLORS[row.ok])}  {row.name:<{names}}"
    beside = paper.width - len(head) - 2 >= _LEAST_DETAIL
    indent = " " * (len(head) + 2 if beside else 6)
    body = list(_wrapped(_safe(row.detail), paper.width, indent, indent))
    if beside:
        yield painted + body[0][len(head) :] if body else painted.rstrip()
        yield from body[1:]
    else:
        yield painted.rstrip()
        yield from body
    if row.why and (whys or not row.ok):
        label = "has: " if row.group == "programs" and row.ok else "why: "
        yield from _wrapped(label + _safe(row.why), paper.width, indent, indent + "     ")
    if row.sees:
        yield from _wrapped("sees: " + _facts(row), paper.width, indent, indent + "      ")
    if row.mend and not row.ok:
        yield from _wrapped("fix: " + _safe(row.mend), paper.width, indent, indent + "     ")


def _facts(row: Row) -> str:
    """In the order of the model; then what an option would add."""
    from tracer.model.meta import Fact

    every = [fact.value for fact in Fact]
    lacking = [name for name in every if name not in row.sees and name not in row.more]
    said = [", ".join(name for name in every if name in row.sees) if lacking else "everything"]
    for option in dict.fromkeys(row.more.values()):
        names = [name for name in every if row.more.get(name) == option]
        said.append(f"with {option} also {' and '.join(names)}")
    return "; ".join(said)


def _wrapped(text: str, width: int, first: str, rest: str) -> list[str]:
    """Lines cut at blanks alone, so that an option or a path stays whole."""
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def _safe(text: str) -> str:
    """No control character reaches the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _encodable(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
