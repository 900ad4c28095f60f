"""Ring bytes to model batches, for the backends that share wire.h: columns by wire.py, reaps by _reaps.py.

Stateful, one per trace: words of execs that are still to come, zombies, names of control groups. Knows no ring.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from tracer import wire
from tracer.backends._failures import Causes
from tracer.backends._reaps import Reaps
from tracer.events import NULL, Batch, Kind, Part

# x86-64 system call numbers of the four calls that make tasks.
SYSCALLS: Final[tuple[str | None, ...]] = tuple(
    {56: "clone", 57: "fork", 58: "vfork", 435: "clone3"}.get(n) for n in range(436)
)
_MOST_WORDS: Final = 4096  # that wait for their exec's record
_MODEL: Final = {
    wire.FORK: Kind.FORK,
    wire.EXISTING: Kind.EXISTING,
    wire.EXEC: Kind.EXEC,
    wire.EXIT: Kind.EXIT,
    wire.RENAME: Kind.RENAME,
    wire.FREE: Kind.REAP,
    wire.ZOMBIE: Kind.ZOMBIE,
    wire.ALIVE: Kind.ALIVE,
    wire.BASE: Kind.BASE,
    wire.FAULTS: Kind.FAULTS,
    wire.DECAY: Kind.DECAY,
    wire.EXEC_FAILED: Kind.EXEC_FAILED,
    wire.FORK_FAILED: Kind.FORK_FAILED,
    wire.ADOPT: Kind.ADOPT,
}


_WALKED: Final = frozenset({wire.ZOMBIE, wire.WAIT, wire.FREE, wire.REAP, wire.ADOPT})
_NOT_WALKED: Final = bytes(code for code in range(256) if code not in _WALKED)
_TO_MODEL: Final = bytes(_MODEL.get(code, 0) for code in range(256))
_NO_EVENTS: Final = bytes(code for code in range(256) if code not in _MODEL)


class Decoder:
    """`cgroup` turns a kernfs id into a path, or None. `env_names`: which variables to keep.

    `made` is told of each control group that is made: its id, that of the one above, its name.
    """

    def __init__(
        self, cgroup: Callable[[int], str | None], env_names: Sequence[str] = (),
        made: Callable[[int, int, str], None] | None = None,
    ) -> None:  # fmt: skip
        self._cgroup = cgroup
        self._made = made
        self._env_names = frozenset(env_names)
        self._words: dict[tuple[int, int], wire.Words] = {}
        self._reaps = Reaps()
        self._causes: Causes | None = None

    def batch(self, raw: bytes, texts: Iterable[bytes]) -> Batch | None:
        """`raw`: a run of fixed records with their ring headers; `texts`: the text records read before it."""
        wire.texts(texts, self._words)
        if not raw:
            return None
        kinds = wire.kinds_of(raw)
        parts: dict[int, Part] = {}
        present = set(kinds)
        if wire.MKDIR in present and self._made is not None:
            for number, above, name in wire.mkdir_rows(wire.Columns(wire.select(raw, kinds, wire.MKDIR), wire.MKDIR)):
                self._made(number, above, name)
        for kind in present & {wire.FORK, wire.EXISTING}:
            parts[_MODEL[kind]] = self._births(raw, kinds, kind)
        if wire.EXEC in present:
            parts[Kind.EXEC] = self._execs(raw, kinds)
        if wire.EXIT in present:
            parts[Kind.EXIT] = wire.exit_part(wire.Columns(wire.select(raw, kinds, wire.EXIT), wire.EXIT))
        for kind in present & {wire.ALIVE, wire.BASE}:
            part = wire.exit_part(wire.Columns(wire.select(raw, kinds, kind), kind))
            for name in ("last", "exit_code", "signal", "core_dumped", "killed_by", "oom_killed"):
                del part[name]
            parts[_MODEL[kind]] = part
        if wire.EXEC_FAILED in present:
            c = wire.Columns(wire.select(raw, kinds, wire.EXEC_FAILED), wire.EXEC_FAILED)
            parts[Kind.EXEC_FAILED] = wire.exec_failed_part(c, self._words)
        if wire.FORK_FAILED in present:
            c = wire.Columns(wire.select(raw, kinds, wire.FORK_FAILED), wire.FORK_FAILED)
            parts[Kind.FORK_FAILED] = self._failures(c)
        if wire.FAULTS in present:
            parts[Kind.FAULTS] = wire.faults_part(wire.Columns(wire.select(raw, kinds, wire.FAULTS), wire.FAULTS))
        if wire.DECAY in present:
            parts[Kind.DECAY] = wire.decay_part(wire.Columns(wire.select(raw, kinds, wire.DECAY), wire.DECAY))
        if wire.RENAME in present:
            c = wire.Columns(wire.select(raw, kinds, wire.RENAME), wire.RENAME)
            parts[Kind.RENAME] = {**wire.head_part(c), "comm": c.comms()}
        for key in list(self._words)[:-_MOST_WORDS]:  # their exec records were lost
            del self._words[key]
        codes = bytearray(kinds) if max(present) < 256 else bytearray(k if k < 256 else 0 for k in kinds)
        told, moved = self._releases(raw, kinds, codes, present, parts)
        for kind, events in ((wire.ZOMBIE, told), (wire.ADOPT, moved)):
            at = -1
            for is_event in events:  # zombies that are none, as their parent was waiting, are no events
                at = codes.index(kind, at + 1)
                if not is_event:
                    codes[at] = 0
        out = bytes(codes).translate(_TO_MODEL, _NO_EVENTS)
        return Batch(out, parts) if out else None

    @property
    def zombies(self) -> bool:
        """There are children that ended and were not let go of, as far as is known."""
        return bool(self._reaps.waiting)

    def rest(self) -> Batch | None:
        """At the end: reaps that are known of children that the kernel has not let go of yet (RCU may be slow)."""
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        rows = []
        for (pid, born), parent, reap in self._reaps.rest():
            told = {"ts_ns": now if reap.reap_ns is None else reap.reap_ns, "pid": pid, "tid": pid, "born_ns": born}
            rows.append((Kind.REAP, {**told, "reaped_by": parent, **reap._asdict()}))
        return Batch.from_rows(rows) if rows else None

    def _births(self, raw: bytes, kinds: array[int], kind: int) -> Part:
        part = wire.fork_part(wire.Columns(wire.select(raw, kinds, kind), kind), self._cgroup, SYSCALLS)
        if kind == wire.EXISTING:
            # Nothing was forked before our eyes: what the parent had then is not known, what it has now is no answer.
            for name in ("creator_pid", "creator_tid", "creator_born_ns", "fork_ns", "pgtables_bytes", "rss_bytes",
                         "clone_flags", "syscall", "exit_signal"):  # fmt: skip
                del part[name]
        return part

    def _execs(self, raw: bytes, kinds: array[int]) -> Part:
        c = wire.Columns(wire.select(raw, kinds, wire.EXEC), wire.EXEC)
        part = wire.exec_part(c, self._words, self._cgroup)
        if "env" in part:
            keep = self._env_names
            part["env"] = [e and [v for v in e if v.partition("=")[0] in keep] for e in part["env"]]
        return part

    def _failures(self, c: wire.Columns) -> Part:
        part = wire.fork_failed_part(c, SYSCALLS)
        if self._causes is None:
            self._causes = Causes(self._cgroup)
        causes = self._causes.of(wire.limits_rows(c), part["errno"], part["clone_flags"])
        return {**part, "cause": [words for words, _ in causes], "evidence": [evidence for _, evidence in causes]}

    def _releases(
        self, raw: bytes, kinds: array[int], codes: bytes | bytearray, present: set[int], parts: dict[int, Part]
    ) -> tuple[list[bool], list[bool]]:
        """Walks zombies, waits and releases in order. For each ZOMBIE, and each ADOPT record: is it an event?"""
        wanted = present & _WALKED
        if not wanted:
            return [], []
        columns = {kind: wire.Columns(wire.select(raw, kinds, kind), kind) for kind in wanted}
        zombies = iter(_ROWS[wire.ZOMBIE](columns[wire.ZOMBIE]) if wire.ZOMBIE in wanted else ())
        frees = iter(_ROWS[wire.FREE](columns[wire.FREE]) if wire.FREE in wanted else ())
        others = {kind: iter(_ROWS[kind](columns[kind])) for kind in wanted & {wire.WAIT, wire.REAP, wire.ADOPT}}
        told: list[bool] = []
        reap_ns, zombie_ns = array("q"), array("q")
        evidence: list[str | None] = []
        reaps = self._reaps
        pending, zombie = reaps.pending, reaps.zombie
        waited = wire.WAITED
        moved: list[bool] = []
        adopted: list[tuple[int, tuple[int, int], int]] = []
        for kind in codes.translate(None, _NOT_WALKED):
            if kind == wire.FREE:
                pid, tid, born, signal = next(frees)
                if pid != tid:
                    reap_ns.append(NULL)
                    zombie_ns.append(NULL)
                    evidence.append(None)
                    continue
                known = pending.pop((pid, born), None)
                if type(known) is tuple:  # its parent was waiting, as it nearly always is
                    reap_ns.append(known[0])
                    zombie_ns.append(0)
                    evidence.append("inferred")
                    continue
                reaped_at, lasted, sure = reaps.released(known, signal)
                reap_ns.append(NULL if reaped_at is None else reaped_at)
                zombie_ns.append(NULL if lasted is None else lasted)
                evidence.append(sure)
            elif kind == wire.ZOMBIE:
                at, pid, born, flags, parent, pgid = next(zombies)
                if flags & wire.SNAPSHOT:
                    told.append(reaps.found((pid, born), at, parent, pgid))
                    continue
                if flags & waited:
                    pending.setdefault((pid, born), (at, parent))
                    told.append(False)
                    continue
                told.append(
                    zombie(
                        (pid, born), at, parent, pgid,
                        waited=False, maybe=flags & wire.MAYBE != 0, auto=flags & wire.AUTOREAP != 0,
                    )
                )  # fmt: skip
            elif kind == wire.WAIT:
                at, pid, target = next(others[kind])
                reaps.wait(pid, at, target)
            elif kind == wire.ADOPT:
                at, old, flags, parent, child = next(others[kind])
                process = reaps.adopted(old, child, parent, at, waited=flags & waited != 0) if child else None
                moved.append(process is not None)
                if process is not None:
                    adopted.append((at, process, parent))
            else:
                at, pid, born = next(others[kind])
                reaps.exact((pid, born), at)
        if wire.FREE in wanted:
            parts[Kind.REAP] = _reap_part(columns[wire.FREE], reap_ns, zombie_ns, evidence)
        if any(told):
            parts[Kind.ZOMBIE] = {
                name: _only(values, told)
                for name, values in wire.zombie_part(columns[wire.ZOMBIE]).items()
            }
        if adopted:
            parts[Kind.ADOPT] = {
                "ts_ns": array("q", [at for at, _, _ in adopted]),
                "pid": array("q", [pid for _, (pid, _), _ in adopted]),
                "tid": array("q", [pid for _, (pid, _), _ in adopted]),
                "born_ns": array("q", [born for _, (_, born), _ in adopted]),
                "ppid": array("q", [parent or NULL for _, _, parent in adopted]),
            }
        return told, moved


def _reap_part(c: wire.Columns, reap_ns: array[int], zombie_ns: array[int], evidence: list[str | None]) -> Part:
    parents = c.ints_or_null("parent_pid", 0)
    # Nobody reaps a thread, and nobody reaped what sent no SIGCHLD: zombie time 0 without a reap time.
    reaped_by = array(
        "q",
        [
            NULL if sure is None or (r == NULL and z == 0) else parent
            for parent, sure, z, r in zip(parents, evidence, zombie_ns, reap_ns, strict=True)
        ],
    )
    return {
        **wire.head_part(c),
        "ppid": parents,
        "parent_born_ns": c.ints("parent_born_ns"),
        "reaped_by": reaped_by,
        "reap_ns": reap_ns,
        "zombie_ns": zombie_ns,
        "evidence": evidence,
        "min_flt": c.ints("min_flt"),
        "maj_flt": c.ints("maj_flt"),
        "utime_ns": c.ints("utime_ns"),
        "stime_ns": c.ints("stime_ns"),
        "runtime_ns": c.ints("runtime_ns"),
    }


def _only(values: Any, wanted: Sequence[bool]) -> Any:
    kept = [v for v, w in zip(values, wanted, strict=True) if w]
    return array("q", kept) if isinstance(values, array) else kept


def _zip(*names: str) -> Callable[[wire.Columns], Iterable[tuple[int, ...]]]:
    return lambda c: zip(*(c.narrow(n) for n in names), strict=True)


_ROWS: Final = {
    wire.ZOMBIE: _zip("time_ns", "pid", "born_ns", "flags", "parent_pid", "pgid"),
    wire.WAIT: _zip("time_ns", "pid", "target"),
    wire.REAP: _zip("time_ns", "pid", "born_ns"),
    wire.ADOPT: _zip("time_ns", "pid", "flags", "parent_pid", "child_pid"),
    wire.FREE: _zip("pid", "tid", "born_ns", "exit_signal"),
}
