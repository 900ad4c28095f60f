"""The netlink backend on the real kernel: losses on purpose, attaching, refusals, copies beside the fault probes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import tracer
from tests import samples, side_by_side
from tests.conftest import lacking, need
from tests.programs import cow
from tests.terminals import DEADLINE_S, state, wait_until
from tracer.backends import BackendProtocol, Options
from tracer.backends.netlink import backend as netlink
from tracer.backends.netlink.sockets import ring_every_cpu
from tracer.errors import NoInputError
from tracer.host import delayacct
from tracer.model.batch import Batch, Event
from tracer.model.meta import Fact, Meta
from tracer.model.schema import Kind
from tracer.tree.tree import ProcessTree

pytestmark = pytest.mark.programs
ROOT = Path(__file__).parents[3]
SMALL = 1 << 18  # has room for some 1200 messages


class Program:
    """A program held, or running, that says and hears lines; followed by `backend`."""

    def __init__(self, script: str) -> None:
        command = ["sh", "-c", f"read go; exec 3<&0; {script}"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.pid = self.process.pid

    def say(self, line: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> int:
        self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode


@contextmanager
def program(script: str) -> Iterator[Program]:
    one = Program(script)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.communicate()


@contextmanager
def started(**options: Any) -> Iterator[netlink.Backend]:
    need("netlink")
    backend = netlink.Backend(Options(**options))
    try:
        backend.start()
        yield backend
    finally:
        backend.close()
        backend.close()


def events(batches: Sequence[Batch]) -> list[Event]:
    return [event for batch in batches for event in batch.events()]


def read_until_over(backend: BackendProtocol) -> list[Event]:
    """What comes until the last task has ended."""
    got: list[Batch] = []

    def over() -> bool:
        got.extend(backend.read())
        return backend.alive() == 0

    wait_until("all have ended", over)
    return events([*got, *backend.finish()])


def kinds(got: Sequence[Event]) -> list[str]:
    return [event.kind.name for event in got]


# losses


def stall() -> None:
    """A thousand events and more that nobody reads."""
    for _ in range(1500):
        ring_every_cpu()


def test_an_overflow_is_one_gap_and_nothing_else() -> None:
    script = """
    i=0; while [ $i -lt 200 ]; do (:); i=$((i+1)); done; sh -c 'read x; exit 5' <&3 & echo ready; read y
    (exit 3); wait; exit 4"""
    with started(buffer_bytes=SMALL) as backend, program(script) as sh:
        backend.attach(sh.pid)
        backend.read()
        stall()
        sh.say()
        sh.hear()
        got = events(backend.read())
        sh.say()
        sh.say()
        status = sh.end()
        got += read_until_over(backend)

    (lost,) = (e for e in got if e.kind == Kind.LOST)
    assert lost.where == "netlink"
    assert lost.count is not None
    seen = kinds(got).count("FORK") + kinds(got).count("EXIT")
    assert lost.count + seen > 400  # at least: whatever else happens on the host is lost with it
    found = [e for e in got if e.kind == Kind.EXISTING and e.pid != sh.pid]
    assert [e.evidence for e in found] == ["snapshot"]  # the one that was born meanwhile and lives
    ends = [e.exit_code for e in got[got.index(lost) :] if e.kind == Kind.EXIT and e.evidence != "snapshot"]
    assert (sorted(ends), ends[-1]) == ([3, 4, 5], 4)
    assert {e.exit_code for e in got if e.kind == Kind.EXIT and e.evidence == "snapshot"} <= {None}
    assert status == 4


def test_after_an_overflow_the_tree_has_no_one_who_is_not_there() -> None:
    with started(buffer_bytes=SMALL) as backend, program("for i in 1 2 3; do sh -c 'read x' <&3 & done; wait") as sh:
        backend.attach(sh.pid)
        sh.say()
        tree = ProcessTree(Meta(source="netlink", facts=backend.facts))

        def three() -> bool:
            for batch in backend.read():
                tree.feed(batch)
            return backend.alive() == 4

        wait_until("the shell has three children", three)
        stall()
        sh.say()
        sh.say()
        sh.say()
        sh.end()
        for batch in [*backend.read(), *backend.finish()]:
            tree.feed(batch)

    assert tree.losses
    assert len(tree) >= 4
    assert all(tree.ended(row) for row in range(len(tree)))


def test_a_loss_at_the_very_end_is_seen() -> None:
    with started(buffer_bytes=SMALL) as backend, program("read x") as sh:
        backend.attach(sh.pid)
        backend.read()
        stall()
        got = events(backend.finish())

    assert [e.where for e in got if e.kind == Kind.LOST] == ["netlink"]
    assert "ALIVE" in kinds(got)


# attaching


def test_a_living_tree_and_what_it_does_next() -> None:
    with program("sh -c 'read x; (exit 7); read y' <&3 & echo $!; wait; exit 2") as sh:
        sh.say()
        child = int(sh.hear())
        with started() as backend:
            backend.attach(sh.pid)
            backend.attach(child)  # found already
            sh.say()
            sh.say()
            sh.end()
            got = read_until_over(backend)
    root, below = (e for e in got if e.kind == Kind.EXISTING)

    assert (root.pid, root.how, root.ppid, root.evidence) == (sh.pid, "root", os.getpid(), "snapshot")
    assert (below.pid, below.how, below.ppid, below.evidence) == (child, "existing", sh.pid, "snapshot")
    (fork,) = (e for e in got if e.kind == Kind.FORK)
    assert (fork.ppid, fork.parent_born_ns) == (child, below.born_ns)
    assert [(e.pid == fork.pid, e.exit_code) for e in got if e.kind == Kind.EXIT] == [
        (True, 7),
        (False, 0),
        (False, 2),
    ]


def test_threads_of_who_lives_already() -> None:
    source = "import threading,sys; g=threading.Event(); [threading.Thread(target=g.wait).start() for _ in range(3)]"
    source += "; print(1, flush=True); sys.stdin.readline(); g.set()"
    process = subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    process.stdout.readline()
    with started() as backend:
        backend.attach(process.pid)
        alive = backend.alive()
        process.communicate("\n", timeout=DEADLINE_S)
        got = read_until_over(backend)

    assert alive == 4
    assert len([e for e in got if e.kind == Kind.EXISTING and e.tid != e.pid]) == 3
    assert [e.last for e in got if e.kind == Kind.EXIT] == [False, False, False, True]


def test_what_can_not_be_attached_to() -> None:
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait)
    thread.start()
    try:
        with started() as backend:
            with pytest.raises(NoInputError, match=f"thread of process {os.getpid()}"):
                backend.attach(thread.native_id or 0)
            with pytest.raises(NoInputError, match="no process 4194305"):
                backend.attach(4194305)
            zombie = subprocess.Popen(["true"])
            wait_until("it ends", lambda: state(zombie.pid) == "Z")
            with pytest.raises(NoInputError, match="just ended"):
                backend.attach(zombie.pid)
            zombie.wait()
    finally:
        gate.set()
        thread.join()


def test_everyone_is_there_and_who_lives_says_what_it_used() -> None:
    with program("(exit 9); read x") as sh, started(everyone=True) as backend:
        got: list[Event] = []
        sh.say()

        def seen() -> bool:
            got.extend(events(backend.read()))
            return any(e.kind == Kind.EXIT and e.exit_code == 9 for e in got)

        wait_until("the child has come and gone", seen)
        last = events(backend.finish())
        alive = backend.alive()

    assert {os.getpid(), sh.pid} <= {e.pid for e in got if e.kind == Kind.EXISTING}
    assert alive is None
    (mine,) = (e for e in last if e.kind == Kind.ALIVE and e.tid == sh.pid)
    assert mine.min_flt > 0


# what it needs


def python(code: str, *before: str) -> Any:
    """What the code prints as JSON, in an interpreter of its own, behind the words of another command."""
    done = subprocess.run(
        [*before, sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_readiness_is_cheap() -> None:
    need("netlink")
    found = python(
        """
        import json, sys, time
        from tracer.backends.netlink import backend as netlink
        begin = time.process_time()
        state = netlink.Backend.readiness()
        print(json.dumps([state.ok, time.process_time() - begin, "pyroute2" in sys.modules, "asyncio" in sys.modules]))
        """
    )

    assert found[0] is True
    assert found[1] < 0.05
    assert found[2:] == [False, False]


def test_nothing_is_left_unclosed() -> None:
    need("netlink")
    code = """
        import json, tracer
        trace = tracer.run(["sh", "-c", "exit 3"], backend="netlink")
        print(json.dumps([trace.status.exit_code, trace.meta.source]))
        """

    assert python(code) == [3, "netlink"]


def test_elsewhere_than_in_the_hosts_namespaces_nobody_answers() -> None:
    need("netlink", "root", "unshare")
    found = python(
        """
        import json, time
        from tracer.backends.netlink import sockets as _netlink_sockets, backend as netlink
        from tracer.errors import ProbesRefusedError
        state = netlink.Backend.readiness()
        connector = _netlink_sockets.Connector(1 << 20)
        begin, said = time.monotonic(), None
        try:
            connector.listen()
        except ProbesRefusedError as e:
            said = e.message
        print(json.dumps([state.ok, state.why, said, time.monotonic() - begin]))
        connector.close()
        """,
        "unshare",
        "--pid",
        "--fork",
        "--mount-proc",
    )

    ok, why, said, seconds = found
    assert not ok
    assert "not the host's own" in why
    assert said is not None
    assert "did not answer within 0.5 s" in said
    assert 0.4 < seconds < 2


def test_without_privilege_the_tree_is_whole_and_figures_are_null() -> None:
    need("netlink", "root", "setpriv")
    code = """
        import json
        from tracer.backends.netlink import backend as netlink
        state = netlink.Backend.readiness()
        if not state.ok:
            print(json.dumps([state.why, state.mend]))
        else:
            import tracer
            trace = tracer.run(["sh", "-c", "(exit 3); (exit 4)"], backend="netlink")
            rows = [[r["exit_code"], r["min_flt"], r["cpu_user_ns"]] for r in trace.tree.records()]
            print(json.dumps([sorted(trace.meta.facts), rows, [n for n in trace.meta.notes if "unknown" in n]]))
        """
    found = python(code, "setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")

    if len(found) == 2:  # a kernel that gives the connector to root alone says so
        assert "root alone" in found[0]
        return
    facts, rows, notes = found
    assert not {Fact.CPU, Fact.FAULTS, Fact.MAX_RSS} & set(facts)
    assert rows == [[4, None, None], [3, None, None], [4, None, None]]
    assert len(notes) == 1


# what it counts


@pytest.fixture
def delays() -> Iterator[None]:
    """kernel.task_delayacct is on meanwhile."""
    before = delayacct.SYSCTL.read_text()
    switch = delayacct.Switch.on()
    yield
    switch.off()
    assert delayacct.SYSCTL.read_text() == before


def ledger_and_kernel(command: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """Rows of one run under the fault probes and under netlink, root left out, in the same order."""
    from tracer.backends.bpf import backend as bpf

    found = side_by_side.run(command, [bpf.Backend(Options()), netlink.Backend(Options())])
    ledger, kernel = ({pid: row for pid, row in rows.items() if row["how"] != "root"} for rows in found)
    assert ledger.keys() == kernel.keys()
    return list(ledger.values()), [kernel[pid] for pid in ledger]


@pytest.mark.usefixtures("delays")
def test_the_kernels_count_of_copies_is_the_ledgers() -> None:
    """To the page, for every process but the root."""
    need("netlink", "bpf", "root")
    ledger, kernel = ledger_and_kernel([str(cow.build("wpcopies"))])

    assert len(ledger) == 3
    for row, its in zip(ledger, kernel, strict=True):
        assert its["wpcopy_count"] == row["cow_copies"] + row["zero_copies"] + row["file_copies"]
        assert its["min_flt"] == row["min_flt"]
        assert its["cow_copies"] is None
    parent, first, second = (row["wpcopy_count"] for row in kernel)
    assert first - second >= 23 + 7 + 11
    assert 17 <= parent < 17 + 13 + 23


@pytest.mark.kernel
@pytest.mark.usefixtures("delays")
@pytest.mark.parametrize("sample", ["chain", "fan", "demo", "orphan", "prefork", "every_way", "execs"])
def test_the_kernels_count_of_copies_is_the_ledgers_in_samples(sample: str) -> None:
    """A file's page that is written before it was read is in the ledger alone: it is made at once, not copied later."""
    need("netlink", "bpf", "root", "cc")
    samples.build()
    ledger, kernel = ledger_and_kernel([str(samples.BIN / sample)])

    assert ledger
    for row, its in zip(ledger, kernel, strict=True):
        least = row["cow_copies"] + row["zero_copies"]
        assert least <= its["wpcopy_count"] <= least + row["file_copies"], row["comm"]
        assert its["min_flt"] == row["min_flt"]
    assert sum(row["cow_copies"] for row in ledger) > 0


def test_without_the_switch_copies_are_null() -> None:
    need("netlink")
    if delayacct.SYSCTL.read_text().strip() == "1":
        pytest.skip("kernel.task_delayacct is on")
    trace = tracer.run([str(cow.build("wpcopies"))], backend="netlink")

    assert {row["wpcopy_count"] for row in trace.tree.records()} == {None}
    assert any("kernel.task_delayacct is off" in note for note in trace.meta.notes)


def test_lacking_says_why() -> None:
    """The skip of all the above, where it is one, has a reason."""
    why = lacking("netlink")

    assert why is None or len(why) > 10
