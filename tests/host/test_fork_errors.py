"""Which bound made a fork fail, judged from how the bounds stood."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.host.fork_errors import (
    RESERVED_PIDS,
    Bound,
    Cause,
    Failure,
    Host,
    Limit,
    Limits,
    cause,
    failure_words,
    size,
)
from tracer.model.flags import CloneFlags

MIB = 1 << 20


def host(root: Path, **files: object) -> Host:
    """A /proc with these; `threads` of 1000, pid_max 32768, plenty of memory unless said otherwise."""
    given = {"threads": 100, "mode": 0, "limit": 1 << 20, "committed": 1000, "total": 1 << 22, **files}
    for path, text in {
        "sys/kernel/threads-max": "1000\n",
        "sys/kernel/pid_max": "32768\n",
        "loadavg": f"0.1 0.2 0.3 1/{given['threads']} 4711\n",
        "sys/vm/overcommit_memory": f"{given['mode']}\n",
        "meminfo": f"MemTotal: {given['total']} kB\nSwapTotal: 0 kB\nCommitLimit: {given['limit']} kB\n"
        f"Committed_AS: {given['committed']} kB\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return Host(root)


def said(error: int, flags: int, limits: Limits, host: Host) -> tuple[str | None, str | None]:
    """The two columns of a trace."""
    found = cause(error, flags, limits, host)
    return (None, None) if found is None else (str(found), found.evidence)


QUIET = Limits(
    pids=Bound(10, 100, "/a.slice/b.service"),
    nproc=Bound(10, 100, "uid 1001"),
    pid_numbers=Bound(100, 32768),
    memory=Bound(10 * MIB, 100 * MIB, "/a.slice"),
    data_bytes=MIB,
)


@pytest.mark.parametrize(
    ("error", "changes", "text", "evidence"),
    [
        (
            errno.EAGAIN,
            {"pids": Bound(50, 50, "/system.slice/x.service")},
            "pids.max 50/50 of /system.slice/x.service",
            "measured",
        ),
        (errno.EAGAIN, {"nproc": Bound(120, 120, "uid 1001")}, "RLIMIT_NPROC 120/120 of uid 1001", "measured"),
        (errno.EAGAIN, {"pids": Bound(40, 50, "/a"), "refused": True}, "pids.max 40/50 of /a", "measured"),
        (errno.EAGAIN, {"pids": Bound(49, 50, "/a")}, "pids.max 49/50 of /a", "inferred"),
        (errno.EAGAIN, {"nproc": Bound(120, 120, "uid 0"), "exempt": True}, None, None),
        (
            errno.EAGAIN,
            {"pid_numbers": Bound(400 - RESERVED_PIDS, 400, "its pid namespace")},
            "kernel.pid_max 100/400 of its pid namespace, 300 reserved",
            "measured",
        ),
        (errno.EAGAIN, {"pid_numbers": Bound(32700, 0)}, "kernel.pid_max 32700/32768, 300 reserved", "measured"),
        (errno.EAGAIN, {"pid_numbers": Bound(32767, 0)}, "kernel.pid_max 32767/32768", "measured"),
        (errno.EAGAIN, {"seccomp": True}, "a seccomp filter", "inferred"),
        (errno.EAGAIN, {"seccomp": True, "pids": Bound(50, 50)}, "pids.max 50/50", "measured"),
        (errno.EAGAIN, {"nproc": Bound(9, 9, "uid 7"), "measured": False}, "RLIMIT_NPROC 9/9 of uid 7", "inferred"),
        (errno.ENOMEM, {"dead_init": True}, "the init of its pid namespace has ended", "measured"),
        (errno.ENOMEM, {"memory": Bound(100 * MIB, 100 * MIB, "/m")}, "memory.max 100 MiB/100 MiB of /m", "measured"),
        (
            errno.ENOMEM,
            {"memory": Bound(100 * MIB - 200_000, 100 * MIB, "/m")},
            "memory.max 99.81 MiB/100 MiB of /m",
            "inferred",
        ),
        (
            errno.ENOMEM,
            {"data_bytes": 8 << 30},
            "vm.overcommit_memory=0: 8 GiB of data are above all memory and swap, 4 GiB",
            "inferred",
        ),
        (errno.ENOMEM, {}, None, None),
        (errno.EPERM, {"seccomp": True}, "a seccomp filter", "inferred"),
        (errno.EINVAL, {"seccomp": True}, None, None),
        (errno.EAGAIN, {}, None, None),
    ],
)
def test_the_bound_that_was_reached_is_named_with_how_it_stood(
    tmp_path: Path, error: int, changes: dict[str, object], text: str | None, evidence: str | None
) -> None:
    assert said(error, 0, QUIET._replace(**changes), host(tmp_path)) == (text, evidence)  # type: ignore[arg-type]


def test_what_bounds_the_host_is_read_when_nothing_nearer_was_reached(tmp_path: Path) -> None:
    assert said(errno.EAGAIN, 0, QUIET, host(tmp_path, threads=1000)) == ("kernel.threads-max 1000/1000", "inferred")
    strict = host(tmp_path, mode=2, limit=1000, committed=900)
    words = "vm.overcommit_memory=2: Committed_AS 900 KiB and 1 MiB more are above CommitLimit 1000 KiB"
    assert said(errno.ENOMEM, 0, QUIET, strict) == (words, "inferred")


def test_what_was_read_as_the_call_returned_comes_before_what_is_left_a_moment_later(tmp_path: Path) -> None:
    """The caller has ended since: 100 tasks are left, and next to nothing is promised."""
    later = host(tmp_path, mode=2, limit=1000, committed=10)
    then = QUIET._replace(tasks=1000, committed_bytes=900 << 10)

    assert said(errno.EAGAIN, 0, then, later) == ("kernel.threads-max 1000/1000", "inferred")
    assert said(errno.EAGAIN, 0, then._replace(tasks_counted=True), later) == (
        "kernel.threads-max 1000/1000",
        "measured",
    )
    words = "vm.overcommit_memory=2: Committed_AS 900 KiB and 1 MiB more are above CommitLimit 1000 KiB"
    assert said(errno.ENOMEM, 0, then, later) == (words, "measured")
    assert said(errno.ENOMEM, 0, QUIET._replace(data_bytes=100 << 10), later) == (None, None)


def test_what_is_kept_from_a_fork_counts_as_the_limit(tmp_path: Path) -> None:
    """__vm_enough_memory(): the limit less what is kept for root, and for the user a part of what is asked for."""
    strict = host(tmp_path, mode=2, limit=10_000, committed=1000)
    then = QUIET._replace(data_bytes=8000 << 10, committed_bytes=1000 << 10)
    assert said(errno.ENOMEM, 0, then, strict) == (None, None)

    (tmp_path / "sys/vm/admin_reserve_kbytes").write_text("800\n")
    (tmp_path / "sys/vm/user_reserve_kbytes").write_text("700\n")
    again = said(errno.ENOMEM, 0, then, Host(tmp_path))

    assert again[1] == "inferred"
    assert str(again[0]).endswith(
        "are above CommitLimit 9.766 MiB less vm.admin_reserve_kbytes and vm.user_reserve_kbytes"
    )
    assert said(errno.ENOMEM, 0, then._replace(data_bytes=7900 << 10), Host(tmp_path)) == (None, None)


def test_a_namespace_that_may_not_be_made_names_its_setting(tmp_path: Path) -> None:
    flags = int(CloneFlags.CLONE_NEWUSER)
    assert said(errno.ENOSPC, flags, QUIET, host(tmp_path)) == ("user.max_user_namespaces", "inferred")
    flags |= CloneFlags.CLONE_NEWPID
    assert said(errno.ENOSPC, flags, QUIET, host(tmp_path)) == ("user.max_*_namespaces", "inferred")
    assert said(errno.EPERM, flags, QUIET._replace(seccomp=True), host(tmp_path)) == (None, None)


def test_a_host_that_can_not_be_read_is_no_cause(tmp_path: Path) -> None:
    unread = Host(tmp_path / "nothing")
    for error in (errno.EAGAIN, errno.ENOMEM):
        assert said(error, 0, QUIET, unread) == (None, None)


BOUNDS = st.none() | st.builds(Bound, st.integers(0, 1 << 22), st.integers(0, 1 << 22), st.none() | st.text(max_size=8))


@given(
    st.sampled_from([errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EPERM, errno.EINVAL]),
    st.integers(0, 1 << 33),
    st.builds(
        Limits,
        pids=BOUNDS,
        refused=st.booleans(),
        nproc=BOUNDS,
        exempt=st.booleans(),
        pid_numbers=BOUNDS,
        dead_init=st.booleans(),
        memory=BOUNDS,
        data_bytes=st.none() | st.integers(0, 1 << 40),
        seccomp=st.booleans(),
        tasks=st.none() | st.integers(0, 1 << 22),
        tasks_counted=st.booleans(),
        committed_bytes=st.none() | st.integers(0, 1 << 40),
        measured=st.booleans(),
        memory_limit=st.just(Limit.MEMORY_MAX),
    ),
)
def test_a_cause_has_evidence_and_what_was_not_measured_does_not_say_so(error: int, flags: int, limits: Limits) -> None:
    text, evidence = said(error, flags, limits, Host(Path("/nonexistent")))

    assert (text is None) == (evidence is None)
    assert evidence != "measured" or limits.measured
    if limits.pids is None and limits.exempt and text is not None:
        assert "RLIMIT_NPROC" not in text
        assert "pids.max" not in text


WITHOUT_FIGURES = (Limit.OVERCOMMIT, Limit.NAMESPACES, Limit.SECCOMP, Limit.DEAD_INIT)


@given(
    st.builds(
        Cause,
        st.sampled_from([one for one in Limit if one not in WITHOUT_FIGURES]),
        st.builds(Bound, st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.none() | st.text(min_size=1, max_size=9)),
    )
    | st.builds(Cause, st.just(Limit.NAMESPACES), st.none(), st.sampled_from(["user", "*", "net"]))
    | st.sampled_from(
        [
            Cause(Limit.SECCOMP),
            Cause(Limit.DEAD_INIT),
            Cause(Limit.OVERCOMMIT, None, "=0: 8 GiB of data are above all"),
        ]
    ),
    st.sampled_from(["EAGAIN", None]),
)
def test_a_cause_is_read_back_from_its_text(found: Cause, error: str | None) -> None:
    again = Cause.parse(str(found))

    assert again is not None
    assert again.limit is found.limit
    assert str(again) == str(found)
    if found.bound is not None:
        assert again.bound is not None
        assert again.bound.of == found.bound.of
    assert Failure.parse(failure_words(error, str(found))) == (error, again)
    assert str(Failure(error, again)) == failure_words(error, str(found))


@pytest.mark.parametrize(
    "text", ["", "EAGAIN", "pids.max", "pids.max of /a: 9 of 9", "fork.max 5/5 of /a", "pids.max x/y", "memory.max 1/2"]
)
def test_other_words_are_no_cause(text: str) -> None:
    assert Cause.parse(text) is None
    assert Failure.parse(f"EAGAIN: {text}").cause is None
    assert Failure.parse(failure_words("EAGAIN", None)) == ("EAGAIN", None)


def test_sizes() -> None:
    assert [size(n) for n in (0, 1023, 1536, MIB, 5 << 30)] == ["0 B", "1023 B", "1.5 KiB", "1 MiB", "5 GiB"]
