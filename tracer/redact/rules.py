"""What is a secret: the built-in rules, and what a TOML file adds to them.

Tells of a name, a variable, a program's option or a word whether it goes with a secret. Knows nothing of argument
lists: words.py reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from tracer.errors import BadDataError
from tracer.host.toml_file import read_toml

NAME_LENGTH: Final = 64  # of a longer name only the end is looked at

_NAMES: Final = (
    *("password", "passwd", "passphrase", "passcode", "passwort", "pwd", "pass", "secret", "token", "jwt", "psk"),
    *("api-key", "access-key", "secret-key", "private-key", "auth-key", "account-key", "shared-key", "master-key"),
    *("encryption-key", "signing-key", "license-key", "subscription-key", "session-key", "sse-c-key", "customer-key"),
    *("credential", "credentials", "authorization", "cookie", "signature", "bearer", "passin", "passout"),
)
_WHOLE_NAMES: Final = frozenset({"sig", "pw", "otp", "pass"})  # too short to be an ending
_KEEP: Final = (
    *("bypass", "by-pass", "compass", "two-pass", "one-pass", "single-pass", "multi-pass", "first-pass"),
    *("eos-token", "bos-token", "pad-token", "unk-token", "stop-token", "no-token", "no-password", "no-cookie"),
)
_ENVIRONMENT: Final = ("SECRET", "TOKEN", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "KEY", "COOKIE")
_ENVIRONMENT_PARTS: Final = frozenset({"PASS", "PWD", "PW", "AUTH"})  # only between underscores
_NO_VARIABLE: Final = ("KEYBOARD", "KEYMAP", "KEYRING", "KEYTIMEOUT", "KEYWORD", "HOTKEY", "MONKEY", "TURKEY")
_POINTERS: Final = ("_FILE", "_PATH", "_SOCK", "_DIR")  # such a variable says where, not what
_WORKING_DIRECTORIES: Final = frozenset({"PWD", "OLDPWD"})
_PREFIXES: Final = (
    *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "gldt-", "xoxb-", "xoxp-", "xoxa-", "xoxs-"),
    *("xapp-", "sk-", "sk_live_", "rk_live_", "sk_test_", "hf_", "npm_", "pypi-", "dop_v1_", "shpat_", "hvs."),
    *("AIza", "ya29.", "SG.", "eyJ", "AGE-SECRET-KEY-", "dckr_pat_", "tskey-"),
)
_WORDS: Final = (
    *("aws_secret_access_key", "aws_session_token", "requirepass", "masterauth", "masteruser", "authtoken"),
    "reset-admin-password",
)
_PROGRAMS: Final = {
    "mysql mysqldump mysqladmin mysqlimport mysqlcheck mysqlshow mysqlslap mysql_upgrade mysqlbinlog mycli": "-pVALUE",
    "mariadb mariadb-dump mariadb-admin mariadb-import mariadb-check mariadb-show xtrabackup mysqlsh": "-pVALUE",
    "7z 7za 7zr 7zz unrar": "-pVALUE",
    "rar": "-pVALUE, -hpVALUE",
    "xfreerdp xfreerdp3 wlfreerdp": "/p:VALUE",
    "curl": "-u USER:VALUE, --user USER:VALUE, -U USER:VALUE, --proxy-user USER:VALUE, -E USER:VALUE, "
    "--cert USER:VALUE, -b VALUE, --oauth2-bearer VALUE",
    "http https xh": "-a USER:VALUE, --auth USER:VALUE",
    "skopeo buildah podman": "--creds USER:VALUE, --src-creds USER:VALUE, --dest-creds USER:VALUE",
    "smbclient rpcclient smbget smbmap net": "-U USER:VALUE, --user USER:VALUE",
    "lftp": "-u USER:VALUE, --user USER:VALUE",
    "docker login|podman login|nerdctl login|buildah login|skopeo login|registry login": "-p VALUE",
    "sshpass rdesktop mongo mongosh mongodump mongorestore mongoexport mongoimport cqlsh beeline ncftp ncftpput "
    "ncftpget": "-p VALUE",
    "sqlcmd bcp isql osql zip unzip ipmitool mosquitto_pub mosquitto_sub": "-P VALUE",
    "ssh-keygen": "-N VALUE, -P VALUE",
    "redis-cli valkey-cli": "-a VALUE",
    "az login|twine upload": "-p VALUE",
    "useradd usermod": "-p VALUE",
    "nmcli": "password VALUE, passwd VALUE",
    "ldapsearch ldapadd ldapmodify ldapdelete ldapcompare ldapwhoami ldapmodrdn": "-w VALUE",
    "ldappasswd": "-w VALUE, -a VALUE, -s VALUE",
    "snmpget snmpset snmpwalk snmpbulkwalk snmptrap": "-c VALUE, -A VALUE, -X VALUE",
    "openssl": "-k VALUE, -K VALUE",
}


@dataclass(frozen=True)
class Flag:
    """An option of one program: `text` as typed; the secret follows attached, or as the next word (`apart`)."""

    text: str
    apart: bool
    user: bool = False  # only what follows the first of : % , is secret


@dataclass(frozen=True)
class Rules:
    """What is a secret; the module's docstring says what each part does. Names in lower case, with hyphens."""

    names: tuple[str, ...]
    environment: tuple[str, ...]
    programs: Mapping[str, tuple[Flag, ...]]
    words: frozenset[str]
    prefixes: tuple[str, ...]
    keep: frozenset[str]

    def is_secret(self, name: str) -> bool:
        """Whether an option, key or header of that name holds a secret."""
        name = name[-NAME_LENGTH:].lstrip("-")
        low = name.lower().replace("_", "-")
        if not name or name in _WORKING_DIRECTORIES or low.rpartition(".")[2] in self.keep:
            return False
        plain = low.replace("-", "").replace(".", "")
        return plain in _WHOLE_NAMES or plain.endswith(self._endings)

    def is_secret_variable(self, name: str) -> bool:
        """Whether an environment variable of that name holds a secret."""
        name = name[-4 * NAME_LENGTH :].upper()
        if name in _WORKING_DIRECTORIES or name.endswith(_POINTERS):
            return False
        for harmless in _NO_VARIABLE:
            name = name.replace(harmless, "")
        return any(word in name for word in self.environment) or not _ENVIRONMENT_PARTS.isdisjoint(name.split("_"))

    @cached_property
    def _endings(self) -> tuple[str, ...]:
        return tuple(name.replace("-", "") for name in self.names)

    @cached_property
    def token(self) -> re.Pattern[str]:
        """Matches a token known by its beginning."""
        begins = "|".join(re.escape(prefix) for prefix in sorted(self.prefixes, key=len, reverse=True))
        return re.compile(rf"(?<![A-Za-z0-9_])(?:{begins})[A-Za-z0-9_.\-]{{8,}}+" if begins else r"(?!)")

    @cached_property
    def interesting(self) -> re.Pattern[str]:
        """Matches what a word must contain to hold a secret: a separator, a blank or such a token."""
        return re.compile(rf"[\s=:]|{self.token.pattern}")


def _flags(text: str | Iterable[str]) -> tuple[Flag, ...]:
    """From "-k VALUE, -pVALUE, -u USER:VALUE". Raises ValueError for what is none of these forms."""
    flags = []
    for form in text.split(", ") if isinstance(text, str) else text:
        option, _, value = form.partition(" ")
        if value in ("VALUE", "USER:VALUE") and len(option) > 1:
            flags.append(Flag(option, apart=True, user=value != "VALUE"))
        elif not value and option.endswith("VALUE") and len(option) > len("-VALUE"):
            flags.append(Flag(option.removesuffix("VALUE"), apart=False))
        else:
            raise ValueError(form)
    return tuple(flags)


def _programs(table: Mapping[str, str]) -> dict[str, tuple[Flag, ...]]:
    programs = {}
    for names, flags in table.items():
        for name in names.split("|") if "|" in names else names.split():
            programs[name] = _flags(flags)
    return programs


RULES: Final = Rules(_NAMES, _ENVIRONMENT, _programs(_PROGRAMS), frozenset(_WORDS), _PREFIXES, frozenset(_KEEP))
"""The built-in rules."""


def load_rules(path: Path, base: Rules = RULES) -> Rules:
    """`base` with what a TOML file adds to it. Raises NoInputError, or BadDataError naming the wrong line."""
    mend = 'a list of rules is written as: names = ["pin", "door-code"]'
    given = read_toml(path, mend)
    programs = given.pop("programs", {})
    lists = {"names", "environment", "words", "prefixes", "keep"}
    for key, value in given.items():
        if key not in lists:
            raise BadDataError(f"{path}: there is no list of rules called {key!r}", f"take one of {sorted(lists)}")
        if not isinstance(value, list) or not all(isinstance(v, str) and len(v.strip()) > 1 for v in value):
            raise BadDataError(f"{path}: {key} must be a list of strings of at least two characters", mend)
    added = {key: tuple(v.strip() for v in given.get(key, ())) for key in lists}
    more = {}
    try:
        for name, forms in dict(programs).items():
            more[name] = base.programs.get(name, ()) + _flags([str(form) for form in forms])
    except (TypeError, ValueError) as e:
        forms = '"-k VALUE", "-kVALUE" or "-u USER:VALUE"'
        raise BadDataError(f"{path}: programs: {e} is no option", f"write {forms}") from None

    def hyphens(words: Iterable[str]) -> tuple[str, ...]:
        return tuple(word.lower().replace("_", "-") for word in words)

    return Rules(
        names=base.names + hyphens(added["names"]),
        environment=base.environment + tuple(word.upper() for word in added["environment"]),
        programs={**base.programs, **more},
        words=base.words | set(added["words"]),
        prefixes=base.prefixes + added["prefixes"],
        keep=base.keep | set(hyphens(added["keep"])),
    )
