"""Takes secrets out of argument lists and environments before they are shared.

`redact(argv)` is pure: it knows no files, no processes, no formats. It looks at an argument list as a shell
user would write it, and into strings that are themselves command lines (`sh -c "..."`), headers, URLs or
JSON. Time is linear in the length of the text, whatever the text. Rather one word too many than a secret
left in; what it can not know is a secret that stands alone (`htpasswd -b file user secret`).

The rules, all of which a TOML file can extend (`load_rules`):

    names        --password X, --db-password=X, token=X, "secret": "X", X-Api-Key: X: a name that ends so.
                 Of "Authorization: Bearer X" the scheme stays; a header's value goes to the end of its
                 argument
    environment  PGPASSWORD=X, MY_KEY_2=X: a variable whose name contains one of these words
    programs     -pX of mysql, -u user:X of curl, -p X of docker login: where a letter means a secret
    words        aws configure set aws_secret_access_key X: a word of its own, the next one is the secret
    prefixes     ghp_X, xoxb-X, eyJX.X: a token known by how it begins, wherever it stands
    keep         names that end like a secret's and are none
    always       scheme://user:X@host, and private keys in PEM

    # redact.toml
    names = ["pin", "door-code"] environment = ["BADGE"] words = ["vault_pass"] prefixes = ["corp_"] keep =
    ["csrf-token"] [programs] "mytool login" = ["-k VALUE", "-pVALUE", "-u USER:VALUE"]    # -k X or -kX;
    only -pX; only what follows the colon
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from tracer.errors import BadDataError, NoInputError
from tracer.events import Batch

MARK: Final = "[redacted]"
"""What stands in a secret's place. No character of it means anything to a shell, a URL or to JSON."""

_NAME_LENGTH: Final = 64  # of a longer name only the end is looked at
_DEPTH: Final = 4  # command lines inside command lines

_NAMES: Final = (
    *("password", "passwd", "passphrase", "passcode", "passwort", "pwd", "pass", "secret", "token", "jwt", "psk"),
    *("api-key", "access-key", "secret-key", "private-key", "auth-key", "account-key", "shared-key", "master-key"),
    *("encryption-key", "signing-key", "license-key", "subscription-key", "session-key"),
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
_WORDS: Final = ("aws_secret_access_key", "aws_session_token", "requirepass", "masterauth", "masteruser")
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
    "ldapsearch ldapadd ldapmodify ldapdelete ldapcompare ldapwhoami ldapmodrdn": "-w VALUE",
    "ldappasswd": "-w VALUE, -a VALUE, -s VALUE",
    "snmpget snmpset snmpwalk snmpbulkwalk snmptrap": "-c VALUE, -A VALUE, -X VALUE",
    "openssl": "-k VALUE, -K VALUE",
}
_SCHEMES: Final = frozenset({"bearer", "basic", "digest", "token", "negotiate", "apikey", "aws4-hmac-sha256"})


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
        name = name[-_NAME_LENGTH:].lstrip("-")
        low = name.lower().replace("_", "-")
        if not name or name in _WORKING_DIRECTORIES or low.rpartition(".")[2] in self.keep:
            return False
        plain = low.replace("-", "").replace(".", "")
        return plain in _WHOLE_NAMES or plain.endswith(self._endings)

    def is_secret_variable(self, name: str) -> bool:
        """Whether an environment variable of that name holds a secret."""
        name = name[-4 * _NAME_LENGTH :].upper()
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


def redact(argv: Sequence[str], rules: Rules = RULES) -> tuple[list[str], int]:
    """The argument list with MARK in place of each secret, and how many were replaced. Twice is as good as once."""
    return _settle(list(argv), rules, _Pass.arguments)


def redact_environment(variables: Sequence[str], rules: Rules = RULES) -> tuple[list[str], int]:
    """The same for NAME=value strings."""
    return _settle(list(variables), rules, _Pass.variables)


def redact_batch(batch: Batch, rules: Rules = RULES) -> int:
    """Take the secrets out of a batch's argv and env columns, in place. Returns how many were replaced.

    Storms run the same commands over and over: each different list is looked at once a batch.
    """
    count = 0
    for column, once in (("argv", redact), ("env", redact_environment)):
        done: dict[tuple[str, ...], tuple[list[str], int]] = {}
        for part in batch.parts.values():
            rows: list[list[str] | None] = part.get(column, [])
            for i, words in enumerate(rows):
                if words:
                    key = tuple(words)
                    if key not in done:
                        done[key] = once(words, rules)
                    rows[i] = list(done[key][0])
                    count += done[key][1]
    return count


def load_rules(path: Path, base: Rules = RULES) -> Rules:
    """`base` with what a TOML file adds to it. Raises NoInputError, or BadDataError naming the wrong line."""
    import tomllib

    mend = "see `forktrace export --help` for the format"
    try:
        given = tomllib.loads(path.read_text("utf-8"))
    except OSError as e:
        raise NoInputError(f"can not read the rules in {path}: {e.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise BadDataError(f"{path} is not TOML: {e}", mend) from None
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


_BLANK: Final = re.compile(r"\s")
# A word as a shell cuts them: runs, escapes, quoted parts. What is not closed goes to the end, so that no
# part is ever tried twice; the possessive forms make that certain.
_TOKEN: Final = re.compile(
    r"""(\s++)|((?:[^\s"'\\]++|\\(?:.|\Z)|"(?:[^"\\]++|\\(?:.|\Z))*+(?:"|\Z)|'[^']*+(?:'|\Z))++)""", re.DOTALL
)
_QUOTED: Final = re.compile(r"""\\.|"((?:[^"\\]++|\\(?:.|\Z))*+)(?:"|\Z)|'([^']*+)(?:'|\Z)""", re.DOTALL)
_HEADER: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]{0,63}):\s*")
_ASSIGNED: Final = re.compile(r"(-{0,2}[A-Za-z_][A-Za-z0-9_.-]*+)=")
_STRING: Final = re.compile(r"""(["'])((?:[^"'\\]++|\\.)*+)\1([,}\]);]*+)""", re.DOTALL)
_SEPARATOR: Final = re.compile(r"[=:]")
_NAME_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
_VALUE_END: Final = re.compile(r"""[&;,"'\s]""")
_QUOTE: Final = re.compile(r"""["']""")
_AUTHORITY_END: Final = re.compile(r"""[/?#\s"'<>]""")
_AFTER_USER: Final = re.compile(r"[:%,]")
_OPTION: Final = re.compile(r"-[A-Za-z0-9]|--[A-Za-z0-9][A-Za-z0-9-]*(?:=.*)?", re.DOTALL)
_COMMAND_OPTION: Final = re.compile(r"-[a-z]{0,3}c")  # sh -c, bash -lc: a command line comes next
_COMMAND_START: Final = re.compile(r"[;&|()`$]")


_NEXT: Final = Flag("", apart=True)


class _Pass:
    """Once over a list. What a word means to the next is read from it as it comes out: twice sees the same."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.count = 0

    def arguments(self, words: list[str], depth: int = 0) -> list[str]:
        """An argument list, or (`depth` > 0) the words of a command line."""
        out: list[str] = []
        waiting: Flag | None = None  # the option whose secret must come next
        flags: tuple[Flag, ...] = ()
        program = last = ""
        for word in words:
            if not depth and not waiting and last[-1:] == "c" and _COMMAND_OPTION.fullmatch(last) and " " in word:
                new = self._text(word, 1)
            else:
                new = self._word(word, waiting, flags, depth)
            out.append(new)
            bare = new.strip("\"'")
            if waiting is not None and bare.lower() in _SCHEMES:
                continue
            waiting = self._waits(bare, last, flags)
            if not new.startswith("-"):
                name = (_COMMAND_START.split(bare)[-1] if depth else bare).rpartition("/")[2]
                known = self.rules.programs.get(name) or self.rules.programs.get(f"{program} {name}")
                if known is not None:
                    flags = known
                if known is not None or f"{name} login" in self.rules.programs or not program:
                    program = name
            last = bare
        return out

    def variables(self, variables: list[str]) -> list[str]:
        """NAME=value strings."""
        out = []
        for variable in variables:
            name, equals, value = variable.partition("=")
            if equals and (self.rules.is_secret_variable(name) or self.rules.is_secret(name)):
                out.append(f"{name}={self._mark(value)}")
            else:
                out.append(f"{name}{equals}{self._part(value, 0)}")
        return out

    def _mark(self, value: str) -> str:
        if value in ("", MARK):
            return value
        self.count += 1
        return MARK

    def _waits(self, bare: str, last: str, flags: tuple[Flag, ...]) -> Flag | None:
        """The option that makes the word after `bare` a secret."""
        if bare.startswith("-"):
            for flag in flags:
                if flag.apart and bare == flag.text:
                    return flag
            return _NEXT if "=" not in bare and self.rules.is_secret(bare) else None
        if bare in self.rules.words:
            return _NEXT
        if bare.endswith((":", "=")) and self.rules.is_secret(_name_before(bare, len(bare) - 1)[0]):
            return _NEXT
        return _NEXT if bare in ("=", ":", ":=") and self.rules.is_secret(last) else None

    def _word(self, word: str, waiting: Flag | None, flags: tuple[Flag, ...], depth: int) -> str:
        if waiting is not None and word and not _OPTION.fullmatch(word):
            return self._secret(word, waiting)
        assigned = _ASSIGNED.match(word)
        if assigned:
            name = assigned[1]
            if self.rules.is_secret(name) or (name.isupper() and self.rules.is_secret_variable(name)):
                return word[: assigned.end()] + self._mark(word[assigned.end() :])
        for flag in flags:
            if not word.startswith(flag.text) or len(word) == len(flag.text):
                continue
            if not flag.text.startswith("--"):
                return flag.text + self._secret(word[len(flag.text) :], flag)
            if word[len(flag.text)] == "=":
                return f"{flag.text}=" + self._secret(word[len(flag.text) + 1 :], flag)
        return self._part(word, depth)

    def _secret(self, word: str, flag: Flag) -> str:
        """A word that is a secret, or whose part after the user's name is."""
        quoted = _STRING.fullmatch(word)
        if quoted:
            return f"{quoted[1]}{self._secret(quoted[2], flag)}{quoted[1]}{quoted[3]}"
        if word.lower() in _SCHEMES:
            return word
        if not flag.user:
            return self._mark(word)
        colon = _AFTER_USER.search(word)
        if colon is None:
            return word
        return word[: colon.end()] + self._mark(word[colon.end() :])

    def _part(self, word: str, depth: int) -> str:
        """A word that is no secret as a whole, but may hold one."""
        if self.rules.interesting.search(word) is None:
            return word
        start = word.find("-----BEGIN")
        if start >= 0 and "PRIVATE KEY-----" in word:
            last = word.rfind("-----END")
            end = word.find("-----", last + len("-----END")) + len("-----") if last > start else 0
            end = end if end >= len("-----") else len(word)
            word = word[:start] + self._mark(word[start:end]) + word[end:]
        if depth == 0 and _BLANK.search(word):
            return self._text(word, 1)
        if depth < _DEPTH and _BLANK.search(word):
            word = _QUOTED.sub(lambda m: self._quoted(m, depth), word)
        return self.rules.token.sub(lambda m: self._mark(m[0]), self._urls(self._names(word, depth)))

    def _quoted(self, match: re.Match[str], depth: int) -> str:
        inner = match[1] if match[1] is not None else match[2]
        if inner is None or not _BLANK.search(inner):
            return match[0]
        at = match.start(1 if match[1] is not None else 2) - match.start()
        return match[0][:at] + self._text(inner, depth + 1) + match[0][at + len(inner) :]

    def _text(self, text: str, depth: int) -> str:
        """A string with blanks in it, perhaps behind --option=: a header, or a command line, or prose."""
        option = _ASSIGNED.match(text)
        start = option.end() if option and text.startswith("-") else 0
        header = _HEADER.match(text, start)
        if header and self.rules.is_secret(header[1]):
            rest = text[header.end() :]
            scheme, blank, credentials = rest.partition(" ")
            if scheme.lower() in _SCHEMES:
                return text[: header.end()] + scheme + blank + self._mark(credentials)
            return text[: header.end()] + self._mark(rest)
        before, text = text[:start], text[start:]
        pieces = [match[0] for match in _TOKEN.finditer(text)]
        places = [i for i, piece in enumerate(pieces) if not piece[0].isspace()]
        for i, word in zip(places, self.arguments([pieces[i] for i in places], depth), strict=True):
            pieces[i] = word
        return before + "".join(pieces)

    def _names(self, word: str, depth: int) -> str:
        """name=value and name:value inside a word: form fields, connection strings, JSON, headers."""
        out, done = [], 0
        for match in _SEPARATOR.finditer(word):
            at = match.start()
            if at < done:
                continue
            name, begin = _name_before(word, at)
            if not name or not self.rules.is_secret(name):
                continue
            if match[0] == ":" and (word.startswith("//", at + 1) or word[begin - 1 : begin] == "/"):
                continue  # scheme://, or a user's name in a URL
            start = at + 1
            while start < min(len(word), at + 4) and word[start] in "\"'\\":
                start += 1
            if word[start : start + 1].isspace() and depth < _DEPTH:
                continue  # in a quoted part, which was looked at word by word
            quoted = start > at + 1 or word[begin - 1 : begin] in ('"', "'")
            found = (_QUOTE if quoted else _VALUE_END).search(word, start) if begin or quoted else None
            value = word[start : found.start()].rstrip("\\") if found else word[start:]
            out += [word[done:start], self._mark(value)]
            done = start + len(value)
        return "".join(out) + word[done:]

    def _urls(self, word: str) -> str:
        """scheme://user:secret@host"""
        out, done = [], 0
        at = word.find("://")
        while at >= 0:
            begin = at + 3
            found = _AUTHORITY_END.search(word, begin)
            end = found.start() if found else len(word)
            host = word.rfind("@", begin, end)
            colon = word.find(":", begin, host) if host >= 0 else -1
            if colon >= 0:
                out += [word[done : colon + 1], self._mark(word[colon + 1 : host])]
                done = host
            at = word.find("://", end)
        return "".join(out) + word[done:]


def _name_before(word: str, at: int) -> tuple[str, int]:
    """The name that ends before the separator at `at`, quotes between them left out, and where it begins."""
    end = at
    while end > max(0, at - 4) and word[end - 1] in "\"'\\":
        end -= 1
    begin = end
    while begin > max(0, end - _NAME_LENGTH) and word[begin - 1] in _NAME_CHARACTERS:
        begin -= 1
    return word[begin:end], begin


def _settle(words: list[str], rules: Rules, once: Callable[[_Pass, list[str]], list[str]]) -> tuple[list[str], int]:
    """Over the list until nothing changes: one time and one to see, unless a text is made to be awkward."""
    count = 0
    for _ in range(8):
        now = _Pass(rules)
        words = once(now, words)
        count += now.count
        if not now.count:
            break
    return words, count
