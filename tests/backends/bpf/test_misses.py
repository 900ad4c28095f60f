"""The bound on what is lost by skipped programs, from the misses that the copies of a program counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import pytest

from tests.conftest import need
from tracer.backends import Options
from tracer.backends.bpf import host, objects
from tracer.backends.bpf.libbpf import BpfObject
from tracer.backends.bpf.misses import EVENTS, Misses


class Fake:
    """A copy whose program was skipped as often as the script says, reading by reading."""

    def __init__(self, *counts: int | None, program: str = "on_newtask") -> None:
        self._counts = list(counts)
        self._program = program

    def programs(self) -> Iterable[tuple[str, str]]:
        yield self._program, "tp_btf/something"

    def misses(self, program: str) -> int | None:
        assert program == self._program
        return self._counts.pop(0)


def bounds(first: Fake, second: Fake | None, readings: int) -> list[dict[str, int]]:
    misses = Misses()
    misses.watch("lifecycle", cast(BpfObject, first), [cast(BpfObject, second)] if second is not None else [])
    return [misses.lost() for _ in range(readings)]


def test_what_one_program_missed_is_lost() -> None:
    assert bounds(Fake(0, 3, 3, 10), None, 4) == [{}, {"births": 3}, {}, {"births": 7}]


def test_what_only_the_first_of_two_missed_is_not_lost() -> None:
    assert bounds(Fake(5, 900, 901), Fake(0, 0, 0), 3) == [{}, {}, {}]


def test_of_two_copies_the_one_that_missed_less_is_the_bound() -> None:
    assert bounds(Fake(5, 9), Fake(2, 2), 2) == [{"births": 2}, {}]


def test_one_event_whose_misses_fall_on_both_sides_of_a_reading_is_lost() -> None:
    """The first copy's was counted before the reading, the second's behind it."""
    assert bounds(Fake(1, 1), Fake(0, 1), 2) == [{}, {"births": 1}]


def test_old_misses_of_the_first_do_not_make_later_ones_of_the_second_a_loss() -> None:
    assert bounds(Fake(4, 4, 4), Fake(0, 0, 3), 3) == [{}, {}, {}]


def test_what_the_kernel_does_not_say_is_no_loss() -> None:
    assert bounds(Fake(None, None), None, 2) == [{}, {}]


def test_an_object_that_is_closed_is_not_read() -> None:
    misses = Misses()
    misses.watch("failures", cast(BpfObject, Fake(program="on_sys_exit")))
    misses.forget("failures")

    assert misses.lost() == {}


@pytest.mark.kernel
def test_the_kernel_says_how_often_a_program_was_skipped() -> None:
    need("bpf")
    walks = BpfObject(objects.probe_object("attach"))
    walks.load()
    try:
        assert walks.misses("find_alive") == 0
    finally:
        walks.close()


@pytest.mark.kernel
def test_hot_programs_exist_and_their_loss_has_a_name() -> None:
    for name, (hot, *further) in objects.HOT.items():
        obj = BpfObject(objects.probe_object(name))
        assert hot <= {program for program, _ in obj.programs()}
        obj.close()
        assert all(third <= hot for third in further)
        assert hot - {"on_dirty_page", "on_exit_old"} <= {program for n, program in EVENTS if n == name}


@pytest.mark.kernel
def test_second_copies_count_and_record_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded where no program is skipped as well: all the second ones see that the first ones ran."""
    need("bpf", "bash")
    import tracer
    from tests.programs import cow

    words = [str(cow.build("contention")), "300", "3", "2", "1"]
    monkeypatch.setattr(host, "has_preemptible_tracepoints", lambda: False)
    one = tracer.run(words, backend="bpf", failures=True)
    monkeypatch.setattr(host, "has_preemptible_tracepoints", host.has_group_dead)
    two = tracer.run(words, backend="bpf", failures=True)

    assert Options().cow == "full"
    for trace in (one, two):
        rows = trace.processes.to_dict("records")
        assert [row["exit_code"] for row in rows] == [0, *[7] * 6]
        assert all(300 <= row["cow_copies"] <= 316 for row in rows[1:])
        assert all(row["reap_ns"] for row in rows[1:])
        assert not trace.tree.losses
    columns = ["threads", "execs", "file_copies", "zero_copies", "mkwrites", "failed_wp"]
    assert two.processes[columns].to_dict("records") == one.processes[columns].to_dict("records")
