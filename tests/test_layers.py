"""Imports point down only. Reads the source with ast, so it needs none of the modules to be importable.

An import inside a function counts like any other: late is for speed, not for going upwards. What stands under
`if TYPE_CHECKING:` counts too, except that a heavy package may be named there. Neighbours on one layer may
import each other as long as it does not go round in a circle, unless NEVER says otherwise.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

# From the bottom up. A new module or package of tracer/ gets its place here, once.
LAYERS = (
    ("errors", "choices", "record", "allocation", "machines", "inheritance", "leftovers", "visible"),
    ("own_programs", "sudo_caller", "boot_clock"),
    ("events",),
    ("whole", "toml_file"),
    ("processes", "status", "matching", "own_limits"),
    ("btf", "wire", "recording", "spool", "procfs", "cgroups", "groups", "causes", "limits", "redact", "symbols"),
    ("kernel", "privileges", "terminal", "launch", "target", "delayacct", "capabilities"),
    ("outlet", "hook", "pressure", "scrape_server"),
    ("told", "index", "rows", "bulk", "execs", "growth", "derived", "tree", "outline", "backends", "importers"),
    ("session",),
    ("tables",),
    ("analyses",),
    ("trace",),
    ("capture", "recorder"),
    ("storm_files",),
    ("fleet", "metrics", "watch"),
    ("reports",),
    ("live",),
    ("tracer",),  # tracer/__init__.py, the public API
    ("commands",),
    ("__main__",),
)

# Not even downwards: a source must not know what becomes of its events, nor a report where they came from.
NEVER = (
    ("backends", "tree"),
    ("importers", "tree"),
    ("tree", "backends"),
    ("tree", "importers"),
    ("reports", "backends"),
    ("reports", "importers"),
)

# 25 to 800 ms each
HEAVY = frozenset(
    {
        "distributed", "duckdb", "elftools", "fsspec", "numpy", "pandas", "prometheus_client", "pyarrow", "pyroute2",
        "rich",
    }
)  # fmt: skip
ONLY_THESE_MAY_IMPORT = {"pandas": frozenset({"tables", "analyses"})}

RANK = {name: height for height, layer in enumerate(LAYERS) for name in layer}
HERE = Path(__file__)
SOURCE = HERE.parents[1] / "tracer"


class Import(NamedTuple):
    """One name that one file imports. `top`: as soon as the file is; `typing`: never at run time."""

    target: str  # dotted, absolute
    line: int
    top: bool
    typing: bool


def unit(module: str) -> str:
    """The name in LAYERS of a dotted module: tracer.backends.bpf.backend -> backends, tracer -> tracer."""
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
    """One sentence for each thing that is not as the layers say; none is as it should be."""
    known = modules(root)
    said = []
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        mine = unit(name)
        where = path.relative_to(root.parent)
        if mine not in RANK:
            said.append(f"{where}: has no layer; give {mine!r} its place in LAYERS of tests/{HERE.name}")
            continue
        for found in imports(name, path, known):
            at = f"{where}:{found.line}"
            package = found.target.partition(".")[0]
            if package in HEAVY and found.top and not found.typing:
                said.append(f"{at}: imports {package} at once; import it inside the function that needs it")
            if not found.typing and mine not in ONLY_THESE_MAY_IMPORT.get(package, {mine}):
                allowed = ", ".join(sorted(ONLY_THESE_MAY_IMPORT[package]))
                said.append(f"{at}: imports {package}, which is for {allowed} alone")
            theirs = unit(found.target)
            if package != root.name or theirs == mine:
                continue
            if (mine, theirs) in NEVER:
                said.append(f"{at}: {mine} must not know {theirs}")
            elif theirs in RANK and RANK[theirs] > RANK[mine]:
                said.append(f"{at}: {mine} imports {theirs}, which stands above it")
            elif theirs in RANK:
                graph.setdefault(mine, set()).add(theirs)
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
        ("tree.py", "from tracer.reports import console", "tree imports reports, which stands above it"),
        ("tree.py", "from .reports import console", "tree imports reports, which stands above it"),
        ("tree.py", "def f():\n    import tracer.commands.run", "tree.py:2: tree imports commands"),
        ("tree.py", "importlib.import_module(f'tracer.reports.{name}')", "tree imports reports"),
        ("tree.py", "if TYPE_CHECKING:\n    from tracer.tree.tables import Frame", "tree imports tables"),
        ("tree.py", "from tracer import backends", "tree must not know backends"),
        ("backends/bpf.py", "from .. import tree", "backends must not know tree"),
        ("reports/html.py", "from tracer.backends.bpf.backend import Bpf", "reports must not know backends"),
        ("reports/html.py", "import rich.console", "html.py:1: imports rich at once"),
        ("reports/html.py", "class A:\n    try: import numpy\n    except ImportError: ...", "numpy at once"),
        ("reports/html.py", "def f():\n    import pandas", "pandas, which is for analyses, tables alone"),
        ("kernel.py", "import tracer.capture.target", "in a circle: kernel <- target <- kernel"),
        ("news.py", "", "tracer/news.py: has no layer; give 'news' its place in LAYERS of tests/"),
        ("sub/deep/x.py", "", "give 'sub' its place"),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, file: str, source: str, words: str) -> None:
    write(tmp_path, {"target.py": "import tracer.host.features", file: source})

    assert words in "\n".join(complaints(tmp_path / "tracer"))


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("reports/html.py", "from tracer.tree.tree import X\nfrom . import text\nfrom ..errors import Y"),
        ("reports/html.py", "def f():\n    import rich, numpy"),
        ("tables.py", "if TYPE_CHECKING:\n    import pandas\ndef f():\n    import pandas"),
        ("session.py", "if typing.TYPE_CHECKING:\n    import pandas"),
        ("target.py", "import tracer.host.features, os.path"),
        ("commands/run.py", "from tracer import __version__, session"),
    ],
)
def test_lets_pass_what_points_down(tmp_path: Path, file: str, source: str) -> None:
    write(tmp_path, {file: source})

    assert complaints(tmp_path / "tracer") == []


def write(folder: Path, files: Mapping[str, str]) -> None:
    """A package tracer/ with every layer in it, and these files."""
    packages = {"backends", "reports", "commands"}
    layers = [f"{name}/__init__.py" if name in packages else f"{name}.py" for name in RANK]
    for file, source in {**dict.fromkeys([*layers, "__init__.py", "reports/text.py"], ""), **files}.items():
        path = folder / "tracer" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
