"""One HTML file that shows a trace to somebody who has nothing but a browser: no network, light and dark.

Figures, findings, a time line, the tree to search and to fold, what forks cost and when pages were copied. The page
(page/page.html, .css, *.js) is fixed; what a trace says goes in as escaped text or as JSON (html_data.py) that its
script reads and shows as text. A content security policy with the hashes of that one style and script forbids all
else, so a name can neither run code nor load anything. Knows no browser's name.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import IO, TYPE_CHECKING, ClassVar, Final

from tracer.analyses.cow import Edge, Ledger, bytes_of, ledger
from tracer.analyses.findings.advice import advise
from tracer.analyses.summary import Summary, summarize
from tracer.model.meta import Fact
from tracer.model.schema import NULL
from tracer.reports import Options, writing
from tracer.reports.findings import sentences
from tracer.reports.html.data import ROWS_MOST, command, data
from tracer.reports.timeline import Timeline
from tracer.reports.words import UNKNOWN, count, duration, plural, size
from tracer.tree.notebook_tree import plain

if TYPE_CHECKING:
    from tracer.api.trace import Trace
    from tracer.tree.tree import ProcessTree

_LEDGER_ROWS: Final = 20
_SCRIPTS: Final = ("base", "time", "tree", "keys")
_HEADS: Final = ("copied", "child", "parent", "of rss", "fork", "tables", "to exec")


class Html:
    """A page."""

    name: ClassVar = "html"
    suffixes: ClassVar = (".html", ".htm")
    binary: ClassVar = False
    says_source: ClassVar = True

    def write(self, trace: Trace, out: IO[bytes], options: Options) -> None:
        """As the module says."""
        with writing():
            for piece in page(trace):
                out.write(piece.encode("utf-8"))


def page(trace: Trace) -> Iterator[str]:
    """The whole file, in pieces."""
    tree = trace.tree
    line = Timeline(tree)
    summary, book = summarize(tree, line.shape), ledger(tree, _LEDGER_ROWS)
    style, script = _file("page.css"), "'use strict';\n(() => {\n" + "\n".join(map(_script, _SCRIPTS)) + "})();\n"
    fill: dict[str, Callable[[], str]] = {
        "SCRIPT_HASH": lambda: _hash(script),
        "STYLE_HASH": lambda: _hash(style),
        "TITLE": lambda: plain(_title(trace)),
        "SUBTITLE": lambda: plain(_subtitle(trace)),
        "STYLE": lambda: style,
        "SCRIPT": lambda: script,
        "SUMMARY": lambda: "".join(_figures(tree, summary, book)),
        "NOTES": lambda: "".join(f'<p class="note">{plain(note)}</p>' for note in _notes(trace)),
        "FINDINGS": lambda: "".join(_findings(line)),
        "LEDGER": lambda: "".join(_ledger(tree, book)),
        "DECAY": lambda: "".join(_decay(book)),
        "TIMELESS": lambda: "" if any(at != NULL for at in line.begin) else " hidden",  # nothing to be drawn over time
        "VERSION": lambda: plain(trace.meta.version),
        "DATA": lambda: data(line),
    }
    for i, piece in enumerate(re.split(r"@([A-Z_]+)@", _file("page.html"))):
        yield fill[piece]() if i % 2 else piece


def _file(name: str) -> str:
    return resources.files(__package__).joinpath("page", name).read_text("utf-8")


def _script(name: str) -> str:
    return _file(f"{name}.js")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _title(trace: Trace) -> str:
    if trace.meta.command:
        return command(trace.meta.command, None)[:200]
    roots = trace.tree.roots()
    if len(roots) == 1 and trace.tree.value(roots[0], "how") == "root":  # a log's
        return command(trace.tree.value(roots[0], "argv"), trace.tree.value(roots[0], "comm"))[:200]
    return f"forktrace of {trace.meta.host}" if trace.meta.host else "forktrace"


def _subtitle(trace: Trace) -> str:
    meta, tree = trace.meta, trace.tree
    parts = [part for part in (meta.host, meta.kernel and f"Linux {meta.kernel}", f"seen by {meta.source}") if part]
    if meta.wall_offset_ns is not None and tree.first_ns is not None:
        try:
            at = datetime.fromtimestamp((meta.wall_offset_ns + tree.first_ns) / 1e9, UTC)
            parts.append(at.strftime("%Y-%m-%d %H:%M:%S UTC"))
        except (OverflowError, OSError, ValueError):  # a file may claim any year
            pass
    return " · ".join(parts)


def _figures(tree: ProcessTree, summary: Summary, book: Ledger) -> Iterator[str]:
    """Each as a pair of a list; what is bad in its colour."""
    bad = {"failed", "failed forks", "records lost"}
    told: list[tuple[str, str]] = [
        ("processes", count(summary.processes)),
        ("time", duration(summary.span_ns)),
        ("most at once", count(summary.peak_alive)),
        ("most forks in 1 s", count(summary.peak_forks)),
        ("execs", count(summary.execs)),
        ("threads", count(summary.threads)),
        ("failed", count(summary.failed)),
        ("failed execs", count(summary.failed_execs)),
        ("failed forks", count(summary.failed_forks)),
        ("zombies", count(summary.zombies)),
        ("longest a zombie", duration(summary.zombie_max_ns)),
        ("CPU", duration(summary.cpu_ns)),
        ("copied on write", size(book.bytes)),
        ("write-protect faults", count(book.wp_faults)),
        ("copying page tables", duration(_tables_ns(tree, book))),
    ]
    if summary.existing:
        told.insert(1, ("there before", count(summary.existing)))
    if tree.losses:
        told.append(("records lost", count(summary.lost)))
    for label, value in told:
        mark = ' class="bad"' if label in bad and value not in ("0", UNKNOWN) else ""
        yield f"<div{mark}><dt>{plain(label)}</dt><dd>{plain(value)}</dd></div>"


def _tables_ns(tree: ProcessTree, book: Ledger) -> int | None:
    """None was copied where no fork copied any, if forks are timed at all."""
    return 0 if not book.forks and Fact.FORK_COST in tree.meta.facts else book.fork_ns


def _notes(trace: Trace) -> Iterator[str]:
    yield from trace.meta.notes
    if trace.damage is not None:
        yield trace.damage
    if len(trace.tree) > ROWS_MOST:
        yield (
            f"The tree and the bars of lives show the first {count(ROWS_MOST)} of {count(len(trace.tree))} processes;"
            " figures and curves are of all."
        )


def _findings(line: Timeline) -> Iterator[str]:
    """What should be changed; nothing where all is well."""
    found = advise(line.tree, line.shape)
    if not found:
        return
    yield '<section aria-labelledby="h-findings"><h2 id="h-findings">Findings</h2><ul class="findings">'
    for finding in found:
        words = sentences(finding, line.tree)
        mark = ' class="breaks"' if finding.breaks else ""
        yield f"<li{mark}><p>{plain(words.what)}</p><p>{plain(words.change)}</p></li>"
    yield "</ul></section>"


def _ledger(tree: ProcessTree, book: Ledger) -> Iterator[str]:
    """A table of the dearest forks; nothing where there is nothing to say."""
    edges = [edge for edge in book.edges if edge.copies or edge.fork_ns]
    if not edges:
        return
    rows = [_costs(edge) for edge in edges]
    keep = [i for i in range(len(_HEADS)) if any(row[i] != UNKNOWN for row in rows)]
    totals = [
        f"{plural(book.forks, 'fork')} copied an address space",
        *([f"{size(book.bytes)} of pages were copied on write"] if book.copies is not None else []),
        *([f"{size(book.bytes_before_exec)} of it just before an exec, for nothing"] if book.before_exec else []),
        *([f"{duration(book.fork_ns)} went into copying page tables"] if book.fork_ns is not None else []),
    ]
    yield '<section aria-labelledby="h-ledger"><h2 id="h-ledger">What forks cost</h2>'
    yield f'<p class="quiet">{plain(" · ".join(totals))}. The dearest:</p><div class="scroll"><table><thead><tr>'
    yield from (f'<th scope="col">{_HEADS[i]}</th>' for i in keep)
    yield '<th scope="col" class="l">child, by its parent</th></tr></thead><tbody>'
    for edge, row in zip(edges, rows, strict=True):
        who = _who(tree, edge.row) + ("" if edge.parent is None else f", by {_who(tree, edge.parent)}")
        cells = "".join(f"<td>{plain(row[i])}</td>" for i in keep)
        yield f'<tr>{cells}<td class="l" title="{plain(who)}">{plain(who)}</td></tr>'
    yield "</tbody></table></div></section>"


def _costs(edge: Edge) -> Sequence[str]:
    return (
        size(edge.bytes),
        size(edge.child_bytes),
        size(edge.parent_bytes),
        UNKNOWN if edge.share is None else f"{edge.share * 100:.0f} %",
        duration(edge.fork_ns),
        size(edge.pgtables_bytes),
        duration(edge.to_exec_ns),
    )


def _who(tree: ProcessTree, row: int) -> str:
    pid = tree.value(row, "pid")
    return f"{UNKNOWN if pid is None else pid} {command(tree.value(row, 'argv'), tree.value(row, 'comm'))}"


def _decay(book: Ledger) -> Iterator[str]:
    """When copies were made, by time since the fork: a meter a bucket, with its figure beside it as text."""
    titles = (
        ("after the child's birth", book.since_birth),
        ("by parents, after their last fork", book.since_fork),
    )
    pieces = [_histogram(title, counts, book.page) for title, counts in titles if any(n > 0 for n in counts)]
    if pieces:
        yield '<section aria-labelledby="h-decay"><h2 id="h-decay">When pages were copied</h2><div class="pair">'
        yield from pieces
        yield "</div></section>"


def _histogram(title: str, counts: Sequence[int], page: int | None) -> str:
    held = [i for i, n in enumerate(counts) if n > 0]
    return "".join(
        [f'<div><h3>{plain(title)}</h3><div class="hist">', *_bars(counts, held[0], held[-1], page), "</div></div>"]
    )


def _bars(counts: Sequence[int], first: int, last: int, page: int | None) -> Iterable[str]:
    most = max(counts)
    for i in range(first, last + 1):
        label, value = f"up to {duration(1024 << i)}", max(0, counts[i])
        yield f"<span>{label}</span>"
        yield f'<meter min="0" max="{most}" value="{value}" aria-label="{label}"></meter>'
        yield f"<span>{size(bytes_of(value, page))}</span>"
