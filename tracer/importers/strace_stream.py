"""Lines as they stand in a file, to whole lines with their task: what strace_machine.py can read.

    clone(child_stack=NULL, flags=CLONE_..|SIGCHLDstrace: Process 5 attached     a notice in the middle of a line
    , child_tidptr=0x7f..) = 5                                                   and the rest on the next one

On a terminal strace writes `[pid N]` only while it traces more than one task, so a line without belongs to the only
task alive then. The traced program's own text may stand before, after and inside of a line; mail programs break lines;
files end in the middle of one. A line that stays unread is counted, and kept for -v.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from tracer.importers import strace_lines as lines
from tracer.importers.strace_clock import Clock
from tracer.importers.strace_lines import Prefix
from tracer.importers.strace_machine import EXECS, EXITS, Machine
from tracer.importers.strace_rows import Rows, Task
from tracer.importers.strace_values import text

_CONTINUES: Final = re.compile(
    rb" ?<(?:unfinished|detached|pid changed)|[ ]*\)|, |, *$| =>|child_stack=|[{\[\"]|NULL|0x"
)
_INSIDE: Final = re.compile(
    rb"\[pid +\d{1,10}\] |\+\+\+ (?:exited|killed) "
    rb"|(?:vfork|clone3?|execve|execveat|exit_group|wait4|waitid|waitpid|syscall_435|syscall_0x1b3)\("
)
_TELLS_PID: Final = frozenset((b"set_tid_address", b"gettid", b"getpid"))
_QUOTED: Final = re.compile(rb"(?:> ?)+")
_MAX_PARTS: Final = 16
_MAX_TEXT: Final = 1 << 20
_MAX_LIVE: Final = 64
_MAX_SAMPLES: Final = 1000
_SAMPLE: Final = 200


@dataclass
class Skipped:
    """What was not understood: how many lines, and the first of them as (file, line number, text)."""

    lines: int = 0
    cut: int = 0  # lines of strace's own among them
    samples: list[tuple[str, int, bytes]] = field(default_factory=list)


@dataclass
class _Open:
    """A line that is not whole yet."""

    task: Task | None
    name: bytes  # of its call; empty for a signal or an end
    prefix: Prefix
    text: bytes  # its body so far
    number: int
    parts: list[bytes] = field(default_factory=list)
    size: int = 0


class Stream:
    """One log: `feed` its lines in order, then `close`. `pid`: whose lines they are, where they do not say (-ff)."""

    def __init__(self, rows: Rows, skipped: Skipped, name: str = "") -> None:
        self.rows = rows
        self.machine = Machine(rows)
        self.clock = Clock()
        self.skipped = skipped
        self.name = name
        self.pid: int | None = None
        self.timed = True  # False: the stamps of these files do not add up
        self.notices = False  # the tracer announces each new task here
        self._root: Task | None = None  # a first task whose pid is not known yet
        self._open: _Open | None = None
        self._unfinished: tuple[Task, bytes, int] | None = None  # the last line that ended in <unfinished ...>
        self._opens: dict[int, _Open] = {}  # of other files of the family

    # -- lines

    def feed_of(self, pid: int, raw: bytes, *, ended: bool = True) -> None:
        """A line of the file of task `pid`; each file has its own unfinished line."""
        if pid != self.pid:
            if self._open is not None and self.pid is not None:
                self._opens[self.pid] = self._open
            self.pid, self._open = pid, self._opens.pop(pid, None)
        self.feed(raw, ended=ended)

    def pause(self, pid: int) -> None:
        """The file of task `pid` has ended."""
        if pid != self.pid:
            held, self._open = self._open, self._opens.pop(pid, None)
            self._give_up("a file is cut in its last line", last=True)
            self._open = held
        else:
            self._give_up("a file is cut in its last line", last=True)

    def feed(self, raw: bytes, *, ended: bool = True) -> None:
        """A line without its newline; `ended` False: the file ends inside of it."""
        self.machine.line += 1
        if raw[-1:] == b"\r":
            raw = raw[:-1]
        if b"\x1b" in raw:
            raw = lines.SGR.sub(b"", raw)
        if b"\0" in raw:
            raw = raw.replace(b"\0", b"")
        if raw[:1] == b">":
            raw = raw[_QUOTED.match(raw).end() :]  # type: ignore[union-attr]
        if raw[:3] == b"\xef\xbb\xbf":
            raw = raw[3:]
        if not raw:
            return
        if self._open is not None and self._continue(raw):
            return
        self._line(raw, ended)

    def close(self) -> None:
        """The log has ended."""
        self._give_up("the log is cut in its last line", last=True)
        self.machine.finish()

    def _line(self, raw: bytes, ended: bool = True, salvaged: bool = False) -> None:
        prefix = lines.prefix(raw)
        body = raw[prefix.end :] if prefix.end else raw
        kind, name, at = self._kind(body)
        if kind is None:
            if not salvaged:
                self._other(raw, prefix)
            return
        whole = lines.complete(body)
        if whole and not ended and body[-1:].isdigit() and name not in EXECS:
            whole = False  # the number itself may be cut
        if whole:
            self._do(prefix, kind, name, body, at)
            return
        if kind in ("exit", "signal") and (b" ---" in body or lines.BROKEN.fullmatch(body) is None):
            if not salvaged:
                self._other(raw, prefix)  # such a line with text behind it is somebody's who talks of strace
            return
        found = lines.notice(body)
        debug = None if found else lines.DEBUG.search(body) if b" [wait(0x" in body else None
        head = body[: found[0]] if found else body[: debug.start()] if debug else body
        if salvaged and not found:
            return
        self._begin(prefix, kind, name, head, at)
        if found is not None:
            self._notice(found[1])

    def _kind(self, body: bytes) -> tuple[str | None, bytes, int]:
        """call, resumed, exit, signal or None; the call's name; where what follows the name begins."""
        first = body[:1]
        if first == b"<":
            m = lines.RESUMED.match(body)
            return ("resumed", m[1], m.end()) if m else (None, b"", 0)
        if first == b"+":
            return "exit" if body.startswith((b"+++ exited ", b"+++ killed ", b"+++ super")) else None, b"", 4
        if first == b"-":
            return "signal" if body.startswith((b"--- SIG", b"--- stopped by ")) else None, b"", 4
        m = lines.CALL.match(body)
        return ("call", m[1], m.end()) if m else (None, b"", 0)

    def _do(self, prefix: Prefix, kind: str, name: bytes, body: bytes, at: int) -> None:
        ended = superseded = signal = None
        if kind == "exit":
            ended = lines.EXITED.match(body)
            superseded = None if ended else lines.SUPERSEDED.match(body)
            if ended is None and superseded is None:
                self._skip(body)
                return
        elif kind == "signal":
            signal = lines.SIGNAL.match(body)
            if signal is None:
                self._skip(body)
                return
        task, ns = self._task(prefix, kind, name, body)
        if task is None:
            self._skip(body, cut=True)
            return
        machine = self.machine
        if kind == "call":
            machine.call(task, name, body[at:], ns)
            if task.tid is None and name in _TELLS_PID:
                got = lines.result(body)
                if got is not None and got.value:
                    self._name_root(got.value)
        elif kind == "resumed":
            machine.resumed(task, name, body[at:], ns)
        if task.open is not None and task.open[0] == name:
            self._unfinished = (task, name, machine.line)
        if ended is not None:
            machine.ended(task, ended[1], ended[2], ended[3] is not None, ns)
        elif superseded is not None:
            thread = machine.tasks.get(int(superseded[1]))
            if thread is not None and thread is not task:
                machine.exec_moves(thread, task, ns)
        elif signal is not None:
            machine.signal(task, signal[1], signal[2], ns)

    # -- lines in pieces

    def _begin(self, prefix: Prefix, kind: str, name: bytes, head: bytes, at: int) -> None:
        task = None
        if kind in ("call", "resumed"):
            task, ns = self._task(prefix, kind, name, head)
            if task is None:
                self._skip(head, cut=True)
                return
            if kind == "call":
                self.machine.call(task, name, head[at:], ns, partial=True)
            else:
                opened = task.open
                before = opened[1] if opened is not None else b""
                task.open = (name, before + head[at:], opened[2] if opened is not None else ns)
        self._open = _Open(task, name, prefix, head, self.machine.line)

    def _continue(self, raw: bytes) -> bool:
        """Whether `raw` belongs to the line that is open."""
        opened = self._open
        assert opened is not None
        found = lines.notice(raw)
        if found is not None:
            self._notice(found[1])
            return True
        prefix = lines.prefix(raw)
        if prefix.pid is not None or prefix.clock or self._kind(raw[prefix.end :])[0] is not None:
            self._give_up("a line is cut")
            return False
        if opened.task is None:
            joined = b" ".join((opened.text, *opened.parts, raw))
            if lines.complete(joined):
                self._open = None
                kind, name, at = self._kind(joined)
                if kind is not None:
                    self._do(opened.prefix, kind, name, joined, at)
                return True
        elif _CONTINUES.match(raw) and self._whole_rest(opened.text, raw):
            self._finish(opened, raw)
            return True
        elif self._whole_rest(opened.text, raw):
            self._finish(opened, b" " + b" ".join((*opened.parts, raw)))
            return True
        opened.parts.append(raw)
        opened.size += len(raw)
        if len(opened.parts) > _MAX_PARTS or opened.size > _MAX_TEXT:
            self._give_up("a line is cut")
        return True

    def _whole_rest(self, head: bytes, rest: bytes) -> bool:
        return lines.OPEN_END.search(rest, max(0, len(rest) - 60)) is not None or lines.result(rest) is not None or (
            # `) ` before a mail's line break, `= 5` after it
            rest.startswith(b"= ") and lines.complete(head[-80:] + b" " + rest)
        )

    def _finish(self, opened: _Open, rest: bytes) -> None:
        self._open = None
        task = opened.task
        assert task is not None
        if opened.name in EXITS:
            return  # said all with its head
        if task.open is not None and task.open[0] == opened.name:
            self.machine.resumed(task, opened.name, rest, task.open[2])

    def _give_up(self, why: str, *, last: bool = False) -> None:
        opened, self._open = self._open, None
        if opened is None:
            return
        self._skip(opened.text, cut=True, number=opened.number)
        if last or opened.task is None:  # the rest of a call may still come, as `<... resumed>`
            self.rows.lost(self.clock.latest, 1, f"{why} (line {opened.number})")

    # -- lines that are none

    def _notice(self, m: re.Match[bytes]) -> None:
        machine = self.machine
        pid, what, parent, threads, mode_pid = m.groups()
        if mode_pid is not None:
            self._name_root(int(mode_pid))
            return
        self.notices = True
        tid = int(pid)
        task = machine.tasks.get(tid)
        if what == b"attached":
            if task is None or task.final or task.dead:
                if task is not None:
                    machine.replace(task)
                task = machine.appear(tid, self.clock.latest, announced=True)
            task.announced = task.seen = True
            machine.unseen.pop(task, None)
            machine.live[task] = None
            if threads is not None:
                machine.threads_announced, machine.attached = int(threads) - 1, task
        elif task is not None and what == b"resumed" and parent is not None:
            above = machine.tasks.get(int(parent)) or self._root
            if above is not None:
                machine.known(above, tid)
        elif task is not None and what == b"detached":
            machine.live.pop(task, None)
            if task.lead.dying is not None:
                task.final = True
                machine.settle(task)  # up to 4.6 this is how an end looks
            else:
                task.detached = True

    def _other(self, raw: bytes, prefix: Prefix) -> None:
        found = lines.notice(raw)
        if found is not None:
            self._notice(found[1])
            return
        if lines.NOISE.match(raw) or not raw.strip():
            return
        if self._unfinished is not None and self._unfinished[2] == self.machine.line - 1:
            task, name, _ = self._unfinished
            if _CONTINUES.match(raw) and lines.result(raw) is not None and task.open is not None:
                self.machine.resumed(task, name, raw, task.last_ns)  # -z of 5.3 to 6.1 forgets the `<... resumed>`
                return
        # The program's text may stand before strace's on one line.
        m = _INSIDE.search(raw, 1) if prefix.pid is None else None
        if m is not None:
            rest = raw[m.start() :]
            inner = lines.prefix(rest)
            body = rest[inner.end :]
            if self._kind(body)[0] is not None and (lines.complete(body) or lines.notice(body)):
                self._skip(raw[: m.start()])
                self._line(rest, salvaged=True)
                return
        self._skip(raw)

    def _skip(self, raw: bytes, *, cut: bool = False, number: int | None = None) -> None:
        self.skipped.lines += 1
        self.skipped.cut += cut
        if len(self.skipped.samples) < _MAX_SAMPLES:
            self.skipped.samples.append((self.name, number or self.machine.line, raw[:_SAMPLE]))

    # -- whose line

    def _time(self, prefix: Prefix, task: Task | None) -> int | None:
        return self.clock.at(prefix, task.last_ns if task is not None else None) if self.timed else None

    def _task(self, prefix: Prefix, kind: str, name: bytes, body: bytes) -> tuple[Task | None, int | None]:
        """The task that a line is of, made if it is new, and the line's time."""
        machine = self.machine
        pid = prefix.pid if prefix.pid is not None else self.pid
        execs = kind == "call" and name in EXECS and body.rstrip()[-3:] == b"= 0"
        if pid is None:
            task = self._only_one(kind, name)
            ns = self._time(prefix, task)
            if task is None:
                if any(not t.dead for t in machine.live):
                    return None, ns
                task = self._root = machine.appear(None, ns, execs=execs)
                task.execs_first = True
        else:
            task = machine.tasks.get(pid)
            if task is None and prefix.bracketed and self._root is not None and self._fits(self._root, kind, name):
                self._name_root(pid)
                task = self._root if self._root.tid == pid else None
            new = task is None or self._another_life(task, kind, name)
            ns = self._time(prefix, None if new else task)
            if new:
                if task is None and prefix.bracketed and self.notices and kind in ("exit", "signal"):
                    return None, ns  # a task that was never announced has no end: the program wrote this
                if task is not None:
                    machine.replace(task)
                task = machine.appear(pid, ns, execs=execs)
        assert task is not None
        task.last_ns = ns
        if not task.seen:
            task.seen = True
            machine.unseen.pop(task, None)
            machine.follows = machine.follows or task is not machine.first
            if task.first_ns is None:
                task.first_ns = ns
        if not task.final or kind != "exit":
            machine.live[task] = None
        if prefix.comm is not None and kind != "exit" and name not in EXECS:
            comm = text(prefix.comm)
            if comm != task.former_comm:  # strace may go on showing the name from before an exec (seen in 6.1)
                machine.renamed(task, comm, ns)
        return task, ns

    def _another_life(self, task: Task, kind: str, name: bytes) -> bool:
        """Whether a line can not be of the task that had this pid."""
        if kind == "exit":
            return task.exit_line
        if not (task.final or task.dead) or (kind == "resumed" and name in EXITS):
            return False
        if kind == "resumed" and task.open is not None and task.open[0] == name:
            return False
        # A wait that stands before the end it reports makes nobody dead.
        return task.final or task.exit_line or not self.machine.whole_lines

    def _only_one(self, kind: str, name: bytes) -> Task | None:
        """Whose an unprefixed line is."""
        machine = self.machine
        live = list(islice(machine.live, _MAX_LIVE + 1))
        if len(live) > _MAX_LIVE:
            return None
        fitting = [t for t in live if self._fits(t, kind, name)]
        if len(fitting) == 1:
            return fitting[0]
        if len(fitting) > 1:
            return self._root if self._root in fitting and self._root is not None and self._root.tid is None else None
        if len(live) == 1 and kind != "call" and not live[0].dead:
            return live[0]
        waiting = [t for t in islice(machine.unseen, _MAX_LIVE) if not t.dead]
        return waiting[0] if len(waiting) == 1 else None

    def _fits(self, task: Task, kind: str, name: bytes) -> bool:
        if task.dead and kind != "exit":
            return False
        if kind == "call":
            return task.open is None and not task.final
        if kind == "resumed":
            return task.open is not None and task.open[0] == name
        if kind == "exit":
            return not task.exit_line
        return not task.final

    def _name_root(self, pid: int) -> None:
        root = self._root
        if root is not None and root.tid is None and pid not in self.machine.tasks:
            root.tid = pid
            self.machine.tasks[pid] = root
            self.rows.drain()
