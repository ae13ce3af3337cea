"""Names that are meant to run in a reader's browser stay text, and the page's policy would stop them all the same."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from support.study import make_study

from analysis.report.build import report
from analysis.report.page import Page, render

HOSTILE = (
    "<script>window.hit=1<\u2215script>",
    "\"><img src=x onerror='window.hit=1'>",
    "<svg onload=window.hit=1>",
    "javascript:window.hit=1",
    "{{ 7*7 }}${7*7}",
    "=cmd|' '!A1",
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a study all of whose names are hostile; the slashes of real tags would end a file's name."""
    place = tmp_path_factory.mktemp("hostile") / HOSTILE[1].replace("/", "∕")
    skills = dict.fromkeys(("uniform", "mars", *HOSTILE), 0.5)
    hostile = {"dataset": "</td><script>window.hit=1</script>", "backbone": "<b onclick=x>b</b>"}
    make_study(place, skills, seeds=(0, 1), manifest=hostile)
    report(place)
    return place / "report" / "index.html"


def test_no_name_becomes_a_tag(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert html.count("<script") == 1
    assert not re.findall(r"<(?:img[^>]*onerror|svg onload|b onclick)", html)
    assert not re.findall(r'href="javascript', html)
    assert "&lt;svg onload" in html
    assert "{{ 7*7 }}" in html


def test_nothing_runs_in_the_browser(browser: Any, page: Path) -> None:
    context = browser.new_context()
    tab = context.new_page()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(page.as_uri())
    assert tab.evaluate("window.hit") is None
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    context.close()


def test_the_policy_of_the_page_stops_what_would_be_put_into_it(browser: Any, tmp_path: Path) -> None:
    html = render(Page(title="x"))
    (own,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in html or f"script-src 'sha256-{digest}'" in html
    file = tmp_path / "index.html"
    file.write_text(html.replace("<body>", "<body><script>window.hit=1</script><img src=data:, onerror=window.hit=1>"))
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(file.as_uri())
    tab.wait_for_timeout(50)
    assert tab.evaluate("window.hit") is None
    context.close()
