"""Takes whole lives (whole_lives.py) into a stream: judges them, and weaves their rows into those of the others.

Rows stand in the order of the tokens that they come from. The machine's rows of a block are marked with their token as
they are made, and the lives know theirs, so one sort puts them together. Knows arrays and tasks, and no text.
"""

from __future__ import annotations

from array import array
from collections import deque
from itertools import chain, compress
from operator import itemgetter
from typing import Any, Final, NamedTuple

from tracer.events import NULL, Batch, Kind
from tracer.importers.strace import tokens, values
from tracer.importers.strace.event_rows import COLUMNS
from tracer.importers.strace.lexer import TIME_NONE
from tracer.importers.strace.line_reader import Stream
from tracer.importers.strace.task import Task
from tracer.importers.strace.tokens import Block
from tracer.importers.strace.whole_lives import Lives

_TOMBS: Final = 65536
_FORK, _EXEC, _FAILED = int(Kind.FORK), int(Kind.EXEC), int(Kind.EXEC_FAILED)
_EXIT, _REAP = int(Kind.EXIT), int(Kind.REAP)


def _tomb() -> Task:
    """Stands for all who are over and whose SIGCHLD may still come."""
    task = Task(None)
    task.syscall = ""
    task.placed = task.seen = task.ready = task.final = task.dead = task.exit_line = task.reaped = True
    return task


class Marks:
    """The token of each row that the machine made of a block."""

    def __init__(self) -> None:
        self.token = 0
        self.count = 0
        self.tokens: list[int] = []

    def since(self, count: int) -> None:
        """There are `count` rows now: those that came since are of the token before."""
        if count < self.count:  # a batch was cut in between
            self.tokens.clear()
            self.count = 0
        self.tokens += [self.token] * (count - self.count)
        self.count = count


class Taken(NamedTuple):
    """Lives that are as they seem: which of the candidates, with whose births, and what tokens are left."""

    lives: Lives
    chosen: Any  # indices
    born: Any
    parents: dict[int, Task]
    rest: Any
    marks: Marks


class Taker:
    """For one stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.tomb = _tomb()
        self.tombs: deque[int] = deque()

    def take(self, block: Block, lives: Lives) -> Taken | None:
        """Judge the candidates; None if nothing can be taken now."""
        np, machine, rows = block.np, self.stream.machine, self.stream.rows
        if rows.queue or machine.pending or machine.early or machine.strays or self.stream.open_line is not None:
            return None
        parents = self._parents(block, lives)
        if not parents:
            return None
        ok = np.isin(lives.parent, np.fromiter(parents, np.int64, len(parents)))
        if block.clock == TIME_NONE:
            born = rows.sequence + 1 + np.argsort(np.argsort(lives.birth))
        else:
            born = block.ns[lives.birth] + self.stream.clock.base
        tasks, last_born = machine.tasks, rows.last_born
        pids, births = lives.child.tolist(), born.tolist()
        places = dict(zip(pids, range(len(pids)), strict=True))
        known = set(tasks.keys() & places.keys())
        for pid in known | (places.keys() & last_born.keys()):
            i, task = places[pid], tasks.get(pid)
            if (task is not None and not _over(task)) or births[i] <= last_born.get(pid, -1):
                ok[i] = False
        chosen = np.flatnonzero(ok)
        if not len(chosen):
            return None
        if block.clock == TIME_NONE:
            rows.sequence += len(pids)
        rest = ~(ok[np.maximum(lives.owner, 0)] & (lives.owner >= 0))
        if not machine.whole_lines or bool(lives.tail[chosen].any()):
            # Of a wait in two halves the second says all.
            plain = np.fromiter(parents, np.int64, len(parents))
            rest &= ~((block.kind == tokens.WAIT_HEAD) & np.isin(block.pid, plain))
        if len(chosen) < len(pids):
            picked = chosen.tolist()
            pids, births = [pids[i] for i in picked], [births[i] for i in picked]
        rows.last_born.update(zip(pids, births, strict=True))
        self._remember(lives.told[chosen], pids, known)
        self._note(lives, chosen, parents)
        rows.cut()
        rows.whole = True
        return Taken(lives, chosen, born, parents, np.flatnonzero(rest), Marks())

    def _parents(self, block: Block, lives: Lives) -> dict[int, Task]:
        """The parents that are known and plain, by pid; their name must not change in the block."""
        np, tasks = block.np, self.stream.machine.tasks
        execing = set(np.unique(block.pid[(block.kind == tokens.EXEC) | (block.kind == tokens.EXEC_TAIL)]).tolist())
        found: dict[int, Task] = {}
        for pid in np.unique(lives.parent).tolist():
            task = tasks.get(pid)
            if task is None or pid in execing or task.final or task.dead or task.lead is not task:
                continue
            if task.placed and task.seen and not task.in_ns and not task.kids:
                found[pid] = task
        return found

    def _remember(self, told: Any, pids: list[int], known: set[int]) -> None:
        """Whose SIGCHLD may still come, so that it is not taken for that of a new life."""
        tasks = self.stream.machine.tasks
        if told.all():
            for pid in known.intersection(pids) if known else ():
                del tasks[pid]
            return
        for pid in known.intersection(pids) if known else ():
            del tasks[pid]
        untold = list(compress(pids, (~told).tolist()))
        tasks.update(dict.fromkeys(untold, self.tomb))
        self.tombs += untold
        while len(self.tombs) > _TOMBS:
            pid = self.tombs.popleft()
            if tasks.get(pid) is self.tomb:
                del tasks[pid]

    def _note(self, lives: Lives, chosen: Any, parents: dict[int, Task]) -> None:
        """What the stream learns of the lives."""
        stream, machine = self.stream, self.stream.machine
        for task in parents.values():
            task.kids_blind = True
            task.children += 1
        stream.ends = machine.follows = True
        stream.signals = stream.signals or bool(lives.told[chosen].any())
        if lives.tail[chosen].any():
            machine.whole_lines = False
        machine.line += len(chosen)

    # -- rows

    def tell(self, block: Block, taken: Taken) -> None:
        """Weave the rows of the lives into those that the machine has made meanwhile, as one batch."""
        np, rows = block.np, self.stream.rows
        parts: list[tuple[int, Any, list[Any], list[list[Any]]]] = list(self._of_lives(block, taken))
        kinds = np.frombuffer(bytes(rows.kinds), np.uint8)
        marks = np.array(taken.marks.tokens, np.int64)
        for kind, flat in rows.ints.items():
            if flat:
                width, texts = len(COLUMNS[kind][0]), len(COLUMNS[kind][1])
                matrix = np.array(flat, np.int64).reshape(-1, width)
                columns = [matrix[:, i] for i in range(width)]
                words = rows.texts[kind]
                parts.append((kind, marks[kinds == kind], columns, [words[i::texts] for i in range(texts)]))
        places = np.concatenate([where for _, where, _, _ in parts])
        codes = np.concatenate([np.full(len(where), kind, np.uint8) for kind, where, _, _ in parts])
        order = np.argsort(places, kind="stable")
        made = {kind: self._woven(np, kind, parts) for kind in {kind for kind, _, _, _ in parts}}
        rows.out.append(Batch(codes[order].tobytes(), made))
        rows.clear()
        rows.whole = False

    def _woven(self, np: Any, kind: int, parts: list[tuple[int, Any, list[Any], list[list[Any]]]]) -> dict[str, Any]:
        own = [part for part in parts if part[0] == kind]
        names, texts = COLUMNS[kind]
        order = np.argsort(np.concatenate([where for _, where, _, _ in own]), kind="stable")
        part: dict[str, Any] = {}
        for i, name in enumerate(names):
            column = array("q")
            column.frombytes(np.concatenate([columns[i] for _, _, columns, _ in own])[order].tobytes())
            part[name] = column
        chosen = itemgetter(*order.tolist(), 0)  # the last one: of one item it would make no tuple
        for i, name in enumerate(texts):
            words = own[0][3][i] if len(own) == 1 else list(chain.from_iterable(lists[i] for _, _, _, lists in own))
            first = words[0]
            # How and by which call is mostly the same for all, and the same object: counting is quicker than picking.
            same = words.count(first) == len(words) if not isinstance(first, list) else False
            part[name] = words if same else list(chosen(words))[:-1]
        return part

    def _of_lives(self, block: Block, taken: Taken) -> Any:
        """(kind, tokens, columns of integers, columns of text) for each kind of row."""
        np, lives, chosen = block.np, taken.lives, taken.chosen
        timed = block.clock != TIME_NONE
        base = self.stream.clock.base
        n = len(chosen)
        null = np.full(n, NULL, np.int64)
        child, parent, born = lives.child[chosen], lives.parent[chosen], taken.born[chosen]
        makers = [taken.parents[pid] for pid in sorted(taken.parents)]
        maker = np.searchsorted(np.array(sorted(taken.parents), np.int64), parent)
        above = np.array([task.born for task in makers], np.int64)[maker]
        birth, end, wait = lives.birth[chosen], lives.exit[chosen], lives.wait[chosen]

        def stamps(at: Any) -> Any:
            return block.ns[at] + base if timed else np.full(len(at), NULL, np.int64)

        forms, form = lives.forms, lives.form[chosen]
        flags = np.array([flags for _, _, flags, _ in forms], np.int64)[form]
        signal = np.array([signal for _, _, _, signal in forms], np.int64)[form]
        names = [task.comm for task in makers]
        comms = [names[i] for i in maker.tolist()]
        forms_of = form.tolist()
        calls, hows = [call for call, _, _, _ in forms], [how for _, how, _, _ in forms]
        yield _FORK, birth, [stamps(birth), child, child, born, parent, parent, above, parent, above, flags, signal], [
            [hows[i] for i in forms_of], [calls[i] for i in forms_of], comms, ["measured"] * n,
        ]  # fmt: skip
        over = stamps(end)
        zero, one = np.zeros(n, np.int64), np.ones(n, np.int64)
        yield _EXIT, end, [over, child, child, born, block.value[end], null, zero, one, null], [["measured"] * n]
        done, zombie, exact = null, null, np.zeros(n, bool)
        if timed:
            whole = ~lives.tail[chosen]
            shown = block.duration[wait] >= 0
            done = stamps(wait) + np.where(whole & shown, block.duration[wait], 0)
            exact = ~whole | shown
            done = np.maximum(done, over)
            zombie = np.where(exact | (done > over), done - over, NULL)
        yield _REAP, wait, [done, child, child, born, parent, done, zombie, null, null, null, null, null], [
            ["measured" if e else "inferred" for e in exact.tolist()]
        ]
        yield from self._of_execs(np, lives, chosen, born, stamps)

    def _of_execs(self, np: Any, lives: Lives, chosen: Any, born: Any, stamps: Any) -> Any:
        execs = lives.execs
        if not len(execs.life):
            return
        number = np.full(len(lives.child), -1, np.int64)
        number[chosen] = np.arange(len(chosen))
        life, token = number[execs.life], execs.token
        child = lives.child[chosen]
        failed = np.array(list(map(bool, execs.errors)), bool)
        for kind, picked in ((_EXEC, (life >= 0) & ~failed), (_FAILED, (life >= 0) & failed)):
            at = np.flatnonzero(picked)
            if not len(at):
                continue
            lists: tuple[list[Any], ...] = execs[2:]
            exes, argvs, comms, errors = (
                column if len(at) == len(failed) else [column[i] for i in at.tolist()] for column in lists
            )
            pid = child[life[at]]
            ints = [stamps(token[at]), pid, pid, born[life[at]]]
            columns: list[list[Any]] = [exes, argvs]
            if kind == _EXEC:
                ints.append(pid)
                columns += [comms, [None] * len(at), ["measured"] * len(at)]
            else:
                ints.append(np.array([values.error_number(error) or 0 for error in errors], np.int64))
                columns.append(errors)
            yield kind, token[at], ints, columns


def _over(task: Task) -> bool:
    """Whether nothing of this life is still to be told."""
    return task.dead and task.placed and task.pending_reap is None and (task.reaped or task.exit_line)
