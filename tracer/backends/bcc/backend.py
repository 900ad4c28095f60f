"""The bcc backend: programs that the distribution's BCC compiles here. Root, no BTF needed, no libbpf.

For kernels without BTF and hosts without libbpf 1.0. Sees births with flags and calls, execs with their words, ends
with status and killer, write-protect faults; from tracepoint arguments and helpers alone (probes/forktrace.bcc.c says
why), so no copies, reaps, CPU time or memory. Starts slower than the others: LLVM takes a third of a second, while
the program is held.

    _bcc_module.py    BCC itself        _bcc_headers.py   what it compiles against
    _bcc_procs.py     its table of processes: who is followed, who was there before

Records are wire.h's; columns that such programs can not fill are taken out, as null is not 0. Knows no tree and does
not start the program.
"""

from __future__ import annotations

import platform
import struct
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tracer.backends import Options, Readiness, wire
from tracer.backends.bcc import procs as _bcc_procs
from tracer.backends.bcc.headers import version_code
from tracer.backends.bcc.module import Programs
from tracer.backends.bpf import host
from tracer.backends.bpf.decode import Decoder
from tracer.backends.bpf.ring import Ring
from tracer.backends.netlink import proc
from tracer.errors import ProbesRefusedError
from tracer.host import boot_clock, features
from tracer.host.cgroups import Cgroups
from tracer.model.batch import Batch
from tracer.model.meta import Fact
from tracer.model.schema import NULL, Kind, Part

_FACTS: Final = frozenset(
    {
        Fact.THREADS,
        Fact.FLAGS,
        Fact.SYSCALL,
        Fact.ARGV,
        Fact.STATUS,
        Fact.KILLER,
        Fact.UID,
        Fact.WP_FAULTS,
    }
)
_TEXT_RING: Final = 8 << 20
_CHUNK: Final = 4096
_WORDS_MOST: Final = 512 << 10
"""Bytes of argv and environment. Twice as much is more than the verifier's million instructions."""
_COUNTS: Final = struct.Struct("=5Q")  # struct counts: alive, lost_events, lost_texts, unseen, sent
_LOST_WHERE: Final = ("events ring", "texts ring", "table of processes")
_CORE_UNKNOWN: Final = 1 << 31
_SUBJECT: Final = {"bcc": "BCC: ", "lockdown": "lockdown: ", "tracefs": "tracefs: "}
_FIRST: Final = bytes(4)
_MAPS: Final = ("events", "texts", "counts", "procs", "threads")
_NAMED_CALLS: Final = ("clone", "clone3", "fork", "vfork", "exit", "exit_group")

# What the records have room for, and these programs can not know.
_BLIND: Final[dict[int, tuple[str, ...]]] = {
    Kind.FORK: ("ns_pids", "pgid", "sid", "fork_ns", "pgtables_bytes", "rss_bytes"),
    Kind.EXEC: (
        "interpreter",
        "cwd",
        "wpcopy_count",
        "min_flt",
        "maj_flt",
        "utime_ns",
        "stime_ns",
        "runtime_ns",
        "vfork_done_ns",
    ),
    Kind.EXIT: ("min_flt", "maj_flt", "utime_ns", "stime_ns", "runtime_ns", "wpcopy_count", "max_rss_bytes"),
    Kind.FAULTS: (
        *(name for name in wire.COUNTERS if name != "wp_faults"),
        "cow_copies",
        "parent_cow_birth",
        "parent_cow_end",
        "cow_total",
    ),
}


def source() -> Path:
    """forktrace.bcc.c, wire.h beside it: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "_probes", package.parent / "probes"):
        path = folder / "forktrace.bcc.c"
        if path.exists():
            return path
    raise ProbesRefusedError("forktrace.bcc.c is missing", "install forktrace anew")


class Backend:
    """One capture with BCC's programs."""

    name = "bcc"
    late = False

    def __init__(self, options: Options) -> None:
        self._options = options
        self._registers = _reads_registers()
        self._facts = set(self.cover(options))
        self._notes: list[str] = []
        self._programs: Programs | None = None
        self._procs: _bcc_procs.Procs | None = None
        self._events: Ring | None = None
        self._texts: Ring | None = None
        self._counts_fd = -1
        self._lost = (0, 0, 0)
        self._waiting: list[Batch] = []
        self._decoder = Decoder(Cgroups().path, options.env)
        self._argv_max = min(options.argv_max, _WORDS_MOST)

    @classmethod
    def cover(cls, options: Options) -> frozenset[str]:
        """Facts that a capture with these options can see."""
        if options.match.filters:
            return frozenset()
        facts = _FACTS if options.cow == "full" else _FACTS - {Fact.WP_FAULTS}
        return facts if host.uses_cgroup_v1() else facts | {Fact.CGROUP}

    @classmethod
    def readiness(cls) -> Readiness:
        """BCC, the files that describe tracepoints, and the right to use both. BCC mounts nothing, and nor do we."""
        if platform.machine() != "x86_64":
            return Readiness(False, f"its programs are for x86-64, and this is {platform.machine()}")
        for feature in ("bcc", "capabilities", "lockdown", "tracefs"):
            check = features.feature(feature)
            if check.ok is False:
                return Readiness(False, _SUBJECT.get(feature, "") + check.detail, check.mend)
        try:
            _format("sched", "sched_process_exit")
        except OSError:
            return Readiness(False, "tracefs may not be read", features.feature("net_admin").mend)
        try:
            level, _ = host.pid_namespace()
        except ProbesRefusedError as e:
            return Readiness(False, e.message, e.mend)
        if level:
            why = "tracepoints tell the host's pids, and this is another pid namespace"
            return Readiness(False, why, "run forktrace in the host's own, or --backend strace")
        if not _reads_registers() and not all(_traced(f"sys_enter_{name}") for name in _NAMED_CALLS):
            return Readiness(False, "this kernel has neither BTF nor tracepoints at system calls")
        return Readiness(True)

    @property
    def facts(self) -> frozenset[str]:
        """Without control groups where version 1 places processes."""
        return frozenset(self._facts)

    @property
    def notes(self) -> tuple[str, ...]:
        """What this capture can not know."""
        return tuple(self._notes)

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """Nothing stands before the program."""
        return list(argv)

    # the beginning

    def start(self) -> None:
        """Compile, load, attach. Raises ProbesRefusedError in one sentence, whatever LLVM said."""
        options, path = self._options, source()
        ready = self.readiness()
        if not ready.ok:  # it was asked for by name
            raise ProbesRefusedError(ready.why, ready.mend)
        if options.argv_max > _WORDS_MOST:
            self._notes.append(f"of argv no more than {_WORDS_MOST >> 10} KiB could be kept")
        buffer = 1 << (options.buffer_bytes - 1).bit_length()
        self._programs = Programs(path.read_text("utf-8"), [f"-I{path.parent}", *self._words(buffer)], _MAPS)
        self._events = Ring(self._programs.map_fd("events"), buffer)
        self._texts = Ring(self._programs.map_fd("texts"), _TEXT_RING)
        self._counts_fd = self._programs.map_fd("counts")
        self._procs = _bcc_procs.Procs(self._programs)
        if options.cow == "full":
            self._notes.append("copies were not counted; wp_faults are all write-protect faults")
        if not self._registers:
            self._notes.append("argv is what /proc had a moment after each exec")
        if options.failures:
            self._notes.append("failed forks and execs were not seen")
        if options.everyone:
            self._procs.find(everyone=True)
            self._tell_existing()

    def _words(self, buffer: int) -> list[str]:
        """What the programs' text leaves open."""
        options = self._options
        env_max = 32768 if options.env and self._registers else 0
        pieces = -(-self._argv_max // _CHUNK) - (-env_max // _CHUNK)
        values = {
            "EVENTS_PAGES": buffer // 4096,
            "TEXTS_PAGES": _TEXT_RING // 4096,
            "EVERYONE": int(options.everyone),
            "REGS": int(self._registers),
            "GROUP_DEAD": int(b"group_dead" in _format("sched", "sched_process_exit")),
            "RENAME_PID": int(b" pid;" in _format("task", "task_rename")),  # gone from its record by 6.18
            "LEADERS_CODE": int(version_code(platform.release()) < (6, 0, 0)),
            "OOM": int(_traced("mark_victim", "oom")),
            "FAULTS": int(options.cow == "full"),  # the other levels have no probe on any fault
            "ARGV_MAX": self._argv_max,
            "ENV_MAX": env_max,
            "PIECES": pieces,
        }
        return [f"-DOPT_{name}={value}" for name, value in values.items()]

    def follow(self, pid: int, pidfd: int) -> None:
        """The held child; its forks are followed from there."""
        _, procs = self._started()
        procs.add_root(pid)
        self._tell_existing()

    def attach(self, pid: int) -> None:
        """A living process and all below it. Raises NoInputError when there is none, or it is just ending."""
        _, procs = self._started()
        procs.join(pid)
        self._tell_existing()
        self._notes.append(
            f"what {pid} had started before was found by its parents in /proc: orphans of that time are missing"
        )

    def _tell_existing(self) -> None:
        _, procs = self._started()
        if procs.rows:
            self._waiting.append(Batch.from_rows([(Kind.EXISTING, row) for row in procs.rows]))
            procs.rows.clear()

    # reading

    def descriptors(self) -> list[int]:
        """The ring wakes its reader now and then, and at the end of the last task."""
        return [self._events.fd] if self._events is not None else []

    def read(self) -> list[Batch]:
        """All that is committed, as at most one batch, and a LOST row for what was lost."""
        if self._events is None or self._texts is None:
            return []
        until = self._events.position()
        said = self._texts.position()
        texts = self._texts.take_all()
        if self._texts.consumed() < said:
            until = self._events.consumed()  # a text is still being written: take it together with its exec
        raw = self._events.take_fixed(wire.RECORD_SIZE, until)
        batch = self._decoder.batch(raw, texts)
        if batch is not None:
            self._narrow(batch, raw)
        found = [*self._waiting, *([batch] if batch is not None else [])]
        self._waiting.clear()
        lost = self._losses()
        return [*found, lost] if lost is not None else found

    def _narrow(self, batch: Batch, raw: bytes) -> None:
        """Take out what the programs did not know."""
        for kind, part in batch.parts.items():
            for name in _BLIND.get(kind, ()):
                part.pop(name, None)
        if Fact.CGROUP not in self._facts:
            for part in batch.parts.values():
                part.pop("cgroup", None)
        if Kind.EXEC in batch.parts:
            self._look_up(batch.parts[Kind.EXEC])
        if Kind.EXIT in batch.parts:
            part = batch.parts[Kind.EXIT]
            if part["signal"].count(NULL) < len(part["signal"]):
                flags = wire.Columns(wire.select(raw, wire.kinds_of(raw), wire.EXIT), wire.EXIT).narrow("flags")
                dumped = zip(part["core_dumped"], flags, strict=True)
                part["core_dumped"] = array("q", [NULL if f & _CORE_UNKNOWN else d for d, f in dumped])
        if Kind.FAULTS in batch.parts:
            batch.parts[Kind.FAULTS]["evidence"] = ["measured"] * batch.kinds.count(Kind.FAULTS)

    def _look_up(self, part: Part) -> None:
        """Words that the programs could not read (32-bit programs; kernels without BTF), from /proc while they last."""
        argv = part["argv"]
        evidence: list[str | None] = [None] * len(argv)
        told: dict[str, list[Any]] = {}
        for i in [i for i, words in enumerate(argv) if words is None]:
            found = proc.image(part["pid"][i], part["born_ns"][i], self._argv_max, self._options.env)
            evidence[i] = "snapshot"
            if found is not None and found.exe == part["exe"][i]:
                argv[i] = found.argv
                if found.env is not None:
                    told.setdefault("env", list(part.get("env", [None] * len(argv))))[i] = found.env
        part.update(told)
        if any(evidence):
            part["evidence"] = evidence

    def alive(self) -> int | None:
        """Followed tasks that have not ended; None for the whole host."""
        if self._options.everyone or self._programs is None:
            return None
        return max(0, self._counts()[0])

    def _counts(self) -> tuple[int, ...]:
        programs, procs = self._started()
        raw = programs.lookup(self._counts_fd, _FIRST, _COUNTS.size) or bytes(_COUNTS.size)
        alive, *rest = _COUNTS.unpack(raw)
        return ((alive - (1 << 64) if alive >> 63 else alive) + procs.joined, *rest)

    def _losses(self) -> Batch | None:
        now = self._counts()[1:4]
        if now == self._lost:
            return None
        at = boot_clock.now_ns()
        rows = [
            (Kind.LOST, {"ts_ns": at, "count": new - old, "where": place})
            for new, old, place in zip(now, self._lost, _LOST_WHERE, strict=True)
            if new > old
        ]
        self._lost = (now[0], now[1], now[2])
        return Batch.from_rows(rows)

    # the end

    def finish(self) -> list[Batch]:
        """Take the programs out, then read what they left."""
        if self._programs is None or self._procs is None:
            return []
        self._programs.detach()
        batches = self.read()
        left = self._procs.left(faults=Fact.WP_FAULTS in self._facts)
        if left:
            batches.append(Batch.from_rows(left))
        return [Batch.join(batches)] if batches else []

    def close(self) -> None:
        """Rings and programs."""
        for ring in (self._events, self._texts):
            if ring is not None:
                ring.close()
        self._events = self._texts = None
        if self._programs is not None:
            self._programs.close()
            self._programs = None

    def _started(self) -> tuple[Programs, _bcc_procs.Procs]:
        if self._programs is None or self._procs is None:
            raise RuntimeError("start() comes first")
        return self._programs, self._procs


def _reads_registers() -> bool:
    """Whether bpf_task_pt_regs() can be had: it wants BTF, and Linux 5.15."""
    return features.feature("btf").ok is True and features.feature("bpf_task_pt_regs").ok is not False


def _format(category: str, name: str) -> bytes:
    """What a tracepoint's arguments are. Raises OSError."""
    for place in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing"):
        path = Path(place) / "events" / category / name / "format"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            continue
    raise FileNotFoundError(name)


def _traced(name: str, category: str = "syscalls") -> bool:
    try:
        return bool(_format(category, name))
    except OSError:
        return False
