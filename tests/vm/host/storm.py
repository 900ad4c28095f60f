"""samples/forktrace-storm.service under its sandbox: comes up, is cheap when idle, finds a storm and saves it.

The cost is CPU time of the unit's group. Under emulation everything is slower; a loop of Python is timed beside it, and
the figure of a real processor is the unit's share by the ratio of the two loops (REAL_LOOP_S is this loop on a core of
some 3 GHz).
"""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.vm.home import ROOT
from tests.vm.host.installed import install
from tests.vm.host.statements import finish, holds, say, sh, wait_for

UNIT = "forktrace-storm"
KEPT = Path("/var/lib/forktrace")
IDLE_S = 30.0
REAL_LOOP_S = 0.033


def loop() -> float:
    """CPU seconds of 1,000,000 rounds of a Python loop."""
    started = time.process_time()
    total = 0
    for i in range(1_000_000):
        total += i & 7
    return time.process_time() - started


def cpu() -> float:
    """CPU seconds of the unit."""
    return int(sh(f"systemctl show -P CPUUsageNSec {UNIT}").stdout) / 1e9


def answers() -> str:
    """The metrics, or nothing."""
    with suppress(OSError), urllib.request.urlopen("http://127.0.0.1:9464/metrics", timeout=5) as page:
        text: str = page.read().decode()
        return text
    return ""


def said() -> list[dict[str, Any]]:
    """JSON lines of the journal."""
    lines = sh(f"journalctl -u {UNIT} -o cat").stdout.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def findings() -> list[dict[str, Any]]:
    """Those that are no seconds."""
    return [line for line in said() if line.get("kind") != "second"]


def main() -> None:
    """All statements, in order."""
    install()
    sh(f"cp {ROOT}/samples/{UNIT}.service /etc/systemd/system/ && systemctl daemon-reload")
    started = time.monotonic()
    holds("the unit starts", sh(f"systemctl start {UNIT}").returncode == 0)
    holds("it answers Prometheus", wait_for(answers, 180), f"after {time.monotonic() - started:.0f} s")
    say(f"{cpu():.1f} s of CPU to come up")
    time.sleep(20)  # what the boot still starts is no idle host
    slower = loop() / REAL_LOOP_S
    before, at = cpu(), time.monotonic()
    time.sleep(IDLE_S)
    share = 100 * (cpu() - before) / (time.monotonic() - at)
    say(f"idle: {share:.1f} % of a core here, where Python is {slower:.0f} times slower than on a real one")
    holds("idle, it costs at most 0.5 % of a real core", share / slower <= 0.5, f"{share / slower:.2f} %")
    storm = [str(ROOT / "samples/bin/storm_shapes"), "noexec", "400", "25"]
    ran = subprocess.run(["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", *storm], check=False)
    found = wait_for(findings, 60)
    rates = sorted((line["forks"] for line in said() if line["kind"] == "second"), reverse=True)
    say(f"storm_shapes ended with {ran.returncode}; forks a second that were seen: {rates[:25]}")
    holds("the storm is found", found, [line.get("kind") for line in findings()][:4])
    holds("it is saved", wait_for(lambda: list(KEPT.glob("*.ftrace")), 60))
    wait_for(lambda: "is complete" in sh(f"journalctl -u {UNIT} -o cat").stdout, 60)
    files = list(KEPT.glob("*.ftrace"))
    report = sh(["forktrace", "report", str(files[0])]) if files else None
    holds("the saved file is a trace of it", report and report.returncode == 0 and "storm_shapes" in report.stdout)
    holds("the unit still runs", sh(f"systemctl is-active {UNIT}").stdout.strip() == "active")
    say(sh(f"systemctl show -P MemoryPeak -P MemoryCurrent {UNIT}").stdout.replace("\n", " "))
    stopped = sh(f"systemctl stop {UNIT}; systemctl show -P Result {UNIT}")
    holds("it ends when asked to", stopped.stdout.strip() == "success", stopped.stdout.strip())
    journal = sh(f"journalctl -u {UNIT} -o cat --no-pager").stdout.splitlines()
    print(*(line[:300] for line in journal if '"kind": "second"' not in line), sep="\n")
    finish()


if __name__ == "__main__":
    main()
