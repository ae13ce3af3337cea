"""A report at W&B: what it is made of, without W&B."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.reports import figures
from support.study import make_run, make_study

from analysis import load
from analysis.report.build import report
from analysis.study.wandb_runs import records
from analysis.wandb_report import BLOCKS, WandbReportConfig, report_of, wandb_report
from mars.config import UserError

wr = pytest.importorskip("wandb_workspaces.reports.v2", reason="wandb-workspaces is not installed")
wandb = pytest.importorskip("wandb")


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a report, whose runs say that they were told to W&B."""
    study = make_study(tmp_path_factory.mktemp("reported") / "watched", {"uniform": 0.7, "mars": 0.8})
    for run in study.iterdir():
        (run / "wandb").mkdir()
        (run / "wandb" / "id").write_text("0" * 16)
        config = run / "config.yaml"
        config.write_text(f"{config.read_text()}study: outputs/watched\nwandb: {{entity: null, project: mars}}\n")
    with figures("accuracy"):
        report(study)
    return study


@pytest.fixture
def told(tmp_path: Path, reported: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(reported, tmp_path / "watched")


def _offline(study: Path, **settings: Any) -> str:
    said = wandb_report(WandbReportConfig(str(study), mode="offline", **settings))
    wandb.teardown()
    return said


def test_its_blocks_are_the_verdict_the_leaderboard_and_panels_by_arm(told: Path) -> None:
    where = {"entity": "team", "project": "mars", "groups": ["watched"]}
    made = report_of(wr, load(told), told / "report", where)
    verdict, leaderboard, _, grid = made.blocks
    assert (made.title, made.project, made.entity) == ("MARS: watched", "mars", "team")
    assert verdict.text == (told / "report" / "verdict.md").read_text()
    assert leaderboard.text == (told / "report" / "leaderboard.md").read_text()
    bars, lines = ([p for p in grid.panels if isinstance(p, kind)] for kind in (wr.BarPlot, wr.LinePlot))
    assert bars[0].metrics == ["in_distribution/test/accuracy"]
    assert {"round/validation_accuracy", "round/share_none"} <= {line.y[0] for line in lines}
    (runs,) = grid.runsets
    assert (runs.groupby, runs.filters) == (["config.method.name"], "Metric(\"Group\") in ['watched']")


def test_arms_of_one_method_are_groups_of_their_own(told: Path) -> None:
    for seed in (0, 1, 2):
        make_run(told, "mars", seed, 0.6, settings={"tau": 0.5})
    where = {"entity": "team", "project": "mars", "groups": ["watched"]}
    grid = report_of(wr, load(told), told / "report", where).blocks[3]
    assert grid.runsets[0].groupby == ["config.method.name", "config.method.tau"]
    assert {panel.groupby for panel in grid.panels} == {None}  # as the runs are


def test_offline_the_files_of_the_report_are_kept_for_a_sync(told: Path) -> None:
    assert "wandb sync" in _offline(told)
    (file,) = (told / "report").glob("wandb/offline-run-*/*.wandb")
    kept = list(records(file))
    assert next(r.run for r in kept if r.HasField("run")).run_group == ""  # it is no run of the study
    (artifact,) = [r.artifact for r in kept if r.HasField("artifact")]
    names = {entry.path for entry in artifact.manifest.contents}
    assert artifact.type == "report"
    assert {"index.html", "verdict.md", "tables/main.csv"} <= names
    assert not [name for name in names if "wandb" in name]
    spec = json.loads((told / "report" / BLOCKS).read_text())
    assert [block["type"] for block in spec["blocks"] if block["type"] != "paragraph"] == [
        *("markdown-block", "markdown-block", "heading", "panel-grid"),
    ]


def test_a_study_that_nobody_told_wandb_of_or_without_a_report_is_a_line(told: Path) -> None:
    page = told / "report" / "index.html"
    aside = page.rename(told / "index.html")
    with pytest.raises(UserError, match=r"has no report yet \(mars report study="):
        _offline(told)
    aside.rename(page)
    for kept in told.glob("*/wandb/id"):
        kept.unlink()
    with pytest.raises(UserError, match=r"no run of .* was told to W&B.*logger=wandb"):
        _offline(told)


def test_without_a_key_it_says_so_in_a_line(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise wandb.errors.UsageError("No API key configured.")

    monkeypatch.setattr(wandb, "Api", refused)
    with pytest.raises(UserError, match=r"wandb: No API key configured. \(a key: wandb login or WANDB_API_KEY"):
        wandb_report(WandbReportConfig(str(told)))
