"""The code that copies, on the terminal: what it says, that it fits, that names can do no harm."""

from __future__ import annotations

import pytest

from tests.build import fork, root, stack, trace, tree
from tracer.reports.console.report import Console
from tracer.reports.console.stacks import StackLines
from tracer.reports.terminal import Terminal, cells
from tracer.tree.tree import ProcessTree


def _lines(t: ProcessTree, width: int = 100, *, unicode: bool = True, verbose: int = 0) -> list[str]:
    terminal = Terminal(width=width, color=False, unicode=unicode)
    return ["".join(text for text, _ in spans) for spans in StackLines(t, terminal, verbose=verbose).lines()]


def _server(**fields: object) -> ProcessTree:
    return tree(
        root(1, "gunicorn", "app"),
        fork(1, 2),
        fork(1, 3),
        stack(2, 600, "_Py_DECREF", "list_dealloc", "serve", "main", before_exec=True, **fields),
        stack(3, 600, "_Py_DECREF", "list_dealloc", "serve", "main", before_exec=True, **fields),
        stack(3, 50, "gc_collect_main", before_exec=True, **fields),
        stack(1, 1, "[unknown]", **fields),
    )


def test_the_dearest_code_comes_first() -> None:
    assert _lines(_server()) == [
        "    COPIED  SHARE  BY",
        "  4.69 MiB   96 %  _Py_DECREF ← list_dealloc ← serve ← main, in (gunicorn) ×2",
        "   200 KiB    4 %  gc_collect_main, in (gunicorn)",
        "     4 KiB   <1 %  [unknown], in gunicorn app",
        "",
        "  stacks     at every one of 1,251 copies ·",
        "             4 % without callers, where code keeps no frame pointers · <1 % by unknown code",
    ]


def test_samples_are_said_to_be_samples() -> None:
    assert "  stacks     sampled, 40 samples: figures are estimates ·" in _lines(
        _server(samples=10, evidence="inferred")
    )


def test_the_folder_of_a_program_goes_before_its_name() -> None:
    steps = root(1, "/opt/python/3.12/bin/python3", "server.py"), stack(1, 600, "_PyObject_Realloc", before_exec=False)
    t = tree(*steps)

    assert _lines(t, 100)[1].endswith("_PyObject_Realloc, in /opt/python/3.12/bin/python3 server.py")
    assert _lines(t, 60)[1].endswith("_PyObject_Realloc, in …/python3 server.py")


def test_without_stacks_there_is_nothing() -> None:
    assert _lines(tree(root(1, "x"), fork(1, 2))) == []


def test_what_there_is_no_room_for_is_counted() -> None:
    t = tree(root(1, "x"), *(stack(1, 100 + n, f"f{n}") for n in range(11)))

    assert "  and 3 more places" in _lines(t)
    assert "  and 3 more places" not in _lines(t, verbose=1)


@pytest.mark.parametrize("width", [60, 72, 80, 200])
@pytest.mark.parametrize("unicode", [True, False])
def test_it_fits(width: int, unicode: bool) -> None:
    long = "std::vector<" + "std::pair<int, long>, " * 20 + ">"
    t = tree(
        root(1, "a-command-that-is-long", *["word"] * 30),
        stack(1, 5, long, "caller", long),
        stack(1, 4, "写入", "a", "b"),
        stack(1, 3, *(f"function_number_{n}" for n in range(60))),
    )
    found = _lines(t, width, unicode=unicode)

    assert len(found) >= 5
    assert max(map(cells, found)) <= width
    assert unicode or "".join(found).isascii()


def test_names_can_not_move_the_cursor() -> None:
    t = tree(root(1, "x"), fork(1, 2), stack(2, 5, "a\x1b[31m\n", "b\udcff", before_exec=True))
    found = "\n".join(_lines(t))

    assert "\x1b" not in found
    assert len(_lines(t)) == 4


def test_it_stands_below_the_ledger_in_the_report() -> None:
    terminal = Terminal(width=100, color=False, unicode=True)
    said = trace(root(1, "x"), fork(1, 2), stack(2, 5, "f", "g", before_exec=True))
    lines = ["".join(text for text, _ in spans) for spans in Console(terminal, None).lines(said)]
    at = lines.index("  COPIED  SHARE  BY")

    assert lines[at + 1] == "  20 KiB  100 %  f ← g, in (x)"
    assert lines[at - 1] == ""
    assert not any("SHARE" in line for line in map(str, Console(terminal, None, quiet=1).lines(said)))
