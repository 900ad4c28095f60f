from __future__ import annotations

import pickle

import pytest

from tracer.model.frozen import record, replace


@record
class Point:
    x: int
    y: int = 2
    label: str | None = None

    @property
    def total(self) -> int:
        return self.x + self.y


@record
class Other:
    x: int
    y: int = 2
    label: str | None = None


def test_fields_by_place_by_name_and_by_default() -> None:
    for one in (Point(1, 2, None), Point(1), Point(x=1), Point(1, y=2), Point(label=None, x=1)):
        assert (one.x, one.y, one.label, one.total) == (1, 2, None, 3)


def test_equal_by_class_and_fields() -> None:
    assert Point(1) == Point(1, 2)
    assert Point(1) != Point(1, 3)
    others: list[object] = [Other(1), (1, 2, None)]
    assert Point(1) not in others
    assert len({Point(1), Point(1, 2), Point(2)}) == 2


def test_it_stays_as_it_is() -> None:
    one = Point(1)
    with pytest.raises(AttributeError, match="can not be changed: x"):
        one.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="can not be changed: y"):
        del one.y
    assert replace(one, y=5) == Point(1, 5)
    assert one == Point(1)


def test_it_says_what_it_is_and_can_be_stored() -> None:
    assert repr(Point(1, label="a")) == "Point(x=1, y=2, label='a')"
    assert pickle.loads(pickle.dumps(Point(4))) == Point(4)


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), ((1, 2, None, 4), {}), ((1,), {"x": 1}), ((1,), {"z": 1}), ((), {"y": 1})],
    ids=["none", "more", "twice", "unknown", "lacking"],
)
def test_a_wrong_field_is_an_error(values: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises(TypeError, match=r"Point (takes|lacks) x"):
        Point(*values, **named)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes x, y, label"):
        replace(Point(1), z=1)
