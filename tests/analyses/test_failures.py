"""What failed, by why."""

from __future__ import annotations

from tests.build import META, exec_, exec_failed, exit_, fork, fork_failed, root, tree
from tracer.analyses.failures import Ended, Failed, Failures, failures
from tracer.model.meta import Fact


def test_calls_by_error_and_cause_and_ends_by_program() -> None:
    t = tree(
        root(1, "server"),
        *(fork_failed(1, cause="pids.max 50/50 of /x", evidence="measured") for _ in range(3)),
        fork_failed(1, "ENOMEM"),
        fork(1, 2),
        exec_failed(2, "/bin/a"),
        exec_(2, "/opt/a"),
        exit_(2, 3),
        fork(1, 3),
        exec_(3, "/opt/a"),
        exit_(3, 3),
        fork(1, 4),
        exec_(4, "b"),
        exit_(4, signal=9, oom_killed=True),
        fork(1, 5),
        exit_(5),
    )

    assert failures(t) == Failures(
        forks=(
            Failed("EAGAIN", "pids.max 50/50 of /x", True, None, 3, (0,)),
            Failed("ENOMEM", None, False, None, 1, (0,)),
        ),
        execs=(Failed("ENOENT", None, False, "/bin/a", 1, (1,)),),
        ends=(Ended("a", 3, None, 2), Ended("b", None, "SIGKILL", 1)),
        oom_killed=(3,),
    )


def test_what_a_source_can_not_see_is_none_and_what_did_not_happen_is_empty() -> None:
    blind = failures(tree(root(1, "a"), meta=META, facts=frozenset({Fact.ARGV})))
    well = failures(tree(root(1, "a"), exit_(1)))

    assert blind == Failures(None, None, None, ())
    assert well == Failures((), (), (), ())
