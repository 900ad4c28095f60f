"""libbpf by ctypes: what it refuses is told in one sentence, and nothing is left of what it opened."""

from __future__ import annotations

import errno
import pwd
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.refused_object import refused_object
from tests.conftest import need
from tests.descriptors import open_files
from tracer.backends import Options
from tracer.backends.bpf import host, libbpf
from tracer.backends.bpf.libbpf import BpfObject
from tracer.backends.bpf.objects import options_data, probe_object
from tracer.errors import ProbesRefusedError

kernel = pytest.mark.kernel
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _ready(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("kernel"):
        need("bpf")


@pytest.fixture
def probes() -> Iterator[BpfObject]:
    """The life-cycle probes, opened and not loaded."""
    made = BpfObject(probe_object("lifecycle"))
    yield made
    made.close()


def test_a_library_that_is_not_there_is_told_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libbpf, "_lib", None)
    monkeypatch.setattr(libbpf, "SONAME", "libnonesuch.so.7")

    with pytest.raises(ProbesRefusedError, match=r"libnonesuch\.so\.7 was not found; install it: apt install libbpf1"):
        libbpf.library()


def test_a_library_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libbpf, "_lib", None)
    monkeypatch.setattr(libbpf, "SONAME", "libc.so.6")

    with pytest.raises(ProbesRefusedError, match=r"too old .*install libbpf 1\.0"):
        libbpf.library()


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"#!/bin/sh\n"])
def test_a_file_that_is_no_object(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.bpf.o"
    path.write_bytes(content)

    with pytest.raises(ProbesRefusedError, match=r"x\.bpf\.o can not be opened"):
        BpfObject(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProbesRefusedError, match=r"can not be opened: No such file"):
        BpfObject(tmp_path / "none.bpf.o")


def test_maps_programs_and_sections_that_an_object_lacks(probes: BpfObject) -> None:
    with pytest.raises(ProbesRefusedError, match="has no map nonesuch; rebuild it"):
        probes.map_size("nonesuch")
    with pytest.raises(ProbesRefusedError, match="has no program nonesuch; rebuild it"):
        probes.skip("nonesuch")
    with pytest.raises(ProbesRefusedError, match=r"\.rodata\.opt is not 3 bytes; rebuild it"):
        probes.set_data(".rodata.opt", b"abc")


def test_programs_that_are_skipped_are_not_among_those_to_load(probes: BpfObject) -> None:
    before = dict(probes.programs())
    probes.skip("on_exit", "on_oom")
    after = dict(probes.programs())

    assert before.keys() - after.keys() == {"on_exit", "on_oom"}
    assert after["on_newtask"] == "tp_btf/task_newtask"


def test_sizes_are_set_before_the_load(probes: BpfObject) -> None:
    probes.resize("events", 8192)

    assert probes.map_size("events") == 8192


@kernel
def test_what_the_kernel_refuses_is_told_with_its_reason(probes: BpfObject) -> None:
    probes.resize("parents", 0)

    with pytest.raises(ProbesRefusedError, match=r"the kernel refused lifecycle\.bpf\.o: .*parents.*Invalid argument"):
        probes.load()


@pytest.fixture
def loaded(probes: BpfObject) -> BpfObject:
    probes.skip("on_exit_old" if host.has_group_dead() else "on_exit", "on_sighand_free")
    if not host.mark_victim_takes_task():
        probes.skip("on_oom")
    probes.load()
    return probes


@kernel
def test_map_elements_are_written_read_and_made_only_once_where_asked(loaded: BpfObject) -> None:
    key, value = struct.pack("=I", 7), bytes(16)

    assert loaded.lookup("parents", key, 16) is None

    loaded.update("parents", key, value, new=True)
    loaded.update("parents", key, b"\1" * 16)

    assert loaded.lookup("parents", key, 16) == b"\1" * 16
    with pytest.raises(FileExistsError):
        loaded.update("parents", key, value, new=True)
    with pytest.raises(OSError, match="map marks"):
        loaded.update("marks", struct.pack("=i", 0), bytes(88))  # standard input is no process


@kernel
def test_data_sections_are_seen_without_a_call(loaded: BpfObject) -> None:
    view = loaded.view(".data.stats", 8)
    struct.pack_into("=Q", view, 0, 5)
    again = loaded.view(".data.stats", 8)

    assert struct.unpack_from("=Q", again, 0) == (5,)
    view.close()
    again.close()


@kernel
def test_an_object_that_can_not_be_attached_leaves_nothing_attached(
    loaded: BpfObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach, attached = loaded._lib.bpf_program__attach_trace, []

    def second_fails(program: int) -> int:
        attached.append(program)
        return 0 if len(attached) == 2 else int(attach(program))

    monkeypatch.setattr(loaded._lib, "bpf_program__attach_trace", second_fails)
    with pytest.raises(ProbesRefusedError, match=r"tp_btf/.* can not be attached"):
        loaded.attach()

    assert loaded._links == []


@kernel
def test_descriptors_come_and_go_with_the_object() -> None:
    before = open_files()
    walks = BpfObject(probe_object("attach"))
    walks.load()

    assert len(open_files()) > len(before)
    assert walks.run_iterator("find_alive") == b""

    walks.close()
    walks.close()

    assert open_files() == before


@kernel
@pytest.mark.parametrize(
    ("user", "mend"), [("nobody", "sudo .*"), ("root", "in docker: --cap-add BPF --cap-add PERFMON")]
)
def test_without_the_privilege_the_mend_is_one_that_helps(user: str, mend: str) -> None:
    need("setpriv")
    code = (
        "from tracer.backends.bpf.libbpf import BpfObject; from tracer.backends.bpf.objects import probe_object\n"
        "import os\n"
        f"obj = BpfObject(probe_object('attach')); os.setuid({pwd.getpwnam(user).pw_uid})\n"
        "try: obj.load()\n"
        "except Exception as e: print(type(e).__name__, e)"
    )
    command = ["setpriv", "--bounding-set=-all,+setuid", sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stderr == ""
    refusal = "the kernel refused attach.bpf.o: Operation not permitted"
    assert re.fullmatch(rf"NoPermissionError {refusal} \(CAP_BPF and CAP_PERFMON not held\); {mend}\n", done.stdout)


@kernel
@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES])
def test_root_who_is_refused_is_not_sent_to_sudo(code: int, walks: BpfObject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lockdown, a seccomp profile: whoever has all capabilities already is told where to look."""
    need("root")
    monkeypatch.setattr(walks._lib, "bpf_object__load", lambda _: -code)
    with pytest.raises(ProbesRefusedError, match=r"although CAP_BPF and CAP_PERFMON are held: by lockdown") as caught:
        walks.load()

    assert "sudo" not in str(caught.value)


@pytest.fixture
def refused(tmp_path: Path) -> Iterator[BpfObject]:
    need("bpf")
    made = BpfObject(refused_object(tmp_path, "lifecycle", "tp_btf/cgroup_mkdir"))
    made.set_data(".rodata.opt", options_data(Options()))
    made.skip("on_exit_old" if host.has_group_dead() else "on_exit", "on_sighand_free")
    if not host.mark_victim_takes_task():
        made.skip("on_oom")
    yield made
    made.close()


@kernel
def test_the_verifiers_refusal_is_its_own_words_whole(refused: BpfObject) -> None:
    """Its error stands at the end of a log much longer than one message of libbpf's."""
    with pytest.raises(
        ProbesRefusedError, match=r"verifier refused on_mkdir of lifecycle\.bpf\.o: R3 !read_ok; this kernel is unlike"
    ):
        refused.load()

    assert len(refused.verifier_log) > 5000
    assert "processed" in refused.verifier_log.splitlines()[-1]
    assert len(libbpf.log()) < 20


@kernel
def test_an_optional_program_that_is_refused_is_left_out(refused: BpfObject) -> None:
    refused.load(optional={"on_mkdir", "on_wait"})

    assert refused.refused == {"on_mkdir": "R3 !read_ok"}
    assert "on_mkdir" not in dict(refused.programs())
    refused.attach(lambda name, _: name in ("on_wait", "on_free"))
    assert len(refused._links) == 2


@pytest.fixture
def walks() -> Iterator[BpfObject]:
    need("bpf")
    walks = BpfObject(probe_object("attach"))
    yield walks
    walks.close()
