"""Lines as they stand in a file, to whole lines with their task: what syscall_handlers.py can read.

    clone(child_stack=NULL, flags=CLONE_..|SIGCHLDstrace: Process 5 attached     a notice in the middle of a line
    , child_tidptr=0x7f..) = 5                                                   and the rest on the next one

The traced program's own text may stand before, after and inside of a line; mail programs break lines; files end in the
middle of one. A line that stays unread is counted, and kept for -v. Whose a line is, line_attribution.py finds out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from tracer.importers.strace import lexer
from tracer.importers.strace.clock import Clock
from tracer.importers.strace.event_rows import Rows
from tracer.importers.strace.lexer import Prefix
from tracer.importers.strace.line_attribution import LineAttribution, Skipped
from tracer.importers.strace.syscall_handlers import EXECS, EXITS
from tracer.importers.strace.task import Task

_CONTINUES: Final = re.compile(
    rb" ?<(?:unfinished|detached|pid changed)|[ ]*\)|, |, *$| =>|child_stack=|[{\[\"]|NULL|0x"
)
_INSIDE: Final = re.compile(
    rb"\[pid +\d{1,10}\] |\+\+\+ (?:exited|killed) "
    rb"|(?:vfork|clone3?|execve|execveat|exit_group|wait4|waitid|waitpid|syscall_435|syscall_0x1b3)\("
)
_TELLS_PID: Final = frozenset((b"set_tid_address", b"gettid", b"getpid"))
_QUOTED: Final = re.compile(rb"(?:> ?)+")
_BEFORE_RESUMED: Final = re.compile(rb"<\.\.\. [a-z_][a-z0-9_]{0,40}")
_RESULT_BEGUN: Final = re.compile(rb"\)(?: += *(?:-1(?: E[A-Z0-9]+(?: \([^()]*)?)?)?)? *$")
_MAX_PARTS: Final = 16
_TAIL: Final = 160  # of a line: a result and what stands behind it is not longer
_MAX_TEXT: Final = 1 << 20


@dataclass
class _Open:
    """A line that is not whole yet."""

    task: Task | None
    name: bytes  # of its call; empty for a signal or an end
    prefix: Prefix
    text: bytes  # its body so far
    number: int
    glued: bool  # it was cut by a notice of the tracer, which took nothing away; else at a blank, by a mail program
    parts: list[bytes] = field(default_factory=list)
    size: int = 0

    def add(self, raw: bytes) -> None:
        """The next piece."""
        last = self.parts[-1] if self.parts else self.text
        whole = (self.glued and _CONTINUES.match(raw)) or raw[:1] == b" " or last[-1:] == b" "
        self.parts.append(raw if whole else b" " + raw)
        self.size += len(raw)
        self.glued = False


class LineReader(LineAttribution):
    """One log: `feed` its lines in order, then `close`."""

    def __init__(self, rows: Rows, skipped: Skipped, name: str = "") -> None:
        super().__init__(rows, skipped, name)
        self.open_line: _Open | None = None  # the last line, if it is not whole yet
        self._unfinished: tuple[Task, bytes, int] | None = None  # the last line that ended in <unfinished ...>
        self._held = b""  # the last line, if it ends in `<... wait4`
        self._opens: dict[int, _Open] = {}  # of other files of the family
        self.names: dict[int, str] = {}  # of these files
        self._lines: dict[int, int] = {}  # how far they are read

    # -- lines

    def feed_of(self, pid: int, raw: bytes, *, ended: bool = True) -> None:
        """A line of the file of task `pid`; each file has its own unfinished line, and its own clock."""
        if pid != self.pid:
            self.clock = self.clocks.get(pid) or self.clocks.setdefault(pid, Clock())
            if self.pid is not None:
                self._lines[self.pid] = self.line
                if self.open_line is not None:
                    self._opens[self.pid] = self.open_line
            self.pid, self.open_line = pid, self._opens.pop(pid, None)
            self.name, self.line = self.names.get(pid, ""), self._lines.get(pid, 0)
        self.feed(raw, ended=ended)

    def pause(self, pid: int) -> None:
        """The file of task `pid` has ended."""
        why = f"{self.names.get(pid, 'a file').rpartition('/')[2]} is cut in its last line"
        if pid != self.pid:
            held, self.open_line = self.open_line, self._opens.pop(pid, None)
            self._give_up(why, last=True)
            self.open_line = held
        else:
            self._give_up(why, last=True)

    def feed(self, raw: bytes, *, ended: bool = True) -> None:
        """A line without its newline; `ended` False: the file ends inside of it."""
        self.line += 1
        self.machine.line += 1
        if b" [wait(0x" in raw and not self.numbered and (stop := lexer.STOPPED.search(raw)) is not None:
            self.name_root(int(stop[1]))  # -d: of the only task
        if raw[-1:] in (b"\r", b" "):
            raw = raw.rstrip(b"\r ")  # mail programs put a blank where they have broken a line
        if b"\x1b" in raw:
            raw = lexer.SGR.sub(b"", raw)
        if b"\0" in raw:
            raw = raw.replace(b"\0", b"")
        if raw[:3] == b"\xef\xbb\xbf":
            raw = raw[3:]
        if raw[:1] == b">":
            raw = raw[_QUOTED.match(raw).end() :]  # type: ignore[union-attr]
        if not raw:
            return
        held, self._held = self._held, b""
        if held:
            if raw.startswith(b"resumed>"):
                raw = held + b" " + raw
            else:
                self.skip(held, number=self.line - 1)
        if self.open_line is not None and self._continue(raw):
            return
        last, raw = [raw], b""  # the only reference: a line may have megabytes, and each copy counts
        self._line(last.pop(), ended)

    def close(self) -> None:
        """The log has ended."""
        if self._held:
            self.skip(self._held)
        self._give_up("the log is cut in its last line", last=True)
        self.machine.finish()

    def _line(self, raw: bytes, ended: bool = True, salvaged: bool = False) -> None:
        prefix = lexer.prefix(raw)
        body = raw[prefix.end :] if prefix.end else raw
        kind, name, at = self._kind(body)
        if kind is None:
            if _BEFORE_RESUMED.fullmatch(body):
                self._held = raw  # a mail program broke the line there
            elif not salvaged:
                self._other(raw, prefix)
            return
        debug = lexer.DEBUG.search(body) if b" [wait(0x" in body else None
        if debug is not None:
            body = body[: debug.start()]
        whole = lexer.complete(body)
        if whole and not ended and body[-1:].isdigit() and name not in EXECS:
            whole = False  # the number itself may be cut
        if whole:
            only, raw, body = [body], b"", b""
            self._do(prefix, kind, name, only.pop(), at)
            return
        if kind in ("exit", "signal") and (b" ---" in body or lexer.BROKEN.fullmatch(body) is None):
            if not salvaged:
                self._other(raw, prefix)  # such a line with text behind it is somebody's who talks of strace
            return
        found = lexer.notice(body)
        head = body[: found[0]] if found else body
        if salvaged and not found:
            return
        if self.numbered and prefix.pid is None and found is None:
            self.skip(raw)
            return
        self._begin(prefix, kind, name, head, at, glued=found is not None)
        if found is not None:
            self.notice(found[1])

    def _kind(self, body: bytes) -> tuple[str | None, bytes, int]:
        """call, resumed, exit, signal or None; the call's name; where what follows the name begins."""
        first = body[:1]
        if first == b"<":
            m = lexer.RESUMED.match(body)
            return ("resumed", m[1], m.end()) if m else (None, b"", 0)
        if first == b"+":
            return "exit" if body.startswith((b"+++ exited ", b"+++ killed ", b"+++ super")) else None, b"", 4
        if first == b"-":
            return "signal" if body.startswith((b"--- SIG", b"--- stopped by ")) else None, b"", 4
        m = lexer.CALL.match(body)
        return ("call", m[1], m.end()) if m else (None, b"", 0)

    def _do(self, prefix: Prefix, kind: str, name: bytes, body: bytes, at: int) -> None:
        ended = superseded = signal = None
        if kind == "exit":
            ended = lexer.EXITED.match(body)
            superseded = None if ended else lexer.SUPERSEDED.match(body)
            if ended is None and superseded is None:
                self.skip(body)
                return
        elif kind == "signal":
            signal = lexer.SIGNAL.match(body)
            if signal is None:
                self.skip(body)
                return
        task, ns = self.task_of(prefix, kind, name, body)
        if task is None:
            self.skip(body, cut=True)
            return
        machine = self.machine
        if kind == "call":
            rest = body[at:]
            body = body[-_TAIL:]
            machine.call(task, name, rest, ns)
            if task.tid is None and name in _TELLS_PID:
                got = lexer.result(body)
                if got is not None and got.value:
                    self.name_root(got.value)
        elif kind == "resumed":
            machine.resumed(task, name, body[at:], ns)
        if task.open is not None and task.open[0] == name:
            self._unfinished = (task, name, self.line)
        if ended is not None:
            self.ends = self.ends or ended[1] is not None
            machine.ended(task, ended[1], ended[2], ended[3] is not None, ns)
        elif superseded is not None:
            thread = machine.tasks.get(int(superseded[1]))
            if thread is not None and thread is not task:
                machine.exec_moves(thread, task, ns)
        elif signal is not None:
            self.signals = True
            machine.signal(task, signal[1], signal[2], ns)

    # -- lines in pieces

    def _begin(self, prefix: Prefix, kind: str, name: bytes, head: bytes, at: int, *, glued: bool) -> None:
        task = None
        if kind in ("call", "resumed"):
            task, ns = self.task_of(prefix, kind, name, head)
            if task is None:
                self.skip(head, cut=True)
                return
            if kind == "call":
                self.machine.call(task, name, head[at:], ns, partial=True)
            else:
                opened = task.open
                before = opened[1] if opened is not None else b""
                task.open = (name, before + head[at:], opened[2] if opened is not None else ns)
        self.open_line = _Open(task, name, prefix, head, self.line, glued)

    def _continue(self, raw: bytes) -> bool:
        """Whether `raw` belongs to the line that is open."""
        opened = self.open_line
        assert opened is not None
        found = lexer.notice(raw)
        if found is not None:
            self.notice(found[1])
            if found[0]:
                opened.add(raw[: found[0]])
            opened.glued = True
            return True
        prefix = lexer.prefix(raw)
        if prefix.bracketed or prefix.clock or self._kind(raw[prefix.end :])[0] is not None:
            self._give_up("a line is cut")
            return False
        opened.add(raw)
        if opened.task is None:
            joined = b"".join((opened.text, *opened.parts))
            if lexer.complete(joined):
                self.open_line = None
                kind, name, at = self._kind(joined)
                if kind is not None:
                    self._do(opened.prefix, kind, name, joined, at)
                return True
        elif self._whole_rest(b"".join((opened.text[-_TAIL:], *opened.parts[:-1])), raw):
            self._finish(opened, b"".join(opened.parts))
            return True
        if len(opened.parts) > _MAX_PARTS or opened.size > _MAX_TEXT:
            self._give_up("a line is cut")
        return True

    def _whole_rest(self, head: bytes, rest: bytes) -> bool:
        got = lexer.result(rest)
        if got is not None and (got.value != -1 or got.error is not None):  # after -1 the error is still to come
            return True
        return lexer.OPEN_END.search(rest, max(0, len(rest) - 60)) is not None or (
            # `) ` before a mail's line break and `= 5` after it, or `) =` and `5`, or `) = -1` and `ECHILD (..)`
            _RESULT_BEGUN.search(head, max(0, len(head) - _TAIL)) is not None
            and lexer.complete(head[-_TAIL:] + b" " + rest)
        )

    def _finish(self, opened: _Open, rest: bytes) -> None:
        self.open_line = None
        task = opened.task
        assert task is not None
        if opened.name in EXITS:
            return  # said all with its head
        if task.open is not None and task.open[0] == opened.name:
            self.machine.resumed(task, opened.name, rest, task.open[2])

    def _give_up(self, why: str, *, last: bool = False) -> None:
        opened, self.open_line = self.open_line, None
        if opened is None:
            return
        got = lexer.result(opened.text) if opened.task is not None and not opened.parts else None
        if got is not None and got.error is not None:
            self._finish(opened, b"")  # all that is missing is the error's text
            return
        self.skip(opened.text, cut=True, number=opened.number)
        if last or opened.task is None:  # the rest of a call may still come, as `<... resumed>`
            self.rows.lost(self.clock.latest, 1, f"{why} (line {opened.number})")

    # -- lines that are none

    def _other(self, raw: bytes, prefix: Prefix) -> None:
        found = lexer.notice(raw)
        if found is not None:
            self.notice(found[1])
            return
        if lexer.NOISE.match(raw) or not raw.strip():
            return
        forgets = self.machine.whole_lines and not self.machine.one_file_each
        if forgets and self._unfinished is not None and self._unfinished[2] == self.line - 1:
            task, name, _ = self._unfinished
            if _CONTINUES.match(raw) and lexer.result(raw) is not None and task.open is not None:
                self.machine.resumed(task, name, raw, task.last_ns)  # -z of 5.3 to 6.1 forgets the `<... resumed>`
                return
        # The program's text may stand before strace's on one line.
        m = _INSIDE.search(raw, 1) if prefix.pid is None else None
        if m is not None:
            rest = raw[m.start() :]
            inner = lexer.prefix(rest)
            body = rest[inner.end :]
            known = inner.pid is not None or not self.closed
            if known and self._kind(body)[0] is not None and (lexer.complete(body) or lexer.notice(body)):
                self.skip(raw[: m.start()])
                self._line(rest, salvaged=True)
                return
        self.skip(raw)
