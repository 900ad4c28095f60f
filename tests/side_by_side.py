"""One run of one program under several backends at once: what they tell of the same processes can be compared by pid.

Knows no backend, and not what should be equal.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from tests.terminals import DEADLINE_S
from tracer.backends import BackendProtocol
from tracer.capture.target import Target
from tracer.model.meta import Meta
from tracer.tree.tree import ProcessTree


def run(argv: Sequence[str], backends: Sequence[BackendProtocol]) -> list[dict[int, dict[str, Any]]]:
    """For each backend the rows of the process table, by pid. Pids must not come twice."""
    target = Target.hold(list(argv))
    try:
        for backend in backends:
            backend.start()
            backend.follow(target.pid, target.pidfd)
        target.release()
        found = []
        for backend in backends:
            tree = ProcessTree(Meta(source=backend.name, facts=backend.facts))
            end = time.monotonic() + DEADLINE_S
            while backend.alive() != 0 and time.monotonic() < end:
                target.handle_signals()
                for batch in backend.read():
                    tree.feed(batch)
            for batch in backend.finish():
                tree.feed(batch)
            found.append({row["pid"]: row for row in tree.records()})
        target.handle_signals()
        return found
    finally:
        for backend in backends:
            backend.close()
        target.close()
