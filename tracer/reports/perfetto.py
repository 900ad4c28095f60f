"""A trace in Perfetto's own protobuf: a track per process under its parent's, for ui.perfetto.dev and trace_processor.

The same slices, flows and counters as chrome.py has, but tracks nest as the processes do. Packets are written one by
one, as a stream of them is a trace. Needs the package `perfetto`, an optional extra.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, ClassVar, Final

from tracer.errors import UsageError
from tracer.reports import Options, writing
from tracer.reports.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracer.trace import Trace

_SEQUENCE: Final = 1
_ALIVE, _COPIES, _FIRST = 1, 2, 16  # uuids of tracks


class Perfetto:
    """Binary, .pftrace."""

    name: ClassVar = "perfetto"
    suffixes: ClassVar = (".pftrace", ".perfetto-trace")
    binary: ClassVar = True

    def write(self, trace: Trace, out: IO[bytes], options: Options) -> None:
        """As the module says. Raises UsageError without the package."""
        try:
            from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as proto
        except ImportError:
            raise UsageError(
                "the package perfetto can not be imported", "pip install 'forktrace[perfetto]', or --as chrome"
            ) from None
        with writing():
            for packet in packets(Timeline(trace.tree), proto):
                # Field 1 of message Trace, again and again: concatenated messages are one message with all of them
                out.write(proto.Trace(packet=[packet]).SerializeToString())


def packets(line: Timeline, proto: Any) -> Iterator[Any]:
    """TracePackets: tracks, then events in order of time."""
    for row, parent, called in line.tracks():
        packet = proto.TracePacket()
        track = packet.track_descriptor
        track.uuid, track.name = _FIRST + row, called
        if parent is not None:
            track.parent_uuid = _FIRST + parent
        yield packet
    counters = [("alive", _ALIVE, list(line.alive())), ("pages copied", _COPIES, list(line.copies()))]
    for called, uuid, values in counters:
        if values:
            packet = proto.TracePacket()
            packet.track_descriptor.uuid, packet.track_descriptor.name = uuid, called
            packet.track_descriptor.counter.SetInParent()
            yield packet
    kinds = proto.TrackEvent
    made: list[tuple[int, int, Any]] = []  # time; at one moment ends come before begins

    def event(at: int, order: int, uuid: int, kind: int) -> Any:
        packet = proto.TracePacket()
        packet.timestamp = line.begin_ns + at
        packet.trusted_packet_sequence_id = _SEQUENCE
        packet.track_event.type, packet.track_event.track_uuid = kind, uuid
        made.append((at, order, packet))
        return packet.track_event

    for row, begin, end, called, facts in line.slices():
        first = event(begin, 2, _FIRST + row, kinds.TYPE_SLICE_BEGIN)
        first.name = called
        for key, value in facts.items():
            note = first.debug_annotations.add()
            note.name = key
            if isinstance(value, int):
                note.int_value = value
            else:
                note.string_value = value
        event(end, 1 if end > begin else 3, _FIRST + row, kinds.TYPE_SLICE_END)
    for number, (what, source, at, target, then) in enumerate(line.flows(), 1):
        for moment, row, ends in ((at, source, False), (then, target, True)):
            told = event(moment, 4, _FIRST + row, kinds.TYPE_INSTANT)
            told.name = what
            (told.terminating_flow_ids if ends else told.flow_ids).append(number)
    for _, uuid, values in counters:
        for at, value in values:
            event(at, 5, uuid, kinds.TYPE_COUNTER).counter_value = value
    made.sort(key=lambda each: each[:2])
    for _, _, packet in made:
        yield packet
