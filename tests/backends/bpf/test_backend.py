"""The bpf backend on the real kernel: nobody is missed, losses are counted to the record, nothing is left behind."""

from __future__ import annotations

import ctypes
import os
import re
import select
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pytest

import tracer
from tests import samples
from tests.backends.bpf.test_decode import packed, rows, text
from tests.backends.bpf.test_ring import Producer
from tests.conftest import need
from tests.descriptors import open_files
from tests.programs.cow import build
from tests.strategies import META
from tests.terminals import DEADLINE_S, state, wait_until
from tracer.backends import Options, wire
from tracer.backends.bpf.backend import Backend
from tracer.backends.bpf.decode import Decoder
from tracer.backends.bpf.objects import probe_object
from tracer.backends.bpf.ring import BUSY, Ring
from tracer.capture.session import Plan, Session
from tracer.capture.target import Target
from tracer.errors import NoInputError, ProbesRefusedError
from tracer.model.batch import Batch
from tracer.model.meta import Fact
from tracer.model.schema import Kind
from tracer.tree.tree import ProcessTree

kernel = pytest.mark.kernel


@pytest.fixture(autouse=True)
def _ready(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("kernel"):
        need("bpf", "cc")


@pytest.fixture
def backend() -> Iterator[Backend]:
    made = Backend(Options(cow="off"))
    yield made
    made.close()


def tree_of(batches: Sequence[Batch]) -> ProcessTree:
    tree = ProcessTree(META)
    for batch in batches:
        tree.feed(batch)
    return tree


# Attaching to what lives


@dataclass(frozen=True)
class Lived:
    """What a process of churn says of itself."""

    pid: int
    ppid: int
    since: int
    until: int


class Churn:
    """The program churn, from outside."""

    def __init__(self, folder: Path, *words: object) -> None:
        self._said = folder / f"churn-{time.monotonic_ns()}"
        with self._said.open("wb") as out:
            self.process = subprocess.Popen([build("churn"), *map(str, words)], stdin=subprocess.PIPE, stdout=out)
        self.pid = self.process.pid
        wait_until("it has made some", lambda: self._said.stat().st_size > 400)

    def stop(self) -> None:
        """No more children; it ends when those it has have ended."""
        assert self.process.stdin is not None
        if not self.process.stdin.closed:
            self.process.stdin.close()

    def lives(self) -> list[Lived]:
        return [Lived(*map(int, line.split())) for line in self._said.read_text().splitlines()]


@pytest.fixture
def churn(tmp_path: Path) -> Iterator[Callable[..., Churn]]:
    made: list[Churn] = []

    def start(*words: object) -> Churn:
        made.append(Churn(tmp_path, *words))
        return made[-1]

    yield start
    for one in made:
        one.stop()
        one.process.kill()
        one.process.wait()


def watch(pids: Sequence[int], enough: Callable[[int], object]) -> tuple[int, list[Batch], list[int]]:
    """When all were attached to, what came, and who was alive by /proc just then. `enough(rows)` is told the count."""
    batches: list[Batch] = []

    def take(batch: Batch) -> None:
        batches.append(batch)
        enough(sum(map(len, batches)))

    with Session(Plan(pids=pids, backend="bpf", options=Options(cow="off"), duration=DEADLINE_S)) as session:
        session.start()
        attached = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        alive = [pid for root in pids for pid in below(root)]
        session.run(take)
    assert not session.detached, "all have ended, but the count of the living has not come down to 0"
    return attached, batches, alive


def below(pid: int) -> list[int]:
    """The process and its descendants, as /proc has them now; some may end while we look."""
    found = [pid]
    for one in found:
        with suppress(OSError):
            found += [int(word) for word in Path(f"/proc/{one}/task/{one}/children").read_text().split()]
    return found


@kernel
def test_nobody_is_missed_who_lives_when_we_attach_or_is_born_later(churn: Callable[..., Churn]) -> None:
    for _ in range(3):  # the race between the walk and a fork has many ways to go
        root = churn(0, 5000)

        def stop(n: int, root: Churn = root) -> None:
            if n > 1000:
                root.stop()

        attached, batches, alive = watch([root.pid], stop)
        tree = tree_of(batches)
        lives = {(one.pid, one.ppid): one for one in root.lives()}
        seen = {tree.value(row, "pid"): row for row in range(len(tree))}

        missed = [one for one in lives.values() if one.until > attached and one.pid not in seen]
        assert not missed
        assert set(alive) <= set(seen)
        assert set(seen) <= {pid for pid, _ in lives}
        assert not [row for row in range(len(tree)) if tree.is_gap(row)]
        assert tree.roots() == [seen[root.pid]]
        for (pid, ppid), one in lives.items():
            if pid in seen and one.since > attached:
                assert tree.value(seen[pid], "ppid") == ppid
                assert (tree.value(seen[pid], "how"), tree.value(seen[pid], "exit_code")) == ("fork", 0)
        assert (tree.value(seen[root.pid], "how"), tree.value(seen[root.pid], "exit_code")) == ("root", 0)
        assert len(seen) > 100


@kernel
def test_several_roots_one_named_twice_and_one_below_another(churn: Callable[..., Churn]) -> None:
    one, two = churn(0, 5000), churn(0, 5000)
    parent = subprocess.Popen(["sh", "-c", "sleep 100 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())

    def stop(n: int) -> None:
        if n > 1000 and state(child) not in ("", "Z"):
            one.stop()
            two.stop()
            os.kill(child, signal.SIGKILL)

    _, batches, _ = watch([one.pid, two.pid, one.pid, parent.pid, child], stop)  # ends: the count reached 0 again
    tree = tree_of(batches)

    assert {tree.value(row, "pid") for row in tree.roots()} == {one.pid, two.pid, parent.pid}
    assert [tree.value(row, "pid") for row in tree.children(tree_row(tree, parent.pid))] == [child]
    parent.wait()
    parent.stdout.close()


@kernel
def test_walks_among_births_count_nobody_twice(backend: Backend, churn: Callable[..., Churn]) -> None:
    """A task is in the kernel's list before its birth is told: walk and birth may make its mark at once."""
    roots = churn(0, 5000), churn(0, 5000)
    backend.start()
    for root in roots:
        backend.attach(root.pid)
    walks = backend._beside("attach")
    for _ in range(60):
        walks.run_iterator("find_tasks")
    walks.close()
    for root in roots:
        root.stop()

    wait_until("none is counted as alive any more", lambda: backend.alive() == 0)
    assert (backend._stat("unmarked"), backend._stat("unseen")) == (0, 0)


def tree_row(tree: ProcessTree, pid: int) -> int:
    [row] = [row for row in range(len(tree)) if tree.value(row, "pid") == pid]
    return row


@kernel
def test_threads_that_live_are_found(churn: Callable[..., Churn]) -> None:
    root = churn(7, 50)
    tids = {int(tid) for tid in os.listdir(f"/proc/{root.pid}/task")} - {root.pid}
    _, batches, _ = watch([root.pid], lambda n: root.stop())
    tree = tree_of(batches)
    row = tree_row(tree, root.pid)

    assert {tid for tid, _, _ in tree.threads(row)} == tids
    assert tree.value(row, "threads") == len(tids) == 7
    assert all(end is not None for _, _, end in tree.threads(row))


@kernel
def test_who_can_not_be_attached_to_is_told_why(backend: Backend, churn: Callable[..., Churn]) -> None:
    zombie = subprocess.Popen(["true"])
    wait_until("it is a zombie", lambda: state(zombie.pid) == "Z")
    threads = churn(1, 50)
    [thread] = {int(tid) for tid in os.listdir(f"/proc/{threads.pid}/task")} - {threads.pid}
    backend.start()
    for pid, words in (
        (zombie.pid, "has just ended"),
        (2, "is a kernel thread"),
        (thread, f"is a thread of process {threads.pid}; use -p {threads.pid}"),
        (2**31 - 1, "there is no process"),
        (2**70, "there is no process"),
    ):
        with pytest.raises(NoInputError, match=words):
            backend.attach(pid)
    zombie.wait()


@kernel
def test_the_whole_host_is_who_was_there_and_who_came() -> None:
    made: list[int] = []
    tids = set(map(int, os.listdir("/proc/self/task"))) - {os.getpid()}

    def enough(n: int) -> None:
        if not made:
            made.append(os.posix_spawn("/bin/true", ["true"], {}))
            os.waitpid(made[0], 0)
        elif n:
            os.kill(os.getpid(), signal.SIGINT)

    with Session(Plan(backend="bpf", options=Options(cow="light", everyone=True))) as session:
        session.start()
        batches: list[Batch] = []
        session.run(batches.append, tick=lambda: enough(len(batches)))
    tree = tree_of(batches)
    ours = tree_row(tree, os.getpid())
    child = tree_row(tree, made[0])

    assert tree.value(tree_row(tree, os.getppid()), "how") == "existing"
    assert (tree.parent(child), tree.is_gap(child), tree.value(child, "exit_code")) == (ours, False, 0)
    assert {tid for tid, _, _ in tree.threads(ours)} == tids
    assert tree.value(ours, "max_rss_bytes")


# Options


def facts(cow: str) -> tuple[frozenset[str], dict[str, Any]]:
    trace = tracer.run(["sh", "-c", "/bin/true & wait; exit 0"], backend="bpf", cow=cow)
    return trace.meta.facts, trace.tree.record(1)


@kernel
@pytest.mark.parametrize(
    ("cow", "fork_ns", "copies"),
    [("off", False, False), ("light", False, False), ("fork", True, False), ("full", True, True)],
)
def test_levels_of_cow_fill_their_columns_and_no_others(cow: str, fork_ns: bool, copies: bool) -> None:
    known, child = facts(cow)

    assert (Fact.FORK_COST in known, Fact.COW in known) == (fork_ns, copies)
    assert (child["fork_ns"] is not None, child["cow_copies"] is not None) == (fork_ns, copies)
    assert (child["wp_faults"] is not None, child["reuses"] is not None) == (copies, copies)
    assert child["min_flt"] > 0
    assert child["pgtables_bytes"] > 0
    if copies:
        assert child["cow_copies"] > 0
        assert child["wp_faults"] >= child["cow_stack"] + child["cow_heap"]


@kernel
@pytest.mark.parametrize(("size", "argv"), [(0, ["..."]), (6, ["echo", "a...", "..."]), (7, ["echo", "ab", "..."])])
def test_what_is_cut_of_argv_is_marked(size: int, argv: list[str]) -> None:
    size = size if size < 7 else 8
    trace = tracer.run(["/bin/echo", "ab", "cdef"], backend="bpf", cow="off", argv_max=size + 5 if size else 0)

    assert trace.tree.value(0, "argv") == ([*argv] if not size else ["/bin/echo", *argv[1:]])


@kernel
@pytest.mark.parametrize("then", ["", "; rmdir ../x", "; cd /proc", "; cd /", "; mkdir y; cd y; rmdir ../y"])
def test_a_working_directory_that_is_gone_is_marked_as_proc_marks_it(tmp_path: Path, then: str) -> None:
    tmp_path.chmod(0o777)
    script = f"mkdir x; cd x{then}; exec readlink /proc/self/cwd >{tmp_path}/told"
    trace = tracer.run(["sh", "-c", script], backend="bpf", cow="off", cwd=str(tmp_path))

    assert trace.tree.value(0, "cwd") == (tmp_path / "told").read_text().rstrip("\n")


@kernel
def test_exact_reaps_confirm_what_is_inferred(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same records, decoded with and without the exact ones."""
    records: list[tuple[bytes, list[bytes]]] = []
    batch = Decoder.batch

    def tee(self: Decoder, raw: bytes, texts: Any) -> Batch | None:
        records.append((raw, list(texts)))
        return batch(self, *records[-1])

    monkeypatch.setattr(Decoder, "batch", tee)
    samples.build()
    script = f"for i in 1 2 3 4 5; do /bin/true; done; /bin/true & wait $!; {samples.BIN}/zombie"
    tracer.run(["sh", "-c", script], backend="bpf", cow="off", reap_exact=True)
    monkeypatch.undo()

    def reaps(keep: Callable[[int], bool]) -> dict[int, dict[str, Any]]:
        decoder = Decoder(lambda _: None)
        told = {}
        for raw, texts in records:
            pieces = (raw[i : i + wire.STRIDE] for i in range(0, len(raw), wire.STRIDE))
            wanted = b"".join(piece for piece in pieces if keep(wire.kinds_of(piece)[0]))
            told.update({row["pid"]: row for kind, row in rows(decoder, wanted, texts) if kind == Kind.REAP})
        return told

    exact, inferred = reaps(lambda kind: True), reaps(lambda kind: kind != wire.REAP)
    children = [pid for pid, row in exact.items() if row.get("evidence") == "measured"]
    off = [inferred[pid]["reap_ns"] - exact[pid]["reap_ns"] for pid in children]

    assert len(children) >= 8
    assert {pid: row.get("reaped_by") for pid, row in exact.items()} == {
        pid: row.get("reaped_by") for pid, row in inferred.items()
    }
    assert all(inferred[pid]["evidence"] == "inferred" for pid in children)
    assert abs(median(off)) < 1_000_000
    for reaps_told in (exact, inferred):  # the sample keeps three of its children waiting for 300 ms
        assert sum(reaps_told[pid]["zombie_ns"] >= 300_000_000 for pid in children) == 3


# Losses


@kernel
def test_lost_and_seen_together_are_what_happened() -> None:
    """A ring of 24 records and a reader that looks twice: most is lost, all of it is counted, and gaps are rows."""
    n = 211
    options = Options(cow="off", buffer_bytes=4096)
    backend = Backend(options)
    stdin, give = os.pipe()
    out, stdout = os.pipe()
    saved = os.dup(0), os.dup(1)
    try:
        backend.start()
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        target = Target.hold([str(build("burst")), str(n)])
        os.dup2(saved[0], 0)
        os.dup2(saved[1], 1)
        for fd in (stdin, stdout, *saved):
            os.close(fd)
        backend.follow(target.pid, target.pidfd)
        target.release()
        assert os.read(out, 6) == b"ready\n"
        batches = backend.read()
        os.close(give)
        assert os.read(out, 5) == b"done\n"
        assert select.select([target.pidfd], [], [], 20)[0]
        first = sum(len(batch) - batch.kinds.count(Kind.LOST) for batch in batches)
        assert backend._events is not None
        events = backend._events

        def happened() -> int:
            return first + events.used() // wire.STRIDE + backend._stat("lost_events")

        # birth, end and release of each child; the root's appearance, exec, end, and that we were told of it
        wait_until(f"all is accounted for ({happened()})", lambda: happened() >= 3 * n + 4)
        waiting = events.used() // wire.STRIDE
        batches += backend.finish()
        target.reap()
        target.close()
    finally:
        os.close(out)
        backend.close()
    tree = tree_of(batches)
    lost = sum(loss.count or 0 for loss in tree.losses if loss.where == "events ring")
    gaps = [row for row in range(len(tree)) if tree.is_gap(row)]

    assert first + waiting + lost == 3 * n + 4
    assert lost > 2 * n
    assert gaps
    assert all(tree.value(row, "pid") for row in gaps)
    assert sum(loss.count or 0 for loss in tree.losses) >= lost


# What is left


def programs_of(pid: int | str) -> set[int]:
    """Ids of the BPF programs that a process has descriptors of, links included."""
    ids = set()
    for name in os.listdir(f"/proc/{pid}/fdinfo"):
        with suppress(OSError):
            text = Path(f"/proc/{pid}/fdinfo/{name}").read_text()
            ids |= {int(found) for found in re.findall(r"^prog_id:\s*(\d+)", text, re.MULTILINE)}
    return ids


def is_loaded(program: int) -> bool:
    attributes = struct.pack("=I", program).ljust(16, b"\0")
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(321, 13, attributes, len(attributes))  # bpf(BPF_PROG_GET_FD_BY_ID)
    if fd >= 0:
        os.close(fd)
    return bool(fd >= 0)


def wait_until_unloaded(programs: set[int]) -> None:
    wait_until("the kernel let go of the programs", lambda: not any(map(is_loaded, programs)))


@kernel
@pytest.mark.parametrize("cow", ["full", "off"])
def test_nothing_is_left_after_close_and_closing_twice_is_fine(cow: str) -> None:
    files = open_files()
    backend = Backend(Options(cow=cow, failures=True))
    backend.start()
    programs = programs_of("self")

    assert len(programs) > 5
    assert all(map(is_loaded, programs))

    backend.close()
    backend.close()

    assert open_files() == files
    wait_until_unloaded(programs)


@kernel
def test_a_start_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    files = open_files()
    monkeypatch.setattr(
        "tracer.backends.bpf.backend.Ring", lambda fd, size: (_ for _ in ()).throw(ProbesRefusedError("no"))
    )
    backend = Backend(Options(cow="full"))
    with pytest.raises(ProbesRefusedError):
        backend.start()
    backend.close()

    assert open_files() == files


@kernel
@pytest.mark.parametrize("what", ["faults.Faults.load", "faults.Faults.attach", "stacks.Stacks.attach"])
def test_refused_fault_probes_cost_the_tree_nothing(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ProbesRefusedError("no room for more")

    monkeypatch.setattr(f"tracer.backends.bpf.{what}", refuse)
    stacks = 0 if "Stacks" in what else None
    trace = tracer.run(["sh", "-c", "/bin/true & wait"], backend="bpf", cow="full", cow_stacks=stacks)
    known, child = trace.meta.facts, trace.tree.record(1)

    assert not known & {Fact.COW, Fact.WP_FAULTS, Fact.STACKS}
    assert child["cow_copies"] is None
    assert child["exit_code"] == 0
    assert child["fork_ns"] > 0
    assert trace.meta.notes == ("copies were not counted: no room for more",)


@kernel
def test_what_the_living_used_is_lost_alone_when_it_can_not_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    beside = Backend._beside

    def refuse(self: Backend, name: str, *maps: str) -> Any:
        if name == "attach":
            raise ProbesRefusedError("not now")
        return beside(self, name, *maps)

    monkeypatch.setattr(Backend, "_beside", refuse)
    trace = tracer.run(["sh", "-c", "sleep 100 & echo $! >&2"], backend="bpf", cow="off", wait=False)
    os.kill(trace.tree.value(1, "pid"), signal.SIGKILL)

    assert len(trace.tree) == 2
    assert trace.meta.notes == ("what the living had used so far could not be read: not now",)


def test_probes_that_are_not_there_are_named_with_what_builds_them() -> None:
    with pytest.raises(ProbesRefusedError, match=r"nonesuch\.bpf\.o is missing; build it"):
        probe_object("nonesuch")


def test_on_a_machine_without_probes_it_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", "6.12", "#1", "riscv64")))
    ready = Backend.readiness()

    assert (ready.ok, ready.why) == (False, "the probes are compiled for x86-64 and arm64, and this is riscv64")
    with pytest.raises(ProbesRefusedError, match="and this is riscv64; use another backend"):
        probe_object("lifecycle")


# Two rings, without a kernel


class Rings:
    """A backend over two pretended rings."""

    def __init__(self) -> None:
        self.events, self.texts = Producer(), Producer()
        self.backend = Backend(Options())
        self.backend._events = Ring(self.events.fd, self.events.size)
        self.backend._texts = Ring(self.texts.fd, self.texts.size)

    def read(self) -> list[tuple[Kind, dict[str, Any]]]:
        return [row for batch in self.backend.read() for row in batch.rows()]


@pytest.fixture
def rings() -> Iterator[Rings]:
    made = Rings()
    yield made
    made.backend.close()
    for producer in (made.events, made.texts):
        os.close(producer.fd)


def record(kind: int, **values: Any) -> bytes:
    return packed(kind, **values)[wire.RING_HEADER :]


def test_an_exec_waits_for_its_words_behind_a_text_that_is_still_being_written(rings: Rings) -> None:
    busy = rings.texts.put(text(tid=8, argv=b"other\0"), BUSY)
    rings.texts.put(text(tid=7, argv=b"mine\0"))
    rings.events.put(record(wire.EXEC))

    assert rings.read() == []

    rings.texts.commit(busy, text(tid=8, argv=b"other\0"))
    rings.events.put(record(wire.EXEC, pid=8, tid=8))

    assert [row["argv"] for _, row in rings.read()] == [["mine"], ["other"]]


def test_a_record_that_comes_while_texts_are_read_waits_for_the_next_time(rings: Rings) -> None:
    rings.events.put(record(wire.FORK))
    take = rings.backend._texts.take_all  # type: ignore[union-attr]

    def late() -> list[bytes]:
        taken = take()
        rings.texts.put(text(argv=b"late\0"))
        rings.events.put(record(wire.EXEC))
        return taken

    rings.backend._texts.take_all = late  # type: ignore[method-assign, union-attr]
    first = rings.read()
    rings.backend._texts.take_all = take  # type: ignore[method-assign, union-attr]

    assert [kind for kind, _ in first] == [Kind.FORK]
    assert [row["argv"] for _, row in rings.read()] == [["late"]]


def test_a_backend_that_was_not_started_has_nothing_to_say() -> None:
    backend = Backend(Options())

    assert (backend.read(), backend.finish(), backend.alive(), backend.descriptors()) == ([], [], None, [])
    with pytest.raises(RuntimeError, match=r"start\(\) comes first"):
        backend.follow(1, 1)
    backend.close()
