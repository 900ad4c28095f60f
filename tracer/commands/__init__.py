"""The command line: which verb, or the program behind `--`. The one place that prints an error and sets the status.

A verb is one file and one line in `COMMANDS`. If the first word is a verb, the verb parses all the rest; else the
line is split at its first `--`, by hand, since what stands behind it is another program's. Heavy imports happen in
the verbs, when they run: `forktrace --help` needs none.
"""

from __future__ import annotations

import argparse
import atexit
import errno
import functools
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NoReturn, Protocol

from tracer.errors import CannotWriteError, ForktraceError, UsageError
from tracer.host.own_limits import explain
from tracer.model.visible import write

COMMANDS: Final[tuple[tuple[str, str, str], ...]] = (
    ("run", "run", "see how processes come to be, and what that costs"),
    ("report", "report", "show a saved trace: its fork tree, what the births shared, and the figures"),
    ("replay", "replay", "watch a saved trace again, as it happened"),
    ("export", "export", "turn a saved trace into JSON lines, CSV, Parquet and the like"),
    ("import", "import_", "make a trace of logs that other tools wrote"),
    ("diff", "diff", "compare two runs, or several runs on each side: what came, what went, what differs"),
    ("check", "check", "hold a saved trace against limits, for CI"),
    ("storm", "storm", "watch for fork storms, explain them, and keep the seconds before"),
    ("fleet", "fleet", "ask many traces from many hosts as one: rates, commands, failures, copies, storms"),
    ("doctor", "doctor", "what works on this host, and what to do about the rest"),
    ("dump", "dump", "print the raw records of a saved trace, for debugging"),
)
"""(verb, module in this package, what it does). `run` is what a line without a verb means."""

_MODULES: Final = {verb: module for verb, module, _ in COMMANDS}
_VALUED: Final = frozenset({"--color", "--width"})
_PLAIN: Final = frozenset({"-q", "-v", "--quiet", "--verbose", "--ascii", "--no-color"})

_USAGE: Final = """forktrace [options] -- PROGRAM [ARG...]
       forktrace -p PID | -a [options]
       forktrace VERB ..."""


class Command(Protocol):
    """A verb. The class docstring is its help; its first line is what COMMANDS says of it."""

    name: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the verb's own options."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it, print its report, return the exit status. Raises ForktraceError."""


class _Parser(argparse.ArgumentParser):
    """Errors of the command line are ours, in one sentence."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise UsageError(f"{message}", f"see `{self.prog} --help`")

    def _get_formatter(self) -> argparse.HelpFormatter:
        """Asked for with each option that is added; argparse's own imports shutil for the width, and asks each time."""
        return self.formatter_class(self.prog, width=_columns() - 2)  # type: ignore[call-arg]  # any formatter's

    def format_help(self) -> str:
        """With the list of verbs."""
        if self.prog == "forktrace":
            self.epilog = _epilog()
        return super().format_help()

    def _print_message(self, message: str, file: Any = None) -> None:
        """argparse's own would take a full disk for a success."""
        write(file or sys.stdout, message)


@functools.cache
def _columns() -> int:
    """As wide as help may be."""
    with suppress(ValueError):
        if (asked := int(os.environ.get("COLUMNS", ""))) > 0:
            return asked
    with suppress(OSError, ValueError, AttributeError):  # no terminal, closed, none at all
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80  # type: ignore[union-attr]
    return 80


def load(verb: str) -> Command:
    """The command behind a verb."""
    module = importlib.import_module(f"tracer.commands.{_MODULES[verb]}")
    command: Command = module.COMMAND
    return command


def global_options(parser: argparse.ArgumentParser) -> None:
    """Options that every verb takes, before or after it."""
    group = parser.add_argument_group("output")
    group.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="default: auto")
    group.add_argument("--no-color", dest="color", action="store_const", const="never", help=argparse.SUPPRESS)
    group.add_argument("--ascii", action="store_true", help="draw with ASCII characters only")
    group.add_argument("--width", type=int, metavar="N", help="columns; default: the terminal's, else 100")
    group.add_argument("-q", "--quiet", action="count", default=0, help="say less; twice: nothing but errors")
    group.add_argument("-v", "--verbose", action="count", default=0, help="say more")


def parser_for(verb: str, command: Command) -> argparse.ArgumentParser:
    """The parser of one verb; of `run`, as the bare command has it."""
    words = _cleaned(command.__doc__ or "")
    bare = verb == "run"
    parser = _Parser(
        prog="forktrace" if bare else f"forktrace {verb}",
        usage=_USAGE if bare else None,
        description=words,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.configure(parser)
    global_options(parser)
    return parser


def _cleaned(doc: str) -> str:
    """As inspect.cleandoc, which takes 8 ms to import: the first line is not indented, the others alike."""
    first, *others = doc.strip().splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in others if line.strip()), default=0)
    return "\n".join([first, *(line[indent:] for line in others)])


def _epilog() -> str:
    lines = ["verbs (forktrace VERB --help):"]
    lines += [f"  {verb:<10} {words}" for verb, _, words in COMMANDS if verb != "run"]
    return "\n".join(lines)


def split(words: Sequence[str]) -> tuple[str, list[str], list[str] | None]:
    """(verb, its words, the traced command or None). Global options may stand before the verb."""
    before: list[str] = []
    rest = list(words)
    while rest and rest[0] != "--":
        word = rest[0]
        if word in _PLAIN or (word.startswith("--") and word.partition("=")[0] in _VALUED and "=" in word):
            before.append(rest.pop(0))
        elif word in _VALUED and len(rest) > 1:
            before += [rest.pop(0), rest.pop(0)]
        else:
            break
    if rest and rest[0] in _MODULES and rest[0] != "run":
        return rest[0], before + rest[1:], None
    if rest and rest[0] == "run":
        rest = rest[1:]
    rest = before + rest
    if "--" in rest:
        at = rest.index("--")
        return "run", rest[:at], rest[at + 1 :]
    return "run", rest, None


def dispatch(words: Sequence[str]) -> int:
    """Parse and run. Raises ForktraceError; SystemExit for --help and --version."""
    verb, own, program = split(words)
    command = load(verb)
    parser = parser_for(verb, command)
    if not words:
        parser.print_help()
        return 0
    args, unknown = parser.parse_known_args(own)
    if unknown:
        if verb == "run" and not unknown[0].startswith("-"):
            raise UsageError(f"{unknown[0]!r} is no verb", "put `--` before a program that is to be run")
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    args.program = program
    args.words = own
    return command.run(args)


def main(words: Sequence[str] | None = None) -> int:
    """The `forktrace` command. Returns the exit status; never raises."""
    words = sys.argv[1:] if words is None else words
    gc.set_threshold(50_000, 20, 20)  # to look for garbage among modules as they are imported takes 10 ms of a start
    _fill_closed_streams()
    try:
        try:
            status = dispatch(words)
        except SystemExit as leave:  # --help, --version, and a traced program's exit code
            status = leave.code if isinstance(leave.code, int) else 0
        sys.stdout.flush()
    except ForktraceError as e:
        say(str(e))
        return e.exit_status
    except BrokenPipeError:
        # The reader of our report has left (`| head`): no error. Keep the interpreter's own flush from raising.
        _mute_stdout()
        return 0
    except KeyboardInterrupt:
        return 130
    except (MemoryError, RuntimeError, ImportError) as e:
        starved = explain(e)
        if starved is None:
            raise
        say(str(starved))
        return starved.exit_status
    except OSError as e:
        starved = explain(e)
        if starved is not None:
            say(str(starved))
            return starved.exit_status
        if e.errno not in (errno.ENOSPC, errno.EBADF, errno.EIO, errno.EDQUOT, errno.EFBIG) or e.filename is not None:
            raise
        _mute_stdout()
        lost = CannotWriteError(f"can not write to standard output: {os.strerror(e.errno).lower()}", "use another")
        say(str(lost))
        return lost.exit_status
    else:
        return status


_own_process: list[bool] = []


def owns_process() -> bool:
    """Whether this process is the command and nothing else: only then may privileges be given up for good.

    False where `main` was called inside another program.
    """
    return bool(_own_process)


def program() -> NoReturn:
    """`main` as a program of its own. Where nobody waits for the interpreter's end it is not taken apart: 18 ms.

    Those who do wait are libraries with handlers (pyarrow has them), threads, and whoever traces or profiles Python.
    """
    _leave_relative_folders()
    _own_process.append(True)
    status = main()
    threads = sys.modules.get("threading")
    awaited = atexit._ncallbacks() or (threads is not None and threads.active_count() > 1)
    if awaited or sys.gettrace() is not None or sys.getprofile() is not None:
        sys.exit(status)
    with suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()  # nothing is left there but what could not be written, and was told of
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
    os._exit(status)


def _leave_relative_folders() -> None:
    """Import nothing by an empty or relative part of PYTHONPATH, which is the current folder or one in it."""
    if sys.flags.ignore_environment:
        return
    for part in os.environ.get("PYTHONPATH", "/").split(os.pathsep):
        if not part.startswith("/"):
            with suppress(ValueError, OSError):
                sys.path.remove(os.path.abspath(part))  # noqa: PTH100


def say(line: str) -> None:
    """To stderr, with our name before it, in one line that can not move the cursor. Never raises."""
    from tracer.reports.terminal import clean

    with suppress(OSError, ValueError, AttributeError):  # None, where a caller of the API has closed it
        write(sys.stderr, f"forktrace: {clean(line)}\n")
        sys.stderr.flush()


def _fill_closed_streams() -> None:
    """Who started us may have closed some. No file of ours may take their place, and using them stays an error.

    Not in the program, where they stay closed: descriptors of ours end with an exec.
    """
    for name, flags, mode in (("stdin", os.O_WRONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode))


def _mute_stdout() -> None:
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
