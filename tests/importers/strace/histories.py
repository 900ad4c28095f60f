"""Random legal histories of processes, as what strace sees of them; and the truth to hold an importer against.

A history is a list of steps in the order in which the kernel would show them to a tracer:

    ("attach", tid)                    the tracer has a new task
    ("enter", tid, name, head)         a call begins; what strace prints of it then
    ("leave", tid, name, tail)         it returns: the rest of the line
    ("line", tid, body)                a line of its own: an end, a signal
    ("gone", tid)                      the tracer has one task less

Knows nothing of prefixes, times and files: tests/importers/render.py writes them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

Step = tuple[Any, ...]

_THREAD = (
    "CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD|CLONE_SYSVSEM|CLONE_SETTLS|CLONE_PARENT_SETTID|"
    "CLONE_CHILD_CLEARTID"
)
_COPY = "CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID"
_WORDS = (
    "a",
    "two words",
    'quo"te',
    "back\\slash",
    "tab\there",
    ") = 5",
    "+++ exited with 0 +++",
    "é",
    "",
    " <unfinished ...>",
)
_SIGNALS = {"SIGKILL": 9, "SIGTERM": 15, "SIGSEGV": 11, "SIGRT_3": 35}


@dataclass
class Life:
    """What really happened to one process (or thread: `tgid` is another's)."""

    tid: int
    tgid: int
    parent: int | None = None
    creator: int | None = None
    syscall: str | None = None
    execs: list[tuple[str, list[str]]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    code: int | None = None
    signal: int | None = None
    reaped_by: int | None = None
    dead: bool = False
    # while it is made
    in_call: str | None = None
    tail: str = ""  # of the line of that call
    children: list[int] = field(default_factory=list)  # not yet waited for
    threads: list[int] = field(default_factory=list)


def quote(text: str) -> str:
    """As strace prints a string."""
    out = []
    for byte in text.encode():
        char = chr(byte)
        if char in '"\\':
            out.append("\\" + char)
        elif char == "\t":
            out.append("\\t")
        elif 32 <= byte < 127:
            out.append(char)
        else:
            out.append(f"\\{byte:03o}")
    return '"' + "".join(out) + '"'


class History:
    """`steps` and `lives`, of `size` actions, all from `seed`."""

    def __init__(self, seed: int, size: int, *, threads: bool = True, first: int = 1000) -> None:
        self.rng = random.Random(seed)
        self.steps: list[Step] = []
        self.lives: dict[int, Life] = {}
        self.use_threads = threads
        self.next = first
        self.root = self._new(None)
        self.steps.append(("attach", self.root.tid))
        self._whole(self.root, *self._exec(self.root))
        for _ in range(size):
            self._act()
        self._end_all()

    # -- one action

    def _new(self, creator: Life | None, *, thread: bool = False) -> Life:
        tid = self.next
        self.next += self.rng.choice((1, 1, 1, 2, 5))
        life = Life(tid, tid)
        if creator is not None:
            life.creator = creator.tid
            if thread:
                life.tgid = creator.tgid
            else:
                life.parent = creator.tgid
        self.lives[tid] = life
        return life

    def _leader(self, life: Life) -> Life:
        return self.lives[life.tgid]

    def _whole(self, life: Life, name: str, head: str, tail: str) -> None:
        self.steps += [("enter", life.tid, name, head), ("leave", life.tid, name, tail)]

    def _exec(self, life: Life) -> tuple[str, str, str]:
        exe = self.rng.choice(("/bin/sh", "/usr/bin/env", "./tool", "/opt/x y/z"))
        argv = [exe.rpartition("/")[2], *self.rng.sample(_WORDS, self.rng.randrange(0, 4))]
        self._leader(life).execs.append((exe, argv))
        listed = ", ".join(map(quote, argv))
        return "execve", f"{quote(exe)}, [{listed}], 0x7ffd1e133378 /* 6 vars */", ") = 0"

    def _act(self) -> None:
        alive = [one for one in self.lives.values() if not one.dead]
        life = self.rng.choice(alive)
        if life.in_call is not None:
            self._finish(life)
            return
        leader = self._leader(life)
        is_leader = life is leader
        actions = ["fork"] * 5 + ["exec", "exec_failed", "fork_failed", "wait", "wait", "exit"]
        if self.use_threads:
            actions += ["thread", "thread"]
        action = self.rng.choice(actions)
        if action in ("exec",) and (leader.threads or not is_leader):
            action = "exec_failed"
        if action == "exit" and (life is self.root or (is_leader and leader.threads)):
            action = "wait"
        getattr(self, "_do_" + action)(life)

    def _do_fork(self, life: Life) -> None:
        call = self.rng.choice(("fork", "vfork", "clone", "clone3"))
        child = self._new(life)
        child.syscall = call
        head, tail = {
            "fork": ("", f") = {child.tid}"),
            "vfork": ("", f") = {child.tid}"),
            "clone": (f"child_stack=NULL, flags={_COPY}|SIGCHLD", f", child_tidptr=0x7f1758a78a10) = {child.tid}"),
            "clone3": (
                "{flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD, stack=0x7ff4f5d95000, stack_size=0x9000}, 88",
                f") = {child.tid}",
            ),
        }[call]
        self._leader(life).children.append(child.tid)
        self._birth(life, child, call, head, tail)

    def _do_thread(self, life: Life) -> None:
        thread = self._new(life, thread=True)
        thread.syscall = "clone3"
        self._leader(life).threads.append(thread.tid)
        head = f"{{flags={_THREAD}, child_tid=0x7f, parent_tid=0x7f, exit_signal=0, stack=0x7f, stack_size=0x7fff80}}"
        self._birth(life, thread, "clone3", head, f" => {{parent_tid=[{thread.tid}]}}, 88) = {thread.tid}")

    def _birth(self, life: Life, child: Life, call: str, head: str, tail: str) -> None:
        self.steps.append(("enter", life.tid, call, head))
        order = self.rng.randrange(3)
        if order == 0:  # the parent's line is whole, the child comes later
            self.steps += [("leave", life.tid, call, tail), ("attach", child.tid)]
        elif order == 1:  # the notice falls into the line
            self.steps += [("attach", child.tid), ("leave", life.tid, call, tail)]
        else:  # the child runs first
            self.steps.append(("attach", child.tid))
            life.in_call, life.tail = call, tail

    def _finish(self, life: Life) -> None:
        call = life.in_call
        assert call is not None
        if call == "wait4":
            self._reap(life, entered=True)
            return
        life.in_call = None
        self.steps.append(("leave", life.tid, call, life.tail))

    def _do_exec(self, life: Life) -> None:
        self._whole(life, *self._exec(life))

    def _do_exec_failed(self, life: Life) -> None:
        self._leader(life).failed.append("ENOENT /nowhere/tool")
        tail = ") = -1 ENOENT (No such file or directory)"
        self._whole(life, "execve", '"/nowhere/tool", ["tool"], 0x7ffd1e133378 /* 6 vars */', tail)

    def _do_fork_failed(self, life: Life) -> None:
        self._leader(life).failed.append("EAGAIN clone")
        tail = ", child_tidptr=0x7f) = -1 EAGAIN (Resource temporarily unavailable)"
        self._whole(life, "clone", f"child_stack=NULL, flags={_COPY}|SIGCHLD", tail)

    def _do_wait(self, life: Life) -> None:
        if not self._leader(life).children:
            self._whole(life, "wait4", "-1, 0x7fff4d76dbd0, WNOHANG, NULL", ") = -1 ECHILD (No child processes)")
        elif any(self.lives[c].dead for c in self._leader(life).children):
            self.steps.append(("enter", life.tid, "wait4", "-1, "))
            self._reap(life, entered=True)
        else:
            self.steps.append(("enter", life.tid, "wait4", "-1, "))
            life.in_call = "wait4"

    def _reap(self, life: Life, *, entered: bool) -> None:
        leader = self._leader(life)
        child = next((self.lives[c] for c in leader.children if self.lives[c].dead), None)
        if child is None:
            return
        life.in_call = None
        leader.children.remove(child.tid)
        child.reaped_by = leader.tid
        if child.signal is not None:
            name = next(n for n, v in _SIGNALS.items() if v == child.signal)
            status = f"[{{WIFSIGNALED(s) && WTERMSIG(s) == {name}}}]"
        else:
            status = f"[{{WIFEXITED(s) && WEXITSTATUS(s) == {child.code}}}]"
        self.steps.append(("leave", life.tid, "wait4", f"{status}, 0, NULL) = {child.tid}"))

    def _do_exit(self, life: Life) -> None:
        leader = self._leader(life)
        if life is not leader:
            self._whole(life, "exit", "0", ") = ?")
            self._gone(life, "+++ exited with 0 +++", code=0)
            leader.threads.remove(life.tid)
            return
        if self.rng.random() < 0.3:
            name = self.rng.choice(list(_SIGNALS))
            self._gone(life, f"+++ killed by {name} +++", signal=_SIGNALS[name])
        else:
            code = self.rng.randrange(256)
            self._whole(life, "exit_group", str(code), ") = ?")
            self._gone(life, f"+++ exited with {code} +++", code=code)

    def _gone(self, life: Life, body: str, *, code: int | None = None, signal: int | None = None) -> None:
        life.dead, life.code, life.signal = True, code, signal
        self.steps += [("line", life.tid, body), ("gone", life.tid)]
        parent = self.lives.get(life.parent or 0)
        if life.tid == life.tgid and parent is not None and not parent.dead and parent.in_call is None:
            how = f"CLD_EXITED, si_pid={life.tid}, si_uid=0, si_status={code}"
            if signal is not None:
                name = next(n for n, v in _SIGNALS.items() if v == signal)
                how = f"CLD_KILLED, si_pid={life.tid}, si_uid=0, si_status={name}"
            told = f"--- SIGCHLD {{si_signo=SIGCHLD, si_code={how}, si_utime=0, si_stime=0}} ---"
            self.steps.append(("line", parent.tid, told))

    def _end_all(self) -> None:
        """The youngest first: so no wait is left without its child, and no process without its end."""
        for life in sorted(self.lives.values(), key=lambda one: -one.tid):
            if life.in_call is not None:
                self._finish(life)
            if life.dead or life.in_call is not None:
                continue
            leader = self._leader(life)
            if life is leader:
                for tid in list(leader.threads):
                    self._do_exit(self.lives[tid])
                self._whole(life, "exit_group", "0", ") = ?")
                self._gone(life, "+++ exited with 0 +++", code=0)
            else:
                self._do_exit(life)
