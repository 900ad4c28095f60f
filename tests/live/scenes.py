"""A host with three things going on, and frames of it: for tests of the screen without a terminal."""

from __future__ import annotations

from tests.stories import ALL, Story
from tracer.live.head import Scene
from tracer.live.model import ORDERS, Model
from tracer.live.screen import Frame
from tracer.live.snapshot import Snapshot, Taker
from tracer.model.meta import Meta
from tracer.model.schema import Kind
from tracer.reports.terminal import Terminal, cells
from tracer.window.window import Window

UNTIL = 12.25


def busy_host(meta: Meta = ALL) -> Window:
    """make with three compilers at a time, a service that respawns what dies, and somebody's shell that idles."""
    story = Story()
    story.existing(1, comm="systemd", cgroup="/init.scope", argv=["/sbin/init"])
    story.existing(300, 1, comm="watchdogd", cgroup="/system.slice/watch.service", argv=["watchdogd", "--respawn"])
    story.existing(400, 1, comm="bash", cgroup="/user.slice", argv=["-bash"], uid=1000)
    story.existing(401, 400, comm="make", argv=["make", "-j3"])
    story.existing(402, 400, comm="vi", argv=["vi", "notes"])
    for n in range(60):
        at = 0.1 + n * 0.2
        story.run(at, 1000 + n, 401, "cc", "-c", f"file{n}.c", lasts=0.15)
        for k in range(3):
            story.run(at + 0.05 + k / 100, 2000 + 3 * n + k, 1000 + n, "as", "-o", f"file{n}.o", lasts=0.02)
    for n in range(24):
        story.run(0.25 + n * 0.5, 5000 + n, 300, "/usr/bin/worker", "--fast", lasts=0.004, code=3)
    story.fork(11.0, 7000, 401)
    story.exec(11.01, 7000, "ld", "-o", "program")
    story.fork(11.5, 7001, 300)
    story.exit(11.6, 7001, signal=9)
    story.row(Kind.ZOMBIE, 11.6, 7001)
    return story.window(until=UNTIL, meta=meta)


def snapshot(window: Window, model: Model, own_cpu: tuple[float, ...] = (0.021, 0.034)) -> Snapshot:
    taker = Taker(window)
    taker.first_ns = 0
    return taker.take(model.view.mode, ORDERS[model.view.sort], own_cpu)


def frame(window: Window, model: Model, width: int = 80, height: int = 24, scene: Scene | None = None) -> Frame:
    """With every row as wide as the screen at most."""
    found = model.frame(snapshot(window, model), scene or SCENE, width, height)
    for row in found.rows:
        text = "".join(part for part, _ in row)
        assert text.isprintable(), f"a control character in {text!r}"
        assert cells(text) <= width, f"{cells(text)} columns of {width}: {text!r}"
    assert len(found.rows) == height
    return found


def press(model: Model, window: Window, *keys: str, width: int = 80, height: int = 24) -> Frame:
    """Each key, with a frame before it, as what can be chosen is what was shown."""
    for key in keys:
        frame(window, model, width, height)
        model.view.press(key)
    return frame(window, model, width, height)


SCENE = Scene(what="whole host · bpf", clock="14:02:11", can_save=True)


def terminal(width: int = 80, *, unicode: bool = True) -> Terminal:
    return Terminal(tty=True, width=width, color=True, unicode=unicode)
