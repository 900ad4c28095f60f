"""`python -m tracer` is `forktrace`, for a checkout.

For -m Python puts the current folder before all others, and takes `tracer` itself from there if it finds one: before a
line of ours runs, nothing can be done about that. So in a folder that another user can write root is refused, though
late, and shown the safe ways: the command `forktrace`, or `python -I -m tracer`. Elsewhere the current folder is taken
out of the path, unless it is the checkout.
"""

from __future__ import annotations

import os
import sys


def _leave_current_folder() -> str | None:
    """Take the current folder out of the path. What to say if root must not go on; None if all is well."""
    if sys.flags.safe_path or not sys.path:
        return None
    first = sys.path[0]
    if os.path.realpath(first) == os.path.dirname(os.path.dirname(os.path.realpath(__file__))):  # noqa: PTH120
        return None
    del sys.path[0]
    try:
        status = os.stat(first)  # noqa: PTH116
    except OSError:
        return None
    if os.geteuid() == 0 and (status.st_uid != 0 or status.st_mode & 0o022):
        return f"python -m tracer was refused to root: modules in {first} are imported, and others may write there"
    return None


if __name__ == "__main__":
    why = _leave_current_folder()
    if why is not None:
        from tracer.model.visible import write

        write(sys.stderr, f"forktrace: {why}; use the command forktrace, or python -I -m tracer\n")
        sys.exit(77)
    from tracer.commands import program

    program()
