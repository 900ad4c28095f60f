"""The screen as plain data: a snapshot, what the user has set, and a size become rows of text and styles.

    model = Model(terminal); frame = model.frame(snapshot, scene, width, height)

Pure and testable without a terminal; `view` has what keys change. Everything from outside is made harmless here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import Final

from tracer.live import columns as figures
from tracer.live import details, head, help_page
from tracer.live.columns import TOP, TREE, Column, Figures
from tracer.live.fork_rate_tree import Branch, Order, busiest_first
from tracer.live.head import Scene
from tracer.live.screen import Frame
from tracer.live.snapshot import BACK_S, SECTIONS, Snapshot
from tracer.live.view import View
from tracer.reports.console.spans import Spans, fitted
from tracer.reports.terminal import Terminal, clean
from tracer.reports.words import count
from tracer.window.attribution import Group

_NAMES: Final = {"ancestor": "BUSIEST ANCESTORS", "template": "COMMANDS", "cgroup": "CONTROL GROUPS"}
_BLIND: Final = {"failed": "failures", "zombies": "zombies", "copies": "copies"}

Commands = Callable[[Group], Sequence[tuple[str, int]]]


def _of_branch(name: str) -> Order:
    def order(branch: Branch) -> tuple[object, ...]:
        tally = branch.own.tally
        values = {
            "execs": tally.execs,
            "exits": tally.exits,
            "failed": branch.failures_below,
            "alive": branch.own.alive,
            "zombies": branch.own.zombies,
        }
        return (-values[name], *busiest_first(branch))

    return order


ORDERS: Final[dict[str, Order]] = {
    "forks": busiest_first,
    "name": lambda branch: (branch.label, branch.pid or 0),
    **{name: _of_branch(name) for name in ("execs", "exits", "failed", "alive", "zombies")},
}
_GROUP_VALUE: Final[dict[str, Callable[[Group], float]]] = {
    "forks": lambda g: g.forks,
    "execs": lambda g: g.execs,
    "exits": lambda g: g.exits,
    "failed": lambda g: g.failures or 0,
    "alive": lambda g: g.alive,
    "zombies": lambda g: g.zombies or 0,
}


class Model:
    """`terminal`: what may be drawn. `without`: figures that this source never has; columns of it are not drawn."""

    def __init__(self, terminal: Terminal, *, blind: Collection[str] = ()) -> None:
        self.terminal = terminal
        self.view = View()
        self.blind = frozenset(blind)
        """Series that the source can not see: failures zombies copies cpu."""
        self.commands: Commands = lambda group: ()
        """What was born below an ancestor, for its details."""
        self._dots = "…" if terminal.unicode else "..."

    def frame(self, snapshot: Snapshot, scene: Scene, width: int, height: int) -> Frame:
        """The whole screen; never a row more than `height`, none wider than `width`."""
        width, height = max(width, 1), max(height, 1)
        view = self.view
        top = head.rows(snapshot, scene, self.terminal, width, height - 1 if height < 8 else height - 4)
        foot = help_page.footer(view, scene, self.terminal, width)
        if view.help and len(help_page.page(scene, self.terminal, width)) > height - len(top) - 2:
            top = top[:1]  # who asks for help wants all of it
        room = height - len(top) - 1
        if room >= 4:
            top.append([])
            room -= 1
        view.page = max(1, room - 2)
        body, selected = self._body(snapshot, scene, width, max(0, room))
        body = body[: max(0, room)]
        rows = [*top, *body, *([[]] * max(0, room - len(body))), foot]
        rows = [self._fit(row, width) for row in rows[-height:]]
        return Frame(rows, None if selected is None or selected >= len(body) else len(top) + selected)

    def _body(self, snapshot: Snapshot, scene: Scene, width: int, room: int) -> tuple[list[Spans], int | None]:
        view = self.view
        if view.help:
            return help_page.page(scene, self.terminal, width), None
        lines, items = (self._tree if view.mode == "tree" else self._top)(snapshot, width, room)
        places = [i for i, (item, _) in enumerate(lines) if item is not None]
        view.now_shown([item for item, _ in lines if item is not None])
        chosen = view.chosen()
        if view.details and chosen in items:
            return self._details(items[chosen], snapshot, width), None
        view.details = False
        if not places:
            return [*(spans for _, spans in lines[:1]), [], [(f"   {self._nothing()}", "dim")]], None
        return self._scrolled(lines, places[view.index()], room)

    def _nothing(self) -> str:
        if self.view.filter:
            return f"nothing here has '{clean(self.view.filter, unicode=self.terminal.unicode)}' in it"
        return f"nothing was born in the last {BACK_S} seconds"

    def _scrolled(self, lines: Sequence[tuple[Hashable, Spans]], at: int, room: int) -> tuple[list[Spans], int | None]:
        """The part that has the selection in it, headings above it as far as they fit."""
        view = self.view
        first = 0 if at <= 1 else at  # the heading of a list is seen with its first row
        view.top = max(0, min(view.top, first, len(lines) - room))
        if at >= view.top + room:
            view.top = at - room + 1
        shown = [spans for _, spans in lines[view.top : view.top + room]]
        place = at - view.top
        if view.selected is None or not 0 <= place < len(shown):
            return shown, None  # nothing is marked until somebody wants to choose
        # Every row begins with a blank: the mark is for who sees no colours.
        text, style = shown[place][0]
        shown[place] = [(("›" if self.terminal.unicode else ">") + text[1:], style), *shown[place][1:]]
        return shown, place

    # -- the lists --------------------------------------------------------------------------------------------

    def _columns(self, columns: Sequence[Column], width: int) -> list[Column]:
        missing = {name for name, series in _BLIND.items() if series in self.blind and name == "copies"}
        missing |= {"cpu"} if "cpu" in self.blind else set()
        missing |= {"tables"} if "tables" in self.blind else set()
        return figures.chosen(columns, width, missing)

    def _top(
        self, snapshot: Snapshot, width: int, room: int
    ) -> tuple[list[tuple[Hashable, Spans]], dict[Hashable, Group | Branch]]:
        view = self.view
        columns = self._columns(TOP, width)
        sections = {by: self._chosen_groups(by, snapshot.groups.get(by, ())) for by in SECTIONS}
        sections = {by: found for by, found in sections.items() if found}
        shown = _shares({by: len(found) for by, found in sections.items()}, room - 2 * len(sections) + 1, view.expanded)
        lines: list[tuple[Hashable, Spans]] = []
        items: dict[Hashable, Group | Branch] = {}
        for i, (by, found) in enumerate(sections.items()):
            lines += [(None, [])] if i else []
            lines.append((None, figures.heading(columns, _NAMES[by], bare=i > 0)))
            most = shown[by]
            for group in found[: most if most >= len(found) else max(most - 1, 0)]:
                item = (by, group.life.key if group.life is not None else group.label)
                items[item] = group
                spans = figures.row(columns, Figures.of_group(group), snapshot.seconds, unicode=self.terminal.unicode)
                lines.append((item, [*spans, *self._label(group.label, group.life is not None and not group.life.pid)]))
            if most < len(found):
                blank = " " * figures.taken(columns)
                rest = len(found) - max(most - 1, 0)
                lines.append((("more", by), [(f"{blank}{self._dots} {count(rest)} more", "dim")]))
        if not lines:
            lines.append((None, figures.heading(columns, _NAMES["ancestor"])))
        return lines, items

    def _chosen_groups(self, by: str, groups: Iterable[Group]) -> list[Group]:
        matches = self.view.matches
        found = [
            group
            for group in groups
            if matches(group.label, str(group.pid or ""), group.life.cgroup if group.life is not None else None)
            and (group.forks or group.execs or group.exits or group.failures)
            and (group.forks or group.failures or group.life is None or group.life.pid)
        ]
        if by == "cgroup" and all(group.label == "-" for group in found):
            return []
        if self.view.sort == "name":
            return sorted(found, key=lambda group: group.label)
        value = _GROUP_VALUE[self.view.sort]
        return sorted(found, key=lambda group: -value(group))

    def _tree(
        self, snapshot: Snapshot, width: int, room: int
    ) -> tuple[list[tuple[Hashable, Spans]], dict[Hashable, Group | Branch]]:
        columns = self._columns(TREE, width)
        step = 3 if width >= 120 else 2
        lines: list[tuple[Hashable, Spans]] = [(None, figures.heading(columns, "WHAT IS BEING BORN"))]
        items: dict[Hashable, Group | Branch] = {}
        for branch in self._chosen_branches(snapshot.tree):
            item = ("branch", branch.key, branch.pid)
            if item in items:
                continue
            items[item] = branch
            spans = figures.row(
                columns, Figures.of_branch(branch, self.blind), snapshot.seconds, unicode=self.terminal.unicode
            )
            guides = self._guides(branch.guides, step, width - figures.taken(columns))
            lines.append((item, [*spans, (guides, "guide"), *self._label(branch.label, not branch.own.tally.forks)]))
        if snapshot.left_out:
            blank = " " * figures.taken(columns)
            lines.append((None, [(f"{blank}{self._dots} {count(snapshot.left_out)} more", "dim")]))
        return lines, items

    def _chosen_branches(self, branches: Sequence[Branch]) -> list[Branch]:
        if not self.view.filter:
            return list(branches)
        wanted: set[tuple[str, ...]] = set()
        for branch in branches:
            if self.view.matches(branch.label, str(branch.pid or ""), branch.cgroup):
                wanted.update(branch.key[:n] for n in range(1, len(branch.key) + 1))
        return [branch for branch in branches if branch.key in wanted]

    def _guides(self, guides: tuple[bool, ...], step: int, room: int) -> str:
        if not guides:
            return ""
        tee, corner, rail, dash, more = "├└│─⋯" if self.terminal.unicode else "+`|-~"
        fill = step - 2
        drawn = [(rail if each else " ") + " " * (fill + 1) for each in guides[:-1]]
        drawn.append((tee if guides[-1] else corner) + dash * fill + " ")
        most = max(2, room // 2 // step)
        if len(drawn) > most:
            return f"{more}{len(drawn) - most + 1} " + "".join(drawn[-(most - 1) :])
        return "".join(drawn)

    def _label(self, label: str, quiet: bool) -> Spans:
        """A command: its program stands out. What differs is dim."""
        text = clean(label, unicode=self.terminal.unicode)
        if not self.terminal.unicode:
            text = text.replace("\\u2026", "...")
        if quiet:
            return [(text, "dim")]
        if text.startswith("("):
            return [(text, "")]
        program, space, rest = text.partition(" ")
        folder, slash, name = program.rpartition("/")
        return [(folder + slash, "dim"), (name, "bold"), (space + rest, "")]

    def _details(self, chosen: Group | Branch, snapshot: Snapshot, width: int) -> list[Spans]:
        if isinstance(chosen, Branch):
            group = details.as_group(chosen, self.blind)
            below: int | None = chosen.below
        else:
            group, below = chosen, None
        born = self.commands(group) if group.life is not None else ()
        return details.rows(
            group, snapshot.seconds, self.terminal, width, share=below is None, below=below, commands=born
        )

    def _fit(self, row: Spans, width: int) -> Spans:
        return fitted(row, width, self._dots)


def _shares(sizes: dict[str, int], room: int, expanded: Collection[str]) -> dict[str, int]:
    """Rows for each section: small ones get all they want, the others alike; an expanded one is shown whole."""
    shares: dict[str, int] = {}
    left = max(room, 0)
    wanting = sorted((by for by in sizes if by not in expanded), key=lambda by: sizes[by])
    for i, by in enumerate(wanting):
        shares[by] = min(sizes[by], max(2, left // (len(wanting) - i)))
        left -= shares[by]
    return {**shares, **{by: sizes[by] for by in sizes if by in expanded}}
