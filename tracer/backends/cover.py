"""What a backend must see to be taken: what was asked for by name (--need), and what is worth having when nothing was.

A backend declares by `cover(options)` what it could see; whether the kernel lets it is found out at the start. Knows
no backend.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, Final

from tracer.errors import UsageError
from tracer.model.meta import Fact

if TYPE_CHECKING:
    from tracer.backends.options import Options

Cover = Callable[[Any], frozenset[str]]

USUAL: Final = (frozenset({Fact.ARGV}), frozenset({Fact.STATUS}), frozenset({Fact.FLAGS, Fact.CPU}))
"""Of each of these at least one. Names and exit codes alone answer neither of the questions that forktrace is for: how
was it made, and what did it use? So the proc connector without privilege, which some kernels give to anybody, is no
better than nothing, and strace, which knows all that of one's own programs, is taken before it."""

OPTIONS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    Fact.COW: ("--cow full", {"cow": "full"}),
    Fact.FORK_COST: ("--cow fork", {"cow": "fork"}),
    Fact.WP_FAULTS: ("--cow full", {"cow": "full"}),
    Fact.STACKS: ("--cow-stacks", {"cow": "full", "cow_stacks": 1000}),
    Fact.EXEC_FAILED: ("-e fail", {"failures": True}),
    Fact.FORK_FAILED: ("-e fail", {"failures": True}),
    Fact.WPCOPY: ("--delayacct", {"delayacct": True, "cow": "full"}),
}
"""Facts that want an option, and the option."""


def named(words: Iterable[str]) -> frozenset[str]:
    """Facts by name. Raises UsageError, with all names, for a word that is none."""
    asked = frozenset(words)
    known = sorted(fact.value for fact in Fact)
    for word in sorted(asked - set(known)):
        raise UsageError(f"there is no fact {word!r} to need", f"choose of: {', '.join(known)}")
    return asked


def usual(facts: Collection[str]) -> bool:
    """Whether a report of these facts is worth having."""
    return all(not some.isdisjoint(facts) for some in USUAL)


def with_options(cover: Cover, options: Options) -> dict[str, str]:
    """{fact: the option that would add it} for what is not seen with `options` as they are."""
    have = cover(options)
    return {
        fact: words
        for fact, (words, changes) in OPTIONS.items()
        if fact not in have and fact in cover(options._replace(**changes))
    }


def short_of(cover: Cover, need: Collection[str], options: Options) -> str | None:
    """Why a backend will not do, as the end of a sentence about it; None if it will."""
    have = cover(options)
    if not have:
        return "can not match by name or user" if options.match.filters else "can not watch the whole host"
    if need:
        missing = sorted(set(need) - have)
        if not missing:
            return None
        ways = with_options(cover, options)
        return "does not see " + ", ".join(f"{m} (it would, with {ways[m]})" if m in ways else m for m in missing)
    if usual(have):
        return None
    lacks = [" or ".join(sorted(some)) for some in USUAL if some.isdisjoint(have)]
    return f"sees no {', no '.join(lacks)} here"
