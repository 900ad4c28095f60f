"""A run as it is compared with others: which processes are taken together, and what is known of them."""

from __future__ import annotations

from tests.build import exec_, existing, exit_, fork, root, tree
from tracer.analyses.profile import Places, profile, template


def test_who_never_became_a_program_goes_by_the_name_of_its_parent() -> None:
    assert template(None, "x") == template([], "x") == "(x)"
    assert template(None, None) == "(?)"
    assert template(["/bin/ls"], "x") == "ls"


def test_processes_of_one_place_and_one_command_are_taken_together() -> None:
    places = Places()
    run = profile(
        tree(
            root(1),
            exec_(1, "./new"),
            fork(1, 2),
            exec_(2, "make"),
            fork(2, 3),
            exec_(3, "cc", "-c", "1.c"),
            exit_(3, code=1),
            fork(2, 4),
            exec_(4, "cc", "-c", "2.c"),
            exit_(4),
            fork(1, 5),
            exec_(5, "cc", "-c", "3.c"),
        ),
        places,
    )
    found = {(places.names(at), words): (group.processes, group.failed) for (at, words), group in run.groups.items()}

    assert found[("make",), "cc -c …"] == (2, 1)
    assert found[(), "cc -c …"] == (1, 0)
    assert found[(), "make"] == (1, 0)
    assert run.total["processes"] == 5


def test_what_was_there_before_is_none_of_the_run() -> None:
    run = profile(tree(existing(7), root(1)), Places())

    assert run.total["processes"] == 1
