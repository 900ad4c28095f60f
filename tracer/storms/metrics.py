"""What a capture has seen, as metrics that Prometheus scrapes: totals since it began, and what is so now.

    metrics = Metrics(window, source="bpf");  metrics.serve("127.0.0.1:9464");  metrics.tick() ...;  metrics.close()

Totals by unit (or container, or control group) and comm are added up from the seconds of the window once they are over
and nothing comes late any more, so they follow by some seconds. No more than MOST pairs have lines of their own, the
first that come; all others are `other`: a host that runs a new container every minute must not fill a database. What
the source can not see has no line at all. Needs prometheus_client, an optional extra. Knows no events.
"""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracer.errors import CannotWriteError, UsageError
from tracer.host.cgroups import place
from tracer.model.meta import Fact
from tracer.model.schema import NULL
from tracer.window.window import Window

if TYPE_CHECKING:
    from tracer.storms.scrape_server import ScrapeServer

MOST: Final = 200
LATE_S: Final = 3  # a second is added up so long after it ended
OTHER: Final = "other"
DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 9464
_CAUSES_MOST: Final = 32
_LABEL_MOST: Final = 200

_BY_WHOM: Final = (
    ("forks", "forktrace_forks", "Processes born"),
    ("execs", "forktrace_execs", "Programs started in a process"),
    ("exits", "forktrace_exits", "Processes ended"),
    ("failures", "forktrace_fork_failures", "Forks that failed"),
    ("copies", "forktrace_copied_pages", "Pages copied on write because of a fork"),
    ("fork_ns", "forktrace_page_table_copy_seconds", "Time that forks took to copy page tables"),
)
_NEEDS: Final = {"failures": Fact.FORK_FAILED, "copies": Fact.COW, "fork_ns": Fact.FORK_COST}


class Metrics:
    """Totals of one capture. `tick` now and then, at least once a minute; the rest happens when somebody scrapes."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._lock = threading.Lock()  # a scrape comes on a thread of its own
        self._totals: dict[tuple[str, str], dict[str, int]] = {}
        self._causes: dict[str, int] = {}
        self._now: dict[str, int | None] = {}
        self._lost = 0
        self._done = -1  # the last second that was added up
        self._server: ScrapeServer | None = None
        self.storms = 0
        """Found so far; `storming` says whether one is going on. Whoever finds them sets both."""
        self.storming = False

    def tick(self) -> None:
        """Add up the seconds that are over."""
        window = self._window
        last = window.now_ns // 10**9 - LATE_S - 1
        if last <= self._done:
            return
        with self._lock:
            for second in sorted(s for s in window.lives.touched if self._done < s <= last):
                for cell in window.lives.touched[second]:
                    self._add(cell.alike, cell.seconds.get(second))
            self._done = last
            self._now = {name: (window.series(name) or [None])[-1] for name in ("alive", "zombies")}

    def lose(self, count: int) -> None:
        """So many records were lost."""
        with self._lock:
            self._lost += count

    def _add(self, alike: Any, tally: Any) -> None:
        if tally is None:
            return
        _, comm, cgroup, _ = alike
        # As they are shown: two names that look the same there are one, as a page with both is refused as a whole.
        key = (_text(owner(cgroup)), _text(comm or "?"))
        totals = self._totals.get(key)
        if totals is None:
            if len(self._totals) >= MOST:
                key = (OTHER, OTHER)
            totals = self._totals.setdefault(key, dict.fromkeys((name for name, _, _ in _BY_WHOM), 0))
        for name in totals:
            totals[name] += getattr(tally, name)
        for cause, n in tally.causes.items():
            cause = _text(cause)
            if cause not in self._causes and len(self._causes) >= _CAUSES_MOST:
                cause = OTHER
            self._causes[cause] = self._causes.get(cause, 0) + n

    # -- what is scraped ----------------------------------------------------------------------------------------

    def collect(self) -> Iterator[Any]:
        """Metric families of prometheus_client, as they stand now."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        facts, source = self._window.meta.facts, self._window.meta.source
        with self._lock:
            totals = {key: dict(values) for key, values in self._totals.items()}
            causes, now, lost = dict(self._causes), dict(self._now), self._lost
        for name, metric, doc in _BY_WHOM:
            if name in _NEEDS and _NEEDS[name] not in facts:
                continue
            family = CounterMetricFamily(metric, doc, labels=("unit", "comm"))
            for (unit, comm), values in totals.items():
                if values[name] or name == "forks":
                    scale = 1e-9 if name == "fork_ns" else 1
                    family.add_metric((unit, comm), values[name] * scale)
            yield family
        if Fact.FORK_FAILED in facts:
            family = CounterMetricFamily("forktrace_fork_failures_by_cause", "Forks that failed", labels=("cause",))
            for cause, n in causes.items():
                family.add_metric((cause,), n)
            yield family
        for name, doc in (("alive", "Processes that live"), ("zombies", "Ended, and nobody has waited for them")):
            value = now.get(name)
            if value is not None and value != NULL:
                yield GaugeMetricFamily(f"forktrace_{name}", doc, value=value)
        yield CounterMetricFamily("forktrace_lost_records", "Records that were lost on their way", value=lost)
        yield CounterMetricFamily("forktrace_storms", "Fork storms found", value=self.storms)
        yield GaugeMetricFamily("forktrace_storm_active", "Whether a fork storm is going on", value=int(self.storming))
        own = resource.getrusage(resource.RUSAGE_SELF)
        cpu = own.ru_utime + own.ru_stime
        yield CounterMetricFamily("forktrace_own_cpu_seconds", "CPU time of forktrace itself", value=cpu)
        yield GaugeMetricFamily("forktrace_own_resident_bytes", "Memory of forktrace itself", value=_resident())
        yield InfoMetricFamily("forktrace", "What sees", value={"source": source, "version": self._window.meta.version})

    # -- serving ------------------------------------------------------------------------------------------------

    def serve(self, where: str) -> str:
        """Answer scrapes at HOST:PORT until `close`; returns the address. Raises UsageError, CannotWriteError."""
        try:
            from prometheus_client import CollectorRegistry, exposition
            from prometheus_client.openmetrics import exposition as openmetrics
        except ImportError:
            raise UsageError("prometheus_client can not be imported", "pip install 'forktrace[metrics]'") from None
        from tracer.storms.scrape_server import ScrapeServer

        host, port = address(where)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)

        def page(newer: bool) -> tuple[bytes, str]:
            if newer:
                body: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
                return body, openmetrics.CONTENT_TYPE_LATEST
            return exposition.generate_latest(registry), "text/plain; version=0.0.4; charset=utf-8"

        server = ScrapeServer(page)
        try:
            taken = server.start(host, port)
        except OSError as e:
            why = (e.strerror or str(e)).lower()
            raise CannotWriteError(f"metrics can not be served at {where}: {why}", "choose another port") from None
        self._server = server
        return taken

    def close(self) -> None:
        """Stop answering. May be called twice."""
        if self._server is not None:
            self._server.close()
            self._server = None


def owner(cgroup: str | None) -> str:
    """Who a control group belongs to, in one word: its container's first twelve letters, its unit, or its own path."""
    if cgroup is None:
        return "?"
    found = place(cgroup)
    return (found.container or "")[:12] or found.unit or cgroup


def address(where: str) -> tuple[str, int]:
    """HOST:PORT, :PORT or PORT; the loopback where no host is named. Raises UsageError.

    >>> address("9464"), address("[::1]:9464")
    (('127.0.0.1', 9464), ('::1', 9464))
    """
    host, _, port = where.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port[:6]) > 65535:
        raise UsageError(f"'{where}' is no address for metrics", f"give it as {DEFAULT_HOST}:{DEFAULT_PORT}")
    return host.strip("[]") or DEFAULT_HOST, int(port)


def _text(label: str) -> str:
    """Odd bytes as \\xNN, as what is scraped is UTF-8; cut where it is long, as a control group's path may be."""
    if not label.isascii():
        label = label.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return label if len(label) <= _LABEL_MOST else label[: _LABEL_MOST - 1] + "…"


def _resident() -> int:
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGESIZE")
