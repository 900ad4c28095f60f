"""What the live screen costs: forktrace's own CPU, its frames and its losses, at a given rate of forks.

    sudo python tests/bench/bench_live.py [--rate 10000] [--seconds 20] [--size 200x50] [--tree] [--first]

`forktrace --live -a` and `forktrace storm`, each on a pseudo terminal that is read as fast as it writes. Forks are made
by as many `samples/bin/storm_shapes noexec 2000` as the rate takes, and come for as long as CPU is counted: user and
system time of /proc/PID/stat over the window, threads and all. Frames are counted by the sequence that each begins
with; a frame that would change nothing is not written. Then `w` is pressed, and what was held is read back: how many
seconds and forks it has, how many rows of detail it had no room for, and how many records were lost on their way.
`--first`: where other work shares the machine, forktrace goes before it (SCHED_FIFO). Prints, and asserts nothing.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "samples/bin/storm_shapes"
TICK = os.sysconf("SC_CLK_TCK")
FRAME = b"\x1b[?2026h"


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def forks() -> int:
    """Tasks that this host has made since boot."""
    return next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line[:4] == "proc")


class Terminal:
    """A command on a terminal of its own, whose output is read all the time and kept."""

    def __init__(self, command: list[str], columns: int, lines: int, folder: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env,
            cwd=folder,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.frames = self.bytes = 0

    def read(self, seconds: float) -> None:
        """For so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if not select.select([self.master], [], [], left)[0]:
                return
            try:
                data = os.read(self.master, 1 << 16)
            except OSError:
                return
            self.frames += data.count(FRAME)
            self.bytes += len(data)

    def end(self) -> None:
        """Press q, and see it go."""
        os.write(self.master, b"q")
        until = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < until:
            self.read(0.1)
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def held(folder: str) -> str:
    """What the file says that `w` has made."""
    sys.path.insert(0, str(ROOT))
    import tracer
    from tracer.model.schema import Kind

    births, lost, left_out, first, last = 0, 0, 0, 1 << 63, 0
    (path,) = Path(folder).glob("*.ftrace")
    for batch in tracer.load(str(path)).batches():
        told = batch.parts.get(Kind.LOST, {"count": (), "where": ()})
        for count, where in zip(told["count"], told["where"], strict=True):
            if where == "recorder":  # it came, and 64 MiB had no room for it
                left_out += count
            else:
                lost += count
        stamps = batch.parts.get(Kind.FORK, {}).get("ts_ns", ())
        births += len(stamps)
        first, last = min((first, *stamps)), max((last, *stamps))
    held_s = (last - first) / 1e9
    return f"{births:,} forks of {held_s:.0f} s held, {left_out:,} rows of detail left out; lost: {lost:,}"


def measure(words: list[str], rate: int, seconds: int, size: tuple[int, int], *, tree: bool, first: bool) -> str:
    """One run."""
    with tempfile.TemporaryDirectory() as folder:
        screen = Terminal([sys.executable, "-m", "tracer", *words], *size, folder)
        screen.read(4)
        if first:
            os.sched_setscheduler(screen.process.pid, os.SCHED_FIFO, os.sched_param(1))
        if tree:
            os.write(screen.master, b"t")
        makers = [
            subprocess.Popen([str(SAMPLE), "noexec", str(min(2000, rate)), str(seconds + 6)])
            for _ in range(max(1, rate // 2000))
        ]
        screen.read(5)
        used, made, frames, sent = cpu(screen.process.pid), forks(), screen.frames, screen.bytes
        began = time.monotonic()
        screen.read(seconds)
        while time.monotonic() - began < seconds:
            screen.read(0.1)
        lasted = time.monotonic() - began
        used, made = cpu(screen.process.pid) - used, forks() - made
        frames, sent = screen.frames - frames, screen.bytes - sent
        os.write(screen.master, b"w")
        screen.read(1)
        for maker in makers:
            while maker.poll() is None:
                screen.read(0.1)
        screen.end()
        return (
            f"{made / lasted:,.0f} forks/s: {used / lasted:.1%} of a core, {1e6 * used / made:.1f} us a fork, "
            f"{frames / lasted:.1f} frames/s, {sent / lasted / 1024:.0f} KiB/s; {held(folder)}"
        )


def main() -> None:
    """Both screens."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--size", default="200x50")
    parser.add_argument("--tree", action="store_true", help="the tree of what is being born, not the busiest")
    parser.add_argument("--first", action="store_true", help="forktrace goes before all other work")
    args = parser.parse_args()
    columns, lines = map(int, args.size.split("x"))
    for name, words in (("--live -a", ["-a", "--live"]), ("storm", ["storm", "--rate", "1e9", "--no-save"])):
        said = measure(words, args.rate, args.seconds, (columns, lines), tree=args.tree, first=args.first)
        print(f"{name:<10}", said, flush=True)


if __name__ == "__main__":
    main()
