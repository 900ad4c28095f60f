"""Read a log block by block: tokens of all lines at once (tokens.py), then one loop over the rows that matter.

    block of text -> Block of tokens -> for each row: the plain case (plain_lives.py), else its handler,
                                        else the line itself, read by line_reader.py

A row is handled here only where nothing is in doubt: its task is known and lives, times do not run backwards. Where
that is not so its line is fed to the line reader, and a block whose times run backwards is read line by line, so that
both ways give the same events. (Tests compare them.)
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import islice
from typing import Final

from tracer.importers.strace import lexer, tokens, values
from tracer.importers.strace.births import Fork, Wait
from tracer.importers.strace.call_text import CallText, Image
from tracer.importers.strace.lexer import TIME_NONE
from tracer.importers.strace.line_attribution import MOST_PIDS
from tracer.importers.strace.line_reader import LineReader
from tracer.importers.strace.plain_lives import ENDS, PlainLives
from tracer.importers.strace.task import Task
from tracer.importers.strace.tokens import Block, Row
from tracer.importers.strace.values import End
from tracer.model.schema import NULL, Kind

_NO_END: Final = End()
_EXEC_FAILED: Final = int(Kind.EXEC_FAILED)
_MAX_LIVE: Final = 4096  # tasks whose open calls are looked up at the end of a block


class BlockReader:
    """Feeds blocks of whole lines to a line reader."""

    def __init__(self, reader: LineReader) -> None:
        self.reader = reader
        self._texts = CallText()
        self._tokenizer = tokens.Tokenizer()
        self._plain = PlainLives(reader, self._texts)
        self._changed: list[int] = []  # tasks that have ended or are new since the row before
        reader.machine.change = self._changed.append
        self._before = 0  # the number of the line before the block
        self._pending: list[tuple[int, int]] = []  # lines that may matter: start, and index among those sieved out
        self._fed: set[int] = set()  # where the lines begin that were fed because of that
        self._caught_up = -1  # where open calls were looked up last
        self._kept: dict[int, int] = {}  # pid -> start of its last token in the block

    def feed(self, text: bytes) -> None:
        """`text` ends in a newline."""
        reader = self.reader
        clock = reader.clock
        self._before = reader.line
        block = self._tokenizer.tokens(text, halves=not reader.machine.whole_lines)
        if block is None or (block.layout.clock != TIME_NONE and clock.kind not in (TIME_NONE, block.layout.clock)):
            self._by_line(text)
            return
        timed = block.layout.clock != TIME_NONE
        if timed:
            since = 0 if clock.latest is None else block.first + clock.base - clock.latest
            if not (block.ordered and 0 <= since < tokens.GAP):
                # Another day, a clock that was set, lines that stand out of order.
                self._by_line(text)
                return
            clock.kind = block.layout.clock
        self._changed.clear()
        self._pending.clear()
        self._fed.clear()
        self._kept.clear()
        self._caught_up = -1
        self._each(text, block)
        if timed:
            clock.latest = max(clock.latest or 0, block.last + clock.base)
        self._catch_up(block)
        if not reader.closed:
            self._open_calls(block, text, len(text))
        reader.line = self._before + block.lines
        rows = reader.rows
        if len(rows.kinds) >= rows.size:
            rows.cut()

    def _by_line(self, text: bytes) -> None:
        for raw in text[:-1].split(b"\n"):
            self.reader.feed(raw)
        self.read_by_line()

    def read_by_line(self) -> None:
        """Lines were given to the reader by somebody else."""
        # Whatever these lines have changed: the next line of any task is looked at.
        self._tokenizer.known.unsettle()

    def _each(self, text: bytes, block: Block) -> None:
        reader, pending = self.reader, self._pending
        machine, clock, rows = reader.machine, reader.clock, reader.rows
        tasks, live, unseen, strays = machine.tasks, machine.live, machine.unseen, machine.strays
        changed = self._changed
        timed, form = block.layout.clock != TIME_NONE, block.layout.form
        named, opens = form == tokens.COMM, not reader.closed
        base, queue, plain, before = clock.base, rows.queue, self._plain, self._before
        ns: int | None = None
        for row in block.rows():
            kind, pid, stamp, value, _, _, start, body, end, line = row
            if changed:
                self._look(block)
            while pending and pending[0][0] < start:
                self._late(text, block)
                base = clock.base
            if kind in (tokens.RAW, tokens.OTHER):
                reader.line = before + line
                if kind == tokens.OTHER:
                    if start in self._fed:
                        continue
                    task = tasks.get(pid)
                    if not (named or task is None or task.final or task.dead) and task.seen:
                        continue
                    if form == tokens.BARE and self._first(task, pid, stamp + base if timed else None):
                        self._here = start
                        continue
                    self._fed.add(start)
                    changed.append(pid)
                elif opens:
                    if timed and stamp == 0:  # a line without a time of its own: it is as late as the one before
                        clock.latest = max(clock.latest or 0, self._time_before(block, start))
                    if pid:
                        self._kept[pid] = start
                    elif reader.open_line is None and not text.endswith(b" attached", start, end):
                        self._open_calls(block, text, start)
                reader.feed(text[start:end])
                self._here = start
                base = clock.base
                continue
            self._here = start
            if opens:
                self._kept[pid] = start
            task = tasks.get(pid)
            alive = task is not None and not (task.final or task.dead)
            if timed:
                ns = stamp + base
            if named and alive and task is not None and kind != tokens.EXITED and kind < tokens.EXEC_HEAD:
                comm = text[text.index(b"<", start) + 1 : body - block.layout.width - 2]
                self._name(task, comm, ns)
            if kind == tokens.SIGCHLD and alive and task is not None and task.seen:
                child = tasks.get(value)
                if child is not None and child.exit_line and child not in strays and not task.lead.kids:
                    machine.line += 1
                    task.last_ns = ns
                    reader.signals = True
                    continue
            # The plain life of a process: nothing waits to be told, nobody is in doubt.
            elif task is not None and task.placed and not queue and task.lead is task and reader.open_line is None:
                if kind == tokens.EXITED:
                    if plain.exited(task, value, ns):
                        live.pop(task, None)
                        unseen.pop(task, None)
                        changed.append(pid)
                        continue
                elif not (task.final or task.dead):
                    if not task.seen:
                        task.seen = machine.follows = True
                        unseen.pop(task, None)
                        live[task] = None
                        if task.first_ns is None:
                            task.first_ns = ns
                    task.last_ns = ns
                    if _PLAIN[kind](plain, task, text, row, ns):
                        machine.line += 1
                        continue
            if timed:
                clock.latest = ns
            reader.line = before + line
            self._one(task, text, row, ns, fed=form != tokens.BARE)
            base = clock.base
        if changed:
            self._look(block)
        while pending:
            self._late(text, block)

    # -- lines that were sieved out, and matter

    def _first(self, task: Task | None, pid: int, ns: int | None) -> bool:
        """Take the first line of a task, as LineAttribution.task_of does; False if the line must be read."""
        reader, machine = self.reader, self.reader.machine
        if machine.whole_lines or reader.open_line is not None or not reader.closed:
            return False
        if task is not None and (task.final or task.dead):
            return False
        if ns is not None:
            reader.clock.latest = ns
        machine.line += 1
        if task is None:
            task = machine.appear(pid, ns)
        machine.unseen.pop(task, None)
        machine.follows = machine.follows or task is not machine.first
        task.seen, task.last_ns = True, ns
        if task.first_ns is None:
            task.first_ns = ns
        machine.live[task] = None
        return True

    _here = 0  # where the row begins that was handled last

    def _look(self, block: Block) -> None:
        """Tasks have ended, or are new: their next lines matter."""
        changed, known, sieved = self._changed, self._tokenizer.known, block.sieved
        for pid in changed:
            i = known.next(pid, self._here)
            if i >= 0:
                heappush(self._pending, (int(sieved.start[i]), i))
        changed.clear()

    def _late(self, text: bytes, block: Block) -> None:
        """Feed the first of the pending lines."""
        start, i = heappop(self._pending)
        if start in self._fed:
            return
        self._fed.add(start)
        reader, sieved = self.reader, block.sieved
        pid = int(sieved.pid[i])
        task = reader.machine.tasks.get(pid)
        if task is not None and task.seen and not (task.final or task.dead) and block.layout.form != tokens.COMM:
            return
        if block.layout.form == tokens.BARE:
            timed = block.layout.clock != TIME_NONE
            if self._first(task, pid, int(sieved.ns[i]) + reader.clock.base if timed else None):
                self._here = start
                return
        reader.line = self._before + int(sieved.line[i])
        reader.feed(text[start : int(sieved.end[i])])
        self._here = start
        task = reader.machine.tasks.get(pid)
        if task is not None and (task.final or task.dead):
            self._changed.append(pid)  # the line was not taken for that of a new life; the next may be
        if self._changed:
            self._look(block)

    def _catch_up(self, block: Block) -> None:
        """What the lines that were sieved out would have left on living tasks: the time of the last, an open call."""
        machine, clock = self.reader.machine, self.reader.clock
        living = [task for task in machine.live if task.tid is not None and 0 < task.tid < MOST_PIDS]
        last = self._tokenizer.known.last([task.tid or 0 for task in living])
        times = block.sieved.ns
        if block.layout.clock != TIME_NONE:
            for task, i in zip(living, last, strict=True):
                if i >= 0:
                    ns = int(times[i]) + clock.base
                    if task.last_ns is None or ns > task.last_ns:
                        task.last_ns = ns

    def _time_before(self, block: Block, start: int) -> int:
        """The stamp of the last line before `start` that has one."""
        np, sieved = block.np, block.sieved
        i = int(np.searchsorted(sieved.start, start)) - 1
        j = int(np.searchsorted(block.start, start)) - 1
        while j >= 0 and not block.ns[j]:
            j -= 1
        stamps = [int(times[at]) for times, at in ((sieved.ns, i), (block.ns, j)) if at >= 0]
        return max(stamps, default=0) + self.reader.clock.base

    def _open_calls(self, block: Block, text: bytes, start: int) -> None:
        """Before a line without a pid is read: which calls that do not matter are open then, in any living task."""
        machine, sieved = self.reader.machine, block.sieved
        living = [task for task in islice(machine.live, _MAX_LIVE) if task.tid is not None]
        pids = [task.tid or 0 for task in living]
        for task, i in zip(living, self._tokenizer.known.last(pids, start), strict=True):
            if i < 0 or int(sieved.start[i]) < max(self._kept.get(task.tid or 0, -1), self._caught_up):
                continue
            body = text[int(sieved.body[i]) : int(sieved.end[i])]
            if body.endswith(b"<unfinished ...>"):
                m = lexer.CALL.match(body) or lexer.RESUMED.match(body)
                task.open = (m[1], b"", task.last_ns) if m else task.open
            elif task.open is not None and task.open[0] not in machine.handlers:
                task.open = None
        self._caught_up = start

    # -- rows that matter

    def _name(self, task: Task, comm: bytes, ns: int | None) -> None:
        name = values.text(comm)
        if name != task.former_comm:
            self.reader.machine.renamed(task, name, ns)

    def _one(self, task: Task | None, text: bytes, row: Row, ns: int | None, *, fed: bool) -> None:
        """One token, with all that a line may bring about."""
        reader = self.reader
        machine, feed = reader.machine, reader.feed
        kind, pid, _, value, more, _, start, body, end, _ = row
        over = task is not None and (task.final or task.dead)
        if over and kind == tokens.EXITED and task is not None and not task.exit_line:
            over = False  # only this was still to come
        if reader.open_line is not None or over or (task is None and fed):
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
            reader.ends = True
            machine.exit_line(task, ENDS[value], ns)
        elif kind == tokens.EXIT_GROUP:
            machine.exit_called(task, b"exit_group", value, ns)
        elif kind == tokens.SIGCHLD:
            reader.signals = True
            machine.child_signal(task, value, ENDS[more], ns)
        elif not _DO[kind](self, task, text, row, ns):
            feed(text[start:end])

    # Each does what a line says, or nothing and returns False: then the line must be read.

    def _exec(self, task: Task, text: bytes, row: Row, ns: int | None) -> bool:
        image = self._texts.image(text, row[7], row[8])
        return image is not None and image[4] and self._image(task, image, ns)

    def _image(self, task: Task, image: Image, ns: int | None) -> bool:
        exe, argv, _, error, _ = image
        machine = self.reader.machine
        if error is not None:
            number = values.error_number(error)
            machine.rows.add(_EXEC_FAILED, task, ns, (NULL if number is None else number,), (exe, argv, error))
        else:
            machine.exec_done(task, (exe, argv, None), ns)
        return True

    def _exec_head(self, task: Task, text: bytes, row: Row, ns: int | None) -> bool:
        body, end = row[7:9]
        task.open = (b"execve", text[body + 7 : end - 16].rstrip(), ns)
        task.lead.exec_thread = task
        return True

    def _exec_tail(self, task: Task, text: bytes, row: Row, ns: int | None) -> bool:
        opened = task.open
        if opened is None or opened[0] != b"execve":
            return False
        image = self._texts.image_in_two(opened[1], text, row[7], row[8])
        if image is None:
            return False
        task.open = None
        self.reader.machine.whole_lines = False
        return self._image(task, image, ns)

    def _wait_head(self, task: Task, text: bytes, row: Row, ns: int | None) -> bool:
        if self.reader.machine.whole_lines:
            return False
        if not self.reader.closed:
            task.open = (b"wait4", text[row[7] + 6 : row[8] - 16].rstrip(), ns)
        return True  # its other half says all

    def _wait(self, task: Task, text: bytes, row: Row, ns: int | None) -> bool:
        kind, _, _, value, more, duration, _, body, end, _ = row
        machine = self.reader.machine
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
        machine = self.reader.machine
        machine.open_forks.pop(task, None)
        machine.child(Fork(task, call, args, ns, machine.line, value), None)
        return True

    def _fork_head(self, task: Task, text: bytes, row: Row, ns: int | None) -> bool:
        body, end = row[7:9]
        call, args, _ = self._texts.call(text, body, end)
        at = text.index(b"(", body)
        task.open = (text[body:at], text[at + 1 : end - 16].rstrip(), ns)
        machine = self.reader.machine
        machine.open_forks[task] = Fork(task, call, args, ns, machine.line)
        return True

    def _fork_tail(self, task: Task, text: bytes, row: Row, ns: int | None) -> bool:
        machine = self.reader.machine
        opened = machine.open_forks.get(task)
        if opened is None or task.open is None or opened.args.flags is None:
            return False  # the flags are in this half, or in none
        task.open = None
        del machine.open_forks[task]
        machine.whole_lines = False
        machine.child(opened._replace(seen=row[3]), None)
        return True


_DO: Final[dict[int, Callable[[BlockReader, Task, bytes, Row, int | None], bool]]] = {
    tokens.EXEC: BlockReader._exec,
    tokens.EXEC_HEAD: BlockReader._exec_head,
    tokens.EXEC_TAIL: BlockReader._exec_tail,
    tokens.WAIT: BlockReader._wait,
    tokens.WAIT_TAIL: BlockReader._wait,
    tokens.WAIT_HEAD: BlockReader._wait_head,
    tokens.FORK: BlockReader._fork,
    tokens.FORK_HEAD: BlockReader._fork_head,
    tokens.FORK_TAIL: BlockReader._fork_tail,
}
_PLAIN: Final[dict[int, Callable[[PlainLives, Task, bytes, Row, int | None], bool]]] = {
    **dict.fromkeys(range(13), PlainLives.no),
    tokens.EXIT_GROUP: PlainLives.exit_group,
    tokens.FORK: PlainLives.fork,
    tokens.FORK_HEAD: PlainLives.fork_head,
    tokens.EXEC_HEAD: PlainLives.exec_head,
    tokens.FORK_TAIL: PlainLives.fork_tail,
    tokens.EXEC: PlainLives.exec,
    tokens.EXEC_TAIL: PlainLives.exec_tail,
    tokens.WAIT: PlainLives.wait,
    tokens.WAIT_TAIL: PlainLives.wait_tail,
}
