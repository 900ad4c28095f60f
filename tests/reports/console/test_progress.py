"""The bar while something long is read."""

from __future__ import annotations

import io

from tracer.reports.console.progress import Progress
from tracer.reports.terminal import Terminal

TTY = Terminal(tty=True, width=60)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def bar(
    terminal: Terminal = TTY, name: str = "x.ftrace", stream: io.StringIO | None = None
) -> tuple[Progress, Clock, io.StringIO]:
    clock, page = Clock(), stream or io.StringIO()
    return Progress(name, stream=page, terminal=terminal, clock=clock), clock, page


def test_what_is_quick_needs_no_bar() -> None:
    progress, clock, page = bar()
    with progress:
        clock.now += 0.29
        progress(50, 100)

    assert page.getvalue() == ""


def test_a_bar_that_is_drawn_now_and_then_and_goes_away() -> None:
    progress, clock, page = bar()
    with progress:
        for position in (10, 25, 26, 27):
            clock.now += 0.31 if position < 26 else 0.01
            progress(position, 100)

    assert page.getvalue() == (
        "\r\x1b[2Kreading x.ftrace ━━──────────────────────  10%"
        "\r\x1b[2Kreading x.ftrace ━━━━━━──────────────────  25%"
        "\r\x1b[2K"
    )


def test_none_where_nobody_looks_and_none_of_an_unknown_size() -> None:
    for terminal, size in ((Terminal(tty=False), 100), (TTY, 0)):
        progress, clock, page = bar(terminal)
        clock.now += 9
        progress(50, size)
        progress.close()

        assert page.getvalue() == ""


def test_a_long_odd_name_stays_on_its_line() -> None:
    progress, clock, page = bar(Terminal(tty=True, width=50, unicode=False), "\x1b[2J" + "n" * 99)
    clock.now += 9
    progress(1000, 100)
    line = page.getvalue().removeprefix("\r\x1b[2K")

    assert line.isprintable() and line.isascii() and len(line) < 50
    assert line.endswith("... ######################## 100%")


def test_a_bar_is_not_worth_an_error() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    progress, clock, _ = bar(stream=Gone())
    clock.now += 9
    progress(1, 2)
    clock.now += 9
    progress(2, 2)
    progress.close()
