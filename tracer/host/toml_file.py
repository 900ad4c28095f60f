"""Read a TOML file that somebody gave: bounded, and every way to be wrong is one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from tracer.errors import BadDataError, NoInputError

MAX_BYTES: Final = 1 << 20
_NAME_ONE: Final = "name a TOML file"


def read_toml(path: str | Path, fix: str) -> dict[str, Any]:
    """The document in `path`. Raises NoInputError; BadDataError with `fix` as what to do about it."""
    import tomllib

    name = str(path)
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise NoInputError(f"{name} cannot be read: {(e.strerror or str(e)).lower()}", _NAME_ONE) from None
    except ValueError:  # a NUL, or a character that no file name has
        raise NoInputError(f"{name} cannot be read: it is not a file name", _NAME_ONE) from None
    if len(data) > MAX_BYTES:
        raise BadDataError(f"{name} is larger than {MAX_BYTES >> 20} MiB", fix)
    try:
        return tomllib.loads(data.decode())
    except RecursionError:
        why = "it is nested too deeply"
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        why = str(e)
    except ValueError:  # int() refuses more than 4300 digits
        why = "it has a number that is too long"
    raise BadDataError(f"{name} is not TOML: {why}", fix)
