"""`forktrace replay` on a pseudo terminal, key by key, and as lines."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.live.ptys import ENTER, FORKTRACE, LEAVE, Screen
from tests.stories import ALL, S, Story
from tests.terminals import Shell
from tracer.commands import main
from tracer.model.meta import Meta
from tracer.recording import Writer

ROOT = Path(__file__).parents[2]
WALL = 1_700_000_000 * S
HOSTILE = "\x1b[31mred\x1b]0;title\x07\n"


def save(path: Path, story: Story, meta: Meta = ALL, *, torn: bool = False) -> str:
    writer = Writer(str(path), meta)
    writer.write(story.batch())
    writer.flush()
    if torn:
        writer.abandon()
    else:
        writer.close()
    return str(path)


def story() -> Story:
    """Ten seconds: make runs a compiler each half second, one of them fails; a shell loop in the second half."""
    told = Story()
    told.existing(1, comm="init", cgroup="/", argv=["/sbin/init"])
    told.existing(50, 1, comm="make", argv=["make", "all"])
    told.existing(60, 1, comm="loop", argv=["sh", "loop.sh"], cgroup="/user.slice")
    for n in range(20):
        told.run(n * 0.5 + 0.1, 100 + n, 50, "cc", "-c", f"{n}.c", lasts=0.3, code=int(n == 7))
    for n in range(50):
        told.run(5 + n * 0.1, 200 + n, 60, "date", lasts=0.01)
    told.rows.sort(key=lambda row: row[1]["ts_ns"])
    return told


@pytest.fixture
def saved(tmp_path: Path) -> str:
    return save(tmp_path / "x.ftrace", story(), Meta(**{**ALL._asdict(), "wall_offset_ns": WALL}))


def replay(*words: str, width: int = 80) -> Screen:
    return Screen([*FORKTRACE, "replay", *words], width=width)


# -- the screen ---------------------------------------------------------------------------------------------------


def test_it_plays_to_the_end_and_stays_there_until_q(saved: str) -> None:
    with replay(saved, "--speed", "100") as screen:
        text = screen.shows("the end", "sh loop.sh", "make all", "9.91 s ", "copies/s")
        assert "FORKS/S" in text
        screen.press("q")

        assert screen.ends() == 0
        screen.assert_given_back()


def test_at_its_own_pace(saved: str) -> None:
    with replay(saved, "--speed", "0.1") as screen:
        assert "the end" not in screen.shows("×0.1", "make all")
        screen.press("-")
        screen.shows("×0.01")
        screen.press("+")
        screen.shows("×0.1")
        screen.press(*"+" * 20)
        screen.shows("the end")


def test_steps_and_seeks(saved: str) -> None:
    with replay(saved, "--speed", "0.01") as screen:
        screen.press("space")
        screen.shows("paused")
        screen.press("f")
        screen.shows("fork            100  fork by 50 (make)")
        screen.press("e")
        screen.shows("exec            100  cc -c 0.c")
        screen.press("x")
        screen.shows("exit            100  exit 0")
        screen.press(".")
        screen.shows("fork            101  fork by 50 (make)")
        screen.press("right")
        screen.until("1.58 s", lambda text: position(text) == pytest.approx(0.6 + 0.99, abs=0.01))
        screen.press(">")
        screen.until("2.59 s", lambda text: position(text) == pytest.approx(1.59 + 1, abs=0.01))
        screen.press("<")
        screen.until("1.59 s", lambda text: position(text) == pytest.approx(1.59, abs=0.01))
        screen.press("left", "left")
        screen.until("0", lambda text: position(text) == 0)
        screen.press("5")
        text = screen.until("4.95 s", lambda text: position(text) == pytest.approx(4.95, abs=0.01))
        assert "date" not in text
        screen.press("9")
        assert "date" in screen.until("8.91 s", lambda text: position(text) == pytest.approx(8.91, abs=0.01))


def position(text: str) -> float:
    """Seconds from the beginning, as the progress bar has it."""
    found = re.match(r" +([\d.]+) (ms|s|ns)", text.splitlines()[5])
    assert found is not None, text
    return float(found[1]) * {"s": 1, "ms": 1e-3, "ns": 1e-9}[found[2]]


def test_space_at_the_end_begins_anew(saved: str) -> None:
    with replay(saved, "--speed", "max") as screen:
        screen.shows("the end")
        screen.press("-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-")
        screen.press("space", "space")
        screen.until("it plays", lambda text: "the end" not in text and position(text) < 5)


def test_every_key_does_its_thing(saved: str) -> None:
    with replay(saved, "--speed", "max") as screen:
        screen.shows("the end", "BUSIEST ANCESTORS", "by forks")
        screen.press("t")
        screen.shows("WHAT IS BEING BORN", "├ sh loop.sh")
        screen.press("t")
        screen.shows("BUSIEST ANCESTORS")
        screen.press("s")
        screen.shows("by execs")
        screen.press("/", "d", "a", "t", "e")
        screen.shows("/date_")
        screen.press("enter")
        screen.hides("cc -c")
        screen.press("esc")
        screen.shows("cc -c")
        screen.press("down", "enter")
        screen.shows("what  ", "lives  ", "enter back")
        screen.press("enter")
        screen.shows("COMMANDS")
        screen.press("w")
        screen.shows("there is no recorder here")
        screen.press("?")
        screen.shows("KEYS", "a tenth of the trace back, forth")
        screen.press("?")
        screen.hides("KEYS")
        screen.press("down")
        screen.until("a mark", lambda text: "›" in text)
        screen.press("q")
        assert screen.ends() == 0


def test_the_screen_follows_the_size_of_the_terminal(saved: str) -> None:
    with replay(saved, "--speed", "max") as screen:
        screen.shows("the end", "SHARE")
        screen.resize(60, 20)
        screen.until("60 columns", lambda text: "SHARE  FAILED" not in text and "? help" in text.splitlines()[19])
        screen.resize(200, 40)
        screen.until("200 columns", lambda text: "ENDS" in text and "? help" in text.splitlines()[39])


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_whoever_ends_it_the_terminal_is_given_back(saved: str, signo: signal.Signals) -> None:
    with replay(saved, "--speed", "0.1") as screen:
        screen.shows("×0.1", "make all")
        screen.process.send_signal(signo)

        assert screen.ends() == -signo
        screen.assert_given_back()


def test_ctrl_c(saved: str) -> None:
    with replay(saved, "--speed", "0.1") as screen:
        screen.shows("make all")
        screen.keys("\x03")

        assert screen.ends() == 130
        screen.assert_given_back()


def test_ctrl_z_gives_the_terminal_to_the_shell_and_fg_takes_it_back(saved: str) -> None:
    with Shell() as shell:
        shell.run(f"stty echo; TERM=xterm {' '.join(FORKTRACE)} replay {saved} --speed max")
        shell.expect("the end")
        shell.keys("\x1a")
        before = shell.expect("Stopped")
        assert LEAVE.decode() in before
        shell.prompt()
        shell.run("stty -a | grep -o ' icanon'; fg")
        shell.expect(" icanon\r\n")
        shell.expect(ENTER.decode())
        shell.expect("the end")
        shell.keys("q")
        shell.expect(LEAVE.decode())
        shell.prompt()


def test_hostile_names_are_inert(tmp_path: Path) -> None:
    told = Story()
    told.existing(1, comm=HOSTILE[:15], argv=[HOSTILE, "x"])
    for n in range(5):
        told.run(n + 0.5, 100 + n, 1, HOSTILE, HOSTILE, lasts=0.1)
    path = save(tmp_path / "x.ftrace", told, Meta(**{**ALL._asdict(), "command": (HOSTILE,), "host": HOSTILE}))
    with replay(path, "--speed", "max") as screen:
        screen.shows("the end", "\\x1b[31mred")
        screen.press("t")
        screen.shows("BEING BORN", "\\x1b[31mred")
        screen.press("0", "f")
        screen.shows("fork            100")
        screen.press("e")
        screen.shows("exec            100  $'\\x1b[31mred")
        screen.press("down", "enter")
        screen.shows("what")

        assert b"\x1b[31mred" not in screen.raw
        assert b"\x1b]" not in screen.raw


def test_no_color(saved: str) -> None:
    with Screen([*FORKTRACE, "replay", saved, "--speed", "max"], env={"NO_COLOR": "1"}) as screen:
        screen.shows("the end", "make all")
        screen.press("down", "t", "enter", "q")
        screen.ends()

        assert set(re.findall(rb"\x1b\[[\d;]*m", screen.raw)) == {b"\x1b[0m"}


def test_ascii(saved: str) -> None:
    with replay(saved, "--speed", "max", "--ascii") as screen:
        assert screen.shows("the end", "make all").isascii()


def test_a_torn_file_is_played_and_said_to_be(tmp_path: Path) -> None:
    path = save(tmp_path / "x.ftrace", story(), torn=True)
    with replay(path, "--speed", "max", width=200) as screen:
        screen.shows("the end", "has no end: its writer was killed")
        screen.press("q")
        assert screen.ends() == 0
        assert b"forktrace: " in screen.raw[screen.raw.rfind(LEAVE) :]


def test_standard_input_and_keys_at_the_same_time(saved: str) -> None:
    with Screen(["sh", "-c", f"cat '{saved}' | {' '.join(FORKTRACE)} replay - --speed max"]) as screen:
        screen.shows("the end", "standard input", "make all")
        screen.press("t")
        screen.shows("BEING BORN")
        screen.press("q")
        assert screen.ends() == 0
        screen.assert_given_back()


def test_from_and_until_on_the_screen(saved: str) -> None:
    with replay(saved, "--from", "6", "--until", "7", "--speed", "0.01") as screen:
        screen.until("6 s", lambda text: "date" in text and position(text) == pytest.approx(6, abs=0.05))
        screen.press("left")
        screen.until("still 6 s", lambda text: position(text) == pytest.approx(6, abs=0.05))
        screen.press("9", "right", "right")  # faster than it can follow: each goes on from where the last leads to
        screen.until("7 s", lambda text: "the end" in text and position(text) == 7)


# -- lines --------------------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str], str]:
    status = main(["replay", *words])
    out, err = capsys.readouterr()
    return status, out.splitlines(), err


def test_without_a_terminal_a_line_a_second(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines, err = run(capsys, saved, "--speed", "max")

    assert (status, err) == (0, "")
    assert lines[0].split()[:4] == ["time", "forks/s", "execs/s", "exits/s"]
    assert [line.split()[1] for line in lines[1:]] == ["2"] * 5 + ["12"] * 5
    assert lines[6].endswith("83% sh loop.sh (60)")
    assert lines[1].split()[8] == "-"  # forktrace's own CPU is not known of a file
    first = datetime.fromtimestamp(WALL / S + 1)
    assert lines[1].startswith(first.strftime("%H:%M:%S"))


def test_json_lines(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, lines, _ = run(capsys, saved, "--speed", "max", "--format", "jsonl")
    seconds = [json.loads(line) for line in lines]

    assert [second["forks"] for second in seconds] == [2] * 5 + [12] * 5
    assert seconds[0]["own_cpu"] is None
    assert seconds[9]["busiest"]["name"] == "sh loop.sh"


def test_a_line_for_each_event(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, lines, _ = run(capsys, saved, "--speed", "max", "-v")

    assert len(lines) == len(story().rows) + 1
    assert lines[-1].split() == ["-", "end"]
    assert lines[3] == "    0.100000  fork            100  fork by 50 (make)"
    assert [line for line in lines if " 107 " in line][2].endswith("exit            107  exit 1")
    _, lines, _ = run(capsys, saved, "--speed", "max", "-v", "--format", "jsonl")
    assert json.loads(lines[3])["kind"] == "fork"
    assert len(lines) == len(story().rows) + 1


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        (["--from", "5"], ["12"] * 5),
        (["--until", "2"], ["2", "2"]),
        (["--from", "4", "--until", "6s"], ["2", "12", "1"]),
        (["--from", "{0:%H:%M:%S}"], ["12"] * 5),
    ],
)
def test_from_and_until(saved: str, words: list[str], seconds: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    at = datetime.fromtimestamp(WALL / S + 5)
    _, lines, _ = run(capsys, saved, "--speed", "max", *(word.format(at) for word in words))

    assert [line.split()[1] for line in lines[1:]] == seconds


def test_lines_come_at_the_pace_that_was_asked_for(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    run(capsys, saved, "--speed", "20", "-q", "--format", "lines")

    assert time.monotonic() - began >= 9.91 / 20 * 0.9  # not before: how much later is the machine's affair


def test_what_is_torn_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "x.ftrace", story(), torn=True)
    status, lines, err = run(capsys, path, "--speed", "max")

    assert (status, len(lines)) == (0, 11)
    assert "x.ftrace has no end: its writer was killed" in err


def test_hours_without_anything_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = Story()
    told.existing(1)
    told.run(1.0, 2, 1, "a")
    told.run(90_000.0, 3, 1, "b")
    _, lines, _ = run(capsys, save(tmp_path / "x.ftrace", told), "--speed", "max")

    assert len(lines) < 10
    assert any(line.startswith("nothing for 1 d") for line in lines)


def test_an_empty_trace_has_nothing_to_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, save(tmp_path / "x.ftrace", Story()), "--speed", "max") == (0, [], "")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["no.ftrace"], 66, "there is no file no.ftrace"),
        (["{}", "--from", "noon"], 2, "'noon' is no time; give seconds from the beginning, or the time of day"),
        (["{}", "--from", "25:00:00"], 2, "'25:00:00' is no time"),
        (["{}", "--speed", "fast"], 2, "'fast' is no speed: a number, as 10 or 0.5, or max"),
        (["{}", "--speed", "0"], 2, "'0' is no speed"),
        (["{}", "--", "true"], 2, "true"),
        ([__file__], 65, "is not a trace"),
    ],
)
def test_what_can_not_be_done_is_said(
    saved: str, words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, lines, err = run(capsys, *(word.format(saved) for word in words))

    assert (found, lines) == (status, [])
    assert said in err
    assert err.count("\n") == 1


def test_a_trace_without_a_clock_does_not_know_the_time_of_day(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "x.ftrace", story())
    status, _, err = run(capsys, path, "--from", "12:00:00")

    assert status == 2
    assert "this trace does not know the time of day" in err


def test_a_reader_that_leaves_is_no_error(saved: str) -> None:
    command = f"{' '.join(FORKTRACE)} replay {saved} --speed max -v | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)

    assert done.stdout.splitlines()[1:] == ["0"]
    assert done.stderr == ""


def test_rows_without_a_stamp_before_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = story()
    for _, row in told.rows[:3]:
        del row["ts_ns"]
    _, lines, _ = run(capsys, save(tmp_path / "x.ftrace", told), "--speed", "max")

    assert lines[6].endswith("83% sh loop.sh (60)")


def test_dumb_terminals_get_lines(saved: str) -> None:
    with Screen([*FORKTRACE, "replay", saved, "--speed", "max"], env={"TERM": "dumb"}) as screen:
        assert screen.ends() == 0
        assert ENTER not in screen.raw
        assert b"forks/s" in screen.raw
