"""The same as reading a log line by line (line_reader.py), for tokens of whole blocks (tokens.py).

What a token means is done here only where nothing is in doubt: the task is known and lives, its lines are in order.
Wherever that is not so the line itself is fed to the stream, so that both ways give the same events. (A test holds
them against each other.) Knows no text but that of execs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tracer.events import NULL, Kind
from tracer.importers.strace import tokens, values
from tracer.importers.strace.births import Fork, Wait
from tracer.importers.strace.call_text import Image, Texts
from tracer.importers.strace.lexer import TIME_NONE
from tracer.importers.strace.life_merger import Marks, Taker
from tracer.importers.strace.line_reader import Stream
from tracer.importers.strace.plain_lives import ENDS, Quick
from tracer.importers.strace.task import Task
from tracer.importers.strace.tokens import Block, Row
from tracer.importers.strace.values import End
from tracer.importers.strace.whole_lives import Lives, find

_NO_END: Final = End()
_EXEC_FAILED: Final = int(Kind.EXEC_FAILED)


class Bulk:
    """Feeds blocks of whole lines to a stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._texts = Texts()
        self._tokenizer = tokens.Tokenizer()
        self._quick = Quick(stream, self._texts)
        self._lives = Taker(stream)
        self._before = 0  # the number of the line before the block

    def feed(self, text: bytes) -> None:
        """`text` ends in a newline."""
        block = self._tokenizer.tokens(text, heads=self.stream.machine.whole_lines)
        self.take(text, block, find(block, text, self._texts) if block is not None and block.ordered else None)

    def take(self, text: bytes, block: Block | None, lives: Lives | None) -> None:
        """Do what the lines of a text say; `block` are its tokens, `lives` the whole lives in it."""
        clock = self.stream.clock
        self._before = self.stream.line
        if block is None or (block.clock != TIME_NONE and clock.kind not in (TIME_NONE, block.clock)):
            for raw in text[:-1].split(b"\n"):
                self.stream.feed(raw)
            return
        if block.clock != TIME_NONE:
            clock.kind = block.clock
            since = 0 if clock.latest is None else block.first + clock.base - clock.latest
            if not (block.ordered and 0 <= since < tokens.GAP):
                self._out_of_order(text, block)  # another day, a clock that was set, lines that stand out of order
                self.stream.line = self._before + block.lines
                return
        taken = self._lives.take(block, lives) if lives is not None else None
        rest = block.np.arange(len(block.kind)) if taken is None else taken.rest
        self._each(text, block, rest, None if taken is None else taken.marks)
        if block.clock != TIME_NONE:
            clock.latest = max(clock.latest or 0, block.last + clock.base)
        self.stream.line = self._before + block.lines
        rows = self.stream.rows
        if taken is not None:
            self._lives.tell(block, taken)
        self.stream.machine.tidy()
        if len(rows.kinds) >= rows.size:
            rows.cut()

    def _each(self, text: bytes, block: Block, rest: Any, marks: Marks | None) -> None:
        """The tokens that are left, in order."""
        stream = self.stream
        machine, clock, rows = stream.machine, stream.clock, stream.rows
        tasks, live, unseen, strays = machine.tasks, machine.live, machine.unseen, machine.strays
        timed = block.clock != TIME_NONE
        base, queue, quick, kinds = clock.base, rows.queue, self._quick, rows.kinds
        ns: int | None = None
        for number, row in zip(rest.tolist(), block.rows(rest), strict=True):
            if marks is not None and len(kinds) != marks.count:
                marks.since(len(kinds))
            kind, pid, stamp, value, _, _, start, _, end = row
            if marks is not None:
                marks.token = number
            if kind == tokens.RAW:
                stream.line = self._before + int(block.line[number])
                stream.feed(text[start:end])
                base = clock.base
                continue
            task = tasks.get(pid)
            if kind == tokens.WAIT_HEAD and task is not None and task.seen and not machine.whole_lines:
                continue  # its other half says all
            if timed:
                ns = stamp + base
            if kind == tokens.SIGCHLD and task is not None:
                child = tasks.get(value)
                if child is not None and child.exit_line and child not in strays and not task.lead.kids:
                    machine.line += 1
                    task.last_ns = ns
                    stream.signals = True
                    continue
            # The plain life of a process: nothing waits to be told, nobody is in doubt.
            elif task is not None and task.placed and not queue and task.lead is task and stream.open_line is None:
                if kind == tokens.EXITED:
                    if quick.exited(task, value, ns):
                        live.pop(task, None)
                        unseen.pop(task, None)
                        continue
                elif not (task.final or task.dead):
                    if not task.seen:
                        task.seen = machine.follows = True
                        unseen.pop(task, None)
                        live[task] = None
                        if task.first_ns is None:
                            task.first_ns = ns
                    task.last_ns = ns
                    if _QUICK[kind](quick, task, text, row, ns):
                        machine.line += 1
                        continue
            clock.latest = ns
            stream.line = self._before + int(block.line[number])
            self._one(task, text, row, ns)
            base = clock.base
        if marks is not None:
            marks.since(len(kinds))

    def _out_of_order(self, text: bytes, block: Block) -> None:
        clock = self.stream.clock
        for number, row in enumerate(block.rows(slice(None))):
            self.stream.line = self._before + int(block.line[number])
            ns = row[2] + clock.base
            late = clock.latest is not None and not 0 <= ns - clock.latest < tokens.GAP
            if late or row[0] == tokens.RAW:
                self.stream.feed(text[row[6] : row[8]])
            else:
                clock.latest = ns
                self._one(self.stream.machine.tasks.get(row[1]), text, row, ns)

    def _one(self, task: Task | None, text: bytes, row: Row, ns: int | None) -> None:
        """One token, with all that a line may bring about."""
        stream = self.stream
        machine, feed = stream.machine, stream.feed
        kind, pid, _, value, more, _, start, body, end = row
        over = task is not None and (task.final or task.dead)
        if over and kind == tokens.EXITED and task is not None and not task.exit_line:
            over = False  # only this was still to come
        if kind == tokens.RAW or stream.open_line is not None or over:
            feed(text[start:end])
            return
        execs = False
        if task is None and kind == tokens.EXEC:
            image = self._texts.image(text, body, end)
            if image is None or not image[4]:
                feed(text[start:end])
                return
            execs = image[3] is None
        machine.line += 1
        if task is None:
            task = machine.appear(pid, ns, execs=execs)
        task.last_ns = ns
        if not task.seen:
            task.seen = True
            machine.unseen.pop(task, None)
            machine.live[task] = None
            machine.follows = machine.follows or task is not machine.first
            if task.first_ns is None:
                task.first_ns = ns
        if kind == tokens.EXITED:
            stream.ends = True
            machine.exit_line(task, ENDS[value], ns)
        elif kind == tokens.EXIT_GROUP:
            machine.exit_called(task, b"exit_group", value, ns)
        elif kind == tokens.SIGCHLD:
            stream.signals = True
            machine.child_signal(task, value, ENDS[more], ns)
        elif not _DO[kind](self, task, text, row, ns):
            feed(text[start:end])

    # Each does what a line says, or nothing and returns False: then the line must be read.

    def _exec(self, task: Task, text: bytes, row: Row, ns: int | None) -> bool:
        image = self._texts.image(text, row[7], row[8])
        return image is not None and image[4] and self._image(task, image, ns)

    def _image(self, task: Task, image: Image, ns: int | None) -> bool:
        exe, argv, _, error, _ = image
        machine = self.stream.machine
        if error is not None:
            number = values.error_number(error)
            machine.rows.add(_EXEC_FAILED, task, ns, (NULL if number is None else number,), (exe, argv, error))
        else:
            machine.exec_done(task, (exe, argv, None), ns)
        return True

    def _exec_head(self, task: Task, text: bytes, row: Row, ns: int | None) -> bool:
        body, end = row[7:]
        task.open = (b"execve", text[body + 7 : end - 16].rstrip(), ns)
        task.lead.exec_thread = task
        return True

    def _exec_tail(self, task: Task, text: bytes, row: Row, ns: int | None) -> bool:
        opened = task.open
        if opened is None or opened[0] != b"execve":
            return False
        image = self._texts.image(b"execve(" + opened[1], 0, len(opened[1]) + 7)
        if image is None or image[3] is not None:
            return False
        task.open = None
        self.stream.machine.whole_lines = False
        return self._image(task, image, ns)

    def _wait_head(self, task: Task, text: bytes, row: Row, ns: int | None) -> bool:
        return not self.stream.machine.whole_lines  # its other half says all

    def _wait(self, task: Task, text: bytes, row: Row, ns: int | None) -> bool:
        kind, _, _, value, more, duration, _, body, end = row
        machine = self.stream.machine
        tail = kind == tokens.WAIT_TAIL
        child = machine.tasks.get(value)
        if more < 0 and (child is None or not child.dead):
            return False  # its status is needed
        if tail:
            task.open = None
            machine.whole_lines = False
        elif text.find(b"WNOWAIT", body, end) >= 0:
            return False
        done = ns
        if not tail and ns is not None and duration >= 0:
            done = ns + duration
        exact = ns is not None and (tail or duration >= 0)
        machine.waited(Wait(task, value, ENDS[more] if more >= 0 else _NO_END, done, exact, {}))
        return True

    def _fork(self, task: Task, text: bytes, row: Row, ns: int | None) -> bool:
        value, body, end = row[3], row[7], row[8]
        call, args, _ = self._texts.call(text, body, end)
        machine = self.stream.machine
        machine.open_forks.pop(task, None)
        machine.child(Fork(task, call, args, ns, machine.line, value), None)
        return True

    def _fork_head(self, task: Task, text: bytes, row: Row, ns: int | None) -> bool:
        body, end = row[7:]
        call, args, _ = self._texts.call(text, body, end)
        at = text.index(b"(", body)
        task.open = (text[body:at], text[at + 1 : end - 16].rstrip(), ns)
        machine = self.stream.machine
        machine.open_forks[task] = Fork(task, call, args, ns, machine.line)
        return True

    def _fork_tail(self, task: Task, text: bytes, row: Row, ns: int | None) -> bool:
        machine = self.stream.machine
        opened = machine.open_forks.get(task)
        if opened is None or task.open is None or opened.args.flags is None:
            return False  # the flags are in this half, or in none
        task.open = None
        del machine.open_forks[task]
        machine.whole_lines = False
        machine.child(opened._replace(seen=row[3]), None)
        return True


_DO: Final[dict[int, Callable[[Bulk, Task, bytes, Row, int | None], bool]]] = {
    tokens.EXEC: Bulk._exec,
    tokens.EXEC_HEAD: Bulk._exec_head,
    tokens.EXEC_TAIL: Bulk._exec_tail,
    tokens.WAIT: Bulk._wait,
    tokens.WAIT_TAIL: Bulk._wait,
    tokens.WAIT_HEAD: Bulk._wait_head,
    tokens.FORK: Bulk._fork,
    tokens.FORK_HEAD: Bulk._fork_head,
    tokens.FORK_TAIL: Bulk._fork_tail,
}
_QUICK: Final[dict[int, Callable[[Quick, Task, bytes, Row, int | None], bool]]] = {
    **dict.fromkeys(range(13), Quick.no),
    tokens.EXIT_GROUP: Quick.exit_group,
    tokens.FORK: Quick.fork,
    tokens.FORK_HEAD: Quick.fork_head,
    tokens.EXEC_HEAD: Quick.exec_head,
    tokens.FORK_TAIL: Quick.fork_tail,
    tokens.EXEC: Quick.exec,
    tokens.EXEC_TAIL: Quick.exec_tail,
    tokens.WAIT: Quick.wait,
    tokens.WAIT_TAIL: Quick.wait_tail,
}
