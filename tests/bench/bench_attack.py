"""`storm` for a long time under attack: does it count every fork, keep its memory, and answer scrapes.

    sudo .venv/bin/python -m tests.bench.bench_attack [--minutes 30] [--json FILE]

At once, for all of the time: a load of forks whose number it knows itself (calm, and a storm of some seconds in every
minute); 40 idle connections to the metrics; half-sent requests; connections as fast as two processes make them;
requests of all the kinds that the scrape server's test knows; and captures with --cow-stacks of a program that says
it has 2^34 sections. Every 10 seconds: resident memory, CPU, the time of a scrape, records lost, whether a storm is
said to go on. Ends with 1 if a fork was not counted, a record lost, a scrape refused, or memory grew.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMM = f"soak-{os.getpid()}"
CALM, STORM, STORM_S, EVERY_S = 20, 400, 12, 60  # forks a second
EVERY_SAMPLE_S = 10
GROWTH_MOST = 1.10


def load(until: float, made: int) -> None:
    """Fork at the pace of the second; the number of forks goes to descriptor `made` after every second."""
    time.sleep(8)  # its own birth, which is not one of these, has been added up under its old name by then
    Path("/proc/self/comm").write_text(COMM)
    began, total = time.monotonic(), 0
    while (now := time.monotonic()) < until:
        rate = STORM if (now - began) % EVERY_S >= EVERY_S - STORM_S else CALM
        for i in range(rate):
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
            total += 1
            time.sleep(max(0.0, now + (i + 1) / rate - time.monotonic()))
        os.pwrite(made, b"%20d" % total, 0)


def idle(where: tuple[str, int], until: float) -> None:
    """40 connections that say nothing, or half of a request."""
    clients: list[socket.socket] = []
    while time.monotonic() < until:
        while len(clients) < 40:
            with contextlib.suppress(OSError):
                clients.append(socket.create_connection(where, timeout=5))
                if len(clients) % 2:
                    clients[-1].sendall(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
        time.sleep(1)
        for client in clients[::2]:
            with contextlib.suppress(OSError):
                client.sendall(b"x")
        clients.pop(0).close()


def flood(where: tuple[str, int], until: float) -> None:
    """Requests of all kinds, as fast as they are taken."""
    kinds = [
        b"GET /metrics HTTP/1.1\r\n\r\n",
        b"",
        b"\0" * 9000,
        b"POST / HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 20000,
        b"GET / HTTP/1.1\r\nAccept: application/openmetrics-text; version=9.9.9\r\n\r\n",
        b"\x16\x03\x01" * 100,
    ]
    i = 0
    while time.monotonic() < until:
        i += 1
        with contextlib.suppress(OSError), socket.create_connection(where, timeout=0.5) as client:
            client.sendall(kinds[i % len(kinds)])
            client.settimeout(0.05)
            client.recv(100)


def captures(until: float) -> None:
    """Of a program whose file is hostile, each with its stacks named."""
    from tests.symbols import crafted
    from tests.symbols.test_crafted import compiled_copier

    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "hostile"
        crafted.with_sections(compiled_copier(), 1 << 34)(program)
        program.chmod(0o755)
        while time.monotonic() < until:
            options = ["-qq", "--cow", "full", "--cow-stacks=all", "-o", str(Path(folder) / "t.ftrace")]
            subprocess.run(
                [sys.executable, "-m", "tracer", *options, "--", str(program)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
            time.sleep(10)


def started(work: Callable[..., None], *args: Any) -> int:
    """A process of ours that does this work."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work(*args)
    finally:
        os._exit(0)


def scraped(url: str) -> tuple[float, dict[str, float]]:
    """Seconds, and values by line."""
    began = time.monotonic()
    with urllib.request.urlopen(url, timeout=30) as answer:
        text = answer.read().decode()
    took = time.monotonic() - began
    return took, {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.split("\n") if line and line[0] != "#"
    }


def counted(values: dict[str, float]) -> int:
    """Forks of the load, whatever unit it is in."""
    return int(sum(n for name, n in values.items() if name.startswith("forktrace_forks_total") and COMM in name))


def main() -> int:
    """The soak; whatever happens, none of its processes outlives it."""
    mine: list[int] = []
    try:
        return soak(mine)
    finally:
        for pid in mine:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def soak(mine: list[int]) -> int:
    """Its figures as JSON. `mine`: gets the pids of what it starts and has not waited for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--json", help="write the samples there too")
    args = parser.parse_args()
    command = [sys.executable, "-m", "tracer", "storm", "--format", "jsonl", "--no-save", "--metrics", "127.0.0.1:0"]
    log = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - for as long as the storm
    storm = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.PIPE)
    mine.append(storm.pid)
    assert storm.stderr is not None
    url = ""
    while not url:
        line = storm.stderr.readline().decode()
        found = re.search(r"http://\S+/metrics", line)
        url = found[0] if found else ""
        if not line:
            raise SystemExit("storm did not start")
    os.set_blocking(storm.stderr.fileno(), False)
    where = ("127.0.0.1", int(url.split(":")[2].split("/")[0]))
    time.sleep(3)
    until = time.monotonic() + 60 * args.minutes
    made = os.memfd_create("made")
    mine += [started(load, until, made), started(idle, where, until), started(captures, until)]
    mine += [started(flood, where, until) for _ in range(2)]
    samples: list[dict[str, Any]] = []
    refused = 0
    while time.monotonic() < until:
        time.sleep(EVERY_SAMPLE_S)
        storm.stderr.read()
        try:
            took, values = scraped(url)
        except OSError:
            refused += 1
            continue
        samples.append(
            {
                "at": round(time.monotonic() - until + 60 * args.minutes),
                "rss": int(values["forktrace_own_resident_bytes"]),
                "cpu": values["forktrace_own_cpu_seconds_total"],
                "scrape_ms": round(took * 1000, 1),
                "lost": int(values["forktrace_lost_records_total"]),
                "storming": int(values["forktrace_storm_active"]),
                "storms": int(values["forktrace_storms_total"]),
                "load": counted(values),
            }
        )
        print(json.dumps(samples[-1]), flush=True)
    while len(mine) > 1:
        os.waitpid(mine.pop(), 0)
    truth = int(os.pread(made, 20, 0))
    deadline = time.monotonic() + 30
    while True:  # a second is added up some seconds after it ended
        last = scraped(url)[1]
        if counted(last) >= truth or time.monotonic() > deadline:
            break
        time.sleep(1)
    storm.send_signal(signal.SIGINT)
    storm.communicate(timeout=60)
    mine.clear()
    log.seek(0)
    findings = [json.loads(line) for line in log.read().splitlines() if line.startswith(b"{")]
    third = max(1, len(samples) // 3)
    early, late = (statistics.median(s["rss"] for s in part) for part in (samples[third : 2 * third], samples[-third:]))
    result = {
        "minutes": args.minutes,
        "forks made": truth,
        "forks counted": counted(last),
        "uncounted": truth - counted(last),
        "records lost": int(last["forktrace_lost_records_total"]),
        "scrapes": len(samples),
        "scrapes refused": refused,
        "scrape ms, median and longest": [
            statistics.median(s["scrape_ms"] for s in samples),
            max(s["scrape_ms"] for s in samples),
        ],
        "RSS, middle third and last": [int(early), int(late)],
        "storms": int(last["forktrace_storms_total"]),
        "CPU, share of one core": round(
            (samples[-1]["cpu"] - samples[0]["cpu"]) / (max(1, samples[-1]["at"] - samples[0]["at"])), 3
        ),
        "lines of JSON": len(findings),
        "status": storm.returncode,
    }
    print(json.dumps(result, indent=1))
    if args.json:
        Path(args.json).write_text(json.dumps({"result": result, "samples": samples}))
    failed = result["uncounted"] or result["records lost"] or refused or late > early * GROWTH_MOST or storm.returncode
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
