"""The page in a real browser: looked at, clicked through, keyed through. One browser for all of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import hostile
from tests.conftest import need
from tests.fleet.traces import rows
from tracer.events import Batch, Fact, Meta
from tracer.reports import Options, by_name
from tracer.trace import Trace

ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
LIVES = [
    {"born": i / 100, "lasts": 0.005, "argv": ["/usr/bin/cc1", f"f{i}.c"], "code": i % 7 == 0, "copies": 3}
    for i in range(300)
]


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

    def rows(self) -> list[str]:
        """Texts of the rows in sight, from above."""
        found = self.page.locator("#tree .row:visible").all()
        return [row.inner_text() for row in sorted(found, key=lambda row: row.bounding_box()["y"])]

    def text(self, where: str) -> str:
        return str(self.page.locator(where).inner_text())


def build() -> Trace:
    meta = Meta("bpf", frozenset(Fact), 1_767_268_800 * 10**9, host="web1", command=("make",), version="1")
    return Trace(meta, lambda: [Batch.from_rows(rows(LIVES))])


def test_clicked_and_keyed_through(browser: Any, tmp_path: Path) -> None:
    shown = Shown(browser, tmp_path / "a.html", build(), viewport={"width": 1300, "height": 900})
    page = shown.page

    assert page.title() == "forktrace: make"
    assert "301" in shown.text("#summary") or "300" in shown.text("#summary")
    assert "sh" in shown.rows()[0]

    page.fill("#search", "f42.c")
    assert shown.text("#found") == "1 process"
    assert any("f42.c" in row for row in shown.rows())
    assert len(shown.rows()) == 2
    page.fill("#search", "exit 1")
    assert shown.text("#found") == "43 processes"
    page.keyboard.press("Escape")
    assert shown.text("#found") == ""

    page.focus("#tree")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    assert len(shown.rows()) == 1
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert "f0.c" in shown.text("#details")
    page.keyboard.press("End")
    assert "f299.c" in shown.text("#details")
    assert page.locator("#tree").get_attribute("aria-activedescendant") == "p300"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"

    before = shown.text("#range")
    page.focus("#tree")
    page.keyboard.press("+")
    page.wait_for_function("text => document.getElementById('range').innerText !== text", arg=before)
    page.keyboard.press("0")
    page.wait_for_function("text => document.getElementById('range').innerText === text", arg=before)
    page.click("#collapse")
    assert len(shown.rows()) == 1
    page.click("#expand")
    assert len(shown.rows()) > 20
    assert page.locator("table tbody tr").count() == 20
    assert shown.wrong == []


@pytest.mark.parametrize("width", [360, 800, 1800])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_any_width_in_both_schemes(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    how = {"viewport": {"width": width, "height": 700}, "color_scheme": scheme}
    shown = Shown(browser, tmp_path / "a.html", build(), **how)

    assert shown.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    background = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    assert shown.wrong == []


def test_hostile_names_do_nothing(browser: Any, tmp_path: Path) -> None:
    shown = Shown(browser, tmp_path / "a.html", hostile.tree_of_names())

    assert shown.page.locator("#tree .row").count() > 10
    assert shown.page.locator("#tree script, #tree img").count() == 0
    assert shown.wrong == []


def test_twenty_thousand_processes_stay_smooth(browser: Any, tmp_path: Path) -> None:
    shown = Shown(browser, tmp_path / "a.html", hostile.fan(20_000))
    page = shown.page

    page.focus("#tree")
    page.keyboard.press("End")
    assert "x 20001" in shown.text("#details")
    # Only what is in sight is in the document
    assert page.locator("#tree .row").count() < 100
    slowest = page.evaluate(
        """async () => {
            const tree = document.getElementById('tree'); let last = performance.now(), most = 0;
            for (let i = 0; i < 30; i++) {
                tree.scrollTop = i * 16000;
                await new Promise(done => requestAnimationFrame(done));
                const now = performance.now(); most = Math.max(most, now - last); last = now;
            }
            return most;
        }"""
    )
    assert slowest < 2000  # on the busiest machine: a page that draws all its rows takes longer
    assert shown.wrong == []
