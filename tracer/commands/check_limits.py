"""Limits as words: `64MiB`, `50ms`, `200` on the command line, or the keys of a TOML file; what they say, in numbers.

    limit_of("max-cow", "64MiB")   -> 67108864
    budget_of("budget.toml")       -> {"max-cow": 67108864, ...}

Knows what limits there are from analyses/budget.py, and nothing of traces.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from tracer.analyses.budget import LIMITS
from tracer.errors import BadDataError
from tracer.host.toml_file import read_toml

_SIZES: Final = {"": 0, "B": 0, "K": 10, "KiB": 10, "M": 20, "MiB": 20, "G": 30, "GiB": 30}
_TIMES: Final = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
_NUMBER: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) ?([A-Za-zµ]*)")
_TABLE: Final = ("tool", "forktrace", "check")


def limit_of(name: str, value: object) -> int:
    """What `value` allows: a count, bytes or ns. Raises ValueError with a sentence."""
    unit = LIMITS[name].unit
    if unit == "count":
        word = str(value) if not isinstance(value, bool) else "?"
        if not re.fullmatch(r"[0-9]{1,12}", word, re.ASCII):
            raise ValueError(f"{value!r} is no number for {name}; give it as 200")
        return int(word)
    words = "64MiB" if unit == "bytes" else "50ms or 10s"
    found = _NUMBER.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if found is None:
        raise ValueError(f"{value!r} is no {_KINDS[unit]} for {name}; give it as {words}")
    number = Decimal(found[1])
    if unit == "bytes" and found[2] in _SIZES:
        return int(number * (1 << _SIZES[found[2]]))
    if unit == "ns" and (found[2] in _TIMES or not number):
        return int(number * _TIMES.get(found[2], 1))
    raise ValueError(f"{value!r} is no {_KINDS[unit]} for {name}; give it as {words}")


_KINDS: Final = {"bytes": "size", "ns": "time"}


def budget_of(path: str) -> dict[str, int]:
    """The limits of a TOML file. Raises NoInputError, BadDataError."""
    document: Any = read_toml(path, "give a TOML file with limits, as max-processes = 200")
    if Path(path).name == "pyproject.toml":
        for key in _TABLE:
            document = document.get(key) if isinstance(document, dict) else None
        if not isinstance(document, dict):
            raise BadDataError(f"{path} has no table [{'.'.join(_TABLE)}]", "put the limits there")
    return _limits(path, document)


def _limits(path: str, table: dict[str, Any]) -> dict[str, int]:
    limits = {}
    for key, value in table.items():
        if key not in LIMITS:
            raise BadDataError(f"{path} knows a limit {key!r} that there is not", f"there are {', '.join(LIMITS)}")
        if LIMITS[key].unit == "flag":
            if not isinstance(value, bool):
                raise BadDataError(f"{path}: {key} is {value!r}", "make it true or false")
            if value:
                limits[key] = 0
            continue
        try:
            limits[key] = limit_of(key, value)
        except ValueError as e:
            raise BadDataError(f"{path}: {e}") from None
    return limits
