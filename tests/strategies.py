"""Random but legal fork histories: a small machine that makes the events a kernel would, and keeps the truth.

    histories()     -> History: `rows`, (Kind, fields) in stream order, and `lives`, what is true of each process
    cuts(rows)      -> the same rows as batches, cut at random points

The machine knows pids that are used again, threads, vfork, CLONE_PARENT, pid namespaces, execs by any thread, leaders
that end first, orphans with a reaper of their own or none, zombies, and tasks that the kernel lets go of late.
Knows nothing of trees: what a tree should say of a life is in test_tree.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tracer.model.batch import Batch
from tracer.model.flags import CloneFlags
from tracer.model.meta import Fact, Meta
from tracer.model.schema import Kind

Row = tuple[Kind, dict[str, Any]]
Key = tuple[int, int]

PROFILE: Final = settings(
    max_examples=150,
    derandomize=True,  # the same examples every time: a test that fails once fails again
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

META: Final = Meta("bpf", frozenset(Fact), command=("./root",))
OUTSIDE: Final[Key] = (1, 1)  # who started the root, and adopts orphans when nobody nearer does
PIDS: Final = 9  # few, so that they are used again
_VM, _THREAD = CloneFlags.CLONE_VM, CloneFlags.CLONE_THREAD
_WAYS: Final = (
    ("fork", "fork", 0),
    ("fork", "clone", int(CloneFlags.CLONE_CHILD_SETTID)),
    ("fork", "clone3", int(CloneFlags.CLONE_PARENT)),
    ("fork", "clone", int(CloneFlags.CLONE_NEWPID)),
    ("vfork", "vfork", int(_VM | CloneFlags.CLONE_VFORK)),
    ("posix_spawn", "clone3", int(_VM | CloneFlags.CLONE_VFORK)),
    ("clone", "clone", int(_VM)),
)
_NAMES: Final = ("sh", "make", "cc1", "\udcff\x1b[2J", "")
_ARGVS: Final[tuple[list[str] | None, ...]] = (["sh"], ["cc1", "-O2"], [], None, ["x", "..."])
COUNTED: Final = ("min_flt", "maj_flt", "utime_ns", "stime_ns", "runtime_ns")
COPIES: Final = ("wp_faults", "cow_copies", "reuses")


@dataclass(eq=False)
class Task:
    """A thread; its process' first one has the pid as its tid."""

    tid: int
    born_ns: int
    end_ns: int | None = None


@dataclass(eq=False, repr=False)
class Life:
    """A process, and what is true of it so far. Unknown is None."""

    pid: int
    born_ns: int
    parent: Life | None  # as born
    ppid: int
    how: str
    syscall: str | None
    clone_flags: int | None
    birth_ts: int
    comm: str
    uid: int
    creator: Life | None = None
    depth: int = 0  # of its pid namespace
    now_under: Key = OUTSIDE
    leader_lives: bool = True
    others: list[Task] = field(default_factory=list)  # threads that live
    threads: list[Task] = field(default_factory=list)  # all that were ever made
    execs: list[tuple[int, str, list[str] | None, int | None]] = field(default_factory=list)  # ts, exe, argv, old tid
    interpreter: str | None = None
    cwd: str | None = None
    exec_ns: int | None = None
    exit_ns: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    adopted_by: int | None = None
    zombie_since: int | None = None
    zombie_ns: int | None = None
    reap_ns: int | None = None
    reaped_by: int | None = None
    released: bool = False
    vfork_blocked_ns: int | None = None
    sums: dict[str, int] = field(default_factory=dict)
    base: dict[str, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Life{self.key}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # else a failing example fills the screen
        printer.text(repr(self))

    @property
    def key(self) -> Key:
        return self.pid, self.born_ns

    @property
    def lives(self) -> bool:
        return self.exit_ns is None


@dataclass
class History:
    rows: list[Row]
    lives: list[Life]


class Machine:
    """Its methods take small numbers, which choose among what is possible now; nothing possible, nothing done."""

    def __init__(self, existing: int) -> None:
        self.rows: list[Row] = []
        self.lives: list[Life] = []
        self._now = 1000
        self._free = list(range(2, 2 + PIDS))
        self._held: list[tuple[Life, Task | None]] = []  # ended tasks that the kernel has not let go of yet
        root = self._born(None, "existing" if existing else "root", None, None, 0, kind=Kind.EXISTING)
        for _ in range(existing):
            self._born(root, "existing", None, None, 0, kind=Kind.EXISTING)

    # what can be asked of it

    def fork(self, a: int, b: int) -> None:
        creator = self._pick(self._running(), a)
        if creator is None or not self._free:
            return
        how, syscall, flags = _WAYS[b % len(_WAYS)]
        parent = creator
        if flags & CloneFlags.CLONE_PARENT and (above := self._of(creator.now_under)) is not None:
            parent = above
        self._born(parent, how, syscall, flags, a, creator=creator)

    def thread(self, a: int, b: int) -> None:
        life = self._pick(self._running(), a)
        if life is None or not self._free:
            return
        task = Task(self._free.pop(0), self._tick())
        life.threads.append(task)
        life.others.append(task)
        self._row(
            Kind.FORK,
            life,
            task.tid,
            ts_ns=task.born_ns,
            creator_pid=life.pid,
            ppid=life.now_under[0],
            parent_born_ns=life.now_under[1],
            how="io_worker" if b == 7 else "clone",
            clone_flags=int(_VM | _THREAD),
            comm=life.comm,
        )
        if b == 7:
            life.threads.remove(task)

    def exec(self, a: int, b: int) -> None:
        life = self._pick(self._running(), a)
        if life is None:
            return
        callers = [task for task in life.others if task in life.threads]  # a worker never calls exec
        by = callers[b % len(callers)] if callers and b % 2 else None
        if by is None and not life.leader_lives:
            return
        for task in list(life.others):
            if task is not by:
                self._thread_ends(life, task)
        if by is not None:
            if life.leader_lives:
                self._ends(life, life.pid, last=False)
            life.others.remove(by)
            self._free.append(by.tid)
            life.leader_lives = True
        ts = self._tick()
        if by is not None:
            by.end_ns = ts
        exe = f"/bin/{b}"
        argv = _ARGVS[b % len(_ARGVS)]
        life.comm = _NAMES[b % len(_NAMES)]
        life.interpreter = "/bin/sh" if b == 3 else None
        life.cwd = f"/home/{a}"
        if life.exec_ns is None:
            life.exec_ns = ts
            if life.how in ("vfork", "posix_spawn"):
                life.vfork_blocked_ns = ts - 1 - life.birth_ts
            if life.how == "root":
                life.base = dict.fromkeys(COUNTED, 3 + b)
        life.execs.append((ts, exe, argv, by.tid if by else life.pid))
        used = {name: life.base.get(name, b) for name in COUNTED}
        self._row(
            Kind.EXEC,
            life,
            ts_ns=ts,
            ppid=life.now_under[0],
            parent_born_ns=life.now_under[1],
            comm=life.comm,
            exe=exe,
            argv=argv,
            interpreter=life.interpreter,
            cwd=life.cwd,
            old_tid=by.tid if by else life.pid,
            vfork_done_ns=ts - 1,
            **used,
        )
        self._seen(life)

    def rename(self, a: int, b: int) -> None:
        life = self._pick([one for one in self._running() if one.leader_lives], a)
        if life is not None:
            life.comm = _NAMES[b % len(_NAMES)]
            self._row(Kind.RENAME, life, comm=life.comm)

    def end_thread(self, a: int, b: int) -> None:
        life = self._pick([one for one in self._running() if one.others], a)
        if life is None:
            return
        if b % 3 == 0 and life.leader_lives:
            self._ends(life, life.pid, last=False)
            life.leader_lives = False
        elif life.leader_lives or len(life.others) > 1:
            self._thread_ends(life, life.others[b % len(life.others)])

    def end(self, a: int, b: int) -> None:
        life = self._pick(self._running(), a)
        if life is None or (life is self.lives[0] and b < 6):  # with the root most histories would end
            return
        while life.others and (life.leader_lives or len(life.others) > 1):
            self._thread_ends(life, life.others[-1])
        code, signal = (b * 31, None) if b % 2 else (None, 1 + b * 9)
        task = None if life.leader_lives else life.others[0]
        self._ends(life, task.tid if task else life.pid, last=True, exit_code=code, signal=signal)
        if task:
            task.end_ns = self._now
            self._held.append((life, task))
        life.others.clear()
        life.exit_ns, life.exit_code, life.signal = self._now, code, signal
        if not life.execs and life.how in ("vfork", "posix_spawn"):
            life.vfork_blocked_ns = life.exit_ns - life.birth_ts
        heir = self._pick([one for one in self._running() if b > 4], a)
        for orphan in self.lives:
            if orphan.now_under == life.key and not orphan.released:
                orphan.now_under = heir.key if heir and heir is not orphan else OUTSIDE
        if b % 3:
            life.zombie_since = self._tick()
            self._row(Kind.ZOMBIE, life, ts_ns=life.zombie_since, ppid=life.now_under[0])

    def reap(self, a: int, b: int) -> None:
        """The kernel lets go of the process: after this its pid may be another's."""
        life = self._pick([one for one in self.lives if not one.lives and not one.released], a)
        if life is None:
            return
        ts = self._tick()
        if b % 4:
            life.reap_ns, life.reaped_by, life.zombie_ns = ts - 1, life.now_under[0], ts - (life.exit_ns or 0)
        self._row(
            Kind.REAP,
            life,
            ts_ns=ts,
            ppid=life.now_under[0],
            parent_born_ns=life.now_under[1],
            reap_ns=life.reap_ns,
            reaped_by=life.reaped_by,
            zombie_ns=life.zombie_ns,
            **self._use(life, COUNTED, b % 2),
        )
        self._seen(life)
        life.released = True
        self._free.append(life.pid)

    def release_thread(self, a: int, b: int) -> None:
        if self._held:
            life, task = self._held.pop(a % len(self._held))
            assert task is not None
            self._row(Kind.REAP, life, task.tid, ppid=life.now_under[0], **self._use(life, COUNTED, b % 3))
            self._seen(life)
            self._free.append(task.tid)

    def count(self, a: int, b: int) -> None:
        life = self._pick(self._running(), a)
        if life is not None:
            self._row(Kind.FAULTS, life, **self._use(life, COPIES, b))

    def lose(self, a: int, b: int) -> None:
        self.rows.append((Kind.LOST, {"ts_ns": self._tick(), "count": a, "where": "events ring"}))

    def close(self) -> None:
        """The trace ends; what lives is asked for its figures."""
        for life in self._running():
            for tid in [*([life.pid] if life.leader_lives else []), *(task.tid for task in life.others)]:
                self._row(
                    Kind.ALIVE,
                    life,
                    tid,
                    ppid=life.now_under[0],
                    parent_born_ns=life.now_under[1],
                    comm=life.comm if tid == life.pid else None,
                    **self._use(life, COUNTED, 5),
                )
            self._seen(life)
        self.rows.append((Kind.END, {"ts_ns": self._tick(), "count": len(self.rows)}))

    # how it does it

    def _tick(self) -> int:
        self._now += 7
        return self._now

    def _running(self) -> list[Life]:
        return [life for life in self.lives if life.lives]

    def _of(self, key: Key) -> Life | None:
        return next((life for life in self.lives if life.key == key and life.lives), None)

    @staticmethod
    def _pick(lives: Sequence[Life], n: int) -> Life | None:
        return lives[n % len(lives)] if lives else None

    def _born(
        self,
        parent: Life | None,
        how: str,
        syscall: str | None,
        flags: int | None,
        n: int,
        *,
        creator: Life | None = None,
        kind: Kind = Kind.FORK,
    ) -> Life:
        born = self._tick()
        under = parent.key if parent else OUTSIDE
        inner = bool(flags and flags & CloneFlags.CLONE_NEWPID)
        life = Life(
            self._free.pop(0),
            born,
            parent,
            under[0],
            how,
            syscall,
            flags,
            born + 1,
            creator.comm if creator else _NAMES[n % len(_NAMES)],
            n,
            creator,
            depth=(creator.depth if creator else 0) + inner,
            now_under=under,
        )
        self.lives.append(life)
        self._row(
            kind,
            life,
            ts_ns=life.birth_ts,
            ppid=under[0],
            parent_born_ns=under[1],
            how=how,
            syscall=syscall,
            clone_flags=flags,
            comm=life.comm,
            ns_pids=self.ns_pids(life),
            uid=n,
            creator_pid=creator.pid if creator else None,
            creator_born_ns=creator.born_ns if creator else None,
        )
        return life

    @staticmethod
    def ns_pids(life: Life) -> list[int]:
        return [life.pid, *range(1, 1 + life.depth)]

    def _thread_ends(self, life: Life, task: Task) -> None:
        self._ends(life, task.tid, last=False)
        task.end_ns = self._now
        life.others.remove(task)
        self._held.append((life, task))

    def _ends(
        self, life: Life, tid: int, *, last: bool, exit_code: int | None = None, signal: int | None = None
    ) -> None:
        self._row(
            Kind.EXIT,
            life,
            tid,
            ppid=life.now_under[0],
            parent_born_ns=life.now_under[1],
            last=last,
            exit_code=exit_code,
            signal=signal,
            comm=life.comm if tid == life.pid else None,
            **self._use(life, COUNTED, tid),
        )
        self._seen(life)

    @staticmethod
    def _use(life: Life, names: Sequence[str], amount: int) -> dict[str, int]:
        for name in names:
            life.sums[name] = life.sums.get(name, 0) + amount
        return dict.fromkeys(names, amount)

    @staticmethod
    def _seen(life: Life) -> None:
        """An event told whose child it is now."""
        if life.adopted_by is None and life.now_under[0] != life.ppid:
            life.adopted_by = life.now_under[0]

    def _row(self, kind: Kind, life: Life, tid: int | None = None, **values: Any) -> None:
        head = {"ts_ns": self._tick(), "pid": life.pid, "tid": life.pid if tid is None else tid}
        row = {**head, "born_ns": life.born_ns, **values}
        self.rows.append((kind, {name: value for name, value in row.items() if value is not None}))


_OPERATIONS: Final = (
    "fork",
    "fork",
    "fork",
    "thread",
    "thread",
    "exec",
    "exec",
    "rename",
    "end_thread",
    "end",
    "end",
    "reap",
    "reap",
    "release_thread",
    "count",
    "lose",
)


@st.composite
def histories(draw: st.DrawFn) -> History:
    machine = Machine(draw(st.integers(0, 2)))
    small = st.integers(0, 7)
    for name, a, b in draw(st.lists(st.tuples(st.sampled_from(_OPERATIONS), small, small), min_size=20, max_size=60)):
        getattr(machine, name)(a, b)
    if draw(st.booleans()):
        machine.close()
    return History(machine.rows, machine.lives)


def cut(rows: Sequence[Row], at: Sequence[int]) -> list[Batch]:
    """`rows` as batches, cut before each index in `at`."""
    edges = [0, *sorted(i % (len(rows) + 1) for i in at), len(rows)]
    return [Batch.from_rows(rows[a:b]) for a, b in itertools.pairwise(edges)]


cut_points = st.lists(st.integers(0, 200), max_size=12)
