"""Goes over an argument list, or an environment, and puts MARK in the place of each secret.

Cuts strings that are command lines into words as a shell would. Every pattern is such that no character is looked
at more than a bounded number of times. Knows nothing of which names are secret: rules.py does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from tracer.redact.rules import NAME_LENGTH, Flag, Rules

MARK: Final = "[redacted]"
"""What stands in a secret's place. No character of it is a blank, a quote or a separator."""
_SCHEMES: Final = frozenset({"bearer", "basic", "digest", "token", "negotiate", "apikey", "aws4-hmac-sha256"})
_QUERY: Final = frozenset("?&")
_DEPTH: Final = 4  # command lines inside command lines
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
_NPM: Final = (":_authToken", ":_password", ":_auth")  # npm config set //host/:_authToken X
# Addresses that are secrets themselves: who knows one may write there
_HOOK: Final = re.compile(
    r"(hooks\.slack\.com/(?:services|workflows)/|/api/webhooks/[0-9]{1,30}/|//api\.telegram\.org/bot[0-9]{1,20}:)"
    r"([A-Za-z0-9_/-]++)"
)


class Pass:
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

    def functions(self, names: list[str]) -> list[str]:
        """Names of functions, and the files that stand with them: `:` is no separator there."""
        return [self.rules.token.sub(lambda m: self._mark(m[0]), self._urls(name)) for name in names]

    def _mark(self, value: str) -> str:
        if value in ("", MARK):
            return value
        self.count += 1
        return MARK

    def _waits(self, bare: str, last: str, flags: tuple[Flag, ...]) -> Flag | None:
        """The option that makes the word after `bare` a secret."""
        for flag in flags:
            if flag.apart and bare == flag.text:
                return flag
        if bare.startswith("-"):
            return _NEXT if "=" not in bare and self.rules.is_secret(bare) else None
        if bare in self.rules.words or bare.endswith(_NPM):
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
            if not name or not (self.rules.is_secret(name) or (name == "key" and word[begin - 1 : begin] in _QUERY)):
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
        return _HOOK.sub(lambda m: m[1] + self._mark(m[2]), "".join(out) + word[done:])


def _name_before(word: str, at: int) -> tuple[str, int]:
    """The name that ends before the separator at `at`, quotes between them left out, and where it begins."""
    end = at
    while end > max(0, at - 4) and word[end - 1] in "\"'\\]":
        end -= 1
    begin = end
    while begin > max(0, end - NAME_LENGTH) and word[begin - 1] in _NAME_CHARACTERS:
        begin -= 1
    return word[begin:end], begin


def settle(words: list[str], rules: Rules, once: Callable[[Pass, list[str]], list[str]]) -> tuple[list[str], int]:
    """Over the list until nothing changes: one time and one to see, unless a text is made to be awkward."""
    count = 0
    for _ in range(8):
        now = Pass(rules)
        words = once(now, words)
        count += now.count
        if not now.count:
            break
    return words, count
