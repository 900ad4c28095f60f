from __future__ import annotations

import json

import pyarrow as pa
import pytest

from tests.recording.rows import META
from tracer.errors import BadDataError
from tracer.model.meta import Meta
from tracer.recording import header


def with_(**metadata: str) -> pa.Schema:
    said = dict(header.header(META).metadata)
    said.update({f"forktrace.{name}".encode(): value.encode() for name, value in metadata.items()})
    return header.header(META).with_metadata(said)


def refusal(schema: pa.Schema) -> str:
    with pytest.raises(BadDataError) as caught:
        header.check(schema, "x.ftrace")
    message = str(caught.value)
    assert caught.value.mend
    assert "\n" not in message
    return message


def test_meta_comes_back_whatever_bytes_a_command_has() -> None:
    assert header.check(header.header(META), "x") == META
    assert META.command[1] == "\udcff"


def test_another_version_is_named() -> None:
    assert "format '2', and this forktrace reads format 1" in refusal(with_(format="2"))
    assert len(refusal(with_(format="9" * 10_000))) < 200


def test_any_arrow_stream_is_not_a_trace() -> None:
    assert "an Arrow stream, but not a trace" in refusal(pa.schema([("kind", pa.string())]))


@pytest.mark.parametrize(
    "meta",
    ["", "{", "[]", "3", '{"facts": 3}', '{"wall_offset_ns": "x"}', '{"options": 1}', "[" * 100_000, "1" * 10_000],
)
def test_a_meta_that_is_none(meta: str) -> None:
    assert "does not say how it was made" in refusal(with_(meta=meta))


def test_what_a_newer_meta_adds_is_ignored() -> None:
    meta = json.dumps({**META.as_dict(), "weather": "fair"})

    assert header.check(with_(meta=meta), "x") == META


def test_columns_of_other_types_are_refused_by_name() -> None:
    schema = header.header(META)
    at = schema.get_field_index("pid")

    assert "column 'pid' of x.ftrace is string, not int64" in refusal(schema.set(at, pa.field("pid", pa.string())))
    wide = pa.struct([(f"f{i}", pa.int64()) for i in range(1000)])
    assert len(refusal(schema.set(at, pa.field("pid", wide)))) < 300


def test_without_kinds_there_are_no_events() -> None:
    schema = header.header(META)

    assert "no column 'kind'" in refusal(schema.remove(schema.get_field_index("kind")))


def test_other_columns_may_be_missing_or_added() -> None:
    schema = header.header(Meta("strace"))
    fewer = schema.remove(schema.get_field_index("cow_heap")).append(pa.field("mood", pa.float64()))

    assert header.check(fewer, "x") == Meta("strace")
