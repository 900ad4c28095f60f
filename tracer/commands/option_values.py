"""Values of options that several commands take: durations, rates, sizes. For `type=` of argparse."""

from __future__ import annotations

import argparse


def seconds(word: str) -> float:
    """A number of seconds above 0, as `1.5` or `1.5s`."""
    try:
        value = float(word.removesuffix("s"))
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):  # not a number is none of these either
        raise argparse.ArgumentTypeError(f"'{word}' is not a number of seconds")
    return value


def rate(word: str) -> int:
    """Samples a second: a number, or 0 for `all`."""
    if word == "all":
        return 0
    if not (word.isascii() and word.isdigit()) or int(word[:12]) < 1:
        raise argparse.ArgumentTypeError(f"'{word}' is not a number of samples a second; use a number, or all")
    return int(word[:12])


def size(word: str) -> int:
    """Bytes, as `64K`, `16M` or `1GiB`."""
    units = {"K": 10, "M": 20, "G": 30}
    body = word.upper().removesuffix("B").removesuffix("I")
    shift = units.get(body[-1:], 0)
    digits = body[:-1] if shift else body
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 12:
        raise argparse.ArgumentTypeError(f"'{word}' is not a size")
    return int(digits) << shift
