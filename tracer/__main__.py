"""`python -m tracer` is `forktrace`."""

import sys

from tracer.commands import main

sys.exit(main())
