"""The smallest session there can be: hold a program, release it, accompany it to its end, pass its status on.

    hold_release.py [--as-root] [-u USER] [-E WORD]... [--cwd DIR] [--tell FD] [--gate FD] [-o FILE]
                    -- PROGRAM [ARG...]

Tells its own truth, a line each, on descriptor --tell: held PID, abandoned, released, stopping, child PID,
ended STATUS, detached. With --gate it releases when that descriptor gives a byte, abandons at end of file.
"""

import argparse
import os
import select
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracer.capture.target import Action, Status, Target, open_output, pass_on
from tracer.errors import ForktraceError


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--as-root", action="store_true")
    parser.add_argument("-u", dest="user")
    parser.add_argument("-E", dest="set_env", action="append", default=[])
    parser.add_argument("--cwd")
    parser.add_argument("--tell", type=int, default=-1)
    parser.add_argument("--gate", type=int, default=-1)
    parser.add_argument("-o", dest="output")
    split = sys.argv.index("--")
    options = parser.parse_args(sys.argv[1:split])

    def tell(line: str) -> None:
        if options.tell >= 0:
            os.write(options.tell, f"{line}\n".encode())

    for fd in (options.tell, options.gate):
        if fd >= 0:
            os.set_inheritable(fd, False)
    try:
        run(options, sys.argv[split + 1 :], tell)
    except ForktraceError as e:
        print(f"forktrace: {e}", file=sys.stderr)
        sys.exit(e.exit_status)


def run(options: argparse.Namespace, argv: list[str], tell: Callable[[str], None]) -> None:
    target = Target.hold(argv, set_env=options.set_env, cwd=options.cwd, as_root=options.as_root, user=options.user)
    target.on_stop = lambda: tell("stopping")
    target.on_child = lambda pid, raw: tell(f"child {pid}")
    tell(f"held {target.pid}")
    if options.output:
        open_output(options.output).close()
    if options.gate >= 0 and not os.read(options.gate, 1):
        target.abandon()
        tell("abandoned")
        return
    target.release()
    tell("released")
    while target.status is None:
        select.select([target.signal_fd], [], [])
        if target.handle_signals() is Action.DETACH:
            tell("detached")
            target.close()
            pass_on(Status(None, target.last_request))
    tell(f"ended {target.status}")
    target.close()
    pass_on(target.status)


main()
