"""forktrace as a wheel installs it, so that a service without access to the checkout can start it."""

from __future__ import annotations

import compileall
import shutil
from pathlib import Path

from tests.vm.home import ROOT


def install() -> Path:
    """Copy package and probes to where the distribution's Python looks. Returns the package's directory."""
    [packages] = Path("/usr/local/lib").glob("python3.*/dist-packages")
    (packages / "forktrace.pth").unlink(missing_ok=True)
    target = packages / "tracer"
    shutil.copytree(ROOT / "tracer", target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    shutil.copytree(ROOT / "probes/build", target / "_probes/build", dirs_exist_ok=True)
    compileall.compile_dir(target, quiet=1)
    return target
