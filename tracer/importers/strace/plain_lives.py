"""The plain life of a process, told at once: born by a fork that names it, execs, exits, is waited for.

Nine of ten processes of a big log live so. Each method checks that its case is the plain one, and does in one go what
births.py, ends.py and event_rows.py do step by step; else it returns False and has done nothing. Only
called for a task that lives, leads its process, and whose birth was told while nothing waits in the queue.
"""

from __future__ import annotations

from typing import Final

from tracer.importers.strace import values
from tracer.importers.strace.births import Fork
from tracer.importers.strace.call_text import CallText, Image
from tracer.importers.strace.line_reader import LineReader
from tracer.importers.strace.task import CLONE_NEWPID, CLONE_PARENT, CLONE_THREAD, Task
from tracer.importers.strace.tokens import Row
from tracer.importers.strace.values import End, ForkArgs
from tracer.model.schema import NULL, Kind

_FORK, _EXEC, _EXIT, _REAP = int(Kind.FORK), int(Kind.EXEC), int(Kind.EXIT), int(Kind.REAP)
_FAILED: Final = int(Kind.EXEC_FAILED)
_SPECIAL: Final = CLONE_THREAD | CLONE_PARENT | CLONE_NEWPID
ENDS: Final = tuple(End(code=code, core=False) for code in range(256))


class PlainLives:
    """For one stream."""

    def __init__(self, reader: LineReader, texts: CallText) -> None:
        self.reader = reader
        self.texts = texts
        self.machine = reader.machine
        rows = self.rows = reader.rows
        self._kind = rows.kinds.append
        self._fork_ints, self._fork_texts = rows.ints[_FORK].extend, rows.texts[_FORK].extend
        self._exec_ints, self._exec_texts = rows.ints[_EXEC].extend, rows.texts[_EXEC].extend
        self._failed_ints, self._failed_texts = rows.ints[_FAILED].extend, rows.texts[_FAILED].extend
        self._exit_ints, self._exit_text = rows.ints[_EXIT].extend, rows.texts[_EXIT].append
        self._reap_ints, self._reap_text = rows.ints[_REAP].extend, rows.texts[_REAP].append
        self._renames = rows.ints[int(Kind.RENAME)]

    # -- births

    def fork(self, task: Task, block: bytes, row: Row, ns: int | None) -> bool:
        """A fork that returned a pid which nobody bears."""
        tid, body, end = row[3], row[7], row[8]
        if not self._free(task, tid) or task in self.machine.open_forks:
            return False
        made = self.texts.call(block, body, end)
        if made[1].flags is None or made[1].flags & _SPECIAL:
            return False
        return self._born(task, tid, made, ns)

    def fork_head(self, task: Task, block: bytes, row: Row, ns: int | None) -> bool:
        """A fork that has not returned yet."""
        body, end = row[7:9]
        call, args, _ = self.texts.call(block, body, end)
        at = block.index(b"(", body)
        task.open = (block[body:at], block[at + 1 : end - 16].rstrip(), ns)
        machine = self.machine
        machine.open_forks[task] = Fork(task, call, args, ns, machine.line)
        return True

    def fork_tail(self, task: Task, block: bytes, row: Row, ns: int | None) -> bool:
        """The second half of such a fork."""
        machine = self.machine
        opened = machine.open_forks.get(task)
        if opened is None or task.open is None or opened.args.flags is None or opened.args.flags & _SPECIAL:
            return False
        if machine.strays or not self._free(task, row[3]):
            return False
        del machine.open_forks[task]
        task.open = None
        machine.whole_lines = False
        return self._born(task, row[3], self.texts.made(opened.syscall or "", opened.args), opened.start_ns)

    def _free(self, task: Task, tid: int) -> bool:
        machine = self.machine
        return not (tid in machine.tasks or task.in_ns or tid <= task.pid or machine.pending or machine.early)

    def _born(self, task: Task, tid: int, made: tuple[str, ForkArgs, str | None], ns: int | None) -> bool:
        machine, rows = self.machine, self.rows
        call, args, how = made
        child = Task(tid)
        child.pid = tid
        child.kind = "process"
        child.ready = child.placed = True
        child.syscall, child.flags = call, args.flags
        child.start_ns = ns
        child.order = machine.line
        child.ppid, child.parent_born = task.pid, task.born
        child.comm = child.born_comm = task.comm
        task.children += 1
        machine.tasks[tid] = child
        machine.unseen[child] = None
        machine.change(tid)
        if ns is None:
            rows.sequence += 1
            born = rows.sequence
        else:
            born = ns
        last = rows.last_born.get(tid)
        if last is not None and born <= last:
            born = last + 1
        rows.last_born[tid] = child.born = born
        signal = NULL if args.exit_signal is None else args.exit_signal
        pid, above = task.pid, task.born
        self._kind(_FORK)
        ts = NULL if ns is None else ns
        self._fork_ints((ts, tid, tid, born, pid, pid, above, pid, above, args.flags or 0, signal))
        self._fork_texts((how, call, task.comm, "measured"))
        return True

    # -- execs

    def exec_head(self, task: Task, block: bytes, row: Row, ns: int | None) -> bool:
        """An exec that has not returned yet."""
        task.open = (b"execve", block[row[7] + 7 : row[8] - 16].rstrip(), ns)
        task.exec_thread = task
        return True

    def exec(self, task: Task, block: bytes, row: Row, ns: int | None) -> bool:
        """An exec that worked, all on one line."""
        image = self.texts.image(block, row[7], row[8])
        return image is not None and image[4] and self._image(task, image, ns)

    def exec_tail(self, task: Task, block: bytes, row: Row, ns: int | None) -> bool:
        """`<... execve resumed>) = 0` of such an exec."""
        opened = task.open
        if opened is None or opened[0] != b"execve" or task.exec_thread is not task:
            return False
        image = self.texts.image_in_two(opened[1], block, row[7], row[8])
        if image is None or not self._image(task, image, ns):
            return False
        task.open = None
        self.machine.whole_lines = False
        return True

    def _image(self, task: Task, image: Image, ns: int | None) -> bool:
        exe, argv, comm, error, _ = image
        if error is not None:
            number = values.error_number(error)
            pid = task.pid
            self._kind(_FAILED)
            self._failed_ints((NULL if ns is None else ns, pid, pid, task.born, NULL if number is None else number))
            self._failed_texts((exe, argv, error))
            return True
        if task.old_tid is not None or task.dying is not None:
            return False
        task.former_comm, task.comm = task.comm, comm
        task.execs_first, task.exec_thread = True, None
        if self._renames:
            self.rows.cut()
        pid = task.pid
        self._kind(_EXEC)
        self._exec_ints((NULL if ns is None else ns, pid, pid, task.born, pid))
        self._exec_texts((exe, argv, comm, None, "measured"))
        return True

    # -- ends

    def exit_group(self, task: Task, block: bytes, row: Row, ns: int | None) -> bool:
        """It is about to end."""
        task.called_exit = task.called_group_exit = task.final = True
        task.dying, task.dying_ns = ENDS[row[3]], ns
        self.machine.change(task.pid)
        return True

    def exited(self, task: Task, code: int, ns: int | None) -> bool:
        """`+++ exited with N +++` of a process without threads that are still to be told of."""
        if task.dead or task.leaving or task.pending_reap is not None or task.kind is None:
            return False
        task.last_ns = ns
        task.seen = task.exit_line = task.final = task.dead = True
        task.exit_ns = task.over_ns = ns
        machine = self.machine
        machine.line += 1
        self.reader.ends = True
        pid = task.pid
        self._kind(_EXIT)
        self._exit_ints((NULL if ns is None else ns, pid, pid, task.born, code, NULL, 0, 1, NULL))
        self._exit_text("measured")
        machine.bury(task)
        return True

    def wait(self, task: Task, block: bytes, row: Row, ns: int | None) -> bool:
        """A wait, on one line, for a child whose end was told."""
        duration = row[5]
        exact = ns is not None and duration >= 0
        return self._reaped(task, row[3], ns + duration if exact and ns is not None else ns, exact=exact)

    def wait_tail(self, task: Task, block: bytes, row: Row, ns: int | None) -> bool:
        """The second half of such a wait."""
        if not self._reaped(task, row[3], ns, exact=ns is not None):
            return False
        task.open = None
        self.machine.whole_lines = False
        return True

    def _reaped(self, task: Task, number: int, ns: int | None, *, exact: bool) -> bool:
        child = self.machine.tasks.get(number)
        if child is None or not child.exit_line or child.reaped or child.lead is not child or not child.placed:
            return False
        if child in self.machine.strays or task.kids or task.in_ns:
            return False
        child.reaped = task.kids_blind = True
        zombie = NULL
        over = child.exit_ns
        if ns is not None and over is not None:
            ns = max(ns, over)
            if exact or ns > over:
                zombie = ns - over
            child.over_ns = ns
        ts = NULL if ns is None else ns
        pid = child.pid
        self._kind(_REAP)
        self._reap_ints((ts, pid, pid, child.born, task.pid, ts, zombie, NULL, NULL, NULL, NULL, NULL))
        self._reap_text("measured" if exact else "inferred")
        self.machine.bury(child)
        return True

    def no(self, task: Task, block: bytes, row: Row, ns: int | None) -> bool:
        """Nothing plain."""
        return False
