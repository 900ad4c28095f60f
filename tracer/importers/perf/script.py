"""The text of `perf script`: births, execs and ends from the sched and task tracepoints, and page faults.

    perf record -e sched:sched_process_fork,sched:sched_process_exec,sched:sched_process_exit,task:task_newtask -a
    perf script > perf.txt

task_newtask tells threads from processes, and so do `-F +pid` and --show-task-events; without one of them a thread
looks like a process, and a note says so. Exit codes, arguments and waits are in none of these events. Times are
perf's own clock. Knows nothing of perf.data: perf must make the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from typing import Final

from tracer.errors import BadDataError
from tracer.importers.log_source import LogSource, Progress
from tracer.importers.perf.tasks import At, Tasks
from tracer.importers.strace.lexer import LATEST_S
from tracer.importers.strace.line_attribution import Skipped
from tracer.model.batch import Batch
from tracer.model.flags import CloneFlags
from tracer.model.meta import Fact, Meta
from tracer.model.schema import Kind

NAME: Final = "perf-script"
_LINE: Final = re.compile(
    rb"[ \t]*+(?:(?P<comm>.{1,40}?) +)?(?P<pid>\d{1,8})(?:/(?P<tid>\d{1,8}))? +(?:\[(?P<cpu>\d{1,5})\] +)?"
    rb"(?:(?P<sec>\d{1,10})\.(?P<frac>\d{6,9}): +)?(?:(?P<period>\d{1,18}) +)?"
    rb"(?P<event>(?:[a-z_]\w{0,30}:[a-z_]\w{0,60}|(?:minor|major|page)-faults)(?::\w{1,6})?"
    rb"|PERF_RECORD_\w{1,20}(?: exec)?)"
    rb"(?=[:(]):? *(?P<rest>(?s:.*))"
)
_ERROR_CODE: Final = re.compile(rb"error_code=0x([0-9a-f]{1,8})\b")
# Names may hold anything, spaces and newlines too, and what looks like the next field: so the last of these is meant.
_NAME: Final = rb"((?s:.{0,20}))"
_NEWTASK: Final = re.compile(rb"pid=(\d{1,8}) comm=" + _NAME + rb" clone_flags=([0-9a-f]{1,16}) oom_score_adj=-?\d+")
_FORK: Final = re.compile(rb"comm=" + _NAME + rb" pid=(\d{1,8}) child_comm=" + _NAME + rb" child_pid=(\d{1,8})")
_EXEC: Final = re.compile(rb"filename=((?s:.*)) pid=(\d{1,8}) old_pid=(\d{1,8})")
_EXIT: Final = re.compile(rb"comm=" + _NAME + rb" pid=(\d{1,8}) prio=-?\d{1,4}(?: group_dead=(true|false|[01]))?")
_RENAME: Final = re.compile(rb"pid=(\d{1,8}) oldcomm=" + _NAME + rb" newcomm=" + _NAME + rb" oom_score_adj=-?\d+")
_RECORD: Final = re.compile(rb"\((\d{1,8}):(\d{1,8})\):\((\d{1,8}):(\d{1,8})\)")
_FRAME: Final = re.compile(rb"[ \t]++[0-9a-f]{4,16} .*|[ \t]*+|#.*")
_LIFE: Final = (b"sched:sched_process_", b"task:task_newtask", b"PERF_RECORD_FORK")
_FAULTS: Final = {b"exceptions:page_fault_user": "wp_faults", b"minor-faults": "min_flt", b"major-faults": "maj_flt"}
_ROWS: Final = 4096
_SAMPLES: Final = 1000
_REMEMBERED: Final = 65536
_MAX_BROKEN: Final = 8192


def score(head: bytes) -> float:
    """How sure it is that a file which begins with `head` is perf script's."""
    lines = [line for line in head.split(b"\n", 4000)[:4000] if line.strip() and not line.startswith(b"#")]
    hits = 0
    for line in lines:
        m = _LINE.match(line)
        hits += m is not None
    return 0.0 if not hits else max(0.05, min(1.0, 2 * hits / len(lines)))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


class PerfImport(Iterator[Batch]):
    """Batches of perf's text. `skipped` and `notes` are complete when the last one was taken."""

    def __init__(
        self, sources: list[LogSource], progress: Progress | None, counted: frozenset[str], *, tells: bool
    ) -> None:
        self.skipped = Skipped()
        self.notes: list[str] = []
        self._sources = sources
        self._progress = progress
        self._tasks = Tasks(counted)
        self._tells = tells  # task_newtask was recorded, or perf's own records are shown
        self._announced: set[int] = set()  # children that another event told of; the fork event is still to come
        self._number = 0
        self._broken: bytes | None = None  # a line that a name with a newline in it has cut
        self._batches = self._run()

    def __next__(self) -> Batch:
        return next(self._batches)

    def close(self) -> None:
        """Close the files, for who does not read to the end."""
        self._batches.close()
        for source in self._sources:
            source.close()

    def _run(self) -> Generator[Batch, None, None]:
        total = sum(s.size or 0 for s in self._sources) if all(s.size for s in self._sources) else None
        done = 0
        for source in self._sources:
            self._number = 0
            for block, _ in source.lines():
                for raw in block:
                    self._line(raw, source.name)
                    if len(self._tasks.rows) >= _ROWS:
                        yield from self._take()
                if self._progress is not None:
                    self._progress(done + source.position, total)
            self._give_up(source.name)
            done += source.size or 0
            if source.damaged is not None:
                self.notes.append(source.damaged)
                self._tasks.rows.append((Kind.LOST, {"count": 1, "where": source.damaged}))
        self._tasks.finish()
        yield from self._take()

    def _take(self) -> Iterator[Batch]:
        rows = self._tasks.ready()
        if rows:
            yield Batch.from_rows(rows)

    def _line(self, raw: bytes, name: str) -> None:
        self._number += 1
        raw = raw.removesuffix(b"\r")
        if self._broken is not None:
            joined = self._broken + b"\n" + raw
            m = _LINE.match(joined)
            if m is not None and self._event(m):
                self._broken = None
                return
            if len(joined) < _MAX_BROKEN and _LINE.match(raw) is None:
                self._broken = joined
                return
            self._give_up(name)
        m = _LINE.match(raw)
        if m is None:
            if not _FRAME.fullmatch(raw):
                self._skip(raw, name)
        elif not self._event(m):
            self._broken = raw

    def _skip(self, raw: bytes, name: str) -> None:
        self.skipped.lines += 1
        if len(self.skipped.samples) < _SAMPLES:
            self.skipped.samples.append((name, self._number, raw[:200]))

    def _give_up(self, name: str) -> None:
        broken, self._broken = self._broken, None
        if broken is not None:
            self.skipped.cut += 1
            self._skip(broken, name)

    def _event(self, line: re.Match[bytes]) -> bool:
        """Whether all of the line is understood."""
        event = line["event"].removesuffix(b" exec")
        modifier = event.find(b":", event.find(b":") + 1)
        event = event[:modifier] if modifier >= 0 else event  # sched:sched_process_exec:k
        handler = _HANDLERS.get(event)
        if handler is None:
            return True
        ns = None
        if line["sec"] is not None:
            ns = min(int(line["sec"]), LATEST_S) * 1_000_000_000 + int(line["frac"].ljust(9, b"0"))
        tgid, tid = (int(line["pid"]), int(line["tid"])) if line["tid"] is not None else (None, int(line["pid"]))
        return handler(self, At(tid, tgid, ns), event, line)

    # Each does what an event says, and says whether its fields were whole.

    def _newtask(self, at: At, _: bytes, line: re.Match[bytes]) -> bool:
        m = _NEWTASK.fullmatch(line["rest"])
        if m is None:
            return False
        child, flags = int(m[1]), int(m[3], 16)
        self._tasks.born(at, child, _text(m[2]), flags, thread=bool(flags & CloneFlags.CLONE_THREAD))
        self._announce(child)
        return True

    def _announce(self, child: int) -> None:
        self._announced.add(child)
        if len(self._announced) > _REMEMBERED:
            self._announced.clear()

    def _fork(self, at: At, _: bytes, line: re.Match[bytes]) -> bool:
        m = _FORK.fullmatch(line["rest"])
        if m is None:
            return False
        child = int(m[4])
        if child in self._announced:
            self._announced.discard(child)
        else:
            by = at._replace(tid=int(m[2]))
            # Without other events the child's own lines show it, if they show both numbers.
            thread = None if at.tgid is not None and not self._tells else False
            self._tasks.born(by, child, _text(m[3]), None, thread=thread)
        return True

    def _record_fork(self, at: At, _: bytes, line: re.Match[bytes]) -> bool:
        m = _RECORD.match(line["rest"])
        if m is None:
            return False
        pid, tid, ppid, ptid = map(int, m.groups())
        if tid not in self._announced:
            self._tasks.born(At(ptid, ppid, at.ns), tid, None, None, thread=pid != tid)
            self._announce(tid)
        return True

    def _record_exit(self, at: At, _: bytes, line: re.Match[bytes]) -> bool:
        m = _RECORD.match(line["rest"])
        if m is not None and self._tasks.knows(int(m[2])):
            self._tasks.ended(At(int(m[2]), int(m[1]), at.ns), None)
        return m is not None

    def _exec(self, at: At, _: bytes, line: re.Match[bytes]) -> bool:
        m = _EXEC.fullmatch(line["rest"])
        if m is None:
            return False
        # begin_new_exec() names the task after the last part of the path.
        comm = _text(m[1].rpartition(b"/")[2][:15])
        self._tasks.exec(At(int(m[2]), int(m[2]), at.ns), _text(m[1]), comm, int(m[3]))
        return True

    def _exit(self, at: At, _: bytes, line: re.Match[bytes]) -> bool:
        m = _EXIT.fullmatch(line["rest"])
        if m is None:
            return False
        self._tasks.ended(at._replace(tid=int(m[2])), None if m[3] is None else m[3] in (b"true", b"1"))
        return True

    def _rename(self, at: At, _: bytes, line: re.Match[bytes]) -> bool:
        m = _RENAME.fullmatch(line["rest"])
        if m is None:
            return False
        if self._tasks.knows(int(m[1])):
            self._tasks.renamed(at._replace(tid=int(m[1])), _text(m[3]))
        return True

    def _fault(self, at: At, event: bytes, line: re.Match[bytes]) -> bool:
        count = int(line["period"] or 1)
        if event == b"exceptions:page_fault_user":
            m = _ERROR_CODE.search(line["rest"])
            # Bits 0 and 1: the page was there, and it was a write. That is a write-protect fault, not yet a copy.
            count = 1 if m is not None and int(m[1], 16) & 3 == 3 else 0
        self._tasks.fault(at, _FAULTS[event], count)
        return True


_HANDLERS: Final[dict[bytes, Callable[[PerfImport, At, bytes, re.Match[bytes]], bool]]] = {
    b"task:task_newtask": PerfImport._newtask,
    b"task:task_rename": PerfImport._rename,
    b"sched:sched_process_fork": PerfImport._fork,
    b"sched:sched_process_exec": PerfImport._exec,
    b"sched:sched_process_exit": PerfImport._exit,
    b"PERF_RECORD_FORK": PerfImport._record_fork,
    b"PERF_RECORD_EXIT": PerfImport._record_exit,
    b"exceptions:page_fault_user": PerfImport._fault,
    b"minor-faults": PerfImport._fault,
    b"major-faults": PerfImport._fault,
}


def open_log(sources: list[LogSource], *, progress: Progress | None = None) -> tuple[Meta, PerfImport]:
    """perf's text. Raises BadDataError if it holds no birth, exec or end."""
    heads = b"\n".join(source.head for source in sources)
    if not any(name in heads for name in _LIFE):
        raise BadDataError(
            f"{sources[0].name} holds no event of a process' life",
            "record sched:sched_process_fork, sched_process_exec, sched_process_exit and task:task_newtask",
        )
    first = next((m for line in heads.split(b"\n", 4000) if (m := _LINE.match(line))), None)
    facts = set()
    notes = ["From perf script: arguments, exit codes, waits and copies are not in it."]
    flags, records = b"task:task_newtask" in heads, b"PERF_RECORD_FORK" in heads
    if flags:
        facts |= {str(Fact.THREADS), str(Fact.FLAGS)}
        notes.append("vfork and posix_spawn look the same in it.")
    elif records or (first is not None and first["tid"] is not None):
        facts.add(str(Fact.THREADS))
    else:
        notes.append("Threads look like processes in it: record task:task_newtask too.")
    counted = frozenset(column for event, column in _FAULTS.items() if event in heads)
    if counted & {"min_flt", "maj_flt"}:
        facts.add(str(Fact.FAULTS))
        notes.append("Faults are those that perf counted; with a sampling period they are short of the last period.")
    if b" page-faults" in heads:
        notes.append("page-faults are not counted, as they are of both sorts: record minor-faults and major-faults.")
    if "wp_faults" in counted:
        facts.add(str(Fact.WP_FAULTS))
        notes.append("Write-protect faults are counted; which of them copied a page is not in it.")
    clock = "perf" if first is not None and first["sec"] is not None else "none"
    notes.append("Times are perf's clock, without a date." if clock == "perf" else "The text has no times: order only.")
    meta = Meta(source=NAME, facts=frozenset(facts), options={"clock": clock}, notes=tuple(notes))
    return meta, PerfImport(sources, progress, counted, tells=flags or records)
