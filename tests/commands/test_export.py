from __future__ import annotations

from pathlib import Path

import pytest

from tests.fleet.traces import trace
from tracer.commands import main


@pytest.fixture
def saved(tmp_path: Path) -> str:
    lives = [{"born": 1, "argv": ["/usr/bin/mysql", "-phunter2", "--token=abcdef123456", "x"]}]
    return str(trace(tmp_path / "a.ftrace", lives))


@pytest.mark.parametrize("name", ["jsonl", "csv", "html", "chrome", "dot", "mermaid"])
def test_secrets_are_hidden_and_counted(saved: str, name: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["export", saved, "--as", name]) == 0
    shared, said = capsysbinary.readouterr()
    assert main(["export", saved, "--as", name, "--no-redact"]) == 0
    whole, nothing = capsysbinary.readouterr()

    assert b"hunter2" not in shared
    assert b"abcdef123456" not in shared
    assert said == b"forktrace: 2 secrets hidden in argv and environment (--no-redact leaves them)\n"
    assert b"hunter2" in whole
    assert nothing == b""


@pytest.mark.parametrize("name", ["html", "chrome", "csv"])
def test_another_output_of_a_report_hides_them_too(
    saved: str, name: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["report", saved, "--as", name]) == 0
    shared, said = capsysbinary.readouterr()
    assert main(["report", saved, "--as", name, "--no-redact"]) == 0
    whole, _ = capsysbinary.readouterr()

    assert b"hunter2" not in shared
    assert b"2 secrets hidden" in said
    assert b"hunter2" in whole


def test_more_rules(saved: str, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('prefixes = ["mysq"]\n')
    missing = str(tmp_path / "none.toml")

    assert main(["export", saved, "--as", "jsonl", "--redact-rules", missing]) == 66
    assert b"can not read the rules" in capsysbinary.readouterr().err
    assert main(["export", saved, "--as", "jsonl", "--redact-rules", str(rules)]) == 0


def test_the_suffix_says_the_format(saved: str, tmp_path: Path) -> None:
    page = tmp_path / "a.html"

    assert main(["export", saved, "-o", str(page), "-q"]) == 0
    assert page.read_bytes().startswith(b"<!doctype html>")
