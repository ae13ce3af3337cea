"""The page of a report in a real browser: readers with a keyboard, a phone, a printer or no network are served."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from support.study import make_study

from analysis.exhibits.table import Column, Table, anchor
from analysis.report.build import report
from analysis.report.page import Left, ListedArm, ListedGroup, ListedRun, Missing, Page, Picture, render
from analysis.report.reproduce import Reproduction, Step

ARMS = ("uniform", "mars tau=0.5", "mars tau=1")
GROUPS = (("planted", "minilm"), ("hh_rlhf", "minilm"))


def _arm(dataset: str, backbone: str, arm: str) -> str:
    return anchor({"dataset": dataset, "backbone": backbone, "arm": arm})


def _table(name: str) -> Table:
    """Accuracies out of order, one tie and one missing; and columns enough to be wider than a phone."""
    rows = [
        {"dataset": d, "backbone": b, "arm": arm, "accuracy": accuracy, "p": p, **dict.fromkeys("abcdefgh", 1234.5)}
        for d, b in GROUPS
        for arm, accuracy, p in zip(ARMS, (0.61, 0.705, 0.6), (0.2, None, 0.2), strict=True)
    ]
    shown = (Column("arm", "Arm"), Column("accuracy", "Accuracy, %", ".1f", 100), Column("p", "p", ".3f"))
    wide = tuple(Column(key, f"Measure {key}", ".1f") for key in "abcdefgh")
    return Table(name, f"Table {name} <&>", "Mean over seeds.", pd.DataFrame(rows), shown + wide)


def _picture(name: str) -> Picture:
    figure = Figure(figsize=(8, 3))
    figure.subplots().plot([0, 1], [0, 1])
    file = io.BytesIO()
    figure.savefig(file, dpi=100)
    return Picture(name, f"Figure {name}", "What it shows.", file.getvalue(), 800, 300)


def _listed(dataset: str, backbone: str) -> ListedGroup:
    arms = []
    for arm in ARMS:
        name = f"{arm.replace(' ', '-')}-{dataset}-s0-00000000"
        files = (("metrics.json", f"../{name}/metrics.json"),)
        run = ListedRun(anchor({"run": name}), name, 0, 0.61, 235.0, "0" * 8, f"../{name}/", files)
        arms.append(ListedArm(_arm(dataset, backbone, arm), arm, (run,)))
    return ListedGroup(f"{dataset} / {backbone}", "test", tuple(arms))


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(
        title="Study <quick>",
        facts=(("Runs", "6"), ("Seeds", "0")),
        verdict=("mars and uniform cannot be told apart: +0.1 points of accuracy [−1.0, +1.2], p .86.",),
        warnings=("one seed only",),
        leaderboard=_table("leaderboard"),
        notes=("settings: mars tau=0.5",),
        tables=(_table("main"), _table("compute")),
        figures=(_picture("accuracy"), _picture("margins")),
        missing=(Missing("sections", "no run was judged on RewardBench"),),
        runs=tuple(_listed(*group) for group in GROUPS),
        left_out=(Left("mars-planted-minilm-s9-00000000", "unfinished"),),
        reproduce=Reproduction((Step("0" * 40, 6, (f"python -m mars.run {'y=1,' * 60}",)),), (), ("dirty",)),
        files={"table-main": (("csv", "tables/main.csv"),), "figure-margins": (("pdf", "figures/margins.pdf"),)},
    )


@pytest.fixture(scope="module")
def file(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "index.html"
    file.write_text(render(page), encoding="utf-8")
    return file


@pytest.fixture
def opened(browser: Any, file: Path) -> Iterator[Any]:
    """The page in a desktop window."""
    with _opened(browser, file) as tab:
        yield tab


@contextmanager
def _opened(browser: Any, file: Path) -> Iterator[Any]:
    """A file in a desktop window; at the end it must have asked for nothing and complained of nothing."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(5000)
    tab = context.new_page()
    troubles: list[str] = []
    tab.on("console", lambda message: troubles.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.on("requestfailed", lambda request: troubles.append(f"failed: {request.url[:80]}"))
    tab.on("request", lambda request: _foreign(request.url, file) and troubles.append(f"asked: {request.url[:80]}"))
    tab.goto(file.as_uri())
    yield tab
    context.close()
    assert troubles == []


def _foreign(url: str, file: Path) -> bool:
    return not url.startswith(("data:", file.as_uri()))


def test_links_within_the_page_lead_somewhere_and_ids_are_unique(page: Page) -> None:
    html = render(page)
    ids = re.findall(r'\sid="([^"]*)"', html)
    assert sorted(ids) == sorted(set(ids))
    links = set(re.findall(r'href="#([^"]*)"', html))
    assert {_arm(*GROUPS[1], "mars tau=1"), "table-main", "figure-margins", "reproduce"} <= links <= set(ids)


def test_text_is_text_and_not_markup(page: Page) -> None:
    html = render(page)
    assert "<h1>Study &lt;quick&gt;</h1>" in html
    assert "Table main &lt;&amp;&gt;" in html
    assert "<quick>" not in html


def test_what_is_empty_has_no_section() -> None:
    html = render(Page(title="Nothing"))
    assert "<h2>Contents</h2>" in html
    assert "<section" not in html
    assert "<table" not in html


def test_nothing_is_asked_for_and_every_image_loads(opened: Any) -> None:
    widths = opened.evaluate("[...document.images].map((image) => image.complete && image.naturalWidth)")
    assert widths == [800, 800]


def _column(tab: Any, column: int) -> list[str]:
    return tab.locator("#table-main table").first.locator(f"tbody tr > :nth-child({column})").all_inner_texts()


def test_sorting_by_number_by_text_and_back(opened: Any) -> None:
    table = opened.locator("#table-main table").first
    assert _column(opened, 2) == ["61.0", "70.5", "60.0"]
    heading = table.locator("th", has_text="Accuracy")
    heading.get_by_role("button").click()
    assert (_column(opened, 2), heading.get_attribute("aria-sort")) == (["60.0", "61.0", "70.5"], "ascending")
    heading.get_by_role("button").click()
    assert (_column(opened, 2), heading.get_attribute("aria-sort")) == (["70.5", "61.0", "60.0"], "descending")
    table.get_by_role("button", name="Arm").click()
    assert _column(opened, 1) == ["mars tau=0.5", "mars tau=1", "uniform"]
    assert heading.get_attribute("aria-sort") is None


def test_sorting_is_stable_and_leaves_what_is_empty_last(opened: Any) -> None:
    by_p = opened.locator("#table-main table").first.get_by_role("button", name="p", exact=True)
    by_p.click()
    assert _column(opened, 1) == ["uniform", "mars tau=1", "mars tau=0.5"]
    by_p.click()
    assert _column(opened, 1) == ["uniform", "mars tau=1", "mars tau=0.5"]


def test_sorting_with_the_keyboard(opened: Any) -> None:
    button = opened.locator("#table-main table").first.get_by_role("button", name="Accuracy")
    button.focus()
    opened.keyboard.press("Enter")
    assert _column(opened, 2) == ["60.0", "61.0", "70.5"]
    opened.keyboard.press("Space")
    assert _column(opened, 2) == ["70.5", "61.0", "60.0"]
    assert button.evaluate("(button) => button === document.activeElement")


def test_one_table_sorts_alone(opened: Any) -> None:
    opened.locator("#table-main table").first.get_by_role("button", name="Accuracy").click()
    other = opened.locator("#table-main table").nth(1)
    assert other.locator("td:nth-child(2)").all_inner_texts() == ["61.0", "70.5", "60.0"]


def test_a_figure_enlarges_and_gives_the_focus_back(opened: Any) -> None:
    small = opened.get_by_role("button", name="Enlarge: Figure margins")
    small.focus()
    opened.keyboard.press("Enter")
    dialog = opened.get_by_role("dialog", name="Figure margins")
    assert dialog.get_by_role("img", name="Figure margins").is_visible()
    opened.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert small.evaluate("(button) => button === document.activeElement")
    small.click()
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()


def test_the_toggle_changes_the_ground_and_not_the_figures(opened: Any) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = opened.evaluate(ground)
    opened.get_by_role("button", name="Dark").click()
    dark = opened.evaluate(ground)
    assert dark != light
    figure = opened.locator("figure img").first
    assert figure.evaluate("(image) => getComputedStyle(image).backgroundColor") == "rgb(255, 255, 255)"
    opened.wait_for_timeout(200)  # the choice is stored by another process of the browser
    opened.reload()
    assert opened.evaluate(ground) == dark
    opened.get_by_role("button", name="Light").click()
    assert opened.evaluate(ground) == light


def test_an_enlarged_figure_is_larger_and_keeps_its_shape_on_a_phone(opened: Any) -> None:
    opened.set_viewport_size({"width": 390, "height": 844})
    small = opened.get_by_role("button", name="Enlarge: Figure margins")
    width = small.bounding_box()["width"]
    small.click()
    box = opened.get_by_role("dialog").get_by_role("img").bounding_box()
    assert box["width"] > 1.5 * width
    assert box["width"] / box["height"] == pytest.approx(800 / 300, rel=0.05)


@pytest.mark.parametrize("width", [320, 390, 768, 1600])
def test_the_page_itself_never_scrolls_sideways(opened: Any, width: int) -> None:
    opened.set_viewport_size({"width": width, "height": 844})
    assert opened.evaluate("document.scrollingElement.scrollWidth") <= width
    scrolls = opened.locator("#table-main .scroll").first
    if width <= 390:
        assert scrolls.evaluate("(box) => box.scrollWidth > box.clientWidth && box.tabIndex === 0")


def _violations(axe: Any, tab: Any) -> list[str]:
    """Of any severity, each with an example."""
    return [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in axe.Axe().run(tab).response["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_violation_of_accessibility(opened: Any, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    opened.emulate_media(color_scheme=scheme)
    assert _violations(axe, opened) == []
    opened.get_by_role("button", name="Enlarge: Figure margins").click()
    assert _violations(axe, opened) == []


def test_paper_shows_no_controls_and_cuts_no_table(opened: Any) -> None:
    opened.emulate_media(media="print", color_scheme="dark")
    opened.set_viewport_size({"width": 680, "height": 900})  # what A4 leaves, in CSS pixels
    for control in ("#theme", "nav", ".skip"):
        assert not opened.locator(control).is_visible()
    arrows = "[...document.querySelectorAll('thead button')].map((b) => getComputedStyle(b, '::after').display)"
    assert set(opened.evaluate(arrows)) == {"none"}
    assert opened.evaluate("document.scrollingElement.scrollWidth") <= 680
    assert opened.evaluate("getComputedStyle(document.body).color") == "rgb(28, 27, 25)"
    link = opened.locator("#runs a").first
    assert link.evaluate("(a) => getComputedStyle(a).color") == "rgb(28, 27, 25)"


def test_a_study_s_own_report_is_as_good(browser: Any, tmp_path: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = report(make_study(tmp_path, seeds=(0, 1), examples=20)) / "index.html"
    with _opened(browser, page) as tab:
        widths = tab.evaluate("[...document.images].map((image) => image.naturalWidth)")
        assert len(widths) > 3
        assert min(widths) > 300
        for scheme, width in (("light", 1280), ("dark", 390)):
            tab.set_viewport_size({"width": width, "height": 844})
            tab.emulate_media(color_scheme=scheme)
            assert tab.evaluate("document.scrollingElement.scrollWidth") <= width
            assert _violations(axe, tab) == []


def test_without_a_script_everything_can_be_read(browser: Any, file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(file.as_uri())
    assert tab.locator("#table-main td").first.is_visible()
    assert tab.locator("figure img").first.is_visible()
    assert not tab.locator("button").first.is_visible()
    context.close()


def test_the_same_page_is_the_same_text(page: Page) -> None:
    assert render(page) == render(replace(page))
