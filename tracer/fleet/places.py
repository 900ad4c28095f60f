"""Where traces and data sets are: a folder, or any address that fsspec knows (s3://, gs://, sftp://, memory://).

    Place.of("/var/traces"), Place.of("s3://bucket/traces")      .traces()  .write()  .files()

Nothing of a file's content is known here, nor what a data set is made of.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from tracer.capture.privileges import as_caller
from tracer.errors import CannotWriteError, NoInputError, UsageError

_HOST: Final = re.compile(r"(?:^|/)host=([^/]+)(?:/|$)")
_STAMPS: Final = ("mtime", "LastModified", "updated", "etag", "ETag")  # what file systems call the time of a file


def digest_of(text: str, length: int) -> str:
    """A name for a text, odd bytes and all."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:length]


class Source(NamedTuple):
    """A trace: `name` changes when its file does. `host` as a folder host=NAME above it says, else None."""

    path: str
    name: str
    size: int
    host: str | None


class Place:
    """A folder somewhere. Raises UsageError where the optional package for it is missing."""

    def __init__(self, fs: Any, root: str, url: str) -> None:
        self.fs = fs
        self.root = root.rstrip("/") or "/"
        self.url = url

    @classmethod
    def of(cls, url: str) -> Self:
        """From what the user wrote."""
        try:
            import fsspec
        except ImportError:
            raise UsageError("fsspec can not be imported", "pip install 'forktrace[fleet]'") from None
        try:
            fs, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as e:
            known = "give a folder, or an address of a kind that fsspec knows"
            raise UsageError(f"{url!r} can not be opened: {e}", known) from None
        return cls(fs, root, url)

    @property
    def local(self) -> bool:
        """Whether only this machine is sure to see it."""
        protocol = self.fs.protocol
        return bool({"file", "local", "memory"} & {protocol, *(protocol if isinstance(protocol, tuple) else ())})

    @property
    def on_disk(self) -> bool:
        """Whether it is a folder here: then it is written as whoever called sudo."""
        protocol = self.fs.protocol
        return bool({"file", "local"} & {protocol, *(protocol if isinstance(protocol, tuple) else ())})

    def traces(self) -> Iterator[Source]:
        """All saved traces below, by path. Raises NoInputError when the place is not there or can not be listed."""
        try:
            found = self.fs.find(self.root, detail=True)
            there = bool(found) or self.fs.exists(self.root)
        except OSError as e:
            raise NoInputError(f"{self.url} can not be listed: {(e.strerror or str(e)).lower()}") from None
        if not there:
            raise NoInputError(f"{self.url} is not there")
        for path, entry in sorted(found.items()):
            if not path.endswith(".ftrace"):
                continue
            below = path[len(self.root) :].lstrip("/") or posixpath.basename(path)
            stamp = next((entry[key] for key in _STAMPS if key in entry), "")
            digest = digest_of(f"{below}\0{entry.get('size')}\0{stamp}", 16)
            stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", posixpath.basename(below).removesuffix(".ftrace"))[:60]
            host = _HOST.search(below)
            yield Source(path, f"{stem}-{digest}", int(entry.get("size") or 0), host[1] if host else None)

    def read(self, path: str) -> bytes:
        """A whole file. Raises OSError."""
        data: bytes = self.fs.cat_file(path)
        return data

    def address(self, path: str) -> str:
        """What another machine opens it by."""
        return str(self.fs.unstrip_protocol(path))

    def write(self, below: str, data: bytes) -> None:
        """All of it or nothing: a reader never sees half a file. Raises CannotWriteError."""
        path = f"{self.root}/{below}"
        folder, _, name = path.rpartition("/")
        try:
            if self.on_disk:
                _write(folder, name, data)
                return
            begun = f"{folder}/.{name}.begun"
            self.fs.makedirs(folder, exist_ok=True)
            self.fs.pipe_file(begun, data)
            self.fs.mv(begun, path)
        except OSError as e:
            raise CannotWriteError(f"{path} can not be written: {(e.strerror or str(e)).lower()}") from None

    def remove(self, below: str) -> None:
        """A file that may be gone already."""
        try:
            with as_caller() if self.on_disk else nullcontext():
                self.fs.rm_file(f"{self.root}/{below}")
        except OSError:
            return

    def files(self, below: str) -> list[str]:
        """Paths of the Parquet files below a folder, relative to the place; none if there is no such folder."""
        try:
            found = self.fs.find(f"{self.root}/{below}")
        except OSError:
            return []
        return sorted(path[len(self.root) :].lstrip("/") for path in found if path.endswith(".parquet"))


def _write(folder: str, name: str, data: bytes) -> None:
    """As the sudo caller, in a new file that takes its name when it is whole: nothing that is there is written to.

    A link that stands under the name is replaced, and not followed. Raises OSError.
    """
    with as_caller():
        Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        begun = Path(folder) / f".{name}.{os.getpid()}-{time.monotonic_ns():x}.begun"
        fd = os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
            begun.rename(f"{folder}/{name}")
        except BaseException:
            with suppress(OSError):
                begun.unlink()
            raise
