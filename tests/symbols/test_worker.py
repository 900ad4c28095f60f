"""The process that reads the files of traced programs: what it may do, and what becomes of a file that it dies of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.symbols.test_elf import address, compiled
from tracer.symbols import client as client_module
from tracer.symbols import confine
from tracer.symbols.client import Client
from tracer.symbols.opening import Opened, open_regular

ROOT = Path(__file__).parents[2]

_TRIES = """
import ctypes, errno, mmap, os, resource, signal, socket, sys
sys.path.append(sys.argv[1])
from tracer.symbols.confine import confine
# clone execve ptrace seccomp
numbers = {"x86_64": (56, 59, 101, 317), "aarch64": (220, 221, 117, 277)}[os.uname().machine]
libc = ctypes.CDLL(None, use_errno=True)
fd = os.open(sys.executable, os.O_RDONLY)
confine(64 << 20, 60)
def tried(act):
    try:
        act()
    except (OSError, MemoryError, ValueError) as e:
        return type(e).__name__ + ":" + str(getattr(e, "errno", ""))
    return "done"
def call(number):
    if libc.syscall(number, 0, 0, 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "")
print(*map(tried, [
    lambda: os.open("/etc/passwd", os.O_RDONLY), lambda: socket.socket(), os.fork, lambda: os.kill(os.getppid(), 0),
    lambda: os.stat("/"), lambda: os.setuid(0), lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
    *(lambda n=n: call(n) for n in numbers),
]))
print(tried(lambda: bytearray(200 << 20)))
print(tried(lambda: os.pread(fd, 4, 0)), tried(lambda: bytearray(1 << 20)))
"""


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client()
    yield made
    made.close()


def opened(path: Path) -> Opened:
    found = open_regular(str(path))
    assert found is not None
    return found


def test_what_it_may_do_when_it_is_confined() -> None:
    if os.uname().machine not in confine._CALLS:
        pytest.skip("no filter of system calls for this machine")
    done = subprocess.run([sys.executable, "-c", _TRIES, ROOT], capture_output=True, text=True, check=False)

    refused = f"PermissionError:{1}"
    assert done.stdout.splitlines() == [
        " ".join([refused] * 11),
        "MemoryError:",
        "done done",
    ], done.stderr


def test_the_worker_has_no_privileges(client: Client, tmp_path: Path) -> None:
    file = opened(compiled(tmp_path))
    client.ask("elf", [file], [])
    lines = Path(f"/proc/{client.pid}/status").read_text().splitlines()
    said = {line.partition(":")[0]: line.partition(":")[2].split() for line in lines}
    file.close()

    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(said[name][0], 16) == 0
    assert said["NoNewPrivs"] == ["1"]
    assert said["Seccomp"] == ["2"] or os.uname().machine not in confine._CALLS
    assert said["Threads"] == ["1"]
    if os.geteuid() == 0:
        assert set(said["Uid"]) == {"65534"}
        assert said["Groups"] == []


def test_a_function_is_named(client: Client, tmp_path: Path) -> None:
    binary = compiled(tmp_path, "-no-pie")
    file = opened(binary)
    offset = address(binary, "hidden") - 0x400000
    answer = client.ask("elf", [file], [(offset, True)] * 600)
    file.close()

    assert answer is not None
    assert [name for name, *_ in answer["at"]] == ["hidden"] * 600


def test_what_is_not_an_elf_file_has_no_answer(client: Client) -> None:
    file = opened(Path(__file__))

    assert client.ask("elf", [file], [(0, True)]) is None
    assert client.ask("unknown", [file], [(0, True)]) is None
    assert client.ask("perf", [file], [5]) is not None
    file.close()


def test_a_file_that_stopped_the_worker_is_not_tried_again(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is stopped in place of a file that it would hang in: there is none that is known."""
    monkeypatch.setattr(client_module, "_ANSWER_S", 0.3)
    file, other = opened(compiled(tmp_path)), opened(Path(sys.executable).resolve())
    client.ask("elf", [other], [])
    first = client.pid
    os.kill(first, signal.SIGSTOP)
    began = time.monotonic()

    assert client.ask("elf", [file], []) is None
    assert time.monotonic() - began < 5
    assert client.pid == 0
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert client.ask("elf", [file], []) is None
    assert client.pid == 0  # none was started for it
    assert client.ask("elf", [other], []) is not None
    file.close()
    other.close()


def test_of_a_user_with_three_such_files_none_is_read(client: Client, tmp_path: Path) -> None:
    binary = compiled(tmp_path)
    files = []
    for i in range(5):
        copy = tmp_path / f"copy{i}"
        copy.write_bytes(binary.read_bytes())
        files.append(opened(copy)._replace(owner=1234))
    for file in files[:3]:
        assert client.ask("elf", [files[4]], []) is not None
        os.kill(client.pid, signal.SIGKILL)
        assert client.ask("elf", [file], []) is None

    assert client.ask("elf", [files[3]], []) is None
    assert client.ask("elf", [files[4]._replace(owner=4321)], []) is not None
    for file in files:
        file.close()


def test_the_time_of_one_user_is_bounded(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened(compiled(tmp_path))._replace(owner=1234)
    assert client.ask("elf", [file], []) is not None
    monkeypatch.setattr(client_module, "_SPENT_S", 0.0)

    assert client.ask("elf", [file], []) is None
    assert client.ask("elf", [file._replace(owner=0)], []) is not None
    client.forget()
    assert client.ask("elf", [file], []) is not None
    file.close()


def test_it_ends_with_who_asks(tmp_path: Path) -> None:
    program = """
import os, sys, signal
sys.path.append(sys.argv[1])
from tracer.symbols.client import Client
from tracer.symbols.opening import open_regular
client = Client()
client.ask("elf", [open_regular(os.path.realpath(sys.executable))], [])
print(client.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program, ROOT], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    until = time.monotonic() + 10
    while Path(f"/proc/{pid}/stat").exists() and time.monotonic() < until:
        os.sched_yield()

    assert not Path(f"/proc/{pid}/stat").exists()


def test_it_runs_no_code_of_the_current_folder(tmp_path: Path) -> None:
    for name in ("numpy", "tracer", "json", "socket", "signal", "collections", "sitecustomize", "ctypes"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    program = """
import os, sys
sys.path.insert(0, sys.argv[1])
from tracer.symbols.client import Client
from tracer.symbols.opening import open_regular
os.chdir(sys.argv[2])
os.environ["PYTHONPATH"] = sys.argv[2]
client = Client()
print(client.ask("elf", [open_regular(os.path.realpath(sys.executable))], []) is not None)
client.close()
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, ROOT, tmp_path], capture_output=True, text=True, check=False
    )

    assert done.stdout == "True\n", done.stderr
    assert not (tmp_path / "ran").exists()


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    began = time.monotonic()

    for path in (tmp_path / "link", tmp_path / "pipe", tmp_path, Path("/dev/zero"), Path("/none"), Path("a\0b")):
        assert open_regular(str(path)) is None
    assert time.monotonic() - began < 1
    followed = open_regular(str(tmp_path / "link"), follow=True)
    assert followed is not None
    assert (followed.size, followed.owner) == (1, os.geteuid())
    followed.close()


def test_a_lease_does_not_hold_us(tmp_path: Path) -> None:
    """Who may write a file can have others wait at their open for 45 s: fcntl(2), F_SETLEASE."""
    import fcntl

    path = tmp_path / "leased"
    path.write_bytes(b"x")
    with path.open("r+b") as held:
        old = signal.signal(signal.SIGIO, signal.SIG_IGN)
        try:
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            pytest.skip("no leases on this file system")
        began = time.monotonic()
        assert open_regular(str(path)) is None
        assert time.monotonic() - began < 1
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        signal.signal(signal.SIGIO, old)
