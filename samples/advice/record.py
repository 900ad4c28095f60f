"""Record these programs into samples/recordings/, as root:

    .venv/bin/python samples/advice/record.py FOLDER

FOLDER is where the programs are copied to and run, so that no path of this host is in the files. Look at the reports
of the new ones (tests/reports/test_recordings.py --update-golden) before they are committed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PYTHON = "python3"
RUNS = {
    "big_spawn": [PYTHON, "big_spawn.py"],
    "spawn": [PYTHON, "spawn.py"],
    "snapshot": [PYTHON, "snapshot.py"],
    "workers": [PYTHON, "workers.py"],
    "workers_frozen": [PYTHON, "workers.py", "frozen"],
    "respawn": ["sh", "respawn.sh"],
    "polling": ["sh", "polling.sh"],
    "zombies": [PYTHON, "zombies.py"],
    "threads": [PYTHON, "threads.py"],
    "searching": ["sh", "searching.sh"],
    "healthy": ["bash", "healthy.sh"],
}


def record(folder: Path, name: str, out: Path) -> int:
    """The status of one run."""
    command = [sys.executable, "-m", "tracer", "-q", "-e", "fail", "-o", str(out / f"{name}.ftrace"), "--", *RUNS[name]]
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(HERE.parents[1]), "HOME": "/root", "LC_ALL": "C"}
    return subprocess.run(command, cwd=folder, env=env, check=False).returncode


def main() -> int:
    """All of them."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for path in HERE.glob("*.*"):
        shutil.copy(path, folder)
    out = HERE.parent / "recordings"
    out.mkdir(exist_ok=True)
    return max(record(folder, name, out) for name in RUNS)


if __name__ == "__main__":
    sys.exit(main())
