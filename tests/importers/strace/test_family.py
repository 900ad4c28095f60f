"""The order of the files of -ff: by time over midnights, and without times by what must come first."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.importers.strace.seen import story
from tracer.importers import open_log
from tracer.importers.strace.family import Member, day_start, in_order, pid_of, stem_of
from tracer.model.schema import Kind

_HOUR = 3_600_000_000_000


def order(tmp_path: Path, files: dict[int, str]) -> list[tuple[int, str]]:
    for pid, text in files.items():
        (tmp_path / f"log.{pid}").write_text(text)
    members = [Member(str(tmp_path / f"log.{pid}"), pid) for pid in files]
    return [(pid, raw.decode()) for pid, raw, _ in in_order(members, lambda member: None)]


def test_names_of_a_family() -> None:
    assert pid_of("/tmp/log.123") == 123
    assert pid_of("log.123.gz") == 123
    assert pid_of("log.txt") is None
    assert stem_of("/tmp/a.b.123.zst") == "/tmp/a.b"


def test_the_day_begins_after_the_longest_empty_stretch() -> None:
    assert day_start([23 * _HOUR, 1 * _HOUR, 2 * _HOUR]) == 23 * _HOUR
    assert day_start([9 * _HOUR, 12 * _HOUR]) == 0
    assert day_start([5]) == 0


def test_lines_are_merged_by_time(tmp_path: Path) -> None:
    found = order(tmp_path, {5: "1.000001 a(\n1.000004 d(\n", 6: "1.000002 b(\n1.000003 c(\n"})

    assert [line[-2] for _, line in found] == ["a", "b", "c", "d"]


def test_over_midnight(tmp_path: Path) -> None:
    found = order(tmp_path, {5: "23:59:59.5 a(\n00:00:01.5 c(\n", 6: "00:00:00.5 b(\n00:00:02.5 d(\n"})

    assert [line[-2] for _, line in found] == ["a", "b", "c", "d"]


def test_a_clock_that_is_set_back_keeps_a_task_s_own_order(tmp_path: Path) -> None:
    found = order(tmp_path, {5: "9.0 a(\n2.5 b(\n9.5 d(\n", 6: "9.2 c(\n"})

    assert [line for pid, line in found if pid == 5] == ["9.0 a(", "2.5 b(", "9.5 d("]


def test_without_times_births_stand_before_lives_and_ends_before_who_tells_of_them(tmp_path: Path) -> None:
    found = order(
        tmp_path,
        {
            7: "fork() = 9\n+++ exited with 2 +++\n",
            5: "execve(\nfork() = 7\nwait4(-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 2}], 0, NULL) = 7\n",
            9: "+++ exited with 3 +++\n",
        },
    )

    assert [(pid, line[:6]) for pid, line in found] == [
        (5, "execve"),
        (5, "fork()"),
        (7, "fork()"),
        (7, "+++ ex"),
        (9, "+++ ex"),
        (5, "wait4("),
    ]


def test_the_file_of_a_pid_used_again_is_that_of_its_last_life(tmp_path: Path) -> None:
    ends = "--- SIGCHLD {{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=6, si_status={}}} ---\n".format
    found = order(tmp_path, {5: f"fork() = 6\n{ends(1)}fork() = 6\n{ends(2)}", 6: "+++ exited with 2 +++\n"})

    assert [pid for pid, _ in found] == [5, 5, 5, 6, 5]


def test_a_chain_of_thousands_of_files_needs_no_stack(tmp_path: Path) -> None:
    files = {pid: f"fork() = {pid + 1}\n+++ exited with 0 +++\n" for pid in range(1000, 3000)}

    found = order(tmp_path, {**files, 3000: "+++ exited with 0 +++\n"})

    assert [pid for pid, line in found if line[0] == "f"] == list(range(1000, 3000))


def test_two_that_name_each_other(tmp_path: Path) -> None:
    found = order(tmp_path, {5: "fork() = 6\nx(\n", 6: "fork() = 5\ny(\n"})

    assert sorted(found) == [(5, "fork() = 6"), (5, "x("), (6, "fork() = 5"), (6, "y(")]


@given(
    st.dictionaries(
        st.integers(5, 12),
        st.lists(
            st.one_of(
                st.builds("fork() = {}".format, st.integers(4, 13)),
                st.builds("wait4(-1, [], 0, NULL) = {}".format, st.integers(4, 13)),
                st.builds("--- SIGCHLD {{si_pid={}}} ---".format, st.integers(4, 13)),
                st.builds("+++ superseded by execve in pid {} +++".format, st.integers(4, 13)),
                st.builds("{}.5 x() = 0".format, st.integers(1, 9)),
            ),
            max_size=4,
        ),
        max_size=6,
    )
)
def test_no_line_is_lost_whatever_stands_in_them(tmp_path_factory, files: dict[int, list[str]]) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("family")

    found = order(folder, {pid: "".join(line + "\n" for line in lines) for pid, lines in files.items()})

    for pid, lines in files.items():
        assert [line for number, line in found if number == pid] == lines
    assert len(found) == sum(map(len, files.values()))


def test_a_member_that_is_cut_and_one_that_is_empty(tmp_path: Path) -> None:
    root = '1.0 execve("/bin/sh", ["sh"], 0x7 /* 6 vars */) = 0\n'
    (tmp_path / "log.5").write_text(root + "2.0 fork() = 6\n3.0 fork() = 7\n")
    (tmp_path / "log.6").write_text("2.5 +++ exited wi")
    (tmp_path / "log.7").write_text("")

    _, run = open_log([str(tmp_path / f"log.{pid}") for pid in (5, 6, 7)])

    batches = list(run)
    assert story(batches) == ["5 root; /bin/sh [sh]", "6 <- 5 fork=fork", "7 <- 5 fork=fork"]
    lost = [e for b in batches for e in b.events() if e.kind == Kind.LOST]
    assert [e.where for e in lost] == ["log.6 is cut in its last line (line 1)"]
