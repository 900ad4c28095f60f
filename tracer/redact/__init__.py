"""Takes secrets out of argument lists, environments, paths and notes before they are shared.

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

A path (exe, cwd, interpreter), a comm, a control group and a note are looked at as one argument that stands alone; of
the names of functions, where `token::next` is no secret, only tokens and URLs are taken.

    # redact.toml
    names = ["pin", "door-code"]
    environment = ["BADGE"]
    words = ["vault_pass"]
    prefixes = ["corp_"]
    keep = ["csrf-token"]
    [programs]                       # -k X or -kX, nothing but -pX, only what follows the colon
    "mytool login" = ["-k VALUE", "-pVALUE", "-u USER:VALUE"]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from tracer.model.batch import Batch
from tracer.model.meta import Meta
from tracer.redact.rules import RULES, Rules, load_rules
from tracer.redact.words import MARK, Pass, settle

__all__ = ["MARK", "RULES", "Rules", "load_rules", "redact", "redact_batch", "redact_environment", "redact_meta"]

_TEXTS: Final = ("exe", "cwd", "interpreter", "comm", "cgroup", "cause")


def redact(argv: Sequence[str], rules: Rules = RULES) -> tuple[list[str], int]:
    """The argument list with MARK in place of each secret, and how many were replaced. Twice is as good as once."""
    return settle(list(argv), rules, Pass.arguments)


def redact_environment(variables: Sequence[str], rules: Rules = RULES) -> tuple[list[str], int]:
    """The same for NAME=value strings."""
    return settle(list(variables), rules, Pass.variables)


def redact_batch(batch: Batch, rules: Rules = RULES) -> int:
    """Take the secrets out of a batch's texts, in place. Returns how many were replaced.

    Storms run the same commands over and over: each different list is looked at once a batch.
    """

    def functions(frames: Sequence[str], rules: Rules) -> tuple[list[str], int]:
        return settle(list(frames), rules, Pass.functions)

    count = 0
    lists: tuple[tuple[str, Callable[[Sequence[str], Rules], tuple[list[str], int]]], ...]
    lists = (("argv", redact), ("env", redact_environment), ("frames", functions))
    for column, once in lists:
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
    for part in batch.parts.values():
        count += sum(_redact_column(part, column, rules) for column in _TEXTS if column in part)
    return count


def redact_meta(meta: Meta, rules: Rules = RULES) -> tuple[Meta, int]:
    """What a trace says of itself, without secrets. Not counted are those in its command: its first argv has them."""
    command, _ = redact(meta.command, rules)
    found = [0]

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            text, n = redact([value], rules)
            found.append(n)
            return text[0]
        if isinstance(value, list | tuple):
            return [clean(each) for each in value]
        return {clean(k): clean(v) for k, v in value.items()} if isinstance(value, dict) else value

    said = {"command": command, "notes": clean(meta.notes), "options": clean(dict(meta.options))}
    return Meta.from_dict({**meta.as_dict(), **said}), sum(found)


def _redact_column(part: dict[str, Any], column: str, rules: Rules) -> int:
    rows: list[str | None] = part[column]
    changed = {}
    for text in set(rows):
        if text and rules.interesting.search(text) is not None:
            words, n = redact([text], rules)
            if n:
                changed[text] = words[0], n
    if not changed:
        return 0
    part[column] = [changed[text][0] if text in changed else text for text in rows]
    return sum(changed[text][1] for text in rows if text in changed)
