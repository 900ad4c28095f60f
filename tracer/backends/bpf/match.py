"""What the probes are to match (match.h), as contents of their maps: {map: [(key, value)]}. Knows no object."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tracer.errors import UsageError
from tracer.model.process_filter import Match

CGROUP, COMM, EXE, UID = 1, 2, 4, 8
ANYWHERE, AT_ROOT = 1 << 31, 1 << 30
NAME: Final = 16
COMPONENT: Final = 60
GROUP_NAME: Final = 112
MAPS: Final = ("match_groups", "match_names", "match_comms", "match_uids", "match_exes")
_MOST: Final = 1024
_YES: Final = struct.pack("=I", 1)


def bits(match: Match) -> int:
    """ft_options.match."""
    kinds = ((CGROUP, match.groups), (COMM, match.comms), (EXE, match.exes), (UID, match.uids))
    return sum(bit for bit, given in kinds if given)


def controller(match: Match) -> str | None:
    """The v1 controller that all groups are told by; None: v2. Raises UsageError if they are of two hierarchies."""
    found = {group.controller for group in match.groups}
    if len(found) > 1:
        raise UsageError(
            f"{match.groups[0].directory} and {match.groups[-1].directory} are in two hierarchies of control groups",
            "name them all in one",
        )
    return next(iter(found), None)


def contents(match: Match) -> dict[str, list[tuple[bytes, bytes]]]:
    """Keys and values. Raises UsageError for more than the maps hold."""
    if max(map(len, (match.groups, match.comms, match.exes, match.uids))) > _MOST:
        raise UsageError(f"more than {_MOST} of a kind can not be matched", "name a group above them")
    return {
        "match_groups": [(struct.pack("=Q", group.number), _YES) for group in match.groups],
        "match_names": [
            (struct.pack(f"=Q{GROUP_NAME}s", group.above, name), _YES)
            for group in match.groups
            if group.above is not None and len(name := os.fsencode(group.directory.name)) < GROUP_NAME - 1
        ],
        "match_comms": [(os.fsencode(comm)[: NAME - 1].ljust(NAME, b"\0"), _YES) for comm in match.comms],
        "match_uids": [(struct.pack("=I", uid), _YES) for uid in match.uids],
        "match_exes": paths(match.exes),
    }


def paths(words: Iterable[str]) -> list[tuple[bytes, bytes]]:
    """A machine that reads a path's components from the last to the first; state 0 is the beginning."""
    moves: dict[tuple[int, bytes], int] = {}
    states = 0
    for word in words:
        for spelled in _spellings(word):
            at = 0
            parts = [part for part in os.fsencode(spelled).split(b"/") if part]
            for i, part in enumerate(reversed(parts)):
                key = (at, part[: COMPONENT - 1])
                if key not in moves:
                    states += 1
                    moves[key] = states
                at = moves[key] & ~(ANYWHERE | AT_ROOT)
                if i == len(parts) - 1:
                    moves[key] |= AT_ROOT if spelled.startswith("/") else ANYWHERE
    return [
        (struct.pack(f"=I{COMPONENT}s", state, part), struct.pack("=I", value))
        for (state, part), value in moves.items()
    ]


def _spellings(word: str) -> set[str]:
    """As given, and where links lead to, as the kernel knows what runs by its own path."""
    if "/" in word:
        given = os.path.normpath(os.path.join(os.getcwd(), word))  # noqa: PTH118, PTH109 - links are kept here
        return {given, os.path.realpath(given)}
    found = shutil.which(word)
    return {word} if found is None else {word, Path(found).resolve().name}
