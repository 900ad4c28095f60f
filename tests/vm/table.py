"""docs/kernels.md from the cells of a run: a column a kernel, a row a feature, and what refused cells said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tests.vm.inside.cells import Cell
from tests.vm.runner import Result

_HEAD: Final = """# Kernels

Made by `./run matrix`, which boots each kernel and runs every check in it; not edited by hand. Each column is the
latest kernel of its line in Debian on the day of the run. Run of {date}, forktrace {version}.

**yes**: the check ran, and its numbers were right. **no**: refused or wrong. **-**: this kernel does not offer it, and
forktrace says so (such columns are null in a trace). What a kernel said stands below, by number.

"""
_TITLES: Final = {
    "load": "probe programs that load",
    "tree": "bpf: tree, statuses, flags, reaps",
    "copies": "bpf: copies (`--cow full`)",
    "copies by mapping": "bpf: copies by mapping",
    "samples": "bpf: samples by their own truth",
    "contention": "bpf: contention, counted + lost = true",
    "pagemap": "bpf: copy classes against pagemap",
    "bcc": "bcc: tree",
    "netlink": "netlink: tree",
    "strace": "strace: tree",
    "doctor": "doctor chooses what a run takes",
}
_ORDER: Final = ("load", "tree", "copies", "copies by mapping", "pagemap", "contention", "samples")


def title(name: str) -> str:
    """A row's first column."""
    return _TITLES.get(name, f"bpf: `{name}`")


def rows(results: Iterable[Result]) -> list[str]:
    """The names of all cells, in the order of the table."""
    names: dict[str, None] = dict.fromkeys(_ORDER)
    for result in results:
        names.update(dict.fromkeys(cell.name for cell in result.cells if not cell.name.startswith("load ")))
    return list(names)


class Notes:
    """Numbered sentences; the same one gets its number once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> str:
        """`[N]`, to stand behind a cell."""
        return f"[{self._numbers.setdefault(text, len(self._numbers) + 1)}]"

    def lines(self) -> list[str]:
        """`N. sentence`."""
        return [f"{number}. {_escaped(text)}" for text, number in self._numbers.items()]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def entry(result: Result, name: str, notes: Notes) -> str:
    """What stands in the table for a kernel and a feature."""
    if name == "load":
        return _loads(result, notes)
    cell = next((cell for cell in result.cells if cell.name == name), None)
    if cell is None:
        return f"no {notes.number(result.error or 'the check gave no answer')}"
    if cell.ok:
        return "yes"
    return f"{'no' if cell.ok is False else '-'} {notes.number(cell.note or 'no reason was given')}"


def _loads(result: Result, notes: Notes) -> str:
    cells = [cell for cell in result.cells if cell.name.startswith("load ")]
    whole = next((cell for cell in result.cells if cell.name == "load"), None)
    if whole is None or not whole.ok:  # not even the maps that all objects share
        answer = "-" if whole is not None and whole.ok is None else "no"
        return f"{answer} {notes.number((whole.note if whole else '') or result.error or 'none was tried')}"
    refused: list[Cell] = [cell for cell in cells if not cell.ok]
    count = f"{len(cells) - len(refused)} of {len(cells)}"
    if not refused:
        return count
    text = "; ".join(f"`{cell.name.removeprefix('load ')}`: {cell.note}" for cell in refused)
    return f"{count} {notes.number(text)}"


def document(results: Sequence[Result], *, date: str, version: str) -> str:
    """The whole page."""
    notes = Notes()
    table = [["", *(_column(result) for result in results)]]
    table += [[title(name), *(entry(result, name, notes) for result in results)] for name in rows(results)]
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in table
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    booted = [f"- {_column(result)}: `{result.kernel}` ({result.version})" for result in results if result.kernel]
    said = ["", "## What was refused", "", *notes.lines()] if notes.lines() else []
    page = [*lines, "", "## Kernels that were booted", "", *booted, *said]
    return _HEAD.format(date=date, version=version) + "\n".join(page) + "\n"


def _column(result: Result) -> str:
    line = ".".join(result.version.split(".")[:2]) or result.word
    return line + (" arm64" if result.kernel.endswith("arm64") else "")
