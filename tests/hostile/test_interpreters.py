"""No file of a user's becomes code of root's: modules in the current folder, and what a user's environment names.

Every module name that forktrace, its libraries or an interpreter may import lies in a folder as a file that says so in
a log when it is run. Every command is run there, as root and by sudo.
"""

from __future__ import annotations

import ast
import os
import pwd
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.capture.test_privileges import account  # noqa: F401 - a fixture
from tests.conftest import lacking, need
from tests.terminals import DEADLINE_S

ROOT = Path(__file__).parents[2]
FORKTRACE = str(Path(sys.executable).with_name("forktrace"))
NAMES: Final = (
    "tracer",
    "json",
    "struct",
    "numpy",
    "pyarrow",
    "rich",
    "elftools",
    "bcc",
    "os",
    "sys",
    "site",
    "sitecustomize",
    "usercustomize",
    "encodings",
    "re",
    "enum",
    "signal",
    "select",
    "fcntl",
    "time",
    "pathlib",
    "ctypes",
    "pickle",
    "subprocess",
    "threading",
    "tempfile",
    "argparse",
    "contextlib",
    "typing",
    "collections",
    "pandas",
    "pyroute2",
    "duckdb",
    "fsspec",
    "distributed",
    "prometheus_client",
    "perfetto",
    "_forktrace_bcc",
    "pwd",
    "socket",
    "runpy",
)
CODE: Final = """
import os
with open({log!r}, "a") as f:
    f.write("{name} " + str(os.geteuid()) + "\\n")
raise ImportError({name!r})
"""
pytestmark = pytest.mark.programs


class Trap:
    """A folder with all of these, a trace in it, and the log."""

    def __init__(self, folder: Path, user: pwd.struct_passwd) -> None:
        self.folder, self.log = folder, folder / "log"
        self.user = user
        for name in NAMES:
            (folder / f"{name}.py").write_text(CODE.format(log=str(self.log), name=name))
        self.log.touch()
        self.log.chmod(0o666)
        forktrace(folder, "--backend", "strace", "-q", "-o", "t.ftrace", "--", "true")
        (folder / "strace.log").write_text('12 1700000000.000001 execve("/bin/true", ["true"], []) = 0\n' * 5)
        (folder / "t.ftrace").chmod(0o644)
        for path in (folder, *folder.iterdir()):
            os.chown(path, user.pw_uid, user.pw_gid)

    def ran(self) -> list[str]:
        """What has been run since the last time."""
        said = self.log.read_text().splitlines()
        self.log.write_text("")
        return said


def forktrace(folder: Path, *words: str, by: Sequence[str] = (), **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*by, FORKTRACE, *words],
        cwd=folder,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )


@pytest.fixture(scope="module")
def trap(account: pwd.struct_passwd) -> Iterator[Trap]:  # noqa: F811
    folder = Path(f"/tmp/forktrace-test-modules-{os.getpid()}")
    folder.mkdir(0o755)
    try:
        yield Trap(folder, account)
    finally:
        shutil.rmtree(folder)


VERBS: Final = (
    "--version",
    "--help",
    "--backend bpf -- true",
    "--backend bpf --delayacct --cow-stacks -e fail -o a.ftrace -- true",
    "--backend bpf --redact --env HOME --reap exact -- true",
    "--backend bcc -- true",
    "--delayacct -- sh -c true",
    "--backend netlink --delayacct -- true",
    "--backend strace --strace-safe -- true",
    "-p 1 --duration 0.1",
    "-a --duration 0.1 --backend bpf",
    "doctor",
    "report t.ftrace",
    "report --stacks t.ftrace",
    "replay t.ftrace",
    "diff t.ftrace -- t.ftrace",
    "check t.ftrace --max-forks 1",
    "import strace.log -o i.ftrace",
    "fleet . --into d",
    "storm --duration 0.2 --format jsonl --exec true --metrics 127.0.0.1:0 --no-save",
    *(f"export t.ftrace --as {form} -o e.{form}" for form in ("jsonl", "csv", "parquet", "html", "perfetto", "dot")),
)


def test_the_trap_works(trap: Trap) -> None:
    """Else nothing below could fail."""
    subprocess.run([sys.executable, "-S", "-c", "import tracer"], cwd=trap.folder, capture_output=True, check=False)
    assert trap.ran() == ["tracer 0"]
    assert len(NAMES) >= 38


@pytest.mark.parametrize("words", VERBS)
def test_modules_in_the_current_folder_are_not_run_by_root(trap: Trap, words: str) -> None:
    need("root")
    if "--backend" in words and lacking(words.split("--backend ")[1].split(maxsplit=1)[0]):
        pytest.skip("that backend is not ready here")
    forktrace(trap.folder, *shlex.split(words))
    assert trap.ran() == []


@pytest.mark.parametrize("words", [words for words in VERBS if "-- true" in words or words.startswith("export")][::2])
def test_nor_by_sudo_whatever_the_environment_of_its_caller(trap: Trap, words: str) -> None:
    need("root", "sudo")
    here = str(trap.folder)
    by = ["runuser", "-u", trap.user.pw_name, "--", "sudo", "-n"]
    mine = {"PYTHONPATH": here, "PYTHONSTARTUP": f"{here}/tracer.py", "PYTHONUSERBASE": here, "PYTHONINSPECT": "1"}
    forktrace(trap.folder, *shlex.split(words), by=by, **mine)
    assert trap.ran() == []


def test_root_does_not_run_the_module_in_a_users_folder(trap: Trap) -> None:
    """Without a tracer.py: with one Python would run that before us."""
    need("root")
    (trap.folder / "tracer.py").rename(trap.folder / "not_tracer.py")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tracer", "--version"],
            cwd=trap.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        (trap.folder / "not_tracer.py").rename(trap.folder / "tracer.py")
    trap.ran()  # runpy looks for its own modules before anything of ours is run

    assert done.returncode != 0
    assert "0.1.0" not in done.stdout


@pytest.mark.parametrize("words", ["--backend strace -q -- /bin/true", "--backend auto -q -- /bin/true", "doctor"])
def test_programs_in_the_current_folder_are_not_run_by_root(trap: Trap, words: str) -> None:
    need("root", "strace")
    for name in ("strace", "zstd", "id", "sh"):
        script = trap.folder / name
        script.write_text(f"#!/bin/sh\necho program {name} >>{trap.log}\n")
        script.chmod(0o755)
    try:
        forktrace(trap.folder, *shlex.split(words), PATH=f".::{os.environ['PATH']}")
    finally:
        for name in ("strace", "zstd", "id", "sh"):
            (trap.folder / name).unlink()
    assert trap.ran() == []


# The class: every interpreter that forktrace starts


def started(source: str) -> Iterator[tuple[int, list[str]]]:
    """(line, words) of each command that begins with sys.executable."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.List | ast.Tuple) and node.elts and ast.unparse(node.elts[0]) == "sys.executable":
            yield node.lineno, [ast.unparse(each) for each in node.elts[1:]]


def complaints(source: str) -> list[str]:
    """What is wrong with the interpreters that a text starts."""
    said = [f"{line}: without -I: {words}" for line, words in started(source) if "'-I'" not in words[:1]]
    uses = source.count("sys.executable")
    listed = len(list(started(source)))
    # Besides the word in the command: asked whether it is there, or the path of a spawn whose words are checked here.
    beside = sum(map(source.count, ("not sys.executable", "(sys.executable)", "spawn(sys.executable,")))
    if uses != listed + beside:
        said.append("sys.executable is used in a way that this test does not know")
    return said


@pytest.mark.parametrize("path", sorted((ROOT / "tracer").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_interpreter_that_is_started_is_isolated(path: Path) -> None:
    assert complaints(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "run([sys.executable, '-c', x])",
        "run([sys.executable, '-S', '-I'])",
        "run((sys.executable, '-m', 'tracer'))",
        "x = sys.executable",
        "run(f'{sys.executable} -c x', shell=True)",
    ],
)
def test_what_is_not_isolated_is_found(source: str) -> None:
    assert complaints(source) != []


def test_the_script_of_the_checkout_is_isolated() -> None:
    """`./run setup` writes it so: a part of PYTHONPATH that is empty would be the current folder."""
    first = Path(FORKTRACE).read_text("utf-8").splitlines()[:2]
    assert any(line.rstrip().endswith(" -I") or ' -I "$0"' in line for line in first), first
    assert "-I -X forktrace_ignored=" in (ROOT / "run").read_text("utf-8")
