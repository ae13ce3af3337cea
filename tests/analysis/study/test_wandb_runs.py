"""Runs rebuilt from W&B are those of their directories, scores aside; what cannot be read costs one run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from support.study import make_run

from analysis import load
from analysis.study import wandb_runs
from mars.config import UserError
from mars.method.wandb_logger import WandbConfig, WandbLogger
from mars.record.manifest import logged_manifest

wandb = pytest.importorskip("wandb")


def _tell(run: Path, finished: bool = True) -> Path:
    """Tell W&B, offline, what `mars.run` tells it of a run; returns the folder of its offline directories."""
    logger = WandbLogger(WandbConfig(), run, yaml.safe_load((run / "config.yaml").read_text()), "study")
    rounds = pd.read_csv(run / "rounds.csv")
    for record in rounds.to_dict("records"):
        logger.step({"step": 10, "loss": 0.5})
        logger.round(record, {"budgets": rounds["steps"].to_numpy()})
    for label, parts in json.loads((run / "metrics.json").read_text()).items():
        logger.summary({f"{label}/{part}/{k}": v for part, values in parts.items() for k, v in values.items()})
    if finished:
        logger.summary(logged_manifest(json.loads((run / "manifest.json").read_text())))
    logger.close(failed=not finished)
    wandb.teardown()  # its service may write the last records after a run is closed
    return run / "wandb"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two runs, a metric with slashes in its part, and their offline directories. Read-only."""
    path = tmp_path_factory.mktemp("outputs") / "quick"
    for method in ("uniform", "mars"):
        strategy = {"tau": 2.0, "gate": None} if method == "mars" else {}
        run = make_run(path, method, 0, 0.5, settings=strategy, manifest={"strategy": strategy, "base_ids": ["a"] * 9})
        metrics = json.loads((run / "metrics.json").read_text())
        metrics["files"] = {"subset/law/uk": {"accuracy": 0.5, "n": 4}, "overall": {"accuracy": 1.0}}
        (run / "metrics.json").write_text(json.dumps(metrics))
        _tell(run)
    return path


@pytest.fixture(scope="module")
def copied(told: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The offline directories alone, as somebody else is sent them."""
    path = tmp_path_factory.mktemp("sent") / "quick"
    for run in told.iterdir():
        shutil.copytree(run / "wandb", path / run.name / "wandb", symlinks=True)
    return path


def _unordered(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows and columns in an order that depends on nothing but themselves."""
    ordered = frame[sorted(frame.columns)]
    return ordered.sort_values([c for c in ordered if ordered[c].dtype != object]).reset_index(drop=True)


def test_a_study_rebuilt_from_offline_directories_is_the_study(told: Path, copied: Path) -> None:
    there, rebuilt = load(told), load(copied)
    assert rebuilt.arms == there.arms == ["uniform", "mars"]
    assert rebuilt.splits == there.splits == ["test", "test_reversed_nuisance"]
    for name, run in there.members.items():
        again = rebuilt.members[name]
        assert again.manifest == run.manifest
        assert again.config == run.config
        assert again.metrics == run.metrics
        assert again.directory is again.file("allocation.parquet") is None
        assert again.scores == {}
        pd.testing.assert_frame_equal(_unordered(again.rounds), _unordered(run.rounds), check_dtype=False)
    for frame in ("metrics", "rounds", "pools"):
        one, other = _unordered(getattr(there, frame)), _unordered(getattr(rebuilt, frame))
        pd.testing.assert_frame_equal(one, other, check_dtype=False)
    (remark,) = rebuilt.remarks
    assert remark.startswith("known from W&B alone, without scores")


def test_any_folder_around_an_offline_directory_is_a_source(told: Path) -> None:
    run = next(told.glob("mars-*"))
    (offline,) = (run / "wandb").glob("offline-run-*")
    for source in (offline, run / "wandb"):
        assert list(load(source).members) == [run.name]
        assert load(source).members[run.name].directory is None
    assert load(run).members[run.name].directory == run  # a run's directory is the run, whatever else it holds


def test_a_run_that_is_there_as_a_directory_is_not_also_taken_from_wandb(told: Path, copied: Path) -> None:
    for sources in ((told, copied), (copied, told)):
        study = load(*sources)
        assert len(study.runs) == 2
        assert all(run.directory for run in study.members.values())
        assert not study.remarks
        assert study.left_out.empty


def test_a_run_without_its_manifest_is_left_out_with_the_reason(copied: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "study", "eda", 3, 0.5)
    _tell(run, finished=False)
    shutil.copytree(copied, tmp_path / "sent", symlinks=True)
    shutil.move(run / "wandb", tmp_path / "sent" / "unfinished")
    study = load(tmp_path / "sent")
    assert study.arms == ["uniform", "mars"]
    (left,) = study.left_out.to_dict("records")
    assert left["run"] == run.name
    assert left["reason"].startswith("unfinished, or by a version that did not report its manifest")
    with pytest.raises(UserError, match="no run that can be counted, of 1"):
        load(tmp_path / "sent" / "unfinished")


def test_a_damaged_file_costs_its_run_and_one_cut_short_is_unfinished(copied: Path, tmp_path: Path) -> None:
    for damage in ("changed", "cut", "other"):
        shutil.copytree(copied, tmp_path / damage, symlinks=True)
        file = next(tmp_path.glob(f"{damage}/mars-*/wandb/offline-run-*/*.wandb"))
        content = bytearray(file.read_bytes())
        if damage == "changed":
            content[len(content) // 2] ^= 1
        file.write_bytes({"changed": content, "cut": content[: len(content) // 3], "other": b"not a log"}[damage])
        study = load(tmp_path / damage)
        assert study.arms == ["uniform"]
        (reason,) = study.left_out["reason"]
        expected = {"changed": "damaged at byte", "cut": "unfinished", "other": "not a W&B file"}
        assert expected[damage] in reason


def test_a_log_longer_than_a_block_is_read_whole(tmp_path: Path) -> None:
    """Entries are split over blocks of 32 KiB: every row of a long history comes back."""
    logger = WandbLogger(WandbConfig(log_every=1), tmp_path / "run", {}, "study")
    for step in range(600):
        logger.step({"step": step, "loss": step / 7})
    logger.summary({"long": "x" * 100_000})
    logger.close(failed=False)
    wandb.teardown()
    (run,) = wandb_runs.offline(tmp_path)
    assert wandb_runs.offline_files(tmp_path)[0].stat().st_size > 3 * 32768
    assert [(row["train/step"], row["train/loss"]) for row in run.history] == [(s, s / 7) for s in range(600)]
    assert run.summary["long"] == "x" * 100_000


class Api:
    """The part of `wandb.Api` that is used, with what the offline directories hold."""

    def __init__(self, place: Path):
        self.asked: list[tuple[str, Any]] = []
        self.place = place

    def runs(self, path: str, filters: dict[str, Any] | None, lazy: bool) -> list[SimpleNamespace]:
        self.asked.append((path, filters))
        return [
            SimpleNamespace(
                id=run.id,
                name=run.name,
                config=run.config,
                summary_metrics=run.summary | {"_step": 3, "_wandb": {"runtime": 1}},
                scan_history=lambda run=run: iter([*run.history, {"_step": 9, "round/round": None}]),
            )
            for run in wandb_runs.offline(self.place)
        ]


def test_a_project_holds_the_same_runs_as_the_offline_directories(
    told: Path, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(copied)
    runs = wandb_runs.online("wandb:me/mars/quick", api)
    assert wandb_runs.online("wandb:me/mars", api)[0].name == runs[0].name
    assert api.asked == [("me/mars", {"group": "quick"}), ("me/mars", None)]
    monkeypatch.setattr(wandb, "Api", lambda: api)
    study = load("wandb:me/mars/quick")
    assert (study.name, set(study.runs["source"])) == ("wandb:me/mars/quick", {"wandb:me/mars/quick"})
    assert {name: run.metrics for name, run in study.members.items()} == {
        name: run.metrics for name, run in load(told).members.items()
    }
    assert study.rounds.groupby("run")["round"].apply(list).tolist() == [[0, 1, 2]] * 2


def test_no_project_and_no_key_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^study: wandb:mars names no W&B project"):
        load("wandb:mars")
    for name in ("WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"^study: wandb:me/mars cannot be read: .*wandb login") as caught:
        load("wandb:me/mars")
    assert "\n" not in str(caught.value)
