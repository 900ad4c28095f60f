"""Makes big strace logs of a shape that real ones have, for the import benchmark: nothing large is kept in the tree.

    dense    what `-e trace=process` gives: 8 lines a process, all of life and death
    full     all system calls: about 3 % of the lines are of life and death

As `strace -f -ttt -T -o FILE` writes them: a shell-like root that forks, children that exec, end and are waited for,
several at a time, so that calls stand in two parts.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

_FILLER = (
    'openat(AT_FDCWD, "/usr/lib/x86_64-linux-gnu/libc.so.6", O_RDONLY|O_CLOEXEC) = 3 <0.000021>',
    'read(3, "\\177ELF\\2\\1\\1\\3\\0\\0\\0\\0\\0\\0\\0\\0\\3\\0>\\0\\1\\0\\0"..., 832) = 832 <0.000014>',
    'newfstatat(3, "", {st_mode=S_IFREG|0755, st_size=1922136, ...}, AT_EMPTY_PATH) = 0 <0.000011>',
    "mmap(NULL, 1970000, PROT_READ, MAP_PRIVATE|MAP_DENYWRITE, 3, 0) = 0x7f1758888000 <0.000016>",
    "mprotect(0x7f1758a64000, 16384, PROT_READ) = 0 <0.000015>",
    "close(3)                          = 0 <0.000009>",
    'write(1, "some line of output that a program writes\\n", 42) = 42 <0.000031>',
    "brk(NULL)                         = 0x55f1b7c2d000 <0.000008>",
    "rt_sigaction(SIGINT, {sa_handler=SIG_DFL, sa_mask=[], sa_flags=0}, NULL, 8) = 0 <0.000007>",
    "futex(0x7f1758a6a770, FUTEX_WAKE_PRIVATE, 2147483647) = 0 <0.000008>",
    'stat("/etc/ld.so.cache", {st_mode=S_IFREG|0644, st_size=36271, ...}) = 0 <0.000012>',
    "poll([{fd=4, events=POLLIN}], 1, 100) = 1 ([{fd=4, revents=POLLIN}]) <0.000510>",
)
_NO_CHILD = "wait4(-1, 0x7fff4d76dbd0, WNOHANG, NULL) = -1 ECHILD (No child processes) <0.000010>"
_FLAGS = "CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD"


def _life(rng: random.Random, parent: int, pid: int) -> list[tuple[int, str]]:
    """(whose line, its body) of one child's life, in order."""
    code = pid % 7
    argv = ", ".join(f'"{word}"' for word in ("sh", "-c", f"exit {code}", f"job-{pid}"))
    halves = rng.random() < 0.3
    fork = (
        [(parent, f"clone(child_stack=NULL, flags={_FLAGS} <unfinished ...>"),
         (parent, f"<... clone resumed>, child_tidptr=0x7f1758a78a10) = {pid} <0.000212>")]
        if halves
        else [(parent, f"clone(child_stack=NULL, flags={_FLAGS}, child_tidptr=0x7f1758a78a10) = {pid} <0.000212>")]
    )  # fmt: skip
    return [
        *fork,
        (parent, "wait4(-1,  <unfinished ...>"),
        (pid, f'execve("/bin/sh", [{argv}], 0x56105d21fb80 /* 9 vars */) = 0 <0.000351>'),
        (pid, f"exit_group({code})          = ?"),
        (pid, f"+++ exited with {code} +++"),
        (parent, f"<... wait4 resumed>[{{WIFEXITED(s) && WEXITSTATUS(s) == {code}}}], 0, NULL) = {pid} <0.003120>"),
        (
            parent,
            f"--- SIGCHLD {{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid={pid}, si_uid=0, si_status={code}, "
            "si_utime=0, si_stime=0} ---",
        ),
        *([] if halves else [(parent, _NO_CHILD)]),
    ]


def _lines(rng: random.Random, filler: int) -> Iterator[str]:
    ns = 1_700_000_000_000_000
    root, shells = 1000, [1001, 1002, 1003]
    following = 1004

    def stamp(pid: int, body: str) -> str:
        nonlocal ns
        ns += rng.randrange(5, 90)
        return f"{pid:<5} {ns // 1_000_000}.{ns % 1_000_000:06} {body}\n"

    yield stamp(root, 'execve("/bin/bash", ["bash", "build.sh"], 0x7ffd1e133378 /* 6 vars */) = 0 <0.000400>')
    for shell in shells:
        yield stamp(root, f"clone(child_stack=NULL, flags={_FLAGS}, child_tidptr=0x7f1758a78a10) = {shell} <0.000190>")
    while True:
        lives = []
        for shell in shells:
            lives.append(_life(rng, shell, following))
            following += 1
        while any(lives):
            life = rng.choice([one for one in lives if one])
            pid, body = life.pop(0)
            yield stamp(pid, body)
            for _ in range(filler):
                yield stamp(pid, rng.choice(_FILLER))


def make(path: Path, megabytes: float, *, dense: bool, seed: int = 1) -> int:
    """Write a log of about that size; the number of its lines."""
    rng = random.Random(seed)
    # One pattern, made once, in pieces of 8 MB: the generator itself must not take minutes for a gigabyte.
    size, count, wanted = 0, 0, int(megabytes * 1_000_000)
    with path.open("wb") as out:
        block: list[str] = []
        for line in _lines(rng, 0 if dense else 30):
            block.append(line)
            count += 1
            size += len(line)
            if len(block) == 65536 or size >= wanted:
                out.write("".join(block).encode())
                block.clear()
            if size >= wanted:
                return count
    return count
