"""Frames as plain text: what is drawn, at every width, whatever processes are called."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.live.scenes import SCENE, busy_host, frame, press, snapshot, terminal
from tests.stories import ALL, Story
from tracer.live import replay_screen
from tracer.live.head import Scene
from tracer.live.model import Model
from tracer.live.screen import Screen
from tracer.live.snapshot import Snapshot
from tracer.model.meta import Fact, Meta
from tracer.model.schema import Kind

Golden = Callable[[str, str], None]
BLIND = Meta("netlink", frozenset({Fact.STATUS}))
HOSTILE = [
    "\x1b[31mred",
    "[bold]rich[/]",
    "a\nb\tc\x07",
    "\u202eflip",
    "wide" + "漢字" * 9,
    "\udcff\x9b2J",
    "e" + "\u0301" * 50,
]


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("mode", ["top", "tree"])
def test_frames(golden: Golden, mode: str, width: int) -> None:
    model = Model(terminal(width))
    model.view.mode = mode

    golden(f"live_{mode}_{width}", frame(busy_host(), model, width).text())


def test_ascii(golden: Golden) -> None:
    model = Model(terminal(80, unicode=False))
    text = frame(busy_host(), model).text()
    model.view.mode = "tree"
    text += frame(busy_host(), model).text()

    assert text.isascii()
    golden("live_ascii", text)


def test_details(golden: Golden) -> None:
    window, model = busy_host(), Model(terminal())
    model.commands = lambda group: [("as -o …", 150), ("cc -c …", 50)]

    golden("live_details", press(model, window, "down", "home", "enter").text())


def test_details_of_a_line_of_the_tree() -> None:
    window, model = busy_host(), Model(terminal())
    text = press(model, window, "t", "end", "up", "enter").text()

    assert "what       /usr/bin/worker --fast\n" in text
    assert "forks      2.0/s · 20 in 10 s · 0 below\n" in text
    assert "ends       exit 3 ×20\n" in text
    assert "enter back" in text
    assert "WHAT IS BEING BORN" in press(model, window, "enter").text()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 30), (200, 24)])
def test_help_is_whole(width: int, height: int) -> None:
    """A player's has most keys."""
    window, model = busy_host(), Model(terminal(width))
    model.view.press("?")
    scene = Scene(what="x.ftrace", can_save=False, help=replay_screen.HELP, progress=[("curve", "")])

    text = frame(window, model, width, height, scene).text()
    assert "…" not in text
    told = " ".join(text.split())
    for words in ("all that is known of it; of what was left out, show it", "faster, slower", "to a factor of 1.4."):
        assert words in told


def test_cpu_that_is_not_told_yet_is_a_dash() -> None:
    story = Story()
    story.existing(1)
    story.fork(0.5, 2, 1)
    story.exec(0.6, 2, "date")
    story.exit(0.7, 2)
    window, model = story.window(until=2.0), Model(terminal())

    assert "CPU - · " in press(model, window, "t", "end", "enter").text()


def test_a_storm_stands_on_top() -> None:
    text = frame(busy_host(), Model(terminal()), scene=Scene(what="x", finding="FORK STORM: 900/s by make")).text()

    assert text.splitlines()[1] == " ▲ FORK STORM: 900/s by make"


def test_what_the_source_can_not_see_is_a_dash_and_not_zero() -> None:
    model = Model(terminal(200), blind={"failures", "zombies", "copies", "cpu", "tables"})
    lines = frame(busy_host(BLIND), model, 200).text().splitlines()

    assert lines[2].split()[:4] == ["exits/s", "23", *lines[2].split()[2:4]]
    assert "failed/s      -  " in lines[2]
    assert "zombies       -  " in lines[2]
    row = dict(zip(lines[4].split(), lines[5].split(), strict=False))
    assert (row["FAILED"], row["ZOMBIES"], row["ALIVE"]) == ("-", "-", "1")
    assert "CPU" not in row
    assert "COPIES" not in row


def test_before_the_first_second_is_over_nothing_is_known() -> None:
    story = Story()
    story.existing(1)
    lines = frame(story.window(until=0.4), Model(terminal())).text().splitlines()

    assert lines[1].split() == ["forks/s", "-", "alive", "1"]
    assert "nothing was born in the last 10 seconds" in "\n".join(lines)


def test_sorting() -> None:
    window, model = busy_host(), Model(terminal(200))
    first = {}
    for _ in range(7):
        lines = frame(window, model, 200, 30).text().splitlines()
        at = next(i for i, line in enumerate(lines) if line.strip() == "COMMANDS")
        first[model.view.sort] = lines[at + 1][118:].strip()
        model.view.press("s")

    assert first["forks"] == "as -o …"
    assert first["zombies"] == "watchdogd --respawn"
    assert first["alive"] == "ld -o program"
    assert first["name"] == "/usr/bin/worker --fast"
    assert model.view.sort == "forks"


def test_sorting_the_tree() -> None:
    model = Model(terminal())
    model.view.mode, model.view.sort = "tree", "name"
    lines = frame(busy_host(), model).text().splitlines()

    names = [line[36:] for line in lines if "─" in line or "├" in line or "└" in line]
    assert names[:4] == ["├ -bash", "│ └ make -j3", "│   ├ as -o …", "│   ├ cc -c …"]
    assert names[-2:] == ["  ├ /usr/bin/worker --fast", "  └ watchdogd --respawn"]


def test_a_filter_keeps_those_above_what_it_finds() -> None:
    window, model = busy_host(), Model(terminal())
    text = press(model, window, "t", "/", *"WORK", "enter").text()

    assert "worker" in text
    assert "watchdogd" in text
    assert "cc -c" not in text
    assert "filter: WORK" in text
    assert "cc -c" in press(model, window, "esc").text()


def test_a_filter_that_finds_nothing_says_so() -> None:
    text = press(Model(terminal()), busy_host(), "/", *"no such", "enter").text()

    assert "nothing here has 'no such' in it" in text


def test_a_filter_finds_pids_and_control_groups() -> None:
    assert "make -j3" in press(Model(terminal()), busy_host(), "/", *"401", "enter").text()
    assert "make -j3" in press(Model(terminal()), busy_host(), "/", *"user.slice", "enter").text()


def test_the_selection_stays_with_its_command_when_rows_change_places() -> None:
    window, model = busy_host(), Model(terminal())
    press(model, window, "down", "down", "down")
    chosen = model.view.chosen()
    assert chosen == ("template", "cc -c …")
    found = press(model, window, "s", "s", "s", "s")

    assert model.view.chosen() == chosen
    assert found.selected is not None
    assert "cc -c …" in "".join(text for text, _ in found.rows[found.selected])


def many(n: int) -> Story:
    story = Story()
    story.existing(1, comm="init")
    for k in range(n):
        story.run(1 + k / 100, 100 + k, 1, f"tool{k:02d}", lasts=0.001)
    return story


def test_what_does_not_fit_is_counted_and_can_be_had() -> None:
    window, model = many(40).window(until=5), Model(terminal())
    text = frame(window, model).text()
    assert "… 31 more" in text
    press(model, window, "down", *["down"] * 9)
    assert model.view.chosen() == ("more", "template")
    text = press(model, window, "enter").text()

    assert "more\n" not in text.replace("enter more", "")
    found = press(model, window, "end")
    assert "tool39" in found.text()
    assert "BUSIEST ANCESTORS" in press(model, window, "home").text()


def test_page_keys_walk_through_long_lists() -> None:
    window, model = many(40).window(until=5), Model(terminal())
    press(model, window, "t")
    seen = []
    for _ in range(4):
        found = press(model, window, "pgdn")
        assert found.selected is not None
        seen.append("".join(text for text, _ in found.rows[found.selected]).split()[-1])
    assert seen == ["tool14", "tool29", "tool39", "tool39"]
    found = press(model, window, "pgup")
    assert found.selected is not None
    assert "tool24" in "".join(text for text, _ in found.rows[found.selected])


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("mode", ["top", "tree"])
def test_hostile_names_are_inert(mode: str, unicode: bool) -> None:
    story = Story()
    story.existing(1, comm="\x1b]0;init\x07", cgroup="/\x1b[2J\n", argv=["\x1b[31minit", "\n"])
    for k, name in enumerate(HOSTILE):
        story.fork(1.0, 100 + k, 1, comm=name[:15])
        story.exec(1.1, 100 + k, name, *HOSTILE)
        story.row(Kind.FORK_FAILED, 1.5, 100 + k, error="EAGAIN", cause=name)
    window = story.window(until=3)
    for width in (20, 80, 200):
        model = Model(terminal(width, unicode=unicode))
        model.view.mode = mode
        scene = Scene(what=HOSTILE[0], finding=HOSTILE[2], message=HOSTILE[3])
        painted = Screen().paint(frame(window, model, width, scene=scene), width, 24, fresh=True).decode()
        for word in ("\x1b[31m\x1b", "\x1b]", "\x9b", "\u202e", "\x07"):
            assert word not in painted
        for _ in range(4):
            press(model, window, "down", "enter", "enter", width=width)


@settings(max_examples=60)
@given(
    st.integers(1, 220),
    st.integers(1, 60),
    st.lists(st.sampled_from([*"qtsS/?xw ", "up", "down", "pgdn", "end", "enter", "esc", "space", "backspace"])),
    st.booleans(),
)
def test_whatever_is_pressed_at_whatever_size_a_frame_fits(
    width: int, height: int, keys: list[str], unicode: bool
) -> None:
    press(Model(terminal(width, unicode=unicode)), WINDOW, *keys, width=width, height=height)


def test_a_frame_of_nothing() -> None:
    model = Model(terminal())

    assert len(model.frame(Snapshot(), SCENE, 80, 24).rows) == 24


def test_only_rows_that_changed_are_written() -> None:
    window, model, screen = busy_host(), Model(terminal()), Screen()
    first = screen.paint(frame(window, model), 80, 24, fresh=True)
    assert screen.paint(frame(window, model), 80, 24) == b""
    second = screen.paint(frame(window, model, scene=Scene(what=SCENE.what, clock="14:02:12", can_save=True)), 80, 24)

    assert b"14:02:12" in second
    assert b"make" not in second
    assert len(second) < len(first) / 5
    assert b"make" in screen.paint(frame(window, model), 80, 24, fresh=True)


def test_without_colours_no_style_is_written() -> None:
    model = Model(terminal())
    painted = Screen(color=False).paint(press(model, busy_host(), "down"), 80, 24, fresh=True)

    assert set(re.findall(rb"\x1b\[[0-9;]*m", painted)) == {b"\x1b[0m"}


def test_a_chosen_line_is_seen_without_colours_too() -> None:
    model = Model(terminal())
    found = press(model, busy_host(), "down")

    assert found.selected is not None
    assert found.rows[found.selected][0][0].startswith("›")


def test_counts_of_the_lists_are_of_what_happened() -> None:
    model = Model(terminal())
    groups = {group.label: group for group in snapshot(busy_host(ALL), model).groups["template"]}

    assert groups["/usr/bin/worker --fast"].forks == 20
    assert groups["/usr/bin/worker --fast"].statuses == {3: 20}


WINDOW = busy_host()
