"""A benchmark is one file and one conf file, an arm one file, one conf file and one line: nothing else knows them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

from benchmarks.protocol import Benchmark
from benchmarks.registry import find, names
from mars.cli import composed
from mars.config import ConfigError

CLOSE = '''
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.metrics import correctness
from benchmarks.protocol import PAIR_KINDS, Benchmark, Measure, Result, finite
from benchmarks.splits import needed, scored


@dataclass(frozen=True)
class Close(Benchmark):
    """Accuracy over the pairs of one length: within `most` characters."""

    title: ClassVar = "Pairs of one length"
    kinds: ClassVar = PAIR_KINDS
    measures: ClassVar = (Measure("overall", "accuracy", "accuracy"), Measure("overall", "kept", "kept", share=False))
    needs_dataset: ClassVar = True
    most: int = 40

    @classmethod
    def from_protocol(cls, protocol, resamples):
        return cls(most=protocol["most"])

    def check(self, preferences):
        needed(preferences, "close")
        return {}

    def score(self, scorer, preferences):
        return scored(scorer, preferences, preferences.tests)

    def evaluate(self, table):
        chosen, rejected = finite(table, ("chosen_score", "rejected_score"), "close").T
        near = (table["chosen_length"] - table["rejected_length"]).abs().to_numpy() <= self.most
        accuracy = float(correctness(chosen - rejected)[near].mean())
        overall = {"accuracy": accuracy, "kept": float(near.mean()), "n": float(near.sum())}
        return Result({"name": "close", "most": self.most}, {"overall": overall})


BENCHMARK = Close
'''
LAST = """
from dataclasses import dataclass

import numpy as np

from mars.method.strategy import Selection


@dataclass(frozen=True)
class Last:
    def select(self, round):
        return Selection(np.arange(len(round.pool) - round.budget, len(round.pool)))
"""
LINE = '    Arm("last", "baselines.last:Last", "sampling", 15),\n'
PROGRAM = """
import json, sys
import hydra
from omegaconf import OmegaConf
from analysis import load
from analysis.leaderboard import leaderboard
from benchmarks.registry import recompute
import pandas as pd
from benchmarks import evaluate
from mars.run import execute

def composed(name, *overrides):
    with hydra.initialize_config_module("conf", version_base="1.3"):
        cfg = hydra.compose(name, ["cache=cache", *overrides])
    return OmegaConf.to_container(cfg, resolve=True)

for method in ("none", "last"):
    execute(composed("config", "scale=tiny", "rounds.number=1", f"method={method}", "study=study"))
for name in ("close", "farther"):
    evaluate.run(composed("evaluate", "study=study", f"benchmark={name}"))
study = load("study")
boards = leaderboard(["study"]).boards
told = {
    "arms": study.arms,
    "afresh": [one["accuracy"] for one in (
        recompute("close", {"most": 40}, pd.read_parquet(f"{run.directory}/scores/close.parquet"))["overall"]
        for run in study.members.values()
    )],
    "stated": [run.metrics["close"]["overall"]["accuracy"] for run in study.members.values()],
    "wrong": [line for line in study.remarks if "close" in line],
    "boards": {b.table.title.partition(":")[0]: sorted(b.table.frame["entry"]) for b in boards},
    "table": study.table("benchmarks").frame["label"].tolist(),
    "card": next(iter(study.members.values())).directory.joinpath("model", "README.md").read_text(),
}
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What a copy of the packages makes of what was added, and of a benchmark that another distribution declares."""
    root = tmp_path_factory.mktemp("added")
    for package in ("mars", "baselines", "benchmarks", "analysis", "conf"):
        shutil.copytree(ROOT / package, root / package)  # with what is compiled already
    write(root / "benchmarks/protocols/close.py", CLOSE)
    write(root / "conf/benchmark/close.yaml", "name: close\nmost: 40\n")
    write(root / "baselines/last.py", LAST)
    write(root / "conf/method/last.yaml", "name: last\n")
    arms = root / "baselines/__init__.py"
    write(arms, arms.read_text().replace('    Arm("mars",', LINE + '    Arm("mars",'))
    write(root / "other/farther.py", CLOSE.replace("one length", "two lengths").replace('"close"', '"farther"'))
    write(root / "conf/benchmark/farther.yaml", "name: farther\nmost: 80\n")
    write(root / "other/other-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    write(root / "other/other-1.0.dist-info/entry_points.txt", "[mars.benchmarks]\nfarther = farther:BENCHMARK\n")
    environment = os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'other'}"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_a_benchmark_of_one_file_is_run_and_recomputed(told):
    assert told["afresh"] == told["stated"]
    assert len(told["stated"]) == 2
    assert not told["wrong"]


@pytest.mark.parametrize("title", ["Pairs of one length", "Pairs of two lengths"])
def test_it_stands_on_a_board_wherever_its_file_is(told, title):
    assert told["boards"][title] == ["last", "none"]


def test_it_is_in_the_report_and_on_the_card(told):
    assert {"close", "farther"} <= set(told["table"])
    assert "| close | overall | accuracy |" in told["card"]


def test_an_arm_of_one_file_and_one_line_has_its_place(told):
    assert told["arms"] == ["none", "last"]


def test_every_file_of_the_folder_declares_a_benchmark_that_conf_names():
    configured = {path.stem for path in (ROOT / "conf" / "benchmark").glob("*.yaml")}
    files = {path.stem for path in (ROOT / "benchmarks" / "protocols").glob("[!_]*.py")}
    assert files <= configured
    for preset in configured - files:  # other settings of one of them
        assert composed("evaluate", ["model=x", f"benchmark={preset}"])["benchmark"]["name"] in files
    assert files <= names()
    for name in files:
        benchmark = find(name)
        assert issubclass(benchmark, Benchmark)
        assert benchmark.title
        assert benchmark.measures
        assert "id" in benchmark.kinds


def test_an_unknown_name_is_an_error_that_names_the_nearest():
    with pytest.raises(ConfigError, match=r'benchmark: "reward_bensh" is unknown.*reward_bench'):
        find("reward_bensh")
