from __future__ import annotations

from collections import Counter

import pytest

from tracer.storms.signs import shape
from tracer.window.lineage import Tally


def tally(forks: int, execs: int, **statuses: int) -> Tally:
    result = Tally()
    result.forks, result.execs = forks, execs
    result.statuses = Counter({int(name[1:]): n for name, n in statuses.items()})
    return result


@pytest.mark.parametrize(
    ("comm", "execs", "statuses", "expected"),
    [
        ("bash", 1000, {"s0": 1000}, "shell loop"),
        ("bash", 2, {"s0": 1000}, "fork without exec"),  # started by it, or its own subshells: no program is
        ("server", 2, {"s0": 1000}, "fork without exec"),
        ("server", 1000, {"s0": 1000}, "fan-out"),
        ("bash", 1000, {"s3": 1000}, "respawn"),
    ],
)
def test_what_is_born_below_one_ancestor_has_a_shape(
    comm: str, execs: int, statuses: dict[str, int], expected: str
) -> None:
    whole = tally(1000, execs, **statuses)

    assert shape(whole, [("true", whole)], comm, generations=1, makers=1, alive=3) == expected


def test_births_by_the_born_are_a_chain_or_a_bomb() -> None:
    whole = tally(1000, 0, s0=500)

    assert shape(whole, [], "x", generations=500, makers=1, alive=1) == "chain"
    assert shape(whole, [], "x", generations=1, makers=200, alive=500) == "fork bomb"
