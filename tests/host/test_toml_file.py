"""Every way in which a TOML file can be wrong is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracer.errors import BadDataError, NoInputError
from tracer.host.toml_file import MAX_BYTES, read_toml


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"a = " + b"[" * 5000, "is not TOML: it is nested too deeply"),
        (b"a = " + b"{b=" * 5000, "is not TOML: it is nested too deeply"),
        (b"a = " + b"9" * 5000, "is not TOML: it has a number that is too long"),
        (b"a = ", "is not TOML: Invalid value"),
        (b"\xff", "is not TOML: 'utf-8' codec"),
        (b"#" * (MAX_BYTES + 1), "is larger than 1 MiB"),
    ],
)
def test_what_is_wrong_is_a_sentence(data: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(data)

    with pytest.raises(BadDataError) as caught:
        read_toml(path, "do this")
    assert f"{path} {why}" in str(caught.value)
    assert str(caught.value).endswith("; do this")


@pytest.mark.parametrize("name", ["none.toml", ".", "a\0b", "\ud800", "x" * 5000])
def test_what_cannot_be_opened_is_a_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="cannot be read: "):
        read_toml(f"{tmp_path}/{name}", "do this")


def test_a_document(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text('a = ["é"]\n', "utf-8")

    assert read_toml(path, "") == {"a": ["é"]}
