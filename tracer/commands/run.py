"""The bare command: run a program, or attach, and report at the end."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from tracer.commands import loss, option_values, owns_process, say, target_options
from tracer.commands.loss import LOSS_STATUS
from tracer.commands.run_live import Beside, refuse
from tracer.errors import BadDataError, ForktraceError, UsageError
from tracer.host.own_limits import check_room, explain
from tracer.model.cli_constants import BACKENDS, COW_LEVELS, STACKS_USUAL
from tracer.model.visible import write

if TYPE_CHECKING:
    from tracer.api.trace import Trace
    from tracer.capture.session import Plan


class _Version(argparse.Action):
    """What argparse's own does, without what has the version being imported for all others."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from tracer.capture.session import VERSION

        parser.exit(message=f"forktrace {VERSION}\n")


class Run:
    """See how processes come to be, and what that costs.

    Runs PROGRAM, watches all its descendants, and reports at the end on stderr; the program's own output is untouched
    and its exit status is passed on.
    """

    name = "run"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """strace's letters where strace has one."""
        parser.add_argument("--version", action=_Version, nargs=0, help="show the version, and leave")
        what = parser.add_argument_group("what to watch")
        target_options.add(what)
        what.add_argument("--duration", type=option_values.seconds, metavar="S", help="stop watching after S seconds")
        what.add_argument("--no-wait", action="store_true", help="end with the program, not with its last descendant")
        what.add_argument("-f", "--follow", action="store_true", help=argparse.SUPPRESS)
        how = parser.add_argument_group("how")
        how.add_argument(
            "--backend", default="auto", choices=("auto", *BACKENDS), help="default: the first that is ready"
        )
        how.add_argument(
            "--need",
            action="append",
            default=[],
            metavar="FACT,...",
            help="take no backend that does not see these: cow, argv, cpu, ... (`forktrace doctor` lists them)",
        )
        how.add_argument(
            "--cow",
            choices=COW_LEVELS,
            help="copy-on-write: every fault, fork times only, the kernel's own counters, or nothing"
            " (default: full; light with -a, groups and filters)",
        )
        how.add_argument(
            "--cow-stacks",
            nargs="?",
            type=option_values.rate,
            const=STACKS_USUAL,
            metavar="RATE",
            help="which code copies shared pages: sample the user stack at copies, RATE times a second and CPU at most"
            f" (default: {STACKS_USUAL}; all: at every copy)",
        )
        how.add_argument(
            "-e",
            "--events",
            action="append",
            default=[],
            metavar="SET",
            help="more events: fail (failed forks and execs; taxes every system call)",
        )
        how.add_argument(
            "-s",
            "--string-size",
            type=option_values.size,
            default=32768,
            metavar="BYTES",
            help="argv bytes to keep of each exec (default: 32768)",
        )
        how.add_argument("--env", default="", metavar="NAME,...", help="environment variables to record at each exec")
        how.add_argument(
            "--reap",
            choices=("inferred", "exact"),
            default="inferred",
            help="exact: measured at the moment of the reap; costs open/close loops on the host 12 %%",
        )
        how.add_argument(
            "--delayacct",
            action="store_true",
            help="let the kernel count copies itself (kernel.task_delayacct) meanwhile; netlink reads that",
        )
        how.add_argument(
            "--buffer",
            type=option_values.size,
            default=16 << 20,
            metavar="BYTES",
            help="size of the kernel's ring (default: 16M)",
        )
        how.add_argument(
            "--strace-safe",
            action="store_true",
            help="strace without --seccomp-bpf: slower, and its death harms nobody",
        )
        target = parser.add_argument_group("the program")
        target.add_argument(
            "-E",
            "--set-env",
            action="append",
            default=[],
            metavar="NAME[=VALUE]",
            help="set, or unset, a variable of the program",
        )
        target.add_argument("-u", "--user", metavar="USER", help="run the program as USER")
        target.add_argument(
            "--as-root", action="store_true", help="under sudo: stay root instead of becoming the caller"
        )
        out = parser.add_argument_group("the result")
        out.add_argument("-o", "--output", metavar="FILE", help="keep the trace (.ftrace)")
        out.add_argument(
            "--live",
            action="store_true",
            help="a screen meanwhile: rates, the busiest, the tree of what is being born; the report comes at the end",
        )
        loss.add_option(out)
        out.add_argument("--redact", action="store_true", help="take secrets out of argv before they are kept")
        out.add_argument("-t", "--times", action="store_true", help="show when each process was born")
        out.add_argument("--threads", action="store_true", help="show threads")
        out.add_argument("--full", action="store_true", help="fold nothing")

    def run(self, args: argparse.Namespace) -> int:
        """Capture, report, and leave as the program left."""
        plan = self._plan(args)
        self._can_finish(args)
        refuse(args)
        from tracer.api.capture import Keeper
        from tracer.capture.capabilities import after_attach, before_report
        from tracer.capture.session import Session, living
        from tracer.host.malloc_tuning import keep_freed
        from tracer.model.status import pass_on

        beside = Beside(args, (lambda line: None) if args.quiet > 1 else say)
        session = Session(plan, say=beside.say)
        keeper = Keeper(session, args.output, redact=args.redact)
        if not args.quiet:
            session.preload = ("numpy", "tracer.tree.tree", "tracer.reports.console.report")
        session.living = lambda: living(keeper.so_far())
        failed: ForktraceError | None = None
        with session:
            session.start()
            if owns_process():
                after_attach(session.meta.source, nice=args.live)
            keep_freed()
            keeper.open()
            try:
                with beside.show(session):
                    session.run(keeper.take, beside.take, tick=beside.before(keeper.tick))
                trace = keeper.finish()  # before a Ctrl-C can hit us again
            except (MemoryError, OSError, RuntimeError, ImportError) as e:
                failed = explain(e)
                if failed is None:
                    raise
                session.accompany()
        if owns_process():
            before_report()
        failures = [e for e in (failed or self._report(args, trace), keeper.failure) if e is not None]
        for failure in failures:
            say(str(failure))
        ended_well = session.status is None or session.status.exit_code == 0
        if args.fail_on_loss and keeper.losses and ended_well and not failures:
            return LOSS_STATUS
        if session.status is not None and (session.status.exit_code != 0 or not failures):
            pass_on(session.status)
        return failures[0].exit_status if failures else 0

    @staticmethod
    def _can_finish(args: argparse.Namespace) -> None:
        """What is imported after the program has run must be there before it does."""
        wanted = [*([] if args.quiet else ["rich", "numpy"]), *(["numpy", "pyarrow"] if args.output else [])]
        if args.output:
            check_room(saves=True)
        missing = [name for name in wanted if importlib.util.find_spec(name) is None]
        if missing:
            raise UsageError(f"{' and '.join(missing)} can not be imported", f"pip install {' '.join(missing)}")

    def _report(self, args: argparse.Namespace, trace: Trace) -> ForktraceError | None:
        """On stderr. What goes wrong here must not hide how the program ended."""
        if args.quiet or sys.stderr is None:
            return None
        from tracer.reports.console.report import Console

        try:
            Console.from_args(args, stderr=True).report(trace)
            if trace.broken:
                return BadDataError(f"{trace.damage}", "the report is of what could be read")
        except ForktraceError as e:
            return e
        except (MemoryError, OSError, RuntimeError, ImportError) as e:
            failed = explain(e)
            if failed is None:
                raise
            return failed
        except KeyboardInterrupt:
            write(sys.stderr, "\n")  # it has seen enough
        return None

    def _plan(self, args: argparse.Namespace) -> Plan:
        chosen = target_options.selected(args)
        if not args.program and not chosen:
            raise UsageError("nothing to watch", "give a program after `--`, a process with -p, or -a for the host")
        if args.program and chosen:
            raise UsageError("a program excludes -p, -a, groups and filters", "choose one")
        events = {word for words in args.events for word in words.split(",") if word}
        unknown = events - {"fork", "exec", "exit", "cow", "fail", "all"}
        if unknown:
            raise UsageError(f"-e knows no '{sorted(unknown)[0]}'", "fail is what can be added")
        from tracer.backends import Options
        from tracer.backends.cover import named
        from tracer.capture.session import Plan

        return Plan(
            argv=args.program or (),
            pids=chosen.pids,
            backend=args.backend,
            need=named(word for words in args.need for word in words.split(",") if word),
            options=Options(
                cow=args.cow or ("light" if chosen.everyone or chosen.match else "full"),
                cow_stacks=args.cow_stacks,
                argv_max=args.string_size,
                env=tuple(name for name in args.env.split(",") if name),
                reap_exact=args.reap == "exact",
                failures=bool(events & {"fail", "all"}),
                everyone=chosen.everyone,
                match=chosen.match,
                delayacct=args.delayacct,
                buffer_bytes=args.buffer,
                strace_safe=args.strace_safe,
            ),
            wait=not args.no_wait,
            duration=args.duration,
            set_env=args.set_env,
            as_root=args.as_root,
            user=args.user,
        )


COMMAND = Run()
