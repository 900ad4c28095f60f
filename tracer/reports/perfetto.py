"""A trace in Perfetto's own protobuf: a track per process under its parent's, for ui.perfetto.dev and trace_processor.

The same slices, flows and counters as chrome.py has, but tracks nest as the processes do. Packets are written one by
one, as a trace is a stream of them. Each process is a packet sequence of its own, as only within one must the packets
be in order of time: so nothing is held back and sorted. Needs the package `perfetto`, an optional extra.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, ClassVar, Final

from tracer.errors import UsageError
from tracer.model.meta import Meta
from tracer.reports import Options, writing
from tracer.reports.source import sentences, source
from tracer.reports.timeline import Slice, Timeline, name

if TYPE_CHECKING:
    from tracer.api.trace import Trace

ALIVE, COPIES, ABOUT, FIRST = 1, 2, 3, 16  # uuids of tracks, and numbers of sequences: of row n, FIRST + n
_INT64: Final = 1 << 63
_NOTE_MOST: Final = 1000


class Perfetto:
    """Binary, .pftrace."""

    name: ClassVar = "perfetto"
    suffixes: ClassVar = (".pftrace", ".perfetto-trace")
    binary: ClassVar = True
    says_source: ClassVar = True

    def write(self, trace: Trace, out: IO[bytes], options: Options) -> None:
        """As the module says. Raises UsageError without the package."""
        try:
            from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as proto
        except ImportError:
            raise UsageError(
                "the package perfetto can not be imported", "pip install 'forktrace[perfetto]', or --as chrome"
            ) from None
        with writing():
            for packet in Packets(Timeline(trace.tree), proto, trace.meta):
                out.write(framed(packet.SerializeToString()))


def framed(packet: bytes) -> bytes:
    """A packet as field 1 of message Trace: messages put behind each other are one message with all of them."""
    head = bytearray(b"\x0a")
    size = len(packet)
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + packet


class Packets:
    """TracePackets of a time line, parents' tracks before their children's; first, what the trace is."""

    def __init__(self, line: Timeline, proto: Any, meta: Meta) -> None:
        self._line = line
        self._proto = proto
        self._meta = meta
        self._kinds = proto.TrackEvent

    def __iter__(self) -> Iterator[Any]:
        yield from self._about()
        for row, parent, called in self._line.tracks():
            yield self._track(FIRST + row, called, None if parent is None else FIRST + parent)
            yield from self._life(row)
        yield from self._counter(ALIVE, "alive", self._line.alive())
        yield from self._counter(COPIES, "pages copied", self._line.copies())

    def _about(self) -> Iterator[Any]:
        """A moment at the beginning, to be looked at: which source this is from, and what that one can not know."""
        yield self._track(ABOUT, "this trace", None)
        packet = self._event(0, ABOUT, self._kinds.TYPE_INSTANT)
        packet.track_event.name = name(source(self._meta))
        told = {key: getattr(self._meta, key) for key in ("host", "kernel", "version")}
        notes = {f"note {i}": text for i, text in enumerate(sentences(self._meta), 1)}
        for key, text in {**told, **notes}.items():
            if text:
                note = packet.track_event.debug_annotations.add()
                note.name, note.string_value = key, name(text, _NOTE_MOST)
        yield packet

    def _life(self, row: int) -> Iterator[Any]:
        """All that is on one track, in order of time."""
        slices = list(self._line.slices(row))
        moments = [*self._flows(row)]
        for i, each in enumerate(slices):
            moments += [(each.begin_ns, 0, 2 * i, True), (each.end_ns, 0, 2 * i + 1, False)]
        moments.sort()
        for at, flows, number, begins in moments:
            if flows:
                yield self._instant(at, row, number, begins)
            elif begins:
                yield self._begin(row, slices[number // 2])
            else:
                yield self._event(at, FIRST + row, self._kinds.TYPE_SLICE_END)

    def _flows(self, row: int) -> Iterator[tuple[int, int, int, bool]]:
        """(when, 1, number of the flow, whether it begins here): its own birth and reap, and its children's."""
        for child in (row, *self._line.shape.children(row)):
            for flow in self._line.flows(child):
                number = 2 * child + (1 if flow.what == "fork" else 2)
                if flow.source == row:
                    yield flow.at_ns, 1, number, True
                if flow.target == row:
                    yield flow.then_ns, 1, number, False

    def _track(self, uuid: int, called: str, parent: int | None) -> Any:
        packet = self._proto.TracePacket()
        track = packet.track_descriptor
        track.uuid, track.name = uuid, called
        track.child_ordering = self._proto.TrackDescriptor.CHRONOLOGICAL
        if parent is not None:
            track.parent_uuid = parent
        return packet

    def _event(self, at: int, uuid: int, kind: int) -> Any:
        packet = self._proto.TracePacket()
        packet.timestamp = max(0, self._line.begin_ns) + at
        packet.trusted_packet_sequence_id = uuid
        packet.track_event.type, packet.track_event.track_uuid = kind, uuid
        return packet

    def _begin(self, row: int, each: Slice) -> Any:
        packet = self._event(each.begin_ns, FIRST + row, self._kinds.TYPE_SLICE_BEGIN)
        packet.track_event.name = each.name
        packet.track_event.categories.append(each.sort)
        for key, value in each.facts.items():
            note = packet.track_event.debug_annotations.add()
            note.name = key
            if isinstance(value, int) and -_INT64 <= value < _INT64:
                note.int_value = value
            else:
                note.string_value = str(value)
        return packet

    def _instant(self, at: int, row: int, number: int, begins: bool) -> Any:
        packet = self._event(at, FIRST + row, self._kinds.TYPE_INSTANT)
        event = packet.track_event
        event.name = "fork" if number % 2 else "reap"
        (event.flow_ids if begins else event.terminating_flow_ids).append(number)
        return packet

    def _counter(self, uuid: int, called: str, values: Iterator[tuple[int, int]]) -> Iterator[Any]:
        told = False
        for at, value in values:
            if not told:
                told = True
                packet = self._track(uuid, called, None)
                packet.track_descriptor.counter.SetInParent()
                yield packet
            packet = self._event(at, uuid, self._kinds.TYPE_COUNTER)
            packet.track_event.counter_value = min(value, _INT64 - 1)
            yield packet
