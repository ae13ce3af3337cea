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
from analysis.report.page import (
    Fact,
    Forest,
    Glance,
    Left,
    Line,
    ListedArm,
    ListedGroup,
    ListedRun,
    Mark,
    Missing,
    Page,
    Picture,
    render,
)
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
        files = (("log", f"../{name}/run.log"), ("metrics", f"../{name}/metrics.json"))
        run = ListedRun(anchor({"run": name}), name, 0, 0.61, 235.0, "0" * 8, f"../{name}/", files)
        arms.append(ListedArm(_arm(dataset, backbone, arm), arm, (run,)))
    return ListedGroup(f"{dataset} / {backbone}", "test", tuple(arms))


def _glance() -> Glance:
    facts = tuple(Fact(str(i), label, "of what") for i, label in enumerate(("arms", "replicates", "pairs", "minutes")))
    return Glance("On this data MARS is no better and no worse.", "In points.", facts, ("one draw", "few", "third"))


def _forest(lines: int = 3) -> Forest:
    names = ARMS if lines == 3 else tuple(f"data{i} / minilm" for i in range(lines))
    rows = [
        Line("uniform", names[0], "61.0 %", f"#{_arm(*GROUPS[0], 'uniform')}", "reference", "", False, None),
        *(
            Line(name, name, "70.5 %", f"#{_arm(*GROUPS[0], ARMS[1])}", "+9.5", "[+7.0, +12.0]", True, Mark(70, 60, 80))
            for name in names[1:]
        ),
    ]
    ticks = ((10.0, "−10"), (50.0, "0"), (90.0, "+10"))
    return Forest("Accuracy against uniform <b>", "arm", tuple(rows), "1 point", 50.0, (47.5, 52.5), ticks)


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(
        title="Study <quick>",
        arms=ARMS,
        glance=_glance(),
        forest=_forest(),
        facts=(("Runs", "6"), ("Seeds", "0")),
        verdict=("mars and uniform cannot be told apart: +0.1 points of accuracy [−1.0, +1.2], p .86.",),
        leaderboard=_table("leaderboard"),
        notes=("settings: mars tau=0.5",),
        figures=(_picture("accuracy"), _picture("margins")),
        behind={"accuracy": [_table("main")], "margins": []},
        methods=(_table("compute"),),
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
    """A file in a desktop window: nothing has moved; at the end it has asked for nothing and complained of nothing."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(5000)
    tab = context.new_page()
    troubles: list[str] = []
    tab.on("console", lambda message: troubles.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.on("requestfailed", lambda request: troubles.append(f"failed: {request.url[:80]}"))
    tab.on("request", lambda request: _foreign(request.url, file) and troubles.append(f"asked: {request.url[:80]}"))
    tab.goto(file.as_uri())
    assert tab.evaluate(_MOVED) < 1e-3  # of the window; a tenth is called good, and 1e-5 may be rounding
    yield tab
    context.close()
    assert troubles == []


# How far what was there is moved by what comes later, as browsers measure it (cumulative layout shift).
_MOVED = """() => new Promise((told) => {
  const sum = (list) => told(list.getEntries().reduce((all, entry) => all + entry.value, 0));
  new PerformanceObserver(sum).observe({type: "layout-shift", buffered: true});
  setTimeout(() => told(0), 100);
})"""


def _foreign(url: str, file: Path) -> bool:
    return not url.startswith(("data:", file.as_uri()))


def test_links_within_the_page_lead_somewhere_and_ids_are_unique(page: Page) -> None:
    html = render(page)
    ids = re.findall(r'\sid="([^"]*)"', html)
    assert sorted(ids) == sorted(set(ids))
    links = set(re.findall(r'href="#([^"]*)"', html))
    assert {_arm(*GROUPS[1], "mars tau=1"), "figures", "methods", "runs"} <= links <= set(ids)
    assert {"table-main", "table-compute", "figure-margins", "reproduce"} <= set(ids)


def test_text_is_text_and_not_markup(page: Page) -> None:
    html = render(page)
    assert "<h1>Study &lt;quick&gt;</h1>" in html
    assert "Table main &lt;&amp;&gt;" in html
    assert "Accuracy against uniform &lt;b&gt;" in html
    assert "<quick>" not in html


def test_what_is_empty_has_no_section() -> None:
    html = render(Page(title="Nothing"))
    assert "<h1>Nothing</h1>" in html
    assert "<section" not in html
    assert "<table" not in html


def test_nothing_is_asked_for_and_every_image_loads(opened: Any) -> None:
    widths = opened.evaluate("[...document.images].map((image) => image.complete && image.naturalWidth)")
    assert widths == [800, 800]


def _unfold(tab: Any) -> None:
    """Open all that is folded."""
    tab.evaluate("document.querySelectorAll('details').forEach((folded) => (folded.open = true))")


def _column(tab: Any, column: int) -> list[str]:
    return tab.locator("#table-main table").first.locator(f"tbody tr > :nth-child({column})").all_inner_texts()


def test_sorting_by_number_by_text_and_back(opened: Any) -> None:
    _unfold(opened)
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
    _unfold(opened)
    by_p = opened.locator("#table-main table").first.get_by_role("button", name="p", exact=True)
    by_p.click()
    assert _column(opened, 1) == ["uniform", "mars tau=1", "mars tau=0.5"]
    by_p.click()
    assert _column(opened, 1) == ["uniform", "mars tau=1", "mars tau=0.5"]


def test_sorting_with_the_keyboard(opened: Any) -> None:
    _unfold(opened)
    button = opened.locator("#table-main table").first.get_by_role("button", name="Accuracy")
    button.focus()
    opened.keyboard.press("Enter")
    assert _column(opened, 2) == ["60.0", "61.0", "70.5"]
    opened.keyboard.press("Space")
    assert _column(opened, 2) == ["70.5", "61.0", "60.0"]
    assert button.evaluate("(button) => button === document.activeElement")


def test_one_table_sorts_alone(opened: Any) -> None:
    _unfold(opened)
    opened.locator("#table-main table").first.get_by_role("button", name="Accuracy").click()
    other = opened.locator("#table-compute table").first
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
    _unfold(opened)
    assert opened.evaluate("document.scrollingElement.scrollWidth") <= width
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
    _unfold(opened)
    assert _violations(axe, opened) == []
    opened.get_by_role("button", name="Enlarge: Figure margins").click()
    assert _violations(axe, opened) == []


def test_paper_shows_no_controls_and_cuts_no_table(opened: Any) -> None:
    opened.emulate_media(media="print", color_scheme="dark")
    opened.set_viewport_size({"width": 680, "height": 900})  # what A4 leaves, in CSS pixels
    for control in ("#theme", "nav", ".skip", ".choose", "#search"):
        assert not opened.locator(control).is_visible()
    arrows = "[...document.querySelectorAll('thead button')].map((b) => getComputedStyle(b, '::after').display)"
    assert set(opened.evaluate(arrows)) == {"none"}
    assert opened.locator("#table-main td").first.bounding_box()["height"] > 5  # paper does not unfold
    assert opened.locator("#table-main td").first.is_visible()
    assert opened.evaluate("document.scrollingElement.scrollWidth") <= 680
    assert opened.evaluate("getComputedStyle(document.body).color") == "rgb(27, 30, 35)"
    link = opened.locator("#runs a").first
    assert link.evaluate("(a) => getComputedStyle(a).color") == "rgb(27, 30, 35)"


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
        tab.emulate_media(media="print", color_scheme="light")
        tab.set_viewport_size({"width": 680, "height": 900})
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= 680


def test_without_a_script_everything_can_be_read(browser: Any, file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(file.as_uri())
    assert tab.get_by_text("no better and no worse").is_visible()
    assert tab.locator(".forest circle").first.is_visible()
    assert tab.locator("figure img").first.is_visible()
    for control in ("#theme", ".choose", "#search"):
        assert not tab.locator(control).is_visible()
    tab.locator("summary", has_text="Table main").click()
    assert tab.locator("#table-main td").first.is_visible()
    context.close()


def test_the_answer_is_on_the_first_screen(browser: Any, file: Path) -> None:
    context = browser.new_context(viewport={"width": 1024, "height": 768})
    tab = context.new_page()
    tab.goto(file.as_uri())
    for part in (".lead", ".forest", ".facts", "#warnings"):
        box = tab.locator(part).bounding_box()
        assert box["y"] + box["height"] < 768, part
    context.close()


def test_a_number_leads_to_the_log_of_a_run_in_two_clicks(browser: Any, page: Page, tmp_path: Path) -> None:
    page = replace(page, runs=tuple(_listed(*group) for group in GROUPS))
    (tmp_path / "report").mkdir()
    file = tmp_path / "report" / "index.html"
    file.write_text(render(page), encoding="utf-8")
    run = page.runs[0].arms[1].runs[0].name
    (tmp_path / run).mkdir()
    (tmp_path / run / "run.log").write_text("what happened")
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(file.as_uri())
    tab.locator(".forest").get_by_role("link", name="+9.5").first.click()
    tab.locator("tbody:target").get_by_role("link", name="log").click()
    assert "what happened" in tab.locator("body").inner_text()
    context.close()


def test_an_arm_that_is_not_chosen_leaves_plot_tables_and_runs(opened: Any) -> None:
    _unfold(opened)
    chosen = opened.get_by_role("button", name="mars tau=1", exact=True)
    rows = opened.locator('[data-arm="mars tau=1"]')
    assert rows.count() > 5
    chosen.click()
    assert not any(row.is_visible() for row in rows.all())
    assert opened.locator('.forest [data-arm="uniform"]').is_visible()
    chosen.click()
    assert all(row.is_visible() for row in rows.all())


def test_searching_leaves_the_runs_that_have_every_word(opened: Any) -> None:
    opened.get_by_role("searchbox", name="Search runs").fill("MARS hh_rlhf")
    shown = [row.inner_text() for row in opened.locator(".runs tr[id]").all() if row.is_visible()]
    assert len(shown) == 2
    assert all("mars" in text and "hh_rlhf" in text for text in shown)
    assert opened.locator("#found").inner_text() == "2 of 6"
    opened.get_by_role("searchbox").fill("")
    assert all(row.is_visible() for row in opened.locator(".runs tr[id]").all())


def test_more_rows_than_have_names_are_drawn_dense_and_tell_their_numbers(
    browser: Any, page: Page, tmp_path: Path
) -> None:
    file = tmp_path / "index.html"
    file.write_text(render(replace(page, forest=_forest(80))), encoding="utf-8")
    with _opened(browser, file) as tab:
        assert tab.locator(".forest circle").count() == 80
        assert tab.locator(".forest").bounding_box()["height"] < 600
        assert tab.locator(".forest title").nth(7).text_content() == "data7 / minilm: +9.5 [+7.0, +12.0]"


def test_the_same_page_is_the_same_text(page: Page) -> None:
    assert render(page) == render(replace(page))
