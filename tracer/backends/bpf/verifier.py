"""The one line of a verifier log that says why a program was refused.

The log of a refused program is a walk over its instructions, then the error, then a sum ("processed 163 insns ...").
From Linux 7.3 on prose follows the error: what the verifier means, source lines, a suggestion.
"""

from __future__ import annotations

import re
from typing import Final

# Where the walk and the error have ended.
_END: Final = re.compile(r"processed \d+ insns |verification time \d+ usec|Verification failed: ")
# The walk: instructions, register states, source lines, branches, bookkeeping of precision.
_WALK: Final = re.compile(
    r"\d+: |; |from \d+ to \d+|\d+ to \d+|func#\d+ @|mark_precise|last_idx|regs=|parent (state|already)|Live regs|"
    r"propagating|caller:|callee:|returning from callee|Validating |Func#\d+|stack depth |libbpf: |-- BEGIN |"
    r"(reg type unsupported for )?arg#\d+ |\s"
)
_ERROR: Final = re.compile(
    r"R\d+ |invalid|not a struct|Unreleased|unbounded|unknown func|not allowed|cannot|must be|expected|"
    r"too (large|complex)|prohibited|unsupported|doesn't have|misaligned|leads to|unreachable"
)


def reason(log: str) -> str:
    """The error of a verifier log; "" if it holds none."""
    lines: list[str] = []
    for line in log.splitlines():
        if _END.match(line):
            break
        if line and not _WALK.match(line):
            lines.append(line.rstrip())
    errors = [line for line in lines if _ERROR.search(line)]
    if len(errors) > 1 and errors[-1].startswith("invalid bpf_context access") and errors[-2].startswith("func '"):
        return errors[-2]  # an argument that this kernel does not pass, or does not type
    return (errors or lines or [""])[-1]
