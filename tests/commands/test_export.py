from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fleet.traces import trace
from tracer.commands import main
from tracer.model.batch import Batch
from tracer.model.meta import Fact, Meta
from tracer.model.schema import Kind
from tracer.recording import Writer
from tracer.reports import REPORTS

SECRET = "Zq8vXsecretW3"
TOKEN = f"ghp_{SECRET}"


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
    assert said == b"forktrace: 2 secrets hidden in commands, paths and environment (--no-redact leaves them)\n"
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


@pytest.fixture
def full(tmp_path: Path) -> str:
    """A trace with a secret wherever a text from outside can be."""
    url = f"https://me:{SECRET}@host/x"
    who = {"ts_ns": 20, "pid": 2, "tid": 2, "born_ns": 20}
    above = {"how": "fork", "ppid": 1, "parent_born_ns": 10, "creator_pid": 1, "creator_born_ns": 10}
    image = {
        "exe": f"/tmp/{TOKEN}/x",
        "cwd": f"/builds/token={SECRET}",
        "interpreter": f"/x/{TOKEN}",
        "comm": TOKEN,
        "env": [f"DB_PASSWORD={SECRET}", f"URL={url}"],
        "argv": ["mysql", f"-p{SECRET}", url, "-c", f"x --token {SECRET}"],
    }
    rows: list[tuple[Kind, dict[str, Any]]] = [
        (Kind.FORK, {"ts_ns": 10, "pid": 1, "tid": 1, "born_ns": 10, "how": "root", "comm": "sh"}),
        (Kind.FORK, who | above | {"comm": TOKEN, "cgroup": f"/a/{TOKEN}.scope"}),
        (Kind.EXEC, who | image),
        (Kind.EXEC, who | image | {"ts_ns": 21}),
        (Kind.EXEC_FAILED, who | image | {"error": "ENOENT", "cause": url}),
        (Kind.FORK_FAILED, who | {"error": "EAGAIN", "cause": f"pids.max of /{TOKEN}", "evidence": "inferred"}),
        (Kind.FAULTS, who | {"cow_copies": 5}),
        (
            Kind.STACKS,
            who
            | {"count": 5, "samples": 5, "frames": ["std::token::next", f"~f {url}", TOKEN], "evidence": "measured"},
        ),
        (Kind.EXISTING, {"ts_ns": 20, "pid": 3, "tid": 3, "born_ns": 3, "how": "existing", **image}),
        (Kind.RENAME, who | {"ts_ns": 25, "comm": TOKEN}),
        (Kind.EXIT, who | {"ts_ns": 30, "last": 1, "exit_code": 1, "comm": TOKEN}),
        (Kind.FORK, {"ts_ns": 26, "pid": 4, "tid": 4, "born_ns": 26, "comm": TOKEN} | above),
        (Kind.EXIT, {"ts_ns": 40, "pid": 1, "tid": 1, "born_ns": 10, "last": 1, "exit_code": 0}),
    ]
    meta = Meta(
        "bpf",
        frozenset(Fact),
        10**18,
        host="web1",
        kernel="6.18",
        command=("mysql", f"-p{SECRET}", url),
        options={"cgroups": [f"/a/{TOKEN}"], "comm": TOKEN},
        notes=(f"--password {SECRET} was there", f"read from {url}"),
    )
    with Writer(str(tmp_path / "full.ftrace"), meta) as writer:
        writer.write(Batch.from_rows(rows))
        writer.close({})
    return str(tmp_path / "full.ftrace")


def texts(name: str, data: bytes) -> bytes:
    """What a reader of the format finds, for those that pack their texts."""
    if name != "parquet":
        return data
    import io

    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    return repr((table.to_pylist(), table.schema.metadata)).encode()


EXPORTS = [
    *((listed.name, []) for listed in REPORTS),
    *((name, ["--table", "events"]) for name in ("jsonl", "csv", "parquet")),
    *(("folded", ["--weight", weight]) for weight in ("count", "life", "stacks")),
]


@pytest.mark.parametrize(("name", "more"), EXPORTS, ids=str)
def test_no_secret_leaves_by_any_way_from_any_place(
    full: str, name: str, more: list[str], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    pytest.importorskip("perfetto")
    words = ["export", full, "--as", name, *more]
    assert main(words) == 0
    shared, said = capsysbinary.readouterr()
    assert main([*words, "--no-redact"]) == 0
    whole, _ = capsysbinary.readouterr()

    assert SECRET.encode() not in texts(name, shared) + said
    assert SECRET.encode() in texts(name, whole)
    assert b"secrets hidden in commands, paths and environment" in said
    if name == "folded" and more in ([], ["--weight", "stacks"]):
        assert b"std::token::next" in shared  # no name of a function is a secret's


def test_more_rules_are_for_paths_too(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('prefixes = ["corp-"]\n')
    words = [
        "export",
        str(
            trace(
                tmp_path / "a.ftrace",
                [{"born": 1, "argv": ["/opt/corp-12345678/x", "corp-12345678"], "cgroup": "/corp-12345678.scope"}],
            )
        ),
        "--as",
        "jsonl",
        "--table",
        "events",
    ]

    assert main(words) == 0
    assert b"corp-12345678" in capsysbinary.readouterr().out
    assert main([*words, "--redact-rules", str(rules)]) == 0
    out, said = capsysbinary.readouterr()
    assert b"corp-12345678" not in out
    assert b'"exe":"/opt/[redacted]/x"' in out
    assert said == b"forktrace: 4 secrets hidden in commands, paths and environment (--no-redact leaves them)\n"


def test_more_rules(saved: str, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('prefixes = ["mysq"]\n')
    missing = str(tmp_path / "none.toml")

    assert main(["export", saved, "--as", "jsonl", "--redact-rules", missing]) == 66
    assert b"none.toml cannot be read: no such file or directory; name a TOML file\n" in capsysbinary.readouterr().err
    assert main(["export", saved, "--as", "jsonl", "--redact-rules", str(rules)]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--as", "html", "--table", "events"], "--table is nothing that html has; it is for jsonl, csv and parquet"),
        (["--as", "jsonl", "--weight", "cow"], "--weight is nothing that jsonl has; it is for folded"),
    ],
)
def test_options_of_another_format_are_not_passed_over(
    saved: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", saved, *words]) == 2
    assert capsys.readouterr() == ("", f"forktrace: {said}\n")


def test_the_suffix_says_the_format(saved: str, tmp_path: Path) -> None:
    page = tmp_path / "a.html"

    assert main(["export", saved, "-o", str(page), "-q"]) == 0
    assert page.read_bytes().startswith(b"<!doctype html>")
