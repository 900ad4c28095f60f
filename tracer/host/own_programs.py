"""Programs that forktrace runs for itself (strace, zstd): found by PATH, but never relative to the current folder."""

from __future__ import annotations

import os


def find(name: str) -> str | None:
    """The program's path, by the parts of PATH that begin with a slash: `.` or an empty part could be anybody's."""
    import shutil

    parts = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return shutil.which(name, path=os.pathsep.join(part for part in parts if part.startswith("/")))
