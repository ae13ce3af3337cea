"""The tables of a study: their numbers, what they say where something is missing, their four forms."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import judged
from support.study import LEFT_OUT, add_curvature, make_run, make_study

from analysis import NothingToShow, Study, load
from analysis.exhibits import TABLES
from analysis.exhibits.accuracy import Main
from analysis.exhibits.benchmarks import RewardBenchTable
from analysis.exhibits.reference import citation, load_published, published_value
from analysis.exhibits.table import LATEX_PACKAGES, Column, Table, anchor, cell, number
from analysis.study.pools import changed_labels, pool_table
from benchmarks.protocols.in_distribution import InDistribution
from benchmarks.protocols.reward_bench import ROWS, RewardBench
from mars.config import ConfigError, UserError
from mars.record.facts import SCHEMA_VERSION

SOURCE = {
    "file": "train_1&2.jsonl",
    "sha256": "ab" * 32,
    "rows": 100,
    "kept": 97,
    "dropped": {"prompts_differ": 2, "empty": 1},
    "kept_despite": {},
}


def report_of_data(seed: int) -> dict[str, Any]:
    """A manifest's data report whose contamination hangs on the seed, and whose texts are cut in one split."""
    shared = {"pairs": 60, "ngram": 13}
    shared |= {kind: {"count": n, "share": n / 60, "ids": []} for kind, n in (("prompt", 0), ("any_ngram", 3 + seed))}
    return {
        "data": {
            "licence": "mit",
            "sources": {"train": [SOURCE, SOURCE | {"file": "more.json", "read_as": "JSON lines"}]},
            "subset": {"size": 90, "validation": 20, "test": 60, "beside_validation": 0, "test_from_train": False},
            "contamination": {"test": shared},
        },
        "truncated": {"base": {"prompt": 5, "response": 0}, "test": {"prompt": 0, "response": 0}},
        "peak_memory_bytes": {"process": 2**30, "gpu": None},
        "wall_seconds": 2.0,
        "pairs_trained": 1000,
    }


def add_columns(run: Path, **columns: Any) -> None:
    """Further columns to a run's rounds.csv."""
    file = run / "rounds.csv"
    pd.read_csv(file).assign(**columns).to_csv(file, index=False)


def judge(run: Path, label: str, parts: Mapping[str, Mapping[str, float]], **record: Any) -> None:
    """One more label among a run's metrics, with its record."""
    file = run / "metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {label: parts}))
    (run / "evaluations").mkdir(exist_ok=True)
    kept = {"schema_version": SCHEMA_VERSION, "benchmark": label.split("-")[0]}
    (run / "evaluations" / f"{label}.json").write_text(json.dumps(kept | record))


def rescore(run: Path, right: list[float]) -> None:
    """A test split in which pair i has the margin right[i], and the metrics that follow from it."""
    table = pd.DataFrame({"split": "test", "id": [f"test-{i}" for i in range(len(right))], "subset": "", "turns": 1})
    table = table.assign(chosen_score=right, rejected_score=0.0, chosen_length=2, rejected_length=1, gold_margin=np.nan)
    table.to_parquet(run / "scores" / "in_distribution.parquet", index=False)
    measured = dict(InDistribution(resamples=20).evaluate(table).metrics)
    (run / "metrics.json").write_text(json.dumps({"in_distribution": measured}))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two groups with something for every table, and a run that did not finish. Read-only."""
    path = tmp_path_factory.mktemp("outputs") / "full"
    for seed in (0, 1, 2):
        options = {"seeds": (seed,), "manifest": report_of_data(seed)}
        make_study(path, {"none": 0.2, "uniform": 0.7, "eda": 0.6, "mars": 1.5}, **options)
        make_study(path, {"uniform": 0.7, "mars": 0.8}, dataset="hh_rlhf", **options)
    make_run(path, "mars", 9, 1.0, done=False)
    for run in [*path.glob("mars-planted-*-s[012]-*"), *path.glob("uniform-planted-*")]:
        add_curvature(run, *np.random.default_rng(list(run.name.encode())).random((3, 3)))
    for run in sorted(path.glob("*-s[012]-*")):
        seed = int(run.name[-10])
        steers = run.name.startswith("mars")
        add_columns(run, budget_min=1 + seed, budget_max=3, steering=float(steers and seed > 0), texts_scored=10)
        judge(run, "robustness", {"overall": {"accuracy": 0.6 + 0.1 * seed, "n": 50}, "eda": {"flip_rate": 0.1}})
        judge(run, "reward_bench", {"Chat": {"accuracy": 0.5}, "overall": {"accuracy": 0.25 * seed + 0.25}})
    for run in path.glob("*-hh_rlhf-*"):
        judged.add_replies(run, "rloo", np.random.default_rng(list(run.name.encode())).integers(0, 2, 30))
        judged.judge(run, "rloo")
    return path


@pytest.fixture(scope="module")
def study(path: Path) -> Study:
    return load(path)


@pytest.fixture(scope="module")
def moved(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The same study from another place."""
    return load(shutil.copytree(path, tmp_path_factory.mktemp("elsewhere") / "full"))


def row_of(table: Table, **keys: Any) -> dict[str, Any]:
    """The one row with these values."""
    (row,) = [row for row in table.frame.to_dict("records") if all(row[key] == value for key, value in keys.items())]
    return row


# The table itself


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (-0.04, "+.1f", "0.0"), (-1.25, ".2f", "−1.25"), (0.5, "+.1f", "+0.5"), (1234567.0, ",d", "1,234,567"),
        (float("nan"), ".1f", ""), (float("-inf"), ",d", "−∞"), (0.0004, "p", "< 0.001"), (0.03, "p", "0.030"),
    ],
)  # fmt: skip
def test_numbers_are_rounded_when_shown(value: float, spec: str, text: str) -> None:
    assert number(value, spec) == text


def test_an_interval_stands_behind_its_number_or_alone() -> None:
    column = Column("x", "x", ".1f", 100, interval=True)
    assert cell({"x": 0.5, "x_lo": 0.4, "x_hi": 0.6}, column).text == "50.0 [40.0, 60.0]"
    assert cell({"x": 0.5, "x_lo": float("nan"), "x_hi": float("nan")}, column).text == "50.0"
    assert cell({"x": None, "x_lo": -0.1, "x_hi": 0.6}, column) == ("[−10.0, 60.0]", -0.1)
    assert cell({}, column) == ("", None)


AWKWARD = r"50 % of a_b & c|d {x} \ # $ ~ ^ < > τ ≤ −1 ½"


def awkward(rows: int = 1) -> Table:
    frame = pd.DataFrame({"dataset": ["d_1", None], "backbone": "b", "arm": AWKWARD, "x": 1 / 3})
    frame = pd.concat([frame] * rows, ignore_index=True)
    columns = (Column("arm", "arm & co"), Column("x", "x_1 %", ".1f", 100), Column("y", "unknown", always=True))
    return Table("awkward", "A_title", "100 % & more", frame, columns)


def untold(text: str) -> str:
    """LaTeX less all that is escaped or commented."""
    return re.sub(r"(?m)\\[\\&%$#_{}]|%.*$", "", text)


@pytest.mark.parametrize("rows", [1, 50])
def test_latex_is_ascii_escaped_and_balanced(rows: int) -> None:
    text = awkward(rows).to_latex()
    assert text.isascii()
    assert untold(text).count("{") == untold(text).count("}")
    assert not re.search(r"[#_]|\|", untold(text).replace("\\_", ""))
    assert untold(text).count("$") % 2 == 0
    body = [line for line in text.splitlines() if line.endswith("\\\\") and "multicolumn" not in line]
    body = [line for line in body if not line.startswith("\\caption")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {2}
    assert ("longtable}{" in text) == (rows == 50)


def test_markdown_has_as_many_cells_in_every_line() -> None:
    lines = [line for line in awkward().to_markdown().splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4}


def test_csv_is_the_frame_and_a_section_without_a_name_is_kept() -> None:
    table = awkward()
    assert "0.3333333333" in table.to_csv()
    assert [len(rows) for _, rows in table.sections()] == [1, 1]


def test_html_escapes_and_links_to_the_runs_behind_a_number() -> None:
    html = awkward().to_html()
    assert "c|d {x}" in html
    assert "&lt; &gt;" in html
    assert 'data-value="0.3333333333"><a href="#arm-d_1-b-50-' in html
    assert anchor({"run": "mars-x-s0-1"}) == "run-mars-x-s0-1"
    assert anchor({"run": "mars-x-s0-1", "reason": "unfinished"}) == anchor({"arm": "mars"}) == ""
    assert anchor({"dataset": "d", "backbone": "b", "arm": "random", "kind": "baseline"}) == ""


# Every table


OWN = {  # these have studies of their own
    *("best_of_n", "trained_policy", "foretelling"),
    *("label_equivalence", "pools_by_allocation", "rates", "sensitivity", "label_noise"),
}
HERE = [name for name in TABLES if name not in OWN]


@pytest.mark.parametrize("name", HERE)
def test_every_table_has_all_its_forms_and_repeats_byte_for_byte(
    path: Path, study: Study, moved: Study, name: str
) -> None:
    table = study.table(name)
    for (form, first), (_, second) in zip(table.forms(), moved.table(name).forms(), strict=True):
        assert first == second, form
        assert "nan" not in first.lower()
        assert str(path) not in first
    assert table.name == name
    assert table.to_latex().isascii()
    assert untold(table.to_latex()).count("{") == untold(table.to_latex()).count("}")
    assert table.caption.endswith(".")


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX here to compile the tables with")
def test_latex_compiles(study: Study, tmp_path: Path) -> None:
    tables = [study.table(name) for name in HERE] + [awkward(), awkward(50)]
    body = "\n".join(table.to_latex() for table in tables)
    text = f"\\documentclass{{article}}\\usepackage{{{LATEX_PACKAGES}}}\\begin{{document}}{body}\\end{{document}}"
    (tmp_path / "all.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_a_bare_study_builds_or_says_in_one_line_what_is_missing(tmp_path: Path) -> None:
    bare = dict.fromkeys(("pool", "steps", "git", "start", "template"), LEFT_OUT)
    make_run(tmp_path, "mars", 0, 0.5, manifest=bare)
    study, missing = load(tmp_path), {}
    for name in TABLES:
        try:
            assert len(study.table(name).to_markdown()) > 100
        except NothingToShow as nothing:
            missing[name] = str(nothing)
    assert set(missing) == {
        "comparisons", "bit_comparisons", "variance", "rewardbench", "benchmarks", "win_rates", "judges", "allocation",
        "compute", "pools", "data", "left_out", "regimes", "curvature", "bound", "information", *OWN,
    }  # fmt: skip
    assert all("\n" not in line and len(line) > 20 for line in missing.values())


def test_an_unknown_table_names_the_nearest(study: Study) -> None:
    with pytest.raises(ConfigError, match='did you mean "main"'):
        study.table("mian")


# main


def test_main_has_means_over_seeds_with_t_intervals_that_stay_shares(tmp_path: Path) -> None:
    for seed, right in enumerate(([1, 1, -1, -1], [1, 1, 1, -1], [1, 1, 1, 1])):
        rescore(make_run(tmp_path, "mars", seed, 1.0), [float(margin) for margin in right])
    row = row_of(load(tmp_path).table("main"), arm="mars")
    half = 4.302653 * 0.25 / np.sqrt(3)  # t with two degrees of freedom, sd of 0.5, 0.75 and 1
    assert [row[f"accuracy{end}"] for end in ("", "_lo", "_hi")] == pytest.approx([0.75, 0.75 - half, 1.0])
    assert row["margin_mean"] == pytest.approx((0 + 0.5 + 1) / 3)
    assert row["snr"] == pytest.approx((0 + 0.5 / np.sqrt(0.75) + 0) / 3)  # without spread it is 0
    assert (row["replicates"], row["examples"], row["split"]) == (3, 4, "test")


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    table = load(make_study(tmp_path, {"uniform": -1.0, "mars": 3.0}, seeds=(0,), examples=200)).table("main")
    assert table.frame["accuracy"].notna().all()
    assert "[" not in table.to_markdown().split("\n\n")[2]  # no interval from one seed


def test_an_arm_without_scores_is_shown(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.1, "mars": 3.0}, seeds=(0, 1, 2))
    for run in tmp_path.glob("uniform-*"):
        (run / "scores" / "in_distribution.parquet").unlink()
    table = load(tmp_path).table("main")
    assert row_of(table, arm="uniform")["replicates"] == 3


def test_a_metric_that_an_arm_lacks_is_an_empty_cell(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.1, "mars": 3.0}, seeds=(0, 1, 2))
    for run in tmp_path.glob("uniform-*"):
        metrics = json.loads((run / "metrics.json").read_text())
        del metrics["in_distribution"]["test"]["auc"]
        (run / "metrics.json").write_text(json.dumps(metrics))
    table = load(tmp_path).table("main")
    assert np.isnan(row_of(table, arm="uniform")["auc"])


def test_the_published_column_is_there_and_empty(study: Study) -> None:
    table = study.table("main")
    assert "published" in [column.key for column in table.shown]
    assert set(table.frame["published"]) == set(table.frame["accuracy_published"]) == {""}
    assert "no value is known" in table.caption


# The other tables


def test_every_split_has_its_differences(study: Study) -> None:
    table = study.table("splits")
    group = next(group for title, group in study.groups() if title.startswith("planted"))
    for split in ("test", "test_reversed_nuisance"):
        row = row_of(table, dataset="planted", arm="mars", split=split)
        assert row["accuracy"] == pytest.approx(group.values("mars", split, "accuracy").mean())
        assert row["gold_accuracy"] == pytest.approx(group.values("mars", split, "gold_accuracy").mean())
        uniform = row_of(table, dataset="planted", arm="uniform", split=split)
        assert row["difference"] == pytest.approx(row["accuracy"] - uniform["accuracy"])
        assert row["difference_lo"] < row["difference"] < row["difference_hi"]
        assert np.isnan(uniform["difference"])


def test_comparisons_show_the_bootstrap_interval_alone(study: Study) -> None:
    table = study.table("comparisons")
    assert set(table.frame["arm"]) == {"mars"}
    row = row_of(table, dataset="planted", reference="uniform")
    assert row["difference_lo"] < row["difference"] < row["difference_hi"]
    (column,) = [c for c in table.shown if c.key == "bootstrap"]
    assert re.fullmatch(r"\[[+−]?\d+\.\d, [+−]?\d+\.\d\]", cell(row, column).text)


def test_aggregate_pools_groups_and_compares_where_it_may(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.0, "mars": 3.0}, seeds=(0, 1, 2))
    make_study(tmp_path, {"uniform": 0.0, "mars": 3.0}, seeds=(0, 1, 2), dataset="hh_rlhf")
    make_study(tmp_path, {"mars": 3.0}, seeds=(0, 1, 2), dataset="files")
    make_study(tmp_path, {"uniform": 0.0}, seeds=(0, 1, 2), dataset="ultrafeedback")
    make_study(tmp_path, {"mars": 3.0}, seeds=(0, 1, 2), dataset="ultrafeedback", manifest={"template": "hh"})
    study = load(tmp_path)
    table = study.table("aggregate")
    row = row_of(table, arm="mars")
    assert (row["groups"], row["runs"], row["compared"], row["improvement"]) == (4, 12, 2, 1.0)
    assert np.isnan(row_of(table, arm="uniform")["improvement"])
    assert 'href="#' not in table.to_html()


def test_robustness_is_one_row_an_arm(study: Study) -> None:
    table = study.table("benchmarks")
    row = row_of(table, dataset="planted", arm="mars")
    assert (row["label"], row["replicates"]) == ("robustness", 3)
    assert row["accuracy"] == pytest.approx(0.7)
    assert row["eda flip_rate"] == pytest.approx(0.1)
    assert [c.head for c in table.shown] == ["arm", "accuracy %", "flips: eda %", "replicates"]
    assert set(table.frame["label"]) == {"robustness"}


def test_metrics_of_an_unknown_benchmark_are_shown_as_they_are(tmp_path: Path) -> None:
    run = make_run(tmp_path, "mars", 0, 0.5)
    judge(run, "mine", {"first": {"kendall": 0.3, "kendall_lo": 0.1, "kendall_hi": 0.4, "n": 9}})
    table = load(tmp_path).table("benchmarks")
    assert [c.head for c in table.shown] == ["arm", "kendall", "replicates"]


def reward_bench_table(right: float, rows: Mapping[str, int]) -> pd.DataFrame:
    """A score table with a share of every subset's rows right."""
    subsets = np.repeat(list(rows), list(rows.values()))
    place = np.concatenate([np.arange(n) / n for n in rows.values()])
    margins = np.where(place < right, 1.0, -1.0)
    frame = pd.DataFrame({"id": [str(i) for i in range(len(subsets))], "subset": subsets, "chosen_score": margins})
    return frame.assign(rejected_score=0.0, chosen_length=1, rejected_length=1)


@pytest.mark.parametrize("rows", [ROWS, {"math-prm": 447, "donotanswer": 100}])
def test_reward_bench_sections_by_arm_and_parts_of_it_are_marked(tmp_path: Path, rows: dict[str, int]) -> None:
    for seed, right in enumerate((0.5, 1.0)):
        run = make_run(tmp_path, "mars", seed, 0.5)
        found = RewardBench(resamples=5).evaluate(reward_bench_table(right, rows))
        judge(run, "reward_bench-mine", found.metrics, benchmark="reward_bench", protocol=found.protocol)
    table = load(tmp_path).table("rewardbench")
    row = row_of(table, arm="mars")
    assert row["Safety"] == pytest.approx(0.75)
    shown = [c.key for c in table.shown]
    assert "overall_published" in shown
    if rows is ROWS:
        assert row["overall"] == pytest.approx(0.75, abs=0.01)
        assert row["not_the_benchmark"] == ""
        assert "not_the_benchmark" not in shown
    else:
        assert np.isnan(row["overall"])
        assert row["not_the_benchmark"].endswith("not a RewardBench number")
        assert "not a RewardBench number" in table.to_markdown()


def test_what_is_published_stands_beside_its_own_protocol_only(tmp_path: Path) -> None:
    entry = ENTRY.replace("main", "rewardbench").replace("accuracy", "overall").replace("hh_rlhf", "null")
    (tmp_path / "reference.yaml").write_text(entry)
    run = make_run(tmp_path, "mars", 0, 0.5)
    for label in ("reward_bench", "reward_bench_raw"):
        judge(run, label, {"overall": {"accuracy": 0.5}}, benchmark=label)
    table = RewardBenchTable(load_published(tmp_path / "reference.yaml")).table(load(tmp_path))
    shown = table.frame.set_index("label")["overall_published"].fillna("")
    assert dict(shown) == {"reward_bench": "", "reward_bench_raw": "71.5 %"}
    assert "mars 71.5 % (v1, Table 9" in table.caption


def test_reward_bench_without_a_record_is_not_taken_for_whole(path: Path, study: Study, tmp_path: Path) -> None:
    assert set(study.table("rewardbench").frame["not_the_benchmark"]) == {""}
    copy = shutil.copytree(path, tmp_path / "copy")
    for file in copy.glob("*/evaluations/reward_bench.json"):
        file.unlink()
    marks = load(copy).table("rewardbench").frame["not_the_benchmark"]
    assert marks.str.contains("not known").all()


def test_allocation_averages_seeds_by_round(study: Study) -> None:
    row = row_of(study.table("allocation"), dataset="planted", arm="mars", round=1)
    assert (row["budget_min"], row["budget_max"], row["replicates"]) == (2.0, 3.0, 3)
    assert row["steering"] == pytest.approx(2 / 3)


def test_compute_is_a_mean_over_runs_and_time_a_multiple_of_uniforms(tmp_path: Path) -> None:
    for seed in (0, 1):
        uniform = {"wall_seconds": 2.0 + 2 * seed, "peak_memory_bytes": {"process": 2**30, "gpu": None}}
        make_run(tmp_path, "uniform", seed, 0.5, manifest=uniform)
        run = make_run(tmp_path, "mars", seed, 0.5, manifest={"wall_seconds": 6.0, "steps": 40 + 2 * seed})
        add_columns(run, texts_scored=[10, 20, 30])
    table = load(tmp_path).table("compute")
    mars, uniform = row_of(table, arm="mars"), row_of(table, arm="uniform")
    assert (mars["steps"], mars["texts_scored"], mars["times"], mars["runs"]) == (41, 60, 2.0, 2)
    assert (uniform["wall_seconds"], uniform["times"], uniform["process_bytes"]) == (3.0, 1.0, 2**30)
    assert np.isnan(mars["process_bytes"])
    assert "GPU GiB" not in [c.head for c in table.shown]
    assert "trial_steps" not in table.frame  # of which there were none
    add_columns(run, trial_steps=[30, 0, 60])
    tried = load(tmp_path).table("compute")
    assert row_of(tried, arm="mars")["trial_steps"] == 90  # of the one run that says so
    assert "of trials" in tried.to_markdown()


def test_data_says_what_was_dropped_shared_and_cut(study: Study) -> None:
    facts = study.table("data").frame.query("dataset == 'planted'").set_index(["about", "what"])["value"]
    assert facts["rows", "train: kept"] == "194 of 200 (97.0 %)"
    assert facts["rows", "train: dropped prompts differ"] == "4"
    first, second = facts["source", "train from"].split("), ")
    assert (first, second) == ("train_1&2.jsonl (sha256 abababab", "more.json (sha256 abababab, read as JSON lines)")
    assert facts["in common", "test: 13 words in a row with a training pair"] == "3 to 5 of 60 (5.0 to 8.3 %)"
    assert facts["in common", "test: the same prompt as a training pair"] == "0 of 60 (0.0 %)"
    assert facts["cut (minilm, 256 tokens)", "base: prompts cut"] == "5"
    assert facts["cut (minilm, 256 tokens)", "all other texts"] == "whole"
    assert ("pairs", "set aside, prompt of a validation pair") not in facts.index


def test_every_run_is_listed_and_what_is_left_out_has_a_reason(study: Study) -> None:
    runs = study.table("runs")
    assert len(runs.frame) == len(study.runs) == 18
    row = row_of(runs, run=study.runs["run"].iloc[0])
    stated = study.metrics[(study.metrics["run"] == row["run"]) & (study.metrics["split"] == "test")]
    assert row["accuracy"] == stated.set_index("metric").loc["accuracy", "value"]
    assert (row["source"], row["code"], row["commit"]) == ("full", "00000000", "0" * 40)
    assert f'href="#run-{row["run"]}"' in runs.to_html()
    (left,) = study.table("left_out").frame.to_dict("records")
    assert left["run"].startswith("mars-planted-minilm-s9")
    assert "unfinished" in left["reason"]


def test_uncommitted_changes_are_marked_beside_the_commit(tmp_path: Path) -> None:
    make_run(tmp_path, "mars", 0, 0.5, manifest={"git": {"commit": "a" * 40, "dirty": True}})
    make_run(tmp_path, "mars", 1, 0.5, manifest={"git": None})
    assert list(load(tmp_path).table("runs").frame["code"]) == ["aaaaaaaa+", ""]


# Pools


def _pool(**changes: object) -> dict[str, object]:
    pool = {"augmenter": "eda", "looked_at": 10, "made": 4, "possible": 60, "unchanged": 1, "refused": {}}
    return {"pool": pool | {"rows": 50, "unspent": 0} | changes}


def test_pools_are_summed_over_runs_and_shares_weighted_by_rows(tmp_path: Path) -> None:
    first = _pool(refused={"blank": 2}, preservation={"rows": 10, "true": 0.5, "kept": 0.9})
    second = _pool(refused={"blank": 1, "too long": 5}, preservation={"rows": 30, "true": 1.0, "kept": 0.98})
    make_run(tmp_path, "eda", 0, 0.5, manifest=first)
    make_run(tmp_path, "eda", 1, 0.5, manifest=second)
    for seed, nothing in enumerate((None, {"rows": 0, "true": None})):
        make_run(tmp_path, "none", seed, 0.5, manifest=_pool(looked_at=0, made=0, unchanged=0, preservation=nothing))
        make_run(tmp_path, "uniform", seed, 0.5)
    study = load(tmp_path)
    table = study.table("pools")
    assert list(table.frame["arm"]) == ["none", "uniform", "eda"]
    eda = row_of(table, arm="eda")
    assert (eda["runs"], eda["looked_at"], eda["made"], eda["possible"], eda["unchanged"]) == (2, 20, 8, 120, 2)
    assert (eda["refused_blank"], eda["refused_too long"], eda["rows"], eda["known"]) == (3, 5, 100, 40)
    assert (eda["kept"], eda["true"]) == pytest.approx(((9 + 29.4) / 40, (5 + 30) / 40))
    assert np.isnan(row_of(table, arm="none")["kept"])
    text = table.to_markdown()
    assert "| eda | eda | 2 | 20 | 8 | 120 | 2 | 3 blank, 5 too long | 100 | 40 | 96.00 | 87.50 |" in text
    assert "| none | eda | 2 | 0 | 0 | 120 | 0 |  | 100 | 0 |  |  |" in text
    assert not {"calls", "tokens", "cost"} & {c.key for c in table.shown}
    assert changed_labels(pool_table(study)) == ["share of drawn rows that changed the gold preference: eda 4.0 %"]


def test_pools_say_why_variants_equal_their_source_and_how_many_rows_repeat(tmp_path: Path) -> None:
    for seed, why in enumerate(({"no word to edit": 3, "by chance": 1}, {"no word to edit": 2})):
        changes = {"unchanged": sum(why.values()), "unchanged_by": why, "repeats": 7, "refused": {"blank": 1}}
        make_run(tmp_path, "eda", seed, 0.5, manifest=_pool(**changes))
    table = load(tmp_path).table("pools")
    eda = row_of(table, arm="eda")
    assert (eda["unchanged"], eda["unchanged_by_no word to edit"], eda["unchanged_by_by chance"]) == (6, 5, 1)
    assert "| 6 | 1 by chance, 5 no word to edit | 2 blank | 100 | 14 |" in table.to_markdown()


def _used(calls: int, cost: float | None) -> dict[str, object]:
    return {"calls": calls, "cached": 1, "prompt_tokens": 100 * calls, "completion_tokens": calls, "cost": cost}


def test_calls_tokens_and_cost_are_those_of_pool_and_writer(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path, "uniform", seed, 0.5, manifest=_pool(usage=_used(10, 0.25)))
        writer = {"semantic": {"writer": {"usage": _used(2, 0.5)}}}
        make_run(tmp_path, "mars", seed, 0.5, manifest=_pool(usage=_used(10, 0.25)) | writer)
        make_run(tmp_path, "won", seed, 0.5, manifest=_pool(usage=_used(3, None if seed else 0.25)))
        make_run(tmp_path, "eda", seed, 0.5, manifest=_pool(usage=None))
    study = load(tmp_path)
    table = study.table("pools").frame.set_index("arm")
    assert table.loc["uniform", ["calls", "tokens", "cost"]].tolist() == [20, 2020, 0.5]
    assert table.loc["mars", ["calls", "tokens", "cost"]].tolist() == [24, 2424, 1.5]
    assert table.loc["won", ["calls", "tokens"]].tolist() == [6, 606]
    assert np.isnan(table.loc["won", "cost"])  # one run's is not known, so the sum is not
    assert table.loc["eda", ["calls", "tokens", "cost"]].isna().all()
    text = study.table("pools").to_markdown()
    assert "| calls | tokens | cost |" in text
    assert "| 24 | 2,424 | 1.5000 |" in text
    assert "| 6 | 606 |  |" in text
    by_run = row_of(study.table("compute"), arm="mars")
    assert (by_run["calls"], by_run["cost"]) == (12, 0.75)


@pytest.mark.parametrize("pool", [LEFT_OUT, None, {"augmenter": "rules", "variants_made": 7, "rows": "grid"}])
def test_pools_of_older_runs_are_empty_cells(tmp_path: Path, pool: object) -> None:
    make_study(tmp_path, {"uniform": 0.5, "mars": 0.8}, seeds=(0, 1), manifest={"pool": pool})
    table = pool_table(load(tmp_path))
    assert list(table["arm"]) == ["uniform", "mars"]
    assert table[["looked_at", "rows", "kept"]].isna().all(axis=None)
    with pytest.raises(NothingToShow, match="no run recorded its pool"):
        load(tmp_path).table("pools")


# What the paper published

ENTRY = """
- version: v1
  table: main
  dataset: hh_rlhf
  backbone: null
  arm: mars
  metric: accuracy
  value: 71.50
  unit: "%"
  source: Table 9
  note: read off a plot
"""


def test_the_known_values_are_the_three_win_rates_with_their_caveats() -> None:
    known = load_published()
    assert [(e.table, e.dataset, e.arm, e.metric, e.text) for e in known] == [
        ("win_rates", "hh_rlhf", "mars", "win", "62"),
        ("win_rates", "pku_saferlhf", "mars", "win", "0.58"),
        ("win_rates", "ultrafeedback", "mars", "win", "55"),
    ]
    assert all("second hand" in e.source and "not stated" in e.note and e.unit is None for e in known)


def test_an_entry_stands_beside_its_arm_in_any_setting(tmp_path: Path) -> None:
    file = tmp_path / "reference.yaml"
    file.write_text(ENTRY)
    known = load_published(file)
    row = {"dataset": "hh_rlhf", "backbone": "minilm", "arm": "mars tau=2"}
    assert published_value(known, row, "accuracy") == "71.5 %"
    for other in ({"dataset": "planted"}, {"arm": "uniform"}):
        assert published_value(known, row | other, "accuracy") == ""
    assert published_value(known, row, "auc") == ""
    assert "mars 71.5 % (v1, Table 9; read off a plot)" in citation(known, [row])
    table = Main(known).table(load(make_study(tmp_path / "study", {"uniform": 0.5, "mars": 0.5}, dataset="hh_rlhf")))
    assert list(table.frame["accuracy_published"]) == ["", "71.5 %"]
    assert "v1, Table 9" in table.to_latex()


def change(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change("metric:", "metrik:"), r"entry 1: no such key as metrik \(did you mean \"metric\"\?\)"),
        (change("71.50", "about 70"), r"entry 1: value is 'about 70', not a number \(leave an unknown one out\)"),
        (change("71.50", ".nan"), "entry 1: value is nan, not a number"),
        (change("  source: Table 9\n", ""), "entry 1: source is missing"),
        (change("Table 9", '""'), "entry 1: source is empty"),
        (change("  unit: \"%\"\n", ""), r"entry 1: unit is missing \(null if the source does not say\)"),
        (change("arm: mars", "arm: 3"), "entry 1: arm is 3, not text"),
        (change("table: main", "table: mian"), r"entry 1: table is 'mian' \(did you mean \"main\"\?\)"),
        (lambda text: ENTRY + "- nonsense\n", "entry 2: keys and values are expected, not 'nonsense'"),
        (lambda text: "version: v1", "a list of entries is expected"),
        (lambda text: "- [", "cannot be read"),
    ],
)  # fmt: skip
def test_a_mistaken_entry_is_named_with_its_file(tmp_path: Path, edit: Callable[[str], str], message: str) -> None:
    file = tmp_path / "reference.yaml"
    file.write_text(edit(ENTRY))
    with pytest.raises(UserError, match=rf"reference\.yaml: {message}") as caught:
        load_published(file)
    assert "\n" not in str(caught.value)
