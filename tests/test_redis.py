"""A real Redis saves in the background while it is written to: our copies against its own figure."""

from __future__ import annotations

import mmap
import re
import subprocess
import textwrap
from pathlib import Path

import pytest

import tracer
from tests.conftest import need
from tracer.analyses.cow import edges

SCRIPT = """
    redis-server --port 0 --unixsocket {dir}/s --save '' --dir {dir} --enable-debug-command yes \\
        --rdb-key-save-delay 50 >/dev/null 2>&1 &
    server=$!
    cli() {{ redis-cli -s {dir}/s "$@" 2>/dev/null; }}
    until [ "$(cli ping)" = PONG ]; do kill -0 $server || exit 9; sleep 0.02; done
    cli debug populate 20000 key 500 >{dir}/populate
    cli bgsave >{dir}/save
    redis-benchmark -s {dir}/s -q -n 3000 -r 20000 set key:__rand_int__ value >/dev/null 2>&1
    while cli info persistence | grep -q rdb_bgsave_in_progress:1; do sleep 0.05; done
    cli info persistence | grep rdb_last_cow_size >{dir}/cow
    cli shutdown nosave
    wait $server
"""


@pytest.mark.kernel
def test_copies_are_what_redis_says_of_its_save(tmp_path: Path) -> None:
    need("bpf", "redis-server", "redis-cli", "redis-benchmark")
    # A socket's path is short; pytest's folders may not be.
    short = subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip()
    try:
        trace = tracer.run(["sh", "-c", textwrap.dedent(SCRIPT.format(dir=short))])
        said = re.search(r"rdb_last_cow_size:(\d+)", Path(short, "cow").read_text())
    finally:
        subprocess.run(["rm", "-r", short], check=True)

    tree = trace.tree
    saves = [
        e
        for e in edges(tree)
        if e.parent is not None
        and tree.value(e.row, "execs") == 0
        and tree.value(e.parent, "exe") is not None
        and str(tree.value(e.parent, "exe")).endswith("redis-server")
    ]

    assert trace.status is not None
    assert trace.status.exit_code == 0
    assert said is not None
    assert len(saves) == 1
    theirs = int(said[1]) // mmap.PAGESIZE
    save = saves[0]
    assert save.parent_copies is not None
    assert save.child_copies is not None
    assert save.parent_copies > 100, "the writes came too late to meet the save"
    # Theirs is Private_Dirty of both: our copies, and the pages that the child made anew and nobody copied; while
    # a page of the child's that the parent had copied before is nobody's twice.
    assert -8 <= theirs - save.parent_copies - save.child_copies <= 160
