"""The grammar of one line of strace, 4.5 to 7.x: prefix, body, result. The form is found anew for each line.

    line   := [pid] [secontext] [time] [rel] [nr] [ip] body
    body   := call | resumed | exit | signal | notice | anything else

Knows nothing of tasks, of what a call means, or of which lines belong together (line_reader.py). Everything is
bytes; every expression is linear in the line.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

# -- prefix -----------------------------------------------------------------------------------------------------

_COMM: Final = rb"(?:<((?:[^<>\\]|\\.){0,120})>)?"
_PREFIX: Final = re.compile(
    rb"([ \t]*+)"
    # %-5u has blanks after it. Nine digits and more are an epoch time: no pid is above 4194304.
    rb"(?:\[pid +(\d{1,10})" + _COMM + rb"\][ ]?|(\d{1,8})" + _COMM + rb"(?=[ \t]))?"
    rb"([ \t]*+)"
    rb"(?:\[(?:[^\]\s:]++:)++[^\]\s]++\] )?"  # --secontext
    rb"(?:(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?[ ]++|(\d{1,12})\.(\d{1,9})[ ]++|(\d{9,12})[ ]++)?"
    rb"(?:\(\+ *(\d{1,12})(?:\.(\d{1,9}))?\)[ ]++)?"
    rb"(?:\[[ ]*+\d++\][ ]++)?"  # -n
    rb"(?:\[(?:[0-9a-f]{8,16}|\?{8,16})\][ ]++)?"  # -i
)

TIME_NONE, TIME_OF_DAY, TIME_EPOCH, TIME_RELATIVE = range(4)
LATEST_S: Final = 8_000_000_000
"""A stamp of more seconds is no time: ns are kept in 64 bits, with room for what is added to them."""


class Prefix(NamedTuple):
    """What stands before the body. `ns` is of `clock`; `delta_ns` is the time since the line before (-r)."""

    pid: int | None
    bracketed: bool  # [pid N], so strace wrote to a terminal or a pipe, not to a file
    comm: bytes | None
    clock: int
    ns: int
    delta_ns: int | None
    end: int  # where the body begins


def _fraction(raw: bytes | None) -> int:
    return int(raw.ljust(9, b"0")) if raw else 0


def prefix(line: bytes) -> Prefix:
    """The prefix of `line`; it may be empty. Never raises."""
    m = _PREFIX.match(line)
    assert m is not None  # every part may be absent
    (
        lead,
        bracket_pid,
        bracket_comm,
        bare_pid,
        bare_comm,
        gap,
        hh,
        mm,
        ss,
        day_fraction,
        seconds,
        fraction,
        whole,
        delta,
        delta_fraction,
    ) = m.groups()
    pid = int(bracket_pid or bare_pid) if bracket_pid or bare_pid else None
    clock, ns, delta_ns, end = TIME_NONE, 0, None, m.end()
    if hh:
        clock, ns = TIME_OF_DAY, (int(hh) * 3600 + int(mm) * 60 + int(ss)) * 1_000_000_000 + _fraction(day_fraction)
    elif whole:
        clock, ns = TIME_EPOCH, int(whole) * 1_000_000_000
        if ns > LATEST_S * 1_000_000_000:
            clock = ns = 0
    elif seconds and int(seconds) <= LATEST_S:
        ns = int(seconds) * 1_000_000_000 + _fraction(fraction)
        # -r alone is %6d.f: it is padded to six, where an epoch time is wider than that or (made by hand) is not.
        pad = len(gap if pid is not None else lead)
        pid_pad = max(5 - len(bare_pid), 0) + 1 if bare_pid and not bare_comm else 1 if bare_pid else 0
        if len(seconds) < 6 and (pad > pid_pad or ns == 0):
            clock, delta_ns = TIME_RELATIVE, ns
        else:
            clock = TIME_EPOCH
    elif bare_pid and len(lead) + len(bare_pid) == 6 and len(bare_pid) < 4:
        # --relative-timestamps=s without a pid: "     3 execve(".
        pid, clock, ns = None, TIME_RELATIVE, int(bare_pid) * 1_000_000_000
        delta_ns = ns
    if delta is not None and int(delta) <= LATEST_S:
        delta_ns = int(delta) * 1_000_000_000 + _fraction(delta_fraction)
        clock = clock or TIME_RELATIVE
    comm = bracket_comm if bracket_pid else bare_comm
    return Prefix(pid, bracket_pid is not None, comm, clock, ns, delta_ns, end)


# -- body -------------------------------------------------------------------------------------------------------

CALL: Final = re.compile(rb"([a-z_][a-z0-9_]{0,40}|SYS_\d{1,4}|\?\?\?)\(")
RESUMED: Final = re.compile(rb"<\.\.\. ([a-z_][a-z0-9_]{0,40}|SYS_\d{1,4}|\?\?\?) resumed> ?")
EXITED: Final = re.compile(rb"\+\+\+ (?:exited with (\d{1,3})|killed by (\w{1,16})( \(core dumped\))?) \+\+\+$")
SUPERSEDED: Final = re.compile(rb"\+\+\+ superseded by execve in pid (\d{1,10}) \+\+\+$")
BROKEN: Final = re.compile(rb"\+\+\+ [a-z]+(?: [^+\n]*)?\+{0,2}|--- [^\n]{0,400}")  # the beginning of one of these two
SIGNAL: Final = re.compile(rb"--- (?:stopped by )?(SIG\w{1,16}|\d{1,3}) (.*)---$", re.DOTALL)

# Ways a call line ends other than in a result.
OPEN_END: Final = re.compile(
    rb" ?<(?:(unfinished) \.\.\.|detached \.\.\.|pid changed to (\d{1,10}) \.\.\."
    rb"|unfinished \.\.\. exit status (\d{1,3}))>$"
)
# `) = 5<comm> /* 7 in strace's PID NS */ (extra) (INJECTED) <0.000123>`. No part can cross the next one's first
# byte, so looking for it from the left costs one pass.
RESULT: Final = re.compile(
    rb"\)[ ]*+= (?:(-?\d{1,20}|0x[0-9a-f]{1,16})|\?)"
    rb"(?:<(?:[^<>\\]|\\.){0,120}>)?"
    rb"(?: (E[A-Z0-9]{1,30})| \((errno \d{1,20})\)| <unavailable>)?"
    rb"(?: /\* (\d{1,10}) in strace's PID NS \*/)?"
    rb"(?: \([^()]{0,300}\))*+( \(INJECTED\))?(?: \([^()]{0,300}\))*+"
    rb"(?: <(\d{1,9})(?:\.(\d{1,9}))?>)?[ ]*+$"
)
_STRINGS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|$)', re.DOTALL)
_UNCLOSED: Final = re.compile(rb"E[A-Z0-9]+(?: \([^()]*)?$")
_ANY_RESULT: Final = re.compile(rb"\)[ ]*+= (?:-?\d|0x[0-9a-f]|\?)")


class Result(NamedTuple):
    """What a call returned. `value` None: `?`. `real_pid`: the pid in strace's own namespace, when that differs."""

    value: int | None
    error: str | None
    injected: bool
    real_pid: int | None
    duration_ns: int | None
    start: int  # where `) = ` stands


def result(body: bytes) -> Result | None:
    """The result at the end of a call; None if there is none."""
    # Strings end before the result does, so most text need not be looked at: the last `= ` that fits wins, but a
    # command's name (-Y) may hold one too. From the left, the first match that reaches the end is the true one.
    m = RESULT.search(body, max(0, body.rfind(b'"')))
    if m is None:
        return None
    value, error, number, real, seconds, fraction = m[1], m[2], m[3], m[4], m[6], m[7]
    got: int | None = None
    if value is not None:
        got = int(value, 16) if value[:2] == b"0x" else int(value)
        if got >= (1 << 64) - 4096:
            got -= 1 << 64
    name = error.decode() if error else number.decode() if number else None
    injected = m[5] is not None or b"(INJECTED)" in body[m.start() :]
    duration = None
    if seconds is not None:
        duration = int(seconds) * 1_000_000_000 + _fraction(fraction)
    return Result(got, name, injected, int(real) if real else None, duration, m.start())


def complete(body: bytes) -> bool:
    """Whether a body is whole: it ends as a line of its kind must end."""
    first = body[:1]
    if first == b"+":
        return body[:4] == b"+++ " and body.endswith(b" +++")
    if first == b"-":
        return body[:4] == b"--- " and body.endswith(b" ---")
    if body.endswith(b"...>") or (body.endswith(b">") and b"exit status" in body[-30:]):
        return OPEN_END.search(body, max(0, len(body) - 60)) is not None
    # A result of a call that matters not may have any decoration: `= 1 ([{fd=3, revents=POLLIN}])`.
    found = _ANY_RESULT.search(body, max(0, body.rfind(b'"')))
    if found is not None:
        # `= -1` has a name behind it, that a text, and ` (No such file or` an end: a mail program broke the line.
        return not (body.endswith(b"= -1") or _UNCLOSED.search(body, found.end()))
    # Strings may hold what looks like a result, and stand behind a true one.
    return b'"' in body and _ANY_RESULT.search(_STRINGS.sub(b"", body)) is not None


# -- notices and noise --------------------------------------------------------------------------------------------

NOTICE: Final = re.compile(
    rb"(?:Process (\d{1,10}) (attached|detached|suspended|resumed)"
    rb"(?: \((?:waiting for parent|parent (\d{1,10}) ready)\))?"
    rb"(?: with (\d{1,6}) threads)?(?: \([^()]{0,80}\))?|\[ Process PID=(\d{1,10}) runs in [\w -]{1,40} mode\. \])$"
)
NOTICE_ENDS: Final = (b"attached", b"detached", b"suspended", b"resumed", b")", b"threads", b"mode. ]")
_WORD_BEFORE: Final = re.compile(rb"[^\s\"'(){}\[\],=|<>]*+$")
DEBUG: Final = re.compile(rb" \[wait\(0x[0-9a-f]{1,8}\) = \d{1,10}\] .*$")
STOPPED: Final = re.compile(rb"\[wait\(0x0?8?57f\) = (\d{1,10})\]")  # of a task that was traced before: by SIGTRAP
SGR: Final = re.compile(rb"\x1b\[[0-9;]{0,20}[mK]")
NOISE: Final = re.compile(
    rb" > |\s\| [0-9a-f]{5} |[^ ]*strace: |% time |-{6} -{11} |\s*\d{1,3}\.\d\d +\d+\.\d{6} |System call usage summary"
    rb"|Process \d+ |\[ Process PID=|\[stopped \d+ \(|\+\+\+ stopped with \d"
)


def notice(line: bytes) -> tuple[int, re.Match[bytes]] | None:
    """A notice of the tracer at the end of `line`: where it begins (its `strace: ` included), and its parts."""
    if not line.endswith(NOTICE_ENDS):
        return None
    at = line.rfind(b"[ Process PID=" if line.endswith(b"mode. ]") else b"Process ")
    m = NOTICE.match(line, at) if at >= 0 else None
    if m is None:
        return None
    return (_tracer(line[:at]) if line[:at].endswith(b": ") else at), m


def _tracer(head: bytes) -> int:
    """Where argv[0] of strace begins at the end of `head`: it is glued to the open line with nothing between."""
    end = len(head) - 2
    word = _WORD_BEFORE.search(head, max(0, end - 4096), end)
    start = word.start() if word else end
    slash = head.find(b"/", start, end)
    if slash >= 0:
        while slash > start and head[slash - 1 : slash] == b".":
            slash -= 1
        return slash
    found = head.rfind(b"strace", start, end)
    return found if found >= 0 else start
