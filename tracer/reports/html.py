"""One HTML file that shows a trace to somebody who has nothing but a browser: no network, light and dark.

Summary, findings, births and lives over time, a tree to search and to fold, the ledger, when copies were made. The page
(page/page.html, .css, .js) is fixed; what a trace says goes in as escaped text or as JSON that its script reads and
shows as text. A content security policy with the hashes of that one style and script forbids everything else, so a
name can neither run code nor load anything.

Columns, not objects: 20,000 processes are 1.5 MB. Beyond ROWS_MOST the first are shown, and the page says so. Knows no
browser's name.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import IO, TYPE_CHECKING, Any, ClassVar, Final

from tracer.analyses.advice import advise
from tracer.analyses.cow import PAGE, Ledger, ledger
from tracer.analyses.summary import Summary, summarize
from tracer.events import NULL
from tracer.outline import plain
from tracer.reports import Options, writing
from tracer.reports.findings import sentences
from tracer.reports.words import UNKNOWN, count, duration, plural, size

if TYPE_CHECKING:
    from tracer.trace import Trace
    from tracer.tree import ProcessTree

ROWS_MOST: Final = 50_000
_LEDGER_ROWS: Final = 20
_LABEL_MOST: Final = 400  # characters of a command
_ODD: Final = re.compile("[\ud800-\udfff\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Html:
    """A page."""

    name: ClassVar = "html"
    suffixes: ClassVar = (".html", ".htm")
    binary: ClassVar = False

    def write(self, trace: Trace, out: IO[bytes], options: Options) -> None:
        """As the module says."""
        with writing():
            for piece in page(trace):
                out.write(piece.encode("utf-8"))


def page(trace: Trace) -> Iterable[str]:
    """The whole file, in pieces."""
    tree = trace.tree
    files = {
        kind: resources.files(__package__).joinpath(f"page/page.{kind}").read_text("utf-8")
        for kind in ("html", "css", "js")
    }
    summary, book = summarize(tree), ledger(tree, _LEDGER_ROWS)
    fill: dict[str, Callable[[], str]] = {
        "SCRIPT_HASH": lambda: _hash(files["js"]),
        "STYLE_HASH": lambda: _hash(files["css"]),
        "TITLE": lambda: plain(_title(trace)),
        "SUBTITLE": lambda: plain(_subtitle(trace)),
        "STYLE": lambda: files["css"],
        "SCRIPT": lambda: files["js"],
        "SUMMARY": lambda: "".join(
            f"<div><dt>{plain(k)}</dt><dd>{plain(v)}</dd></div>" for k, v in _cards(tree, summary, book)
        ),
        "NOTES": lambda: "".join(f'<p class="note">{plain(note)}</p>' for note in _notes(trace)),
        "FINDINGS": lambda: _findings(tree),
        "LEDGER": lambda: _ledger(tree, book),
        "DECAY": lambda: _decay(book),
        "VERSION": lambda: plain(trace.meta.version or UNKNOWN),
        "DATA": lambda: data(tree),
    }
    for i, piece in enumerate(re.split(r"@([A-Z_]+)@", files["html"])):
        yield fill[piece]() if i % 2 else piece


def data(tree: ProcessTree) -> str:
    """The processes as JSON that may stand in a <script>: columns, times in microseconds from the first birth."""
    n = min(len(tree), ROWS_MOST)
    words: dict[str, int] = {}

    def word(text: str | None) -> int | None:
        return None if text is None else words.setdefault(_ODD.sub(_number, text), len(words))

    def column(name: str) -> list[Any]:
        values = tree.column(name)[:n]
        return list(values) if isinstance(values, list) else [None if v == NULL else v for v in values]

    born, ended = column("born_ns"), column("exit_ns")
    how = column("how")
    begin = tree.first_ns
    if begin is None:
        begin = min((b for b in born if b is not None), default=0)
    last = max((t for t in (*born, *ended) if t is not None), default=begin)

    def since(at: int | None) -> float | None:
        return None if at is None else max(0, at - begin) / 1000

    hows = sorted({h or UNKNOWN for h in how})
    argvs, comms = column("argv"), column("comm")
    known: dict[Any, int | None] = {}
    labels = []
    for argv, comm in zip(argvs, comms, strict=True):
        key = comm if argv is None else tuple(argv)
        if key not in known:
            text = f"({comm if comm is not None else '?'})" if argv is None else " ".join(argv)
            known[key] = word(text if len(text) <= _LABEL_MOST else text[:_LABEL_MOST] + "…")
        labels.append(known[key])
    cpu = [
        None if u is None or s is None else (u + s) / 1000
        for u, s in zip(column("cpu_user_ns"), column("cpu_system_ns"), strict=True)
    ]
    made = {
        "span": max(1.0, (last - begin) / 1000),
        "hows": hows,
        "pid": column("pid"),
        "parent": [-1 if p is None else p for p in column("parent_id")],
        "how": [hows.index(h or UNKNOWN) for h in how],
        "fresh": [int(h not in (None, "root", "existing")) for h in how],
        "label": labels,
        "born": [since(b) or 0 for b in born],
        "end": [since(e) for e in ended],
        "code": column("exit_code"),
        "signal": [word(s) for s in column("signal")],
        "copies": column("cow_copies"),
        "fork": [None if v is None else v / 1000 for v in column("fork_ns")],
        "cpu": cpu,
        "zombie": [None if v is None else v / 1000 for v in column("zombie_ns")],
        "where": [word(c) for c in column("cgroup")],
    }
    made["words"] = list(words)
    # No "<" at all: neither `</script` nor `<!--` can end or change what the data stand in
    return json.dumps(made, separators=(",", ":"), ensure_ascii=True).replace("<", "\\u003c").replace(">", "\\u003e")


def _number(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _title(trace: Trace) -> str:
    words = " ".join(trace.meta.command)
    return f"forktrace: {words[:200]}" if words else "forktrace"


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


def _cards(tree: ProcessTree, summary: Summary, book: Ledger) -> Iterable[tuple[str, str]]:
    """Label and figure of each."""
    yield "processes", count(summary.processes)
    yield "time", duration(summary.span_ns)
    yield "at most at once", count(summary.peak_alive)
    yield "most births in a second", count(summary.peak_forks)
    yield "execs", count(summary.execs)
    yield "threads", count(summary.threads)
    yield "ended badly", count(summary.failed)
    yield "failed forks", count(summary.failed_forks)
    yield "zombies", count(summary.zombies)
    yield "longest zombie", duration(summary.zombie_max_ns)
    yield "copied", size(None if book.copies is None else book.copies * PAGE)
    yield "write-protect faults", count(book.wp_faults)
    yield "page-table copies", duration(book.fork_ns)
    lost = sum(loss.count or 0 for loss in tree.losses)
    if lost:
        yield "records lost", count(lost)


def _notes(trace: Trace) -> Iterable[str]:
    yield from trace.meta.notes
    if trace.damage is not None:
        yield trace.damage
    if len(trace.tree) > ROWS_MOST:
        yield f"The tree shows the first {count(ROWS_MOST)} of {count(len(trace.tree))} processes; figures are of all."


def _findings(tree: ProcessTree) -> str:
    found = [sentences(finding, tree) for finding in advise(tree)]
    if not found:
        return ""
    items = "".join(f"<li>{plain(words.what)}. <em>{plain(words.change)}</em></li>" for words in found)
    return f'<section aria-labelledby="h-findings"><h2 id="h-findings">Findings</h2><ul>{items}</ul></section>'


def _ledger(tree: ProcessTree, book: Ledger) -> str:
    """A table of the dearest forks; nothing where there is nothing to say."""
    rows = [edge for edge in book.edges if edge.copies or edge.fork_ns]
    if not rows:
        return ""
    heads = ("pid", "page tables", "child copied", "parent copied", "of the parent", "to exec")
    out = [
        '<section aria-labelledby="h-ledger"><h2 id="h-ledger">What forks cost</h2>',
        f'<p class="quiet">{plural(book.forks, "fork")} copied an address space; the dearest {len(rows)}.</p>',
        '<div class="scroll"><table><thead><tr>',
        *(f'<th scope="col">{head}</th>' for head in heads),
        '<th scope="col" class="l">command</th></tr></thead><tbody>',
    ]
    for edge in rows:
        argv, comm = tree.value(edge.row, "argv"), tree.value(edge.row, "comm")
        words = " ".join(argv)[:_LABEL_MOST] if argv else f"({comm or '?'})"
        cells = (
            str(tree.value(edge.row, "pid")), duration(edge.fork_ns),
            _pages(edge.child_copies), _pages(edge.parent_copies),
            UNKNOWN if edge.share is None else f"{edge.share:.0%}", duration(edge.to_exec_ns),
        )  # fmt: skip
        out += ["<tr>", *(f"<td>{plain(c)}</td>" for c in cells), f'<td class="l">{plain(words)}</td></tr>']
    return "".join([*out, "</tbody></table></div></section>"])


def _pages(pages: int | None) -> str:
    return size(None if pages is None else pages * PAGE)


def _decay(book: Ledger) -> str:
    """When copies were made, by time since the fork: a meter a bucket, with its figure beside it as text."""
    pieces: list[str] = []
    for title, counts in (
        ("since the child was born", book.since_birth),
        ("by parents, since their last fork", book.since_fork),
    ):
        pieces += _histogram(title, counts)
    if not pieces:
        return ""
    head = '<section aria-labelledby="h-decay"><h2 id="h-decay">When copies were made</h2>'
    return "".join([head, *pieces, "</section>"])


def _histogram(title: str, counts: Sequence[int]) -> Iterable[str]:
    held = [i for i, n in enumerate(counts) if n > 0]
    if not held:
        return
    most = max(counts)
    yield f'<h3 class="quiet">{html.escape(title)}</h3><div class="hist">'
    for i in range(held[0], held[-1] + 1):
        label = f"up to {duration(1024 << i)}"
        value = max(0, counts[i])
        yield f'<span>{label}</span><meter min="0" max="{most}" value="{value}" aria-label="{label}"></meter>'
        yield f"<span>{_pages(value)}</span>"
    yield "</div>"
