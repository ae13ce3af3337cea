"""In-distribution metrics: worked by hand, against direct formulas, and for all scores."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Sequence
from importlib import resources

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import metrics
from benchmarks.protocol import PAIR_COLUMNS
from benchmarks.protocols.in_distribution import InDistribution, breakdown, split_metrics
from benchmarks.protocols.released_v1 import V1_METRICS, ReleasedV1, released_v1
from benchmarks.splits import coin, margins_of
from mars.config import ConfigError, UserError, build
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair, Preferences, pairs_digest
from mars.worlds.planted import load_planted
from mars.worlds.planted_settings import PlantedConfig

pair_scores = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=1, max_size=25)


def evaluate(data: pd.DataFrame, resamples: int = 200, seed: int = 0, held_out: np.ndarray | None = None):
    return split_metrics(data, resamples, seed, np.empty(0) if held_out is None else held_out)


def table(chosen: list[float], rejected: list[float], **columns: object) -> pd.DataFrame:
    lengths = {"chosen_length": 1, "rejected_length": 1}
    filled = {"split": "test", "subset": "", **lengths, "turns": 1, "gold_margin": math.nan} | columns
    ids = [f"pair-{i}" for i in range(len(chosen))]
    return pd.DataFrame({"id": ids, "chosen_score": chosen, "rejected_score": rejected, **filled})


def normal_table(n: int, skill: float = 1.0, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(2, n))
    return table(list(scores[0] + skill), list(scores[1]), gold_margin=rng.normal(size=n))


def direct(chosen: np.ndarray, rejected: np.ndarray) -> dict[str, float]:
    """The definitions, one pair (AUC: one pair of pairs) at a time."""
    margins = [float(c - r) for c, r in zip(chosen, rejected, strict=True)]
    n = len(margins)
    right = [1.0 if m > 0 else 0.5 if m == 0 else 0.0 for m in margins]
    p = [1 / (1 + math.exp(-m)) for m in margins]
    wins = [(c > r) + 0.5 * (c == r) for c in chosen for r in rejected]
    mean = sum(margins) / n
    sd = math.sqrt(sum((m - mean) ** 2 for m in margins) / n)
    bins: dict[int, list[float]] = {}
    for q, correct in zip(p, right, strict=True):
        confidence = max(q, 1 - q)
        bins.setdefault(min(int((confidence - 0.5) * 30), 14), []).append(correct - confidence)
    return {
        "accuracy": sum(right) / n,
        "tie_rate": sum(m == 0 for m in margins) / n,
        "auc": sum(wins) / n**2,
        "margin_mean": mean,
        "margin_sd": sd,
        "snr": mean / sd if sd > 1e-9 else 0.0,
        "log_loss": -sum(math.log(q) for q in p) / n,
        "brier": sum((1 - q) ** 2 for q in p) / n,
        "ece": sum(abs(sum(gaps)) for gaps in bins.values()) / n,
    }


def test_accuracy_counts_a_tie_half_and_reports_it() -> None:
    result = evaluate(table([1, 0, 2, 5], [0, 1, 2, 4]))
    assert result["accuracy"] == 2.5 / 4
    assert result["tie_rate"] == 1 / 4
    assert result["n"] == 4


def test_auc_pools_scores_across_pairs() -> None:
    # chosen 3, 1 against rejected 2, 1: 3>2, 3>1, 1<2, 1=1 -> 2.5 of 4, though pairwise accuracy is ¾
    result = evaluate(table([3, 1], [2, 1]))
    assert result["auc"] == 2.5 / 4
    assert result["accuracy"] == 0.75


def test_snr_uses_the_population_sd() -> None:
    result = evaluate(table([1, 3], [0, 0]))
    assert (result["margin_mean"], result["margin_sd"], result["snr"]) == pytest.approx((2, 1, 2))


@pytest.mark.parametrize("margin", [0.0, 0.1, 1e6])
def test_no_spread_is_snr_zero_not_rounding_noise(margin: float) -> None:
    result = evaluate(table([margin] * 7, [0.0] * 7))
    assert (result["margin_sd"], result["snr"], result["snr_hi"]) == (0, 0, 0)


def test_a_large_common_margin_keeps_the_spread() -> None:
    assert evaluate(table([1e7 + 1, 1e7 - 1], [0, 0]))["margin_sd"] == pytest.approx(1)


def test_log_loss_and_brier_of_an_untrained_model() -> None:
    result = evaluate(table([0, 0], [0, 0]))
    assert result["log_loss"] == pytest.approx(math.log(2))
    assert result["brier"] == 0.25


def test_huge_margins_stay_finite() -> None:
    result = evaluate(table([1e5, 0], [0, 1e5]))
    assert result["log_loss"] == pytest.approx(5e4)
    assert result["brier"] == 0.5
    assert all(math.isfinite(value) for value in result.values())


def test_ece_by_hand() -> None:
    # σ(ln 3) = ¾: four such pairs, three right -> calibrated; σ(ln 9) = 0.9, one wrong pair -> gap 0.9 on a fifth
    margins = [math.log(3)] * 3 + [-math.log(3)]
    assert evaluate(table(margins, [0] * 4))["ece"] == pytest.approx(0, abs=1e-12)
    assert evaluate(table([*margins, -math.log(9)], [0] * 5))["ece"] == pytest.approx(0.9 / 5)


def test_gold_accuracy_is_against_the_truth_not_the_label() -> None:
    # prefers chosen, chosen, rejected, chosen; truth says chosen, rejected, rejected, and nothing on a gold tie
    data = table([1, 1, 0, 1], [0, 0, 1, 0], gold_margin=[2.0, -1.0, -3.0, 0.0])
    result = evaluate(data)
    assert result["accuracy"] == 0.75
    assert result["gold_accuracy"] == pytest.approx(2 / 3)
    assert result["gold_accuracy_lo"] <= 2 / 3 <= result["gold_accuracy_hi"]
    assert "gold_accuracy" not in evaluate(data.assign(gold_margin=math.nan))


def test_length_accuracy_is_longer_is_better() -> None:
    data = table([0, 0, 0], [1, 1, 1], chosen_length=[9, 3, 5], rejected_length=[2, 8, 5])
    result = evaluate(data)
    assert result["length_accuracy"] == 0.5
    assert result["length_accuracy_lo"] < 0.5 < result["length_accuracy_hi"]


def test_length_controlled_accuracy_by_hand() -> None:
    # chosen longer: right, right, tied, wrong -> 2.5 of 4; chosen shorter: right, wrong -> ½; equal lengths: left out
    data = table([1, 1, 0, 0, 1, 0, 0], [0, 0, 0, 1, 0, 1, 1], chosen_length=[9, 9, 9, 9, 1, 1, 5], rejected_length=5)
    result = evaluate(data)
    assert result["length_controlled_accuracy"] == pytest.approx((2.5 / 4 + 1 / 2) / 2)
    assert result["accuracy"] == pytest.approx(3.5 / 7)
    assert result["length_controlled_accuracy_lo"] < result["length_controlled_accuracy_hi"]


def test_length_controlled_accuracy_is_absent_where_one_side_is_empty() -> None:
    one_sided = evaluate(table([1, 1], [0, 0], chosen_length=[9, 5], rejected_length=5))
    assert not [name for name in one_sided if name.startswith("length_controlled")]
    both = evaluate(table([1, 1], [0, 0], chosen_length=[9, 1], rejected_length=5))  # half its resamples lack a side
    assert [both[f"length_controlled_accuracy{end}"] for end in ("", "_lo", "_hi")] == [1, 1, 1]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=25),
    st.sampled_from([1, -1]),
)
def test_what_sees_only_length_gets_half_whatever_the_data(lengths: list[tuple[int, int]], sign: int) -> None:
    chosen, rejected = np.array([*lengths, (2, 1), (1, 2)]).T  # both sides have a pair
    data = table(sign * chosen, sign * rejected, chosen_length=chosen, rejected_length=rejected)
    result = evaluate(data, resamples=20)
    assert [result[f"length_controlled_accuracy{end}"] for end in ("", "_lo", "_hi")] == [0.5] * 3


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(-1, 1)), min_size=1, max_size=15), st.integers(0, 9))
def test_length_controlled_accuracy_of_a_resample_is_that_of_the_repeated_pairs(
    pairs: list[tuple[int, int]], seed: int
) -> None:
    margins, longer = np.array(pairs, dtype=float).T
    counts = np.concatenate(list(metrics.resample_counts(len(pairs), 5, np.random.default_rng(seed))))
    result = metrics.length_controlled(metrics.correctness(margins), longer, counts)
    for value, row in zip(result, counts.astype(int), strict=True):
        drawn = [pair for pair, count in zip(pairs, row, strict=True) for _ in range(count)]
        sides = [[1.0 if m > 0 else 0.5 if m == 0 else 0.0 for m, side in drawn if side == which] for which in (1, -1)]
        naive = sum(sum(side) / len(side) for side in sides) / 2 if all(sides) else math.nan
        assert value == pytest.approx(naive, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(pair_scores)
def test_metrics_are_their_definitions(pairs: list[tuple[int, int]]) -> None:
    chosen, rejected = np.array(pairs, dtype=float).T
    result = metrics.estimates(chosen, rejected, np.ones((1, len(pairs))))
    assert {name: value[0] for name, value in result.items()} == pytest.approx(direct(chosen, rejected), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(pair_scores, st.integers(0, 9))
def test_a_resample_is_the_repeated_examples(pairs: list[tuple[int, int]], seed: int) -> None:
    chosen, rejected = np.array(pairs, dtype=float).T
    counts = np.concatenate(list(metrics.resample_counts(len(pairs), 5, np.random.default_rng(seed))))
    assert (counts.sum(axis=1) == len(pairs)).all()
    result = metrics.estimates(chosen, rejected, counts)
    for i, row in enumerate(counts.astype(int)):
        naive = direct(np.repeat(chosen, row), np.repeat(rejected, row))
        assert {name: value[i] for name, value in result.items()} == pytest.approx(naive, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(pair_scores)
def test_order_and_monotone_transforms_change_nothing_they_should_not(pairs: list[tuple[int, int]]) -> None:
    chosen, rejected = np.array(pairs, dtype=float).T
    ones = np.ones((1, len(pairs)))
    plain = metrics.estimates(chosen, rejected, ones)
    reverse = metrics.estimates(chosen[::-1], rejected[::-1], ones)
    stretched = metrics.estimates(np.exp(chosen), np.exp(rejected), ones)
    assert {k: v[0] for k, v in reverse.items()} == pytest.approx({k: v[0] for k, v in plain.items()}, abs=1e-9)
    assert stretched["auc"] == plain["auc"]
    assert stretched["accuracy"] == plain["accuracy"]


def test_interval_is_the_percentiles_of_a_naive_bootstrap() -> None:
    data = normal_table(40)
    chosen, rejected = data["chosen_score"].to_numpy(), data["rejected_score"].to_numpy()
    result = evaluate(data, resamples=50, seed=3)
    counts = np.concatenate(list(metrics.resample_counts(40, 50, np.random.default_rng(3)))).astype(int)
    naive = pd.DataFrame([direct(np.repeat(chosen, row), np.repeat(rejected, row)) for row in counts])
    for name in naive:
        expected = np.quantile(naive[name], [0.025, 0.975])
        assert [result[f"{name}_lo"], result[f"{name}_hi"]] == pytest.approx(list(expected), abs=1e-9)


def test_what_is_undefined_on_a_resample_is_left_out_of_its_metric_s_interval_alone() -> None:
    draws = np.random.default_rng(0).normal(size=(4, 60))
    draws[1, ::3] = math.nan
    draws[2] = math.nan
    ends = metrics.percentiles_of_each(draws)
    for row in (0, 1, 3):
        defined = [value for value in draws[row] if not math.isnan(value)]
        np.testing.assert_allclose(ends[row], np.quantile(defined, [0.025, 0.975]), rtol=1e-9)
        assert tuple(ends[row]) == metrics.percentiles(draws[row])
    assert np.isnan(ends[2]).all()
    assert np.isnan(metrics.percentiles(np.empty(0))).all()


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    truth = 0.5 * (1 + math.erf(1 / math.sqrt(2) / math.sqrt(2)))  # P(N(1, √2) > 0)
    results = [evaluate(normal_table(200, seed=seed), resamples=200) for seed in range(150)]
    covered = np.mean([r["accuracy_lo"] <= truth <= r["accuracy_hi"] for r in results])
    assert 0.88 <= covered <= 0.99


def test_blocks_do_not_change_the_resamples() -> None:
    whole = np.concatenate(list(metrics.resample_counts(10, 30, np.random.default_rng(0))))
    blocks = list(metrics.resample_counts(10, 30, np.random.default_rng(0), block=70))
    assert len(blocks) == 5
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_two_thousand_examples_are_quick_and_repeatable() -> None:
    data = normal_table(2000)
    start = time.process_time()
    first = evaluate(data, resamples=1000)
    assert time.process_time() - start < 5  # about 0.4 s; the margin is for a busy machine
    assert evaluate(data, resamples=1000) == first


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_named(bad: float) -> None:
    with pytest.raises(UserError, match=r'rejected score of "pair-1" is -?(nan|inf)') as caught:
        evaluate(table([1, 1], [0, bad]))
    assert "\n" not in str(caught.value)


def test_empty_and_incomplete_tables_are_refused() -> None:
    with pytest.raises(UserError, match="nothing to judge"):
        evaluate(table([], []))
    with pytest.raises(UserError, match="no test split in the table"):
        InDistribution().evaluate(table([1], [0], split="validation"))
    with pytest.raises(UserError, match="lacks gold_margin"):
        evaluate(table([1], [0]).drop(columns="gold_margin"))


def test_released_v1_is_three_rounds_of_a_hundred() -> None:
    data = normal_table(700)
    result = released_v1(data)
    rounds = []
    for seed in (123, 124, 125):
        rows = np.random.default_rng(seed).choice(700, 100, replace=False)
        rounds.append(direct(*data[["chosen_score", "rejected_score"]].to_numpy()[rows].T))
    mean = pd.DataFrame(rounds).mean()
    assert result["accuracy"] == pytest.approx(mean["accuracy"])
    assert result["auc"] == pytest.approx(mean["auc"])
    assert result["snr"] == pytest.approx(mean["margin_mean"] / mean["margin_sd"])
    assert result["snr"] != pytest.approx(mean["snr"], abs=1e-6)
    for name in V1_METRICS:
        assert result[f"{name}_half_width"] == pytest.approx((result[f"{name}_hi"] - result[f"{name}_lo"]) / 2)
    assert 0.06 < result["accuracy_half_width"] < 0.11  # 1.96·√(0.76·0.24 / 100) = 0.084


def test_released_v1_needs_a_hundred_pairs() -> None:
    with pytest.raises(UserError, match="100 pairs a round are needed, the main test split has 99"):
        released_v1(normal_table(99))


def test_released_v1_as_a_benchmark_is_the_main_split_alone() -> None:
    data = pd.concat([normal_table(150), normal_table(150, seed=1).assign(split="test_rare")])
    result = ReleasedV1().evaluate(data)
    assert result.metrics == {"test": released_v1(data[data["split"] == "test"])}
    assert result.protocol["seeds"] == [123, 124, 125]
    assert result.details["baselines"]["length_only"]["test"]["accuracy"] == 0.5  # equal lengths, all tied
    coins = result.details["baselines"]["random"]["test"]
    assert (coins["accuracy"], coins["accuracy_hi"]) == (0.5, pytest.approx(0.598, abs=1e-3))  # 0.98 / √100
    assert InDistribution(resamples=5).evaluate(data).details["released_v1"] == result.metrics


def test_wilson_interval_is_the_published_formula() -> None:
    # 81 of 263 (Newcombe 1998, table I, method 3): 0.2553, 0.3662
    assert metrics.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert metrics.wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert metrics.wilson(20, 20)[1] == 1.0


def study_table() -> pd.DataFrame:
    """Two test splits and validation, margins of skill 1 and 0.3, lengths that tell a little."""
    rng = np.random.default_rng(5)
    parts = []
    for split, n, skill in (("test", 120, 1.0), ("test_rare", 40, 0.3), ("validation", 80, 1.0)):
        lengths = rng.integers(1, 400, (2, n))
        columns = {"chosen_length": lengths[0] + 30, "rejected_length": lengths[1], "turns": rng.integers(1, 5, n)}
        parts.append(table(list(rng.normal(skill, 2, n)), [0.0] * n, split=split, **columns))
    return pd.concat(parts, ignore_index=True)


def test_evaluate_judges_the_test_splits_and_validation_only_sets_the_temperature() -> None:
    data = study_table()
    result = InDistribution(resamples=50).evaluate(data)
    held_out = margins_of(data[data["split"] == "validation"])
    assert list(result.metrics) == ["test", "test_rare"]
    for split, measured in result.metrics.items():
        rows = data[data["split"] == split]
        assert measured == evaluate(rows, 50, held_out=held_out)
        margins = (rows["chosen_score"] - rows["rejected_score"]) / measured["temperature"]
        scaled = direct(margins.to_numpy(), np.zeros(len(rows)))
        for name in ("log_loss", "brier", "ece"):
            assert measured[f"{name}_scaled"] == pytest.approx(scaled[name])
            assert measured[f"{name}_scaled_lo"] < measured[f"{name}_scaled_hi"]
    alone = InDistribution(resamples=50).evaluate(data[data["split"] != "validation"])
    assert "temperature" not in alone.details
    assert not [name for name in alone.metrics["test"] if name == "temperature" or "scaled" in name]
    for split, measured in alone.metrics.items():  # information is cross-fitted then
        same = {name: value for name, value in measured.items() if not name.startswith("information")}
        assert same.items() <= result.metrics[split].items()
        assert measured["information"] == pytest.approx(result.metrics[split]["information"], abs=0.1)


def test_every_detail_is_json_and_the_same_twice() -> None:
    data = study_table()
    one, two = (InDistribution(resamples=20).evaluate(data) for _ in range(2))
    assert json.dumps(vars(one), allow_nan=False) == json.dumps(vars(two), allow_nan=False)


def test_baselines_are_the_same_protocol_on_length_and_a_coin() -> None:
    data = study_table()
    result = InDistribution(resamples=50).evaluate(data)
    scored = data.assign(chosen_score=data["chosen_length"] * 1.0, rejected_score=data["rejected_length"] * 1.0)
    baselines = result.details["baselines"]
    assert baselines["length_only"] == InDistribution(resamples=50).evaluate(scored).metrics
    for split, length in baselines["length_only"].items():
        assert length["length_controlled_accuracy"] == 0.5
        for end in ("", "_lo", "_hi"):
            assert length[f"accuracy{end}"] == pytest.approx(result.metrics[split][f"length_accuracy{end}"])
    assert baselines["random"]["test"]["accuracy_hi"] == pytest.approx(0.5 + 1.959964 / (2 * math.sqrt(120)))


def test_a_coin_lands_in_its_interval_as_often_as_it_says() -> None:
    half = coin({"n": 500.0})["accuracy_hi"] - 0.5
    tossed = np.random.default_rng(0).binomial(500, 0.5, 4000) / 500
    assert 0.94 < np.mean(np.abs(tossed - 0.5) <= half) < 0.965


def test_breakdown_by_hand() -> None:
    # right, wrong, tied, right, right; the longer side has 10, 20, 30, 40, 50 characters, so the quarters end at
    # 20, 30, 40, 50 and hold two, one, one and one pair
    data = table(
        [1, 0, 0, 1, 1],
        [0, 1, 0, 0, 0],
        turns=[1, 1, 2, 3, 7],
        chosen_length=[10, 20, 30, 8, 50],
        rejected_length=[5, 20, 7, 40, 6],
    )
    found = breakdown(data)
    shares = {kind: {name: (g["accuracy"], g["n"]) for name, g in groups.items()} for kind, groups in found.items()}
    assert shares == {
        "turns": {"1": (0.5, 2), "2": (0.5, 1), "3+": (1.0, 2)},
        "length": {"quarter 1": (0.5, 2), "quarter 2": (0.5, 1), "quarter 3": (1.0, 1), "quarter 4": (1.0, 1)},
        "longer": {"chosen": (2.5 / 3, 3), "rejected": (1.0, 1), "equal": (0.0, 1)},
    }
    edges = [(group["from"], group["to"]) for group in found["length"].values()]
    assert edges == [(10, 20), (20, 30), (30, 40), (40, 50)]
    assert found["longer"]["chosen"]["accuracy_lo"] == metrics.wilson(2.5, 3)[0]


def test_breakdown_leaves_out_groups_without_pairs() -> None:
    found = breakdown(table([1, 0], [0, 1], chosen_length=7, rejected_length=7))
    assert {kind: list(groups) for kind, groups in found.items()} == {
        "turns": ["1"],
        "length": ["quarter 1"],
        "longer": ["equal"],
    }


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 1), *[st.integers(1, 6)] * 3), min_size=1, max_size=30))
def test_every_pair_is_in_one_group_of_each_kind(rows: list[tuple[int, int, int, int]]) -> None:
    margins, chosen, rejected, turns = np.array(rows).T
    columns = {"chosen_length": chosen, "rejected_length": rejected, "turns": turns}
    data = table(list(margins), [0] * len(rows), **columns)
    accuracy = evaluate(data, resamples=1)["accuracy"]
    for groups in breakdown(data).values():
        assert sum(group["n"] for group in groups.values()) == len(rows)
        right = sum(group["accuracy"] * group["n"] for group in groups.values())
        assert right / len(rows) == pytest.approx(accuracy)


def characters(texts: Iterable[tuple[Sequence[Message], str]], padded: bool = False) -> np.ndarray:
    """A scorer: how many characters a response has."""
    return np.array([len(response) for _, response in texts], dtype=float)


def test_score_is_every_test_split_and_validation_in_one_table() -> None:
    data = load_planted(PlantedConfig(size=2, validation=9, test_size=12))
    scored, record = InDistribution().score(characters, data)
    splits = {**data.tests, "validation": data.validation}
    assert tuple(scored.columns) == PAIR_COLUMNS
    assert list(scored["split"].unique()) == list(splits)
    assert record["rows"] == {split: len(pairs) for split, pairs in splits.items()}
    assert record["sha256"] == {split: pairs_digest(pairs) for split, pairs in splits.items()}
    for split, pairs in splits.items():
        rows = scored[scored["split"] == split]
        assert list(rows["id"]) == [pair.id for pair in pairs]
        assert list(rows["chosen_score"]) == [len(pair.chosen) for pair in pairs]
        assert list(rows["rejected_length"]) == [len(pair.rejected) for pair in pairs]
        assert list(rows["gold_margin"]) == [pair.gold_margin for pair in pairs]
    main, record = ReleasedV1().score(characters, data)
    assert list(main["split"].unique()) == list(record["rows"]) == ["test"]


class Once(Sequence[Pair]):
    """Pairs that count how often they were made, and cannot be held as a list."""

    def __init__(self, size: int) -> None:
        self.size, self.made = size, 0

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, i: int) -> Pair:  # type: ignore[override]
        if not 0 <= i < self.size:
            raise IndexError
        self.made += 1
        return Pair(f"p{i}", (Message("user", "?"),), "yes" * (i % 3 + 1), "no")


def test_pairs_are_generated_twice_at_most_and_none_is_kept() -> None:
    test, validation = Once(50), Once(20)
    report = {"licence": "mit", "sources": {"test": "here"}}
    scored, record = InDistribution().score(characters, Preferences("mine", [], validation, {"test": test}, report))
    assert (test.made, validation.made) == (2 * 50, 2 * 20)
    assert len(scored) == 70
    assert (record["name"], record["licence"], record["sources"]) == ("mine", "mit", {"test": "here"})


def test_a_dataset_without_validation_has_no_temperature_and_one_without_tests_is_refused() -> None:
    scored, record = InDistribution().score(characters, Preferences("mine", [], [], {"test": Once(30)}))
    assert record["rows"] == {"test": 30, "validation": 0}
    assert "temperature" not in InDistribution(resamples=5).evaluate(scored).details
    with pytest.raises(UserError, match="the split test is empty"):
        InDistribution().score(characters, Preferences("mine", [], Once(3), {"test": []}))
    with pytest.raises(UserError, match='a test split of mine is named "validation"'):
        InDistribution().score(characters, Preferences("mine", [], Once(3), {"validation": Once(3)}))
    for nothing in (None, Preferences("mine", [], Once(3), {})):
        with pytest.raises(UserError, match="released_v1: needs a dataset with a test split"):
            ReleasedV1().score(characters, nothing)


def test_settings_that_cannot_be_used_are_named() -> None:
    with pytest.raises(ConfigError, match=r"benchmark\.resamples: must be at least 1, not 0"):
        build(InDistribution, {"resamples": 0}, "benchmark")
    with pytest.raises(ConfigError, match=r"benchmark\.resamples"):
        build(ReleasedV1, {"resamples": 5}, "benchmark")


def test_the_presets_are_what_is_built() -> None:
    group = resources.files("conf") / "benchmark"
    for name, kind in (("in_distribution", InDistribution), ("released_v1", ReleasedV1)):
        preset = yaml.safe_load((group / f"{name}.yaml").read_text(encoding="utf-8"))
        assert preset.pop("name") == name
        assert build(kind, preset, "benchmark") == kind()
