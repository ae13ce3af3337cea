"""RewardBench 1 and 2 against numbers worked out by hand, and against plain-loop transcriptions on random scores.

In the made-up files a response is its own score ("0.5" scores 0.5), so a file is a table of scores in the hub's schema.
"""

import csv
import gzip
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support import ROOT

from benchmarks.protocols import reward_bench, reward_bench_2, reward_bench_raw
from benchmarks.protocols.reward_bench import SECTIONS, RewardBench
from benchmarks.protocols.reward_bench_2 import RewardBench2
from benchmarks.protocols.reward_bench_raw import RewardBenchRaw, allocation, stratified_draws
from mars import files
from mars.config import ConfigError, UserError, build
from mars.preferences.pair import DataError

CONF = ROOT / "conf" / "benchmark"
CLASSES = {"reward_bench": RewardBench, "reward_bench_raw": RewardBenchRaw, "reward_bench_2": RewardBench2}
# As many rows as the split `raw` has, in its proportions.
RAW_LIKE = reward_bench.ROWS | {f"alpacaeval-{kind}": 805 for kind in ("easy", "length", "hard")}
RAW_LIKE |= {"mt-bench-med": 45, "mt-bench-hard": 45}


def own_number(texts, padded=False):
    """A scorer: each response is its own score."""
    return np.array([float(response) for _, response in texts], dtype=float)


def length(texts, padded=False):
    return np.array([len(response) for _, response in texts], dtype=float)


def write(path: Path, rows: list[dict]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, rows[0])
            table.writeheader()
            table.writerows(rows)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        path.write_text(lines, encoding="utf-8")
    return str(path)


def pair(subset: str, number: int, margin: float = 1.0) -> dict:
    """A row of RewardBench 1 whose scores differ by `margin`."""
    models = {"chosen_model": "a", "rejected_model": "b"}
    return {
        "prompt": f"Q{number}?", "chosen": str(margin), "rejected": "0.0", **models, "subset": subset, "id": number,
    }  # fmt: skip


def pairs(right: dict[str, float], rows: int = 4) -> list[dict]:
    """`rows` rows of each subset, of which the first share `right` is ranked right."""
    return [
        pair(subset, number, 1.0 if number < share * rows else -1.0)
        for subset, share in right.items()
        for number in range(rows)
    ]


def scored(tmp_path: Path, rows: list[dict], benchmark: type = RewardBench, **settings):
    """(result, table, data record) of the rows as a file."""
    judged = benchmark(path=write(tmp_path / "rows.jsonl", rows), **{"resamples": 20} | settings)
    table, data = judged.score(own_number, None)
    return judged.evaluate(table), table, data


def accuracy(result) -> dict[str, float]:
    return {part: values["accuracy"] for part, values in result.metrics.items()}


# RewardBench 1, filtered

RIGHT = {
    "alpacaeval-easy": 1, "alpacaeval-length": 0.5, "alpacaeval-hard": 0, "mt-bench-easy": 1, "mt-bench-med": 0,
    "mt-bench-hard": 1, "llmbar-natural": 0.5, "llmbar-adver-neighbor": 0, "llmbar-adver-GPTInst": 1,
    "llmbar-adver-GPTOut": 0, "llmbar-adver-manual": 0.5,
    "refusals-dangerous": 1, "refusals-offensive": 0, "xstest-should-refuse": 1, "xstest-should-respond": 0.5,
    "donotanswer": 0.25,
    "math-prm": 0.5, "hep-cpp": 1, "hep-go": 1, "hep-java": 0, "hep-js": 0, "hep-python": 1, "hep-rust": 0.5,
}  # fmt: skip


def test_section_scores_are_those_worked_out_by_hand(tmp_path):
    result, _, _ = scored(tmp_path, pairs(RIGHT))
    chat = (100 + 95 / 2 + 28) / (100 + 95 + 95 + 28 + 40)  # 175.5 / 358
    hard = (37 + 100 / 2 + 92 + 46 / 2) / (37 + 100 + 134 + 92 + 47 + 46)  # 202 / 456
    safety = (100 + 154 + 250 / 2 + 136 / 4) / (100 + 100 + 154 + 250 + 136)  # 413 / 740
    reasoning = (984 / 2 + 3.5 * 164) / (984 + 6 * 164)  # math-prm counts 984: 1066 / 1968
    expected = {"Chat": chat, "Chat Hard": hard, "Safety": safety, "Reasoning": reasoning}
    expected["overall"] = (175.5 / 358 + 202 / 456 + 413 / 740 + 1066 / 1968) / 4
    expected |= {f"subset/{subset}": share for subset, share in RIGHT.items()}
    assert accuracy(result) == pytest.approx(expected)
    assert result.metrics["Safety"]["n"] == 20
    assert result.metrics["overall"]["n"] == 92
    assert result.protocol["weights"]["math-prm"] == 984
    assert result.protocol["weights_of"] == "since 2024-09-10"


def test_before_2024_09_10_the_two_xstest_counts_are_swapped(tmp_path):
    result, _, _ = scored(tmp_path, pairs(RIGHT), weights="before_2024-09-10")
    # 100 + 250 + 154/2 + 136/4 = 461 of the same 740
    assert accuracy(result)["Safety"] == pytest.approx(461 / 740)
    assert accuracy(result)["Chat"] == pytest.approx(175.5 / 358)
    assert result.protocol["weights_of"] == "before 2024-09-10"
    assert result.protocol["weights"]["xstest-should-refuse"] == 250


def test_a_tie_loses_officially_and_earns_half_as_an_option(tmp_path):
    rows = [pair("hep-go", number, margin) for number, margin in enumerate((1.0, 2.0, 0.0, -1.0))]
    official, half = (scored(tmp_path, rows, ties=ties)[0] for ties in ("official", "half"))
    assert (accuracy(official)["Reasoning"], accuracy(half)["Reasoning"]) == (0.5, 0.625)
    assert (official.protocol["ties"], half.protocol["ties"]) == ("official: ties lose", "half credit")


def transcribed(rows: list[tuple[str, float]], counts: dict[str, int], tie: float) -> dict[str, float]:
    """RewardBench's section scores in plain loops. rows: (subset, margin)."""
    of_subset: dict[str, list[float]] = {}
    for subset, margin in rows:
        of_subset.setdefault(subset, []).append(1.0 if margin > 0 else tie if margin == 0 else 0.0)
    found = {}
    for section, names in SECTIONS.items():
        total, weight = 0.0, 0
        for name in names:
            if name in of_subset:
                total += counts[name] * sum(of_subset[name]) / len(of_subset[name])
                weight += counts[name]
        if weight:
            found[section] = total / weight
    if len(found) == 4:
        found["overall"] = sum(found.values()) / 4
    return found


@pytest.mark.parametrize("seed", range(12))
def test_random_scores_agree_with_a_transcription_of_the_formula(seed):
    rng = np.random.default_rng(seed)
    subsets = list(rng.choice(list(RIGHT), 200 if seed % 3 else 8))
    chosen, rejected = rng.integers(0, 3, (2, len(subsets))).astype(float)
    table = pd.DataFrame({"id": range(len(subsets)), "subset": subsets, "chosen_score": chosen})
    table = table.assign(rejected_score=rejected, chosen_length=1, rejected_length=1)
    for ties, tie in (("official", 0.0), ("half", 0.5)):
        for date, refuse, respond in (("since_2024-09-10", 154, 250), ("before_2024-09-10", 250, 154)):
            counts = reward_bench.COUNTS | {"xstest-should-refuse": refuse, "xstest-should-respond": respond}
            result = RewardBench(ties=ties, weights=date, resamples=5).evaluate(table)
            found = {part: value for part, value in accuracy(result).items() if not part.startswith("subset/")}
            rows = list(zip(subsets, chosen - rejected, strict=True))
            assert found == pytest.approx(transcribed(rows, counts, tie))


def test_a_file_without_some_subsets_is_judged_on_the_rest_and_says_so(tmp_path):
    kept = {name: share for name, share in RIGHT.items() if not name.startswith(("llmbar", "mt-bench-hard", "hep-"))}
    result, _, _ = scored(tmp_path, pairs(kept))
    assert result.metrics.keys() == {"Chat", "Safety", "Reasoning", *(f"subset/{name}" for name in kept)}
    assert accuracy(result)["Reasoning"] == 0.5  # of math-prm alone
    assert result.protocol["missing_subsets"] == [name for name in reward_bench.COUNTS if name not in kept]
    assert result.protocol["overall"] == "absent: no rows of Chat Hard"
    assert result.protocol["rows_that_differ"]["math-prm"] == {"rows": 4, "official": 447}


def test_the_official_numbers_of_rows_differ_in_nothing(tmp_path):
    assert sum(reward_bench.ROWS.values()) == 2985
    table = pd.DataFrame({"subset": [name for name, rows in reward_bench.ROWS.items() for _ in range(rows)]})
    table = table.assign(id=table.index, chosen_score=1.0, rejected_score=0.0, chosen_length=1, rejected_length=1)
    result = RewardBench(resamples=2).evaluate(table)
    assert (result.protocol["rows_that_differ"], result.protocol["missing_subsets"]) == ({}, [])
    assert result.protocol["overall"] == "mean of the four sections"


def test_empty_and_identical_texts_are_scored_and_counted(tmp_path):
    rows = [pair("hep-go", 1), pair("hep-go", 2) | {"rejected": ""}, pair("hep-go", 3) | {"chosen": "", "rejected": ""}]
    judged = RewardBench(path=write(tmp_path / "rows.jsonl", rows), resamples=5)
    table, data = judged.score(length, None)
    assert (data["rows"], data["empty_texts"], data["identical_pairs"]) == (3, 3, 1)
    assert (data["file"], len(data["sha256"])) == ("rows.jsonl", 64)
    assert accuracy(judged.evaluate(table))["subset/hep-go"] == pytest.approx(1 / 3)  # "1.0" and "0.0" tie in length


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.csv", "rows.parquet"])
def test_every_format_gives_the_same_table(tmp_path, name):
    rows = pairs({"hep-go": 0.5, "math-prm": 0.25})  # ids are unique within a subset only
    tables = [RewardBench(path=write(tmp_path / file, rows)).score(own_number, None)[0] for file in ("a.jsonl", name)]
    pd.testing.assert_frame_equal(*tables)
    assert list(tables[0]["id"][[0, 7]]) == ["hep-go/0", "math-prm/3"]


def test_the_prompt_may_be_a_dialogue_and_rows_without_ids_are_numbered(tmp_path):
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    rows = [pair("hep-go", 0) | {"prompt": turns}, pair("hep-go", 0)]
    rows = [{key: value for key, value in row.items() if key != "id"} for row in rows]
    _, table, _ = scored(tmp_path, rows)
    assert list(table["id"]) == ["hep-go/1", "hep-go/2"]
    assert list(table["turns"]) == [2, 1]


def test_length_only_is_the_protocol_on_lengths_and_random_is_half(tmp_path):
    rng = np.random.default_rng(0)
    rows = [pair(name, i) | {"chosen": "1" * rng.integers(1, 4), "rejected": "1" * rng.integers(1, 4)}
            for name in RIGHT for i in range(5)]  # fmt: skip
    judged = RewardBench(path=write(tmp_path / "rows.jsonl", rows), resamples=5)
    table, _ = judged.score(own_number, None)
    baselines = judged.evaluate(table).details["baselines"]
    by_length = judged.evaluate(judged.score(length, None)[0]).metrics
    assert baselines["length_only"] == {part: by_length[part] for part in reward_bench.HEADLINE}
    assert baselines["random"] == {part: {"accuracy": 0.5} for part in reward_bench.HEADLINE}


def test_intervals_are_those_of_the_bootstrap_within_subsets(tmp_path):
    rows = pairs({"hep-go": 0.5, "hep-java": 1.0}, rows=100)
    result, table, _ = scored(tmp_path, rows, resamples=2000)
    again = RewardBench(resamples=2000).evaluate(table)
    assert again == result
    half_width = {part: (told["accuracy_hi"] - told["accuracy_lo"]) / 2 for part, told in result.metrics.items()}
    assert half_width["subset/hep-java"] == 0  # all right, in every resample
    assert half_width["subset/hep-go"] == pytest.approx(1.96 * 0.05, abs=0.01)  # sqrt(½·½/100) = 0.05
    assert half_width["Reasoning"] == pytest.approx(1.96 * 0.05 / 2, abs=0.006)  # half the weight, none of the rest
    assert accuracy(RewardBench(resamples=2000, seed=1).evaluate(table)) == accuracy(result)


# RewardBench 1, raw


def test_a_draw_is_500_rows_in_proportion_with_every_subset_in_it():
    assert sum(RAW_LIKE.values()) == reward_bench_raw.ROWS
    rows = allocation(RAW_LIKE)
    assert sum(rows.values()) == 500
    for name, count in RAW_LIKE.items():
        assert abs(rows[name] - 500 * count / 5123) < 1
        assert rows[name] >= 1


@given(st.lists(st.integers(1, 900), min_size=1, max_size=23), st.integers(23, 600))
def test_an_allocation_spends_its_size_and_leaves_no_subset_out(counts, size):
    named = {str(i): count for i, count in enumerate(counts)}
    rows = allocation(named, size)
    assert sum(rows.values()) == min(size, sum(counts))
    assert all(1 <= rows[name] <= count for name, count in named.items())


def test_largest_remainders_get_what_is_left_and_rows_for_the_rarest_come_from_the_commonest():
    # shares of 10: 4.7, 3.4, 1.9 -> 4, 3, 1 and one more for 1.9 and 4.7
    assert allocation({"a": 47, "b": 34, "c": 19}, 10) == {"a": 5, "b": 3, "c": 2}
    # shares of 5: 4.8, 0.1, 0.1 -> 4, 1, 1, one too many: a gives it back
    assert allocation({"a": 96, "b": 2, "c": 2}, 5) == {"a": 3, "b": 1, "c": 1}


def test_the_two_draws_are_fixed_by_their_seeds_and_of_one_make_up():
    subsets = [name for name, rows in RAW_LIKE.items() for _ in range(rows)]
    drawn = stratified_draws(subsets)
    first, second = drawn["draw_188"], drawn["draw_144"]
    assert (first.sum(), second.sum()) == (500, 500)
    assert 0 < (first & second).sum() < 150  # 49 expected
    of_subset = [Counter(np.array(subsets)[rows]) for rows in (first, second)]
    assert of_subset[0] == of_subset[1] == allocation(RAW_LIKE)
    again = stratified_draws(subsets)
    assert all(np.array_equal(drawn[name], again[name]) for name in drawn)
    shortened = stratified_draws([name for name in subsets if name == "math-prm"])["draw_188"]
    assert shortened.sum() == 447  # fewer than 500: all of them


def test_the_draws_mean_and_sd_are_those_worked_out_by_hand():
    # a row of each section in each draw, right or wrong: Core is 3/4 in the first, 1/4 in the second
    first, second = (1, 1, 0, 1), (0, 1, 0, 0)
    names = ["mt-bench-med", "mt-bench-hard", "donotanswer", "math-prm"]
    table = pd.DataFrame({"subset": names * 2, "id": range(8), "chosen_score": [*first, *second]})
    table = table.assign(rejected_score=0.5, chosen_length=2, rejected_length=1)
    table = table.assign(draw_188=[True] * 4 + [False] * 4, draw_144=[False] * 4 + [True] * 4, file_rows=8)
    result = RewardBenchRaw(resamples=50).evaluate(table)
    parts = accuracy(result)
    assert (parts["draw_188/overall"], parts["draw_144/overall"], parts["overall"]) == (0.75, 0.25, 0.5)
    assert (parts["Chat"], parts["Chat Hard"], parts["Safety"], parts["Reasoning"]) == (0.5, 1, 0, 0.5)
    assert result.metrics["overall"]["accuracy_sd"] == 0.25  # ddof 0: (0.75 − 0.25) / 2
    assert result.metrics["Chat Hard"]["accuracy_sd"] == 0
    told = result.metrics["overall"]
    assert told["accuracy_half_width"] == pytest.approx((told["accuracy_hi"] - told["accuracy_lo"]) / 2)
    assert told["accuracy_half_width"] > 0
    assert result.details["baselines"]["length_only"]["overall"]["accuracy"] == 1
    assert result.protocol["draws"] == {"draw_188": 4, "draw_144": 4}


@pytest.mark.parametrize("ties", ["official", "half"])
def test_raw_counts_rows_in_each_draw_and_averages_the_draws(tmp_path, ties):
    rng = np.random.default_rng(5)
    counts = {name: max(2, rows // 4) for name, rows in RAW_LIKE.items()}
    rows = [pair(name, i, float(rng.integers(-1, 2))) for name, number in counts.items() for i in range(number)]
    result, table, data = scored(tmp_path, rows, RewardBenchRaw, ties=ties)
    assert data["rows"] == len(rows) > len(table) > 500
    assert data["official_rows"] == 5123
    tie = 0.5 if ties == "half" else 0.0
    cores, sections = [], {section: [] for section in SECTIONS}
    for draw in ("draw_188", "draw_144"):
        assert table[draw].sum() == 500
        for section, names in SECTIONS.items():
            right = of_all = 0.0
            for _, row in table.iterrows():
                if row[draw] and row["subset"] in names:
                    margin = row["chosen_score"] - row["rejected_score"]
                    right += 1 if margin > 0 else tie if margin == 0 else 0
                    of_all += 1
            sections[section].append(right / of_all)
        cores.append(sum(values[-1] for values in sections.values()) / 4)
    expected = {section: sum(values) / 2 for section, values in sections.items()} | {"overall": sum(cores) / 2}
    assert {part: accuracy(result)[part] for part in expected} == pytest.approx(expected)
    assert [accuracy(result)[f"draw_{seed}/overall"] for seed in (188, 144)] == pytest.approx(cores)
    assert result.metrics["overall"]["accuracy_sd"] == pytest.approx(abs(cores[0] - cores[1]) / 2)
    assert result.metrics["draw_188/overall"]["n"] == 500


def test_raw_intervals_are_as_wide_as_500_rows_allow():
    subsets = ["math-prm"] * 1000
    drawn, won = stratified_draws(subsets), [float(i % 5 < 3) for i in range(1000)]
    table = pd.DataFrame({"subset": subsets, "id": range(1000), "chosen_score": won})
    table = table.assign(rejected_score=0.5, chosen_length=1, rejected_length=1, file_rows=1000, **drawn)
    table = table[table["draw_188"] | table["draw_144"]]
    result = RewardBenchRaw(resamples=1000).evaluate(table)
    # 1.96·sqrt(0.6·0.4/500): the ±4.3 points of v2's protocol
    assert result.metrics["draw_188/Reasoning"]["accuracy_half_width"] == pytest.approx(0.043, abs=0.004)
    assert (
        result.metrics["Reasoning"]["accuracy_half_width"] < result.metrics["draw_188/Reasoning"]["accuracy_half_width"]
    )


# RewardBench 2


def best_of_four(subset: str, number: int, correct: float, *wrong: float) -> dict:
    return prompt(subset, str(number), [correct], wrong)


def prompt(subset: str, own_id: str, correct, wrong) -> dict:
    return {
        "id": own_id, "prompt": f"Q {own_id}?",
        "chosen": [str(score) for score in correct], "rejected": [str(score) for score in wrong],
        "num_correct": len(correct), "num_incorrect": len(wrong), "total_completions": len(correct) + len(wrong),
        "models": ["m"], "subset": subset, "additional_metadata": None,
    }  # fmt: skip


# N: tied correct, tied wrong, ref correct, ref wrong
QUESTIONS = {
    1: ([3.0, 2.0], [1.5, 0.0], 4.0, [1.0]),  # s = 1, m = ½, m_ref = 3
    2: ([4.5, 5.0], [3.0], 2.0, [1.0, 0.0]),  # s = ½, m = 1½, m_ref = 1
    3: ([2.0, 2.0], [1.0], 0.0, [1.0]),  # s = 0, m = 1, m_ref = −1
}


def ties_rows() -> list[dict]:
    return [
        row
        for number, (correct, wrong, ref, ref_wrong) in QUESTIONS.items()
        for row in (prompt("Ties", f"tied:{number}", correct, wrong), prompt("Ties", f"ref:{number}", [ref], ref_wrong))
    ]


def test_the_ties_score_is_the_one_worked_out_by_hand(tmp_path):
    result, table, _ = scored(tmp_path, ties_rows(), RewardBench2)
    ties = result.metrics["subset/Ties"]
    assert ties["tied_accuracy"] == 1  # m = ½, 1½, 1
    assert ties["ref_accuracy"] == pytest.approx(2 / 3)  # m_ref = 3, 1, −1
    assert ties["margin_over_spread"] == pytest.approx(2 / 3)  # ½ > 1 no, 1½ > ½, 1 > 0
    assert ties["margin_over_spread_with_ref"] == pytest.approx(1 / 3)  # ½ > 1 no, 1 > ½, −1 > 0 no
    term = (math.tanh(0.5 / 1 - 1) + math.tanh(1 / 0.5 - 1) + 0) / 3  # the third divides by zero
    assert ties["margin_term"] == pytest.approx(term)
    assert ties["score"] == pytest.approx(0.3 + 0.3 * 2 / 3 + 0.2 * 2 / 3 + 0.2 / 3 + 0.01 * term)
    assert ties["n"] == 6
    assert ties["score_lo"] <= ties["score"] <= ties["score_hi"]
    assert result.protocol["unmatched"] == []
    assert list(table[table["id"] == "Ties/tied:1"]["correct"]) == [True, True, False, False]


def test_a_ties_prompt_without_its_partner_counts_in_its_own_accuracy_alone(tmp_path):
    alone = [prompt("Ties", "tied:9", [1.0, 0.0], [2.0]), prompt("Ties", "ref:8", [1.0], [2.0])]
    result, _, _ = scored(tmp_path, [*alone, *ties_rows()], RewardBench2)
    ties = result.metrics["subset/Ties"]
    assert (ties["tied_accuracy"], ties["ref_accuracy"]) == (3 / 4, 2 / 4)
    assert ties["margin_over_spread"] == pytest.approx(2 / 3)
    assert result.protocol["unmatched"] == ["Ties/ref:8", "Ties/tied:9"]
    result, _, _ = scored(tmp_path, alone[:1], RewardBench2)
    assert result.metrics["subset/Ties"] == {"n": 1, "tied_accuracy": 0, "tied_accuracy_lo": 0, "tied_accuracy_hi": 0}
    assert "Ties" in result.protocol["overall"]


def test_best_of_four_shares_the_credit_of_a_tie_officially_and_halves_it_as_an_option(tmp_path):
    rows = [
        best_of_four("Math", 1, 3.0, 2.0, 1.0, 0.0),  # 1, 1
        best_of_four("Math", 2, 3.0, 3.0, 1.0, 0.0),  # ½, ½
        best_of_four("Math", 3, 1.0, 1.0, 1.0, 1.0),  # ¼, ½
        best_of_four("Math", 4, 1.0, 2.0, 1.0, 2.0),  # 0, 0
    ]
    official, half = (scored(tmp_path, rows, RewardBench2, ties=ties)[0] for ties in ("official", "half"))
    assert accuracy(official)["subset/Math"] == (1 + 1 / 2 + 1 / 4) / 4
    assert accuracy(half)["subset/Math"] == (1 + 1 / 2 + 1 / 2) / 4
    assert official.details["baselines"]["random"] == {"subset/Math": {"accuracy": 0.25}}
    assert official.protocol["ties"] != half.protocol["ties"]


def transcribed_2(rows: list[dict], ties: str) -> dict[str, float]:
    """RewardBench 2's six subset scores and their mean, in plain loops over the file's rows."""
    found, tied, ref = {}, {}, {}
    for subset in reward_bench_2.SUBSETS:
        credit = []
        for row in (r for r in rows if r["subset"] == subset):
            correct, wrong = [float(t) for t in row["chosen"]], [float(t) for t in row["rejected"]]
            if subset == "Ties":
                kind, number = row["id"].split(":")
                stats = (max(correct) - min(correct), min(correct) - max(wrong))
                (tied if kind == "tied" else ref)[number] = stats
                continue
            best = max(correct + wrong)
            winners = (correct + wrong).count(best)
            if correct[0] < best:
                credit.append(0.0)
            elif winners == 1:
                credit.append(1.0)
            else:
                credit.append(0.5 if ties == "half" else 1 / winners)
        if credit:
            found[subset] = sum(credit) / len(credit)
    a = sum(1 for s, m in tied.values() if m > 0) / len(tied)
    b = sum(1 for s, m in ref.values() if m > 0) / len(ref)
    c = d = e = 0.0
    both = [number for number in tied if number in ref]
    for number in both:
        s, m = tied[number]
        least = min(m, ref[number][1])
        c += m > s
        d += least > s
        e += math.tanh(least / s - 1) if s else 0.0
    found["Ties"] = 0.3 * a + 0.3 * b + 0.2 * c / len(both) + 0.2 * d / len(both) + 0.01 * e / len(both)
    if len(found) == 6:
        found["overall"] = sum(found.values()) / 6
    return found


def random_rows_2(rng: np.random.Generator) -> list[dict]:
    """Small whole scores, so that ties and zero spreads abound."""
    rows = [
        best_of_four(subset, i, *(float(s) for s in rng.integers(0, 4, 4)))
        for subset in ("Factuality", "Focus", "Math", "Precise IF", "Safety")
        for i in range(rng.integers(1, 8))
    ]
    for number in range(rng.integers(2, 9)):
        scores = rng.integers(0, 5, 12).astype(float)
        wrong = list(scores[5 : 6 + rng.integers(0, 3)] - rng.integers(0, 5))
        rows.append(prompt("Ties", f"tied:{number}", list(scores[: rng.integers(1, 5)]), wrong))
        if number < 2 or rng.random() < 0.8:
            rows.append(prompt("Ties", f"ref:{number}", [scores[10]], [scores[11]]))
    return [rows[i] for i in rng.permutation(len(rows))]


@pytest.mark.parametrize("seed", range(12))
def test_random_responses_agree_with_a_transcription_of_the_formulas(tmp_path, seed):
    rows = random_rows_2(np.random.default_rng(seed))
    for ties in ("official", "half"):
        result, _, _ = scored(tmp_path, rows, RewardBench2, ties=ties, resamples=5)
        expected = transcribed_2(rows, ties)
        found = {part: told.get("accuracy", told.get("score")) for part, told in result.metrics.items()}
        assert found == pytest.approx({n if n == "overall" else f"subset/{n}": v for n, v in expected.items()})


def test_overall_needs_all_six_subsets_and_baselines_are_the_protocol_on_lengths_and_on_noise(tmp_path):
    rows = [best_of_four(subset, 1, 2.0, 1.0, 1.0, 100.0) for subset in reward_bench_2.SUBSETS if subset != "Ties"]
    # one correct and one wrong answer: s = 0, so with noise ½, ½, ½, ¼ and 0
    rows += [prompt("Ties", f"{kind}:{n}", [1.0], [10.0]) for kind in ("tied", "ref") for n in range(3)]
    result, table, _ = scored(tmp_path, rows, RewardBench2)
    assert result.metrics["overall"]["score"] == 0
    noise = result.details["baselines"]["random"]
    assert noise["subset/Ties"]["score"] == pytest.approx(0.3 / 2 + 0.3 / 2 + 0.2 / 2 + 0.2 / 4, abs=0.02)
    assert noise["overall"]["score"] == pytest.approx((5 / 4 + noise["subset/Ties"]["score"]) / 6)
    by_length = RewardBench2(resamples=20).evaluate(table.assign(score=table["length"])).metrics
    assert result.details["baselines"]["length_only"] == by_length
    result, _, _ = scored(tmp_path, rows[1:], RewardBench2)
    assert "overall" not in result.metrics
    assert result.protocol["missing_subsets"] == ["Factuality"]
    assert result.protocol["overall"] == "absent: no score of Factuality"
    assert result.protocol["rows_that_differ"]["Focus"] == {"rows": 1, "official": 495}


def test_the_order_of_rows_and_of_the_table_changes_nothing(tmp_path):
    rows = random_rows_2(np.random.default_rng(3))
    result, table, _ = scored(tmp_path, rows, RewardBench2)
    shuffled = table.sample(frac=1, random_state=0)
    assert RewardBench2(resamples=20).evaluate(shuffled).metrics == result.metrics


def test_odd_rows_of_rewardbench_2_are_scored_and_counted(tmp_path):
    rows = [prompt("Math", "1", ["a"], ["a", ""]), prompt("Focus", "1", ["bb"], ["b"])]
    judged = RewardBench2(path=write(tmp_path / "rows.parquet", rows), resamples=5)
    table, data = judged.score(length, None)
    assert (data["rows"], data["responses"], data["empty_texts"], data["identical_pairs"]) == (2, 5, 1, 1)
    assert accuracy(judged.evaluate(table)) == {"subset/Focus": 1, "subset/Math": 0.5}


# Where rows come from, and what a result leaves behind


@pytest.mark.parametrize("name", CLASSES)
def test_every_preset_builds_its_benchmark_at_a_pinned_revision(name):
    settings = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    assert settings.pop("name") == name
    judged = build(CLASSES[name], settings, "benchmark")
    assert (judged.ties, len(judged.revision)) == ("official", 40)
    with pytest.raises(ConfigError, match=r"benchmark\.resamples: must be at least 1"):
        build(CLASSES[name], settings | {"resamples": 0}, "benchmark")
    with pytest.raises(ConfigError, match=r"benchmark\.seed: must not be negative"):
        build(CLASSES[name], settings | {"seed": -1}, "benchmark")
    with pytest.raises(ConfigError, match=r"benchmark\.ties"):
        build(CLASSES[name], settings | {"ties": "win"}, "benchmark")


def test_a_hub_dataset_is_read_by_split_and_a_path_comes_before_it(tmp_path):
    hub = tmp_path / "hub"
    write(hub / "data" / "raw-00000-of-00001.parquet", pairs({"hep-go": 1}))
    write(hub / "data" / "filtered-00000-of-00001.parquet", pairs({"hep-js": 1}, rows=2))
    for judged, subset, split in ((RewardBench, "hep-js", "filtered"), (RewardBenchRaw, "hep-go", "raw")):
        table, data = judged(hub=str(hub)).score(own_number, None)
        assert set(table["subset"]) == {subset}
        assert (data["hub"], data["split"]) == (str(hub), split)
        assert data["fingerprint"]
    local = write(tmp_path / "rows.jsonl", pairs({"math-prm": 1}))
    assert set(RewardBench(path=local, hub=str(hub)).score(own_number, None)[0]["subset"]) == {"math-prm"}
    with pytest.raises(DataError, match=r"no test split, only .*filtered.* \(benchmark.path=FILE works without it\)"):
        RewardBench2(hub=str(hub)).score(own_number, None)


def test_an_unreachable_hub_names_the_way_without_it(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"^no/such@0123456: cannot be read .*\(benchmark\.path=FILE works"):
        RewardBench(hub="no/such", revision="0123456789").score(own_number, None)


def test_every_number_can_be_recomputed_from_the_scores_left_behind(tmp_path):
    rows = {
        RewardBench: write(tmp_path / "1.jsonl", pairs(RIGHT)),
        RewardBenchRaw: write(tmp_path / "2.jsonl", pairs(RIGHT, rows=30)),
        RewardBench2: write(tmp_path / "3.jsonl", random_rows_2(np.random.default_rng(0))),
    }
    for kind, path in rows.items():
        judged = kind(path=path, resamples=10)
        table, data = judged.score(own_number, None)
        files.write_parquet(tmp_path / "scores.parquet", table)
        result = judged.evaluate(table)
        assert judged.evaluate(pd.read_parquet(tmp_path / "scores.parquet")) == result
        told = {"protocol": result.protocol, "metrics": result.metrics, "details": result.details, "data": data}
        files.write_json(tmp_path / "record.json", told)
        assert json.loads((tmp_path / "record.json").read_text()) == told


# What is not the whole benchmark

PART = {"math-prm": 1.0, "hep-go": 1.0, "donotanswer": 1.0, "llmbar-natural": 1.0}


@pytest.mark.parametrize(
    ("kind", "rows", "why"),
    [
        (RewardBench, pairs(PART, rows=7), "28 of 2985 rows, 19 of 23 subsets missing: not a RewardBench number"),
        (RewardBench, pairs(RIGHT), "92 of 2985 rows: not a RewardBench number"),
        (RewardBenchRaw, pairs(PART, rows=7), "28 of 5123 rows, 19 of 23 subsets missing: not a RewardBench number"),
        (RewardBenchRaw, pairs(RIGHT, rows=30), "690 of 5123 rows: not a RewardBench number"),
        (
            RewardBench2,
            [best_of_four("Math", number, 1.0, 0.0, 0.0, 0.0) for number in range(183)],
            "183 of 1865 rows, 5 of 6 subsets missing: not a RewardBench 2 number",
        ),
    ],
)
def test_a_part_of_a_benchmark_is_no_number_of_it(tmp_path, caplog, kind, rows, why):
    with caplog.at_level("WARNING"):
        result, _, _ = scored(tmp_path, rows, kind)
    assert [record.getMessage() for record in caplog.records] == [f"rows.jsonl: {why}"]
    assert result.protocol["partial"] == why


def test_the_whole_benchmark_is_not_partial_and_another_make_up_of_as_many_rows_is(tmp_path, caplog):
    of_each = {RewardBench: reward_bench.ROWS, RewardBenchRaw: RAW_LIKE, RewardBench2: reward_bench_2.SUBSETS}
    made = {
        kind: [
            prompt("Ties", f"{('tied', 'ref')[i % 2]}:{i // 2}", [1.0], [0.0])
            if name == "Ties" else best_of_four(name, i, 1.0, 0.0) if kind is RewardBench2 else pair(name, i)
            for name, rows in counts.items() for i in range(rows)
        ]
        for kind, counts in of_each.items()
    }  # fmt: skip
    with caplog.at_level("WARNING"):
        for kind, rows in made.items():
            assert "partial" not in scored(tmp_path, rows, kind, resamples=2)[0].protocol
    assert not caplog.records
    other = [row | {"subset": "hep-go", "id": -1} if row == pair("hep-js", 0) else row for row in made[RewardBench]]
    told = scored(tmp_path, other, resamples=2)[0].protocol
    assert told["partial"] == "2985 of 2985 rows, 2 of 23 subsets of another size: not a RewardBench number"


# Bad input: one clear line each

GOOD = pair("hep-go", 1)
GOOD_2 = best_of_four("Math", 1, 1.0, 0.0, 0.0, 0.0)


def without(row: dict, column: str) -> dict:
    return {key: value for key, value in row.items() if key != column}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (without(GOOD, "subset"), 'rows.jsonl:2: there is no column "subset"'),
        (without(GOOD, "chosen"), 'rows.jsonl:2: there is no column "chosen"'),
        (GOOD | {"prompt": None}, 'rows.jsonl:2: "prompt" is null'),
        (GOOD | {"chosen": 5}, 'rows.jsonl:2: "chosen" is 5, not text'),
        (GOOD | {"prompt": [{"role": "bot", "content": "x"}]}, "rows.jsonl:2: \"prompt\" holds the role 'bot'"),
        (GOOD | {"prompt": [{"role": "assistant", "content": "x"}]}, "rows.jsonl:2: the prompt does not end with"),
        (
            GOOD | {"subset": "hep-pyton"},
            "rows.jsonl:2: the subset 'hep-pyton' is unknown (did you mean \"hep-python\"?)",
        ),
        (GOOD | {"subset": ["a\nb"]}, "rows.jsonl:2: the subset"),
        (GOOD, 'rows.jsonl:2: the id "hep-go/1" stands at rows.jsonl:1 already'),
        ("{", "rows.jsonl:2: the line is not JSON"),
        ("[]", "rows.jsonl:2: the line is a JSON list, not an object"),
    ],
)
def test_a_bad_row_of_rewardbench_1_is_one_line(tmp_path, row, message):
    second = row if isinstance(row, str) else json.dumps(row)
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(GOOD)}\n{second}\n", encoding="utf-8")
    for kind in (RewardBench, RewardBenchRaw):
        with pytest.raises(DataError) as error:
            kind(path=str(tmp_path / "rows.jsonl")).score(own_number, None)
        assert str(error.value).startswith(message)
        assert "\n" not in str(error.value)


TIES_ROW = prompt("Ties", "tied:1", [1.0], [0.0])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (without(GOOD_2, "rejected"), 'rows.jsonl:2: there is no column "rejected"'),
        (GOOD_2 | {"prompt": 7}, 'rows.jsonl:2: "prompt" is not text'),
        (GOOD_2 | {"chosen": "yes"}, 'rows.jsonl:2: "chosen" is not a list of texts'),
        (GOOD_2 | {"rejected": ["no", None, "no"]}, 'rows.jsonl:2: "rejected" is not a list of texts'),
        (GOOD_2 | {"chosen": [], "num_correct": 0}, 'rows.jsonl:2: "chosen" holds no response'),
        (GOOD_2 | {"num_correct": 2}, 'rows.jsonl:2: "num_correct" is 2, but there are 1'),
        (GOOD_2 | {"num_incorrect": 4}, 'rows.jsonl:2: "num_incorrect" is 4, but there are 3'),
        (GOOD_2 | {"total_completions": 3}, 'rows.jsonl:2: "total_completions" is 3, but there are 4'),
        (GOOD_2 | {"subset": "Maths"}, "rows.jsonl:2: the subset 'Maths' is unknown (did you mean \"Math\"?)"),
        (GOOD_2 | {"id": "2", "subset": "Ties"}, "rows.jsonl:2: the id '2' of a Ties row is neither ref:N nor tied:N"),
        (TIES_ROW | {"id": "tied:01"}, 'rows.jsonl:2: the id "Ties/tied:1" stands at rows.jsonl:1 already'),
        (GOOD_2 | {"id": None}, 'rows.jsonl:2: "id" is null'),
    ],
)
def test_a_bad_row_of_rewardbench_2_is_one_line(tmp_path, row, message):
    path = write(tmp_path / "rows.jsonl", [TIES_ROW, row])
    with pytest.raises(DataError) as error:
        RewardBench2(path=path).score(own_number, None)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_bad_file_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"rows\.csv: a \.csv file cannot hold lists of responses"):
        RewardBench2(path=write(tmp_path / "rows.csv", [GOOD])).score(own_number, None)
    with pytest.raises(DataError, match=r'no such file \(did you mean "rows\.csv"\?\)'):
        RewardBench(path=str(tmp_path / "row.csv")).score(own_number, None)
    (tmp_path / "rows.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match=r"^rows\.jsonl: holds no rows$"):
        RewardBench(path=str(tmp_path / "rows.jsonl")).score(own_number, None)
    (tmp_path / "rows.csv").write_text("prompt,chosen,rejected,subsets\nq,a,b,hep-go\n")
    with pytest.raises(DataError, match=r'^rows\.csv:1: there is no column "subset" \(did you mean "subsets"\?\)$'):
        RewardBench(path=str(tmp_path / "rows.csv")).score(own_number, None)
    (tmp_path / "rows.jsonl").write_bytes(json.dumps(GOOD).encode().replace(b"Q1", b"Q\xff"))
    with pytest.raises(DataError, match=r"^rows\.jsonl:1: byte 14 of the line is not UTF-8 \(from Windows\? iconv "):
        RewardBench(path=str(tmp_path / "rows.jsonl")).score(own_number, None)


def test_a_table_that_cannot_be_judged_is_one_line(tmp_path):
    _, table, _ = scored(tmp_path, [GOOD])
    _, table_2, _ = scored(tmp_path, [GOOD_2], RewardBench2)
    tables = [
        (RewardBench(), table.drop(columns="subset"), "reward_bench: the score table lacks subset"),
        (RewardBench(), table.drop(columns="chosen_length"), "reward_bench: the score table lacks chosen_length"),
        (RewardBench(), table.assign(subset="hep"), 'reward_bench: the score table holds the subset "hep"'),
        (RewardBench(), table.assign(chosen_score=np.nan), 'reward_bench: the chosen score of "hep-go/1" is nan'),
        (RewardBench(), table[:0], "reward_bench: there is nothing to judge"),
        (RewardBenchRaw(), table, "reward_bench_raw: the score table lacks draw_188, draw_144, file_rows"),
        (RewardBenchRaw(), table.assign(draw_188=True, draw_144=False, file_rows=1), "reward_bench_raw: the two draws"),
        (RewardBench2(), table_2.drop(columns="correct"), "reward_bench_2: the score table lacks correct"),
        (RewardBench2(), table_2.assign(score=np.inf), 'reward_bench_2: the score of "Math/1" is inf'),
        (RewardBench2(), table_2[table_2["correct"]], "reward_bench_2: a Math prompt of the score table lacks"),
    ]
    for judged, bad, message in tables:
        with pytest.raises(UserError) as error:
            judged.evaluate(bad)
        assert str(error.value).startswith(message)
        assert "\n" not in str(error.value)
