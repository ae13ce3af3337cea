"""The run directory's contract: one home for its names, and a study of before this home existed is still read."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from support import ROOT

from analysis import load
from mars.config import ConfigError
from mars.record.layout import DONE, FILES, MAIN
from mars.record.run_directory import RunDirectory, finished_runs

PACKAGES = ("mars", "baselines", "benchmarks", "analysis")
NAMES = {name for name in FILES if "." in name} | {DONE}
FOLDERS = ("scores/", "evaluations/")


def spelled(file: Path) -> Iterator[str]:
    """Names of the contract that a file spells as strings of their own; prose, which has spaces, may speak of them."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)) or any(map(str.isspace, node.value)):
            continue
        if NAMES & set(node.value.split("/")) or node.value.startswith(FOLDERS):
            yield node.value


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_file_spells_what_a_run_leaves(package: str) -> None:
    found = {
        str(file.relative_to(ROOT)): names
        for file in sorted((ROOT / package).rglob("*.py"))
        if file.parent != ROOT / "mars" / "record" and (names := list(spelled(file)))
    }
    assert found == {}


def test_a_study_of_before_is_read_without_a_remark(tmp_path: Path) -> None:
    """Written here by hand, name by name, as runs were before their directory had a home in the code."""
    run = tmp_path / "study" / "mars-planted-minilm-s0-01234567"
    (run / "scores").mkdir(parents=True)
    (run / "evaluations").mkdir()
    ids = [f"p{i}" for i in range(8)]
    table = pd.DataFrame({"split": "test", "id": ids, "subset": "", "chosen_score": [1.0] * 6 + [-1.0] * 2})
    table = table.assign(rejected_score=0.0, chosen_length=9, rejected_length=7, turns=1, gold_margin=np.nan)
    table.to_parquet(run / "scores" / "in_distribution.parquet", index=False)
    metrics = {"test": {"accuracy": 0.75, "accuracy_lo": 0.5, "accuracy_hi": 1.0, "n": 8}}
    record = {"schema_version": 1, "benchmark": "in_distribution", "label": "in_distribution", "metrics": metrics}
    (run / "evaluations" / "in_distribution.json").write_text(json.dumps(record))
    (run / "metrics.json").write_text(json.dumps({"in_distribution": metrics}))
    (run / "rounds.csv").write_text("round,train_loss\n0,0.6\n")
    (run / "config.yaml").write_text(yaml.safe_dump({"seed": 0, "method": {"name": "mars", "tau": 1.0}}))
    (run / "config.sha256").write_text("01234567")
    about = {"method": "mars", "dataset": "planted", "backbone": "minilm", "seed": 0}
    (run / "manifest.json").write_text(json.dumps({"schema_version": 1, "run_id": run.name, **about}))
    (run / "DONE").touch()
    study = load(run.parent)
    assert list(study.members) == [run.name]
    assert study.remarks == ()
    assert study.values("mars", "test", "accuracy").tolist() == [0.75]
    assert [found.path for found in finished_runs(run.parent)] == [run]


def test_another_configs_directory_is_not_taken_and_a_users_files_are_not_cleared(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "mine")
    run.stamp("01234567")
    run.claim("01234567")
    with pytest.raises(ConfigError, match="holds a run of another config"):
        run.claim("89abcdef")
    (run.path / "notes.txt").write_text("mine")
    run.write_rounds([{"round": 0}])
    run.finish()
    run.clear()
    assert [path.name for path in run.path.iterdir()] == ["notes.txt"]


def test_a_failed_table_is_no_evaluation(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    kept = run.keep_failed(MAIN, pd.DataFrame({"id": ["a"]}))
    assert kept.exists()
    assert run.tables() == {}
