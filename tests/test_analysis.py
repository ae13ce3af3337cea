"""From a study's directory to the report: statistics, loading, ranking, figures."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.text import Text
from scipy import stats as scipy_stats
from synthetic_study import LEFT_OUT, make_run, make_study

from analysis import figures, pools, stats
from analysis.comparability import confounds
from analysis.leaderboard import leaderboard
from analysis.report import report, run
from analysis.results import load
from mars.config import UserError


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """none, uniform, eda, mars × 3 seeds, and one run that did not finish. Read-only."""
    path = make_study(tmp_path_factory.mktemp("outputs") / "quick")
    make_run(path, "mars", 9, 1.0, done=False)
    return path


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 8, 9, 30, 101])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_t_quantile_is_scipys(df: int, level: float) -> None:
    assert stats.t_quantile(level, df) == pytest.approx(scipy_stats.t.ppf((1 + level) / 2, df), rel=1e-10)


def test_mean_interval_is_scipys() -> None:
    values = np.array([0.71, 0.74, 0.69, 0.73, 0.77])
    expected = scipy_stats.t.interval(0.95, 4, loc=values.mean(), scale=scipy_stats.sem(values))
    assert stats.mean_interval(values) == pytest.approx((values.mean(), *expected))


def test_one_seed_has_a_mean_and_no_interval() -> None:
    mean, lo, hi = stats.mean_interval(np.array([0.7]))
    assert mean == 0.7
    assert np.isnan([lo, hi]).all()


def test_an_arm_does_not_differ_from_itself() -> None:
    correct = np.random.default_rng(0).integers(0, 2, (5, 80)).astype(float)
    assert stats.paired_difference(correct, correct, np.random.default_rng(0)) == (0, 0, 0, 1)


def test_paired_difference_is_a_naive_bootstrap_over_seeds_and_examples() -> None:
    rng = np.random.default_rng(0)
    arm, reference = rng.random((2, 4, 30)).round()
    result = stats.paired_difference(arm, reference, np.random.default_rng(7), resamples=200)
    again = np.random.default_rng(7)
    seeds = again.integers(0, 4, (200, 4))
    examples = again.integers(0, 30, (200, 30))
    draws = [(arm - reference)[np.ix_(s, e)].mean() for s, e in zip(seeds, examples, strict=True)]
    assert result.difference == pytest.approx((arm - reference).mean())
    ordered = sorted(draws)  # p ≥ 0.05 wants five of 200 resamples, 2 · (1 + 5) / 201, on either side of zero
    assert (result.lo, result.hi) == pytest.approx((ordered[4], ordered[-5]))
    assert result.p == pytest.approx(2 * min(np.mean(np.array([0, *draws]) <= 0), np.mean(np.array([0, *draws]) >= 0)))


def test_pairing_removes_what_the_arms_share() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random((1, 400)) < 0.4  # examples both arms get wrong
    arm = np.where(hard, 0.0, np.ones((5, 400)))
    reference = np.where(rng.random((5, 400)) < 0.03, 0.0, arm)
    result = stats.paired_difference(arm, reference, np.random.default_rng(0))
    assert 0 < result.lo < result.difference < result.hi < 0.04  # unpaired: ± 0.07
    assert result.p < 0.01
    swapped = stats.paired_difference(reference, arm, np.random.default_rng(0))
    assert (swapped.lo, swapped.hi, swapped.p) == pytest.approx((-result.hi, -result.lo, result.p))


def test_interval_covers_when_seeds_and_examples_both_vary() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(100):
        effect = 0.02 + rng.normal(0, 0.02, (5, 1)) + rng.normal(0, 0.2, (1, 200)) + rng.normal(0, 0.2, (5, 200))
        result = stats.paired_difference(effect, np.zeros_like(effect), rng, resamples=200)
        covered.append(result.lo <= 0.02 <= result.hi)
    assert np.mean(covered) > 0.85


def test_load_counts_only_finished_runs(study: Path) -> None:
    loaded = load(study)
    assert len(loaded.runs) == 12
    assert loaded.arms == ["none", "uniform", "eda", "mars"]
    assert [name.rsplit("-", 1)[0] for name in loaded.unfinished] == ["mars-planted-minilm-s9"]
    assert loaded.splits == ["test", "test_reversed_nuisance"]
    assert len(loaded.rounds) == 12 * 3
    assert "unfinished, left out: mars-planted-minilm-s9" in leaderboard(loaded).notes[-1]


def test_accuracy_is_that_of_the_scores(study: Path) -> None:
    loaded = load(study)
    from_scores = loaded.correct("mars", "test").mean(axis=1)
    assert list(from_scores.index) == [0, 1, 2]
    assert from_scores.to_numpy() == pytest.approx(loaded.values("mars", "test", "accuracy").to_numpy())


def test_leaderboard_ranks_and_compares_to_uniform(study: Path) -> None:
    board = leaderboard(load(study))
    rows = {row["arm"]: row for row in board.table.to_dict("records")}
    assert list(board.table["rank"]) == [1, 2, 3, 4]
    assert board.table["accuracy"].is_monotonic_decreasing
    assert board.table["arm"].iloc[0] == "mars"
    for arm in ("none", "eda", "mars"):
        row = rows[arm]
        assert row["difference"] == pytest.approx(row["accuracy"] - rows["uniform"]["accuracy"])
        assert row["difference_lo"] <= row["difference"] <= row["difference_hi"]
    assert np.isnan([rows["uniform"][column] for column in ("difference", "difference_lo", "p")]).all()
    assert {(row["seeds"], row["examples"], row["steps"]) for row in rows.values()} == {(3, 60, 30)}
    assert not [note for note in board.notes if "unfinished" not in note]


def test_groups_are_ranked_apart(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5, "mars": 0.8}, seeds=(0, 1))
    make_study(tmp_path, {"mars": 0.8}, seeds=(0, 1), dataset="hh_rlhf", examples=40)
    board = leaderboard(load(tmp_path))
    assert list(board.table["dataset"]) == ["hh_rlhf", "planted", "planted"]
    assert board.table.loc[board.table["dataset"] == "hh_rlhf", "difference"].isna().all()
    assert any(note.startswith("hh_rlhf / minilm: no finished run of uniform") for note in board.notes)


CONFOUNDS = [  # what mars records unlike uniform; how the refusal names it; how a note words it
    (
        {"start": "f" * 64},
        "starting weights",
        "from different weights for seed 0, 1 (seed 0: {start}: uniform; ffffffff: mars)",
    ),
    ({"weights": "sha256:" + "e" * 64}, "backbone weights", "sha256:eeeeeeee: mars)"),
    ({"template": "hh"}, "template", "in different templates (plain: uniform; hh: mars)"),
    ({"max_length": 512}, "maximum length", "at different lengths (256: uniform; 512: mars)"),
    ({"truncation": "right"}, "truncation", "at different ends (left: uniform; right: mars)"),
    ({"base_sha256": "f" * 64}, "base pairs", "trained on different base pairs for seed 0, 1"),
    ({"test_sha256": "f" * 64}, "test pairs", "judged on different test pairs ({test}: uniform; ffffffff: mars)"),
    ({"steps": 80}, "optimiser steps", "different numbers of optimiser steps (30: uniform; 80: mars)"),
    ({"steps": LEFT_OUT}, "optimiser steps", "optimiser steps (30: uniform; not recorded: mars)"),
]


@pytest.mark.parametrize(("manifest", "noun", "words"), CONFOUNDS)
def test_confounded_arms_are_not_ranked_unless_allowed(
    tmp_path: Path, manifest: dict[str, object], noun: str, words: str
) -> None:
    make_study(tmp_path, {"uniform": 0.5}, seeds=(0, 1))
    make_study(tmp_path, {"mars": 0.9}, seeds=(0, 1), manifest=manifest)
    study = load(tmp_path)
    board = leaderboard(study)
    why = f"not ranked: arms differ in {noun}; allow_confounded=true ranks them anyway"
    assert board.refusals == [f"planted / minilm: {why}"]
    assert list(board.table["arm"]) == ["uniform", "mars"]  # in the study's order: mars is ahead
    assert set(board.table["not_ranked"]) == {why}
    assert board.table[["rank", "difference", "difference_lo", "difference_hi", "p"]].isna().all(axis=None)
    assert board.table["accuracy"].notna().all()
    shown = {
        name: hashlib.sha256(text.encode()).hexdigest()[:8] for name, text in (("start", "start 0"), ("test", "test"))
    }
    refusal, note = board.notes
    assert refusal == f"planted / minilm: {why}"
    assert words.format(**shown) in note
    assert "ffffffffff" not in note

    allowed = leaderboard(study, allow_confounded=True)
    assert allowed.refusals == []
    assert list(allowed.table["arm"]) == ["mars", "uniform"]
    assert list(allowed.table["rank"]) == [1, 2]
    assert allowed.table["difference"].iloc[0] > 0
    assert allowed.notes == (f"planted / minilm: ranked although arms differ in {noun} (allow_confounded=true)", note)


def test_steps_may_differ_where_every_run_says_so_and_nothing_else_may(tmp_path: Path) -> None:
    make_study(tmp_path / "meant", {"uniform": 0.5}, seeds=(0, 1), manifest={"steps_may_differ": True})
    make_study(tmp_path / "meant", {"none": 0.3}, seeds=(0, 1), manifest={"steps_may_differ": True, "steps": 10})
    board = leaderboard(load(tmp_path / "meant"))
    assert list(board.table["rank"]) == [1, 2]
    assert any(
        "optimiser steps (10: none; 30: uniform)" in note and "as this study means to" in note for note in board.notes
    )

    make_study(tmp_path / "meant", {"mars": 0.9}, seeds=(0, 1), manifest={"steps_may_differ": LEFT_OUT})
    assert "differ in optimiser steps;" in leaderboard(load(tmp_path / "meant")).refusals[0]

    for method in ("uniform", "mars"):
        manifest = {"steps_may_differ": True, "steps": len(method), "template": method}
        make_study(tmp_path / "other", {method: 0.5}, seeds=(0, 1), manifest=manifest)
    assert "differ in template;" in leaderboard(load(tmp_path / "other")).refusals[0]


def test_every_confound_is_named_in_one_refusal(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5}, seeds=(0, 1))
    make_study(tmp_path, {"mars": 0.9}, seeds=(0, 1), manifest={"steps": 80, "template": "hh", "truncation": "right"})
    assert "arms differ in template, truncation, optimiser steps; allow" in leaderboard(load(tmp_path)).refusals[0]


def test_what_differs_between_seeds_and_not_between_arms_is_no_confound(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        drawn = dict.fromkeys(("start", "base_sha256", "validation_sha256", "test_sha256"), f"{seed:064x}")
        make_study(tmp_path, seeds=(seed,), manifest={**drawn, "steps": 30 + seed})
    assert confounds(load(tmp_path)) == []


def test_one_seed_out_of_step_is_enough_and_is_named(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5}, seeds=(0, 1, 2))
    make_study(tmp_path, {"mars": 0.5}, seeds=(0, 1))
    make_study(tmp_path, {"mars": 0.5}, seeds=(2,), manifest={"steps": 31})
    (found,) = confounds(load(tmp_path))
    assert (found.field, found.blocks) == ("steps", True)
    assert "for seed 2 (30: uniform; 31: mars)" in found.text


@pytest.mark.parametrize(
    ("manifest", "field", "words"),
    [
        ({"validation_sha256": "f" * 64}, "validation_sha256", "so their curves cannot be compared"),
        ({"git": {"commit": "f" * 40, "dirty": False}}, "commit", "(00000000: uniform; ffffffff: mars)"),
        ({"git": {"commit": "0" * 40, "dirty": True}}, "dirty", "uncommitted changes, which no commit names: mars"),
    ],
)
def test_what_cannot_move_a_rank_is_a_note(tmp_path: Path, manifest: dict[str, object], field: str, words: str) -> None:
    make_study(tmp_path, {"uniform": 0.5}, seeds=(0, 1))
    make_study(tmp_path, {"mars": 0.9}, seeds=(0, 1), manifest=manifest)
    (found,) = confounds(load(tmp_path))
    assert (found.field, found.blocks) == (field, False)
    board = leaderboard(load(tmp_path))
    assert list(board.table["rank"]) == [1, 2]
    assert words in board.notes[0]


def test_runs_of_an_installed_package_have_no_commit_and_no_note(tmp_path: Path) -> None:
    assert confounds(load(make_study(tmp_path, manifest={"git": None}))) == []


def test_what_no_run_recorded_is_said_not_to_be_compared(tmp_path: Path) -> None:
    (found,) = confounds(load(make_study(tmp_path, manifest={"start": LEFT_OUT, "template": LEFT_OUT})))
    assert not found.blocks
    assert found.text == "not recorded by any run, so not compared: starting weights, template"


def test_arms_without_a_seed_in_common_are_not_ranked(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5, "none": 0.3}, seeds=(0, 1))
    make_study(tmp_path, {"mars": 0.9}, seeds=(2, 3))
    (found,) = confounds(load(tmp_path))
    assert (found.field, found.blocks) == ("seed", True)
    assert "(0, 1: none, uniform; 2, 3: mars)" in found.text


def test_only_the_confounded_group_goes_unranked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_study(tmp_path, {"uniform": 0.5, "mars": 0.9}, seeds=(0, 1))
    make_study(tmp_path, {"uniform": 0.5}, seeds=(0, 1), dataset="hh_rlhf")
    make_study(tmp_path, {"mars": 0.9}, seeds=(0, 1), dataset="hh_rlhf", manifest={"steps": 80})
    directory = report(tmp_path)
    why = "not ranked: arms differ in optimiser steps; allow_confounded=true ranks them anyway"
    assert caplog.messages == [f"hh_rlhf / minilm: {why}"]
    table = pd.read_csv(directory / "leaderboard.csv").set_index(["dataset", "arm"])
    assert set(table.loc["hh_rlhf", "not_ranked"]) == {why}
    assert table.loc["hh_rlhf", ["rank", "difference", "p"]].isna().all(axis=None)
    assert table.loc["planted", "not_ranked"].isna().all()
    assert dict(table.loc["planted", "rank"]) == {"mars": 1, "uniform": 2}
    text = (directory / "leaderboard.md").read_text(encoding="utf-8")
    unranked, ranked = text.split("## planted / minilm")
    header = next(line for line in unranked.splitlines() if line.startswith("| "))
    assert unranked.split("split test\n\n")[1].startswith(f"**{why}**")
    assert header.startswith("| arm | accuracy | AUC |")
    assert "| # | arm | accuracy | − uniform | p |" in ranked
    assert f"- hh_rlhf / minilm: {why}" in ranked
    lines = leaderboard(load(tmp_path)).to_text().splitlines()
    assert lines[:2] == ["hh_rlhf / minilm, split test", why]


def test_report_ranks_confounded_arms_when_told_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_study(tmp_path, {"uniform": 0.5}, seeds=(0, 1))
    make_study(tmp_path, {"mars": 0.9}, seeds=(0, 1), manifest={"steps": 80})
    run({"study": str(tmp_path), "allow_confounded": True})
    printed = capsys.readouterr().out
    assert printed.index("\n1  mars") < printed.index("\n2  uniform") < printed.index("ranked although arms differ in")
    with pytest.raises(UserError, match="allow_confounded: 'maybe' is not true or false"):
        run({"study": str(tmp_path), "allow_confounded": "maybe"})


def test_arms_stand_from_none_to_mars_with_other_peoples_before_mars(tmp_path: Path) -> None:
    arms = ["none", "none_matched", "uniform", "stratified", "eda", "won", "west_of_n", "adaboost", "self_training"]
    arms += ["representation", "a_new_idea", "mars"]
    make_study(tmp_path, dict.fromkeys(reversed(arms), 0.5), seeds=(0,), examples=20)
    assert load(tmp_path).arms == arms


def _pool(**changes: object) -> dict[str, object]:
    pool = {"augmenter": "eda", "looked_at": 10, "made": 4, "possible": 60, "unchanged": 1, "refused": {}}
    return {"pool": pool | changes}


def test_pools_are_summed_over_runs_and_shares_weighted_by_rows(tmp_path: Path) -> None:
    first = _pool(refused={"blank": 2}, preservation={"rows": 10, "true": 0.5, "kept": 0.9})
    second = _pool(refused={"blank": 1, "too long": 5}, preservation={"rows": 30, "true": 1.0, "kept": 0.98})
    make_run(tmp_path, "eda", 0, 0.5, manifest=first)
    make_run(tmp_path, "eda", 1, 0.5, manifest=second)
    for seed, nothing in enumerate((None, {"rows": 0, "true": None})):
        make_run(tmp_path, "none", seed, 0.5, manifest=_pool(looked_at=0, made=0, unchanged=0, preservation=nothing))
        make_run(tmp_path, "uniform", seed, 0.5)
    pools.write(pools.pool_table(load(tmp_path)), tmp_path / "tables")
    table = pd.read_csv(tmp_path / "tables" / "pools.csv", dtype_backend="numpy_nullable").set_index("arm")
    assert list(table.index) == ["none", "uniform", "eda"]
    eda = table.loc["eda"]
    assert (eda["runs"], eda["looked_at"], eda["made"], eda["possible"], eda["unchanged"]) == (2, 20, 8, 120, 2)
    assert (eda["refused_blank"], eda["refused_too long"], eda["rows"]) == (3, 5, 40)
    assert (eda["kept"], eda["true"]) == pytest.approx(((9 + 29.4) / 40, (5 + 30) / 40))
    assert table.loc["none", "looked_at"] == 0
    assert table.loc["none", ["kept", "true"]].isna().all()
    text = (tmp_path / "tables" / "pools.md").read_text(encoding="utf-8")
    assert "| eda | eda | 2 | 20 | 8 | 120 | 2 | 3 blank, 5 too long | 40 | 96.00 % | 87.50 % |" in text
    assert "| none | eda | 2 | 0 | 0 | 120 | 0 |  | 0 |  |  |" in text
    changed = [note for note in leaderboard(load(tmp_path)).notes if "gold preference" in note]
    assert changed == ["planted / minilm: share of drawn rows that changed the gold preference: eda 4.0 %"]


@pytest.mark.parametrize("pool", [LEFT_OUT, None, {"augmenter": "rules", "variants_made": 7}])
def test_pools_of_older_runs_are_empty_cells(tmp_path: Path, pool: object) -> None:
    make_study(tmp_path, {"uniform": 0.5, "mars": 0.8}, seeds=(0, 1), manifest={"pool": pool})
    table = pools.pool_table(load(tmp_path))
    assert list(table["arm"]) == ["uniform", "mars"]
    assert table[["looked_at", "kept"]].isna().all(axis=None)
    assert "gold preference" not in "".join(leaderboard(load(tmp_path)).notes)


def test_seeds_that_are_not_shared_are_left_out_of_the_difference(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5}, seeds=(0, 1, 2))
    make_study(tmp_path, {"mars": 0.8}, seeds=(1, 2, 3))
    loaded = load(tmp_path)
    board = leaderboard(loaded)
    assert not board.refusals
    both = [loaded.values(arm, "test", "accuracy").loc[[1, 2]].mean() for arm in ("mars", "uniform")]
    assert board.table.set_index("arm").loc["mars", "difference"] == pytest.approx(both[0] - both[1])
    assert any("over 2 common seeds and 60 common pairs" in note for note in board.notes)
    assert any("ran different seeds (0, 1, 2: uniform; 1, 2, 3: mars)" in note for note in board.notes)


def test_one_arm_and_one_seed_work_and_say_what_is_missing(tmp_path: Path) -> None:
    make_study(tmp_path, {"mars": 0.8}, seeds=(0,), rounds=1)
    directory = report(tmp_path)
    text = (directory / "leaderboard.md").read_text(encoding="utf-8")
    assert "no finished run of uniform" in text
    assert "one seed only, so no interval: mars" in text
    assert "nan" not in text


def test_two_settings_of_one_method_are_two_arms(tmp_path: Path) -> None:
    for seed in (0, 1):
        for tau in (0.1, 2.0):
            make_run(tmp_path, "mars", seed, tau, settings={"tau": tau})
        make_run(tmp_path, "uniform", seed, 0.5)
    assert load(tmp_path).arms == ["uniform", "mars tau=0.1", "mars tau=2.0"]


def test_the_same_arm_and_seed_twice_is_refused(tmp_path: Path) -> None:
    made = make_run(tmp_path, "mars", 0, 0.5)
    shutil.copytree(made, made.with_name(made.name[:-8] + "00000000"))
    with pytest.raises(UserError, match="are the same arm and seed"):
        load(tmp_path)


def test_missing_or_empty_studies_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a directory"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no runs"):
        load(tmp_path)
    make_run(tmp_path, "mars", 0, 0.5, done=False)
    with pytest.raises(UserError, match="1 unfinished runs and no finished one"):
        load(tmp_path)


def test_a_damaged_run_is_named(tmp_path: Path) -> None:
    made = make_run(tmp_path, "mars", 0, 0.5)
    (made / "metrics.json").write_text("{")
    with pytest.raises(UserError, match=r"metrics\.json: the run is marked DONE") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_report_writes_everything_and_prints_the_leaderboard(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run({"study": str(study)})
    printed = capsys.readouterr().out
    assert "planted / minilm, split test" in printed
    assert printed.index("\n1  mars") < printed.index("\n4  none")
    directory = study / "report"
    results = pd.read_parquet(directory / "results.parquet")
    measured = json.loads(next(study.glob("eda-*-s1-*/metrics.json")).read_text())["in_distribution"]["test"]
    of_run = results[(results["arm"] == "eda") & (results["seed"] == 1) & (results["split"] == "test")]
    assert dict(zip(of_run["metric"], of_run["value"], strict=True)) == pytest.approx(measured)
    for name in ("accuracy", "margins", "validation"):
        pixels = matplotlib.image.imread(directory / "figures" / f"{name}.png")[..., :3]
        assert 0.005 < (pixels.min(axis=2) < 0.9).mean() < 0.5  # something drawn, most of it paper
        assert (directory / "figures" / f"{name}.pdf").stat().st_size > 5000


def test_a_report_repeats_byte_for_byte(study: Path) -> None:
    def digests() -> dict[str, str]:
        files = sorted(f for f in report(study).rglob("*") if f.is_file())
        return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}

    first = digests()
    written = {"leaderboard.csv", "leaderboard.md", "results.parquet", "pools.csv", "pools.md", "accuracy.pdf"}
    assert written | {"accuracy.png", "margins.png", "validation.png"} <= set(first)
    assert digests() == first


def test_an_arm_looks_the_same_whatever_it_is_shown_with() -> None:
    for arm, look in figures.FIXED.items():
        assert figures.looks([arm, "another"])[arm] == look
    crowd = figures.looks([*figures.FIXED, *(f"arm{i}" for i in range(12))])
    assert {arm: crowd[arm] for arm in figures.FIXED} == figures.FIXED
    assert len({(look.colour, look.line) for look in crowd.values()}) == len(crowd)


def test_a_sweep_beside_the_baselines_takes_colours_they_do_not_have() -> None:
    sweep = figures.looks(["none", "uniform", *(f"mars tau={tau}" for tau in (0, 1, 2, 4, 8))])
    assert len({look.colour for look in sweep.values()}) == len(sweep)


def test_a_crowd_is_drawn_with_every_arm_named_and_none_cut(tmp_path: Path) -> None:
    arms = [*figures.FIXED, "somebody_elses_idea"]
    study = load(make_study(tmp_path, {arm: 0.1 * i for i, arm in enumerate(arms)}, seeds=(0, 1), examples=30))
    drawn = [figures.accuracy(study), figures.margins(study), figures.validation(study)]
    for figure in drawn:
        figure.canvas.draw()
        words = [text for text in figure.findobj(Text) if text.get_text() in arms and text.get_visible()]
        assert {text.get_text() for text in words} == set(arms)
        for text in words:
            box = text.get_window_extent()
            assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
        plt.close(figure)


def test_an_interval_holds_zero_exactly_when_p_is_at_least_five_per_cent():
    rng = np.random.default_rng(0)
    seen = set()
    for shift in np.linspace(-0.06, 0.06, 60):
        arm = (rng.random((3, 150)) < 0.6 + shift).astype(float)
        reference = (rng.random((3, 150)) < 0.6).astype(float)
        result = stats.paired_difference(arm, reference, rng, resamples=400)
        assert (result.lo <= 0 <= result.hi) == (result.p >= 0.05)
        seen.add(result.p >= 0.05)
    assert seen == {True, False}


def test_any_arm_can_be_the_reference_and_is_matched_by_the_settings_it_does_not_name(tmp_path: Path) -> None:
    for seed in range(3):
        for score in ("absolute", "signed"):
            for tau in (0, 2):
                make_run(tmp_path, "mars", seed, 0.5 + tau / 4, settings={"tau": tau, "score": score})
    board = leaderboard(load(tmp_path), reference="mars tau=0")
    differences = board.table.set_index("arm")["difference"]
    assert differences.index[differences.isna()].tolist() == ["mars score=absolute tau=0", "mars score=signed tau=0"]
    assert (differences.dropna() > 0).all()
    assert "− mars tau=0" in board.to_text()
    assert "no finished run of uniform to compare with" in leaderboard(load(tmp_path)).to_text()


def test_a_choice_of_a_group_names_an_arm_by_the_choice_alone(tmp_path: Path) -> None:
    for semantic in ("off", "paper"):
        run = make_run(tmp_path, "mars", 0, 0.5, settings={"semantic_marker": semantic})
        config = yaml.safe_load((run / "config.yaml").read_text())
        del config["method"]["semantic_marker"]
        config["semantic"] = {"name": "off"} if semantic == "off" else {"name": "paper", "encoder": {"name": "mpnet"}}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert load(tmp_path).arms == ["mars semantic=off", "mars semantic=paper"]
