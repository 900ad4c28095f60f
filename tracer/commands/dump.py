"""`forktrace dump FILE`: the raw records of a saved trace, with the byte offset of each message."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from tracer.model.visible import write
from tracer.reports.terminal import clean


class Dump:
    """Print the raw records of a saved trace, for debugging.

    One line for each message of the file (its byte offset, size and type), and
    below it one line for each record, with every column that is not null.
    Nothing is judged or left out; reading ends at damage, with status 65.
    Secrets are shown as they were recorded.
    """

    name = "dump"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """The file, and the form."""
        parser.add_argument("file", metavar="FILE", help="a saved trace (.ftrace), or - for standard input")
        parser.add_argument("--format", choices=("text", "jsonl"), default="text", help="default: text")
        parser.add_argument("--no-records", action="store_true", help="messages only")

    def run(self, args: argparse.Namespace) -> int:
        """Read, and print to stdout. Raises NoInputError, BadDataError."""
        from tracer.recording.dump import messages

        status, row = 0, 0
        for message in messages(args.file):
            status = 65 if message.type == "damage" else status
            if args.format == "jsonl":
                head = {"offset": message.offset, "bytes": message.size, "type": message.type}
                about = {"rows": message.rows} if message.type == "batch" else {}
                write(sys.stdout, _json({**head, **about, **({"text": message.text} if message.text else {})}))
            else:
                about_text = f" of {message.rows} rows" if message.type == "batch" else ""
                text = f"  {message.text}" if message.text else ""
                line = f"{message.offset:>12}  {message.size:>9} B  {message.type}{about_text}{text}"
                write(sys.stdout, clean(line) + "\n")
            for record in message.records:
                if not args.no_records:
                    write(sys.stdout, _line(record, row) if args.format == "text" else _json({"row": row, **record}))
                row += 1
        return status


def _line(record: dict[str, Any], row: int) -> str:
    values = " ".join(f"{name}={_value(value)}" for name, value in record.items() if name != "kind")
    return clean(f"{'':>12}  #{row}  {record.get('kind')}  {values}") + "\n"


def _value(value: Any) -> str:
    return json.dumps(value) if isinstance(value, str | list) else str(value)


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value) + "\n"


COMMAND = Dump()
