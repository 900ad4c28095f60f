"""The same sample under every backend: the same tree, up to what one of them can not see.

test_samples.py holds each trace against what the sample told; here they are held against each other, in all that both
see: a thing that no sample tells of must still not depend on who looked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests import samples
from tests.conftest import need
from tests.judge import FACT_OF, SNAPSHOT, cut
from tests.samples import Sample
from tests.test_samples import SAMPLES
from tracer.backends import BACKENDS
from tracer.model.meta import Fact
from tracer.model.schema import Kind

Row = Mapping[str, Any]

FIRST: Final = "bpf"
OTHERS: Final = tuple(name for name in BACKENDS if name != FIRST)

# Of a process itself; each must be equal where both see it.
OWN: Final = (
    "how",
    "syscall",
    "flags",
    "exe",
    "argv",
    "comm",
    "execs",
    "threads",
    "exit_code",
    "signal",
    "core_dumped",
)
FACTS: Final = {**FACT_OF, "how": Fact.FLAGS}
# Other processes, by what they are to it. Null where the source did not see who: then anything agrees.
WHO: Final = ("ppid", "creator_pid", "killed_by", "reaped_by")
KINDS: Final = (Kind.FORK, Kind.EXEC, Kind.EXIT, Kind.EXEC_FAILED, Kind.FORK_FAILED)


class Tree:
    """A trace without what differs from run to run: pids, times, folders."""

    def __init__(self, trace: Any, folder: Path) -> None:
        self.facts = trace.meta.facts
        self.rows: list[Row] = list(trace.tree.records())
        self.folder = str(folder)
        self.children: dict[int | None, list[Row]] = {}
        for row in self.rows:
            self.children.setdefault(row["parent_id"], []).append(row)
        # Tasks of the kernel's own in a process (io_uring) are no news to who asks a tracer.
        kinds = [e.kind for e in trace.events() if (e.last if e.kind == Kind.EXIT else e.pid == e.tid)]
        # Who looks into /proc after an exec may come too late. What was seen of a cut argv is a beginning.
        self.late = any(e.evidence == "snapshot" for e in trace.events() if e.kind == Kind.EXEC)
        self.scripts = {self._plain(row["exe"]) for row in self.rows if row["interpreter"]}
        self.kinds = {kind.name: kinds.count(kind) for kind in KINDS}

    def own(self, row: Row, columns: tuple[str, ...]) -> dict[str, Any]:
        """The columns that name no other process."""
        own = {name: self._plain(row[name]) for name in columns}
        if "argv" in own and own["exe"] in self.scripts:
            del own["argv"]  # as it was given, or as the kernel made it for the interpreter
        return own

    def who(self, row: Row, column: str) -> str | None:
        """What a process is to `row`."""
        pid = row[column]
        parent = next((r for r in self.rows if r["id"] == row["parent_id"]), None)
        near = {
            "itself": [row["pid"]],
            "parent": [parent["pid"]] if parent is not None else [],
            "forktrace": [os.getpid()],
            "grandparent": [parent["ppid"]] if parent is not None else [],
            "sibling": [r["pid"] for r in self.children.get(row["parent_id"], ())],
            "in the tree": [r["pid"] for r in self.rows],
        }
        return None if pid is None else next((name for name, pids in near.items() if pid in pids), "outside")

    def order(self, row: Row, columns: tuple[str, ...]) -> str:
        """A text that is the same for the same subtree: siblings that run side by side are born in any order."""
        below = sorted(self.order(child, columns) for child in self.children.get(row["id"], ()))
        return repr((self.own(row, columns), below))

    def below(self, parent: int | None, columns: tuple[str, ...]) -> list[Row]:
        """The children, by `order`."""
        return sorted(self.children.get(parent, ()), key=lambda row: self.order(row, columns))

    def _plain(self, value: Any) -> Any:
        if isinstance(value, str):
            return re.sub(r"(sample-)\w{6}", r"\1RANDOM", value.replace(self.folder, "FOLDER"))
        return [self._plain(v) for v in value] if isinstance(value, list) else value


def same(column: str, one: Any, other: Any, *, late: bool) -> bool:
    """Whether two values of a column agree."""
    if one == other or (late and column in SNAPSHOT and None in (one, other)):
        return True
    return column == "argv" and None not in (one, other) and (cut(one, other) or cut(other, one))


def pairs(
    one: Tree, other: Tree, columns: tuple[str, ...], parents: tuple[int | None, int | None] = (None, None)
) -> Iterator[tuple[Row, Row]]:
    """Rows that stand in the same place of the two trees, parents first. Of siblings, those that agree best."""
    left = other.below(parents[1], columns)
    for row in one.below(parents[0], columns):
        if not left:
            return
        own = one.own(row, columns)
        alike = [r for r in left[:50] if differing(own, other.own(r, columns), late=one.late or other.late) == []]
        n = len(one.children.get(row["id"], ()))
        best = next((r for r in alike if len(other.children.get(r["id"], ())) == n), alike[0] if alike else left[0])
        left.remove(best)
        yield row, best
        yield from pairs(one, other, columns, (row["id"], best["id"]))


def differing(one: Mapping[str, Any], other: Mapping[str, Any], *, late: bool) -> list[str]:
    """Columns of `Tree.own` in which two rows differ."""
    return [name for name in one if name in other and not same(name, one[name], other[name], late=late)]


def disagreements(one: Tree, other: Tree) -> list[str]:
    """One sentence for each thing that the two do not tell alike."""
    both = one.facts & other.facts
    one.scripts = other.scripts = one.scripts | other.scripts
    columns = tuple(name for name in OWN if name not in FACTS or FACTS[name] in both)
    wrong = []
    if len(one.rows) != len(other.rows):
        wrong.append(f"{len(one.rows)} processes, and {len(other.rows)}")
    for kind, count in one.kinds.items():
        if count != other.kinds[kind] and (kind == "EXEC" or "FAILED" not in kind or kind.lower() in both):
            wrong.append(f"{count} of {kind}, and {other.kinds[kind]}")
    for row, its in pairs(one, other, columns):
        children = [len(tree.children.get(r["id"], ())) for tree, r in ((one, row), (other, its))]
        if children[0] != children[1]:
            wrong.append(f"{row['comm']}: {children[0]} children, and {children[1]}")
        mine, theirs = one.own(row, columns), other.own(its, columns)
        for name in differing(mine, theirs, late=one.late or other.late):
            wrong.append(f"{row['comm']}: {name} is {mine[name]!r:.200}, and {theirs[name]!r:.200}")
        for name in WHO:
            pair = one.who(row, name), other.who(its, name)
            if None not in pair and pair[0] != pair[1] and FACTS.get(name, next(iter(both))) in both:
                wrong.append(f"{row['comm']}: {name} is {pair[0]}, and {pair[1]}")
    return wrong


TREES: dict[tuple[str, str], Tree] = {}  # by sample and backend


def tree_of(sample: Sample, backend: str, folders: pytest.TempPathFactory) -> Tree:
    """What one backend says of one sample."""
    key = (str(sample), backend)
    if key not in TREES:
        outcome = samples.once(sample, backend, folders)
        TREES[key] = Tree(outcome.trace, outcome.folder)
    return TREES[key]


@pytest.mark.kernel
@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.command != "storm 5003"], ids=str)
@pytest.mark.parametrize("other", OTHERS)
def test_they_agree(other: str, sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> None:
    need("cc", FIRST, other, *(["root"] if sample.root else []))

    wrong = disagreements(tree_of(sample, FIRST, tmp_path_factory), tree_of(sample, other, tmp_path_factory))

    assert not wrong, "\n".join([f"{FIRST} and {other}:", *wrong])


def test_a_difference_is_named(tmp_path: Path) -> None:
    """One that was made by hand in an otherwise equal trace."""
    need("cc", "strace")
    trace = samples.run(Sample("fan"), "strace", tmp_path).trace
    for column, value in (("exit_code", 99), ("comm", "other"), ("ppid", 1), ("reaped_by", 1)):
        one, other = Tree(trace, tmp_path), Tree(trace, tmp_path)
        assert not disagreements(one, other)
        other.rows[3] = {**other.rows[3], column: value}
        other.children[other.rows[3]["parent_id"]][2] = other.rows[3]

        assert disagreements(one, other), column


def test_a_process_below_another_parent_is_a_difference(tmp_path: Path) -> None:
    need("cc", "strace")
    trace = samples.run(Sample("chain"), "strace", tmp_path).trace
    one, other = Tree(trace, tmp_path), Tree(trace, tmp_path)
    last = other.rows[-1]
    other.children[last["parent_id"]].remove(last)
    other.children[other.rows[0]["id"]].append(last)

    assert any("children" in sentence for sentence in disagreements(one, other))


def test_what_was_looked_up_too_late_and_what_was_cut_is_none() -> None:
    assert same("argv", None, ["a"], late=True)
    assert not same("argv", None, ["a"], late=False)
    assert not same("exit_code", None, 1, late=True)
    assert same("argv", ["ab...", "..."], ["abc", "d"], late=False)
    assert not same("argv", ["ab", "..."], ["abc", "d"], late=False)
