from __future__ import annotations

import argparse
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.host.features.fakes import NO, FakeHost
from tracer import backends, commands
from tracer.backends import Options, Readiness, Trial, Verdict
from tracer.commands import doctor
from tracer.commands.doctor import COMMAND, Paper, Row, report, taken
from tracer.errors import ProbesRefusedError
from tracer.host import features as kernel
from tracer.model.meta import Fact

ROOT = Path(__file__).parents[2]
SGR = re.compile(r"\x1b\[[0-9;]*m")


class Seeing:
    """A backend that sees little, and one thing more for an option."""

    @classmethod
    def cover(cls, options: Options) -> frozenset[str]:
        return frozenset({Fact.ARGV, Fact.STATUS, Fact.FLAGS, *([Fact.WPCOPY] if options.delayacct else [])})


VERDICTS = (
    Verdict("lifecycle", "on_newtask", True, "", "anything by the bpf backend", main=True),
    Verdict("lifecycle", "on_wait", False, "R9 invalid mem access", "when children are waited for", main=False),
    Verdict("faults", "on_page_alloc", True, "", "copies", main=True),
)
TRIED: dict[str, tuple[tuple[Verdict, ...], frozenset[str]]] = {}
"""What the trial of a backend of fixture `host` came to, but for its readiness."""

READY = Row("backends", "bpf", ok=True, detail="ready", why="", mend=None)
REFUSED = Row("backends", "netlink", ok=False, detail="CAP_NET_ADMIN not held", why="", mend="sudo forktrace")
THERE = Row("bpf", "ring_buffer", ok=True, detail="tried, works", why="records come through it", mend=None)
GONE = Row("netlink", "task_delayacct", ok=False, detail="= 0, off", why="it counts copies", mend="sysctl a.b=1")
WHO_KNOWS = Row("bpf", "lockdown", ok=None, detail="not mounted", why="it refuses", mend="mount -t x x /y")


def lines(*rows: Row, paper: Paper | None = None, whys: bool = False) -> list[str]:
    backend_rows = [row for row in rows if row.group == "backends"]
    features = [row for row in rows if row.group != "backends"]
    return list(report(backend_rows, features, paper or Paper(100), whys=whys))


def test_a_row_says_mark_word_name_and_detail_and_what_is_not_ok_says_why_and_what_fixes_it() -> None:
    found = lines(READY, REFUSED, THERE, WHO_KNOWS, GONE)

    assert found[1:] == [
        "",
        "backends, best first",
        "  ✓ ok       bpf             ready",
        "  ✗ missing  netlink         CAP_NET_ADMIN not held",
        "                             fix: sudo forktrace",
        "",
        "for the bpf backend",
        "  ✓ ok       ring_buffer     tried, works",
        "  ? unknown  lockdown        not mounted",
        "                             why: it refuses",
        "                             fix: mount -t x x /y",
        "",
        "for the netlink backend",
        "  ✗ missing  task_delayacct  = 0, off",
        "                             why: it counts copies",
        "                             fix: sysctl a.b=1",
        "",
        "`forktrace -- PROGRAM` takes the bpf backend here.",
    ]


def test_what_each_backend_sees_ready_or_not_and_what_an_option_adds() -> None:
    facts = frozenset({Fact.STATUS, Fact.ARGV})
    one = READY._replace(sees=frozenset(Fact) - {Fact.COW, Fact.STACKS}, more={"cow": "--cow full", "stacks": "--x"})
    other = REFUSED._replace(sees=facts)

    assert lines(one, other)[3:7] == [
        "  ✓ ok       bpf      ready",
        "                      sees: everything; with --cow full also cow; with --x also stacks",
        "  ✗ missing  netlink  CAP_NET_ADMIN not held",
        "                      sees: argv, status",
    ]


def test_a_backend_that_sees_neither_how_nor_what_was_used_is_not_the_one_taken() -> None:
    blind = READY._replace(name="netlink", sees=frozenset({Fact.ARGV, Fact.STATUS}))
    other = READY._replace(name="strace", sees=frozenset({Fact.ARGV, Fact.STATUS, Fact.FLAGS}))

    assert taken([REFUSED, blind, other]) == "strace"
    assert taken([REFUSED, blind]) == "netlink"
    assert taken([REFUSED]) is None


def test_with_v_what_is_ok_says_why_too() -> None:
    assert "                          why: records come through it" in lines(THERE, whys=True)
    assert "why" not in "".join(lines(THERE))


def test_where_no_backend_is_ready_it_says_so() -> None:
    assert lines(REFUSED)[-1] == "No backend is ready here."


def test_on_narrow_paper_the_detail_goes_below() -> None:
    long = Row(
        "bpf", "lifecycle_tracepoints", ok=False, detail="missing: mark_victim", why="they carry it", mend="do so"
    )
    found = lines(long, paper=Paper(60))

    assert found[-6:-2] == [
        "  ✗ missing  lifecycle_tracepoints",
        "      missing: mark_victim",
        "      why: they carry it",
        "      fix: do so",
    ]


@given(
    st.lists(
        st.builds(
            Row,
            group=st.sampled_from(["backends", "bpf", "strace", "all"]),
            name=st.text("abcdefgh_", min_size=1, max_size=22),
            ok=st.sampled_from([True, False, None]),
            detail=st.lists(st.text("abcdefgh-", min_size=1, max_size=24), min_size=1, max_size=30).map(" ".join),
            why=st.lists(st.text("abcdefgh-", min_size=1, max_size=24), max_size=30).map(" ".join),
            mend=st.none() | st.lists(st.text("abcdefgh-", min_size=1, max_size=24), min_size=1).map(" ".join),
        ),
        max_size=6,
    ),
    st.integers(60, 200),
    st.booleans(),
)
def test_no_line_is_wider_than_the_paper_and_no_word_is_lost(rows: list[Row], width: int, color: bool) -> None:
    found = [SGR.sub("", line) for line in lines(*rows, paper=Paper(width, color=color), whys=True)]
    text = " ".join(" ".join(found).split())

    assert max(map(len, found)) <= width
    for row in rows:
        assert row.detail in text
        assert row.why in text
        assert row.ok or row.mend is None or row.mend in text


def test_color_only_adds_to_the_words() -> None:
    plain, colored = lines(READY, REFUSED, WHO_KNOWS), lines(READY, REFUSED, WHO_KNOWS, paper=Paper(100, color=True))

    assert [SGR.sub("", line) for line in colored] == plain
    assert any("\x1b[31m✗ missing" in line for line in colored)


def test_ascii_is_ascii() -> None:
    text = "\n".join(lines(READY, REFUSED, WHO_KNOWS, paper=Paper(100, ascii=True)))

    assert text.isascii()
    assert all(f"{mark} {word}" in text for mark, word in (("+", "ok"), ("x", "missing"), ("?", "unknown")))


def test_nothing_from_outside_reaches_the_terminal_raw() -> None:
    evil = Row("bpf", "x", ok=False, detail="a\x1b[2Jb\x07", why="\x9b31m", mend="\x1b]0;t\x07")

    assert "\x1b" not in "".join(lines(evil))
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in "".join(lines(evil)))


# the verb


def arguments(*words: str) -> argparse.Namespace:
    return commands.parser_for("doctor", COMMAND).parse_args(words)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """A host that has everything, and two backends of which the second is ready."""
    fake = FakeHost(tmp_path)
    states = {"first": Readiness(False, "it is tired", "wake it"), "second": Readiness(True)}
    monkeypatch.setattr(kernel, "_this_host", lambda: fake)
    monkeypatch.setattr(kernel, "_here", lambda name: kernel._ask(name, fake))
    monkeypatch.setattr(backends, "BACKENDS", tuple(states))
    monkeypatch.setattr(backends, "trial", lambda name: Trial(states[name], *TRIED.get(name, ())))
    monkeypatch.setattr(backends, "load", lambda name: Seeing)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    return fake


def test_the_json_is_one_stable_object(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    host.answering(NO)
    status = COMMAND.run(arguments("--json"))
    found = json.loads(capsys.readouterr().out)

    assert status == 0
    assert list(found) == ["schema", "host", "chosen", "backends", "programs", "features"]
    assert (found["schema"], found["chosen"]) == (1, "second")
    assert list(found["host"]) == ["kernel", "machine", "euid"]
    sees = {"sees": ["argv", "flags", "status"], "sees_with": {"wpcopy": "--delayacct"}}
    assert found["backends"] == [
        {"name": "first", "ok": False, "why": "it is tired", "mend": "wake it", **sees},
        {"name": "second", "ok": True, "why": None, "mend": None, **sees},
    ]
    assert [feature["name"] for feature in found["features"]] == list(kernel.FEATURES)
    ring = next(feature for feature in found["features"] if feature["name"] == "ring_buffer")
    assert list(ring) == ["name", "for", "ok", "detail", "why", "mend"]
    assert (ring["for"], ring["ok"]) == ("bpf", False)


@pytest.mark.usefixtures("host")
def test_what_the_kernel_refuses_is_said_with_what_it_costs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(TRIED, "second", (VERDICTS, frozenset({Fact.STATUS, Fact.WPCOPY})))
    assert COMMAND.run(arguments("--width", "120")) == 0
    out = capsys.readouterr().out.splitlines()
    assert COMMAND.run(arguments("--json")) == 0
    found = json.loads(capsys.readouterr().out)

    at = next(i for i, line in enumerate(out) if "second" in line)
    ready = "ready, without when children are waited for: on_wait refused: R9 invalid mem access"
    assert " ".join(" ".join(out[at : at + 3]).split()) == f"✓ ok second {ready} sees: flags, argv"
    at = out.index("programs of the bpf backend, tried in this kernel")
    assert [line.split(maxsplit=2)[1:] for line in out[at + 1 : at + 3]] == [
        ["ok", "lifecycle              1 of 2 load"],
        ["refused", "lifecycle on_wait      R9 invalid mem access"],
    ]
    assert out[at + 3].strip() == "why: without it, not measured: when children are waited for"
    assert found["programs"] == [verdict._asdict() for verdict in VERDICTS]
    assert found["backends"][1]["sees"] == ["argv", "flags"]
    assert found["backends"][1]["sees_with"] == {}


@pytest.mark.usefixtures("host")
def test_the_text_goes_to_stdout_without_color(capsys: pytest.CaptureFixture[str]) -> None:
    status = COMMAND.run(arguments())
    out, err = capsys.readouterr()

    assert (status, err) == (0, "")
    assert "\x1b" not in out
    assert "✗ missing  first                  it is tired\n" in out
    assert out.endswith("takes the second backend here.\n")
    assert all(name in out for name in kernel.FEATURES)


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    ("words", "no_color", "colored"),
    [
        (["--color", "always"], None, True),
        (["--color", "always"], "1", True),
        (["--color", "never"], None, False),
        (["--no-color"], None, False),
    ],
)
def test_color_on_demand(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    no_color: str | None,
    colored: bool,
) -> None:
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    COMMAND.run(arguments(*words))

    assert ("\x1b[" in capsys.readouterr().out) is colored


@pytest.mark.usefixtures("host")
def test_no_backend_ready_is_told_by_the_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(name: str) -> Trial:
        if name == "first":
            raise ProbesRefusedError("the kernel said no", "ask it again")
        raise ImportError("No module named 'pyroute2'")

    monkeypatch.setattr(backends, "trial", refuse)
    status = COMMAND.run(arguments())
    out = capsys.readouterr().out

    assert status == 70
    assert "the kernel said no" in out
    assert "fix: ask it again" in out
    assert "cannot be imported: No module named 'pyroute2'" in out


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(("asked", "width"), [(10, 60), (77, 77), (1000, 200)])
def test_the_width_has_its_bounds(asked: int, width: int) -> None:
    assert Paper.fitting(arguments("--width", str(asked))).width == width


def terminal(*words: str, columns: int, **environment: str) -> list[str]:
    """What `forktrace doctor` prints on a terminal of that many columns."""
    outer, inner = pty.openpty()
    clean = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    environment = {**clean, "TERM": "xterm", "PYTHONIOENCODING": "utf-8", **environment}
    command = f"stty cols {columns} rows 40 && exec {sys.executable} -m tracer doctor {' '.join(words)}"
    raw = b""
    with subprocess.Popen(["sh", "-c", command], stdin=inner, stdout=inner, stderr=inner, env=environment, cwd=ROOT):
        os.close(inner)
        try:
            while part := os.read(outer, 65536):
                raw += part
        except OSError:  # the other end is closed
            pass
    os.close(outer)
    return raw.decode().replace("\r\n", "\n").splitlines()


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_it_fits_a_real_terminal(columns: int) -> None:
    found = terminal(columns=columns)
    plain = [SGR.sub("", line) for line in found]

    assert any("\x1b[" in line for line in found)
    assert 40 < max(map(len, plain)) <= columns
    assert not any(line.startswith("Traceback") for line in plain)
    assert {line.split()[2] for line in plain if line[:3] in ("  ✓", "  ✗", "  ?")} >= set(kernel.FEATURES)


def test_no_color_on_a_terminal_that_asks_for_none() -> None:
    assert not any("\x1b" in line for line in terminal(columns=80, NO_COLOR="1"))
    assert not any("\x1b" in line for line in terminal(columns=80, TERM="dumb"))


def test_a_terminal_that_knows_no_check_marks_gets_ascii() -> None:
    found = terminal(columns=80, PYTHONIOENCODING="ascii", NO_COLOR="1")

    assert "".join(found).isascii()
    assert any(line.startswith("  + ok") for line in found)


def test_it_starts_with_the_standard_library_alone() -> None:
    """It must run where nothing else does: no package of others, whatever is ready or not."""
    code = (
        "import sys; sys.argv = ['forktrace', 'doctor']; from tracer.commands import main; main(['doctor', '--json']);"
        "bad = {'rich', 'numpy', 'pyarrow', 'pandas', 'pyroute2'} & set(sys.modules); sys.exit(3 if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL, check=False)

    assert done.returncode == 0


def test_its_help_is_its_docstring() -> None:
    assert "Nothing is installed, mounted or changed." in commands.parser_for("doctor", doctor.COMMAND).format_help()
