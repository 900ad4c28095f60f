"""One cell of the matrix: printed by a check in a guest as a line of JSON, read from its output outside."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

_KEY: Final = "cell"


class Cell(NamedTuple):
    """`ok`: whether it works; None where this kernel or host does not offer it, and `note` says why."""

    name: str
    ok: bool | None
    note: str = ""
    seconds: float = 0.0


class NotOfferedError(Exception):
    """What is checked cannot be had here, and does not pretend otherwise."""


def emit(cell: Cell) -> None:
    """One line, in one write: threads may emit at once."""
    print(json.dumps({_KEY: cell.name, **cell._asdict()}) + "\n", end="", flush=True)


def parse(output: Iterable[str]) -> list[Cell]:
    """The cells among lines of output; what else a guest says is left out."""
    cells = []
    for line in output:
        if line.startswith(f'{{"{_KEY}": '):
            fields = json.loads(line)
            cells.append(Cell(*(fields[name] for name in Cell._fields)))
    return cells


def check(name: str, do: Callable[[], str]) -> None:
    """Emit the cell of a check, which returns a note or raises: an error of any kind is a cell too."""
    started = time.monotonic()
    try:
        ok, note = True, do()
    except NotOfferedError as e:
        ok, note = None, str(e)
    except Exception as e:  # the other checks must be made all the same
        ok, note = False, f"{getattr(e, 'message', '') or f'{type(e).__name__}: {e}'}"
    emit(Cell(name, ok, " ".join(note.split())[:400], round(time.monotonic() - started, 1)))
