"""Where events come from. A backend is one file and one word in `BACKENDS`, which is the order of preference.

A backend says whether it is ready here and what it can see, attaches, and hands out batches when asked. It knows no
tree, no report, and does not start the program: session.py does, and may ask it to put a tracer before the command.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, Protocol

from tracer.backends import cover
from tracer.backends.options import Options as Options
from tracer.errors import BackendError, NoPermissionError, UsageError
from tracer.model.batch import Batch
from tracer.model.cli_constants import BACKENDS as BACKENDS
from tracer.model.cli_constants import COW_LEVELS as COW_LEVELS
from tracer.model.cli_constants import STACKS_USUAL as STACKS_USUAL


class Readiness(NamedTuple):
    """Whether a backend could be started now; if not, why, and the command that mends it."""

    ok: bool
    why: str = ""
    mend: str | None = None
    privilege: bool = False  # it is a privilege that is missing, and nothing else


class Verdict(NamedTuple):
    """Of one program that a backend loads. `why`: the kernel's reason where it refused; `costs`: what it measures.

    `main`: without it, its whole object is of no use: of "lifecycle", the whole backend.
    """

    object: str
    program: str
    ok: bool
    why: str
    costs: str
    main: bool


class Trial(NamedTuple):
    """What came of loading all that a backend may load. `lost`: facts of its cover that it cannot see here."""

    readiness: Readiness
    verdicts: tuple[Verdict, ...] = ()
    lost: frozenset[str] = frozenset()


class BackendProtocol(Protocol):
    """One capture. `start`, then `follow` the held program or `attach` to a living tree, then `read` until `over`.

    Four more attributes are the backend's choice: `late = False` says that nothing comes any more once `alive` is 0,
    from a list `news` lines are taken that the user should see now, a class method `readiness_at_start` is asked in
    place of `readiness` where a start follows at once, and a class method `trial` loads what a start would load.
    """

    name: str

    @classmethod
    def readiness(cls) -> Readiness:
        """Cheap: no load, no attach."""

    @classmethod
    def cover(cls, options: Options) -> frozenset[str]:
        """Facts that a capture with `options` could see here, if the kernel refuses nothing; cheap, as `readiness`.

        Empty if it can not do at all what is asked.
        """

    @property
    def facts(self) -> frozenset[str]:
        """tracer.model.meta.Fact values this capture can see; valid after `start`."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that every report of this capture must repeat."""

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """The command to start in place of `argv`; most return it as it is."""

    def start(self) -> None:
        """Load and attach. Raises ProbesRefusedError or NoPermissionError."""

    def follow(self, pid: int, pidfd: int) -> None:
        """The root: a child that is held before its exec."""

    def attach(self, pid: int) -> None:
        """A living process and all below it."""

    def descriptors(self) -> list[int]:
        """Readable when there is a reason to `read` before the interval is over."""

    def read(self) -> list[Batch]:
        """What has come since, in order. Never blocks."""

    def alive(self) -> int | None:
        """Traced tasks that have not ended; None when the source can not tell."""

    def finish(self) -> list[Batch]:
        """Detach, and what was still on its way."""

    def close(self) -> None:
        """Give everything back. May be called twice, and after a failed start."""


def load(name: str) -> type[BackendProtocol]:
    """The class of a backend by its name. Raises UsageError for a name that is not one."""
    if name not in BACKENDS:
        raise UsageError(f"there is no backend '{name}'", f"choose one of: auto, {', '.join(BACKENDS)}")
    module = importlib.import_module(f"tracer.backends.{name}.backend")
    found: type[BackendProtocol] = module.Backend
    return found


def readiness(name: str) -> Readiness:
    """Of one backend, by name."""
    return load(name).readiness()


def trial(name: str) -> Trial:
    """Readiness, and what the kernel says to each program that the backend would load: some 0.3 s."""
    state = readiness(name)
    tries = getattr(load(name), "trial", None)
    if not state.ok or tries is None:
        return Trial(state)
    found: Trial = tries()
    return found


def _at_start(name: str) -> Readiness:
    """Without what its own start would find out, and say as well."""
    soon = getattr(load(name), "readiness_at_start", None)
    return readiness(name) if soon is None else soon()


def candidates(
    name: str = "auto",
    need: Collection[str] = (),
    options: Options | None = None,
    passed: list[str] | None = None,
) -> Iterator[type[BackendProtocol]]:
    """Backends to try, best first: those that are ready here and cover `need` (Fact values).

    Where nothing is needed, what cover.USUAL says will do, and after all those what is ready and sees less. A name asks
    for that one alone, ready or not: its own refusal is the clearest. One at a time: the next is looked at, and its
    modules imported, when the one before it was refused. To `passed` goes "NAME: why not" of each that was passed over.
    Raises BackendError that lists each backend, why not, and what mends it, if none will do; NoPermissionError where
    one would for who has the privilege.
    """
    options = options or Options()
    if name != "auto":
        chosen = load(name)
        short = cover.short_of(chosen.cover, need, options) if need or options.match else None
        if short is not None:
            raise BackendError(f"{name} {short}", "another backend may: `forktrace doctor` shows what each sees")
        yield chosen
        return
    passed = [] if passed is None else passed
    reasons, meagre, found = [], [], False
    refused: Readiness | None = None
    for each in BACKENDS:
        state = _at_start(each)
        if not state.ok:
            if refused is None and state.privilege and cover.short_of(load(each).cover, need, options) is None:
                refused = state
            passed.append(f"{each}: {state.why}")
            reasons.append(f"{each}: {state.why}" + (f" ({state.mend})" if state.mend else ""))
            continue
        backend = load(each)
        short = cover.short_of(backend.cover, need, options)
        if short is None:
            found = True
            yield backend
            continue
        passed.append(f"{each} {short}")
        reasons.append(f"{each} {short}")
        if not need and backend.cover(options):
            meagre.append(backend)
    yield from meagre
    if not found and not meagre:
        what = f"no backend sees {', '.join(sorted(need))} here" if need else "no backend is ready here"
        if refused is not None:
            raise NoPermissionError(f"{what}: {'; '.join(reasons)}", refused.mend)
        raise BackendError(f"{what}: {'; '.join(reasons)}", "`forktrace doctor` says more")
