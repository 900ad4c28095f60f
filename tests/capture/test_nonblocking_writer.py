"""Lines to who may not read: nothing waits, what is left out is counted."""

from __future__ import annotations

import fcntl
import os
import threading

import pytest

from tracer.capture.nonblocking_writer import Outlet


@pytest.fixture
def pipe() -> tuple[int, int]:
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    return read, write


def drained(read: int) -> list[str]:
    return b"".join(iter(lambda: os.read(read, 65536), b"")).decode().splitlines()


def test_lines_go_out_at_once_and_in_order(pipe: tuple[int, int]) -> None:
    outlet = Outlet(pipe[1])
    outlet.write("one")
    assert os.read(pipe[0], 100) == b"one\n"
    outlet.write("two \udcff")
    assert os.read(pipe[0], 100) == b"two \xff\n"


def test_with_nobody_reading_it_never_waits_and_says_what_is_missing(pipe: tuple[int, int]) -> None:
    read, write = pipe
    outlet = Outlet(write)
    for k in range(20_000):
        outlet.write(f"line {k} {'x' * 40}")
    outlet.write("this one matters", important=True)
    assert outlet.missed > 0
    missed = outlet.missed

    got: list[str] = []
    reader = threading.Thread(target=lambda: got.extend(drained(read)))
    reader.start()
    while outlet._waiting:
        outlet.pump()
    outlet.write("and on")
    outlet.close()
    os.close(write)
    reader.join()

    assert got[0].startswith("line 0 ")
    assert got[-3:] == ["this one matters", f"{missed:,} lines were left out, as nobody read them", "and on"]
    assert len(got) == 20_000 - missed + 3
    os.close(read)


def test_a_reader_that_has_left_is_an_error(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    with pytest.raises(BrokenPipeError):
        Outlet(pipe[1]).write("x")


def test_a_file_gets_everything(tmp_path: object) -> None:
    fd = os.memfd_create("x")
    outlet = Outlet(fd)
    for k in range(3000):
        outlet.write(str(k))
    outlet.close()
    os.lseek(fd, 0, os.SEEK_SET)

    assert len(drained(fd)) == 3000
