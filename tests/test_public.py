"""What `import tracer` promises: every public name is listed, in order, documented, and nothing else is."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import tracer


def own_names() -> set[str]:
    """Classes and functions of this project that the package shows without an underscore."""
    return {
        name
        for name, value in vars(tracer).items()
        if not name.startswith("_") and getattr(value, "__module__", "").partition(".")[0] == "tracer"
    }


def documented_things() -> Iterator[tuple[str, object]]:
    """The public classes and functions, and the public methods and properties that their classes define."""
    for name in tracer.__all__:
        value = getattr(tracer, name)
        if inspect.isroutine(value):
            yield name, value
        elif inspect.isclass(value):
            yield name, value
            for member, inner in vars(value).items():
                if not member.startswith("_") and (inspect.isroutine(inner) or isinstance(inner, property)):
                    yield f"{name}.{member}", inner


def test_all_is_sorted_and_says_nothing_twice() -> None:
    assert tracer.__all__ == sorted(set(tracer.__all__))


def test_all_is_complete() -> None:
    assert own_names() <= set(tracer.__all__)


def test_every_name_is_there() -> None:
    missing = [name for name in tracer.__all__ if not hasattr(tracer, name)]

    assert not missing


def test_every_name_is_found_by_completion() -> None:
    assert set(tracer.__all__) <= set(dir(tracer))


def test_everything_public_says_what_it_is() -> None:
    silent = [name for name, value in documented_things() if not (inspect.getdoc(value) or "").strip()]

    assert not silent


def test_a_star_import_brings_just_that() -> None:
    names: dict[str, object] = {}
    exec("from tracer import *", names)

    assert set(names) - {"__builtins__"} == set(tracer.__all__)
