"""forktrace: who forked whom, how, and what it really cost.

    import tracer
    trace = tracer.run(["make", "-j2"])         needs the privileges that `forktrace doctor` names
    trace = tracer.load("build.ftrace")         needs none
    trace.tree, trace.events(), trace.processes

The distribution and the command are called forktrace; `tracer` is the name to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracer.errors import (
    BackendError,
    BadDataError,
    CannotStartError,
    CannotWriteError,
    ForktraceError,
    NoInputError,
    NoPermissionError,
    ProbesRefusedError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tracer.api.trace import Trace

__all__ = [
    "BackendError",
    "BadDataError",
    "CannotStartError",
    "CannotWriteError",
    "ForktraceError",
    "NoInputError",
    "NoPermissionError",
    "ProbesRefusedError",
    "UsageError",
    "load",
    "run",
]

__forktrace__ = True  # tells this package from the unrelated `tracer` distribution


def run(
    argv: Sequence[str],
    *,
    backend: str = "auto",
    need: Collection[str] = (),
    wait: bool = True,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    pass_fds: Sequence[int] = (),
    output: str | None = None,
    **options: Any,
) -> Trace:
    """Run a program, watch all it starts, and return the trace when the last descendant has ended.

    `need` names facts (tracer.model.meta.Fact) that must be seen. `wait=False` ends with it. `env` replaces the
    environment. `output` keeps the trace in a file as well.
    `options` are those of tracer.backends.Options: cow="full|fork|light|off", cow_stacks (samples a second and
    CPU; 0: every copy), argv_max (bytes), env names to record as `record_env`, reap_exact, failures, buffer_bytes.
    `trace.status` tells how the program ended.
    Raises CannotStartError, NoPermissionError, ProbesRefusedError, UsageError. From the main thread only.
    """
    from tracer.api.capture import Keeper
    from tracer.backends import Options
    from tracer.backends.cover import named
    from tracer.capture.session import Plan, Session

    if isinstance(argv, str | bytes) or not argv:
        raise UsageError(f"tracer.run: {argv!r} is no command", 'give a list of words, as in ["make", "-j2"]')
    if "record_env" in options:
        names = options.pop("record_env")
        options["env"] = (names,) if isinstance(names, str) else tuple(names)
    try:
        chosen = Options(**options)
    except TypeError as e:
        raise UsageError(f"tracer.run: {e}", "see tracer.backends.Options") from None
    plan = Plan(
        argv=list(argv),
        backend=backend,
        need=named([need] if isinstance(need, str) else need),
        options=chosen,
        wait=wait,
        env=env,
        cwd=cwd,
        pass_fds=pass_fds,
    )
    session = Session(plan)
    keeper = Keeper(session, output)
    with session:
        session.start()
        keeper.open()
        session.run(keeper.take, tick=keeper.tick)
        return keeper.finish()


def load(path: str) -> Trace:
    """Open a saved trace (.ftrace). Raises NoInputError, BadDataError. Events are read when they are asked for."""
    from tracer.api.capture import open_trace

    return open_trace(path)
