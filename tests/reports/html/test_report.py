"""The page: as its tags and its text, and in a real browser, clicked and keyed through. One browser for all of it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from tests import build, hostile
from tests.build import after, end, exec_, exit_, faults, fork, reap, root, zombie
from tests.conftest import need
from tests.exporting import Golden, exported, of
from tests.reports.console.test_report import pipeline
from tests.strategies import History, histories
from tracer.api.capture import open_trace
from tracer.api.trace import Trace
from tracer.importers import open_log
from tracer.reports import Options, by_name
from tracer.reports.html.data import ROWS_MOST

ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Tags(HTMLParser):
    """The tags of a page, the text of its scripts, and all other text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._in = ""
        self.feed(page.decode("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in == "script":
            self.scripts[-1] += data
        elif self._in != "style":
            self.text += data


def build_of(n: int) -> Trace:
    """A build: two compilers at a time, each seventh fails; and a child that is waited for late."""
    steps = [root(1, "make", "-j2"), fork(1, 2, fork_ns=900_000), exit_(2), zombie(2), faults(2, cow_copies=23)]
    for i in range(n):
        cc, cc1 = 10 + 2 * i, 11 + 2 * i
        steps += [
            fork(1, cc, fork_ns=80_000),
            exec_(cc, "cc", "-c", f"f{i}.c"),
            fork(cc, cc1),
            exec_(cc1, "cc1", f"f{i}.c"),
            exit_(cc1, int(i % 7 == 0)),
            exit_(cc, int(i % 7 == 0)),
            faults(cc, cow_copies=3),
            reap(cc, 1),
        ]
    return build.trace(*steps, after(50), reap(2, 1, zombie_ms=40), exit_(1), end())


# -- without a browser ------------------------------------------------------------------------------------------


def test_golden(golden: Golden) -> None:
    read = Tags(exported("html", build.trace(*pipeline())))

    golden("export-html-pipeline", "\n".join(line for line in read.text.split("\n") if line.strip()) + "\n")
    golden("export-html-pipeline-data", json.dumps(json.loads(read.scripts[0]), indent=1) + "\n")


@settings(max_examples=40)
@given(histories())
def test_any_tree(history: History) -> None:
    trace = of(history)
    data = json.loads(Tags(exported("html", trace)).scripts[0])

    assert len(data["pid"]) == data["total"] == len(trace.tree)
    assert all(-1 <= parent < i for i, parent in enumerate(data["parent"]))
    columns = {k: v for k, v in data.items() if isinstance(v, list) and k not in ("words", "hows")}
    assert {len(v) for v in columns.values()} == {len(trace.tree)}
    assert all(0 <= at <= data["span"] for name in ("born", "end") for at in data.get(name, ()) if at is not None)


def test_no_name_becomes_a_tag_or_leaves_its_script() -> None:
    read = Tags(exported("html", hostile.tree_of_names()))

    assert [attrs.get("type") for tag, attrs in read.tags if tag == "script"] == ["application/json", None]
    assert not [attrs for _, attrs in read.tags if any(key.startswith("on") for key in attrs)]
    assert not {tag for tag, _ in read.tags} & {"img", "iframe", "link", "object", "base", "form", "embed", "svg"}
    assert [v for _, attrs in read.tags for k, v in attrs.items() if k in ("src", "href", "action")] == ["#tree"]
    words = json.loads(read.scripts[0])["words"]
    assert f"'{hostile.NAMES[0]}' '{hostile.NAMES[0]}'" in words
    assert "@DATA@ @DATA@" in words  # no name is a place of ours
    assert "</title><b>" in read.text


def test_nothing_is_loaded_or_run_but_its_own() -> None:
    page = exported("html", hostile.tree_of_names())
    policies = [attrs["content"] for tag, attrs in Tags(page).tags if attrs.get("http-equiv")]

    assert len(policies) == 1
    said = dict(part.split(maxsplit=1) for part in str(policies[0]).split("; "))
    assert said.keys() == {"default-src", "script-src", "style-src", "base-uri", "form-action"}
    assert [said[each] for each in ("default-src", "base-uri", "form-action")] == ["'none'"] * 3
    assert said["script-src"].startswith("'sha256-")
    assert said["style-src"].startswith("'sha256-")
    assert b"http://" not in page
    assert b"https://" not in page
    assert b"innerHTML" not in page


def test_what_is_too_much_is_counted_and_curves_are_of_all() -> None:
    n = ROWS_MOST + 1000
    read = Tags(exported("html", hostile.fan(n - 1)))
    data = json.loads(read.scripts[0])

    assert len(data["pid"]) == ROWS_MOST
    assert data["total"] == n
    assert f"the first 50,000 of {n:,} processes" in read.text
    assert sum(data["curve"]["forks"]) == n - 1
    assert max(data["curve"]["alive"]) == n
    assert "curve" not in json.loads(Tags(exported("html", hostile.fan(5))).scripts[0])


def test_no_time_went_into_page_tables_where_no_fork_copied_any() -> None:
    spawned = build.trace(root(1, "x"), build.spawn(1, 2), exit_(2), exit_(1), end())
    unseen = build.trace(root(1, "x"), build.spawn(1, 2), exit_(2), exit_(1), end(), facts=frozenset())

    assert "copying page tables0 ns" in Tags(exported("html", spawned)).text
    assert "copying page tables-" in Tags(exported("html", unseen)).text


def test_the_readme_shows_the_page_as_it_is() -> None:
    root_ = Path(__file__).parents[3]
    shown = (root_ / "README.md").read_text().split("<!-- page -->")[1].split("<!-- /page -->")[0]
    head, figures, findings = shown.strip("\n").split("\n\n")
    trace = open_trace(str(root_ / "samples" / "recordings" / "zombies.ftrace"))
    text = " ".join(Tags(exported("html", trace)).text.split())

    pairs = [cell.strip() for line in figures.splitlines() for cell in re.split(r" {2,}", line.strip())]
    assert len(pairs) == 2 * 15
    for label, value in zip(pairs[::2], pairs[1::2], strict=True):
        assert f"{label}{value}" in text
    assert " ".join(head.split()) in text
    said = " ".join(findings.split()).removeprefix("Findings ")
    assert said in " ".join(text.replace("SIGCHLDwait", "SIGCHLD wait").split())


# -- in a browser -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    need("chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        running = p.chromium.launch(executable_path=shutil.which("chromium"), args=ARGS)
        yield running
        running.close()


class Shown:
    """A page that is open, and what it said and asked for."""

    def __init__(self, browser: Any, path: Path, trace: Trace, **how: Any) -> None:
        with path.open("wb") as file:
            by_name("html").write(trace, file, Options())
        self.context = browser.new_context(**how)
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        self.page.on("request", lambda request: self.wrong.append(request.url))
        self.page.goto(path.as_uri())
        self.wrong.remove(path.as_uri())
        self.drawn()

    def drawn(self) -> None:
        """What was asked for is on the screen: the page draws once a frame."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def rows(self) -> list[str]:
        """Texts of the rows in the document, from above."""
        self.drawn()
        found = self.page.evaluate(
            """() => [...document.querySelectorAll('#tree .row:not([hidden])')]
                .map(row => [row.offsetTop, row.innerText.replace(/\\s+/g, ' ').trim()])"""
        )
        return [text for _, text in sorted(found)]

    def key(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
        self.drawn()

    def text(self, where: str) -> str:
        return str(self.page.locator(where).inner_text())


def test_the_tree_is_searched_and_walked(browser: Any, tmp_path: Path) -> None:
    shown = Shown(browser, tmp_path / "a.html", build_of(150), viewport={"width": 1300, "height": 900})
    page = shown.page

    assert page.title() == "make"
    assert shown.rows()[0] == "1 root 1.26 s - ▾make -j2"
    assert len(shown.rows()) < 60  # only what is in sight

    page.fill("#search", "f42.c")
    assert shown.text("#found") == "2 processes"
    assert [row.split()[-1] for row in shown.rows()] == ["-j2", "f42.c", "f42.c"]
    shown.key("Enter")
    assert "cc1 f42.c" in shown.text("#details")
    page.fill("#search", "exit 1")
    assert shown.text("#found") == "44 processes"
    shown.key("Escape")
    assert shown.text("#found") == ""
    assert page.evaluate("document.activeElement.id") == "tree"

    shown.key("Home", "ArrowLeft")
    assert len(shown.rows()) == 1
    assert page.locator("#row0").get_attribute("aria-expanded") == "false"
    shown.key("ArrowRight", "ArrowDown", "ArrowDown")
    assert "cc -c f0.c" in shown.text("#details")
    assert page.locator("#tree").get_attribute("aria-activedescendant") == "row2"
    assert page.locator("#row2").get_attribute("aria-level") == "2"
    assert page.locator("#row2").get_attribute("aria-posinset") == "2"
    assert page.locator("#row2").get_attribute("aria-setsize") == "151"
    shown.key("End")
    assert "cc -c f149.c" in shown.text("#details")
    shown.key("*", "End")
    assert "cc1 f149.c" in shown.text("#details")
    shown.key("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.click("#collapse")
    assert len(shown.rows()) == 1
    page.click("#expand")
    assert len(shown.rows()) > 10
    assert shown.wrong == []


def test_the_time_line_is_zoomed_and_leads_to_the_tree(browser: Any, tmp_path: Path) -> None:
    shown = Shown(browser, tmp_path / "a.html", build_of(20), viewport={"width": 1300, "height": 900})
    page = shown.page
    whole, canvas = shown.text("#range"), page.locator("#time")
    box = canvas.bounding_box()

    page.focus("#time")
    shown.key("+")
    assert shown.text("#range") != whole
    closer = shown.text("#range")
    shown.key("ArrowRight")
    assert shown.text("#range") != closer
    shown.key("0")
    assert shown.text("#range") == whole
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 60)
    page.mouse.up()
    shown.drawn()
    assert shown.text("#range") != whole
    page.dblclick("#time", position={"x": 50, "y": 60})
    shown.drawn()
    assert shown.text("#range") == whole

    # the first lane of lives is the root's
    lanes = page.evaluate("document.getElementById('time').clientHeight")
    page.click("#time", position={"x": box["width"] / 2, "y": lanes - 6 - 12 * 3 + 4})
    assert "make -j2" in shown.text("#details")
    said = page.locator("#time-text").text_content()
    assert "alive: at most 3" in said
    assert "copied" in said
    assert shown.wrong == []


@pytest.mark.parametrize("width", [360, 800, 1800])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_any_width_in_both_schemes(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    how = {"viewport": {"width": width, "height": 700}, "color_scheme": scheme}
    shown = Shown(browser, tmp_path / "a.html", build_of(30), **how)

    assert shown.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    background = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    assert shown.wrong == []


def test_every_control_has_a_name_and_can_be_reached(browser: Any, tmp_path: Path) -> None:
    shown = Shown(browser, tmp_path / "a.html", build_of(3))
    page = shown.page

    reached = []
    for _ in range(11):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert reached == [
        "skip",
        "zoom-in",
        "zoom-out",
        "earlier",
        "later",
        "whole",
        "time",
        "search",
        "expand",
        "collapse",
        "tree",
    ]
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input, canvas, meter, section, [role=tree], [role=treeitem]')]
            .filter(e => !e.hidden && !(e.ariaLabel || e.innerText.trim() || e.getAttribute('aria-labelledby')))
            .map(e => e.outerHTML)"""
    )
    assert unnamed == []
    assert shown.wrong == []


def test_scrolling_the_tree_does_not_draw_the_time_line_again(browser: Any, tmp_path: Path) -> None:
    shown = Shown(browser, tmp_path / "a.html", build_of(300))

    shown.page.evaluate(
        """() => { window.drawn = 0; const draw = CanvasRenderingContext2D.prototype.fillRect;
            CanvasRenderingContext2D.prototype.fillRect = function (...a) { window.drawn++; draw.apply(this, a); };
            document.getElementById('expand').click(); }"""
    )
    shown.drawn()
    assert shown.page.evaluate("window.drawn") > 300
    shown.page.evaluate("() => { window.drawn = 0; document.getElementById('tree').scrollTop = 2400; }")
    assert "f59.c" in shown.rows()[-1]
    assert shown.page.evaluate("window.drawn") == 0


def test_a_small_tree_takes_no_more_room_than_it_has_rows(browser: Any, tmp_path: Path) -> None:
    heights = [
        Shown(browser, tmp_path / f"{n}.html", build_of(n), viewport={"width": 1300, "height": 900}).page.evaluate(
            "document.getElementById('tree').clientHeight"
        )
        for n in (1, 3, 300)
    ]

    assert heights == [4 * 24, 8 * 24, 540]


def test_who_has_no_time_has_no_place_in_it_and_no_life(browser: Any, tmp_path: Path) -> None:
    """As in a log without times."""
    log = tmp_path / "log"
    log.write_text(
        '10 execve("/bin/sh", ["sh"], 0x7 /* 1 var */) = 0\n10 vfork() = 11\n11 execve("/bin/ls", ["ls"], 0x7) = 0\n'
        "11 +++ exited with 3 +++\n10 +++ exited with 0 +++\n"
    )
    meta, batches = open_log([str(log)])
    made = list(batches)
    shown = Shown(browser, tmp_path / "a.html", Trace(meta, lambda: made))

    assert shown.page.title() == "sh"
    assert shown.rows() == ["10 root - - ▾sh", "11 vfork - - exit 3 ls"]
    assert not shown.page.locator("#time").is_visible()
    assert not shown.page.locator("#h-time").is_visible()
    shown.page.focus("#tree")
    shown.key("End")
    told = shown.text("#details")
    assert "born" not in told
    assert "lived" not in told
    assert shown.wrong == []


def test_a_long_command_of_a_parent_is_seen_to_be_cut(browser: Any, tmp_path: Path) -> None:
    long = "/opt/" + "x" * 70
    shown = Shown(browser, tmp_path / "a.html", build.trace(root(1, long), fork(1, 2), exit_(2), exit_(1), end()))

    shown.page.focus("#tree")
    shown.key("End")

    assert f"fork by 1 /opt/{'x' * 54}…" in shown.text("#details").replace("\n", " ")


def test_hostile_names_do_nothing(browser: Any, tmp_path: Path) -> None:
    shown = Shown(browser, tmp_path / "a.html", hostile.tree_of_names())

    shown.page.focus("#tree")
    for _ in hostile.NAMES:
        shown.page.keyboard.press("ArrowDown")
    assert shown.page.locator("#tree .row").count() > 10
    assert shown.page.locator("#tree script, #tree img, #details script, #details img").count() == 0
    assert shown.wrong == []


@pytest.mark.parametrize(
    ("trace", "last"), [(hostile.fan(20_000), "x 20001"), (hostile.chain(10_000), "c10000")], ids=["wide", "deep"]
)
def test_large_trees_are_drawn_as_small_ones(browser: Any, tmp_path: Path, trace: Trace, last: str) -> None:
    shown = Shown(browser, tmp_path / "a.html", trace)

    shown.page.click("#expand")
    shown.page.focus("#tree")
    shown.key("End")
    assert last in shown.text("#details")
    # Only what is in sight is in the document
    assert 10 < shown.page.locator("#tree .row").count() < 100
    shown.page.fill("#search", last)
    assert shown.text("#found") == "1 process"
    assert shown.wrong == []


@settings(max_examples=10)
@given(histories())
def test_any_tree_is_shown(browser: Any, tmp_path_factory: pytest.TempPathFactory, history: History) -> None:
    trace = of(history)
    shown = Shown(browser, tmp_path_factory.mktemp("page") / "a.html", trace)

    shown.page.click("#expand")
    shown.page.focus("#tree")
    shown.key("End", "ArrowLeft", "+", "0")
    drawn = shown.page.evaluate("document.getElementById('space').style.height")
    assert (drawn == "0px") == (len(trace.tree) == 0)
    assert shown.wrong == []
    shown.context.close()
