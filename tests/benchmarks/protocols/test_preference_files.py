"""A local preference file as a benchmark: numbers by hand, no row lost in silence, every mistake one line."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.protocols.files import PreferenceFiles
from mars.config import ConfigError, UserError, build
from mars.preferences.pair import DataError

# response -> its score; a response's length is what the length-only baseline sees
SCORES = {"good": 2.0, "fine": 1.0, "so-so": 1.0, "poor": 0.0, "a very long bad answer": -1.0}

ROWS = [
    {"prompt": "a", "chosen": "good", "rejected": "poor", "subset": "big"},
    {"prompt": "b", "chosen": "good", "rejected": "a very long bad answer", "subset": "big"},
    {"prompt": "c", "chosen": "poor", "rejected": "good", "subset": "big"},
    {"prompt": "d", "chosen": "fine", "rejected": "so-so", "subset": "big"},
    {"prompt": "e", "chosen": "a very long bad answer", "rejected": "poor", "subset": "small"},
]


def scorer(texts, padded=False):
    return np.array([SCORES[response] for _, response in texts])


def write(path: Path, rows: list) -> str:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines.encode()))
    elif path.suffix == ".jsonl":
        path.write_text(lines, encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps({"data": rows}), encoding="utf-8")
    elif path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    elif path.suffix == ".tsv":
        pd.DataFrame(rows).to_csv(path, sep="\t", encoding="utf-16")
    else:
        pd.DataFrame(rows).to_parquet(path)
    return str(path)


def result_of(path: str, **settings):
    benchmark = PreferenceFiles(path, **settings)
    return benchmark.evaluate(benchmark.score(scorer, None)[0])


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.json", "rows.csv", "rows.tsv", "rows.parquet"])
def test_micro_macro_and_subsets_by_hand_in_every_format(name, tmp_path):
    result = result_of(write(tmp_path / name, ROWS))
    # big: right, right, wrong, tie = 2.5 of 4; small: wrong = 0 of 1
    assert {part: (m["accuracy"], m["n"]) for part, m in result.metrics.items()} == {
        "overall": (2.5 / 5, 5),
        "subset/big": (2.5 / 4, 4),
        "subset/small": (0.0, 1),
    }
    assert result.metrics["overall"]["macro_accuracy"] == (2.5 / 4 + 0) / 2
    assert result.metrics["overall"]["tie_rate"] == 1 / 5
    assert result.metrics["overall"]["margin_mean"] == pytest.approx((2 + 3 - 2 + 0 - 1) / 5)


def test_a_folder_of_shards_is_judged_as_its_rows_in_one_file_and_named_by_their_digests(tmp_path):
    whole = PreferenceFiles(write(tmp_path / "rows.jsonl", ROWS))
    (tmp_path / "shards").mkdir()
    for i, rows in enumerate([ROWS[:2], ROWS[2:]]):
        write(tmp_path / "shards" / f"part-{i}.jsonl", rows)
    shards = PreferenceFiles(str(tmp_path / "shards"))
    tables = [benchmark.score(scorer, None)[0].drop(columns="id") for benchmark in (whole, shards)]
    pd.testing.assert_frame_equal(*tables)
    told = shards.check(None)
    write(tmp_path / "shards" / "part-1.jsonl", ROWS[3:])
    assert len({told["sha256"], whole.check(None)["sha256"], shards.check(None)["sha256"]}) == 3


def test_baselines_by_hand(tmp_path):
    baselines = result_of(write(tmp_path / "rows.jsonl", ROWS)).details["baselines"]
    # longer wins: big: tie (4 = 4), wrong, tie, wrong ("fine" 4 < "so-so" 5) = 1 of 4; small: right = 1 of 1
    assert {part: m["accuracy"] for part, m in baselines["length_only"].items()} == {
        "overall": 2 / 5,
        "subset/big": 1 / 4,
        "subset/small": 1.0,
    }
    assert baselines["length_only"]["overall"]["macro_accuracy"] == (1 / 4 + 1) / 2
    assert baselines["random"] == {
        "overall": {"accuracy": 0.5, "macro_accuracy": 0.5, "length_controlled_accuracy": 0.5},
        "subset/big": {"accuracy": 0.5},
        "subset/small": {"accuracy": 0.5},
    }


def test_macro_gives_a_small_subset_the_say_of_a_large_one_and_its_interval_shows_it():
    n = {"large": 900, "little": 20}
    rng = np.random.default_rng(0)
    right = rng.random(sum(n.values())) < 0.7
    table = pd.DataFrame(
        {
            "id": [str(i) for i in range(len(right))],
            "subset": ["large"] * n["large"] + ["little"] * n["little"],
            "chosen_score": np.where(right, 1.0, -1.0),
            "rejected_score": 0.0,
            "chosen_length": 1,
            "rejected_length": 1,
        }
    )
    overall = PreferenceFiles("unused.jsonl", resamples=4000).evaluate(table).metrics["overall"]
    p = {name: right[table["subset"] == name].mean() for name in n}
    half_width = 1.96 * np.sqrt(sum(p[name] * (1 - p[name]) / n[name] for name in n)) / 2
    assert overall["macro_accuracy"] == pytest.approx((p["large"] + p["little"]) / 2)
    assert (overall["macro_accuracy_hi"] - overall["macro_accuracy_lo"]) / 2 == pytest.approx(half_width, rel=0.1)
    assert overall["macro_accuracy_hi"] - overall["macro_accuracy_lo"] > 2 * (
        overall["accuracy_hi"] - overall["accuracy_lo"]
    )


def test_without_a_subset_column_there_is_one_number_and_with_it_a_row_without_one_is_named(tmp_path):
    bare = [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in ROWS]
    result = result_of(write(tmp_path / "bare.jsonl", bare))
    assert set(result.metrics) == {"overall"}
    assert "macro_accuracy" not in result.metrics["overall"]
    mixed = result_of(write(tmp_path / "mixed.jsonl", [*ROWS[:1], *bare[1:2]]))
    assert set(mixed.metrics) == {"overall", "subset/big", "subset/(none)"}


def test_the_record_names_the_file_its_digest_and_what_was_let_go(tmp_path):
    rows = [*ROWS, {**ROWS[0], "chosen": " "}, ROWS[0]]
    path = write(tmp_path / "rows.jsonl", rows)
    settings = {"path": path, "on": {"empty": "drop"}}
    bench = build(PreferenceFiles, settings, "benchmark")
    table, data = bench.score(scorer, None)
    protocol = bench.evaluate(table).protocol
    (source,) = data["sources"]
    assert source["file"] == "rows.jsonl"
    assert source["sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert (source["rows"], source["kept"]) == (7, 6)
    assert (source["dropped"], source["kept_despite"]) == ({"empty": 1}, {"duplicate": 1})
    assert protocol["file"] == "rows.jsonl"
    assert protocol["on"]["empty"] == "drop"
    assert protocol["ties"] == "half credit"
    assert str(tmp_path) not in json.dumps([data, protocol])  # nobody's home directory goes into a record
    table.to_parquet(tmp_path / "scores.parquet")
    assert PreferenceFiles(path).evaluate(pd.read_parquet(tmp_path / "scores.parquet")) == PreferenceFiles(
        path
    ).evaluate(table)


def test_the_same_numbers_twice(tmp_path):
    path = write(tmp_path / "rows.jsonl", ROWS)
    assert result_of(path).metrics == result_of(path).metrics
    assert result_of(path).metrics != result_of(path, seed=1).metrics


GOOD = ROWS[0]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({**GOOD, "chosen": ""}, 'f.jsonl:2: "chosen" is empty (drop such rows with benchmark.on.empty=drop)'),
        ({**GOOD, "chosen": 3}, 'f.jsonl:2: "chosen" is 3, not text (drop such rows with benchmark.on.not_text=drop)'),
        ({**GOOD, "rejected": "good"}, "f.jsonl:2: chosen and rejected are the same text (drop such rows with"),
        ({"chosen": "good", "rejected": "poor"}, 'f.jsonl:2: "prompt" is missing'),
        ({**GOOD, "prompt": []}, 'f.jsonl:2: "prompt" is [], not text or a list of messages'),
        ("text", "f.jsonl:2: the line is a JSON str, not an object (drop such rows with benchmark.on.bad_json=drop)"),
        ({**GOOD, "prompt": "caf\ud800"}, "f.jsonl:2: holds half of a surrogate pair (drop such rows with benchmark"),
        ({**GOOD, "id": "1"}, 'f.jsonl:2: the id "1" stands at f.jsonl:1 already'),
    ],
)
def test_a_row_that_cannot_be_judged_stops_with_file_row_and_remedy(bad, message, tmp_path):
    path = write(tmp_path / "f.jsonl", [{**GOOD, "id": 1}, bad])
    with pytest.raises(DataError) as error:
        PreferenceFiles(path).score(scorer, None)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_missing_column_is_named_with_the_nearest_one(kind, tmp_path):
    rows = [{"prompt": "a", "choosen": "good", "rejected": "poor"}] * 2
    said = r'f\.\w+: no column "chosen" \(did you mean "choosen"\?\), .* benchmark\.columns\.chosen=NAME'
    with pytest.raises(DataError, match=said):
        PreferenceFiles(write(tmp_path / f"f.{kind}", rows)).score(scorer, None)


def test_a_file_that_is_not_there_is_empty_or_of_which_nothing_is_left_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"none\.jsonl: no such file"):
        PreferenceFiles(str(tmp_path / "none.jsonl")).score(scorer, None)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError, match=r"empty\.jsonl: the file is empty"):
        PreferenceFiles(str(tmp_path / "empty.jsonl")).score(scorer, None)
    path = write(tmp_path / "dataset.jsonl", [{**GOOD, "chosen": ""}])
    with pytest.raises(DataError, match=r"^dataset\.jsonl: benchmark\.on lets every row go"):
        build(PreferenceFiles, {"path": path, "on": {"empty": "drop"}}, "benchmark").score(scorer, None)
    with pytest.raises(DataError, match=r"^dataset\.jsonl:1: "):  # a file may well be called that
        PreferenceFiles(path).score(scorer, None)


VOTES = [("a", "poor", "good", 2, 2), ("b", "good", "poor", 2, 0), ("c", "good", "fine", 0, 0)]
VOTED = [
    {"instruction": p, "input": "", "response1": a, "response2": b, "annotator1": first, "annotator2": second}
    for p, a, b, first, second in VOTES
]


def test_a_file_of_another_shape_is_judged_and_its_record_says_how_it_was_read(tmp_path):
    path = write(tmp_path / "votes.jsonl", VOTED)
    with pytest.raises(DataError, match=r"^votes\.jsonl:3: the votes are 0, 0 \(drop such .* benchmark\.on\.tie=drop"):
        PreferenceFiles(path).score(scorer, None)
    bench = build(PreferenceFiles, {"path": path, "schema": "pandalm", "on": {"tie": "drop"}}, "benchmark")
    table, data = bench.score(scorer, None)
    result = bench.evaluate(table)
    assert (result.metrics["overall"]["accuracy"], result.metrics["overall"]["n"]) == (0.5, 2)
    assert data["sources"][0]["rule"].startswith("pandalm: ")
    assert result.protocol["schema"] == "pandalm"
    assert PreferenceFiles.from_protocol(result.protocol, 1000).evaluate(table).protocol["schema"] == "pandalm"


def test_a_tie_of_votes_that_counts_as_half_is_in_the_soft_log_loss_and_nowhere_else(tmp_path):
    path = write(tmp_path / "votes.jsonl", VOTED)
    halved, dropped = (
        build(PreferenceFiles, {"path": path, "on": {"tie": policy}}, "benchmark") for policy in ("half", "drop")
    )
    table, data = halved.score(scorer, None)
    assert data["sources"][0]["kept_despite"] == {"tie": 1}
    result, other = halved.evaluate(table).metrics["overall"], dropped.evaluate(dropped.score(scorer, None)[0])
    of_2, of_1 = (np.logaddexp(0, [-margin, margin]) for margin in (2, 1))  # loss of a right label, of a wrong one
    votes = [of_2[0], 0.75 * of_2[1] + 0.25 * of_2[0], of_1.mean()]
    assert result["log_loss_soft"] == pytest.approx(np.mean(votes))
    assert result["accuracy"] == other.metrics["overall"]["accuracy"] == 0.5
    assert (result["n"], len(table)) == (2, 3)
    assert PreferenceFiles.from_protocol(halved.evaluate(table).protocol, 10).on.tie == "half"


def test_the_users_columns_are_judged_and_a_plain_record_says_nothing_of_them(tmp_path):
    rows = [{"question": r["prompt"], "better": r["chosen"], "worse": r["rejected"]} for r in ROWS]
    columns = {"prompt": "question", "chosen": "better", "rejected": "worse"}
    values = {"path": write(tmp_path / "own.jsonl", rows), "columns": columns}
    result = build(PreferenceFiles, values, "benchmark").evaluate(
        build(PreferenceFiles, values, "benchmark").score(scorer, None)[0]
    )
    assert result.metrics["overall"]["accuracy"] == 2.5 / 5
    assert result.protocol["columns"] == columns
    assert PreferenceFiles.from_protocol(result.protocol, 10).columns.prompt == "question"
    plain = result_of(write(tmp_path / "rows.jsonl", ROWS)).protocol
    assert not {"schema", "columns", "ranked", "path"} & set(plain)


def test_a_long_text_and_a_dialogue_are_scored_as_they_stand(tmp_path):
    dialogue = [{"role": "user", "content": "x" * 100_000}, {"role": "assistant", "content": "?"}]
    row = {"prompt": [*dialogue, {"role": "user", "content": "again"}], "chosen": "good", "rejected": "poor"}
    table, _ = PreferenceFiles(write(tmp_path / "f.jsonl", [row])).score(scorer, None)
    assert table["turns"].tolist() == [2]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "benchmark.path: is required (give it as benchmark.path=FILE)"),
        ({"path": None}, "benchmark.path: is required (give it as benchmark.path=FILE)"),
        ({"path": "f", "resamples": 0}, "benchmark.resamples: must be at least 1, not 0"),
        ({"path": "f", "seed": -1}, "benchmark.seed: must not be negative, not -1"),
        ({"path": "f", "on": {"empty": "ignore"}}, "benchmark.on.empty: 'ignore' is not a choice"),
        ({"path": "f", "on": {"not_text": "keep"}}, "benchmark.on.not_text: 'keep' is not a choice"),
        ({"path": "f", "on": {"tie": "halved"}}, "benchmark.on.tie: 'halved' is not a choice"),
        ({"path": "f", "schema": "arean"}, 'benchmark.schema: "arean" is unknown (did you mean "arena"?)'),
    ],
)
def test_a_wrong_setting_is_one_line(values, message):
    with pytest.raises(ConfigError) as error:
        build(PreferenceFiles, values, "benchmark")
    assert str(error.value).startswith(message)


def test_scores_that_are_not_finite_and_missing_columns_are_one_line(tmp_path):
    benchmark = PreferenceFiles(write(tmp_path / "f.jsonl", ROWS))
    table, _ = benchmark.score(scorer, None)
    with pytest.raises(UserError, match=r'files: the chosen score of "f\.jsonl-2" is nan'):
        benchmark.evaluate(table.assign(chosen_score=table["chosen_score"].where(table.index != 1)))
    with pytest.raises(UserError, match="files: the score table lacks subset"):
        benchmark.evaluate(table.drop(columns="subset"))
    with pytest.raises(UserError, match="files: there is nothing to judge"):
        benchmark.evaluate(table.iloc[:0])


def test_the_config_is_the_default_policies_and_needs_a_path(compose, tmp_path):
    config = compose("benchmark=files", f"benchmark.path={tmp_path}/f.jsonl")["benchmark"]
    assert config.pop("name") == "files"
    assert build(PreferenceFiles, config, "benchmark") == PreferenceFiles(f"{tmp_path}/f.jsonl")
