"""python -m tests.vm guest|kernels|matrix ...: what ./run does with these words."""

from __future__ import annotations

import sys
from typing import Final

from tests.vm import matrix, single, submission

COMMANDS: Final = {"guest": single.main, "kernels": submission.main, "matrix": matrix.main}


if __name__ == "__main__":
    sys.exit(COMMANDS[sys.argv[1]](sys.argv[2:]))
