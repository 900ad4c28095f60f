"""One event in one line: when, what, who, and what is to be said of it. Names from outside are made harmless.

    told(event, terminal) -> "fork    1234  by 1200 make"

Knows events, and no window.
"""

from __future__ import annotations

from tracer.live.columns import status_name
from tracer.model.batch import Event
from tracer.model.schema import KIND_NAMES, Kind
from tracer.reports.terminal import Terminal, clean, quoted
from tracer.reports.words import count, duration, plural

_WORDS = 40


def told(event: Event, terminal: Terminal) -> str:
    """`exec 1234  make -j8`; a thread has its own id behind the process'."""
    name = KIND_NAMES[event.kind].replace("_", " ")
    who = "" if event.pid is None else str(event.pid)
    if event.tid is not None and event.tid != event.pid:
        who += f".{event.tid}"
    return f"{name:<11} {who:>7}  {_more(event, terminal)}".rstrip()


def _more(e: Event, terminal: Terminal) -> str:
    kind = e.kind
    ascii_only = not terminal.unicode
    if kind in (Kind.FORK, Kind.EXISTING):
        above = e.creator_pid if e.creator_pid is not None else e.ppid
        if e.tid is not None and e.tid != e.pid:
            how = "a thread"
        else:
            how = _clean(e.how or "", terminal) if kind == Kind.FORK else ""
        words = [how, f"by {above}" if above is not None and kind == Kind.FORK else ""]
        words.append(_command(e, terminal) if e.argv else f"({_clean(e.comm, terminal)})" if e.comm is not None else "")
        return " ".join(word for word in words if word)
    if kind == Kind.EXEC:
        return _command(e, terminal)
    if kind == Kind.EXEC_FAILED:
        return f"{_clean(e.error or '?', terminal)} {_command(e, terminal)}"
    if kind == Kind.EXIT:
        return _end(e)
    if kind == Kind.REAP:
        words = [f"by {e.reaped_by}"] if e.reaped_by is not None else []
        words += [f"after {duration(e.zombie_ns, ascii_only=ascii_only)}"] if e.zombie_ns else []
        return " ".join(words)
    if kind == Kind.FORK_FAILED:
        return f"{_clean(e.error or '?', terminal)}{': ' + _clean(e.cause, terminal) if e.cause else ''}"
    if kind == Kind.FAULTS:
        return f"{count(e.cow_copies)} pages copied"
    if kind == Kind.LOST:
        where = f" in {_clean(e.where, terminal)}" if e.where else ""
        return f"{plural(e.count, 'record')}{where}"
    if kind == Kind.RENAME:
        return f"({_clean(e.comm or '?', terminal)})"
    return ""


def _end(e: Event) -> str:
    words = ["" if e.last is not False else "a thread"]
    if e.signal is not None:
        words.append(status_name(-e.signal))
    elif e.exit_code is not None:
        words.append(status_name(e.exit_code))
    words += ["core dumped"] if e.core_dumped else []
    words += ["out of memory"] if e.oom_killed else []
    words += [f"by {e.killed_by}"] if e.killed_by is not None else []
    return " ".join(word for word in words if word)


def _command(e: Event, terminal: Terminal) -> str:
    words = e.argv or ([e.exe] if e.exe else [])
    return " ".join(quoted(word, unicode=terminal.unicode) for word in words[:_WORDS]) or "-"


def _clean(text: str, terminal: Terminal) -> str:
    return clean(text, unicode=terminal.unicode)
