from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.host.features.fakes import INITIAL_USER_NS, NO, REFUSED, YES, FakeHost
from tracer.host import features
from tracer.host.features import bpfcall
from tracer.host.features.bpf_checks import EXTRA, LIFECYCLE
from tracer.host.features.bpfcall import Answer
from tracer.host.features.copy_checks import ABORT, ENTRY, FAULTS
from tracer.host.features.host import CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN

OBJECTS = Path(__file__).parents[3] / "probes/build"
TRIED = ("tp_btf", "ring_buffer", "task_storage", "bpf_loop", "bpf_task_pt_regs", "bpf_find_vma")


@pytest.mark.parametrize("name", TRIED)
def test_what_the_kernel_refuses_to_know_is_missing(tmp_path: Path, name: str) -> None:
    check = features.feature(name, FakeHost(tmp_path).answering(NO))

    assert check.ok is False
    assert "not in this kernel (EINVAL)" in check.detail
    assert check.mend is not None
    assert "Linux 5." in check.mend


@pytest.mark.parametrize("name", TRIED)
def test_without_privilege_it_is_unknown_and_the_types_say_it_is_known(tmp_path: Path, name: str) -> None:
    check = features.feature(name, FakeHost(tmp_path).answering(REFUSED).holding())

    assert check.ok is None
    assert "known to this kernel" in check.detail
    assert check.mend == "sudo forktrace doctor"


@pytest.mark.parametrize("name", TRIED)
def test_refused_in_spite_of_privilege_is_missing(tmp_path: Path, name: str) -> None:
    check = features.feature(name, FakeHost(tmp_path).answering(REFUSED).holding(CAP_BPF, CAP_PERFMON))

    assert check.ok is False
    assert "though the capabilities are held" in check.detail
    assert "seccomp" in str(check.mend)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("ring_buffer", "BPF_MAP_TYPE_RINGBUF"),
        ("task_storage", "BPF_MAP_TYPE_TASK_STORAGE"),
        ("bpf_loop", "BPF_FUNC_loop"),
    ],
)
def test_without_privilege_the_types_can_say_that_it_is_missing(tmp_path: Path, name: str, word: str) -> None:
    assert features.feature(name, FakeHost(tmp_path, without=(word,)).answering(REFUSED).holding()).ok is False
    assert features.feature(name, FakeHost(tmp_path).answering(REFUSED).holding()).ok is None


@pytest.mark.parametrize(
    "name", [*TRIED, "lifecycle_tracepoints", "fault_entry", "fault_tracepoints", "task_iter", "group_dead"]
)
def test_without_types_nothing_is_guessed(tmp_path: Path, name: str) -> None:
    host = FakeHost(tmp_path, types=False).answering(Answer(None))
    check = features.feature(name, host)

    assert check.ok is None
    assert "without BTF" in check.detail
    assert features.feature("btf", host).ok is False


def test_helpers_are_asked_for_by_their_number(tmp_path: Path) -> None:
    host = FakeHost(tmp_path).answering(YES, helper_180=NO)

    assert bpfcall.FIND_VMA == 180
    assert features.feature("bpf_find_vma", host).ok is False
    assert features.feature("bpf_loop", host).ok is True


def test_missing_tracepoints_are_named(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, without=("sched_process_free", "mark_victim", "page_fault_user", "writeback_dirty_folio"))
    life, faults = features.feature("lifecycle_tracepoints", host), features.feature("fault_tracepoints", host)
    entry = features.feature("fault_entry", host)

    assert (life.ok, life.detail) == (False, "missing: sched_process_free, mark_victim")
    assert (faults.ok, faults.detail) == (False, "missing: writeback_dirty_folio|writeback_dirty_page")
    assert (entry.ok, entry.detail) == (False, "missing: page_fault_user")


def test_arm64_wants_a_program_at_the_function_and_no_tracepoint_of_page_faults(tmp_path: Path) -> None:
    has_all = FakeHost(tmp_path / "new", machine="aarch64")
    no_calls = FakeHost(tmp_path / "old", machine="aarch64", without=("direct_call",))
    no_function = FakeHost(tmp_path / "other", machine="aarch64", without=("do_mem_abort",))
    new, old, other = (features.feature("fault_entry", host) for host in (has_all, no_calls, no_function))

    assert (new.ok, new.detail) == (True, "a program can be run at do_mem_abort")
    assert features.feature("fault_tracepoints", has_all).ok is True
    assert (old.ok, "no tracepoint of page faults" in old.detail) == (False, True)
    assert old.mend == "use a kernel of Linux 6.4 or newer, or use --cow light"
    assert (other.ok, "no function do_mem_abort" in other.detail) == (False, True)


def test_either_name_of_a_renamed_tracepoint_will_do(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, without=("writeback_dirty_folio",))
    host.blob.tracepoint("writeback_dirty_page")
    host.put("sys/kernel/btf/vmlinux", host.blob.bytes())

    assert features.feature("fault_tracepoints", host).ok is True


def test_group_dead_is_a_member_of_the_events_own_record(tmp_path: Path) -> None:
    assert features.feature("group_dead", FakeHost(tmp_path / "new")).ok is True
    old = features.feature("group_dead", FakeHost(tmp_path / "old", without=("group_dead",)))

    assert old.ok is False
    assert "6.16" in str(old.mend)


def test_rss_stat_in_batches(tmp_path: Path) -> None:
    host = FakeHost(tmp_path / "a")
    host.blob.struct("task_rss_stat", 8, [])
    host.put("sys/kernel/btf/vmlinux", host.blob.bytes())
    batched = features.feature("rss_stat", host)
    none = features.feature("rss_stat", FakeHost(tmp_path / "b", without=("rss_stat",)))

    assert (batched.ok, "once in 64" in batched.detail) == (False, True)
    assert (none.ok, none.detail) == (False, "no such tracepoint")


@pytest.mark.parametrize(
    ("name", "without"),
    [("mm_lock_seq", "mm_lock_seq"), ("task_iter", "bpf_iter_task"), ("bpf_rdonly_cast", "bpf_rdonly_cast")],
)
def test_what_is_not_among_the_types_is_missing(tmp_path: Path, name: str, without: str) -> None:
    assert features.feature(name, FakeHost(tmp_path, without=(without,))).ok is False


def test_what_only_options_need_says_which_option_to_leave_out(tmp_path: Path) -> None:
    check = features.feature("extra_tracepoints", FakeHost(tmp_path, without=("kmem_cache_free",)))

    assert (check.ok, check.mend) == (False, "leave out --reap exact")


@pytest.mark.parametrize("path", sorted(OBJECTS.glob("*/*.bpf.o")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_everything_that_the_probes_attach_to_is_asked_for(path: Path) -> None:
    """The sections of the compiled objects name it."""
    used = {name.decode() for name in re.findall(rb"\0((?:tp_btf|f\w+)/\w+)(?=\0)", path.read_bytes())}
    entry = {f"fentry/{ABORT}"} if path.parent.name == "arm64" else {f"tp_btf/{point}" for point in ENTRY}
    asked = {f"tp_btf/{name}" for point in (*LIFECYCLE, *FAULTS, *EXTRA, "rss_stat") for name in point.split("|")}

    assert used <= asked | entry
    assert (path.name != "faults.bpf.o") or entry <= used


@pytest.mark.parametrize(
    ("held", "ok", "said"),
    [
        ((CAP_BPF, CAP_PERFMON), True, "held"),
        ((CAP_SYS_ADMIN,), True, "held"),
        ((CAP_BPF,), False, "CAP_PERFMON not held"),
        ((CAP_PERFMON,), False, "CAP_BPF not held"),
        ((), False, "CAP_BPF and CAP_PERFMON not held"),
    ],
)
def test_capabilities(tmp_path: Path, held: tuple[int, ...], ok: bool, said: str) -> None:
    check = features.feature("capabilities", FakeHost(tmp_path).holding(*held))

    assert check.ok is ok
    assert said in check.detail
    assert check.mend == (None if ok else "sudo forktrace")


def test_in_a_user_namespace_capabilities_are_void(tmp_path: Path) -> None:
    host = FakeHost(tmp_path).link("proc/self/ns/user", f"user:[{INITIAL_USER_NS + 1}]").answering(REFUSED)
    check = features.feature("capabilities", host)

    assert check.ok is False
    assert "user namespace" in check.detail
    assert features.feature("ring_buffer", host).mend is None, "sudo does not help there"


def test_libbpf(tmp_path: Path) -> None:
    host = FakeHost(tmp_path / "a").drop("usr/lib/x86_64-linux-gnu/libbpf.so.1")
    none = features.feature("libbpf", host)
    old = features.feature("libbpf", host.put("usr/lib64/libbpf.so.0", ""))

    assert none.ok is False
    assert none.mend is not None
    assert none.mend.endswith("apt-get install -y libbpf1")
    assert old.ok is False
    assert "only libbpf.so.0" in old.detail


@pytest.mark.parametrize(
    ("text", "ok", "said"),
    [
        ("[none] integrity confidentiality", True, "off"),
        ("none [integrity] confidentiality", True, "integrity"),
        ("none integrity [confidentiality]", False, "confidentiality"),
    ],
)
def test_lockdown_levels(tmp_path: Path, text: str, ok: bool, said: str) -> None:
    check = features.feature("lockdown", FakeHost(tmp_path).put("sys/kernel/security/lockdown", text))

    assert check.ok is ok
    assert said in check.detail


@pytest.mark.parametrize(("answer", "ok"), [(YES, True), (NO, False), (REFUSED, None)])
def test_lockdown_where_its_file_is_not_shown_is_tried(tmp_path: Path, answer: Answer, ok: bool | None) -> None:
    host = FakeHost(tmp_path).drop("sys/kernel/security/lockdown")
    check = features.feature("lockdown", host.answering(YES, helper_113=answer))

    assert check.ok is ok
    assert ("tried" if ok is not None else "not mounted") in check.detail


@pytest.mark.parametrize(("value", "said"), [("0", "anyone"), ("1", "none without"), ("2", "none without")])
def test_unprivileged_bpf_is_told_and_never_in_the_way(tmp_path: Path, value: str, said: str) -> None:
    check = features.feature(
        "unprivileged_bpf", FakeHost(tmp_path).put("proc/sys/kernel/unprivileged_bpf_disabled", value)
    )

    assert check.ok is True
    assert said in check.detail
