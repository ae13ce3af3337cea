"""The report of a study, end to end: what is there, what is said to be missing, and what is left alone."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from support.reports import figures
from support.study import make_run, make_study

from analysis.exhibits import FIGURES, TABLES
from analysis.report.build import report, run
from mars.config import UserError


class _Reader(HTMLParser):
    """ids, links and the reasons of what is not shown."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.terms: list[str] = []
        self._tag = ""
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {key: value or "" for key, value in attrs}
        self.ids += [named["id"]] if "id" in named else []
        self.links += [named["href"]] if tag == "a" else []
        self._tag = tag

    def handle_data(self, data: str) -> None:
        if self._tag == "dt" and data.strip():
            self.terms.append(data.strip())


def check_links(page: _Reader, directory: Path) -> list[str]:
    """Every link leads to one place of the page, or to a file in `directory` or beside it; returns these files."""
    assert sorted(page.ids) == sorted(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    files = [unquote(link) for link in page.links if not link.startswith("#")]
    assert [file for file in files if not (directory / file).exists()] == []
    return files


def _digests(directory: Path) -> dict[str, str]:
    files = sorted(file for file in directory.rglob("*") if file.is_file())
    return {str(file.relative_to(directory)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("studies") / "quick", seeds=(0, 1, 2), examples=40)


@pytest.fixture(scope="module")
def first(study: Path) -> dict[str, str]:
    """The first report of `study`, as digests by file."""
    return _digests(report(study))


def test_every_table_and_figure_is_there_or_said_to_be_missing(study: Path, first: dict[str, str]) -> None:
    assert {"index.html", "leaderboard.csv", "leaderboard.md", "verdict.md", "results.parquet"} <= set(first)
    page = _Reader(study / "report" / "index.html")
    for kind, names, forms in (("tables", TABLES, ("csv", "md", "tex")), ("figures", FIGURES, ("png", "pdf", "csv"))):
        for name in names:
            written = [f"{kind}/{name}.{form}" in first for form in forms]
            assert all(written) or (not any(written) and (name in page.terms or name == "left_out")), name
    assert {"tables/main.csv", "figures/accuracy.png", "figures/margins.pdf"} <= set(first)
    check_links(page, study / "report")


def test_a_study_that_was_moved_has_the_same_report_in_the_place_of_an_older_one(
    study: Path, first: dict[str, str], tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere" / study.name
    shutil.copytree(study, moved, ignore=shutil.ignore_patterns("report"))
    own = {"notes.txt", "tables/own/draft.tex", "figures/mine.png", "leaderboard.html"}
    for name in {"figures/tau_sweep.png", "tables/rewardbench.csv", *own}:
        (moved / "report" / name).parent.mkdir(parents=True, exist_ok=True)
        (moved / "report" / name).write_text("older")
    digests = _digests(report(moved))
    assert {name: digest for name, digest in digests.items() if name not in own} == first
    assert own <= set(digests)
    assert [path for path in moved.iterdir() if path.name.startswith(".")] == []


def test_results_hold_what_the_runs_measured(study: Path, first: dict[str, str]) -> None:
    results = pd.read_parquet(study / "report" / "results.parquet")
    measured = json.loads(next(study.glob("eda-*-s1-*/metrics.json")).read_text())["in_distribution"]["test"]
    of_run = results[(results["arm"] == "eda") & (results["seed"] == 1) & (results["split"] == "test")]
    assert dict(zip(of_run["metric"], of_run["value"], strict=True)) == pytest.approx(measured)


def test_two_studies_of_two_groups_make_one_report_in_which_every_link_leads_somewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studies = [str(tmp_path / "one"), str(tmp_path / "two")]
    for study, dataset in zip(studies, ("planted", "hh_rlhf"), strict=True):
        for seed in (0, 1):
            fewer = {"steps": 20} if dataset == "hh_rlhf" else {}
            make_run(Path(study), "uniform", seed, 0.6, dataset=dataset, examples=30, manifest=fewer)
            for tau in (0.5, 2):
                make_run(Path(study), "mars", seed, tau, dataset=dataset, examples=30, settings={"tau": tau})
    make_run(tmp_path / "two", "mars", 9, 0.5, done=False)
    out = tmp_path / "reports" / "both"
    arms = {"reference": "mars tau=2", "focus": "mars tau=0.5"}
    with figures("accuracy", "comparisons", "margins", "rounds"):
        run({"study": studies, "out": str(out), "allow_confounded": True, **arms})

    page = _Reader(out / "index.html")
    files = check_links(page, out)
    assert {"#arm-hh_rlhf-minilm-mars-tau_0.5", "#arm-planted-minilm-mars-tau_2"} <= set(page.links)
    assert sum(file.endswith("metrics.json") for file in files) == 12
    assert any(term.startswith("mars-planted-minilm-s9-") for term in page.terms)

    assert set(pd.read_parquet(out / "results.parquet")["dataset"]) == {"planted", "hh_rlhf"}
    assert list(pd.read_csv(out / "tables" / "left_out.csv")["reason"]) == ["unfinished"]

    printed = capsys.readouterr().out
    assert "difference to mars tau=2 in points" in " ".join(printed.split())
    verdict = (out / "verdict.md").read_text(encoding="utf-8").partition("## Warnings")[0].strip()
    sentences = [line for line in verdict.splitlines() if " / minilm: " in line and "mars tau=2" in line]
    assert [sentence.partition(": ")[0] for sentence in sentences] == ["- hh_rlhf / minilm", "- planted / minilm"]
    assert all("mars tau=0.5" in sentence for sentence in sentences)
    assert "In all 2 comparisons MARS (tau=0.5) " in printed
    assert printed.splitlines()[-1] == str(out / "index.html")


def test_confounded_arms_are_not_in_the_results(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_study(tmp_path, {"uniform": 0.5, "mars": 0.9}, seeds=(0, 1), examples=20)
    make_study(tmp_path, {"uniform": 0.5}, seeds=(0, 1), dataset="hh_rlhf", examples=20)
    make_study(tmp_path, {"mars": 0.9}, (0, 1), dataset="hh_rlhf", examples=20, manifest={"steps": 80})
    with figures():
        directory = report(tmp_path)
    assert caplog.messages == [
        "hh_rlhf / minilm: not ranked: arms differ in optimiser steps; allow_confounded=true ranks them anyway"
    ]
    assert set(pd.read_parquet(directory / "results.parquet")["dataset"]) == {"planted"}
    left_out = pd.read_csv(directory / "tables" / "left_out.csv")
    assert set(left_out["reason"]) == {"confounded: arms differ in optimiser steps"}
    assert len(left_out) == 4
    assert left_out["run"].str.contains("hh_rlhf").all()
    assert "hh_rlhf / minilm" in _Reader(directory / "index.html").terms


def test_one_arm_and_one_seed_make_a_page_that_says_so(tmp_path: Path) -> None:
    directory = report(make_study(tmp_path, {"mars": 0.8}, seeds=(0,), rounds=1, examples=20))
    text = (directory / "index.html").read_text(encoding="utf-8")
    assert "one replicate, so no interval" in text
    assert "no declared comparison" in text
    assert not re.search(r">\s*(nan|None|NaT|&lt;NA&gt;)\s*<", text)


def test_runs_without_scores_show_what_can_be_shown(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5, "mars": 0.9}, seeds=(0, 1), examples=20)
    for scores in tmp_path.glob("*/scores"):
        shutil.rmtree(scores)
    with figures("accuracy", "margins", "reliability"):
        directory = report(tmp_path)
    page = _Reader(directory / "index.html")
    assert {"margins", "reliability"} <= set(page.terms)
    assert (directory / "tables" / "main.csv").exists()
    assert "no seed and pair with scores in common" in (directory / "verdict.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"study": "{tmp}/nowhere"}, "nowhere is not a directory"),
        ({"study": "{tmp}/empty"}, "empty holds no runs"),
        ({"study": "{tmp}/unfinished"}, "holds 1 unfinished run"),
        ({"study": ["{tmp}/good", "{tmp}/good2"]}, "out: is required for several studies"),
        ({"study": "wandb:entity/project"}, "out: is required for several studies and for W&B"),
        ({"study": "{tmp}/good", "out": "{tmp}/mine"}, "mine exists and is no report"),
        ({"study": "{tmp}/good", "out": "{tmp}/mine/thesis.tex"}, "thesis.tex exists and is no report"),
        ({"study": []}, "study: must name a directory"),
        ({"study": " "}, "study: must name a directory"),
        ({"study": "{tmp}/good", "focus": " "}, "focus: must name an arm"),
        ({"study": "{tmp}/good", "allow_confounded": "maybe"}, "allow_confounded: 'maybe' is not true or false"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    tmp_path: Path, settings: dict[str, str | list[str]], why: str
) -> None:
    (tmp_path / "empty").mkdir()
    make_run(tmp_path / "unfinished", "mars", 0, 0.5, done=False)
    make_run(tmp_path / "good", "mars", 0, 0.5, examples=20)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    before = _digests(tmp_path)

    def here(value: str | list[str]) -> str | list[str]:
        return [str(here(v)) for v in value] if isinstance(value, list) else value.replace("{tmp}", str(tmp_path))

    with pytest.raises(UserError, match=re.escape(why)) as error:
        run({key: here(value) if key != "allow_confounded" else value for key, value in settings.items()})
    assert "\n" not in str(error.value)
    assert _digests(tmp_path) == before


def test_what_fails_leaves_the_last_report_as_it_was(study: Path, first: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path, dirs_exist_ok=True)
    for done in tmp_path.glob("*/DONE"):
        done.unlink()
    with pytest.raises(UserError, match="12 unfinished runs and no finished one"):
        report(tmp_path)
    assert _digests(tmp_path / "report") == first


def test_a_report_that_was_stopped_can_be_made_again(study: Path, first: dict[str, str], tmp_path: Path) -> None:
    assert "index.html" in first
    left = tmp_path / ".board.new" / "tables"
    left.mkdir(parents=True)
    (left / "main.csv").write_text("half")
    out = tmp_path / "board"
    out.mkdir()
    (out / "index.html").write_bytes((study / "report" / "index.html").read_bytes())  # the page is put there first
    path = make_study(tmp_path / "small", {"mars": 0.8}, seeds=(0,), examples=20)
    with figures("accuracy"):
        assert report(path, out) == out
    assert (out / "tables" / "main.csv").is_file()
    assert not left.exists()


@pytest.mark.parametrize("arms", [{"focus": "marz"}, {"reference": "unifrm"}])
def test_an_arm_that_did_not_run_is_an_error_with_the_nearest_one(arms: dict[str, str], tmp_path: Path) -> None:
    path = make_study(tmp_path, {"uniform": 0.5, "mars": 0.8}, seeds=(0,), examples=20)
    (key,) = arms
    with pytest.raises(UserError, match=f'^{key}: no arm of the study is .* mean "?(mars|uniform)'):
        report(path, **arms)
    assert not (path / "report").exists()


def test_damaged_rounds_and_allocations_cost_their_figure(tmp_path: Path) -> None:
    path = make_study(tmp_path, {"uniform": 0.5, "mars": 0.8}, seeds=(0, 1), examples=20)
    for file in path.glob("*/allocation.parquet"):
        file.write_bytes(file.read_bytes()[:50])
    for file in path.glob("mars-*/rounds.csv"):
        file.write_text("round,steps\n0,many\n")
    with figures("allocation", "rounds"):
        directory = report(path)
    assert not (directory / "figures" / "allocation.png").exists()
    assert (directory / "figures" / "rounds.png").is_file()
    assert "rounds.csv" in (directory / "verdict.md").read_text(encoding="utf-8")


def test_a_study_without_rounds_has_no_table_of_them(tmp_path: Path) -> None:
    path = make_study(tmp_path, {"uniform": 0.5, "mars": 0.8}, seeds=(0, 1), examples=20)
    for file in path.glob("*/rounds.csv"):
        file.unlink()
    with figures():
        tables = {file.stem for file in (report(path) / "tables").iterdir()}
    assert "main" in tables
    assert "allocation" not in tables
