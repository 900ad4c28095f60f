"""Short lives: what comes again and again, what is searched for, which shells were not needed, and which were."""

from __future__ import annotations

import pytest

from tests.build import Step, after, exec_, exec_failed, exit_, fork, reap, root, tree, vfork
from tracer.analyses.churn import Churn, churn


def of(*steps: Step, least: int = 3) -> Churn:
    return churn(tree(*steps), least=least)


def shell(pid: int, *argv: str, then: tuple[str, ...] = ("ls", "-l"), in_place: bool = False) -> list[Step]:
    """A shell that runs one command, in itself or in a child."""
    begin = [fork(1, pid), exec_(pid, *argv)]
    if in_place:
        return [*begin, after(1), exec_(pid, *then), exit_(pid), reap(pid, 1)]
    child = pid + 1000
    return [*begin, vfork(pid, child), exec_(child, *then), after(5), exit_(child), reap(child, pid), exit_(pid)]


def test_commands_that_come_again_are_one_template() -> None:
    steps = [root(1, "sh")]
    for i in range(7):
        steps += [fork(1, 10 + i), exec_(10 + i, "date", "+%s"), exit_(10 + i), reap(10 + i, 1, runtime_ns=1000)]
        steps += [fork(1, 50 + i), exec_(50 + i, "expr", str(i)), exit_(50 + i), reap(50 + i, 1, runtime_ns=2000)]

    found = of(*steps).repeated

    assert {(each.words, each.count, each.parents, each.cpu_ns) for each in found} == {
        (("date", "+%s"), 7, 1, 7000),
        (("expr", None), 7, 1, 14_000),
    }
    assert {each.life_ns for each in found} == {2_000_000}


def test_long_lives_and_few_are_no_churn() -> None:
    steps = [root(1, "sh")]
    for i in range(7):
        steps += [fork(1, 10 + i), exec_(10 + i, "cc"), after(30), exit_(10 + i)]
    steps += [fork(1, 90), exec_(90, "date"), exit_(90), exit_(1)]
    found = of(*steps)

    assert (found.repeated, found.short, found.ended) == ((), 1, 9)


def test_a_search_along_the_path_is_counted_by_name() -> None:
    folders = ("/usr/local/bin/", "/usr/bin/", "/bin/")
    steps = [root(1, "sh")]
    for pid, name in ((10, "cc"), (11, "cc"), (12, "nowhere")):
        steps += [fork(1, pid), *(exec_failed(pid, folder + name) for folder in folders)]
        steps += [exec_(pid, "/opt/" + name)] if name == "cc" else []
        steps += [exit_(pid)]
    found = of(*steps).probing

    assert [(p.name, p.failed, p.processes, p.found, p.wasted_ns) for p in found] == [
        ("cc", 6, 2, 2, 4_000_000),
        ("nowhere", 3, 1, 0, 2_000_000),
    ]


def test_one_missing_file_and_another_error_are_no_search() -> None:
    found = of(
        root(1, "sh"),
        fork(1, 10),
        exec_failed(10, "/bin/a"),
        exec_failed(10, "/bin/b", error="EACCES"),
        exec_failed(10, "/usr/bin/b", error="EACCES"),
        exec_failed(10, "c"),
        exec_failed(10, "c"),
    )

    assert found.probing == ()


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize(
    "argv", [("sh", "-c", "ls -l"), ("/bin/bash", "-c", "exec ls -l"), ("busybox", "sh", "-c", "ls -l")]
)
def test_a_shell_around_one_plain_command(argv: tuple[str, ...], in_place: bool) -> None:
    found = of(root(1, "make"), *shell(10, *argv, in_place=in_place), *shell(20, *argv, in_place=in_place)).wrapped

    assert [(w.script, w.count, w.in_place) for w in found] == [(argv[-1], 2, 2 if in_place else 0)]
    assert found[0].own_ns == (4_000_000 if in_place else 8_000_000)


@pytest.mark.parametrize(
    "script",
    [
        "ls -l | wc",
        "ls *",
        "ls $HOME",
        "A=1 ls",
        "ls > x",
        "cd / && ls",
        "if true",
        "ls; ls",
        "echo 'a b'",
        "ls ~",
        "",
        "test -f x",
        "ls\nls",
        "ls `x`",
        "(ls)",
        "ls 2>&1",
        "-ls",
    ],
)
def test_a_shell_that_had_something_to_do(script: str) -> None:
    assert of(root(1, "make"), *shell(10, "sh", "-c", script)).wrapped == ()


def test_a_shell_that_did_more_than_one_thing_or_took_arguments() -> None:
    more = [*shell(10, "sh", "-c", "ls -l")[:-1], vfork(10, 2000), exec_(2000, "ls"), exit_(2000), exit_(10)]

    assert of(root(1, "make"), *more).wrapped == ()
    assert of(root(1, "make"), *shell(10, "sh", "-c", "ls -l", "x")).wrapped == ()
    assert of(root(1, "make"), *shell(10, "python3", "-c", "ls -l")).wrapped == ()
    assert of(root(1, "make"), *shell(10, "sh", "-c", "ls -l", then=("cat",))).wrapped == ()
