"""Files with histories that no kernel tells, through every verb: a sentence or a report, never a traceback."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import hostile
from tracer.analyses.budget import LIMITS
from tracer.api.trace import Trace
from tracer.commands import main
from tracer.recording import Writer

ODD = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xe2\x80[\xa8-\xae]")  # controls, line separators, bidi
VERBS = {
    "report": ["report", "{}"],
    "report -v": ["report", "{}", "-v", "-t", "--threads", "--width", "60"],
    "report --full": ["report", "{}", "--full", "--ascii", "--width", "200"],
    "check": [
        "check",
        "{}",
        *(
            word
            for limit in LIMITS.values()
            for word in (
                [f"--{limit.name}"]
                if limit.unit == "flag"
                else [f"--{limit.name}", "9h" if limit.unit == "ns" else "9"]
            )
        ),
    ],
    "check json": ["check", "{}", "--max-processes", "1", "--format", "json"],
    "diff": ["diff", "{}", "{}"],
    "diff json": ["diff", "{}", "{}", "--", "{}", "--format", "json"],
    "replay": ["replay", "{}", "--speed", "max"],
    "replay -v": ["replay", "{}", "-v", "--speed", "max"],
    "replay json": ["replay", "{}", "--format", "jsonl", "--speed", "max"],
    "replay events": ["replay", "{}", "-v", "--format", "jsonl", "--speed", "max", "--from", "1"],
}


def save(path: str, trace: Trace) -> None:
    with Writer(path, trace.meta) as writer:
        for batch in trace.batches():
            writer.write(batch)
        writer.close({})


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("forged", [*hostile.FILES, "names"])
def test_every_verb_survives(verb: str, forged: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    path = str(tmp_path / "x.ftrace")
    if forged in hostile.FILES:
        Path(path).write_bytes(hostile.FILES[forged])
    else:
        save(path, hostile.tree_of_names())
    words = [word.format(path) for word in VERBS[verb]]
    if verb == "diff json":  # options stand before the traces
        words = [words[0], *words[-2:], *words[1:-2]]

    status = main(words)
    out, err = capfdbinary.readouterr()

    assert status in ((0, 1, 65) if "check" in verb else (0, 2, 65) if "events" in verb else (0, 65))
    assert not ODD.search(out), ODD.search(out)
    assert not ODD.search(err)
    assert out or err
    assert len(out) < 3_000_000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from", "60"], "forktrace: --from is after the end of the trace; it is "),
        (["--from", "23:59:59"], "forktrace: --from is after the end of the trace; it is "),
        (["--until", "0", "--from", "1"], "forktrace: --until is before what is to be played; give a later time\n"),
    ],
)
@pytest.mark.parametrize("more", [[], ["-v"], ["--format", "jsonl"]])
def test_what_is_not_in_a_trace_is_not_played_in_silence(
    words: list[str], said: str, more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "x.ftrace")
    save(path, hostile.fan(3))

    assert main(["replay", path, "--speed", "max", *words, *more]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(said)
    assert err.count("\n") == 1
