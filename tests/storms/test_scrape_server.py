"""Clients that are idle, slow, many, or speak something else: a scrape is answered still, and the work is bounded."""

from __future__ import annotations

import select
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tracer.storms import scrape_server
from tracer.storms.scrape_server import CONNECTIONS, HEAD_MOST, ScrapeServer


class Served:
    """A server of a short page, and how often the page was made."""

    def __init__(self) -> None:
        self.made = 0
        self.server = ScrapeServer(self.page)
        self.url = self.server.start("127.0.0.1", 0)
        self.where = ("127.0.0.1", int(self.url.split(":")[2].split("/")[0]))

    def page(self, openmetrics: bool) -> tuple[bytes, str]:
        self.made += 1
        return b"x" * 100_000, "text/openmetrics" if openmetrics else "text/plain"

    def connect(self) -> socket.socket:
        return socket.create_connection(self.where, timeout=20)

    def scrape(self) -> float:
        """Seconds that it took."""
        began = time.monotonic()
        with urllib.request.urlopen(self.url, timeout=20) as answer:
            assert len(answer.read()) == 100_000
        return time.monotonic() - began

    def cpu(self) -> float:
        """Seconds that its thread has used."""
        thread = self.server._thread
        assert thread is not None
        assert thread.ident is not None
        return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.server.close()
    made.server.close()


def said(client: socket.socket) -> bytes:
    """All that comes until the server closes."""
    parts = []
    with client:
        try:
            while part := client.recv(65536):
                parts.append(part)
        except ConnectionError:
            pass
    return b"".join(parts)


@pytest.mark.parametrize("idle", [30, 300])
def test_a_scrape_is_answered_whoever_else_is_connected(served: Served, idle: int) -> None:
    with ExitStack() as stack:
        for _ in range(idle):
            stack.enter_context(served.connect())
        took = sorted(served.scrape() for _ in range(9))

        assert took[4] < 0.05  # the median: other load on the machine is not meant
        assert len(served.server._clients) <= CONNECTIONS


def test_who_has_been_silent_longest_gives_way(served: Served) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(served.connect()) for _ in range(CONNECTIONS + 5)]
        assert said(clients[0]) == b""
        assert said(clients[4]) == b""
        clients[5].sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert said(clients[5]).startswith(b"HTTP/1.1 200 OK\r\n")
        assert served.server.closed_early == 5


def test_a_slow_sender_has_some_seconds_in_all(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape_server, "SECONDS", 0.3)
    began, client = time.monotonic(), served.connect()
    client.sendall(b"GET /metrics HTTP/1.1\r\n")
    while not select.select([client], [], [], 0.02)[0]:
        client.sendall(b"X")
        assert time.monotonic() - began < 10
    assert said(client) == b""


def test_a_reader_that_does_not_read_has_no_longer(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape_server, "SECONDS", 0.3)
    served.page = lambda openmetrics: (b"x" * (32 << 20), "text/plain")  # type: ignore[method-assign]
    served.server._page = served.page
    client = served.connect()
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    until = time.monotonic() + 20
    while served.server._clients or not served.server._pages:
        assert time.monotonic() < until
        time.sleep(0)
    client.close()


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"GET /?name=y HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed"),
        (b"DELETE / HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed"),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 Not Found"),
        (b"\x16\x03\x01\x02\0\x01\0\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"GET\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"GET / SMTP/1.1\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * HEAD_MOST, b"HTTP/1.1 431 Request Header Fields Too Large"),
    ],
)
def test_what_is_asked_and_answered(served: Served, request_: bytes, answer: bytes) -> None:
    client = served.connect()
    client.sendall(request_[: HEAD_MOST + 1])  # more than is read would have the answer lost in a reset

    assert said(client).partition(b"\r\n")[0] == answer


def test_the_head_alone(served: Served) -> None:
    client = served.connect()
    client.sendall(b"HEAD /metrics HTTP/1.1\r\n\r\n")
    head, _, body = said(client).partition(b"\r\n\r\n")

    assert b"Content-Length: 100000" in head
    assert body == b""


def test_openmetrics_for_who_asks_for_it(served: Served) -> None:
    asked = urllib.request.Request(served.url, headers={"Accept": "application/openmetrics-text;version=1.0.0,*/*"})
    with urllib.request.urlopen(asked) as answer:
        assert answer.headers["Content-Type"] == "text/openmetrics"


def test_a_page_is_made_once_a_second_however_often_it_is_fetched(served: Served) -> None:
    began = time.monotonic()
    for _ in range(50):
        served.scrape()

    assert served.made <= 2 + time.monotonic() - began


def test_a_page_that_cannot_be_made_is_said(served: Served) -> None:
    def fails(openmetrics: bool) -> Any:
        raise ValueError("secret")

    served.server._page = fails
    with pytest.raises(urllib.error.HTTPError, match="500") as caught:
        urllib.request.urlopen(served.url)
    assert caught.value.read() == b"ValueError\n"
    caught.value.close()


def test_a_flood_has_bounded_work_done_for_it(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections as fast as four threads make them, for a second: of so many ACCEPTS are taken a second."""
    monkeypatch.setattr(scrape_server, "ACCEPTS", 20)
    stop = threading.Event()
    made = []

    def flood() -> None:
        while not stop.is_set():
            try:
                with socket.create_connection(served.where, timeout=0.2) as client:
                    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    made.append(1)
            except OSError:
                continue

    before, began = served.cpu(), time.monotonic()
    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    stop.wait(1.0)
    stop.set()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began

    assert made
    assert served.server.accepted <= 20 * (took + 1) + 1
    assert served.cpu() - before < 0.25 * took + 0.1
    assert served.made <= 2 + took
    assert served.scrape() < 5


def test_close_with_clients_connected() -> None:
    served = Served()
    clients = [served.connect() for _ in range(5)]
    served.server.close()
    for client in clients:
        assert said(client) == b""
    with pytest.raises(OSError):
        served.connect()
