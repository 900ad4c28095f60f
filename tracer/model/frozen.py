"""Frozen records of named fields, as @dataclass(frozen=True) makes them, at no cost where they are declared.

dataclasses compiles six functions a class, 1 ms each time, and imports inspect, 8 ms; a report has thirty such classes,
and a start is to take 0.2 s in all. Makes no mutable ones, no slots, no default that is made anew.
"""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """A class decorator: annotated names are fields, in order; what they are set to is their default.

    Instances are equal where class and fields are, and hashable where the fields are.
    """
    names = tuple(cls.__annotations__)
    defaults = {name: cls.__dict__[name] for name in names if name in cls.__dict__}
    known = frozenset(names)

    def init(self: Any, *values: Any, **named: Any) -> None:
        if len(values) == len(names) and not named:
            self.__dict__.update(zip(names, values, strict=True))
            return
        given = dict(zip(names, values, strict=False))
        if len(values) > len(names) or not known.issuperset(named) or not given.keys().isdisjoint(named):
            raise TypeError(f"{cls.__name__} takes {', '.join(names)}, each once")
        whole = defaults | given | named
        if len(whole) != len(names):
            raise TypeError(f"{cls.__name__} lacks {', '.join(name for name in names if name not in whole)}")
        self.__dict__.update((name, whole[name]) for name in names)

    for name, function in (
        ("__init__", init),
        ("__setattr__", _frozen),
        ("__delattr__", _frozen),
        ("__eq__", _equal),
        ("__hash__", _hash),
    ):
        setattr(cls, name, function)
    if cls.__repr__ is object.__repr__:
        cls.__repr__ = _repr  # type: ignore[method-assign]
    return cls


def replace(one: T, **changes: Any) -> T:
    """A record like `one` with other values in some fields. Raises TypeError for a name that is none of its fields."""
    return type(one)(**{**one.__dict__, **changes})


def _frozen(self: object, name: str, *_: Any) -> NoReturn:
    raise AttributeError(f"a {type(self).__name__} can not be changed: {name}")


def _equal(self: object, other: object) -> bool:
    return self.__dict__ == other.__dict__ if type(self) is type(other) else NotImplemented


def _hash(self: object) -> int:
    return hash(tuple(self.__dict__.values()))


def _repr(self: object) -> str:
    return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"
