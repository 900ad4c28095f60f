"""The bpf backend: prebuilt CO-RE probes, loaded through libbpf. Sees everything.

Owns the objects, their options and the two rings; decoding is _decode.py's. `read` notes how far ring `events` has
come, empties ring `texts`, then takes `events` up to there: an exec's words are sent before its record, so they are
at hand. Knows no tree and does not start the program.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracer.backends import Options, Readiness, Trial, wire
from tracer.backends.bpf import host, programs
from tracer.backends.bpf.failures import explain
from tracer.backends.bpf.faults import Faults, faults_readiness
from tracer.backends.bpf.libbpf import BpfObject
from tracer.backends.bpf.misses import Misses
from tracer.backends.bpf.objects import (
    HOT,
    LIFECYCLE_MAPS,
    MATCH_MAPS,
    beside,
    copies,
    load_copy,
    no_probes,
    options_data,
    probe_object,
    ring_size,
    set_lifecycle,
)
from tracer.backends.bpf.ring import Ring
from tracer.errors import NoInputError, NoPermissionError, ProbesRefusedError
from tracer.host import boot_clock, procfs
from tracer.host import features as kernel
from tracer.host.features.feature_probe import OTHER_BACKEND
from tracer.host.fork_errors import Host
from tracer.model import machines
from tracer.model.batch import Batch
from tracer.model.meta import Fact
from tracer.model.schema import Kind

if TYPE_CHECKING:
    from tracer.backends.bpf.decode import Decoder
    from tracer.backends.bpf.stacks import Stacks

_NEEDED: Final = ("bpf_loop", "bpf_task_pt_regs", "task_storage", "tp_btf")
"""Features without which the life-cycle probes are refused, often in words that do not name the cause.

Youngest first: the first that is missing says which kernel would do.
"""
_SETTLE_TRIES: Final = 1000
_FACTS: Final = frozenset(
    {
        Fact.THREADS,
        Fact.FLAGS,
        Fact.SYSCALL,
        Fact.NS_PIDS,
        Fact.ARGV,
        Fact.CWD,
        Fact.STATUS,
        Fact.KILLER,
        Fact.REAPS,
        Fact.ZOMBIES,
        Fact.ADOPTION,
        Fact.CPU,
        Fact.MAX_RSS,
        Fact.FAULTS,
        Fact.SIZES,
        Fact.UID,
        Fact.CGROUP,
        Fact.SESSIONS,
    }
)
_LOCKED: Final = "cwd, interpreters and renames are unknown: lockdown=confidentiality forbids reads of kernel memory"


def _usual_facts() -> set[str]:
    """Of every capture. A working directory is found by reading kernel memory."""
    return set(_FACTS if kernel.reads_allowed() else _FACTS - {Fact.CWD})


def _ready(*features: str) -> Readiness:
    machine = machines.here()
    if machine is None or machine.probes is None:
        return Readiness(False, no_probes(), OTHER_BACKEND)
    for feature in features:
        check = kernel.feature(feature)
        if check.ok is False:
            return Readiness(False, check.detail, check.mend, feature == "capabilities")
    return Readiness(True)


class _Aside:
    """Does `work` on a thread of its own meanwhile. What it raises is raised at the end, unless something has been."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._do)

    def _do(self) -> None:
        try:
            self._work()
        except BaseException as e:  # whatever it is, it belongs to who waits
            self._error = e

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error


class Backend:
    """One capture with the bpf probes."""

    name = "bpf"

    def __init__(self, options: Options) -> None:
        self._options = options
        self._shared: BpfObject | None = None  # the maps that all objects have in common
        self._object: BpfObject | None = None
        self._failures: BpfObject | None = None
        self._failures_copies: list[BpfObject] = []
        self._faults: Faults | None = None
        self._stacks: Stacks | None = None
        self._events: Ring | None = None
        self._texts: Ring | None = None
        self._stats: mmap.mmap | None = None
        self._lost = (0, 0, 0)
        self._misses = Misses()
        self._attached = False
        self._missed_ends = 0  # not reported yet: they may be made up for when the tasks are let go of
        self._copies: list[BpfObject] = []  # copies of hot programs, but for the fault probes' own
        self._walks: BpfObject | None = None  # kept where processes may begin to match at any time
        self._matched = 0  # stats.joined when /proc's tasks were walked last
        self._joined = 0  # living processes that were attached to: the kernel counts only what is born afterwards
        self._data = b""
        self._facts = _usual_facts()
        self._notes: list[str] = [] if kernel.reads_allowed() else [_LOCKED]
        self._decoder: Decoder | None = None
        self._bounds = Host()

    @classmethod
    def readiness(cls) -> Readiness:
        """Library, BTF, capabilities, and what no load can do without; the kernel's last word comes with the load."""
        return _ready("libbpf", "btf", "capabilities", *_NEEDED)

    @classmethod
    def readiness_at_start(cls) -> Readiness:
        """Without trials in the kernel: they take 10 ms each, and where the load is refused they are made up for."""
        return _ready("libbpf", "btf", "capabilities")

    @classmethod
    def trial(cls) -> Trial:
        """Every program of every object, as this kernel takes it."""
        from tracer.backends.bpf import trial as _trial

        return _trial.judged()

    @classmethod
    def cover(cls, options: Options) -> frozenset[str]:
        """Everything that was asked for."""
        facts = _usual_facts()
        if options.cow in ("fork", "full"):
            facts.add(Fact.FORK_COST)
        if options.cow == "full":
            facts |= {Fact.COW, Fact.WP_FAULTS}
        if options.cow_stacks is not None:
            facts.add(Fact.STACKS)
        if options.failures:
            facts |= {Fact.EXEC_FAILED, Fact.FORK_FAILED}
        if options.delayacct or host.counts_wpcopies():
            facts.add(Fact.WPCOPY)
        return frozenset(facts)

    @property
    def facts(self) -> frozenset[str]:
        """Narrower under `--cow off` and `light`, where page-table copies are not timed."""
        return frozenset(self._facts)

    @property
    def notes(self) -> tuple[str, ...]:
        """What this capture can not know."""
        return (*self._notes, *(self._stacks.notes if self._stacks is not None else ()))

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """Nothing stands before the program."""
        return list(argv)

    def start(self) -> None:
        """Load and attach the probes. Where they are refused for want of a feature, that is the reason given."""
        try:
            self._start()
        except ProbesRefusedError as e:
            lacks = _ready(*_NEEDED)
            if lacks.ok:
                raise
            raise ProbesRefusedError(lacks.why, lacks.mend) from e

    def _start(self) -> None:
        options = self._options
        shared = self._shared = BpfObject(probe_object("shared"))
        obj = self._object = BpfObject(probe_object("lifecycle"))
        fork_cost = options.cow in ("fork", "full")
        shared.resize("events", ring_size(options))
        with _Aside(shared.load):  # to make a ring of 16 MiB takes as long as to ask the kernel's types
            self._data = options_data(options)
            host.has_group_dead(), host.mark_victim_takes_task()
        set_lifecycle(obj, shared, self._data, options)
        if fork_cost:
            self._facts.add(Fact.FORK_COST)
        # Most of a load is libbpf reading the kernel's types, and then the verifier: neither holds this process'
        # interpreter, and no object waits for the other. Meanwhile what is needed afterwards is imported.
        with _Aside(lambda: obj.load(programs.OPTIONAL["lifecycle"])):
            faults = self._open_faults(shared) if options.cow == "full" else None
            if faults is None:
                self._decoding()
            else:
                with _Aside(lambda: self._load_faults(faults)):
                    self._decoding()
        self._leave_out("lifecycle", obj)
        if self._faults is not None:
            self._leave_out("faults", self._faults.object)
            self._decoding().nulls |= faults_readiness().nulls
        self._double(obj)
        if host.counts_wpcopies():
            self._facts.add(Fact.WPCOPY)
        self._stats = obj.view(".data.stats", wire.STATS.size())
        if options.failures:
            self._load_failures()
        self._tell_match(obj)
        self._events = Ring(obj.map_fd("events"), obj.map_size("events"))
        self._texts = Ring(obj.map_fd("texts"), obj.map_size("texts"))
        if options.cow == "light" and not host.counts_wpcopies():
            self._notes.append(
                "copies were not counted: --cow light has the kernel's own figure, and kernel.task_delayacct is off"
            )
        if options.cow_stacks is not None:
            self._load_stacks(options.cow_stacks)
        obj.attach(lambda name, _: name != "on_rss_stat")  # that one is in the fault probes too
        self._attach_copies()
        if not self._attach_faults():
            obj.attach(lambda name, _: name == "on_rss_stat")
        for failures in (self._failures, *self._failures_copies):
            if failures is not None:
                failures.attach()
        self._attached = True
        if options.everyone or options.match:
            self._find_tasks()
            if self._faults is not None:
                self._faults.add_tree()

    def _attach_faults(self) -> bool:
        """Whether copies are counted. Their refusal costs nothing else; on arm64 it may come as late as this."""
        if self._faults is None:
            return False
        try:
            self._faults.attach(threads=self._options.everyone or bool(self._options.match))
            if self._stacks is not None:
                self._stacks.attach()
        except ProbesRefusedError as e:
            if self._stacks is not None:
                self._stacks.close()
                self._stacks = None
            self._misses.forget("faults")
            self._faults.close()
            self._faults = None
            self._facts -= {Fact.COW, Fact.WP_FAULTS, Fact.STACKS}
            self._notes.append(f"copies were not counted: {e.message}")
            return False
        return True

    def _double(self, obj: BpfObject) -> None:
        """Where the kernel may skip a program, second copies of the hot ones; and its count of skipped ones."""
        faults = self._faults
        if copies() < 2:
            self._misses.watch("lifecycle", obj)
            if faults is not None:  # arm64's program at a function may be skipped on every kernel
                self._misses.watch("faults", faults.object)
            return
        if faults is not None:
            with _Aside(lambda: self._copy_lifecycle(obj)):
                faults.copies += self._copies_of("faults", faults.object, lambda: faults.beside(probe_object("faults")))
        else:
            self._copy_lifecycle(obj)

    def _copy_lifecycle(self, obj: BpfObject) -> None:
        self._copies += self._copies_of("lifecycle", obj, lambda: beside("lifecycle", obj, self._data, LIFECYCLE_MAPS))

    def _copies_of(self, name: str, first: BpfObject, opened: Callable[[], BpfObject]) -> list[BpfObject]:
        """Fewer where the kernel refuses one: then more may be lost, and what is lost is reported."""
        made: list[BpfObject] = []
        for number in range(1, len(HOT[name]) + 1):
            other = opened()
            try:
                load_copy(name, number, other, first, self._data)
            except (ProbesRefusedError, NoPermissionError) as e:
                other.close()
                self._notes.append(f"events may be lost: copies of the probes were refused: {e.message}")
                break
            made.append(other)
        self._misses.watch(name, first, made)
        return made

    def _attach_copies(self) -> None:
        for copy in self._copies:
            copy.attach()

    def _leave_out(self, name: str, obj: BpfObject) -> None:
        """What the kernel refused of an object is not measured: null, and a note says why."""
        lacks = programs.without(name, obj.refused)
        self._facts -= lacks.facts
        self._decoding().nulls |= lacks.columns
        self._notes += lacks.notes

    def _tell_match(self, obj: BpfObject) -> None:
        match = self._options.match
        if not match:
            return
        from tracer.backends.bpf import match as _match

        for name, elements in _match.contents(match).items():
            for key, value in elements:
                obj.update(name, key, value)

    def _decoding(self) -> Decoder:
        """Its modules are not needed for the load, and imported meanwhile."""
        if self._decoder is None:
            from tracer.backends.bpf.decode import Decoder
            from tracer.host.cgroups import Cgroups

            cgroups = Cgroups()
            self._decoder = Decoder(cgroups.path, self._options.env, cgroups.made)
        return self._decoder

    def arm_failures(self, on: bool) -> bool:
        """Switch the probe at the end of each system call on or off, while we run. False: the kernel refused it."""
        if on == (self._failures is not None):
            return True
        if self._failures is not None:
            self._close_failures()
            self._facts -= {Fact.EXEC_FAILED, Fact.FORK_FAILED}
            return True
        return self._load_failures(attach=True)

    def _load_failures(self, *, attach: bool = False) -> bool:
        """Their refusal costs nothing else."""
        failures = None
        try:
            failures = self._beside("failures", "texts")
            if "find_symbols" not in failures.refused and kernel.reads_allowed():
                failures.run_once("find_symbols")
            if attach:
                failures.attach()
        except (ProbesRefusedError, NoPermissionError) as e:
            if failures is not None:
                failures.close()
            self._notes.append(f"failed forks were not watched: {e.message}")
            return False
        self._failures = failures
        owner, _ = self._started()
        if copies() > 1:
            self._failures_copies += self._copies_of(
                "failures", failures, lambda: beside("failures", owner, self._data, ("texts",))
            )
            for copy in self._failures_copies if attach else ():
                copy.attach()
        self._facts |= {Fact.EXEC_FAILED, Fact.FORK_FAILED}
        return True

    def _close_failures(self) -> None:
        self._misses.forget("failures")
        for obj in (*self._failures_copies, self._failures):
            if obj is not None:
                obj.close()
        self._failures_copies.clear()
        self._failures = None

    def _open_faults(self, shared: BpfObject) -> Faults | None:
        """The fault probes, not loaded yet."""
        can = faults_readiness()
        if not can.ok:
            self._notes.append(f"copies were not counted: {can.why}")
            return None
        try:
            return Faults(probe_object("faults"), shared, self._data)
        except (ProbesRefusedError, NoPermissionError) as e:
            self._notes.append(f"copies were not counted: {e.message}")
            return None

    def _load_faults(self, faults: Faults) -> None:
        """Their refusal costs the fork tree nothing: the columns are null, and a note says why."""
        try:
            faults.load()
        except (ProbesRefusedError, NoPermissionError) as e:
            faults.close()
            self._notes.append(f"copies were not counted: {e.message}")
            return
        self._faults = faults
        self._facts |= {Fact.COW, Fact.WP_FAULTS}
        can = faults_readiness()
        if can.evidence == "inferred":
            self._notes.append(f"copies are inferred: {can.why}")

    def _load_stacks(self, rate: int) -> None:
        """Stacks at copies. Their refusal costs nothing else."""
        from tracer.backends.bpf.stacks import Stacks

        if self._faults is None:
            self._notes.append("no stacks were sampled, as copies were not counted")
            return
        stacks: Stacks | None = None
        try:
            stacks = Stacks(probe_object("stacks"), self._faults, rate=rate)
            stacks.load()
        except (ProbesRefusedError, NoPermissionError) as e:
            if stacks is not None:
                stacks.close()
            self._notes.append(f"no stacks were sampled: {e.message}")
            return
        self._stacks = stacks
        self._facts.add(Fact.STACKS)

    def _beside(self, name: str, *maps: str) -> BpfObject:
        """Load a second object over the same marks, ring, counters and options."""
        obj, _ = self._started()
        other = beside(name, obj, self._data, maps)
        try:
            other.load(programs.OPTIONAL.get(name, ()))
        except BaseException:
            other.close()
            raise
        return other

    def follow(self, pid: int, pidfd: int) -> None:
        """Mark the held child; its forks grow the set from there."""
        _, stats = self._started()
        struct.pack_into("=Q", stats, 0, 1)  # nobody else is marked yet
        self._mark(pidfd, held=True)
        if self._object is not None and "on_exec" in self._object.refused:
            self._find_tasks()  # its row would begin at its exec

    def _mark(self, pidfd: int, *, held: bool) -> bool:
        """Whether the process was not marked before."""
        obj, _ = self._started()
        try:
            obj.update("marks", struct.pack("=i", pidfd), wire.pack_root_mark(), new=True)
        except FileExistsError:
            return False
        if self._faults is not None:
            self._faults.add_root(pidfd, held=held)
        return True

    def attach(self, pid: int) -> None:
        """Mark a living process, then what is below it, until a pass over all tasks finds none that is new.

        Raises NoInputError when there is no such process, or when it is just ending.
        """
        obj, _ = self._started()
        try:
            pidfd = os.pidfd_open(pid)
        except (OSError, OverflowError) as e:
            raise _no_process(pid, e) from None
        try:
            there = procfs.read(pid)
            if there is not None and there.state in "ZX" and there.threads <= 1:
                raise _not_found(pid)  # below another a zombie is a row; alone there is nothing to watch
            try:
                if not self._mark(pidfd, held=False):
                    return  # named twice, or found below another
            except OSError as e:  # it has gone since
                raise _no_process(pid, e) from None
            self._joined += 1
            self._find_tasks()
            mark = obj.lookup("marks", struct.pack("=i", pidfd), wire.MARK.size()) or b"\0\0\0\0"
        finally:
            os.close(pidfd)
        if not struct.unpack_from("=I", mark)[0] & (wire.MARK_SEEN | wire.MARK_ENDED):
            raise _not_found(pid)
        if self._faults is not None:
            self._faults.add_tree()

    def _find_tasks(self) -> None:
        _, stats = self._started()
        added_at = wire.STATS.offsets()["added"][0]
        self._matched = self._stat("joined")
        matching = bool(self._options.match)
        walks = self._walks or self._beside("attach", *(MATCH_MAPS if matching else ()))
        try:
            while True:
                before = struct.unpack_from("=Q", stats, added_at)[0]
                walks.run_iterator("find_tasks")
                if struct.unpack_from("=Q", stats, added_at)[0] == before:
                    break
        finally:
            if matching:
                self._walks = walks
            else:
                walks.close()

    def descriptors(self) -> list[int]:
        """The rings wake their reader only when a quarter is full, and at the end of the last task."""
        if self._object is None or self._events is None:
            return []
        return [self._object.map_fd("events"), *([self._stacks.descriptor] if self._stacks is not None else [])]

    def read(self) -> list[Batch]:
        """All that is committed, as at most one batch, and a LOST row for what did not fit."""
        if self._events is None or self._texts is None:
            return []
        if self._stacks is not None:
            self._stacks.look()
        if self._stat("joined") != self._matched:  # they have threads or children, who have no marks yet
            self._find_tasks()
            if self._faults is not None:
                self._faults.add_tree()
        until = self._events.position()
        said = self._texts.position()
        texts = self._texts.take_all()
        if self._texts.consumed() < said:
            # A text is still being written, and those behind it belong to execs in sight: take them together, later.
            until = self._events.consumed()
        batch = self._decoding().batch(self._events.take_fixed(wire.RECORD_SIZE, until), texts)
        if batch is not None and self._failures is not None and not kernel.reads_allowed():
            explain([batch], self._bounds)  # the probe could not read what bounds the caller
        lost = self._losses()
        if self._faults is not None:
            self._faults.poll()
        stacks = self._stacks.read() if self._stacks is not None else None
        return [b for b in (batch, stacks, lost) if b is not None]

    def alive(self) -> int | None:
        """Marked tasks that have not ended, threads included; None where new ones may come at any time."""
        return None if self._options.everyone or self._options.match or not self._stats else self._alive()

    def finish(self) -> list[Batch]:
        """Take the probes out, then read what they left."""
        if self._object is None:
            return []
        batches = self.read()
        self._attached = False
        if self._stacks is not None:
            self._stacks.detach()
        if self._faults is not None:
            self._faults.detach()
        if self._options.everyone or self._options.match or self._alive() or self._decoding().zombies:
            self._ask_the_living()
        for failures in (*self._failures_copies, self._failures):
            if failures is not None:
                failures.detach()
        for copy in self._copies:
            copy.detach()
        self._object.detach()
        batches += self._rest()
        stacks = self._stacks.finish() if self._stacks is not None else None
        batches += [stacks] if stacks is not None else []
        small = wire.small_decay(self._faults.stats().decay) if self._faults is not None else None
        batches += [small] if small is not None else []
        rest = self._losses(last=True)
        batches += [rest] if rest is not None else []
        unseen = self._stat("unseen")
        if unseen:
            self._notes.append(f"{unseen} tasks could not be marked, and what they started was not seen")
        return batches

    def _ask_the_living(self) -> None:
        """Their counters so far. What goes wrong here must not cost what was seen."""
        try:
            if self._faults is not None:
                self._faults.snapshot()
            walks = self._beside("attach")
            try:
                walks.run_iterator("find_alive")
            finally:
                walks.close()
        except (ProbesRefusedError, NoPermissionError) as e:
            self._notes.append(f"what the living had used so far could not be read: {e.message}")

    def _rest(self) -> list[Batch]:
        """All that is left when no probe runs any more; a record that is being written will be in microseconds."""
        batches: list[Batch] = []
        assert self._events is not None
        for _ in range(_SETTLE_TRIES):
            batches += self.read()
            if not self._events.used():
                break
            os.sched_yield()
        rest = self._decoding().rest()
        return batches if rest is None else [*batches, rest]

    def close(self) -> None:
        """Probes, rings and maps."""
        for ring in (self._events, self._texts):
            if ring is not None:
                ring.close()
        self._events = self._texts = None
        if self._stats is not None:
            self._stats.close()
            self._stats = None
        if self._stacks is not None:
            self._notes += self._stacks.notes
            self._stacks.close()
            self._stacks = None
        if self._faults is not None:
            self._faults.close()
            self._faults = None
        self._close_failures()
        for obj in (*self._copies, self._walks, self._object, self._shared):
            if obj is not None:
                obj.close()
        self._object = self._shared = self._walks = None
        self._copies.clear()

    def _started(self) -> tuple[BpfObject, mmap.mmap]:
        if self._object is None or self._stats is None:
            raise RuntimeError("start() comes first")
        return self._object, self._stats

    def _stat(self, name: str) -> int:
        if self._stats is None:
            return 0
        offset, fmt = wire.STATS.offsets()[name]
        return sum(struct.unpack_from("=" + fmt, self._stats, offset))

    def _alive(self) -> int:
        counted = int(struct.unpack_from("=q", self._stats, 0)[0]) if self._stats else 0
        return max(0, counted + self._joined)

    def _losses(self, *, last: bool = False) -> Batch | None:
        """What did not fit, and what the kernel skipped: of the latter, at most so many."""
        now = (self._stat("lost_events"), self._stat("lost_texts"), self._stat("unseen"))
        lost = {
            place: new - old
            for new, old, place in zip(now, self._lost, ("events ring", "texts ring", "marks"), strict=True)
        }
        self._lost = now
        skipped = self._misses.lost()
        if "births" in skipped and self._attached:
            skipped["births"] -= self._find_missed()
        self._missed_ends += skipped.pop("ends", 0)
        if last:
            skipped["ends"] = self._missed_ends - self._stat("late_ends")
        lost |= {f"skipped by the kernel: {what}": n for what, n in skipped.items()}
        at = boot_clock.now_ns()
        rows = [(Kind.LOST, {"ts_ns": at, "count": n, "where": place}) for place, n in lost.items() if n > 0]
        return Batch.from_rows(rows) if rows else None

    def _find_missed(self) -> int:
        """Join living children whose births were missed; how many there were."""
        before = self._stat("added")
        try:
            self._find_tasks()
            if self._faults is not None:
                self._faults.add_tree()
        except (ProbesRefusedError, NoPermissionError):
            return 0
        return self._stat("added") - before


def _no_process(pid: int, error: OSError | OverflowError) -> NoInputError:
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8", "replace")
        leader = next(line.split()[1] for line in status.splitlines() if line.startswith("Tgid:"))
    except (OSError, StopIteration):
        return NoInputError(f"there is no process {pid} to attach to", "see `ps -e`")
    if leader != str(pid):
        return NoInputError(f"{pid} is a thread of process {leader}", f"use -p {leader}")
    return NoInputError(f"process {pid} can not be attached to: {error}")


def _not_found(pid: int) -> NoInputError:
    """It has a mark that nothing would count down: it had passed the hook that tells its end, or never gets there."""
    process = procfs.read(pid)
    if process is None or process.state in "ZX":
        return NoInputError(f"process {pid} has just ended", "name one that lives")
    if process.kernel_thread:
        return NoInputError(f"process {pid} is a kernel thread", "name a program's process")
    return NoInputError(f"process {pid} is hidden from the kernel's walk over tasks", "name one of its children")
