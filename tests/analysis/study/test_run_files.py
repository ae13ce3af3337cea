"""Stated numbers against the scores: every benchmark's can be had again, and what is edited is named."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.downstream import training_table
from support.study import make_run

from analysis.study.run_files import measure
from benchmarks.protocol import Benchmark, essential_protocol, estimates_of
from benchmarks.protocols.best_of_n import BestOfN, BestOfNConfig
from benchmarks.protocols.files import PreferenceFiles
from benchmarks.protocols.in_distribution import InDistribution
from benchmarks.protocols.released_v1 import ReleasedV1
from benchmarks.protocols.reward_bench import SECTIONS, RewardBench
from benchmarks.protocols.reward_bench_2 import SUBSETS, RewardBench2
from benchmarks.protocols.reward_bench_raw import DRAWS, RewardBenchRaw, stratified_draws
from benchmarks.protocols.robustness import Robustness, RobustnessConfig
from benchmarks.protocols.trained_policy import TrainedPolicy, TrainedPolicyConfig
from benchmarks.registry import interval, names, recompute, remade
from mars.config import UserError
from mars.files import write_json
from mars.record.facts import agree
from mars.record.layout import MAIN, METRICS, record_of, scores_of
from mars.record.run_directory import RunDirectory

RNG = np.random.default_rng(0)
OF_SECTIONS = [subset for subsets in SECTIONS.values() for subset in subsets]


def pairs(n: int, **columns: object) -> pd.DataFrame:
    """A pair table of n rows with ties, pairs of equal length and gold margins that are missing or zero."""
    rejected = RNG.normal(size=n).round(1)
    table = {
        "split": "test",
        "id": [f"p{i}" for i in range(n)],
        "subset": "",
        "chosen_score": rejected + RNG.normal(0.4, 1, n).round(1),
        "rejected_score": rejected,
        "chosen_length": RNG.integers(5, 9, n),
        "rejected_length": RNG.integers(5, 9, n),
        "turns": 1,
        "gold_margin": RNG.choice([-1.0, 0.0, 2.0, np.nan], n),
    }
    return pd.DataFrame({**table, **columns})


def voted(n: int, **columns: object) -> pd.DataFrame:
    """A pair table of n rows with votes, ties among them."""
    return pairs(n, agreement=RNG.choice([0.5, 2 / 3, 1.0], n), **columns)


def usual() -> pd.DataFrame:
    splits = ["test"] * 150 + ["test_rare"] * 30 + ["validation"] * 40
    return pairs(220, split=splits)


def raw() -> pd.DataFrame:
    subsets = [name for name in OF_SECTIONS for _ in range(40)]
    drawn = stratified_draws(subsets)
    table = pairs(len(subsets), subset=subsets, file_rows=len(subsets)).assign(**drawn)
    return table[table[list(DRAWS)].any(axis=1)]


def best_of() -> pd.DataFrame:
    rows = []
    for name in SUBSETS:
        for number in range(6):
            own = f"{('tied', 'ref')[number % 2]}:{number // 2}" if name == "Ties" else number
            many = 3 if name == "Ties" and number % 2 == 0 else 1
            rows += [(f"{name}/{own}", name, r, r < many, round(RNG.normal(), 1), 5 + r) for r in range(5)]
    return pd.DataFrame(rows, columns=["id", "subset", "response", "correct", "score", "length"])


def edited() -> pd.DataFrame:
    plain = pairs(30).drop(columns=["turns", "gold_margin"]).assign(edit="none", unchanged=True)
    moved = [
        plain.assign(
            edit=edit, unchanged=RNG.random(30) < 0.3, chosen_score=plain["chosen_score"] + RNG.normal(size=30)
        )
        for edit in ("paraphrase", "eda", "whitespace")
    ]
    return pd.concat([plain, *moved], ignore_index=True)


def picks(gold: float = 1.0) -> pd.DataFrame:
    """Nine prompts with 4 to 6 candidates, scores that tie; gold: NaN for none."""
    rows = [
        (f"p{p}", "", r, round(RNG.normal(), 1), gold * RNG.normal(), 5 + r) for p in range(9) for r in range(4 + p % 3)
    ]
    return pd.DataFrame(rows, columns=["id", "subset", "response", "score", "gold", "length"])


FEW = {"n": 4, "resamples": 20}
FEW_STEPS = {"policy": "sha256:0", "resamples": 20, "prompts": 30, "samples": 4, "every": 10}
ROBUSTNESS = RobustnessConfig({"name": "rules"}, {"name": "eda"}, ("paraphrase", "eda", "whitespace"), resamples=20)
CASES: dict[str, tuple[str, Benchmark, pd.DataFrame]] = {
    "usual": ("in_distribution", InDistribution(resamples=20), usual()),
    "usual, no validation": ("in_distribution", InDistribution(resamples=20), pairs(40)),
    "usual, no gold": ("in_distribution", InDistribution(resamples=20), pairs(40, gold_margin=np.nan)),
    "usual, votes": (
        "in_distribution",
        InDistribution(resamples=20),
        voted(90, split=["test"] * 50 + ["validation"] * 40),
    ),
    "usual, ties alone to fit on": (
        "in_distribution",
        InDistribution(resamples=20),
        pairs(40, split=["test"] * 30 + ["validation"] * 10, agreement=[0.75] * 30 + [0.5] * 10),
    ),
    "v1": ("released_v1", ReleasedV1(), usual()),
    "v1, votes": ("released_v1", ReleasedV1(), voted(240)),
    "files": ("files", PreferenceFiles("mine.jsonl", resamples=20), pairs(40)),
    "files, votes": ("files", PreferenceFiles("mine.jsonl", resamples=20), voted(40, subset=["a", "b"] * 20)),
    "files, subsets": ("files", PreferenceFiles("mine.jsonl", resamples=20), pairs(40, subset=["a", ""] * 20)),
    "bench": ("reward_bench", RewardBench(resamples=20), pairs(92, subset=OF_SECTIONS * 4)),
    "bench, part": ("reward_bench", RewardBench(resamples=20), pairs(20, subset=OF_SECTIONS[:5] * 4)),
    "bench, before, half": (
        "reward_bench",
        RewardBench(resamples=20, weights="before_2024-09-10", ties="half"),
        pairs(92, subset=OF_SECTIONS * 4),
    ),
    "raw": ("reward_bench_raw", RewardBenchRaw(resamples=20), raw()),
    "raw, half": ("reward_bench_raw", RewardBenchRaw(resamples=20, ties="half"), raw()),
    "bench 2": ("reward_bench_2", RewardBench2(resamples=20), best_of()),
    "bench 2, half": ("reward_bench_2", RewardBench2(resamples=20, ties="half"), best_of()),
    "robustness": ("robustness", Robustness(ROBUSTNESS, {}), edited()),
    "best of n": ("best_of_n", BestOfN(BestOfNConfig(**FEW)), picks()),
    "best of n, file": ("best_of_n", BestOfN(BestOfNConfig(path="mine.jsonl", **FEW)), picks()),
    "trained policy": ("trained_policy", TrainedPolicy(TrainedPolicyConfig(**FEW_STEPS)), training_table()),
    "trained policy, no gold": (
        "trained_policy",
        TrainedPolicy(TrainedPolicyConfig(**FEW_STEPS)),
        training_table(gold=False),
    ),
    "best of n, policy": ("best_of_n", BestOfN(BestOfNConfig(policy="sha256:1", **FEW)), picks(math.nan)),
}


@pytest.mark.parametrize("case", CASES)
def test_every_number_of_every_benchmark_can_be_had_again_from_its_table_and_recorded_protocol(case, tmp_path):
    name, benchmark, table = CASES[case]
    result = benchmark.evaluate(table)
    table.to_parquet(tmp_path / "scores.parquet", index=False)
    again = pd.read_parquet(tmp_path / "scores.parquet")
    protocol = json.loads(json.dumps(result.protocol))  # as it comes back from the record
    found = recompute(name, protocol, again)
    assert list(found) == list(result.metrics)
    for part, values in result.metrics.items():
        stated = estimates_of(values)
        assert set(found[part]) == set(stated), part
        assert found[part] == pytest.approx(stated, rel=1e-12, abs=1e-12), part
    told, also = remade(name, protocol, again)
    assert json.loads(json.dumps(told)) == essential_protocol(protocol)
    assert also == found


def test_the_cases_are_of_every_benchmark_that_can_be_recomputed():
    assert {name for name, _, _ in CASES.values()} == names()


def test_an_interval_holds_its_number_and_is_the_same_whatever_the_evaluation_drew():
    table = usual()
    lo, hi = interval("in_distribution", {}, table, "test", "accuracy")
    assert lo < recompute("in_distribution", {}, table)["test"]["accuracy"] < hi
    same, other = (dict(RewardBench(resamples=n).evaluate(CASES["bench"][2]).protocol) for n in (5, 9))
    bounds = [interval("reward_bench", p, CASES["bench"][2], "overall", "accuracy") for p in (same, other)]
    assert bounds[0] == bounds[1]
    assert all(map(math.isnan, interval("reward_bench", same, CASES["bench, part"][2], "overall", "accuracy")))


@pytest.mark.parametrize(
    ("name", "protocol", "table", "message"),
    [
        ("unheard_of", {}, pairs(4), 'benchmark: "unheard_of" is unknown'),
        ("reward_bench", {}, pairs(4), "reward_bench: the recorded protocol is not one of this benchmark"),
        ("reward_bench_2", {"ties": "as I like"}, best_of(), "reward_bench_2: the recorded protocol is not one"),
        ("in_distribution", {}, pairs(4).drop(columns="split"), "in_distribution: the score table lacks split"),
        ("in_distribution", {}, pairs(4, split="validation"), "in_distribution: there is nothing to judge"),
        ("in_distribution", {}, pairs(4, chosen_score=np.inf), "in_distribution: 4 scores or lengths"),
    ],
)
def test_what_cannot_be_recomputed_is_one_line(name, protocol, table, message):
    with pytest.raises(UserError) as error:
        recompute(name, protocol, table)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_checking_pairs_needs_no_torch():
    done = subprocess.run(
        [sys.executable, "-c", "import benchmarks.pair_metrics, sys; sys.exit('torch' in sys.modules)"], check=False
    )
    assert done.returncode == 0


# ---- runs


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(make_run(tmp_path, "mars", 0, 0.8))


def wrong(run: RunDirectory) -> list[str]:
    return [str(problem) for problem in run.read(measure)[1]]


def restate(run: RunDirectory, change, record: bool = True) -> None:
    """Edits the stated numbers: those of metrics.json and, where asked for, of the record alike."""
    stated = run.stated()
    change(stated)
    write_json(run.path / METRICS, stated)
    if record and run.file(record_of(MAIN)):
        file = run.path / record_of(MAIN)
        write_json(file, json.loads(file.read_text()) | {"metrics": stated[MAIN]})


def test_an_honest_run_bears_out_all_it_states(run):
    facts, problems = run.read(measure)
    assert problems == []
    for split, stated in facts.metrics[MAIN].items():
        assert facts.measured[MAIN].metrics[split] == pytest.approx(estimates_of(stated))


def test_an_edited_number_is_named_with_what_the_scores_give(run):
    true = run.stated()[MAIN]["test"]["auc"]
    restate(run, lambda stated: stated[MAIN]["test"].update(auc=0.99))
    assert wrong(run) == [f"metrics.json: in_distribution/test/auc: stated 0.99, the scores give {true:.6g}"]


@pytest.mark.parametrize(("by", "lines"), [(1e-8, 0), (1e-4, 1)])
def test_rounding_passes_and_a_hundredth_of_a_point_does_not(run, by, lines):
    restate(run, lambda stated: stated[MAIN]["test"].update(snr=stated[MAIN]["test"]["snr"] + by))
    assert len(wrong(run)) == lines


@pytest.mark.parametrize("value", [None, "0.9", True])
def test_what_is_stated_as_no_number_is_none(run, value):
    restate(run, lambda stated: stated[MAIN]["test"].update(accuracy=value))
    (line,) = wrong(run)
    assert line.startswith("metrics.json: in_distribution/test/accuracy: stated ")


def test_a_number_that_the_scores_do_not_have_is_named_unless_it_is_null(run):
    restate(run, lambda stated: stated[MAIN]["test"].update(f1=0.5, kappa=None))
    assert wrong(run) == ["metrics.json: in_distribution/test/f1: stated 0.5, not to be had from the scores"]


def test_what_is_not_stated_misleads_nobody(run):
    restate(run, lambda stated: stated[MAIN].pop("test_reversed_nuisance"))
    assert wrong(run) == []


def test_intervals_are_neither_checked_nor_mistaken_for_numbers(run):
    restate(run, lambda stated: stated[MAIN]["test"].update(accuracy_lo=0.0, accuracy_hi=1.0))
    assert wrong(run) == []


def test_the_record_is_held_to_the_scores_too(run):
    file = run.path / record_of(MAIN)
    record = json.loads(file.read_text())
    record["metrics"]["test"]["brier"] = 0.01
    write_json(file, record)
    (line,) = wrong(run)
    assert line.startswith("evaluations/in_distribution.json: test/brier: stated 0.01, the scores give ")
    file.write_text("{")
    (line,) = wrong(run)
    assert line.startswith("evaluations/in_distribution.json: cannot be read")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda file: file.write_text("not parquet"), "cannot be read: "),
        (lambda file: pd.read_parquet(file).drop(columns="chosen_length").to_parquet(file), "lacks chosen_length"),
        (lambda file: pd.read_parquet(file).assign(chosen_score="high").to_parquet(file), "no column of numbers"),
        (lambda file: pd.read_parquet(file).assign(chosen_score=np.nan).to_parquet(file), "not finite"),
    ],
)
def test_scores_that_cannot_be_measured_are_one_line_and_fatal(run, spoil, reason):
    spoil(run.path / scores_of(MAIN))
    facts, (problem,) = run.read(measure)
    assert problem.fatal
    assert str(problem).startswith("scores/in_distribution.parquet: cannot be ")
    assert reason in problem.what
    assert facts.measured == {}


def test_without_scores_there_is_nothing_to_hold_against_a_run(run):
    (run.path / scores_of(MAIN)).unlink()
    facts, problems = run.read(measure)
    assert (facts.measured, problems) == ({}, [])


SAME = [(1, 1.0), (None, math.nan), (math.nan, math.nan), (1e9, 1e9 + 1)]
OTHER = [(0.5, math.nan), (None, 0.5), (0.5, 0.5001)]


@pytest.mark.parametrize(("one", "other"), [*SAME, *OTHER])
def test_agreement(one, other):
    assert agree(one, other) is ((one, other) in SAME)
