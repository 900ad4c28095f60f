"""Hostile ELF files and perf maps: what reading them costs, in time and memory, here and in the worker.

Bounds are on CPU time, which other load does not lengthen, on the worker's peak of memory, and on the growth of this
process, which only asks.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import need
from tests.programs import cow
from tests.symbols import crafted
from tests.symbols.test_elf import compiled
from tracer.symbols import Code, Mapped, Maps, PerfSource, Space, Symbolizer
from tracer.symbols.client import Client
from tracer.symbols.opening import Opened, open_regular

ROOT = Path(__file__).parents[2]
ADDRESSES = [(crafted.CODE + 5 * i, bool(i & 1)) for i in range(200)]
CPU_S = 0.4  # of one file: 20 ms (a perf map: 60, and its lines are sorted), 200 addresses, and a slower machine
PEAK = 160 << 20  # of the worker; 27 MiB of it is Python and numpy, 64 MiB is what may be kept
GROWN = 24 << 20  # of this process
BASE = 0x7F00_0000_0000


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    made = Client()
    yield made
    made.close()


def opened(path: Path) -> Opened:
    found = open_regular(str(path))
    assert found is not None
    return found


def cpu(pid: int) -> float:
    """Seconds that a process has used: the clock of clock_getcpuclockid(3)."""
    return time.clock_gettime((~pid << 3) | 2)


def peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def own_peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


@pytest.mark.parametrize("name", crafted.FILES)
def test_an_elf_file(client: Client, name: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    crafted.FILES[name](path)
    honest = opened(Path(sys.executable).resolve())
    assert client.ask("elf", [honest], []) is not None
    worker, before = client.pid, own_peak()
    file = opened(path)
    began = cpu(worker)
    answer = client.ask("elf", [file], ADDRESSES)

    assert client.pid == worker, "the worker did not live through it"
    assert cpu(worker) - began < CPU_S
    assert peak(worker) < PEAK
    assert own_peak() - before < GROWN
    assert answer is None or len(answer["at"]) == len(ADDRESSES)
    file.close()
    honest.close()
    path.unlink()


@pytest.mark.parametrize("name", crafted.MAPS)
def test_a_perf_map(client: Client, name: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    crafted.MAPS[name](path)
    honest = opened(Path(sys.executable).resolve())
    assert client.ask("elf", [honest], []) is not None
    worker, before = client.pid, own_peak()
    file = opened(path)
    began = cpu(worker)
    answer = client.ask("perf", [file], [5 * i for i in range(200)])

    assert client.pid == worker, "the worker did not live through it"
    assert cpu(worker) - began < CPU_S
    assert peak(worker) < PEAK
    assert own_peak() - before < GROWN
    assert answer is not None
    file.close()
    honest.close()
    path.unlink()


def test_many_files_are_kept_within_bounds(tmp_path: Path) -> None:
    """Twelve perf maps of 16 MiB with a million lines each, and as many tables of symbols."""
    client = Client()
    before = own_peak()
    maps, elf = tmp_path / "map", tmp_path / "elf"
    crafted.lines(maps, 16 << 20, lambda i: b"%x 1 a\n" % i)
    crafted.symbols(elf, 120_000, 1 << 20)
    for i in range(12):
        for path, kind in ((maps, "perf"), (elf, "elf")):
            file = opened(path)._replace(key=f"{kind}{i}")  # another file, as a copy would be
            client.ask(kind, [file], ADDRESSES if kind == "elf" else [5])
            file.close()
    worker = client.pid

    assert worker
    assert peak(worker) < 2 * PEAK  # what is kept, and what one more needs while it is read
    assert own_peak() - before < GROWN
    client.close()


@pytest.mark.parametrize("seed", [20260712, None], ids=["fixed", "new"])
def test_mutations_of_an_honest_file(client: Client, seed: int | None, tmp_path: Path) -> None:
    """300 each: an answer or none, never the end of the worker."""
    seed = int.from_bytes(os.urandom(4)) if seed is None else seed
    raw = compiled(tmp_path).read_bytes()
    honest = opened(Path(sys.executable).resolve())
    assert client.ask("elf", [honest], []) is not None
    worker, answered = client.pid, 0
    path = tmp_path / "mutated"
    for number, changed in enumerate(crafted.mutated(raw, seed, 300)):
        path.write_bytes(changed)
        file = opened(path)._replace(key=f"{seed} {number}")
        answer = client.ask("elf", [file], [(0x1000 + 16 * i, bool(i & 1)) for i in range(40)])
        file.close()
        assert client.pid == worker, f"mutation {number} of seed {seed} ended the worker"
        answered += answer is not None
    honest.close()

    assert answered > 100  # most are files still
    assert peak(worker) < PEAK


def test_names_without_end_are_not_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of 4,096 letters, at more addresses than there is room for: then FILE+OFFSET."""
    monkeypatch.setattr("tracer.symbols._LETTERS_MOST", 100_000)
    path = tmp_path / "x"
    crafted.FILES["130,000 symbols of 4,096 letters"](path)
    said = path.stat()
    mapping = Mapped(BASE, BASE + 0x2000, 0, said.st_dev, said.st_ino, str(path), False)
    space = Space(Code((Maps([mapping]),)))
    symbolizer = Symbolizer(())
    names = [symbolizer.frames(space, BASE + at, 0, ())[0] for at, _ in ADDRESSES]
    symbolizer.close()

    assert sum(len(name) for name in names) < 200_000
    assert names[0].startswith("nnn")
    assert names[-1].startswith("x+0x")


def test_perf_maps_by_hard_links_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    crafted.MAPS["64 MiB of short lines"](tmp_path / "tmp" / "perf-1.map")
    with (tmp_path / "tmp" / "perf-1.map").open("ab") as file:
        file.write(b"50 1 a\n")
    for pid in range(2, 120):
        os.link(tmp_path / "tmp" / "perf-1.map", tmp_path / "tmp" / f"perf-{pid}.map")
    made = Mapped(0, 0x10000, 0, 0, 0, "", False)
    code = Code((Maps([made]),))
    symbolizer, before = Symbolizer(()), own_peak()
    open_before = len(os.listdir("/proc/self/fd"))
    for pid in range(1, 120):
        space = Space(code, (PerfSource(str(tmp_path), pid, frozenset({os.geteuid()})),))
        assert symbolizer.frames(space, 0x50, 0, ()) == ("a",)
    worker = symbolizer._client.pid

    assert cpu(worker) < 4 * CPU_S + 2  # of which starting it is most
    assert peak(worker) < PEAK
    assert own_peak() - before < GROWN
    assert len(os.listdir("/proc/self/fd")) - open_before < 80
    symbolizer.close()
    assert len(os.listdir("/proc/self/fd")) <= open_before


@pytest.mark.kernel
@pytest.mark.parametrize("stop", [None, signal.SIGINT, signal.SIGTERM])
def test_a_program_with_2_34_sections_is_traced_as_any_other(stop: signal.Signals | None, tmp_path: Path) -> None:
    need("bpf")
    program = tmp_path / "hostile"
    crafted.with_sections(compiled_copier(), 1 << 34)(program)
    program.chmod(0o755)
    trace = tmp_path / "t.ftrace"
    done = run(program, trace, stop)
    shown = subprocess.run(
        [sys.executable, "-m", "tracer", "report", trace], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert b"Traceback" not in done.stderr
    assert done.returncode == 0 if stop is None else done.returncode in (0, 130, 143, -2, -15), done.stderr
    assert "hostile" in shown.stdout


def compiled_copier() -> bytes:
    """A program whose child copies pages, and which then waits until its standard input ends."""
    source = cow.HERE / "bin" / "copier.c"
    source.parent.mkdir(exist_ok=True)
    source.write_text(_COPIER)
    binary = source.with_suffix("")
    subprocess.run(["cc", "-O1", "-fno-omit-frame-pointer", "-no-pie", "-o", binary, source], check=True)
    return binary.read_bytes()


def run(program: Path, trace: Path, stop: signal.Signals | None) -> subprocess.CompletedProcess[bytes]:
    options = ["-q", "--cow", "full", "--cow-stacks=all", "-o", str(trace)]
    command = [sys.executable, "-m", "tracer", *options, "--", str(program)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        assert child.stdout.read(5) == b"ready"
        if stop is not None:
            child.send_signal(stop)
        began = time.monotonic()
        _, err = child.communicate(timeout=60)
    assert time.monotonic() - began < 30
    return subprocess.CompletedProcess(command, child.returncode, b"", err)


_COPIER = """
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
__attribute__((noinline)) void copies(char *p) { for (int i = 0; i < 200; i++) p[i * 4096] = 2; }
int main(void) {
    char *p = malloc(200 * 4096 + 4096), c;
    for (int i = 0; i < 200; i++) p[i * 4096] = 1;
    if (fork() == 0) { copies(p); _exit(0); }
    wait(NULL);
    if (write(1, "ready", 5) != 5) return 1;
    while (read(0, &c, 1) > 0) {}
    return 0;
}
"""
