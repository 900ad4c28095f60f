"""The pins in constraints.txt, and what goes into the wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tracer.model.machines import MACHINES

ROOT = Path(__file__).parents[1]


def pins() -> dict[str, str]:
    return dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())


def required(name: str, extras: frozenset[str], seen: set[tuple[str, str]]) -> Iterator[str]:
    """Names of all that a distribution brings along, by what is installed here."""
    for text in distribution(name).requires or ():
        requirement = Requirement(text)
        for extra in extras or {""}:
            key = (canonicalize_name(requirement.name), ",".join(sorted(requirement.extras)))
            if key not in seen and (not requirement.marker or requirement.marker.evaluate({"extra": extra})):
                seen.add(key)
                yield key[0]
                yield from required(key[0], frozenset(requirement.extras), seen)


def test_pins_are_packages_and_versions_and_nothing_else() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()

    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)] == []
    assert list(pins()) == sorted(pins())


def test_everything_that_is_installed_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    asked += [text for extra in project["project"]["optional-dependencies"].values() for text in extra]
    names = {canonicalize_name(Requirement(text).name) for text in asked}
    everything = names | {found for name in names for found in required(name, frozenset(), set())}

    assert everything | {"uv", "editables"} <= set(pins())


def test_the_pins_are_what_runs_here() -> None:
    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("not in the environment that ./run makes; run ./run test")
    here = {name: distribution(name).version for name in pins() if name not in ("uv", "editables")}

    assert here == {name: version for name, version in pins().items() if name in here}


def test_the_wheel_holds_the_command_the_probes_and_both_licences(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("forktrace-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    (metadata,) = (tmp_path / "site").glob("*.dist-info")
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tracer").rglob("*.py")}
    build = ROOT / "probes/build"
    objects = {f"tracer/_probes/build/{path.relative_to(build)}" for path in build.glob("*/*.bpf.o")}

    assert {name.split("/")[3] for name in objects} == {machine.probes for machine in MACHINES.values()} - {None}
    beside = {f"tracer/_probes/{name}" for name in ("build/SHA256SUMS", "LICENSE", "forktrace.bcc.c", "wire.h")}
    assert sources | objects | beside <= names
    assert {name.split("/")[0] for name in names} == {"tracer", metadata.name}
    assert not [name for name in names if "__pycache__" in name]
    assert "forktrace = tracer.commands:program" in (metadata / "entry_points.txt").read_text()
    assert {path.name for path in (metadata / "licenses").rglob("LICENSE")} == {"LICENSE"}
