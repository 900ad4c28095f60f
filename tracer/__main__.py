"""`python -m tracer` is `forktrace`."""

from tracer.commands import program

program()
