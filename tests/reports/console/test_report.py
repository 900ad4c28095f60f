"""The report as a reader sees it: golden files at fixed widths, from traces that never change."""

from __future__ import annotations

import io
import itertools
import re
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from rich.cells import cell_len
from rich.text import Text

from tests import build
from tests.build import (
    Step,
    after,
    alive,
    clone,
    end,
    exec_,
    exec_failed,
    existing,
    exit_,
    faults,
    fork,
    fork_failed,
    lost,
    reap,
    root,
    spawn,
    thread,
    thread_exit,
    trace,
    vfork,
    zombie,
)
from tests.strategies import META, PROFILE, History, histories
from tracer.api.trace import Trace
from tracer.errors import CannotWriteError
from tracer.model.batch import Batch
from tracer.model.flags import CloneFlags
from tracer.model.meta import Fact
from tracer.reports.console.report import Console
from tracer.reports.terminal import Terminal

Golden = Callable[[str, str], None]


def report(trace: Trace, terminal: Terminal | None = None, **options: Any) -> str:
    """The report as text."""
    page = io.StringIO()
    Console(terminal or Terminal(), page, how_to_see_all="forktrace report x.ftrace --full", **options).report(trace)
    return page.getvalue()


def pipeline() -> list[Step]:
    return [
        root(4711, "bash", "-c", "ls | wc -l; (sleep 0.1 &); true"),
        fork(4711, 4712, cow_copies=None),
        fork(4711, 4713),
        exec_(4712, "ls"),
        exec_(4713, "wc", "-l"),
        exit_(4712, utime_ns=900_000, stime_ns=400_000),
        exit_(4713, utime_ns=300_000, stime_ns=900_000),
        reap(4712, 4711),
        reap(4713, 4711),
        fork(4711, 4714),
        fork(4714, 4715),
        exit_(4714),
        reap(4714, 4711),
        exec_(4715, "sleep", "0.1"),
        exit_(4711, utime_ns=1_000_000, stime_ns=2_000_000),
        after(98),
        exit_(4715, ppid=1),
        reap(4715, 1),
        faults(4712, cow_copies=6),
        faults(4713, cow_copies=11),
        faults(4714, cow_copies=26),
        faults(4715, cow_copies=0),
        faults(4711, cow_copies=32768),
        end(),
    ]


GCC = "/usr/lib/gcc/x86_64-linux-gnu/12"


def make(files: int = 300) -> list[Step]:
    """A build: one compiler call fails, and so does make."""
    steps = [root(100, "make", "-s", "-j2")]
    for i in range(files):
        cc, cc1, assembler = (1000 + 3 * i + k for k in range(3))
        fails = i == 170
        steps += [
            spawn(100, cc),
            exec_(cc, "cc", "-c", f"f{i}.c", "-o", f"f{i}.o"),
            vfork(cc, cc1),
            exec_(cc1, f"{GCC}/cc1", "-quiet", f"f{i}.c", "-o", f"/tmp/{i}.s"),
            after(i % 7),
            exit_(cc1, int(fails)),
            reap(cc1, cc),
        ]
        if not fails:
            steps += [vfork(cc, assembler), exec_(assembler, "as", "-o", f"f{i}.o", f"/tmp/{i}.s"), exit_(assembler)]
        steps += [exit_(cc, int(fails)), reap(cc, 100)]
    return [*steps, exit_(100, 2), end()]


def ends() -> list[Step]:
    """Every way to end, or not to."""
    return [
        root(10, "server"),
        fork(10, 11),
        exit_(11, 3),
        fork(10, 12),
        exit_(12, signal=9, killed_by=10),
        fork(10, 13),
        exit_(13, signal=11, core=True),
        fork(10, 14),
        exit_(14, signal=6, core=True, killed_by=14),
        fork(10, 15),
        exit_(15, signal=9, oom_killed=True),
        fork(10, 16),
        exit_(16, 0),
        zombie(16),
        after(300),
        reap(16, 10, zombie_ms=300),
        fork(10, 17),
        exit_(17, 1),
        zombie(17),
        fork(10, 18),
        fork(18, 19),
        exit_(18),
        exec_(19, "sleep", "9", ppid=1),
        exit_(21),
        fork(21, 22),
        exit_(22, None),
        exec_failed(10, "nothere"),
        exec_failed(10, "no-rights", error="EACCES"),
        fork_failed(10),
        lost(17, "ring"),
        lost(None, "spool"),
        exit_(10),
        after(1200),
        alive(19, ppid=1),
        end(),
    ]


def ways() -> list[Step]:
    """Every way to be born."""
    c = CloneFlags
    return [
        root(1, "ways"),
        fork(1, 2),
        exit_(2),
        fork(1, 3, c.CLONE_NEWPID, c.CLONE_NEWNS, c.CLONE_NEWUSER),
        exit_(3),
        fork(1, 4, c.CLONE_FILES),
        exit_(4),
        vfork(1, 5),
        exec_(5, "true"),
        exit_(5),
        spawn(1, 6),
        exec_(6, "true"),
        exit_(6),
        clone(1, 7, c.CLONE_VM, exit_signal=0),
        exit_(7),
        clone(1, 8, c.CLONE_VM, c.CLONE_FS, c.CLONE_FILES, c.CLONE_SIGHAND, c.CLONE_IO, syscall="clone3"),
        exit_(8),
        fork(1, 9, c.CLONE_PARENT, creator_pid=2),
        exit_(9),
        exit_(1),
        end(),
    ]


ODD = (
    "\x1b[31mred\x1b[0m",
    "[bold]x[/bold]",
    "[/]",
    ":smile:",
    "a\nb",
    "tab\there",
    "\x9b2J",
    "\u202egnp.exe",
    "\udcff\udcfe",
    "\u200bhidden",
    "日本語のとても長い名前です" * 3,
    "👍👍👍👍",
    "e\u0301" * 12,
    "\u0301" * 40,
    "",
    "it's",
    "$HOME `id`",
    "..",
    "x" * 5000,
)


def odd() -> list[Step]:
    """Names that would like to be more than names."""
    steps = [root(1, "\x1b]0;title\x07", *ODD)]
    for i, word in enumerate(ODD):
        steps += [fork(1, 2 + i, comm=word)] + ([exec_(2 + i, "echo", word)] if i % 2 else []) + [exit_(2 + i, i)]
    return [*steps, end()]


def threaded() -> list[Step]:
    """A process with three threads and a child, and one with twenty."""
    steps = [root(50, "server"), *(thread(50, 51 + i) for i in range(3)), fork(50, 60), exec_(60, "pool")]
    steps += [thread(60, 100 + i) for i in range(20)] + [thread_exit(60, 100 + i) for i in range(20)]
    return [*steps, thread_exit(50, 51), exit_(60), exit_(50), end()]


def host() -> list[Step]:
    """A whole host, of which little moves."""
    steps = [existing(1, comm="init"), existing(2, comm="kthreadd")]
    steps += [existing(100 + i, 2, comm=f"kworker/{i}") for i in range(80)]
    steps += [existing(300, 1, "sshd"), existing(301, 300, "bash"), fork(301, 302), exec_(302, "ls", "-l"), exit_(302)]
    return [*steps, fork(301, 303), exec_(303, "vi"), end()]


def unlike(n: int) -> list[Step]:
    """Siblings of which no two are alike, one of them failing far down."""
    steps = [root(1, "ctl")]
    for i in range(n):
        steps += [fork(1, 10 + 2 * i), exec_(10 + 2 * i, f"tool{i}"), fork(10 + 2 * i, 11 + 2 * i)]
        steps += [exit_(11 + 2 * i, 9 if i == n - 5 else 0), exit_(10 + 2 * i)]
    return [*steps, exit_(1), end()]


def bomb(generations: int) -> list[Step]:
    """Each makes two like itself."""
    steps, level, pid = [root(1, "bash", "-c", ":(){ :|:& };:")], [1], 2
    for _ in range(generations):
        above, level = level, []
        for parent in above:
            steps += [fork(parent, pid), fork(parent, pid + 1)]
            level += [pid, pid + 1]
            pid += 2
    return [*steps, *(exit_(p) for p in range(1, pid)), end()]


class Story(NamedTuple):
    name: str
    steps: list[Step]
    terminal: Terminal = Terminal()
    options: Mapping[str, Any] = MappingProxyType({})
    meta: Mapping[str, Any] = MappingProxyType({})


STORIES: Sequence[Story] = (
    Story("pipeline", pipeline()),
    Story("pipeline-color", pipeline(), Terminal(color=True)),
    Story("pipeline-times-60", pipeline(), Terminal(width=60), {"times": True}),
    Story("pipeline-arm", pipeline(), Terminal(), {}, {"machine": "aarch64"}),
    Story("make", make()),
    Story("make-60", make(), Terminal(width=60)),
    Story("make-200", make(), Terminal(width=200)),
    Story("make-ascii-80", make(), Terminal(width=80, unicode=False)),
    Story("make-full", make(3), Terminal(), {"full": True}),
    Story("ends", ends(), Terminal(width=120), {}, {"notes": ("Work handed to daemons is not in the tree.",)}),
    Story("ends-color", ends(), Terminal(width=120, color=True)),
    Story("ends-60", ends(), Terminal(width=60)),
    Story("ways", ways()),
    Story("ways-ascii-verbose", ways(), Terminal(unicode=False), {"verbose": 1}),
    Story("odd", odd()),
    Story("odd-ascii", odd(), Terminal(unicode=False)),
    Story("threads", threaded(), Terminal(), {"threads": True, "times": True}),
    Story("host", host()),
    Story("unlike", unlike(200)),
    Story("bomb", bomb(10)),
    Story("blind", ends(), Terminal(), {}, {"facts": frozenset(), "machine": "", "source": "perf-script"}),
    Story("quiet", make(9), Terminal(), {"quiet": 1}),
    Story("nothing", [end()]),
)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_golden(story: Story, golden: Golden) -> None:
    golden(f"report-{story.name}", report(trace(*story.steps, **story.meta), story.terminal, **story.options))


def test_golden_torn(golden: Golden) -> None:
    golden("report-torn", report(trace(*pipeline()[:6], torn=True)))


@pytest.mark.parametrize("width", [40, 60, 61, 79, 80, 100, 137, 200, 300])
@pytest.mark.parametrize("steps", [pipeline(), ends(), odd(), ways(), threaded(), unlike(100)], ids=lambda s: len(s))
def test_no_line_is_wider_than_the_terminal(steps: list[Step], width: int) -> None:
    for unicode in (True, False):
        text = report(trace(*steps), Terminal(width=width, unicode=unicode), threads=True, times=True, verbose=1)
        wide = [line for line in text.splitlines() if cell_len(line) > width]

        assert not wide


@pytest.mark.parametrize("color", [False, True])
def test_names_can_not_move_the_cursor_or_style_the_text(color: bool) -> None:
    text = report(trace(*odd()), Terminal(color=color), verbose=1, full=True)
    bare = re.sub(r"\x1b\[[0-9;]*m", "", text)

    assert [c for c in bare if not c.isprintable() and c != "\n"] == []
    assert color or bare == text
    assert "[bold]x[/bold]" in text and ":smile:" in text and r"\x1b[31mred" in text
    assert len(bare.splitlines()) == len(report(trace(*odd()), verbose=1, full=True).splitlines())


def test_colour_changes_nothing_but_colour() -> None:
    for steps in (pipeline(), make(), ends(), odd()):
        coloured = report(trace(*steps), Terminal(color=True))

        assert Text.from_ansi(coloured).plain.rstrip() == report(trace(*steps)).rstrip()


def test_ascii_is_ascii() -> None:
    for steps in (pipeline(), make(), ends(), odd(), ways(), bomb(9), unlike(99)):
        assert report(trace(*steps), Terminal(unicode=False), verbose=1, times=True, threads=True).isascii()


def test_a_chain_of_100_000_is_three_lines() -> None:
    n = 100_000
    rows = [root(1, "sh"), *(fork(i, i + 1) for i in range(1, n))]
    began = time.monotonic()
    text = report(trace(*rows))
    took = time.monotonic() - began

    assert re.search(r"^ +1  root .* sh$", text, re.M)
    assert re.search(rf"^ +{n}  fork ", text, re.M)
    assert "×99,997" in text and "99,997 generations" in text
    assert len(text.splitlines()) < 12
    assert took < 30


def test_every_line_of_a_deep_tree_has_its_command() -> None:
    n = 3000
    steps = [root(1, "p1"), *itertools.chain(*((fork(i, i + 1), exec_(i + 1, f"p{i + 1}")) for i in range(1, n)))]
    lines = report(trace(*steps), Terminal(width=80), full=True).splitlines()[1 : n + 1]

    assert [line.rpartition(" ")[2] for line in lines] == [f"p{i + 1}" for i in range(n)]


def test_10_000_processes_fit_the_eye() -> None:
    steps = [root(1, "bash", "storm.sh")]
    for i in range(10_000):
        steps += [fork(1, 2 + i), exec_(2 + i, "true", str(i)), exit_(2 + i, int(i % 97 == 0))]
    text = report(trace(*steps, end()))

    assert len(text.splitlines()) < 12
    assert "×9,896" in text and "×104" in text and "true …" in text


def test_what_is_not_shown_is_said_with_the_command_that_shows_it() -> None:
    text = report(trace(*unlike(200)))

    assert len(text.splitlines()) < 75
    assert "not shown  342 processes · forktrace report x.ftrace --full shows all" in text
    assert "exit 9" in text, "a failure is shown before what went well"


@PROFILE
@given(histories())
def test_any_history_makes_a_report(history: History) -> None:
    whole = Batch.from_rows(history.rows)
    for full in (False, True):
        text = report(Trace(META, lambda: [whole]), Terminal(width=80), full=full, threads=True, times=True, verbose=1)

        assert all(cell_len(line) <= 80 for line in text.splitlines())
        assert all(c.isprintable() or c == "\n" for c in text)


def test_from_args_takes_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    plain = Namespace(color="never", ascii=True, width=77, quiet=0, verbose=0)
    Console.from_args(plain).report(trace(*pipeline()))
    Console.from_args(Namespace(**vars(plain), output="a b.ftrace"), stderr=True).report(trace(*unlike(200)))
    out, err = capsys.readouterr()

    assert out == report(trace(*pipeline()), Terminal(width=77, unicode=False))
    assert err.startswith("\n"), "the program's last line may have no end"
    assert "forktrace report 'a b.ftrace' --full shows all" in err


class Full(io.StringIO):
    """A file on a full disk, or a pipe whose reader has left."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def flush(self) -> None:
        raise self.error


def test_a_full_disk_is_one_sentence() -> None:
    console = Console(Terminal(), Full(OSError(28, "No space left on device")))

    with pytest.raises(CannotWriteError, match="the report can not be written: no space left on device"):
        console.report(trace(*pipeline()))


def test_a_reader_that_has_left() -> None:
    Console(Terminal(), Full(BrokenPipeError()), apart=True).report(trace(*pipeline()))

    with pytest.raises(BrokenPipeError):  # of stdout: `forktrace report x | head` ends quietly, but it ends
        Console(Terminal(), Full(BrokenPipeError())).report(trace(*pipeline()))


def test_a_closed_stream() -> None:
    Console(Terminal(), None, apart=True).report(trace(*pipeline()))

    with pytest.raises(CannotWriteError, match="standard output is closed"):
        Console(Terminal(), None).report(trace(*pipeline()))


def test_a_long_folder_makes_room_for_the_command() -> None:
    deep = "/opt/a/very/long/folder/indeed/of/some/build/system/bin"
    narrow = report(trace(root(1, f"{deep}/cc", "-c", "main.c"), exit_(1)), Terminal(width=60))
    quoted = report(trace(root(1, f"{deep}/my cc", "-c", "main.c"), exit_(1)), Terminal(width=60))
    wide = report(trace(root(1, f"{deep}/cc", "-c", "main.c"), exit_(1)), Terminal(width=120))

    assert "  …/cc -c main.c\n" in narrow
    assert "  '/opt/a/very/" in quoted, "half a quoted word is none"
    assert f"  {deep}/cc -c main.c\n" in wide


def test_unknown_is_a_dash_and_never_zero() -> None:
    facts = frozenset(Fact) - {Fact.STATUS, Fact.CPU, Fact.THREADS, Fact.ZOMBIES}
    steps = [root(1, "a", comm=None), fork(1, 2), exit_(2, None), exit_(1, None), end()]
    text = report(trace(*steps, facts=facts), verbose=1)

    assert re.search(r"^ +2  fork +\S+ ms +- +- +\W*\(python3|^ +2  fork .* - ", text, re.M)
    for line in ("failed     -", "zombies    longest -", "cpu        -"):
        assert f"\n  {line}" in text
    assert "- threads" in text
    assert build.OUTSIDE  # the root's parent has no row
