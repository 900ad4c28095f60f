"""Who is behind a storm: the ancestor as it is told, with those over it and the unit or container of its children.

Pure: lives in, a frozen Who out. Judges nothing.
"""

from __future__ import annotations

from typing import Final

from tracer.host.cgroups import place
from tracer.model.schema import NULL
from tracer.storms.finding import Who
from tracer.storms.signs import BUILDERS
from tracer.window.lineage import LIVING, Key, Life, Tally

_FEW: Final = 5
_LOOK_AT: Final = 2000


def key_of(life: Life) -> Key:
    """Its identity, or, where it is the last of a chain of copies, that of the first."""
    return life.origin or life.key


def weight(tally: Tally) -> int:
    """Births, those that failed included."""
    return tally.forks + tally.failures


def builds(life: Life) -> bool:
    """It, or one of the few above it, is a builder."""
    for _ in range(4):
        script = (life.argv or ("",))[1:2]
        names = {life.comm, *(word.rpartition("/")[2] for word in script)}
        if names & BUILDERS:
            return True
        life = life.parent
    return False


def inside(life: Life, top: Life) -> bool:
    """Whether `top` is it, or above it."""
    while life is not top:
        if life.parent is life:
            return False
        life = life.parent
    return True


def living_of(life: Life) -> tuple[int, ...]:
    """Itself; where it has ended, up to a few copies of it that go on in its place."""
    if life.state == LIVING:
        return (life.pid,)
    found: list[int] = []
    todo = [life]
    for _ in range(_LOOK_AT):
        if not todo or len(found) >= _FEW:
            break
        above = todo.pop()
        for kid in above.kids or ():
            if kid.alike[:2] == life.alike[:2]:
                todo.append(kid)
                if kid.state == LIVING:
                    found.append(kid.pid)
    return tuple(found[:_FEW])


def who_is(life: Life, seconds: range, before: Who | None, *, share: float) -> Who:
    """`before`: as it was told last; those above it were seen better then."""
    group = _busiest_group(life, seconds) or life.cgroup
    where = place(group) if group else None
    above: list[tuple[int, str | None]] = []
    up = life.parent
    while up.parent is not up and len(above) < 8:
        above.append((up.pid, up.comm))
        up = up.parent
    pid, born = key_of(life)
    pids = living_of(life)
    return Who(
        pid=pid,
        born_ns=born,
        comm=life.comm,
        argv=None if life.argv is None else tuple(life.argv),
        uid=None if life.uid == NULL else life.uid,
        cgroup=group,
        unit=where.unit if where else None,
        container=where.container if where else None,
        runtime=where.runtime if where else None,
        pod=where.pod if where else None,
        alive=bool(pids),
        pids=pids,
        above=before.above if before is not None else tuple(above),
        share=share,
    )


def _busiest_group(life: Life, seconds: range) -> str | None:
    """Where what it makes runs: pid 1 starts the services of others' groups."""
    groups: dict[str | None, int] = {}
    for alike, cell in (life.cells or {}).items():
        n = sum(weight(tally) for second, tally in cell.seconds.items() if second in seconds)
        groups[alike[2]] = groups.get(alike[2], 0) + n
    return max(groups, key=lambda group: groups[group]) if groups else None


def quantile(tally: Tally, q: float) -> int | None:
    """From counts by bit length: the geometric middle of the power of two in which it lies."""
    total = sum(tally.spans.values())
    seen = 0
    for bits in sorted(tally.spans):
        seen += tally.spans[bits]
        if seen >= q * total:
            return int(2 ** (bits - 0.5)) if bits > 0 else 0
    return None
