"""The tree: over random legal histories it says what is true, however it is fed; over lossy ones it shows the gaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import COUNTED, META, PROFILE, History, Life, Row, cut, cut_points, histories
from tracer.model.batch import Batch
from tracer.model.flags import flag_names
from tracer.model.meta import Fact, Meta
from tracer.model.schema import NULL, PROCESS_COLUMNS, Kind
from tracer.tree.columns import cpu_splits
from tracer.tree.tree import ProcessTree, signal_name

ROOT, A, B, C = 10, 11, 12, 13


def fed(batches: Iterable[Batch], meta: Meta = META) -> ProcessTree:
    tree = ProcessTree(meta)
    for batch in batches:
        tree.feed(batch)
    return tree


def tree_of(*rows: Row, meta: Meta = META, apart: bool = False) -> ProcessTree:
    """All in one batch, or each in its own."""
    return fed([Batch.from_rows([row]) for row in rows] if apart else [Batch.from_rows(rows)], meta)


def row(kind: Kind, pid: int, ts: int = 100, **values: Any) -> Row:
    """Born at pid * 10, and the process' first thread, unless `values` say otherwise."""
    return kind, {"ts_ns": ts, "pid": pid, "tid": pid, "born_ns": pid * 10, **values}


def fork(parent: int, child: int, ts: int = 100, **values: Any) -> Row:
    above = {"creator_pid": parent, "ppid": parent, "parent_born_ns": parent * 10}
    return row(Kind.FORK, child, ts, **{**above, "how": "fork", "clone_flags": 0, **values})


def root(pid: int = ROOT, **values: Any) -> Row:
    return row(Kind.EXISTING, pid, 50, how="root", ppid=1, parent_born_ns=1, **values)


def key(tree: ProcessTree, at: int | None) -> tuple[int, int] | None:
    return None if at is None else (tree.column("pid")[at], tree.column("born_ns")[at])


def picture(tree: ProcessTree) -> dict[str, Any]:
    """Everything a tree can be asked, so that two can be compared."""
    every = range(len(tree))
    return {
        "records": list(tree.records()),
        "children": [list(tree.children(at)) for at in every],
        "roots": tree.roots(),
        "states": [
            (tree.is_gap(at), tree.ended(at), tree.released(at), tree.zombie_since(at), tree.begin_ns(at))
            for at in every
        ],
        "execs": [tree.execs(at) for at in every],
        "threads": [tree.threads(at) for at in every],
        "losses": tree.losses,
        "span": (tree.first_ns, tree.last_ns),
        "counts": tree.counts,
        "end": tree.end,
    }


def truth(life: Life, rows: dict[tuple[int, int], int]) -> dict[str, Any]:
    """The record that a tree should have of a life."""
    counted = {n: max(0, life.sums[n] - life.base.get(n, 0)) if n in life.sums else None for n in COUNTED}
    user, system = None, None
    if counted["utime_ns"] is not None:
        (user,), (system,) = cpu_splits([counted["utime_ns"]], [counted["stime_ns"] or 0], [counted["runtime_ns"] or 0])
    last = life.execs[-1] if life.execs else None
    return {
        **dict.fromkeys(f.name for f in PROCESS_COLUMNS),
        "id": rows[life.key],
        "parent_id": rows[life.parent.key] if life.parent else None,
        "pid": life.pid,
        "ppid": life.ppid,
        "creator_pid": life.creator.pid if life.creator else None,
        "ns_pids": [life.pid, *range(1, 1 + life.depth)],
        "born_ns": life.born_ns,
        "how": life.how,
        "syscall": life.syscall,
        "flags": None if life.clone_flags is None else flag_names(life.clone_flags),
        "comm": life.comm,
        "exe": last[1] if last else None,
        "argv": last[2] if last else None,
        "interpreter": life.interpreter,
        "cwd": life.cwd,
        "execs": len(life.execs),
        "exec_ns": life.exec_ns,
        "exit_ns": life.exit_ns,
        "exit_code": life.exit_code,
        "signal": None if life.signal is None else signal_name(life.signal),
        "zombie_ns": life.zombie_ns,
        "reap_ns": life.reap_ns,
        "reaped_by": life.reaped_by,
        "adopted_by": life.adopted_by,
        "threads": len(life.threads),
        "uid": life.uid,
        "vfork_blocked_ns": life.vfork_blocked_ns,
        "cpu_user_ns": user,
        "cpu_system_ns": system,
        "min_flt": counted["min_flt"],
        "maj_flt": counted["maj_flt"],
        **{name: life.sums.get(name) for name in ("wp_faults", "cow_copies", "reuses")},
    }


# Random histories


@PROFILE
@given(histories(), cut_points)
def test_says_of_every_process_what_is_true_in_one_row(history: History, points: Sequence[int]) -> None:
    tree = fed(cut(history.rows, points))
    rows = {life.key: at for at, life in enumerate(history.lives)}

    assert list(tree.records()) == [truth(life, rows) for life in history.lives]
    for at, life in enumerate(history.lives):
        assert (tree.row(*life.key), tree.is_gap(at)) == (at, False)
        assert (tree.ended(at), tree.released(at)) == (life.exit_ns is not None, life.released)
        assert tree.zombie_since(at) == life.zombie_since
        assert tree.threads(at) == [(t.tid, t.born_ns, t.end_ns) for t in life.threads]
        said = [(e.ts_ns, e.exe, None if e.argv is None else list(e.argv), e.old_tid) for e in tree.execs(at)]
        assert said == life.execs


@PROFILE
@given(histories(), cut_points)
def test_cuts_in_the_stream_leave_no_trace(history: History, points: Sequence[int]) -> None:
    whole = fed([Batch.from_rows(history.rows)])

    assert picture(fed(cut(history.rows, points))) == picture(whole)


@PROFILE
@given(histories(), cut_points, st.data())
def test_whatever_is_lost_who_was_heard_of_has_a_row_and_a_gap(
    history: History, points: Sequence[int], data: st.DataObject
) -> None:
    keep = data.draw(st.lists(st.booleans(), min_size=len(history.rows), max_size=len(history.rows)))
    rows = [one for one, kept in zip(history.rows, keep, strict=True) if kept]
    tree = fed(cut(rows, points))
    whole = fed([Batch.from_rows(rows)])
    heard = {(v["pid"], v["born_ns"]) for _, v in rows if "pid" in v and v.get("how") != "io_worker"}
    seen = {(v["pid"], v["born_ns"]) for k, v in rows if k in (Kind.FORK, Kind.EXISTING) and v["pid"] == v["tid"]}

    assert sorted(key(tree, at) or () for at in range(len(tree))) == sorted(heard)
    assert {key(tree, at) for at in range(len(tree)) if not tree.is_gap(at)} == seen
    agrees_with_itself(tree)
    for process in seen:
        at, other = tree.row(*process), whole.row(*process)
        assert at is not None
        assert other is not None
        same = {"id": None, "parent_id": None}
        assert tree.record(at) | same == whole.record(other) | same
        assert key(tree, tree.parent(at)) == key(whole, whole.parent(other))


@PROFILE
@given(histories(), st.data())
def test_no_nonsense_makes_a_circle_or_an_exception(history: History, data: st.DataObject) -> None:
    """Rows in any order, with any parents: what a damaged or forged file could hold."""
    rows = data.draw(st.permutations(history.rows))
    keys = [life.key for life in history.lives]
    for kind, values in rows:
        if "ppid" in values and kind != Kind.ALIVE:
            values["ppid"], values["parent_born_ns"] = data.draw(st.sampled_from(keys))
    tree = fed(cut(rows, data.draw(cut_points)))

    agrees_with_itself(tree)


def agrees_with_itself(tree: ProcessTree) -> None:
    for at in range(len(tree)):
        children = list(tree.children(at))
        assert children == sorted(set(children))
        assert all(tree.parent(child) == at for child in children)
        above, steps = tree.parent(at), 0
        assert (above is None) == (at in tree.roots())
        assert above is None or at in tree.children(above)
        while above is not None:
            above, steps = tree.parent(above), steps + 1
            assert steps <= len(tree), "a process is its own ancestor"


@PROFILE
@given(histories(), st.booleans())
def test_record_column_and_value_say_the_same(history: History, threads: bool) -> None:
    tree = fed([Batch.from_rows(history.rows)], META if threads else Meta("strace"))
    records = list(tree.records())

    assert [list(record) for record in records] == [[c.name for c in PROCESS_COLUMNS]] * len(tree)
    for name, type_ in ((c.name, c.type) for c in PROCESS_COLUMNS):
        column = [plain(v, type_) for v in tree.column(name)]
        assert column == [record[name] for record in records], name
        assert column == [tree.value(at, name) for at in range(len(tree))], name


def plain(value: Any, type_: str) -> Any:
    if value is None or (type_ in "ib" and value == NULL):
        return None
    return bool(value) if type_ == "b" else list(value) if type_ in "SI" else value


# One thing at a time


def test_a_fork_record_overrides_what_was_guessed_about_parentage() -> None:
    late = fork(ROOT, A, how="vfork", ts=200)
    tree = tree_of(root(), row(Kind.EXIT, A, ppid=B, parent_born_ns=B * 10, last=True), fork(ROOT, B), late, apart=True)
    at = tree.row(A, A * 10)

    assert at is not None
    assert (tree.parent(at), tree.is_gap(at), tree.value(at, "how")) == (0, False, "vfork")


@pytest.mark.parametrize("apart", [False, True])
def test_a_source_may_put_a_birth_right(apart: bool) -> None:
    """strace knows a child by its end before the fork that made it has returned."""
    guessed = fork(ROOT, B, how=None, clone_flags=None, evidence="inferred")
    put_right = fork(A, B, clone_flags=0x8000, ppid=ROOT, parent_born_ns=ROOT * 10)
    told = tree_of(root(), fork(ROOT, A), guessed, put_right, apart=apart)

    assert (len(told), told.record(2)["how"], told.record(2)["flags"]) == (3, "fork", ["CLONE_PARENT"])
    assert (told.record(2)["creator_pid"], told.parent(2)) == (A, 0)


def test_what_was_there_before_does_not_override_a_fork_record() -> None:
    tree = tree_of(root(), fork(ROOT, A), row(Kind.EXISTING, A, ppid=1, how="existing", parent_born_ns=1), apart=True)

    assert (tree.parent(1), tree.value(1, "how"), len(tree)) == (0, "fork", 2)


@pytest.mark.parametrize("apart", [False, True])
def test_parent_heard_of_only_after_its_child(apart: bool) -> None:
    tree = tree_of(root(), fork(A, B), row(Kind.EXIT, A, last=True), fork(ROOT, C), apart=apart)
    child, parent = tree.row(B, B * 10), tree.row(A, A * 10)

    assert child is not None
    assert parent is not None
    assert (tree.parent(child), tree.is_gap(parent), list(tree.children(parent))) == (parent, True, [child])


def test_same_pid_born_again_is_another_process() -> None:
    tree = tree_of(root(), fork(ROOT, A), row(Kind.EXIT, A, last=True, exit_code=3), fork(ROOT, A, born_ns=999))

    assert len(tree) == 3
    assert (tree.value(1, "exit_code"), tree.value(2, "exit_code")) == (3, None)


@pytest.mark.parametrize("apart", [False, True])
def test_name_is_the_last_one_given_be_it_by_exec_or_by_rename(apart: bool) -> None:
    renamed = row(Kind.RENAME, A, 110, comm="first")
    image = row(Kind.EXEC, A, 120, comm="image")

    assert tree_of(fork(ROOT, A), renamed, image, apart=apart).value(0, "comm") == "image"
    assert tree_of(fork(ROOT, A), image, row(Kind.RENAME, A, 130, comm="own"), apart=apart).value(0, "comm") == "own"


@pytest.mark.parametrize("apart", [False, True])
def test_adopted_by_names_the_first_new_parent(apart: bool) -> None:
    ends = row(Kind.EXIT, A, 110, tid=99, ppid=B, last=False)
    tree = tree_of(root(), fork(ROOT, A), ends, row(Kind.EXEC, A, 120, ppid=1), apart=apart)

    assert tree.value(1, "adopted_by") == B


@pytest.mark.parametrize("apart", [False, True])
def test_thread_ids_are_used_again(apart: bool) -> None:
    threads = [
        row(Kind.FORK, A, 110, tid=99),
        row(Kind.EXIT, A, 120, tid=99, last=False),
        row(Kind.FORK, A, 130, tid=99),
        row(Kind.EXIT, A, 140, tid=99, last=False),
        row(Kind.FORK, A, 150, tid=99),
    ]
    tree = tree_of(root(), fork(ROOT, A), *threads, apart=apart)

    assert tree.threads(1) == [(99, 110, 120), (99, 130, 140), (99, 150, None)]
    assert tree.value(1, "threads") == 3


def test_a_thread_that_calls_exec_becomes_the_leader_and_ends_as_a_thread() -> None:
    image = row(Kind.EXEC, A, 120, old_tid=99)
    tree = tree_of(root(), fork(ROOT, A), row(Kind.FORK, A, 110, tid=99), image)

    assert tree.threads(1) == [(99, 110, 120)]


def test_a_leader_that_ends_first_does_not_end_its_process() -> None:
    leader = row(Kind.EXIT, A, 110, last=False, exit_code=3, min_flt=5)
    tree = tree_of(root(), fork(ROOT, A), row(Kind.FORK, A, tid=99), leader)

    assert (tree.ended(1), tree.value(1, "exit_code"), tree.value(1, "min_flt")) == (False, None, 5)

    tree.feed(Batch.from_rows([row(Kind.EXIT, A, 120, tid=99, last=True, exit_code=5, min_flt=2)]))

    assert (tree.ended(1), tree.value(1, "exit_code"), tree.value(1, "min_flt")) == (True, 5, 7)


def test_figures_of_the_root_begin_at_its_first_exec_and_no_one_elses_do() -> None:
    used = dict.fromkeys(COUNTED, 1000)
    more = dict.fromkeys(COUNTED, 1500)
    tree = tree_of(
        root(),
        row(Kind.EXEC, ROOT, **used),
        row(Kind.EXEC, ROOT, 150, **more),
        row(Kind.EXIT, ROOT, 200, **more),
        fork(ROOT, A),
        row(Kind.EXEC, A, **used),
        row(Kind.EXIT, A, **more),
    )

    assert (tree.value(0, "min_flt"), tree.value(1, "min_flt")) == (500, 1500)
    assert (tree.value(0, "cpu_user_ns"), tree.value(0, "cpu_system_ns")) == (250, 250)
    assert tree.value(0, "execs") == 2


def test_not_measured_is_null_and_never_zero() -> None:
    tree = tree_of(row(Kind.FORK, A, how="fork", clone_flags=None), meta=Meta("strace"))
    null = {f.name for f in PROCESS_COLUMNS} - {"id", "pid", "born_ns", "how", "execs"}

    assert {name for name, value in tree.record(0).items() if value is None} == null
    assert tree_of(row(Kind.FORK, A), meta=Meta("x", frozenset({Fact.THREADS}))).value(0, "threads") == 0


def test_vfork_keeps_its_parent_until_exec_gave_the_memory_back_or_until_the_end() -> None:
    born = fork(ROOT, A, 100, how="vfork")

    assert tree_of(born, row(Kind.EXEC, A, 130, vfork_done_ns=120)).value(0, "vfork_blocked_ns") == 20
    assert tree_of(born, row(Kind.EXEC, A, 130)).value(0, "vfork_blocked_ns") == 30
    assert tree_of(born, row(Kind.EXIT, A, 140, last=True)).value(0, "vfork_blocked_ns") == 40
    assert tree_of(fork(ROOT, A), row(Kind.EXEC, A, 130)).value(0, "vfork_blocked_ns") is None


def test_words_of_a_later_exec_replace_those_of_an_earlier_even_by_unknown() -> None:
    first = row(Kind.EXEC, A, 110, exe="/bin/a", argv=["a", "b"], cwd="/", interpreter="/bin/sh")
    tree = tree_of(fork(ROOT, A), first, row(Kind.EXEC, A, 120), apart=True)

    assert [tree.value(0, name) for name in ("exe", "argv", "cwd", "interpreter", "execs")] == [None] * 4 + [2]


def test_words_stay_with_their_process_when_others_are_born_in_between() -> None:
    def image(pid: int) -> Row:
        return row(Kind.EXEC, pid, cwd=f"/{pid}", interpreter=f"i{pid}")

    tree = tree_of(fork(1, A), fork(1, B), image(A), fork(1, C), image(C), row(Kind.EXEC, B), apart=True)

    assert tree.column("cwd") == [f"/{A}", None, f"/{C}"]
    assert tree.column("interpreter") == [f"i{A}", None, f"i{C}"]


def test_losses_failures_and_the_end_are_kept() -> None:
    tree = tree_of(
        root(),
        (Kind.LOST, {"ts_ns": 60, "count": 7, "where": "events ring"}),
        (Kind.LOST, {"count": 1}),
        row(Kind.EXEC_FAILED, ROOT, error="ENOENT"),
        row(Kind.FORK_FAILED, ROOT, error="EAGAIN"),
        (Kind.END, {"ts_ns": 500, "count": 4}),
    )

    assert [(loss.time_ns, loss.count, loss.where) for loss in tree.losses] == [(60, 7, "events ring"), (None, 1, None)]
    assert [e.error for e in (*tree.failed_execs, *tree.failed_forks)] == ["ENOENT", "EAGAIN"]
    assert tree.end is not None
    assert (tree.first_ns, tree.last_ns, tree.counts["lost"], len(tree)) == (50, 100, 2, 1)


def test_decay_is_summed_by_process_and_by_what_it_counts_from() -> None:
    def decay(own: bool, *counts: int) -> Row:
        return row(Kind.DECAY, A, since_own_fork=own, decay=list(counts))

    tree = tree_of(fork(ROOT, A), decay(False, 1, 2), decay(True, 5, 5), decay(False, 10, 20))

    assert tree.decay == {(0, False): [11, 22], (0, True): [5, 5]}


def test_decay_of_no_process_is_of_small_ones_together_and_makes_no_row() -> None:
    small = {"since_own_fork": False, "decay": [3, 4]}
    tree = tree_of(fork(ROOT, A), (Kind.DECAY, small), (Kind.DECAY, {**small, "pid": None}))

    assert len(tree) == 1
    assert tree.decay == {(-1, False): [6, 8]}


def test_what_is_copied_before_the_first_exec_is_known_apart() -> None:
    early = row(Kind.FAULTS, A, cow_copies=30, before_exec=True, parent_cow_birth=5, parent_cow_end=9)
    tree = tree_of(fork(ROOT, A), early, row(Kind.FAULTS, A, cow_copies=12, before_exec=False), apart=True)

    assert tree.value(0, "cow_copies") == 42
    assert tree.value(0, "cow_before_exec") == 30
    assert (tree.value(0, "parent_cow_birth"), tree.value(0, "parent_cow_end")) == (5, 9)


@pytest.mark.parametrize(
    ("number", "name"), [(9, "SIGKILL"), (34, "SIGRTMIN"), (37, "SIGRTMIN+3"), (64, "SIGRTMAX"), (99, "SIG99")]
)
def test_signals_have_names(number: int, name: str) -> None:
    assert signal_name(number) == name
