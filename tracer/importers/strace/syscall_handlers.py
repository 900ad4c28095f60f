"""What each line means: calls, results, signals and ends, given to the life stories of ends.py.

The lines come whole and with their task (line_reader.py); the rows leave through event_rows.py. A call in two
parts (`<unfinished ...>`, `<... resumed>`) is kept on its task and read when it is whole: fork flags stand in the
head, the child's pid in the tail. Knows nothing of prefixes, files and glued text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from tracer.importers.strace import lexer, values
from tracer.importers.strace.births import Fork, Wait
from tracer.importers.strace.ends import Ends
from tracer.importers.strace.event_rows import Rows
from tracer.importers.strace.task import Task
from tracer.importers.strace.values import End
from tracer.model.schema import NULL, Kind

_EXEC, _EXEC_FAILED = int(Kind.EXEC), int(Kind.EXEC_FAILED)
_FORK_FAILED, _RENAME, _EXIT = int(Kind.FORK_FAILED), int(Kind.RENAME), int(Kind.EXIT)

FORKS: Final = {
    b"fork": b"fork",
    b"vfork": b"vfork",
    b"clone": b"clone",
    b"clone2": b"clone",
    b"clone3": b"clone3",
    # clone3 is call 435 on all Linux ports; up to 4.20 an unknown call was shown in decimal, then in hexadecimal.
    b"syscall_435": b"clone3",
    b"syscall_0x1b3": b"clone3",
    b"SYS_435": b"clone3",
    # toybox numbers all calls: x86-64
    b"SYS_56": b"clone",
    b"SYS_57": b"fork",
    b"SYS_58": b"vfork",
}
EXECS: Final = frozenset((b"execve", b"execveat", b"execv", b"SYS_59", b"SYS_322"))
EXITS: Final = {
    b"exit": b"exit",
    b"_exit": b"exit",
    b"exit_group": b"exit_group",
    b"SYS_60": b"exit",
    b"SYS_231": b"exit_group",
}
WAITS: Final = frozenset((b"wait4", b"waitid", b"waitpid", b"osf_wait4", b"SYS_61", b"SYS_247"))
KILLS: Final = frozenset((b"kill", b"tkill", b"tgkill"))
_RESTARTS: Final = frozenset(("ERESTARTSYS", "ERESTARTNOINTR", "ERESTARTNOHAND", "ERESTART_RESTARTBLOCK", "ERESTART"))
_EXIT_ARG: Final = re.compile(rb"\s*(?:\w{1,20}=)?(-?\d{1,20}|0x[0-9a-f]{1,16})")
_KILL_ARGS: Final = re.compile(rb"\s*(?:\w{1,20}=)?(-?\d{1,10})\b.*?, (?:\w{1,20}=)?(SIG\w{1,16}|\d{1,3})")
_BALANCED: Final = re.compile(rb'[^"]*+(?:"(?:[^"\\]++|\\.)*+"[^"]*+)*+', re.DOTALL)
_WNOWAIT: Final = re.compile(rb"\}, 0x1[0-9a-f]{6}\b")  # -X raw
_COMM_LENGTH: Final = 15
# After the exec of a thread strace 6.1 with --seccomp-bpf reads the result when the program makes its next call, and
# finds that call's number. An exec that has superseded its process can only have worked; the call itself is lost.
_NO_ERROR: Final = "errno 1844674407"


class Call(NamedTuple):
    """A call that has returned: all of its text, when it was entered, the time of its last line."""

    task: Task
    name: bytes
    args: bytes
    got: lexer.Result
    start_ns: int | None
    ns: int | None
    whole: bool = True  # on one line, so that `ns` is when it was entered


class SyscallHandlers(Ends):
    """One log's tasks, driven by lines."""

    def __init__(self, rows: Rows) -> None:
        super().__init__(rows)
        self.handlers: dict[bytes, Callable[[Call], None]] = {}
        for name in FORKS:
            self.handlers[name] = self._fork
        for name in EXECS:
            self.handlers[name] = self._exec
        for name in WAITS:
            self.handlers[name] = self._wait
        for name in EXITS:
            self.handlers[name] = self._exit_result
        for name in KILLS:
            self.handlers[name] = self._kill
        self.handlers[b"prctl"] = self._prctl

    # -- calls

    def call(self, task: Task, name: bytes, args: bytes, ns: int | None, *, partial: bool = False) -> None:
        """A call's line from after its parenthesis on: whole, or with an open end, or cut (`partial`)."""
        end = lexer.OPEN_END.search(args, max(0, len(args) - 60)) if args[-1:] == b">" else None
        if end is not None or partial:
            head = args[: end.start()] if end is not None else args
            if end is not None and end[2] is not None:  # <pid changed to N ...>
                task.open = (name, head, ns)
                self.exec_moves(task, self.tasks.get(int(end[2])), ns)
                return
            if name in EXITS:
                self._exit(task, EXITS[name], head, ns)
                if end is not None and end[3] is not None:
                    self._exit_status(task, int(end[3]), ns)
            elif end is None or end[1] is not None:
                task.open = (name, head, ns)
                if name in FORKS:
                    self._fork_open(task, name, head, ns)
                elif name in EXECS:
                    task.lead.exec_thread = task
            elif end[3] is not None:
                self._exit_status(task, int(end[3]), ns)
            else:
                self._detached(task, name, head, ns)
            return
        handler = self.handlers.get(name)
        if handler is None:
            return
        got = lexer.result(args)
        if got is not None:
            if got.start and args[: got.start].endswith(b"<unfinished ...>") and name not in EXITS:
                return  # a dying task's last call
            handler(Call(task, name, args, got, ns, ns))

    def resumed(self, task: Task, name: bytes, rest: bytes, ns: int | None) -> None:
        """`<... name resumed>rest`: joined to the head that is open, if there is one."""
        self.whole_lines = self.one_file_each
        opened = task.open
        if opened is None and name in EXECS and task.lead is task:
            # The line that says whose exec superseded the leader may be switched off (-qqq).
            other, task.exec_thread = task.exec_thread, None
            if other is not None and other.open is not None and other.open[0] in EXECS:
                self.exec_moves(other, task, ns)
                opened = task.open
        task.open = None
        head, start_ns = b"", None
        if opened is not None:
            known, head, start_ns = opened
            if name not in (known, b"???"):
                head = b""
                self.open_forks.pop(task, None)
        end = lexer.OPEN_END.search(rest, max(0, len(rest) - 60)) if rest[-1:] == b">" else None
        if end is not None:
            if end[1] is not None:
                task.open = (name, head + rest[: end.start()], start_ns)
                begun = self.open_forks.get(task)
                if begun is not None and begun.args.flags is None:  # its first half came in pieces
                    self.open_forks[task] = begun._replace(args=values.fork_args(FORKS[name], task.open[1]))
            return
        handler = self.handlers.get(name)
        if handler is None:
            return
        args = head + rest
        got = lexer.result(args)
        if got is None or args[: got.start].endswith(b"<unfinished ...>"):
            self.open_forks.pop(task, None)
            return
        handler(Call(task, name, args, got, start_ns if opened is not None else ns, ns, whole=False))

    # -- forks

    def _fork_open(self, task: Task, name: bytes, head: bytes, ns: int | None) -> None:
        call = FORKS[name]
        self.open_forks[task] = Fork(task, call.decode(), values.fork_args(call, head), ns, self.line)

    def _fork(self, call: Call) -> None:
        task, name, args, got, start_ns, ns, _ = call
        opened = self.open_forks.pop(task, None)
        kind = FORKS[name]
        value = got.value
        if value is None or value == 0 or got.error in _RESTARTS:
            return  # interrupted, or the child's own return
        shown = values.fork_args(kind, args)
        if value < 0:
            error = got.error if got.error is not None else f"errno {-value}"
            flags = NULL if shown.flags is None else shown.flags
            cause = "injected" if got.injected else None
            number = values.error_number(error)
            ints = (flags, NULL if number is None else number)
            self.rows.add(_FORK_FAILED, task, ns, ints, (kind.decode(), error, cause))
            return
        if value >= values.MOST_PIDS:
            return
        order = opened.order if opened is not None else self.line
        self.child(Fork(task, kind.decode(), shown, start_ns, order, value), got.real_pid)

    # -- exec

    def _exec(self, call: Call) -> None:
        task, name, args, got, _, ns, _ = call
        quoted = _BALANCED.match(args)
        if quoted is not None and quoted.end() < got.start:
            return  # cut inside a string that looks like a result
        if got.value is None or got.error in _RESTARTS:
            return
        exe, argv, cwd = values.exec_args(name, args)
        value, moved, task.moved = got.value, task.moved, False
        if value == -1 and moved and got.error is not None and got.error.startswith(_NO_ERROR):
            value = 0
        if value < 0:
            error = got.error if got.error is not None else f"errno {-value}"
            number = values.error_number(error)
            self.rows.add(_EXEC_FAILED, task, ns, (NULL if number is None else number,), (exe, argv, error))
            return
        if value == 0:
            self.exec_done(task, (exe, argv, cwd), ns)

    def exec_done(self, task: Task, image: values.Image, ns: int | None, *, inferred: bool = False) -> None:
        """A process began a new image."""
        self.be_process(task)
        lead = task.lead
        exe, argv, cwd = image
        if exe is not None:
            # begin_new_exec() names the task after the last part of the path.
            name = exe.encode("utf-8", "surrogateescape").rpartition(b"/")[2][:_COMM_LENGTH]
            lead.former_comm = lead.comm
            lead.comm = name.decode("utf-8", "surrogateescape")
        old_tid, lead.old_tid = lead.old_tid if lead.old_tid is not None else task.tid, None
        texts = (exe, argv, lead.comm, cwd, "inferred" if inferred else "measured")
        self.rows.add(_EXEC, lead, ns, (NULL if old_tid is None else old_tid,), texts)
        lead.execs_first, lead.exec_thread = True, None
        if lead.dying is not None and not lead.dead and task is lead:
            lead.dying = None

    def exec_moves(self, thread: Task, leader: Task | None, ns: int | None) -> None:
        """The exec of `thread` takes over the leader's tid: the leader has not died, and the thread shows no end."""
        self.live.pop(thread, None)
        said = thread.dead
        thread.final = thread.dead = True
        self._changed(thread)
        if leader is None or leader is thread:
            return
        if thread.open is not None:
            leader.open, thread.open = thread.open, None
        leader.moved = True
        leader.dying = None
        leader.final = leader.called_exit = False
        self.live[leader] = None
        if thread.lead is thread and thread in self.strays:
            self.be_thread(thread, leader)
        if thread.lead is leader and not leader.dead and not said:
            leader.old_tid = thread.tid
            self.rows.add(_EXIT, thread, ns, (NULL, NULL, NULL, 0, NULL), ("inferred",))

    # -- ends

    def end(self, task: Task, end: End, ns: int | None, *, measured: bool = False) -> None:
        """As in Ends. With -b execve strace lets go of a process in its exec: who exits normally then, has worked."""
        lead = task.lead
        if not measured and not lead.dead and end.code is not None:
            opened = lead.open
            if opened is not None and opened[0] in EXECS and not lead.final:
                lead.open = None
                self.exec_done(lead, values.exec_args(opened[0], opened[1]), opened[2], inferred=True)
        super().end(task, end, ns, measured=measured)

    def _exit(self, task: Task, name: bytes, args: bytes, ns: int | None) -> None:
        m = _EXIT_ARG.match(args)
        if m is None and task.called_exit:
            return  # the second half of one whose first half said it
        value = values.number(m[1]) if m else None
        self.exit_called(task, name, None if value is None else value & 0xFF, ns)

    def _exit_result(self, call: Call) -> None:
        task, name, args, got, start_ns, _, _ = call
        if got.value is None:  # else it did not happen: an injected error
            self._exit(task, EXITS[name], args, start_ns)
        elif task.lead.dying is not None and task.called_exit:
            task.lead.dying, task.called_exit, task.final = None, False, False

    def _exit_status(self, task: Task, code: int, ns: int | None) -> None:
        """`<unfinished ... exit status N>`, up to 4.6."""
        self.exit_line(task, End(code=code & 0xFF, core=False), ns)

    def ended(self, task: Task, code: bytes | None, signal: bytes | None, core: bool, ns: int | None) -> None:
        """A `+++` line."""
        if code is not None:
            self.exit_line(task, End(code=int(code) & 0xFF, core=False), ns)
        else:
            self.exit_line(task, End(signal=values.signal_number(signal or b""), core=core), ns)

    def _detached(self, task: Task, name: bytes, head: bytes, ns: int | None) -> None:
        """strace let it go in mid-call. With -b execve that is after the exec has worked (PTRACE_EVENT_EXEC)."""
        self.live.pop(task, None)
        task.detached = True
        self.open_forks.pop(task, None)
        if name in EXECS and task.lead is task:
            self.exec_done(task, values.exec_args(name, head), ns, inferred=True)

    def _wait(self, call: Call) -> None:
        task, name, args, got, start_ns, ns, _ = call
        if got.value is None or got.value < 0:
            return
        if name in (b"waitid", b"SYS_247"):
            info = values.siginfo(args)
            if got.value != 0 or not info.pid or info.end is None:
                return
            number, end = info.pid, info.end
        else:
            status = values.wait_status(args[: got.start])
            if not 0 < got.value < values.MOST_PIDS or status is None:
                return
            number, end = got.real_pid or got.value, status
            if got.real_pid:
                number = got.value if task.lead.kids and got.value in task.lead.kids else got.real_pid
        if b"WNOWAIT" in args[: got.start] or _WNOWAIT.search(args, 0, got.start):
            child = self.known(task, number)
            if child is not None and not child.dead:
                self.end(child, end, ns)
            return
        done_ns = ns
        if call.whole and ns is not None:
            done_ns = None if got.duration_ns is None else ns + got.duration_ns
        usage = values.rusage(args) if b"ru_" in args else {}
        self.waited(Wait(task, number, end, start_ns if done_ns is None else done_ns, done_ns is not None, usage))

    def _kill(self, call: Call) -> None:
        task, _, args, got, _, _, _ = call
        m = _KILL_ARGS.match(args) if got.value in (0, None) else None
        if m is not None and (got.value == 0 or int(m[1]) == task.tid):  # `= ?`: it did not live to see the result
            self.kill_called(task, int(m[1]), values.signal_number(m[2]) or 0)

    def _prctl(self, call: Call) -> None:
        task, _, args, got, _, ns, _ = call
        if got.value == 0 and args.startswith(b"PR_SET_NAME, ") and task.lead is task:
            comm, _ = values.first_string(args)
            if comm is not None:
                self.renamed(task, comm, ns)

    def renamed(self, task: Task, comm: str, ns: int | None) -> None:
        """The task has another name than it had."""
        short = comm.encode("utf-8", "surrogateescape")[:_COMM_LENGTH].decode("utf-8", "surrogateescape")
        if short != task.comm:
            task.comm = short
            if task.lead is task:
                self.rows.add(_RENAME, task, ns, (), (short,))

    def signal(self, task: Task, name: bytes, rest: bytes, ns: int | None) -> None:
        """`--- SIGX {si_...} ---`: it was delivered. `stopped by` has no braces."""
        if rest[:1] != b"{":
            return
        info: Any = values.siginfo(rest)
        if (name in (b"SIGCHLD", b"17") or info.signo == 17) and info.end is not None and info.pid:
            self.child_signal(task, info.pid, info.end, ns)
            return
        number = values.signal_number(name)
        if number is not None:
            code = 0 if info.code in (b"SI_USER", b"SI_TKILL", b"SI_QUEUE") else values.number(info.code)
            sent = code is not None and code <= 0 and not task.lead.in_ns
            self.killer(task, number, info.pid if sent and info.pid else None)
