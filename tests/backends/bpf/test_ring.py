"""The ring's reader, over a file that a pretended kernel writes as kernel/bpf/ringbuf.c does."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import PROFILE
from tracer.backends.bpf import ring as _ring
from tracer.backends.bpf.ring import BUSY, DISCARD, Ring

PAGE = mmap.PAGESIZE


class Producer:
    """The kernel's side. The data pages are mapped twice in a row; here each byte is written to both places."""

    def __init__(self, size: int = PAGE, at: int = 0) -> None:
        self.size = size
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * PAGE + 2 * size)
        self.position = at
        for page in (0, PAGE):
            os.pwrite(self.fd, struct.pack("=Q", at), page)

    def put(self, payload: bytes, flags: int = 0) -> int:
        """Reserve, write and commit (unless `flags` says BUSY) a record; where it is."""
        at = self.position
        self._write(at, struct.pack("=II", len(payload) | flags, 0) + payload)
        self.position = at + (8 + len(payload) + 7 & ~7)
        os.pwrite(self.fd, struct.pack("=Q", self.position), PAGE)
        return at

    def commit(self, at: int, payload: bytes) -> None:
        self._write(at, struct.pack("=II", len(payload), 0) + payload)

    def _write(self, at: int, data: bytes) -> None:
        for i, byte in enumerate(data):
            for copy in (0, self.size):
                os.pwrite(self.fd, bytes([byte]), 2 * PAGE + copy + (at + i) % self.size)

    def consumed(self) -> int:
        return int(struct.unpack("=Q", os.pread(self.fd, 8, 0))[0])


@pytest.fixture(scope="module", autouse=True, params=["one by one", "numpy"])
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """How headers are looked at: in a storm by numpy, which is there by then."""
    import numpy  # noqa: F401

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_ring, "_MANY", 1 if request.param == "numpy" else 1 << 60)
        yield


@pytest.fixture
def producer() -> Iterator[Producer]:
    made = Producer()
    yield made
    os.close(made.fd)


@pytest.fixture
def ring(producer: Producer) -> Iterator[Ring]:
    made = Ring(producer.fd, producer.size)
    yield made
    made.close()


def record(letter: str, length: int = 16) -> bytes:
    return letter.encode() * length


def framed(*payloads: bytes) -> bytes:
    return b"".join(struct.pack("=II", len(p), 0) + p for p in payloads)


def test_takes_all_that_is_committed_in_one_piece_and_only_once(producer: Producer, ring: Ring) -> None:
    for letter in "abc":
        producer.put(record(letter))

    assert ring.used() == producer.position
    assert ring.take_fixed(16, ring.position()) == framed(record("a"), record("b"), record("c"))
    assert ring.take_fixed(16, ring.position()) == b""
    assert producer.consumed() == ring.consumed() == producer.position
    assert ring.used() == 0


def test_reads_no_further_than_it_is_told(producer: Producer, ring: Ring) -> None:
    producer.put(record("a"))
    until = ring.position()
    producer.put(record("b"))

    assert ring.take_fixed(16, until) == framed(record("a"))
    assert ring.take_fixed(16, until) == b""
    assert ring.take_fixed(16, ring.position()) == framed(record("b"))


def test_stops_at_a_record_that_is_being_written_and_goes_on_later(producer: Producer, ring: Ring) -> None:
    producer.put(record("a"))
    at = producer.put(record("?"), BUSY)
    producer.put(record("c"))

    assert ring.take_fixed(16, ring.position()) == framed(record("a"))
    assert ring.take_fixed(16, ring.position()) == b""

    producer.commit(at, record("b"))

    assert ring.take_fixed(16, ring.position()) == framed(record("b"), record("c"))


def test_leaves_out_what_was_discarded(producer: Producer, ring: Ring) -> None:
    producer.put(record("a"))
    producer.put(record("x"), DISCARD)
    producer.put(record("b"))
    producer.put(record("?"), BUSY)

    assert ring.take_fixed(16, ring.position()) == framed(record("a"), record("b"))


def test_a_record_of_another_length_is_not_taken_for_one_of_ours(producer: Producer, ring: Ring) -> None:
    producer.put(record("a", 8))
    producer.put(record("b", 24))

    with pytest.raises(ValueError, match="a record of 8 bytes in a ring of 16"):
        ring.take_fixed(16, ring.position())


def test_a_payload_that_was_copied_before_its_commit_is_not_believed(producer: Producer, ring: Ring) -> None:
    """memcpy() may read the end of a run first: payload before the commit, header after it."""
    at = producer.put(record("?"), BUSY)

    class TailFirst:
        def __init__(self, data: memoryview) -> None:
            self.data = data

        def __getitem__(self, where: slice) -> bytes:
            payload = bytes(self.data[where])[8:]
            producer.commit(at, record("a"))
            return bytes(self.data[where])[:8] + payload

        def release(self) -> None:
            self.data.release()

    ring._data = TailFirst(ring._data)  # type: ignore[assignment]
    first = ring.take_fixed(16, ring.position())
    ring._data = ring._data.data  # type: ignore[attr-defined]

    assert first + ring.take_fixed(16, ring.position()) in (b"", framed(record("a")))


def test_text_records_have_their_own_lengths(producer: Producer, ring: Ring) -> None:
    payloads = [b"", b"a", b"12345678", b"123456789", b"x" * 100]
    for payload in payloads:
        producer.put(payload)
    producer.put(b"gone", DISCARD)
    producer.put(b"later", BUSY)
    producer.put(b"behind")

    assert ring.take_all() == payloads
    assert ring.take_all() == []
    assert ring.consumed() < ring.position()


@PROFILE
@given(st.data(), st.integers(0, 1 << 40))
def test_no_record_is_lost_doubled_or_changed_wherever_the_ring_begins_and_wraps(data: st.DataObject, at: int) -> None:
    producer = Producer(at=at // 8 * 8)
    ring = Ring(producer.fd, producer.size)
    fixed = data.draw(st.booleans())
    put: list[bytes] = []
    got: list[bytes] = []
    try:
        for n in data.draw(st.lists(st.integers(0, 12), max_size=6)):
            for i in range(n):
                put.append(record(chr(97 + len(put) % 26), 16 if fixed else i * 7))
                producer.put(put[-1])
            got += take(ring, fixed)
    finally:
        ring.close()
        os.close(producer.fd)

    assert got == put


def take(ring: Ring, fixed: bool) -> Sequence[Any]:
    if not fixed:
        return ring.take_all()
    raw = ring.take_fixed(16, ring.position())
    return [raw[i + 8 : i + 24] for i in range(0, len(raw), 24)]


@pytest.mark.parametrize("take", ["fixed", "all"])
def test_memory_that_is_seen_late_is_waited_for_by_a_fence(
    producer: Producer, ring: Ring, monkeypatch: pytest.MonkeyPatch, take: str
) -> None:
    """As on arm64: what was written before producer_pos, and before BUSY was cleared, may be seen later than these."""
    late: list[tuple[int, bytes]] = []
    seen: list[int] = []

    def fence() -> None:
        seen.append(producer.consumed())
        for at, data in late[:1]:
            producer.commit(at, data)
        del late[:1]

    monkeypatch.setattr(_ring, "_fence", fence)
    first, second = producer.put(record("?")), producer.put(record("?"))
    producer._write(first, struct.pack("=II", 7, 0))  # what was there before
    late += [(first, record("?")), (first, record("a"))]
    producer.commit(second, record("b"))

    got = ring.take_fixed(16, ring.position()) if take == "fixed" else b"".join(ring.take_all())

    assert got == (framed(record("a"), record("b")) if take == "fixed" else record("a") + record("b"))
    assert (len(seen), max(seen)) == (3, 0)  # the last one before consumer_pos moves
    assert producer.consumed() == producer.position


def test_the_fence_of_other_machines_does_no_harm() -> None:
    for fence in (_ring._no_fence, _ring._fence_by_lock):
        fence()
