"""Ring bytes to model batches, for the backends that share wire.h: columns by wire.py, reaps by _reaps.py.

Stateful, one per trace: words of execs that are still to come, zombies, names of control groups. Knows no ring.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from tracer.backends import wire
from tracer.backends.bpf.failures import Causes
from tracer.backends.reaps import Reaps
from tracer.backends.releases import RELEASES, Releases, bulk, walk
from tracer.host import boot_clock
from tracer.model import machines
from tracer.model.batch import Batch
from tracer.model.schema import NULL, Kind, Part

SYSCALLS: Final = machines.births(machines.here())
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


_TO_MODEL: Final = bytes(_MODEL.get(code, 0) for code in range(256))
_NO_EVENTS: Final = bytes(code for code in range(256) if code not in _MODEL)


class Decoder:
    """`cgroup` turns a kernfs id into a path, or None. `env_names`: which variables to keep.

    `made` is told of each control group that is made: its id, that of the one above, its name.
    """

    def __init__(
        self,
        cgroup: Callable[[int], str | None],
        env_names: Sequence[str] = (),
        made: Callable[[int, int, str], None] | None = None,
    ) -> None:
        self._cgroup = cgroup
        self._made = made
        self._env_names = frozenset(env_names)
        self._words: dict[tuple[int, int], wire.Words] = {}
        self._reaps = Reaps()
        self._causes: Causes | None = None
        self.nulls: frozenset[str] = frozenset()
        """Columns that this capture cannot know."""

    def batch(self, raw: bytes, texts: Iterable[bytes]) -> Batch | None:
        """`raw`: a run of fixed records with their ring headers; `texts`: the text records read before it."""
        wire.texts(texts, self._words)
        if not raw:
            return None
        run = wire.Run(raw)
        present = run.present
        parts: dict[int, Part] = {}
        if wire.MKDIR in present and self._made is not None:
            for number, above, name in wire.mkdir_rows(run.columns(wire.MKDIR)):
                self._made(number, above, name)
        for kind in present & {wire.FORK, wire.EXISTING}:
            parts[_MODEL[kind]] = self._births(run.columns(kind), kind)
        if wire.EXEC in present:
            parts[Kind.EXEC] = self._execs(run.columns(wire.EXEC))
        if wire.EXIT in present:
            parts[Kind.EXIT] = wire.exit_part(run.columns(wire.EXIT))
        for kind in present & {wire.ALIVE, wire.BASE}:
            part = wire.exit_part(run.columns(kind))
            for name in ("last", "exit_code", "signal", "core_dumped", "killed_by", "oom_killed"):
                del part[name]
            parts[_MODEL[kind]] = part
        if wire.EXEC_FAILED in present:
            parts[Kind.EXEC_FAILED] = wire.exec_failed_part(run.columns(wire.EXEC_FAILED), self._words)
        if wire.FORK_FAILED in present:
            parts[Kind.FORK_FAILED] = self._failures(run.columns(wire.FORK_FAILED))
        if wire.FAULTS in present:
            parts[Kind.FAULTS] = wire.faults_part(run.columns(wire.FAULTS))
        if wire.DECAY in present:
            parts[Kind.DECAY] = wire.decay_part(run.columns(wire.DECAY))
        if wire.RENAME in present:
            c = run.columns(wire.RENAME)
            parts[Kind.RENAME] = {**wire.head_part(c), "comm": c.comms()}
        for key in list(self._words)[:-_MOST_WORDS]:  # their exec records were lost
            del self._words[key]
        codes = run.codes()
        self._releases(run, codes, parts)
        for part in parts.values() if self.nulls else ():
            for name in self.nulls & part.keys():
                del part[name]
        out = bytes(codes).translate(_TO_MODEL, _NO_EVENTS)
        return Batch(out, parts) if out else None

    @property
    def zombies(self) -> bool:
        """There are children that ended and were not let go of, as far as is known."""
        return bool(self._reaps.waiting)

    def rest(self) -> Batch | None:
        """At the end: reaps that are known of children that the kernel has not let go of yet (RCU may be slow)."""
        now = boot_clock.now_ns()
        rows = []
        for (pid, born), parent, reap in self._reaps.rest():
            told = {"ts_ns": now if reap.reap_ns is None else reap.reap_ns, "pid": pid, "tid": pid, "born_ns": born}
            row = {**told, "reaped_by": parent, **reap._asdict()}
            rows.append((Kind.REAP, {name: value for name, value in row.items() if name not in self.nulls}))
        rows.sort(key=lambda row: (row[1]["ts_ns"], row[1]["pid"]))
        return Batch.from_rows(rows) if rows else None

    def _births(self, c: wire.Columns, kind: int) -> Part:
        part = wire.fork_part(c, self._cgroup, SYSCALLS)
        if kind == wire.EXISTING:
            # Nothing was forked before our eyes: what the parent had then is not known, what it has now is no answer.
            for name in (
                "creator_pid",
                "creator_tid",
                "creator_born_ns",
                "fork_ns",
                "pgtables_bytes",
                "rss_bytes",
                "clone_flags",
                "syscall",
                "exit_signal",
            ):
                del part[name]
        return part

    def _execs(self, c: wire.Columns) -> Part:
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
        words = [None if found is None else str(found) for found in causes]
        return {**part, "cause": words, "evidence": [None if found is None else found.evidence for found in causes]}

    def _releases(self, run: wire.Run, codes: bytearray, parts: dict[int, Part]) -> None:
        """Zombies, waits and releases in order. Takes the codes of ZOMBIE and ADOPT records that are no events."""
        wanted = run.present & RELEASES
        if not wanted:
            return
        columns = {kind: run.columns(kind) for kind in wanted}
        found = bulk(run, columns, self._reaps) or walk(codes, columns, self._reaps)
        for kind, events in ((wire.ZOMBIE, found.told), (wire.ADOPT, found.moved)):
            # Zombies that are none, as their parent was waiting, are no events.
            for at in run.others(kind, events):
                codes[at] = 0
        if wire.FREE in wanted:
            parts[Kind.REAP] = _reap_part(columns[wire.FREE], found)
        if any(found.told):
            c = columns[wire.ZOMBIE].picked(found.told)
            parts[Kind.ZOMBIE] = wire.zombie_part(c)
        if found.adopted:
            parts[Kind.ADOPT] = {
                "ts_ns": array("q", [at for at, _, _ in found.adopted]),
                "pid": array("q", [pid for _, (pid, _), _ in found.adopted]),
                "tid": array("q", [pid for _, (pid, _), _ in found.adopted]),
                "born_ns": array("q", [born for _, (_, born), _ in found.adopted]),
                "ppid": array("q", [parent or NULL for _, _, parent in found.adopted]),
            }


def _reap_part(c: wire.Columns, found: Releases) -> Part:
    parents = c.ints_or_null("parent_pid", 0)
    # Nobody reaps a thread, and nobody reaped what sent no SIGCHLD: zombie time 0 without a reap time.
    reaped_by = parents[:]
    for i, (sure, z) in enumerate(zip(found.evidence, found.zombie_ns, strict=True)):
        if sure is None or (z == 0 and found.reap_ns[i] == NULL):
            reaped_by[i] = NULL
    return {
        **wire.head_part(c),
        "ppid": parents,
        "parent_born_ns": c.ints("parent_born_ns"),
        "reaped_by": reaped_by,
        "reap_ns": found.reap_ns,
        "zombie_ns": found.zombie_ns,
        "evidence": found.evidence,
        "min_flt": c.ints("min_flt"),
        "maj_flt": c.ints("maj_flt"),
        "utime_ns": c.ints("utime_ns"),
        "stime_ns": c.ints("stime_ns"),
        "runtime_ns": c.ints("runtime_ns"),
    }
