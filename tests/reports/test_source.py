"""Where a trace is from, and what its source can not know, is said by every export, whatever the notes hold."""

from __future__ import annotations

import html
import io
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import need
from tests.exporting import exported, perfetto
from tracer.api.trace import Trace
from tracer.commands import main
from tracer.importers import open_log
from tracer.model.meta import Meta
from tracer.recording import Writer
from tracer.reports import REPORTS, by_name
from tracer.reports.source import line, sentences, source, wrapped

LOG = (
    b'10 1700000000.000001 execve("/bin/sh", ["sh"], 0x7ff /* 1 var */) = 0\n'
    b"10 1700000000.000002 vfork() = 11\n"
    b"11 1700000000.000003 exit_group(3) = ?\n"
    b"11 1700000000.000004 +++ exited with 3 +++\n"
    b"10 1700000000.000005 +++ exited with 0 +++\n"
)
HOSTILE = Meta(
    source='x"];\n\x1b[2J%%{init}%%</script>',
    notes=(
        '"]; evil [label="',
        "%%{init: {'theme': 'dark'}}%%",
        "a\nb\r\n  graph TD\x1b[1m",
        "",
        "  ",
        "x" * 5000,
        "\\",
    ),
)
NAMES = tuple(listed.name for listed in REPORTS)
SAID = ("dot", "mermaid", "chrome", "perfetto", "html", "parquet")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.write_bytes(LOG)
    return path


@pytest.fixture
def trace(log: Path) -> Trace:
    meta, batches = open_log([str(log)])
    made = list(batches)
    return Trace(meta, lambda: made)


@pytest.fixture
def saved(tmp_path: Path, trace: Trace) -> str:
    path = str(tmp_path / "a.ftrace")
    with Writer(path, trace.meta) as writer:
        for batch in trace.batches():
            writer.write(batch)
        writer.close({})
    return path


def plain(name: str, trace: Trace) -> str:
    """Its text, as a reader of the format has it, on one line."""
    data = exported(name, trace)
    if name == "parquet":
        import pyarrow.parquet as pq

        meta = json.loads(pq.read_schema(io.BytesIO(data)).metadata[b"forktrace.meta"])
        return " ".join((meta["source"], *meta["notes"]))
    if name == "perfetto":
        about = next(p.track_event for p in perfetto(data) if p.track_event.type == 3)
        return " ".join((about.name, *(note.string_value for note in about.debug_annotations)))
    text = html.unescape(data.decode())
    if name == "dot":
        text = text.replace("\\l", " ").replace("\\n", " ")
    if name == "mermaid":
        text = text.replace("\n  %% ", " ")
    return text


@pytest.mark.parametrize("name", SAID)
def test_it_is_in_the_output(name: str, trace: Trace) -> None:
    text = plain(name, trace)

    assert "strace-log" in text
    assert trace.meta.notes
    for note in trace.meta.notes:
        assert note in text


def test_every_output_says_it_itself_or_has_it_said() -> None:
    assert {name for name in NAMES if by_name(name).says_source} == set(SAID)


@pytest.mark.parametrize("verb", [["export"], ["report"]])
@pytest.mark.parametrize("name", sorted(set(NAMES) - set(SAID)))
def test_else_it_is_said_beside_it(
    verb: list[str], name: str, saved: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main([*verb, saved, "--as", name]) == 0
    text, said = capsysbinary.readouterr()

    assert said.startswith(b"forktrace: seen by strace-log. From an strace log: pages copied,")
    assert said.count(b"\n") == 1
    assert b"strace-log" not in text
    assert main([*verb, saved, "--as", name, "-q"]) == 0
    again, said = capsysbinary.readouterr()
    assert (again, said) == (text, b"")


@pytest.mark.parametrize("name", SAID)
def test_it_is_not_said_twice(
    name: str, saved: str, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["export", saved, "--as", name, "-o", str(tmp_path / "out")]) == 0

    assert capsysbinary.readouterr().err == b""


def test_a_source_with_nothing_to_warn_of_is_silent() -> None:
    assert line(Meta(source="bpf")) is None
    assert line(Meta(source="")) is None
    assert source(Meta(source="")) == "seen by -"


def test_notes_become_sentences() -> None:
    assert sentences(Meta(source="x", notes=("copies were\n not counted", "Done.", "", " "))) == (
        "Copies were not counted.",
        "Done.",
    )
    assert all(len(part) <= 30 for part in wrapped(Meta(source="x", notes=("some words of a sentence " * 9,)), 30))


@pytest.mark.parametrize("name", NAMES)
def test_hostile_notes_stay_where_they_belong(name: str) -> None:
    data = exported(name, Trace(HOSTILE, list))

    if name in ("parquet", "perfetto"):
        return
    assert b"\x1b" not in data
    text = data.decode()
    if name == "mermaid":
        assert all(re.fullmatch(r"flowchart LR|  %% [^{}]*", each) for each in text.splitlines())
    if name == "chrome":
        assert json.loads(text)["otherData"]["notes"].startswith('"]; evil')
    if name == "html":
        assert text.count("</script>") == text.count("<script")


def test_graphviz_takes_hostile_notes() -> None:
    need("dot")

    data = exported("dot", Trace(HOSTILE, list))

    made = subprocess.run(["dot", "-Tsvg"], input=data, capture_output=True, check=True)
    assert b"evil [label=" in made.stdout.replace(b"&#45;", b"-").replace(b"&#160;", b" ")
    assert made.stderr == b""
