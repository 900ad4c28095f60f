"""What a capture is asked for: the options that every backend gets."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Self

from tracer.errors import UsageError
from tracer.model.cli_constants import COW_LEVELS
from tracer.model.process_filter import Match

STACKS_MOST: Final = 1_000_000
BUFFER_LEAST: Final = 4096
BUFFER_MOST: Final = 1 << 30


class _Options(NamedTuple):
    cow: str = "full"  # off light fork full
    cow_stacks: int | None = None  # stacks at copies: samples a second and CPU; 0: every copy; None: none
    argv_max: int = 32768
    env: tuple[str, ...] = ()
    reap_exact: bool = False
    failures: bool = False  # -e fail
    everyone: bool = False  # -a
    match: Match = Match()  # whom to follow beside the pids
    delayacct: bool = False  # --delayacct: the session switches kernel.task_delayacct on
    buffer_bytes: int = 16 << 20  # rounded up to a power of two
    strace_safe: bool = False  # no seccomp filter of strace's on the program


class Options(_Options):
    """What a capture is asked for. Bytes and names; every backend ignores what it can not do and says so in `notes`.

    Raises UsageError for what none can do.
    """

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """As the fields are; what they say is looked at."""
        self = super().__new__(cls, *args, **kwargs)
        self._look()
        return self

    def _look(self) -> None:
        if self.cow not in COW_LEVELS:
            raise UsageError(f"there is no cow level {self.cow!r}", f"choose one of: {', '.join(COW_LEVELS)}")
        if self.cow_stacks is not None and self.cow != "full":
            raise UsageError(f"stacks are taken at copies, which --cow {self.cow} does not watch", "use --cow full")
        if self.cow_stacks is not None and not 0 <= self.cow_stacks <= STACKS_MOST:
            raise UsageError(f"{self.cow_stacks} stacks a second can not be had", f"give up to {STACKS_MOST}, or all")
        if self.argv_max < 0:
            raise UsageError(f"{self.argv_max} bytes of argv can not be kept", "give 0 or more")
        if not BUFFER_LEAST <= self.buffer_bytes <= BUFFER_MOST:
            raise UsageError(f"a buffer of {self.buffer_bytes} bytes can not be had", "give between 4K and 1G")
