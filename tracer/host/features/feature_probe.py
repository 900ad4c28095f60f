"""How the features of BPF are asked for: by the kernel's types, or by bpf(2) with the types to fall back on.

Knows nothing of what is asked, nor of why.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from tracer.host import btf
from tracer.host.features.bpfcall import Answer
from tracer.host.features.check import Check, no, unknown, yes
from tracer.host.features.host import CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, Host, forktrace_as_root

OTHER_BACKEND: Final = "use another backend, of those that are ready"
NEWER: Final = "use a kernel of Linux {} or newer"


class Question(NamedTuple):
    """Something bpf(2) is asked for: the check's name, the thing in words, why, and since which Linux."""

    name: str
    what: str
    why: str
    since: str

    def answered(self, host: Host, answer: Answer, *, known: bool | None) -> Check:
        """From the kernel's answer; where it refused to give one, from what it knows of (`known`)."""
        if answer.ok:
            return yes(self.name, f"{self.what}: tried, works", self.why)
        if answer.ok is False or known is False:
            error = f" ({answer.error})" if answer.ok is False else ""
            detail = f"{self.what}: not in this kernel{error}"
            return no(self.name, detail, self.why, NEWER.format(self.since))
        may = host.capable(CAP_BPF, CAP_SYS_ADMIN) and host.capable(CAP_PERFMON, CAP_SYS_ADMIN)
        if answer.error and may:
            detail = f"{self.what}: refused ({answer.error}) though the capabilities are held"
            mend = "look for a seccomp filter (a container's) or a security module that forbids bpf(2)"
            return no(self.name, detail, self.why, mend)
        if not answer.error:
            return unknown(self.name, "unknown without BTF", self.why)
        detail = f"{self.what}: {'known to this kernel; ' if known else ''}to try it takes privileges"
        return unknown(self.name, detail, self.why, None if host.in_user_namespace else forktrace_as_root("doctor"))


def newtask(host: Host) -> int | None:
    """Number of the tracepoint on which programs are tried; None without BTF or without it."""
    return None if host.btf is None else host.btf.type_id("btf_trace_task_newtask", btf.TYPEDEF)


def enumerated(host: Host, enum: str, name: str) -> bool | None:
    """Whether an enum of the kernel has that value; None without BTF."""
    return None if host.btf is None else name in (host.btf.enum(enum) or {})


def tracepoints(host: Host, name: str, wanted: tuple[str, ...], why: str) -> Check:
    """Whether each of `wanted` is in BTF; "a|b" is either of the two."""
    types = host.btf
    if types is None:
        return unknown(name, "unknown without BTF", why)
    missing = [
        point
        for point in wanted
        if not any(types.has(f"btf_trace_{either}", btf.TYPEDEF) for either in point.split("|"))
    ]
    if not missing:
        return yes(name, f"all {len(wanted)} are in BTF", why)
    return no(name, f"missing: {', '.join(missing)}", why, OTHER_BACKEND)


def helper(host: Host, question: Question, number: int) -> Check:
    """Whether programs on task_newtask get helper `number`."""
    task = newtask(host)
    answer = Answer(None) if task is None else host.bpf.helper(number, task)
    known = enumerated(host, "bpf_func_id", "BPF_FUNC_" + question.name.removeprefix("bpf_"))
    return question.answered(host, answer, known=known)
