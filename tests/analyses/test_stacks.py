"""Sites: what is put together, and by whose name it goes."""

from __future__ import annotations

from tests.build import exec_, fork, root, stack, tree
from tracer.analyses.stacks import Site, comm_of, sites


def test_workers_that_are_alike_are_one() -> None:
    t = tree(
        root(1, "server"),
        *(fork(1, pid) for pid in (2, 3, 4)),
        *(stack(pid, 10, "memset", "fill", "serve", "main", before_exec=True) for pid in (2, 3, 4)),
        stack(1, 5, "memset", "fill", "serve", "main"),
    )
    found = sites(t)

    assert found.sites == (
        Site((1, 2, 3), "server", ("memset", "fill", "serve", "main"), 30),
        Site((0,), None, ("memset", "fill", "serve", "main"), 5),
    )
    assert (found.copies, found.samples, found.others, found.sampled) == (35, 35, 0, False)


def test_stacks_are_told_apart_by_three_functions_and_shown_as_far_as_they_agree() -> None:
    t = tree(
        root(1, "x"),
        stack(1, 3, "memset", "fill", "serve", "a", "loop", "main"),
        stack(1, 4, "memset", "fill", "serve", "a", "init", "main"),
        stack(1, 5, "memset", "fill", "warm", "main"),
    )

    assert [(site.frames, site.copies) for site in sites(t).sites] == [
        (("memset", "fill", "serve", "a"), 7),
        (("memset", "fill", "warm", "main"), 5),
    ]


def test_what_a_fork_wrote_before_its_exec_is_its_parents_code() -> None:
    t = tree(
        root(1, "/bin/sh", "-c", "..."),
        fork(1, 2),
        stack(2, 7, "fork", before_exec=True),
        exec_(2, "/bin/true"),
        stack(2, 1, "main"),
    )

    assert [(site.fork_of, site.frames) for site in sites(t).sites] == [("sh", ("fork",)), (None, ("main",))]
    assert comm_of(t, 1, True) == "sh"
    assert comm_of(t, 1, False) == "true"


def test_two_generations_of_forks_that_became_programs() -> None:
    t = tree(root(1, "sh"), fork(1, 2), fork(2, 3), stack(3, 1, "f", before_exec=True), exec_(3, "b"), exec_(2, "a"))

    assert comm_of(t, 2, True) == "sh"


def test_rows_of_one_stack_add_up_and_estimates_are_said_to_be_ones() -> None:
    t = tree(
        root(1, "x"),
        stack(1, 512, "f", "g", samples=2, evidence="inferred"),
        stack(1, 256, "f", "g", samples=1, evidence="inferred"),
    )
    found = sites(t)

    assert [(site.frames, site.copies) for site in found.sites] == [(("f", "g"), 768)]
    assert (found.samples, found.sampled) == (3, True)


def test_what_is_not_known_is_counted() -> None:
    t = tree(root(1, "x"), stack(1, 3, "[unknown]"), stack(1, 4, "alone"), stack(1, 5, "f", "g"))
    found = sites(t, limit=1)

    assert (found.alone, found.unknown, found.copies, found.others) == (4, 3, 12, 2)
    assert found.sites[0].frames == ("f", "g")


def test_a_stack_of_somebody_who_was_never_heard_of() -> None:
    t = tree(stack(9, 1, "f"))

    assert [(site.fork_of, site.copies) for site in sites(t).sites] == [(None, 1)]


def test_nothing() -> None:
    assert sites(tree(root(1, "x"))).sites == ()
