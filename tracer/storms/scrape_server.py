"""A server of one page, for Prometheus, that the outside can neither stop nor make work for it.

    server = ScrapeServer(page);  server.start(host, port) -> "http://127.0.0.1:9464/metrics";  server.close()

`page(openmetrics)` returns (body, content type). asyncio on one thread, beside the thread that reads the kernel's
ring, with which it shares the interpreter: what anybody may have it do is therefore bounded, in all and not by
client. CONNECTIONS at once, of which the one that has been silent longest gives way to a new one; ACCEPTS new ones a
second, the rest wait in the kernel's queue; SECONDS for one request; HEAD_MOST bytes of it; a page that is made once
in FRESH_S seconds, however often it is fetched.

The thread has the priority of the one that starts it. A lower one would be worse: it could be taken off the CPU, under
load for long, while it holds the interpreter's lock that the other one waits for.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

CONNECTIONS: Final = 16
ACCEPTS: Final = 100
SECONDS: Final = 5.0
HEAD_MOST: Final = 8192
FRESH_S: Final = 1.0
_BACKLOG: Final = 64
_ALLOWED: Final = b"Allow: GET, HEAD\r\n"

Page = Callable[[bool], tuple[bytes, str]]


class ScrapeServer:
    """`start` raises OSError where the address cannot be had."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._pages: dict[bool, tuple[float, bytes, str]] = {}
        self._clients: dict[_Client, None] = {}  # the oldest first
        self._credit, self._counted_at = float(ACCEPTS), time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None
        self.accepted = 0
        """Connections, since the start."""
        self.closed_early = 0
        """Connections that had to give way before their request was whole."""

    def start(self, host: str, port: int) -> str:
        """Answer until `close`; returns where."""
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        self._socket, self._loop = listener, asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda loop, context: None)  # nothing of a client is worth a traceback
        self._loop.add_reader(listener, self._accept)
        self._thread = threading.Thread(target=self._loop.run_forever, name="metrics", daemon=True)
        self._thread.start()
        taken, number = listener.getsockname()[:2]
        return f"http://{f'[{taken}]' if ':' in taken else taken}:{number}/metrics"

    def close(self) -> None:
        """Stop answering. May be called twice."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        assert self._thread is not None
        assert self._socket is not None
        loop.call_soon_threadsafe(self._end, loop)
        self._thread.join()
        self._socket.close()
        loop.close()

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._socket is not None
        loop.remove_reader(self._socket)
        for client in list(self._clients):
            client.abort()
        loop.call_soon(loop.stop)  # once the transports have closed

    # -- on the server's thread -------------------------------------------------------------------------------

    def _accept(self) -> None:
        loop, listener = asyncio.get_running_loop(), self._socket
        assert listener is not None
        now = time.monotonic()
        self._credit = min(float(ACCEPTS), self._credit + (now - self._counted_at) * ACCEPTS)
        self._counted_at = now
        if self._credit < 1:
            loop.remove_reader(listener)
            loop.call_later(1 / ACCEPTS, self._resume, loop, listener)
            return
        self._credit -= 1
        try:
            sock, _ = listener.accept()
        except OSError as e:
            if not isinstance(e, BlockingIOError | InterruptedError | ConnectionError):  # no descriptors are left
                loop.remove_reader(listener)
                loop.call_later(1.0, self._resume, loop, listener)
            return
        sock.setblocking(False)
        self.accepted += 1
        while len(self._clients) >= CONNECTIONS:
            oldest = next(iter(self._clients))
            self.closed_early += 1
            oldest.abort()
            self._clients.pop(oldest, None)
        client = _Client(self, sock, loop)
        self._clients[client] = None

    def _resume(self, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
        if self._loop is not None:
            loop.add_reader(listener, self._accept)

    def gone(self, client: _Client) -> None:
        """A connection has ended."""
        self._clients.pop(client, None)

    def answer(self, head: bytes) -> bytes:
        """To the head of a request."""
        line, _, fields = head.partition(b"\r\n")
        words = line.split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response(b"400 Bad Request", b"not an HTTP request\n")
        if words[0] not in (b"GET", b"HEAD"):
            return _response(b"405 Method Not Allowed", b"use GET\n", more=_ALLOWED)
        if words[1].partition(b"?")[0] not in (b"/", b"/metrics"):
            return _response(b"404 Not Found", b"the metrics are at /metrics\n")
        try:
            return self._page_for(words[0], fields)
        except Exception as e:  # the library's; a scrape that fails is Prometheus' to report
            return _response(b"500 Internal Server Error", f"{type(e).__name__}\n".encode())

    def _page_for(self, method: bytes, fields: bytes) -> bytes:
        accepted = next((f for f in fields.lower().split(b"\r\n") if f.startswith(b"accept:")), b"")
        body, kind = self._fresh(b"application/openmetrics-text" in accepted)
        return _response(b"200 OK", body, kind.encode(), head_only=method == b"HEAD")

    def _fresh(self, openmetrics: bool) -> tuple[bytes, str]:
        now = time.monotonic()
        made, body, kind = self._pages.get(openmetrics, (now - 2 * FRESH_S, b"", ""))
        if now - made >= FRESH_S:
            body, kind = self._page(openmetrics)
            self._pages[openmetrics] = time.monotonic(), body, kind
        return body, kind


class _Client:
    """One connection: reads the head of a request, writes the answer, closes."""

    def __init__(self, server: ScrapeServer, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._server, self._sock, self._loop = server, sock, loop
        self._head, self._answer = b"", memoryview(b"")
        self._timer = loop.call_later(SECONDS, self.abort)
        loop.add_reader(sock, self._read)

    def _read(self) -> None:
        try:
            got = self._sock.recv(HEAD_MOST + 1 - len(self._head))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            got = b""
        self._head += got
        head, end, _ = self._head.partition(b"\r\n\r\n")
        if end:
            self._begin(self._server.answer(head))
        elif not got:
            self.abort()
        elif len(self._head) > HEAD_MOST:
            self._begin(_response(b"431 Request Header Fields Too Large", b"the request is too long\n"))

    def _begin(self, answer: bytes) -> None:
        self._loop.remove_reader(self._sock)
        self._answer = memoryview(answer)
        self._loop.add_writer(self._sock, self._write)
        self._write()

    def _write(self) -> None:
        try:
            self._answer = self._answer[self._sock.send(self._answer) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
            return
        if not self._answer:
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
            self.abort()

    def abort(self) -> None:
        """Close it, whatever it is at. May be called twice."""
        self._timer.cancel()
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()
        self._server.gone(self)


def _response(
    status: bytes, body: bytes, kind: bytes = b"text/plain", *, more: bytes = b"", head_only: bool = False
) -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%sConnection: close\r\n\r\n"
    return head % (status, kind, len(body), more) + (b"" if head_only else body)
