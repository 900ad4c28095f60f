"""An apt with a state of its own: Debian's suites from oldest to newest, without touching the host's lists.

The mirror and the proxies are the host's, read from its apt configuration. What a suite offers is asked again after
an hour, so a kernel line is always its latest: a stable update is what broke the probes once.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from tests.vm.home import GuestError, call, home, locked, say

_KEYS: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
_SUITES: Final = ("bullseye", "bookworm", "bookworm-backports", "trixie", "trixie-backports", "sid")
_SECURITY: Final = ("bullseye", "bookworm", "trixie")
_FRESH_S: Final = 3600


class Package(NamedTuple):
    """A package that apt would install."""

    name: str
    version: str


def uris(lines: Iterable[str]) -> Iterator[str]:
    """Addresses in sources.list and in deb822 .sources files."""
    for line in lines:
        words = line.split()
        if not words:
            continue
        if words[0] == "deb":
            yield next((word for word in words[1:] if "://" in word), "")
        elif words[0].lower() == "uris:":
            yield from words[1:]


def mirrors(found: Iterable[str]) -> tuple[str, str] | None:
    """(main archive, security archive) among these addresses; None if there is no Debian archive."""
    clean = [uri.rstrip("/") for uri in found]
    main = next((uri for uri in clean if uri.endswith("/debian")), None)
    if main is None:
        return None
    return main, next((uri for uri in clean if uri.endswith("/debian-security")), f"{main}-security")


@cache
def archive() -> tuple[str, str]:
    """(main archive, security archive), as the host is configured or FORKTRACE_VM_MIRROR says."""
    given = os.environ.get("FORKTRACE_VM_MIRROR")
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    lines = [line for file in files if file.is_file() for line in file.read_text("utf-8", "replace").splitlines()]
    found = mirrors([given] if given else uris(lines))
    if found is None:
        raise GuestError("no Debian archive in this host's apt sources. Try: FORKTRACE_VM_MIRROR=http://HOST/debian")
    return found


@cache
def acquire_options() -> tuple[str, ...]:
    """The host's proxies and other words about transport, to be used as they are."""
    dump = call(["apt-config", "dump", "Acquire"], "apt-config")
    return tuple(line for line in dump.splitlines() if re.match(r"Acquire::(https?|ftp|Retries)\b.*\"[^\"]", line))


def _base(arch: str) -> Path:
    return home() / f"apt-{arch}"


def _env(arch: str) -> dict[str, str]:
    return {**os.environ, "APT_CONFIG": str(_base(arch) / "apt.conf"), "LC_ALL": "C.UTF-8"}


def _configure(arch: str) -> None:
    base = _base(arch)
    for folder in ("etc/preferences.d", "etc/apt.conf.d", "lists/partial", "archives/partial"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    main, security = archive()
    sources = [f"deb [signed-by={_KEYS}] {main} {suite} main" for suite in _SUITES]
    sources += [f"deb [signed-by={_KEYS}] {security} {suite}-security main" for suite in _SECURITY]
    (base / "etc/sources.list").write_text("\n".join(sources) + "\n")
    options = [
        f'APT::Architecture "{arch}";',
        f'APT::Architectures {{ "{arch}"; }};',
        'APT::Sandbox::User "root";',
        f'Dir::Etc "{base}/etc";',
        'Dir::Etc::sourceparts "/dev/null";',
        f'Dir::State::lists "{base}/lists";',
        'Dir::State::status "/dev/null";',
        f'Dir::Cache "{base}";',
        'Acquire::Languages "none";',
        'Acquire::Check-Valid-Until "false";',
        'Acquire::Check-Date "false";',
        'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";',
        *acquire_options(),
    ]
    (base / "apt.conf").write_text("\n".join(options) + "\n")


def refresh(arch: str) -> None:
    """Read the suites' lists, unless that was done within the hour. Out of reach: a remark, and the old lists serve."""
    read = _base(arch) / "read"
    with locked(f"apt-{arch}"):
        if read.exists() and time.time() - read.stat().st_mtime < _FRESH_S:
            return
        _configure(arch)
        try:
            call(["apt-get", "-qq", "update"], "reading the package lists", env=_env(arch))
        except GuestError as e:  # one suite that has gone fails it too, and the others are read
            say(f"{e}; what is known from before is used")
            return
        read.touch()


def parse(dump: str) -> dict[str, Package]:
    """`apt-cache dumpavail` -> {name: package} of kernels and their parts."""
    result = {}
    name = ""
    for line in dump.splitlines():
        if line.startswith("Package: "):
            name = line[9:]
        elif line.startswith("Version: ") and re.match(r"linux-(image|base|binary|modules)-\d", name):
            result[name] = Package(name, line[9:])
    return result


@cache
def packages(arch: str) -> dict[str, Package]:
    """Kernels and their parts that can be had now; empty where no list has ever been read."""
    refresh(arch)
    return parse(call(["apt-cache", "dumpavail"], "apt-cache", env=_env(arch)))


def download(arch: str, names: Iterable[str], folder: Path) -> list[Path]:
    """The .deb files of these packages, in `folder`."""
    with locked(f"apt-{arch}"):
        call(["apt-get", "-qq", "download", *names], "downloading", env=_env(arch), cwd=folder)
    return sorted(folder.glob("*.deb"))
