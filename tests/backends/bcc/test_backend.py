"""The bcc backend on the real kernel: beside bpf on one run, without registers, attaching, losses, what is unknown."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import tracer
from tests import judge, samples, side_by_side
from tests.conftest import need
from tests.descriptors import open_files
from tests.programs import cow
from tests.samples import Sample
from tests.terminals import wait_until
from tracer.backends import Options
from tracer.backends.bcc import backend as bcc
from tracer.backends.bcc import headers
from tracer.errors import NoInputError, ProbesRefusedError
from tracer.model.batch import Event
from tracer.model.meta import Fact
from tracer.model.schema import Kind

pytestmark = pytest.mark.kernel
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _ready() -> None:
    need("bcc", "root", "cc")
    samples.build()


@contextmanager
def started(**options: Any) -> Iterator[bcc.Backend]:
    backend = bcc.Backend(Options(**options))
    try:
        backend.start()
        yield backend
    finally:
        backend.close()
        backend.close()


@contextmanager
def shell(script: str) -> Iterator[subprocess.Popen[str]]:
    """It waits for a line before it runs `script`."""
    one = subprocess.Popen(
        ["sh", "-c", f"read go; {script}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        start_new_session=True,
    )
    try:
        yield one
    finally:
        with suppress(ProcessLookupError):
            os.killpg(one.pid, signal.SIGKILL)
        one.communicate()


def until_over(backend: bcc.Backend) -> list[Event]:
    got: list[Event] = []

    def over() -> bool:
        got.extend(e for batch in backend.read() for e in batch.events())
        return backend.alive() == 0

    wait_until("the last task has ended", over)
    return [*got, *(e for batch in backend.finish() for e in batch.events())]


# beside bpf


@pytest.mark.parametrize("name", ["wpcopies", "fan", "chain", "every_way", "prefork", "execs"])
def test_one_run_is_told_as_bpf_tells_it(name: str) -> None:
    """Write-protect faults to the last one, and all that both see of each process."""
    need("bpf")
    from tracer.backends.bpf import backend as bpf

    path = cow.build(name) if name == "wpcopies" else samples.BIN / name
    ours, theirs = side_by_side.run([str(path)], [bcc.Backend(Options()), bpf.Backend(Options())])

    assert ours.keys() == theirs.keys()
    assert len(ours) > 1
    for pid, row in ours.items():
        same = (
            "ppid",
            "creator_pid",
            "how",
            "syscall",
            "flags",
            "comm",
            "exe",
            "argv",
            "execs",
            "exit_code",
            "signal",
            "core_dumped",
            "killed_by",
            "threads",
            "uid",
        )
        assert {n: row[n] for n in same if n != "ppid"} == {n: theirs[pid][n] for n in same if n != "ppid"}
        assert row["ppid"] == theirs[pid]["ppid"]
        if row["how"] != "root":
            assert row["wp_faults"] == theirs[pid]["wp_faults"]
        blind = ("cow_copies", "reuses", "min_flt", "cpu_user_ns", "max_rss_bytes", "reaped_by")
        assert {row[n] for n in blind} == {None}
    assert sum(row["wp_faults"] for row in ours.values()) > 0


# on kernels without BTF


@pytest.mark.parametrize(
    "sample",
    [Sample(name) for name in ("every_way", "spawn", "threads", "exec_thread", "leader_codes", "deaths", "killed")],
    ids=str,
)
def test_without_registers_calls_come_from_their_tracepoints(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a kernel without BTF: all the same, but argv is what /proc still has."""
    monkeypatch.setattr(bcc, "_reads_registers", lambda: False)
    outcome = samples.run(sample, "bcc", tmp_path)
    trace = outcome.trace

    assert not judge.differences(outcome.lives, trace.tree.records(), trace.events(), trace.meta.facts)
    assert {Fact.FLAGS, Fact.SYSCALL, Fact.STATUS} <= trace.meta.facts
    assert {e.evidence for e in trace.events() if e.kind == Kind.EXEC} == {"snapshot"}
    assert any("what /proc had" in note for note in trace.meta.notes)


def test_the_kernels_own_headers_are_the_second_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where a BCC of another time wants more than our private tree has."""
    good = tmp_path / "good"
    headers.write(good, os.uname().release)
    monkeypatch.setenv(headers.SOURCE, str(good))  # in the place of /lib/modules/RELEASE/build
    write = headers.write

    def poor(folder: Path, release: str) -> None:
        write(folder, release)
        (folder / "include/linux/types.h").write_text("#error too old\n")

    monkeypatch.setattr(headers, "write", poor)
    monkeypatch.setattr(headers, "matching", lambda _: False)
    with pytest.raises(ProbesRefusedError, match=r"could not compile its programs: types.h, line 1: too old"):
        bcc.Backend(Options()).start()
    monkeypatch.setattr(headers, "matching", lambda _: True)
    with started() as backend:
        assert backend.alive() == 0
    assert os.environ[headers.SOURCE] == str(good)


def test_any_interpreter_will_do_and_nothing_is_printed_or_left(tmp_path: Path) -> None:
    """In a folder with another project's `bcc`, which must not be loaded."""
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc" / "__init__.py").write_text("raise SystemExit('the wrong one')\n")
    code = """
        import os, sys, tracer
        before = set(os.listdir("/tmp"))
        trace = tracer.run(["true"], backend="bcc", need=["argv", "wp_faults"])
        assert trace.meta.source == "bcc" and "bcc" not in sys.modules, sys.modules.get("bcc")
        left = [n for n in set(os.listdir("/tmp")) - before if n.startswith("forktrace-bcc")]
        print([row["argv"] for row in trace.tree.records()], left)
        """
    env = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )

    assert (done.stderr, done.stdout) == ("", "[['true']] []\n")


@pytest.mark.parametrize("level", ["off", "light", "fork"])
def test_only_full_has_a_probe_on_faults(level: str) -> None:
    trace = tracer.run(["sh", "-c", "(:); (:)"], backend="bcc", cow=level)

    assert {row["wp_faults"] for row in trace.tree.records()} == {None}
    assert Fact.WP_FAULTS not in trace.meta.facts


# who was there before


def test_a_living_tree_with_threads_and_what_it_does_next() -> None:
    script = "import threading, sys; e = threading.Event(); [threading.Thread(target=e.wait).start() for _ in range(3)]"
    script += "; print(flush=True); sys.stdin.readline(); e.set()"
    with shell(f"(read x; exit 5) & {sys.executable} -c '{script}'; /bin/true; exit 6") as sh, started() as backend:
        assert sh.stdin is not None and sh.stdout is not None
        sh.stdin.write("go\n")
        sh.stdout.readline()
        backend.attach(sh.pid)
        backend.attach(sh.pid)  # named twice
        living = backend.alive()
        sh.stdin.write("a\nb\n")
        events = until_over(backend)

    before = [e for e in events if e.kind == Kind.EXISTING]
    ends = {e.pid: e for e in events if e.kind == Kind.EXIT and e.last}
    assert living == len(before) == 1 + 1 + 4 or living == len(before) == 1 + 4  # the subshell may have read its line
    assert [e.how for e in before if e.pid == sh.pid] == ["root"]
    assert {e.evidence for e in before} == {"snapshot"}
    assert ends[sh.pid].exit_code == 6
    born = [e for e in events if e.kind == Kind.FORK and e.pid == e.tid]
    assert [(e.ppid, e.parent_born_ns) for e in born] == [(sh.pid, before[0].born_ns)]
    assert set(ends) == {e.pid for e in (*before, *born)}


def test_everyone_is_there_and_new_ones_have_their_parents() -> None:
    with shell("/bin/true; exit 4") as sh, started(everyone=True, cow="light") as backend:
        assert backend.alive() is None
        assert sh.stdin is not None
        sh.stdin.write("go\n")
        assert sh.wait() == 4
        events = [e for batch in [*backend.read(), *backend.finish()] for e in batch.events()]

    assert [e.how for e in events if e.kind == Kind.EXISTING and e.pid == os.getpid() == e.tid] == ["existing"]
    child = next(e for e in events if e.kind == Kind.FORK and e.ppid == sh.pid)
    assert [e.exe for e in events if e.kind == Kind.EXEC and e.pid == child.pid] == ["/bin/true"]
    assert [e.exit_code for e in events if e.kind == Kind.EXIT and e.pid == sh.pid] == [4]


def test_what_can_not_be_attached_to() -> None:
    with started() as backend, pytest.raises(NoInputError, match="there is no process 4194304"):
        backend.attach(4194304)


# what is unknown, and what is lost


def test_a_core_dump_that_nobody_is_told_of_is_unknown() -> None:
    """The parent ignores SIGCHLD, whose code says it; others know."""
    code = "import os, signal, time\nsignal.signal(signal.SIGCHLD, signal.{0})\npid = os.fork()\n"
    code += "if not pid: os.kill(os.getpid(), signal.SIGQUIT)\n"
    code += "try: os.waitpid(pid, 0)\nexcept ChildProcessError: pass\n"
    found = {}
    for how in ("SIG_IGN", "SIG_DFL"):
        trace = tracer.run([sys.executable, "-c", code.format(how)], backend="bcc")
        (child,) = (row for row in trace.tree.records() if row["how"] == "fork")
        assert child["signal"] == "SIGQUIT"
        found[how] = child["core_dumped"]

    assert found["SIG_IGN"] is None
    assert found["SIG_DFL"] is not None


def test_what_does_not_fit_is_counted() -> None:
    """A ring of one page, which nobody reads meanwhile: births, execs and ends, told or lost, are all there are."""
    n = 41
    script = f"i=0; while [ $i -lt {n} ]; do /bin/true; i=$((i+1)); done"
    with shell(script) as sh, started(buffer_bytes=4096) as backend:
        backend.attach(sh.pid)
        assert sh.stdin is not None
        sh.stdin.write("go\n")
        assert sh.wait() == 0
        wait_until("all have ended", lambda: backend.alive() == 0)
        events = until_over(backend)

    lost = [e for e in events if e.kind == Kind.LOST]
    told = [e for e in events if e.kind not in (Kind.EXISTING, Kind.LOST) and e.evidence != "snapshot"]
    assert [e.where for e in lost] == ["events ring"]
    assert 0 < len(told) < n
    # Birth, exec, faults and end of each; where there were some, faults before the exec; the shell's own end.
    assert 4 * n + 2 <= sum(e.count for e in lost) + len(told) <= 5 * n + 2


def test_words_beyond_the_limit_are_marked() -> None:
    trace = tracer.run(["sh", "-c", "exit 0", "x" * 9000, "y"], backend="bcc", argv_max=6000)
    (row,) = trace.tree.records()

    assert row["argv"][:3] == ["sh", "-c", "exit 0"]
    assert row["argv"][3] == "x" * (6000 - len("sh -c exit 0 ")) + "..."
    assert row["argv"][4:] == ["..."]


def test_without_arguments_and_without_environment() -> None:
    """Where the words end is then told by the auxiliary vector alone."""
    trace = tracer.run(["/bin/sh", "-c", "env -i /bin/true ''"], backend="bcc", env={"PATH": "/usr/bin:/bin"})

    assert [row["argv"] for row in trace.tree.records()][-1] == ["/bin/true", ""]


def test_nothing_is_left_open() -> None:
    with started():
        pass
    before = open_files()
    with started() as backend:
        assert len(open_files()) > len(before)
        assert backend.descriptors()

    assert open_files() == before


def test_a_kill_of_the_target_while_it_is_held_ends_the_trace() -> None:
    held = subprocess.Popen(["sleep", "60"])
    with started() as backend:
        held.send_signal(signal.SIGKILL)
        held.wait()
        backend.follow(held.pid, -1)

        assert backend.alive() == 0
