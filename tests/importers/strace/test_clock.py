"""Stamps to times: midnights, steps back, and the order of lines that are out of order."""

from __future__ import annotations

from tracer.importers.strace.clock import Clock
from tracer.importers.strace.lexer import TIME_EPOCH, TIME_NONE, TIME_OF_DAY, TIME_RELATIVE, Prefix

_S = 1_000_000_000
_DAY = 86_400 * _S


def at(clock: Clock, kind: int, ns: int, task_ns: int | None = None) -> int | None:
    return clock.at(Prefix(1, False, None, kind, ns, ns if kind == TIME_RELATIVE else None, 0), task_ns)


def test_an_epoch_stands_as_it_is() -> None:
    clock = Clock()

    assert [at(clock, TIME_EPOCH, ns) for ns in (5 * _S, 7 * _S)] == [5 * _S, 7 * _S]


def test_midnights_are_crossed() -> None:
    clock = Clock()

    times = [at(clock, TIME_OF_DAY, hour * 3600 * _S) for hour in (23, 1, 12, 23, 0)]

    assert times == [hour * 3600 * _S for hour in (23, 25, 36, 47, 48)]


def test_another_task_s_line_from_before_midnight() -> None:
    clock = Clock()
    clock.at(Prefix(1, False, None, TIME_OF_DAY, _DAY - 5, None, 0), None)
    after = at(clock, TIME_OF_DAY, 3)

    assert after == _DAY + 3
    assert at(clock, TIME_OF_DAY, _DAY - 2) == _DAY - 2
    assert at(clock, TIME_OF_DAY, 4) == _DAY + 4


def test_steps_of_one_task_are_never_back() -> None:
    clock = Clock()
    first = at(clock, TIME_EPOCH, 100 * _S)

    second = at(clock, TIME_EPOCH, 40 * _S, first)
    third = at(clock, TIME_EPOCH, 41 * _S, second)

    assert (first, second, third) == (100 * _S, 100 * _S, 101 * _S)
    assert clock.steps_back == 1


def test_a_line_out_of_order_is_no_step_back() -> None:
    clock = Clock()
    at(clock, TIME_EPOCH, 100 * _S)

    assert at(clock, TIME_EPOCH, 99 * _S, 98 * _S) == 99 * _S
    assert clock.steps_back == 0


def test_steps_are_summed() -> None:
    clock = Clock()

    assert [at(clock, TIME_RELATIVE, ns) for ns in (0, 5, 7)] == [0, 5, 12]


def test_what_has_no_time_and_what_has_another_sort_of_time() -> None:
    clock = Clock()

    assert at(clock, TIME_NONE, 0) is None
    assert at(clock, TIME_EPOCH, _S) == _S
    assert at(clock, TIME_OF_DAY, _S) is None
    assert clock.mixed


def test_a_base_is_added() -> None:
    clock = Clock(_DAY)

    assert at(clock, TIME_OF_DAY, 5) == _DAY + 5
