"""BCC itself: found by path and made sure of; compiled in a child, whose words never reach the terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.conftest import need
from tests.descriptors import open_files
from tracer.backends import Options
from tracer.backends.bcc import backend, headers, module
from tracer.errors import ProbesRefusedError
from tracer.host import features
from tracer.host.features import Check

STUB = "BPF_ARRAY(numbers, u64, 4);\n"


# pure


def test_another_project_of_that_name_is_refused(tmp_path: Path) -> None:
    """The registry's has no compiler, and its own dependencies may be missing."""
    (tmp_path / "__init__.py").write_text("lib = object()\nclass BPF: pass\n")
    with pytest.raises(ProbesRefusedError, match="not the BPF compiler collection"):
        module.load(tmp_path)
    (tmp_path / "__init__.py").write_text("import nonesuch_of_lattices\n")
    with pytest.raises(ProbesRefusedError, match=r"can not be loaded: No module named 'nonesuch_of_lattices'"):
        module.load(tmp_path)

    assert not [name for name in sys.modules if name.startswith(("_forktrace_bcc", "bcc"))]
    assert [path.name for path in tmp_path.iterdir()] == ["__init__.py"]  # no byte code in the distribution's folder


@pytest.mark.parametrize(
    ("said", "raised", "sentence"),
    [
        (
            "In file included from /virtual/main.c:18:\n/virtual/main.c:92:8: error: unknown type name 'x'\n",
            "Failed to compile BPF module <text>",
            "BCC could not compile its programs: forktrace.bcc.c, line 92: unknown type name 'x'",
        ),
        ("LLVM ERROR: no room\n", "Failed to compile", "could not compile its programs (LLVM ERROR: no room)"),
        ("", "Need super-user privileges to run", "the kernel refused BCC's programs: Operation not permitted"),
        (
            "R1 invalid mem access 'scalar'\nprocessed 9 insns (limit 1000000)\n",
            "Failed to load BPF program b'tracepoint__sched__sched_process_exit': Permission denied",
            "sched:sched_process_exit: Permission denied (R1 invalid mem access 'scalar')",
        ),
    ],
)
def test_a_refusal_is_one_sentence(said: str, raised: str, sentence: str) -> None:
    found = str(module._refusal(raised, None, said))

    assert sentence in found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.18.44-fc-v782", (6, 18, 44)), ("5.4.0-150-generic", (5, 4, 0)), ("6.1", (6, 1, 0)), ("4.9.337", (4, 9, 255))],
)
def test_the_version_of_a_release(release: str, version: tuple[int, int, int], tmp_path: Path) -> None:
    headers.write(tmp_path, release)

    assert headers.version_code(release) == version
    assert (
        f"KERNEL_VERSION({version[0]}, {version[1]}, {version[2]})"
        in (tmp_path / "include/linux/version.h").read_text()
    )


def test_the_private_tree_is_there_as_long_as_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(headers.SOURCE, "/before")
    with headers.private("6.1.0"):
        folder = Path(os.environ[headers.SOURCE])
        assert (folder / "include/linux/kconfig.h").exists()

    assert not folder.exists()
    assert os.environ[headers.SOURCE] == "/before"
    monkeypatch.delenv(headers.SOURCE)
    with headers.private("6.1.0"):
        pass
    assert headers.SOURCE not in os.environ


@pytest.mark.parametrize("feature", ["bcc", "capabilities", "lockdown", "tracefs"])
def test_not_ready_says_why_and_the_mend(feature: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        features, "feature", lambda name: Check(name, name != feature, f"{name} is not", "why", f"mend {name}")
    )

    state = backend.Backend.readiness()
    assert (state.ok, state.mend) == (False, f"mend {feature}")
    assert state.why.endswith(f"{feature} is not")
    with pytest.raises(ProbesRefusedError, match=f"{feature} is not; mend {feature}"):  # where it was asked for by name
        backend.Backend(Options()).start()


# with BCC


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("int broken(void) { return nonesuch; }\n", "line 1: use of undeclared identifier 'nonesuch'"),
        (
            STUB + "TRACEPOINT_PROBE(sched, sched_process_exit) { u32 k = args->pid; u64 *v = numbers.lookup(&k);\n"
            "*v = 1; return 0; }\n",
            "sched:sched_process_exit: ",
        ),
        (STUB + "TRACEPOINT_PROBE(sched, no_such_thing) { return 0; }\n", ""),
        (
            STUB + "TRACEPOINT_PROBE(sched, sched_process_exit) { char much[900]; u32 k = 0;\n"
            "bpf_probe_read_kernel(much, 900, args); return much[numbers.lookup(&k) != 0]; }\n",
            "stack limit",  # here libbcc calls exit()
        ),
    ],
    ids=["compiler", "verifier", "tracepoint", "exit"],
)
def test_whatever_goes_wrong_is_one_sentence_and_nothing_is_left(
    text: str, sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    need("bcc", "root")
    before = open_files()
    with pytest.raises(ProbesRefusedError) as caught:
        module.Programs(text, [], ["numbers"])

    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert open_files() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.kernel
def test_maps_are_read_and_written_and_programs_go() -> None:
    need("bcc", "root")
    text = "BPF_HASH(table, u32, u64, 2);\nTRACEPOINT_PROBE(sched, sched_process_exit) { return 0; }\n"
    programs = module.Programs(text, [], ["table"])
    fd = programs.map_fd("table")
    one, two = (k.to_bytes(4, "little") for k in (1, 2))

    assert programs.lookup(fd, one, 8) is None
    assert programs.update(fd, one, bytes(8), new=True)
    assert not programs.update(fd, one, b"x" * 8, new=True)
    assert programs.update(fd, two, b"y" * 8)
    assert programs.lookup(fd, two, 8) == b"y" * 8
    with pytest.raises(ProbesRefusedError, match="table of processes"):
        programs.update(fd, bytes(4), bytes(8), new=True)
    assert sorted(programs.keys(fd, 4)) == [one, two]
    assert programs.delete(fd, one)
    assert not programs.delete(fd, one)
    programs.detach()
    assert programs.lookup(fd, two, 8) == b"y" * 8
    programs.close()
    programs.close()
