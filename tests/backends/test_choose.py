"""The ladder, with backends of straw: which is taken for what was asked, and what is said of the others."""

from __future__ import annotations

from typing import Any

import pytest

from tracer import backends
from tracer.backends import Options, Readiness, cover
from tracer.errors import BackendError, NoPermissionError, UsageError
from tracer.model.meta import Fact
from tracer.model.process_filter import Match

RICH = frozenset({Fact.ARGV, Fact.STATUS, Fact.FLAGS, Fact.CPU})
BARE = frozenset({Fact.ARGV, Fact.STATUS})


class Straw:
    """Sees `sees`, with -e fail one thing more, and of the whole host nothing unless `host`."""

    sees: frozenset[str] = RICH
    host = True

    @classmethod
    def cover(cls, options: Options) -> frozenset[str]:
        if options.everyone and not cls.host:
            return frozenset()
        return cls.sees | ({Fact.FORK_FAILED} if options.failures else set())


@pytest.fixture
def ladder(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Readiness, type[Straw]]]:
    """Fill it: name -> readiness, class."""
    rungs: dict[str, tuple[Readiness, type[Straw]]] = {}
    monkeypatch.setattr(backends, "BACKENDS", rungs)
    monkeypatch.setattr(backends, "readiness", lambda name: rungs[name][0])
    monkeypatch.setattr(backends, "load", lambda name: rungs[name][1])
    return rungs


def straw(**attributes: object) -> type[Straw]:
    return type("Straw", (Straw,), attributes)


READY = Readiness(True)
TIRED = Readiness(False, "it is tired", "wake it")
Ladder = dict[str, tuple[Readiness, type[Straw]]]


def tried(*words: Any, **named: Any) -> list[object]:
    return list(backends.candidates(*words, **named))


def test_the_order_is_the_designs() -> None:
    assert backends.BACKENDS == ("bpf", "bcc", "netlink", "strace")


def test_the_first_that_is_ready_comes_first_and_the_others_follow(ladder: Ladder) -> None:
    one, two, three = straw(), straw(), straw()
    ladder.update(one=(TIRED, one), two=(READY, two), three=(READY, three))
    passed: list[str] = []

    assert tried(passed=passed) == [two, three]
    assert passed == ["one: it is tired"]


def test_one_that_sees_neither_how_nor_what_was_used_comes_last(ladder: Ladder) -> None:
    blind, other = straw(sees=BARE), straw()
    ladder.update(blind=(READY, blind), other=(READY, other))
    passed: list[str] = []

    assert tried(passed=passed) == [other, blind]
    assert passed == ["blind sees no cpu or flags here"]
    ladder.update(other=(TIRED, other))
    assert tried() == [blind]


def test_what_is_needed_decides(ladder: Ladder) -> None:
    poor, rich = straw(), straw(sees=RICH | {Fact.COW})
    ladder.update(poor=(READY, poor), rich=(READY, rich))

    assert tried(need={Fact.COW}) == [rich]
    assert tried(need={Fact.ARGV}) == [poor, rich]
    assert tried(need={Fact.FORK_FAILED}, options=Options(failures=True)) == [poor, rich]


def test_when_none_will_do_each_is_named_with_why_not_and_what_mends_it(ladder: Ladder) -> None:
    ladder.update(one=(TIRED, straw()), two=(READY, straw()), three=(READY, straw(host=False)))
    with pytest.raises(BackendError) as caught:
        tried(need={Fact.FORK_FAILED, Fact.COW})

    assert caught.value.message == (
        "no backend sees cow, fork_failed here: one: it is tired (wake it);"
        " two does not see cow, fork_failed (it would, with -e fail);"
        " three does not see cow, fork_failed (it would, with -e fail)"
    )
    ladder.pop("two")
    with pytest.raises(BackendError, match=r"no backend is ready here: .*; three can not watch the whole host"):
        tried(options=Options(everyone=True))


def test_where_one_would_do_for_who_has_the_privilege_that_is_what_is_missing(ladder: Ladder) -> None:
    barred = Readiness(False, "it is for root", "sudo it", privilege=True)
    ladder.update(one=(barred, straw()), two=(TIRED, straw()))
    with pytest.raises(NoPermissionError) as caught:
        tried()

    assert caught.value.exit_status == 77
    assert caught.value.message == "no backend is ready here: one: it is for root (sudo it); two: it is tired (wake it)"
    assert caught.value.mend == "sudo it"
    with pytest.raises(BackendError):  # root would be no help
        tried(need={Fact.ZOMBIES})
    ladder.update(two=(READY, two := straw()))
    assert tried() == [two]


def test_one_that_is_named_is_taken_ready_or_not_unless_it_can_not_see_what_is_needed(ladder: Ladder) -> None:
    one = straw()
    ladder.update(one=(TIRED, one))

    assert tried("one") == [one]
    assert tried("one", {Fact.CPU}) == [one]
    with pytest.raises(BackendError, match="one does not see zombies"):
        tried("one", {Fact.ZOMBIES})


@pytest.mark.parametrize("name", ["bcc", "netlink", "strace"])
def test_who_can_not_match_is_not_taken_for_it_named_or_not(name: str) -> None:
    """Or it would watch nobody, and say nothing."""
    options = Options(match=Match(comms=("x",)))

    assert backends.load("bpf").cover(options)
    with pytest.raises(BackendError, match=f"{name} can not match by name or user"):
        tried(name, options=options)


def test_facts_are_known_by_name_and_a_word_that_is_none_lists_them() -> None:
    assert cover.named(["cow", "argv"]) == {Fact.COW, Fact.ARGV}
    with pytest.raises(UsageError, match=r"no fact 'cows' to need; choose of: adoption, argv, .*zombies"):
        cover.named(["argv", "cows"])


@pytest.mark.parametrize("name", backends.BACKENDS)
@pytest.mark.parametrize("options", [Options(), Options(cow="off"), Options(failures=True, delayacct=True)])
def test_every_backend_declares_facts_that_there_are(name: str, options: Options) -> None:
    seen = backends.load(name).cover(options)

    assert seen <= set(Fact)
    assert Fact.STATUS in seen
    assert not (options.cow == "off" and {Fact.COW, Fact.WP_FAULTS, Fact.FORK_COST} & seen)


def test_every_fact_is_somebodys() -> None:
    everything = Options(failures=True, delayacct=True, cow_stacks=1)

    assert set().union(*(backends.load(name).cover(everything) for name in backends.BACKENDS)) == set(Fact)
