"""Stacks to names: which frames are believed, and what is said where nothing is known."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import need
from tests.symbols.test_elf import address, compiled, opened
from tracer.symbols import UNKNOWN, Code, Mapped, Maps, PerfSource, Space, Symbolizer, _Frame

BASE = 0x7F00_0000_0000
ANON = 0x7E00_0000_0000


class Program:
    """A compiled program, as if mapped at BASE."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.path = compiled(folder, "-no-pie", "-fno-optimize-sibling-calls", *flags)
        self.elf = opened(self.path)
        said = self.path.stat()
        raw = self.path.read_bytes()
        self.shift = raw.find(self.elf.code(address(self.path, "main"), 16)) - address(self.path, "main")
        mine = Mapped(BASE, BASE + len(raw), 0, said.st_dev, said.st_ino, str(self.path), False)
        made = Mapped(ANON, ANON + 0x1000, 0, 0, 0, "", False)
        self.maps = Maps([mine, made])
        self.space = Space(Code((self.maps,)))

    def at(self, name: str, more: int = 0) -> int:
        """Where a function is in memory."""
        return BASE + address(self.path, name) + self.shift + more

    def inside(self, name: str) -> int:
        """Behind its prologue."""
        return self.at(name, 20)

    def after_call(self, caller: str, callee: str) -> int:
        """The return address of the call of one in the other."""
        start = address(self.path, caller)
        code, target = self.elf.code(start, 200), address(self.path, callee)
        for i in range(len(code) - 5):
            if code[i] == 0xE8 and start + i + 5 + int.from_bytes(code[i + 1 : i + 5], "little", signed=True) == target:
                return self.at(caller, i + 5)
        raise AssertionError(f"no call of {callee} in {caller}")


@pytest.fixture
def symbolizer() -> Iterator[Symbolizer]:
    made = Symbolizer(())
    yield made
    made.close()


@pytest.fixture
def framed(tmp_path: Path) -> Program:
    return Program(tmp_path, "-fno-omit-frame-pointer")


@pytest.fixture
def frameless(tmp_path: Path) -> Program:
    return Program(tmp_path, "-fomit-frame-pointer")


def test_a_whole_stack(framed: Program, symbolizer: Symbolizer) -> None:
    chain = (framed.after_call("shown", "hidden"), framed.after_call("main", "shown"))

    assert symbolizer.frames(framed.space, framed.inside("hidden"), 0, chain) == ("hidden", "shown", "main")


def test_what_stands_on_top_of_the_stack_is_not_asked_where_there_is_a_frame(
    framed: Program, symbolizer: Symbolizer
) -> None:
    chain = (framed.after_call("shown", "hidden"),)
    stale = framed.after_call("main", "shown")

    assert symbolizer.frames(framed.space, framed.inside("hidden"), stale, chain) == ("hidden", "shown")


def test_before_its_frame_is_set_a_function_has_none(framed: Program, symbolizer: Symbolizer) -> None:
    """A stack page is copied by the push at its very beginning; the walk by frame pointers leaves its caller out."""
    caller = framed.after_call("shown", "hidden")
    chain = (framed.after_call("main", "shown"),)

    assert symbolizer.frames(framed.space, framed.at("hidden"), caller, chain) == ("hidden", "shown", "main")
    assert symbolizer.frames(framed.space, framed.at("hidden"), 0, chain) == ("hidden",)


def test_an_address_that_no_call_stands_before_ends_the_stack(framed: Program, symbolizer: Symbolizer) -> None:
    chain = (framed.at("shown", 1), framed.after_call("main", "shown"))

    assert symbolizer.frames(framed.space, framed.inside("hidden"), 0, chain) == ("hidden",)


def test_an_address_outside_ends_the_stack(framed: Program, symbolizer: Symbolizer) -> None:
    chain = (0x1234, framed.after_call("main", "shown"))

    assert symbolizer.frames(framed.space, framed.inside("hidden"), 0, chain) == ("hidden",)


def test_without_frame_pointers_the_leaf_stands_alone(frameless: Program, symbolizer: Symbolizer) -> None:
    chain = (frameless.after_call("main", "shown"),)

    assert symbolizer.frames(frameless.space, frameless.at("hidden", 4), 0, chain) == ("hidden",)


def test_a_return_address_names_one_caller_more(frameless: Program, symbolizer: Symbolizer) -> None:
    caller, chain = frameless.after_call("shown", "hidden"), (frameless.after_call("main", "shown"),)

    assert symbolizer.frames(frameless.space, frameless.at("hidden", 4), caller, chain) == ("hidden", "shown")


def test_names_of_code_that_was_made_at_run_time(framed: Program, symbolizer: Symbolizer, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "perf-7.map").write_text(f"{ANON:x} 100 py::serve:/srv/app.py\n")
    mine = frozenset({os.geteuid()})
    space = Space(framed.space.code, (PerfSource(str(tmp_path), 8, mine), PerfSource(str(tmp_path), 7, mine)))

    assert symbolizer.frames(space, framed.inside("hidden"), 0, (ANON + 5,)) == ("hidden", "py::serve:/srv/app.py")
    assert symbolizer.frames(space, ANON + 5, 0, ()) == ("py::serve:/srv/app.py",)
    assert symbolizer.frames(space, ANON + 0x200, 0, ()) == (UNKNOWN,)
    strangers = Space(framed.space.code, (PerfSource(str(tmp_path), 7, frozenset({os.geteuid() + 1})),))
    assert symbolizer.frames(strangers, ANON + 5, 0, ()) == (UNKNOWN,)


def test_a_file_that_was_replaced_gives_no_names(framed: Program, symbolizer: Symbolizer) -> None:
    old = framed.maps.find(BASE)
    assert old is not None
    gone = Maps([old._replace(inode=old.inode + 1)])
    at, offset = framed.inside("hidden"), framed.inside("hidden") - BASE

    assert symbolizer.frames(Space(Code((gone,), born_s=0.0)), at, 0, ()) == (f"x+{offset:#x}",)
    # Some file systems have inode numbers of their own for os.stat: what was not touched since the birth is the same.
    assert symbolizer.frames(Space(Code((gone,), born_s=4e9)), at, 0, ()) == ("hidden",)


def test_a_file_without_a_name_is_read_where_it_is_held(framed: Program, symbolizer: Symbolizer) -> None:
    old = framed.maps.find(BASE)
    assert old is not None
    gone = (Maps([old._replace(path="/none", deleted=True)]),)
    at = framed.inside("hidden")
    fd = os.open(framed.path, os.O_RDONLY)

    assert symbolizer.frames(Space(Code(gone, held={(old.device, old.inode): fd})), at, 0, ()) == ("hidden",)
    os.close(fd)
    assert Symbolizer(()).frames(Space(Code(gone)), at, 0, ())[0].startswith("none+0x")


def test_files_of_another_root(framed: Program, symbolizer: Symbolizer, tmp_path: Path) -> None:
    old = framed.maps.find(BASE)
    assert old is not None
    inside = Maps([old._replace(path="/x")])

    assert symbolizer.frames(Space(Code((inside,), root=str(tmp_path))), framed.inside("hidden"), 0, ()) == ("hidden",)


def test_newer_mappings_come_first(framed: Program, symbolizer: Symbolizer) -> None:
    before = Maps([Mapped(BASE, BASE + 0x100000, 0, 1, 1, "/old.so", False)])
    at = framed.inside("hidden")

    assert symbolizer.frames(Space(Code((framed.maps, before))), at, 0, ()) == ("hidden",)
    assert symbolizer.frames(Space(Code((before, framed.maps))), at, 0, ())[0].startswith("old.so+")


def test_nothing_known_of_the_process(symbolizer: Symbolizer) -> None:
    assert symbolizer.frames(Space(Code()), 0x1000, 0x2000, (0x3000,)) == (UNKNOWN,)


def test_names_of_a_debug_file_that_is_found_by_build_id(tmp_path: Path, framed: Program) -> None:
    need("objcopy", "strip")
    build_id, at = framed.elf.build_id, framed.inside("hidden")
    assert build_id is not None
    debug = tmp_path / "debug" / ".build-id" / build_id[:2] / f"{build_id[2:]}.debug"
    debug.parent.mkdir(parents=True)
    subprocess.run(["objcopy", "--only-keep-debug", framed.path, debug], check=True)
    subprocess.run(["strip", framed.path], check=True)
    said = framed.path.stat()
    mapping = framed.maps.find(BASE)
    assert mapping is not None
    mapping = mapping._replace(inode=said.st_ino)
    space = Space(Code((Maps([mapping]),)))

    assert named(space, at, tmp_path / "nowhere")[0].startswith("x+0x")
    assert named(space, at, tmp_path / "nowhere", tmp_path / "debug") == ("hidden",)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(compiled(other, "-O2"), debug)  # of another build
    assert named(space, at, tmp_path / "debug")[0].startswith("x+0x")


def named(space: Space, at: int, *debug_folders: Path) -> tuple[str, ...]:
    symbolizer = Symbolizer(debug_folders)
    try:
        return symbolizer.frames(space, at, 0, ())
    finally:
        symbolizer.close()


def test_without_a_worker_addresses_are_shown(
    framed: Program, symbolizer: Symbolizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "")
    at = framed.inside("hidden")

    assert symbolizer.frames(framed.space, at, 0, ()) == (f"x+{at - BASE:#x}",)
    assert symbolizer.missing


@pytest.mark.parametrize(
    ("overwrites", "caller", "names"),
    [
        (True, "main", ("work", "main")),  # it has called nobody
        (True, "work", ("work",)),  # the register is where its last call came back to: who called it is not known
        (False, "work", ("work", "work")),  # it calls itself
    ],
)
def test_a_link_register_that_leads_into_its_own_function_is_no_caller(
    symbolizer: Symbolizer, monkeypatch: pytest.MonkeyPatch, overwrites: bool, caller: str, names: tuple[str, ...]
) -> None:
    frames = {
        0x1000: _Frame("work", frame=False, called=True, overwrites=overwrites),
        0x2000: _Frame(caller, frame=False, called=True),
    }
    monkeypatch.setattr(symbolizer, "_frame", lambda space, address, leaf: frames[address])

    assert symbolizer.frames(Space(Code()), 0x1000, 0x2000, ()) == names
