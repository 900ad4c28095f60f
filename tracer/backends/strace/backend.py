"""The strace backend: no privilege for one's own children, any kernel; lifecycle, failures, waits; no copies.

    forktrace ── held child ── becomes strace ── becomes the program (same pid)
                                  └ (gone) ── strace -DDD, a session of its own ── writes a file that we follow

Owns strace's start, its end, and what it can not see. Lines become batches in _strace_live.py, by the importer's
reader. Knows no tree and does not start the program.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from tracer.backends import Options, Readiness
from tracer.backends.bpf.failures import explain
from tracer.backends.strace import attach as _strace_attach
from tracer.backends.strace import command, host
from tracer.backends.strace.live import Live
from tracer.backends.strace.log import Log
from tracer.errors import NoPermissionError, ProbesRefusedError
from tracer.host import boot_clock, features, own_programs
from tracer.host.fork_errors import Host as Bounds
from tracer.model.batch import Batch
from tracer.model.meta import Fact
from tracer.model.schema import Kind

_FACTS: Final = frozenset(
    {
        Fact.THREADS,
        Fact.FLAGS,
        Fact.SYSCALL,
        Fact.ARGV,
        Fact.EXEC_FAILED,
        Fact.FORK_FAILED,
        Fact.STATUS,
        Fact.KILLER,
        Fact.REAPS,
        Fact.ZOMBIES,
        Fact.FAULTS,
        Fact.CPU,
        Fact.MAX_RSS,
    }
)
_LEAVES_S: Final = 2.0


class Backend:
    """One capture by strace."""

    name = "strace"
    late = False

    def __init__(self, options: Options) -> None:
        self.news: list[str] = []
        self._options = options
        self._path = own_programs.find("strace") or "strace"
        self._version = features.Host().strace or (0, 0)
        self._seccomp = not options.strace_safe and self._version >= command.SECCOMP
        self._log: Log | None = None
        self._live: Live | None = None
        self._helper: _strace_attach.Helper | None = None
        self._pids: list[int] = []  # attached to
        self._waiting: list[Batch] = []  # for the next read
        self._bounds = Bounds()
        self._root: int | None = None
        self._tracer = 0  # strace's pid, where that had to be found out
        self._over = False
        self._ran_full = False  # lines are missing, those of ends among them
        self._notes = list(host.NOTES)

    @classmethod
    def readiness(cls) -> Readiness:
        """strace in PATH, /proc, and no rule of Yama's against it; what else may forbid ptrace, `start` finds out."""
        if not host.has_proc():
            return Readiness(False, "/proc is not mounted, by which strace is followed", "mount -t proc proc /proc")
        for feature in ("strace", "ptrace"):
            check = features.feature(feature)
            if check.ok is False:
                return Readiness(False, check.detail, check.mend)
        return Readiness(True)

    @classmethod
    def cover(cls, options: Options) -> frozenset[str]:
        """The same whatever is asked, but not of the whole host."""
        return frozenset() if options.everyone or options.match.filters else frozenset(_FACTS)

    @property
    def facts(self) -> frozenset[str]:
        """The same for every capture; what a wait must have asked for is null elsewhere."""
        return frozenset(_FACTS)

    @property
    def notes(self) -> tuple[str, ...]:
        """What this capture can not know, and what strace does to the program."""
        return tuple(self._notes)

    def start(self) -> None:
        """See whether ptrace is allowed. Raises ProbesRefusedError for the whole host, NoPermissionError."""
        ready = self.readiness()
        if not ready.ok:
            raise ProbesRefusedError(ready.why, ready.mend)
        if self._options.everyone:
            raise ProbesRefusedError("strace can not watch the whole host", "run forktrace with sudo, so that bpf can")
        if not host.may_trace():
            tracer = host.own_tracer()
            if tracer is not None:
                raise NoPermissionError(
                    f"forktrace is traced itself, by {tracer}, and a process has one tracer only",
                    "run forktrace outside of that, or take another backend",
                )
            raise NoPermissionError(
                "ptrace is forbidden here, by the container's seccomp profile or a security module",
                "in docker: --cap-add SYS_PTRACE",
            )

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """strace's command before the program's."""
        if self._seccomp and host.limited():
            self._seccomp = False
            self._notes.append(host.LIMITED)
        return [*command.start(self._path, self._version, self._words(self._new_log().path)), *argv]

    def _new_log(self) -> Log:
        if self._log is not None:
            self._log.close()
        self._log = Log()
        return self._log

    def _words(self, path: str) -> list[str]:
        options = self._options
        return command.options(
            self._version, path, seccomp=self._seccomp, string_size=options.argv_max, environment=bool(options.env)
        )

    def _attaching(self, pids: list[int]) -> tuple[list[str], int]:
        """Words that attach, and the descriptor that they name: this file needs no name at all."""
        fd = self._new_log().take()
        return command.attach(self._path, self._words(f"/dev/fd/{fd}"), pids), fd

    def follow(self, pid: int, pidfd: int) -> None:
        """The root: our held child, which becomes strace, and then the program."""
        assert self._log is not None, "wrap() comes first"
        uid, gid, capable = host.identity(pid)
        if (uid, gid) != (os.geteuid(), os.getegid()):
            self._log.give_to(uid, gid)
        self._root = pid
        self._live = Live(argv_max=self._options.argv_max, env=self._options.env, root=pid)
        self._notes += host.costs(capable=capable, seccomp=self._seccomp)

    def attach(self, pid: int) -> None:
        """A living process and all below it. Raises NoInputError, NoPermissionError, ProbesRefusedError."""
        if pid in self._pids:
            return
        if self._helper is not None:
            self._helper.close()
        elif not self._pids:
            self._seccomp = False  # a filter can be had from the start only
            _, _, capable = host.identity(os.getpid())
            self._notes += host.costs(capable=capable, seccomp=False)
        self._pids.append(pid)
        found = _strace_attach.follow(self._attaching, self._pids)
        self._helper = found.helper
        self._live = Live(argv_max=self._options.argv_max, env=self._options.env)
        tids = {p: _strace_attach.tasks(p) for p in found.processes}
        self._waiting = [self._live.existing(found.processes, tids, self._pids)]
        if found.missed:
            some = ", ".join(map(str, found.missed[:5])) + (" and others" if len(found.missed) > 5 else "")
            self._notes.append(f"strace could not attach to {some}: what they do is not seen.")

    def descriptors(self) -> list[int]:
        """Readable when strace opens or closes its file; lines are looked for by time."""
        return [self._log.watched] if self._log is not None and self._log.watched >= 0 else []

    def read(self) -> list[Batch]:
        """What strace has written since, in its order. Never blocks, and never makes strace wait."""
        if self._log is None or self._live is None:
            return []
        self._log.look()
        over = self._over or self._writer_gone()  # before the reading: what is read then is all
        self._live.feed(self._log.lines())
        batches, self._waiting = self._waiting + self._live.take(), []
        explain(batches, self._bounds)
        if self._log.was_full and not self._ran_full:
            self._ran_full = True
            batches += self._lost(host.FULL, None, "strace's file, for want of room")
        if over and not self._over:
            self._over = True
            batches += self._death(self._live)
        if self._live.clock.times_set and host.CLOCK_SET not in self._notes:
            self._notes.append(host.CLOCK_SET)
        return batches

    def alive(self) -> int | None:
        """Traced tasks that have not ended; 0 only once strace has closed its file and all of it is read."""
        if self._live is None or self._over:
            return 0
        return max(1, len(self._live.machine.live))

    def finish(self) -> list[Batch]:
        """Make strace leave if that is safe, then the rest of its file."""
        batches = self.read()
        if self._live is None:
            return batches
        if not self._over:
            self._leave()
            batches += self.read()
        batches += self._live.end()
        if not self._live.fed and self._root is not None:
            self._notes.append("strace wrote nothing: it could not start the program, and has said why on its stderr.")
        return batches

    def close(self) -> None:
        """A helper that was attached leaves; strace that started the program lives as long as what it traces."""
        if self._helper is not None:
            self._helper.close()
            self._helper = None
        if self._log is not None:
            self._log.close()
            self._log = None

    # -- strace itself

    def _writer_gone(self) -> bool:
        assert self._log is not None
        assert self._live is not None
        if self._helper is not None:
            return self._helper.ended()
        if self._log.watched >= 0:
            return self._log.writer_gone
        # inotify is used up here (fs.inotify.max_user_instances): ask after the process, once it is known.
        if not self._tracer and self._root is not None:
            self._tracer = _strace_attach.tracer_of(self._root) or 0
        if self._tracer:
            return _strace_attach.tracer_of(self._tracer) is None
        machine = self._live.machine
        return self._live.fed > 0 and not machine.live and not machine.unseen

    def _death(self, live: Live) -> list[Batch]:
        """strace has gone. It writes the end of each task that it traces: if some have none, it was killed."""
        left = live.living()
        if self._helper is not None:  # some may have ended before it had them
            left = [pid for pid in left if _strace_attach.tracer_of(pid) is not None]
        if not left:
            return []
        if self._ran_full:  # the ends are among the lines that it could not write
            return self._lost(host.ENDS_LOST, len(left), "strace's file, for want of room: ends")
        what = host.death(seccomp=self._seccomp, kills=self._version >= command.KILLS)
        return self._lost(what, len(left), "strace, which was killed")  # the ends of these, at least

    def _lost(self, what: str, count: int | None, where: str) -> list[Batch]:
        self.news.append(what)
        self._notes.append(what)
        now = boot_clock.now_ns()
        return [Batch.from_rows([(Kind.LOST, {"ts_ns": now, "count": count, "where": where})])]

    def _leave(self) -> None:
        """Something still runs. Without seccomp strace can let go of it; with, nobody would answer its filter."""
        if self._helper is not None:
            self._over = self._helper.leave()
            return
        if self._seccomp:
            self._notes.append("strace stays with what still runs, until it ends.")
            return
        assert self._log is not None
        for pid in self._log.writers(self._path.rpartition("/")[2]):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)  # as in _strace_attach.Helper.leave
        end = time.monotonic() + _LEAVES_S
        while not self._over and time.monotonic() < end:
            self._log.look()
            self._over = self._writer_gone()
            time.sleep(0.002)
