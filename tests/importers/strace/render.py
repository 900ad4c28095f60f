"""Writes a history (tests/importers/histories.py) as strace would, in the style that `Style` says.

The rules of the tracer's own printing are kept: a line that is not finished when another task has something to say
ends in ` <unfinished ...>`; `[pid N]` stands only on a terminal and only while there is more than one task; notices
fall into the middle of a line.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.importers.strace.histories import History, Step


@dataclass(frozen=True)
class Style:
    """Options of strace, and which strace."""

    prefix: str = "file"  # file (-o), terminal, quiet terminal (-q)
    time: str = "none"  # none t tt ttt ns r both
    durations: bool = False
    number: bool = False
    pointer: bool = False
    comm: bool = False
    old: bool = False  # 4.26 and before: a blank after `resumed>`
    new: bool = False  # 7.2: `wait4(-1 <unfinished ...>`
    ends: bool = True  # -qq takes the +++ lines away
    signals: bool = True  # -e signal=none takes SIGCHLD and `+++ killed` away
    color: bool = False
    crlf: bool = False
    chatter: bool = False  # the program writes into the same terminal
    padding: int = 40
    midnight: bool = False


TIMES = ("none", "t", "tt", "ttt", "ns", "r", "both")


class Printer:
    """Prints one history."""

    def __init__(self, style: Style, seed: int = 0) -> None:
        self.style = style
        self.rng = random.Random(seed)
        self.out: list[str] = []
        self.open: int | None = None  # whose line is not finished
        self.column = 0
        self.traced: set[int] = set()
        self.in_call: dict[int, str] = {}
        self.entered: dict[int, int] = {}
        self.us = (86_400 - 1) * 1_000_000 if style.midnight else 40_000 * 1_000_000
        self.last_us = self.us

    def print(self, steps: list[Step]) -> bytes:
        """The whole text."""
        for step in steps:
            getattr(self, "_" + step[0])(*step[1:])
        if self.open is not None:
            self._raw(" <unfinished ...>\n")
        text = "".join(self.out)
        if self.style.crlf:
            text = text.replace("\n", "\r\n")
        return text.encode()

    # -- the tracer's own rules

    def _raw(self, text: str) -> None:
        self.out.append(text)
        at = text.rfind("\n")
        self.column = len(text) - at - 1 if at >= 0 else self.column + len(text)

    def _leader(self, tid: int) -> None:
        if self.open is not None:
            self._raw(" <unfinished ...>\n")
        self.open = None
        style = self.style
        comm = f"<c {tid})>" if style.comm else ""
        text = ""
        if style.prefix == "file":
            text = f"{tid}{comm} " if comm else f"{tid:<5} "
        elif len(self.traced) > 1:
            text = f"[pid {tid:5}{comm}] "
        self.us += self.rng.randrange(1, 400)
        text += self._stamp()
        if style.number:
            text += "[  59] "
        if style.pointer:
            text += "[00007f1234567890] "
        self._raw(f"\x1b[36m{text}\x1b[0m" if style.color and text else text)

    def _stamp(self) -> str:
        kind, us = self.style.time, self.us
        day = us // 1_000_000 % 86_400
        clock = f"{day // 3600:02}:{day // 60 % 60:02}:{day % 60:02}"
        delta, self.last_us = us - self.last_us, us
        relative = f"{delta // 1_000_000:6}.{delta % 1_000_000:06}"
        if kind == "t":
            return f"{clock} "
        if kind == "tt":
            return f"{clock}.{us % 1_000_000:06} "
        if kind == "ttt":
            return f"{1_700_000_000 + us // 1_000_000}.{us % 1_000_000:06} "
        if kind == "ns":
            return f"{1_700_000_000 + us // 1_000_000}.{us % 1_000_000 * 1000:09} "
        if kind == "r":
            return f"{relative} "
        return f"{clock} (+{relative}) " if kind == "both" else ""

    def _result(self, tail: str) -> str:
        at = tail.index(") = -1") if ") = -1" in tail else tail.rindex(") = ")
        args, result = tail[:at], tail[at + 1 :].strip()
        gap = max(1, self.style.padding - self.column - len(args) - 1)
        text = f"{args}){' ' * gap}{result}"
        return text + (" <0.000123>" if self.style.durations and result != "= ?" else "")

    # -- steps

    def _attach(self, tid: int) -> None:
        first = not self.traced
        self.traced.add(tid)
        if self.style.prefix == "terminal" and not first:
            self._raw(f"strace: Process {tid} attached\n")

    def _gone(self, tid: int) -> None:
        self.traced.discard(tid)

    def _enter(self, tid: int, name: str, head: str) -> None:
        self._leader(tid)
        self.in_call[tid] = name
        if self.style.new and name == "wait4":
            head = head.rstrip(", ")
        self._raw(f"{name}({head}")
        self.open = tid
        if self.style.chatter and self.rng.random() < 0.15:
            self._raw(self.rng.choice(("out 5\n", "some words = of (it)\n", "x\n")))

    def _leave(self, tid: int, name: str, tail: str) -> None:
        if self.style.new and name == "wait4" and not tail.startswith(")"):
            tail = ", " + tail
        if self.open != tid:
            self._leader(tid)
            self._raw(f"<... {name} resumed>{' ' if self.style.old else ''}")
        self.open = None
        self._raw(self._result(tail) + "\n")

    def _line(self, tid: int, body: str) -> None:
        if body.startswith("+++ exited") and not self.style.ends:
            return
        if body.startswith(("---", "+++ killed")) and not self.style.signals:
            return
        self._leader(tid)
        self._raw(body + "\n")
        if self.style.chatter and self.rng.random() < 0.1:
            self._raw(self.rng.choice(("[pid 1] +++ exited with 9 +++ says he\n", "Process of thought\n", "\n")))


def log(history: History, style: Style, seed: int = 0) -> bytes:
    """The history as one log."""
    return Printer(style, seed).print(history.steps)


def family(history: History, style: Style, seed: int = 0) -> dict[int, bytes]:
    """The history as `-ff` writes it: one text for each task, calls whole, stamped when they began."""
    stamps = Printer(style, seed)
    parts: dict[int, list[str]] = {}
    opened: dict[int, str] = {}
    for step in history.steps:
        kind, tid = step[0], step[1]
        if kind == "enter":
            stamps.us += stamps.rng.randrange(1, 400)
            opened[tid] = f"{stamps._stamp()}{step[2]}({step[3]}"
        elif kind == "leave":
            parts.setdefault(tid, []).append(opened.pop(tid) + step[3].replace(") = ", ")   = ", 1) + "\n")
        elif kind == "line":
            stamps.us += stamps.rng.randrange(1, 400)
            parts.setdefault(tid, []).append(stamps._stamp() + step[2] + "\n")
    for tid, text in opened.items():
        parts.setdefault(tid, []).append(text + " <unfinished ...>\n")
    return {tid: "".join(text).encode() for tid, text in parts.items()}
