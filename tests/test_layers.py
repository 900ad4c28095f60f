"""Imports point down only, and never in a circle. Read with ast, so that no module needs to be importable.

An import inside a function counts like one at the top: a late import saves start-up time, it does not excuse an
upward one. Imports under `if TYPE_CHECKING:` count too, except that a heavy package may be named there. Rooms of
one layer may import each other, and so may the files of one room, as long as no circle forms: circles are looked
for among files, so one inside a room is seen as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

# From the bottom up. A new room of tracer/ gets its place here, once.
LAYERS = (
    ("errors",),
    ("model",),
    ("recording", "host"),
    ("symbols", "redact"),
    ("tree", "importers", "backends"),
    ("capture", "analyses"),
    ("window", "api"),
    ("storms", "fleet"),
    ("reports",),
    ("live",),
    ("tracer",),  # tracer/__init__.py, the public API
    ("commands",),
    ("__main__",),
)

# Not allowed even downwards: a source must not know what is made of its events, nor a report where they came from.
NEVER = (
    ("backends", "tree"),
    ("importers", "tree"),
    ("importers", "backends"),
    ("tree", "backends"),
    ("tree", "importers"),
    ("analyses", "capture"),
    ("reports", "backends"),
    ("reports", "importers"),
)

# 25 to 800 ms each
HEAVY = frozenset(
    {
        "distributed",
        "duckdb",
        "elftools",
        "fsspec",
        "numpy",
        "pandas",
        "prometheus_client",
        "pyarrow",
        "pyroute2",
        "rich",
    }
)
# Rooms that compute on whole columns import numpy at the top; nothing that runs before the program starts imports them.
VECTORS = frozenset({"tree", "analyses"})
VECTOR_FILES = frozenset({"tracer.model.vector_ops", "tracer.reports.console.births"})
ONLY_THESE_MAY_IMPORT = {"pandas": frozenset({"tree", "analyses"})}

# Nothing else stands loose at the root.
LOOSE = frozenset({"__init__", "__main__", "errors"})

RANK = {name: height for height, layer in enumerate(LAYERS) for name in layer}
HERE = Path(__file__)
SOURCE = HERE.parents[1] / "tracer"


class Import(NamedTuple):
    """One name that one file imports. `top`: at import time; `typing`: never at run time."""

    target: str  # dotted, absolute
    line: int
    top: bool
    typing: bool


def unit(module: str) -> str:
    """The name in LAYERS of a dotted module: tracer.backends.bpf -> backends, tracer -> tracer."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def modules(root: Path) -> dict[str, Path]:
    """{dotted name: file} of a package folder; a package goes by its own name, without __init__."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[Import]:
    """Everything that file imports, `import_module("literal...")` included."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    todo: list[tuple[ast.AST, bool, bool]] = [(ast.parse(path.read_text(encoding="utf-8"), str(path)), True, False)]
    while todo:
        node, top, typing = todo.pop()
        for target in _targets(node, package, known):
            yield Import(target, getattr(node, "lineno", 0), top, typing)
        inner = top and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        guarded = node.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) else []
        todo += [(child, inner, typing or child in guarded) for child in ast.iter_child_nodes(node)]


def _targets(node: ast.AST, package: str, known: Mapping[str, Path]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        module = ".".join([*base, *([node.module] if node.module else [])])
        for alias in node.names:  # `from tracer import X`: the module X, or a name in tracer/__init__.py
            yield f"{module}.{alias.name}" if f"{module}.{alias.name}" in known else module
    elif isinstance(node, ast.Call) and node.args:
        if not ast.unparse(node.func).endswith(("import_module", "__import__")):
            return
        word = node.args[0].values[0] if isinstance(node.args[0], ast.JoinedStr) else node.args[0]
        if isinstance(word, ast.Constant) and isinstance(word.value, str):
            yield word.value.rstrip(".")  # f"tracer.backends.{name}" is an import of tracer.backends


def complaints(root: Path) -> list[str]:
    """One sentence for each breach of the layers; empty when there is none."""
    known = modules(root)
    said = []
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        mine = unit(name)
        where = path.relative_to(root.parent)
        if mine not in RANK:
            said.append(f"{where}: has no layer; give {mine!r} its place in LAYERS of tests/{HERE.name}")
            continue
        if path.parent == root and path.stem not in LOOSE:
            said.append(f"{where}: stands loose at the root; every module but {', '.join(sorted(LOOSE))} has a room")
        for found in imports(name, path, known):
            at = f"{where}:{found.line}"
            package = found.target.partition(".")[0]
            vectors = package == "numpy" and (mine in VECTORS or name in VECTOR_FILES)
            if package in HEAVY and found.top and not found.typing and not vectors:
                said.append(f"{at}: imports {package} at once; import it inside the function that needs it")
            if not found.typing and mine not in ONLY_THESE_MAY_IMPORT.get(package, {mine}):
                allowed = ", ".join(sorted(ONLY_THESE_MAY_IMPORT[package]))
                said.append(f"{at}: imports {package}, which is for {allowed} alone")
            if package != root.name:
                continue
            theirs = unit(found.target)
            if (mine, theirs) in NEVER:
                said.append(f"{at}: {mine} must not import {theirs}")
            elif theirs in RANK and RANK[theirs] > RANK[mine]:
                said.append(f"{at}: {mine} imports {theirs}, which stands above it")
            elif theirs in RANK and found.target in known and found.target != name:
                graph.setdefault(name, set()).add(found.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        said.append("these import each other in a circle: " + " <- ".join(circle.args[1]))
    return said


def test_tracer_keeps_its_layers() -> None:
    assert not complaints(SOURCE), "\n".join(["imports must point down:", *complaints(SOURCE)])


def test_every_layer_names_something_that_exists() -> None:
    real = {unit(name) for name in modules(SOURCE)}

    assert set(RANK) <= real, f"LAYERS names what is not there: {sorted(set(RANK) - real)}"


@pytest.mark.parametrize(
    ("file", "source", "words"),
    [
        ("tree/index.py", "from tracer.reports import console", "tree imports reports, which stands above it"),
        ("tree/index.py", "from ..reports import console", "tree imports reports, which stands above it"),
        ("tree/index.py", "def f():\n    import tracer.commands.run", "index.py:2: tree imports commands"),
        ("tree/index.py", "importlib.import_module(f'tracer.reports.{name}')", "tree imports reports"),
        ("tree/index.py", "if TYPE_CHECKING:\n    from tracer.analyses import cow", "tree imports analyses"),
        ("tree/index.py", "from tracer import backends", "tree must not import backends"),
        ("backends/bpf.py", "from .. import tree", "backends must not import tree"),
        ("reports/html.py", "from tracer.backends.bpf import Bpf", "reports must not import backends"),
        ("reports/html.py", "import rich.console", "html.py:1: imports rich at once"),
        ("reports/html.py", "class A:\n    try: import numpy\n    except ImportError: ...", "numpy at once"),
        ("reports/html.py", "def f():\n    import pandas", "pandas, which is for analyses, tree alone"),
        ("host/limits.py", "import tracer.recording", "in a circle: tracer.host.limits <- tracer.recording <- "),
        ("recording/text.py", "from tracer.recording import reader", "tracer.recording.reader <- "),
        ("news.py", "", "tracer/news.py: has no layer; give 'news' its place in LAYERS of tests/"),
        ("sub/deep/x.py", "", "give 'sub' its place"),
        ("tree.py", "", "tracer/tree.py: stands loose at the root"),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, file: str, source: str, words: str) -> None:
    others = {
        "recording/__init__.py": "import tracer.host.limits",
        "recording/reader.py": "from tracer.recording import text",
    }
    write(tmp_path, {**others, "host/limits.py": "", "recording/text.py": "", file: source})

    assert words in "\n".join(complaints(tmp_path / "tracer"))


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("reports/html.py", "from tracer.tree import X\nfrom . import text\nfrom ..errors import Y"),
        ("reports/html.py", "def f():\n    import rich, numpy"),
        ("tree/tables.py", "if TYPE_CHECKING:\n    import pandas\ndef f():\n    import pandas"),
        ("capture/session.py", "if typing.TYPE_CHECKING:\n    import pandas"),
        ("host/limits.py", "import tracer.recording, os.path"),
        ("commands/run.py", "from tracer import __version__, capture"),
    ],
)
def test_lets_pass_what_points_down(tmp_path: Path, file: str, source: str) -> None:
    write(tmp_path, {file: source})

    assert complaints(tmp_path / "tracer") == []


def write(folder: Path, files: Mapping[str, str]) -> None:
    """A package tracer/ with every layer in it, and these files."""
    layers = [f"{name}.py" if name in LOOSE else f"{name}/__init__.py" for name in RANK if name != "tracer"]
    for file, source in {**dict.fromkeys([*layers, "__init__.py", "reports/text.py"], ""), **files}.items():
        path = folder / "tracer" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
