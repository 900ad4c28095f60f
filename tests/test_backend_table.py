"""README's table of backends, and that of the probes, against the code: names, order, facts, needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import need
from tracer import backends
from tracer.backends import Options, cover
from tracer.backends.bpf import host
from tracer.backends.netlink import backend
from tracer.host import features
from tracer.host.features import Check
from tracer.model.meta import Fact

ROOT: Final = Path(__file__).parents[1]
WORD: Final = re.compile(r"`([\w-]+)`")


def table(path: Path, first: str) -> list[list[str]]:
    """Cells of the table whose head begins with `first`, head left out."""
    lines = path.read_text("utf-8").splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[at + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


ROWS: Final = {WORD.findall(cells[0])[0]: cells for cells in table(ROOT / "README.md", "backend") if "`" in cells[0]}


@pytest.fixture
def all_there(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A host that has every feature, but those that the test puts into the list."""
    lacks: list[str] = []
    monkeypatch.setattr(features, "feature", lambda name: Check(name, name not in lacks, "", "", None))
    monkeypatch.setattr(host, "uses_cgroup_v1", lambda: False)
    monkeypatch.setattr(host, "counts_wpcopies", lambda: False)
    monkeypatch.setattr(backend, "_counts_delays", lambda: False)
    return lacks


def test_the_names_are_those_of_the_code_in_its_order() -> None:
    assert tuple(ROWS) == backends.BACKENDS


@pytest.mark.usefixtures("all_there")
@pytest.mark.parametrize("name", backends.BACKENDS)
def test_what_it_sees_is_what_it_declares(name: str) -> None:
    usual, _, more = ROWS[name][2].partition("; with `--")
    seen, options = backends.load(name).cover, Options()

    if usual == "everything":
        assert seen(options) | set(cover.with_options(seen, options)) == set(Fact)
        return
    assert set(WORD.findall(usual)) == seen(options)
    assert set(WORD.findall(more.partition("also")[2])) == set(cover.with_options(seen, options))
    if more:
        assert "--" + more.split("`")[0] in cover.with_options(seen, options).values()


@pytest.mark.kernel
@pytest.mark.parametrize("name", backends.BACKENDS)
def test_what_it_needs_is_what_it_is_not_ready_without(name: str, all_there: list[str]) -> None:
    need(name)
    wanted = []
    for feature in features.FEATURES:
        all_there[:] = [feature]
        if not backends.readiness(name).ok:
            wanted.append(feature)

    assert set(WORD.findall(ROWS[name][1].partition(":")[2])) == set(wanted)


def test_every_probe_has_its_row() -> None:
    sources = {path.name for path in (ROOT / "probes").glob("*.b*.c")}
    rows = {cells[0].strip("`") for cells in table(ROOT / "probes" / "README.md", "file")}

    assert len(sources) > 5
    assert sources <= rows
