"""Texts of perf script that perf made of the samples (samples/perf, by its record.py), and lines of its other forms."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import judge
from tests.importers.strace.seen import story
from tests.samples import ROOT, Life, read_truth
from tracer.errors import BadDataError
from tracer.importers import open_log, sniff
from tracer.importers.perf.script import PerfImport
from tracer.model.batch import Batch
from tracer.model.meta import Fact, Meta
from tracer.model.schema import Kind
from tracer.tree.tree import ProcessTree

TEXTS = ROOT / "samples" / "perf"
NAMES = sorted({path.name.partition(".")[0] for path in TEXTS.glob("*.truth")})


def file(name: str) -> str:
    return str(next(iter(TEXTS.glob(f"{name}.txt*"))))


def take(path: str) -> tuple[Meta, list[Batch], PerfImport]:
    meta, batches = open_log([path])
    assert isinstance(batches, PerfImport)
    return meta, list(batches), batches


def read(tmp_path: Path, text: str) -> tuple[Meta, list[Batch], PerfImport]:
    (tmp_path / "perf.txt").write_text(text)
    return take(str(tmp_path / "perf.txt"))


def differences(lives: Sequence[Life], meta: Meta, batches: Sequence[Batch]) -> Iterator[str]:
    tree = ProcessTree(meta)
    for batch in batches:
        tree.feed(batch)
    events = [event for batch in batches for event in batch.events()]
    yield from judge.differences(lives, list(tree.records()), events, {Fact(fact) for fact in meta.facts})


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_text_is_as_the_sample_told(name: str) -> None:
    lives = read_truth((TEXTS / f"{name}.truth").read_bytes())

    meta, batches, run = take(file(name))

    wrong = [line for line in differences(lives, meta, batches) if "how is None, and was 'posix_spawn'" not in line]
    if "maj_flt" in " ".join(wrong):  # no event of that kind came, and the text does not say that it was asked for
        wrong = [line for line in wrong if "maj_flt is None, and was 0 to 0" not in line]
    assert wrong == []
    assert run.skipped.cut == 0
    # A name with a newline in it cuts the next line's beginning off.
    assert run.skipped.lines == (3 if name == "odd_bytes-task" else 0)


def test_every_case_that_is_recorded_is_tested() -> None:
    script = (TEXTS / "record.py").read_text()

    assert set(re.findall(r'^    "([\w-]+)": Case', script, re.MULTILINE)) == set(NAMES)


@pytest.mark.parametrize(
    ("name", "facts", "clock"),
    [
        ("chain-task", {Fact.THREADS, Fact.FLAGS}, "perf"),
        ("fan-sched", set(), "perf"),
        ("threads-pids", {Fact.THREADS}, "perf"),
        ("threads-records", {Fact.THREADS}, "perf"),
        ("spawn-no-times", {Fact.THREADS, Fact.FLAGS}, "none"),
        ("burn-faults", {Fact.THREADS, Fact.FLAGS, Fact.FAULTS, Fact.WP_FAULTS}, "perf"),
    ],
)
def test_what_a_text_can_show(name: str, facts: set[Fact], clock: str) -> None:
    meta, batches, _ = take(file(name))

    assert meta.source == "perf-script"
    assert meta.facts == {str(fact) for fact in facts}
    assert (meta.options["clock"], meta.wall_offset_ns) == (clock, None)
    assert all((event.ts_ns is None) is (clock == "none") for batch in batches for event in batch.events())


@pytest.mark.parametrize("name", NAMES)
def test_no_figure_without_its_fact(name: str) -> None:
    meta, batches, _ = take(file(name))

    events = [event for batch in batches for event in batch.events()]
    for fact, columns in ((Fact.WP_FAULTS, ("wp_faults",)), (Fact.FAULTS, ("min_flt", "maj_flt"))):
        told = any(getattr(event, column) is not None for event in events for column in columns)
        assert fact in meta.facts or not told


def test_a_thread_that_execs_ends_as_a_thread() -> None:
    _, batches, _ = take(file("exec_thread-task"))

    events = [event for batch in batches for event in batch.events() if event.pid == 25048]
    assert [(e.tid, e.last) for e in events if e.kind == Kind.EXIT] == [
        (25048, False),
        (25049, False),
        (25050, False),
        (25051, False),
        (25048, True),
    ]
    assert [e.old_tid for e in events if e.kind == Kind.EXEC] == [25051]


def test_write_protect_faults_are_those_of_pages_that_were_there() -> None:
    _, batches, _ = take(file("burn-faults"))
    text = gzip.decompress(Path(file("burn-faults")).read_bytes())

    expected = len(re.findall(rb"burn +2645 .*page_fault_user.*error_code=0x7\b", text))
    assert expected > 3
    found = [e.wp_faults for b in batches for e in b.events() if e.kind == Kind.FAULTS and e.pid == 2645]
    assert found == [expected]


# -- lines of other forms ---------------------------------------------------------------------------------------

_HEAD = " sh 100 [000] 1.000001: sched:sched_process_exec: filename=/bin/sh pid=100 old_pid=100\n"


def test_names_that_look_like_fields(tmp_path: Path) -> None:
    _, batches, run = read(
        tmp_path,
        _HEAD + " sh 100 [000] 1.1: x:y: z\n sh 100 [000] 1.000002: sched:sched_process_fork: "
        "comm=a pid=1 c=2 pid=100 child_comm=b child_pid=9 child_pid=101\n"
        " a pid=1 prio=1 101 [001] 1.000003: sched:sched_process_exit: comm=a pid=1 prio=1 pid=101 prio=120\n",
    )

    assert story(batches) == ["100 root; /bin/sh []", "101 <- 100 None=None; ended"]
    assert run.skipped.lines == 1  # the second line has no time that perf would write


def test_an_older_kernel_does_not_say_that_the_process_ended(tmp_path: Path) -> None:
    def task(pid: int, flags: str, by: int) -> str:
        return f" sh {by} [000] 1.000002: task:task_newtask: pid={pid} comm=sh clone_flags={flags} oom_score_adj=0\n"

    def end(pid: int) -> str:
        return f" sh {pid} [000] 1.000009: sched:sched_process_exit: comm=sh pid={pid} prio=120\n"

    _, batches, _ = read(tmp_path, _HEAD + task(101, "0", 100) + task(102, "10f00", 101) + end(101) + end(102))

    ends = [(e.tid, e.last) for b in batches for e in b.events() if e.kind == Kind.EXIT]
    assert ends == [(101, False), (102, True)]


def test_faults_of_one_that_was_there_before_are_not_told(tmp_path: Path) -> None:
    fault = "{} {} [000] 1.000005:          2  minor-faults:  7f00 main+0x1 (/bin/sh)\n"
    fork = " sh 100 [000] 1.000002: task:task_newtask: pid=101 comm=sh clone_flags=0 oom_score_adj=0\n"
    end = " sh {} [000] 1.000009: sched:sched_process_exit: comm=sh pid={} prio=120 group_dead=true\n"
    text = _HEAD + fault.format("sh", 100) + fork + fault.format("sh", 101) * 3 + end.format(101, 101)

    _, batches, _ = read(tmp_path, text + fork.replace("101", "102") + end.format(102, 102) + end.format(100, 100))

    ends = {e.pid: e.min_flt for b in batches for e in b.events() if e.kind == Kind.EXIT}
    assert ends == {101: 6, 102: 0, 100: None}


def test_a_pid_used_again(tmp_path: Path) -> None:
    fork = " sh 100 [000] {}: task:task_newtask: pid=101 comm=sh clone_flags=0 oom_score_adj=0\n"
    end = " sh 101 [000] {}: sched:sched_process_exit: comm=sh pid=101 prio=120 group_dead=true\n"
    times = ["1.000002", "1.000003", "1.000003", "1.000004"]
    text = "".join(form.format(at) for form, at in zip((fork, end, fork, end), times, strict=True))

    _, batches, _ = read(tmp_path, _HEAD + text)

    assert story(batches)[1:] == ["101 <- 100 None=fork; ended"] * 2


def test_stacks_and_comments_are_no_lines(tmp_path: Path) -> None:
    stack = "\t    ffffffff810a do_exit+0x1 ([kernel.kallsyms])\n\t 7f00 main+0x5 (/bin/sh)\n\n"

    _, batches, run = read(tmp_path, "# ========\n# captured on: today\n#\n" + _HEAD + stack + "hello\n")

    assert story(batches) == ["100 root; /bin/sh []"]
    assert [(number, text) for _, number, text in run.skipped.samples] == [(8, b"hello")]


def test_a_text_without_lives_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match="holds no event of a process' life"):
        read(tmp_path, " sh 100 [000] 1.000001: syscalls:sys_enter_read: fd: 0x3\n" * 3)


def test_it_is_known_by_its_content() -> None:
    assert all(sniff(Path(file(name)).read_bytes()[:65536]) == "perf.script" for name in NAMES if "burn" not in name)


@given(st.lists(st.binary(max_size=60), max_size=5), st.integers(0, 3000))
def test_damage_never_raises(tmp_path_factory: pytest.TempPathFactory, strange: list[bytes], at: int) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.txt"
    text = Path(file("threads-pids")).read_bytes()
    path.write_bytes(text[:at] + b"\n".join(strange) + text[at + 7 :])

    try:
        _, batches = open_log([str(path)])
    except BadDataError:
        return
    story(list(batches))
