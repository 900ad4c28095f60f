"""The errors a user can meet, and the exit status of each.

    ForktraceError                70   anything below that has no better place
      UsageError                   2   the command line, or an API call, does not make sense
      BadDataError                65   the input is there but is not what it should be
      NoInputError                66   the input is not there, or may not be read
      ProbesRefusedError          70   the kernel, or its lack of a feature, said no
        BackendError              70   no backend is ready for what was asked
      CannotWriteError            73   an output can not be made
      NoPermissionError           77   a privilege is missing
      CannotStartError        126/127   the program could not be started

An error is one sentence with its mend. It is printed in one place, `commands.main`; a traceback is a bug.
Knows nothing of terminals or of where the error came from.
"""

from __future__ import annotations


class ForktraceError(Exception):
    """Something a user can be told in one sentence. `mend` says what to do about it, as a sentence or a command."""

    exit_status = 70

    def __init__(self, message: str, mend: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.message}; {self.mend}" if self.mend else self.message


class UsageError(ForktraceError):
    """The words of the command, or of an API call, do not make sense together."""

    exit_status = 2


class BadDataError(ForktraceError):
    """A file is there, but it is not a trace (or not one of this version, or not a log)."""

    exit_status = 65


class NoInputError(ForktraceError):
    """A file or process that was named does not exist or may not be read."""

    exit_status = 66


class ProbesRefusedError(ForktraceError):
    """The kernel refused a probe, or lacks what the probe needs."""

    exit_status = 70


class BackendError(ProbesRefusedError):
    """No backend on this host covers what was asked."""


class CannotWriteError(ForktraceError):
    """An output could not be made or finished (disk full, no such folder, not permitted)."""

    exit_status = 73


class NoPermissionError(ForktraceError):
    """A privilege is missing."""

    exit_status = 77


class CannotStartError(ForktraceError):
    """The program could not be started: status 127 when it was not found, else 126, as shells do."""

    def __init__(self, message: str, mend: str | None = None, *, not_found: bool) -> None:
        super().__init__(message, mend)
        self.exit_status = 127 if not_found else 126
