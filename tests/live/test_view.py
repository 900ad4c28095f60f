"""What keys do to what a user has set."""

from __future__ import annotations

import pytest

from tracer.live.view import Act, View


def pressed(*keys: str, items: tuple[str, ...] = ("a", "b", "c")) -> View:
    view = View(items=items)
    for key in keys:
        view.press(key)
    return view


@pytest.mark.parametrize(
    ("key", "act"),
    [
        ("q", Act.QUIT),
        ("w", Act.SAVE),
        ("space", Act.PAUSE),
        ("ctrl-l", Act.REDRAW),
        ("f", Act.OTHER),
        ("left", Act.OTHER),
        ("t", None),
        ("?", None),
    ],
)
def test_what_is_asked_of_others(key: str, act: Act | None) -> None:
    assert View().press(key) is act


def test_while_a_filter_is_typed_keys_are_letters() -> None:
    view = View()
    assert [view.press(key) for key in ("/", "q", "w", "space", "?", "ü")] == [None] * 6

    assert view.filter == "qw ?ü"
    view.press("backspace")
    assert (view.filter, view.typing) == ("qw ?", True)
    view.press("ctrl-u")
    assert view.filter == ""


def test_esc_while_typing_leaves_the_filter_as_it_was() -> None:
    view = pressed("/", "x", "enter", "/", "y", "esc")

    assert (view.filter, view.typing) == ("x", False)


def test_esc_takes_one_thing_away_at_a_time() -> None:
    view = pressed("/", "x", "enter", "enter", "?")
    assert (view.help, view.details, view.filter) == (True, True, "x")
    view.press("esc")
    assert (view.help, view.details) == (False, True)
    view.press("esc")
    assert (view.details, view.filter) == (False, "x")
    view.press("esc")
    assert view.filter == ""


def test_choosing_stops_at_both_ends() -> None:
    assert pressed("up").selected == "a"
    assert pressed("down").selected == "b"
    assert pressed("pgdn").selected == "c"
    assert pressed("end", "down", "k").selected == "b"
    assert pressed("down", items=()).selected is None


def test_a_chosen_line_that_has_gone_gives_its_place_to_another() -> None:
    view = pressed("down", "down")
    view.now_shown(("a", "b"))
    assert view.selected == "b"
    view.now_shown(("d", "e", "f"))
    assert str(view.selected) == "e"


def test_pause_is_told_and_shown() -> None:
    view = View()
    assert (view.press("space"), view.paused, view.press("space"), view.paused) == (Act.PAUSE, True, Act.PAUSE, False)


def test_sorting_goes_round_both_ways() -> None:
    assert pressed("s").sort == "execs"
    assert pressed("S").sort == "name"
    assert pressed("s", "S").sort == "forks"


def test_another_mode_begins_at_its_top() -> None:
    view = pressed("down", "enter", "t")

    assert (view.mode, view.selected, view.details) == ("tree", None, False)


def test_a_filter_has_an_end() -> None:
    assert len(pressed("/", *"x" * 500).filter) == 200
