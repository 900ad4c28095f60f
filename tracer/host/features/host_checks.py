"""What the other backends ask of the host, and what every trace should know of it.

Each function takes the host and answers with one `Check` of its own name. Knows nothing of the backends'
insides.
"""

from __future__ import annotations

from typing import Final

from tracer.host import delayacct, procfs
from tracer.host.features import bpf_checks
from tracer.host.features.check import Check, no, unknown, yes
from tracer.host.features.host import CAP_NET_ADMIN, CAP_SYS_PTRACE, Host, as_root, forktrace_as_root
from tracer.model.machines import MACHINES

# bcc


def bcc(host: Host) -> Check:
    """The distribution's Python module of BCC and its library."""
    why = "--backend bcc compiles its programs with it; registries know another project by that name"
    if host.machine is not MACHINES["x86_64"]:
        return no("bcc", "its programs are for x86-64, and this is another machine", why, "use another backend")
    if host.bcc is None:
        return no("bcc", "its Python module is not here", why, host.install("bcc"))
    if host.library("libbcc.so.0") is None:
        return no("bcc", "libbcc.so.0 is missing", why, host.install("bcc"))
    return yes("bcc", str(host.bcc), why)


def tracefs(host: Host) -> Check:
    """The formats of the tracepoints' records."""
    why = "bcc reads the tracepoints' formats there; the bpf backend needs none"
    for place in ("sys/kernel/tracing", "sys/kernel/debug/tracing"):
        if host.exists(f"{place}/events/sched"):
            return yes("tracefs", f"/{place}", why)
    if bpf_checks.lockdown(host).ok is False:  # the kernel makes no files in it: to mount it would change nothing
        detail = "empty under lockdown=confidentiality"
        return no("tracefs", detail, why, "boot without lockdown=confidentiality, or use another backend")
    detail = "it is not mounted, or may not be read"
    return no("tracefs", detail, why, as_root("mount -t tracefs tracefs /sys/kernel/tracing"))


# netlink


def net_admin(host: Host) -> Check:
    """CAP_NET_ADMIN, over the whole host."""
    why = "taskstats, and before Linux 6.6 the proc connector, are only for those who hold it"
    held = host.capable(CAP_NET_ADMIN)
    if held is None:
        return unknown("net_admin", "/proc/self/status can not be read", why)
    detail = "CAP_NET_ADMIN is held" if held else "CAP_NET_ADMIN not held"
    return Check("net_admin", held, detail, why, None if held else forktrace_as_root())


def proc_connector(host: Host) -> Check:
    """The kernel's netlink source of forks, execs and exits."""
    why = "the netlink backend gets forks, execs and exits from it"
    text = host.text("proc/net/connector")
    if text is not None and "cn_proc" in text:
        return yes("proc_connector", "cn_proc is registered", why)
    detail = "not in this kernel, or we are in a network namespace of our own"
    mend = "use a kernel built with CONFIG_PROC_EVENTS=y, in the host's network namespace"
    return no("proc_connector", detail, why, mend)


def taskstats(host: Host) -> Check:
    """The kernel's netlink source of what each task used."""
    why = "the netlink backend gets faults, CPU time and memory from it"
    known = host.generic_netlink("TASKSTATS")
    if known is None:
        return unknown("taskstats", "generic netlink does not answer", why)
    detail = "the kernel has it" if known else "not in this kernel"
    mend = None if known else "use a kernel built with CONFIG_TASKSTATS=y"
    return Check("taskstats", known, detail, why, mend)


def task_delayacct(host: Host) -> Check:
    """Delay accounting, which counts copied pages. Tasks from before the switch have no record for life."""
    why = "while it is on the kernel itself counts copied pages: the netlink backend's only way to know"
    value = host.text("proc/sys/kernel/task_delayacct")
    if value is None:
        mend = "use a kernel of Linux 5.14 or newer built with CONFIG_TASK_DELAY_ACCT=y"
        return no("task_delayacct", "no such switch in this kernel", why, mend)
    if value == "0":
        mend = as_root("sysctl kernel.task_delayacct=1")
        return no("task_delayacct", "kernel.task_delayacct = 0, off", why, mend)
    left = delayacct.left_behind(host.root / "proc/sys/kernel/task_delayacct", host.root / "run/forktrace")
    if left is not None:
        detail = f"kernel.task_delayacct = {value}, left on by a forktrace that was killed"
        return unknown("task_delayacct", detail, why, as_root(f"sysctl kernel.task_delayacct={left}"))
    return yes("task_delayacct", f"kernel.task_delayacct = {value}", why)


# strace

_STRACE: Final = {"--seccomp-bpf": (5, 3), "--decode-pids=pidns": (5, 9), "--kill-on-exit": (6, 6)}


def strace(host: Host) -> Check:
    """The program, and which of the options that matter its version has."""
    why = "the strace backend needs no privilege; --seccomp-bpf (5.3) makes it some 30 times faster"
    if host.strace is None:
        return no("strace", "strace is not in PATH", why, host.install("strace"))
    if host.strace == (0, 0):
        return unknown("strace", "strace is in PATH but does not tell its version", why)
    has = [option for option, since in _STRACE.items() if host.strace >= since]
    lacks = [option for option, since in _STRACE.items() if host.strace < since]
    detail = f"version {host.strace[0]}.{host.strace[1]}"
    detail += (f", with {', '.join(has)}" if has else "") + (f", without {', '.join(lacks)}" if lacks else "")
    return yes("strace", detail, why)


def ptrace(host: Host) -> Check:
    """Yama's restriction of ptrace; without Yama there is none."""
    why = "strace follows programs by ptrace; starting one is less restricted than attaching (-p)"
    scope = host.text("proc/sys/kernel/yama/ptrace_scope")
    privileged = host.capable(CAP_SYS_PTRACE)
    if scope in (None, "0"):
        detail = "not restricted" if scope else "not restricted (no Yama in this kernel)"
        return yes("ptrace", detail, why)
    if scope == "3":
        detail = "kernel.yama.ptrace_scope = 3: nobody may, until reboot"
        return no("ptrace", detail, why, "reboot with kernel.yama.ptrace_scope=1")
    detail = f"kernel.yama.ptrace_scope = {scope}"
    if privileged:
        return yes("ptrace", f"{detail}, but CAP_SYS_PTRACE is held", why)
    if scope == "1":
        detail += ": own children, yes; -p, no"
        return Check("ptrace", ok=True, detail=detail, why=why, mend=f"for -p: {forktrace_as_root()}")
    return no("ptrace", f"{detail}: only with CAP_SYS_PTRACE", why, forktrace_as_root())


# all


def pid_namespace(host: Host) -> Check:
    """Whether we see the host's own pids."""
    why = "in another one only the processes inside have pids, and the proc connector is silent"
    ours = procfs.pid_namespace(host.root / "proc")
    if ours.initial is None:
        return unknown("pid_namespace", "/proc/self/ns/pid can not be read", why)
    if ours.initial:
        return yes("pid_namespace", "the host's own", why)
    detail = "not the host's own" + ("" if ours.proc_is_ours else "; /proc shows the pids of yet another one")
    if ours.level is None:
        detail += "; how deep it lies can not be told, which the bpf backend must know"
    return no("pid_namespace", detail, why, "run on the host (docker: --pid=host)")
