"""`--fail-on-loss`: an exit status of its own where a trace is not all there was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tracer.api.trace import Trace

LOSS_STATUS: Final = 75
"""EX_TEMPFAIL of sysexits.h: another attempt, with a larger --buffer say, may do. No error of ours has it."""


def add_option(group: Any) -> None:
    """Add the option to a parser, or to a group of one."""
    group.add_argument(
        "--fail-on-loss",
        action="store_true",
        help=f"exit with status {LOSS_STATUS} if records were lost and nothing else failed",
    )


def is_lossy(trace: Trace) -> bool:
    """Whether records are missing: some were lost while it was recorded, or it has no end. Known once it was read."""
    return trace.torn or bool(trace.tree.losses)
