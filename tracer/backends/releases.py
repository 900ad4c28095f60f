"""Zombies, waits and releases of one read, taken through _reaps.py in the ring's order; most of them in bulk.

    walk(codes, columns, reaps)     one by one: the truth
    bulk(run, columns, reaps)       the same, but a child whose parent was blocked in a wait as it ended, and whose
                                    release is in the same run, never meets Python: nothing else can touch it; and
                                    parents of many that come for any of their children are taken one by one (_polls.py)

In a storm that is most children. What is left is walked, in order, so the two agree in every row and in what they
remember; where they might not (one child told of twice, a look at all tasks, exact reaps), `bulk` returns None.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from tracer.backends import wire
from tracer.backends.polls import polls
from tracer.backends.reaps import Late, Process, Reaps, Taken, Zombie
from tracer.model.schema import NULL

RELEASES: Final = frozenset({wire.ZOMBIE, wire.WAIT, wire.FREE, wire.REAP, wire.ADOPT})
_PID_BITS, _SPAN_BITS = 22, 41  # of pids as the kernel makes them, and of ns
_NOT_WALKED: Final = bytes(code for code in range(256) if code not in RELEASES)


class Releases(NamedTuple):
    """Of each ZOMBIE and ADOPT record: is it an event? Of each FREE: what is known. `adopted`: at, process, parent."""

    told: Sequence[bool]
    moved: Sequence[bool]
    reap_ns: array[int]
    zombie_ns: array[int]
    evidence: list[str | None]
    adopted: list[tuple[int, Process, int]]


def walk(codes: bytes | bytearray, columns: Mapping[int, wire.Columns], reaps: Reaps) -> Releases:
    """Of the records of `columns`, in the order in which their kinds stand in `codes`."""
    return _walk(codes, columns, reaps, reaps.pending)


def _walk(
    codes: bytes | bytearray, columns: Mapping[int, wire.Columns], reaps: Reaps, pending: dict[Process, Zombie | Taken]
) -> Releases:
    rows = {kind: iter(_ROWS[kind](columns[kind])) if kind in columns else iter(()) for kind in RELEASES}
    zombies, frees, others = rows[wire.ZOMBIE], rows[wire.FREE], rows
    told: list[bool] = []
    reap_ns, zombie_ns = array("q"), array("q")
    evidence: list[str | None] = []
    zombie = reaps.zombie
    waited = wire.WAITED
    moved: list[bool] = []
    adopted: list[tuple[int, Process, int]] = []
    for kind in codes.translate(None, _NOT_WALKED):
        if kind == wire.FREE:
            pid, tid, born, signal = next(frees)
            if pid != tid:
                reap_ns.append(NULL)
                zombie_ns.append(NULL)
                evidence.append(None)
                continue
            known = pending.pop((pid, born), None)
            if type(known) is tuple:  # its parent was waiting, as it nearly always is
                reap_ns.append(known[0])
                zombie_ns.append(known[2] or 0)
                evidence.append("inferred")
                continue
            reaped_at, lasted, sure = reaps.released(known, signal)
            reap_ns.append(NULL if reaped_at is None else reaped_at)
            zombie_ns.append(NULL if lasted is None else lasted)
            evidence.append(sure)
        elif kind == wire.ZOMBIE:
            at, pid, born, flags, parent, pgid = next(zombies)
            if flags & wire.SNAPSHOT:
                told.append(reaps.found((pid, born), at, parent, pgid))
                continue
            if flags & waited:
                pending.setdefault((pid, born), (at, parent, None))
                told.append(False)
                continue
            told.append(
                zombie(
                    (pid, born),
                    at,
                    parent,
                    pgid,
                    waited=False,
                    maybe=flags & wire.MAYBE != 0,
                    auto=flags & wire.AUTOREAP != 0,
                )
            )
        elif kind == wire.WAIT:
            at, pid, target = next(others[kind])
            reaps.wait(pid, at, target)
        elif kind == wire.ADOPT:
            at, old, flags, parent, child = next(others[kind])
            process = reaps.adopted(old, child, parent, at, waited=flags & waited != 0) if child else None
            moved.append(process is not None)
            if process is not None:
                adopted.append((at, process, parent))
        else:
            at, pid, born = next(others[kind])
            reaps.exact((pid, born), at)
    return Releases(told, moved, reap_ns, zombie_ns, evidence, adopted)


def bulk(run: wire.Run, columns: Mapping[int, wire.Columns], reaps: Reaps) -> Releases | None:
    """As `walk`; None, and nothing done, where only that can tell."""
    np = run.np
    if np is None or wire.REAP in columns or wire.ZOMBIE not in columns:
        return None
    z = columns[wire.ZOMBIE]
    f = columns.get(wire.FREE) or wire.Columns(b"", wire.FREE)
    pids, borns, flags = z.view(np, "pid"), z.view(np, "born_ns"), z.view(np, "flags")
    if (flags & wire.SNAPSHOT).any() or (pids >> _PID_BITS).any():
        return None
    # Identities as one number each, of those born in the last 36 minutes; others are walked.
    least = max(int(borns.max()) - (1 << _SPAN_BITS) + 1, 0)
    young = borns >= least
    keys = _numbers(np, pids, borns, least)
    if _twice(np, keys[young]):
        return None
    late = reaps.late
    if late is not None and int(late.borns[0]) < least:
        late = None
    held = reaps.held if late is not None else reaps.pending
    late_keys = np.zeros(0, np.uint64) if late is None else _numbers(np, late.pids, late.borns, least)
    if _any_of(np, keys, late_keys) or _any_held(np, held, pids, borns):
        return None

    free_pids, free_borns = f.view(np, "pid"), f.view(np, "born_ns")
    own = free_pids == f.view(np, "tid")  # a thread's goes by its process' birth, and says nothing of it
    free_keys = _numbers(np, free_pids, free_borns, least)
    polled = polls(run, columns, reaps, keys=keys, young=young, own=own, free_keys=free_keys, least=least)

    # Of children that somebody was waiting for, or came for: which release belongs to which end?
    waited = young & (flags & wire.WAITED != 0)
    quick = np.flatnonzero(waited | polled.taken)
    quick = quick[np.argsort(keys[quick], kind="stable")]
    met, ends = np.zeros(f.n, bool), quick[:0]
    if len(quick) and f.n:
        at = quick[np.minimum(np.searchsorted(keys[quick], free_keys), len(quick) - 1)]
        met = own & (borns[at] == free_borns) & (pids[at] == free_pids)
        ends = at[met]
        if _twice(np, ends) or (run.where(wire.ZOMBIE)[ends] > run.where(wire.FREE)[met]).any():
            return None
    reap_ns, zombie_ns = np.full(f.n, NULL), np.full(f.n, NULL)
    reaped, lasted = np.where(waited, z.view(np, "time_ns").astype("i8"), polled.reap_ns), polled.zombie_ns
    reap_ns[met], zombie_ns[met] = reaped[ends], lasted[ends]

    # Others ended in an earlier run.
    older = np.flatnonzero(own & ~met)
    if late is not None and len(older):
        at = np.minimum(np.searchsorted(late_keys, free_keys[older]), len(late_keys) - 1)
        same = (late.borns[at] == free_borns[older]) & (late.pids[at] == free_pids[older])
        before, at = older[same], at[same]
        if _twice(np, at):
            return None
        reap_ns[before], zombie_ns[before] = late.reap_ns[at], late.zombie_ns[at]
        older, stay = older[~same], np.ones(len(late_keys), bool)
        stay[at] = False
        late = late.only(stay)
    gone = list(zip(free_pids[older].tolist(), free_borns[older].astype("i8").tolist(), strict=True))
    if len(set(gone)) < len(gone):
        return None
    reaps.late = late  # from here on nothing turns back
    polled.settle(reaps)
    known = list(map(held.get, gone))
    plain = np.fromiter((type(each) is tuple for each in known), bool, len(known))
    reap_ns[older[plain]] = [each[0] for each in known if type(each) is tuple]
    zombie_ns[older[plain]] = [each[2] or 0 for each in known if type(each) is tuple]
    for child, each in zip(gone, known, strict=True):
        if type(each) is tuple:
            del held[child]

    # What is left is walked, in order; then those that nobody has let go of yet are remembered.
    rest_z, rest_f = ~(waited | polled.of), np.zeros(f.n, bool)
    rest_f[older[~plain]] = True
    picked = {kind: c for kind, c in columns.items() if kind == wire.ADOPT}
    waits = columns.get(wire.WAIT)
    rest_w = ~polled.waits
    if waits is not None:
        picked[wire.WAIT] = waits.picked(rest_w)
    picked |= {wire.ZOMBIE: z.picked(rest_z), wire.FREE: f.picked(rest_f)}
    numbers = np.concatenate(
        [
            run.where(wire.ADOPT),
            run.where(wire.WAIT)[rest_w],
            run.where(wire.ZOMBIE)[rest_z],
            run.where(wire.FREE)[rest_f],
        ]
    )
    numbers.sort()
    # None of these is among the late: each has a record of its own in this run, or was looked for there.
    walked = _walk(run.kinds[numbers].astype("u1").tobytes(), picked, reaps, held)
    kept = waited | polled.taken
    kept[ends] = False
    kept = np.flatnonzero(kept)
    if len(kept):
        fresh = Late(pids[kept], borns[kept], reaped[kept], z.view(np, "parent_pid")[kept], lasted[kept], waited[kept])
        both = fresh if late is None else Late(*(np.concatenate(pair) for pair in zip(late, fresh, strict=True)))
        order = np.argsort(_numbers(np, both.pids, both.borns, least), kind="stable")
        reaps.late = Late(*(column[order] for column in both))

    told = np.ones(z.n, bool)
    told[waited] = False
    told[rest_z] = walked.told
    reap_ns[rest_f], zombie_ns[rest_f] = walked.reap_ns, walked.zombie_ns
    evidence: list[str | None] = ["inferred"] * f.n
    for number in np.flatnonzero(~own).tolist():
        evidence[number] = None
    for number, sure in zip(np.flatnonzero(rest_f).tolist(), walked.evidence, strict=True):
        evidence[number] = sure
    reaped_at, zombie_for = array("q", reap_ns.tobytes()), array("q", zombie_ns.tobytes())
    return Releases(told.tolist(), walked.moved, reaped_at, zombie_for, evidence, walked.adopted)


def _numbers(np: Any, pids: Any, borns: Any, least: int) -> Any:
    return (borns - np.uint64(least)) << np.uint64(_PID_BITS) | pids


def _any_of(np: Any, numbers: Any, ordered: Any) -> bool:
    """Whether one of them is among others that are in order."""
    if not len(ordered):
        return False
    at = np.minimum(np.searchsorted(ordered, numbers), len(ordered) - 1)
    return bool((ordered[at] == numbers).any())


def _any_held(np: Any, held: Mapping[Process, object], pids: Any, borns: Any) -> bool:
    """Whether one of these processes is among the held."""
    if not held:
        return False
    if len(held) > len(pids):
        return not held.keys().isdisjoint(zip(pids.tolist(), borns.tolist(), strict=True))
    perhaps = np.isin(pids, np.fromiter((pid for pid, _ in held), np.int64, len(held)))
    return not held.keys().isdisjoint(zip(pids[perhaps].tolist(), borns[perhaps].tolist(), strict=True))


def _twice(np: Any, numbers: Any) -> bool:
    """Whether one is there more than once. Nearly sorted as they are, numpy.unique is slower."""
    ordered = np.sort(numbers, kind="stable")
    return bool((ordered[1:] == ordered[:-1]).any())


def _zip(*names: str) -> Callable[[wire.Columns], Iterable[tuple[int, ...]]]:
    return lambda c: zip(*(c.narrow(n) for n in names), strict=True)


_ROWS: Final[Mapping[int, Callable[[wire.Columns], Iterable[Any]]]] = {
    wire.ZOMBIE: _zip("time_ns", "pid", "born_ns", "flags", "parent_pid", "pgid"),
    wire.WAIT: _zip("time_ns", "pid", "target"),
    wire.REAP: _zip("time_ns", "pid", "born_ns"),
    wire.ADOPT: _zip("time_ns", "pid", "flags", "parent_pid", "child_pid"),
    wire.FREE: _zip("pid", "tid", "born_ns", "exit_signal"),
}
