"""The answer to one question about the host. Knows no question."""

from __future__ import annotations

from typing import NamedTuple


class Check(NamedTuple):
    """One feature of the host: is it there, what was seen, why it matters, and what puts it right.

    `ok` None is "could not be found out from here", never a guess. `mend` is a command or a sentence; None
    when there is nothing to mend, or nothing that can be done.
    """

    name: str
    ok: bool | None
    detail: str
    why: str
    mend: str | None = None


def yes(name: str, detail: str, why: str) -> Check:
    """It is there."""
    return Check(name, ok=True, detail=detail, why=why)


def no(name: str, detail: str, why: str, mend: str | None) -> Check:
    """It is missing."""
    return Check(name, ok=False, detail=detail, why=why, mend=mend)


def unknown(name: str, detail: str, why: str, mend: str | None = None) -> Check:
    """It could not be found out; `mend` is how it can be."""
    return Check(name, ok=None, detail=detail, why=why, mend=mend)
