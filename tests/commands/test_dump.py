"""`forktrace dump`: what it prints, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tracer.commands import main

TRACE = Path(__file__).parents[2] / "samples" / "recordings" / "zombies.ftrace"


def test_prints_messages_with_offsets_and_a_line_for_each_record(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["dump", str(TRACE)])
    lines = capsys.readouterr().out.splitlines()

    assert status == 0
    assert lines[0].split()[:4] == ["0", "4864", "B", "schema"]
    assert sum(line.lstrip().startswith("#") for line in lines) == 74
    assert "#5  zombie  ts_ns=" in "\n".join(lines)


def test_json_lines_hold_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    main(["dump", "--format", "jsonl", str(TRACE)])
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert [o["type"] for o in objects if "offset" in o] == ["schema", "batch", "end"]
    assert [o["row"] for o in objects if "row" in o] == list(range(74))
    assert next(o for o in objects if o.get("row") == 1)["argv"][0] == "python3"


def test_damage_is_status_65(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torn = tmp_path / "torn.ftrace"
    torn.write_bytes(TRACE.read_bytes()[:-1])

    assert main(["dump", "--no-records", str(torn)]) == 65
    assert capsys.readouterr().out.splitlines()[-1].split()[3] == "damage"


def test_escape_sequences_in_a_record_stay_harmless(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pyarrow as pa

    path = tmp_path / "evil.ftrace"
    table = pa.table({"kind": ["\x1b[2Jfork"], "comm": ["\x1b]0;owned\x07"]})
    with pa.ipc.new_stream(path, table.schema.with_metadata({"k": "\x1b[31m"})) as writer:
        writer.write_table(table)
    main(["dump", str(path)])

    assert not set("\x1b\x07\x9b") & set(capsys.readouterr().out)
