"""What a report says of curvature and of the map of regimes: known gains, a known correlation, a known map."""

from __future__ import annotations

import itertools
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.reports import figures
from support.study import add_curvature, make_run, make_study, score_test

from analysis import NothingToShow, Study, load
from analysis.inference.comparisons import compare
from analysis.inference.curvature import EVERYWHERE, correlations, finals, points
from analysis.inference.regimes import regimes, split_arm
from analysis.inference.stats import mean_interval
from analysis.report.build import report
from analysis.report.verdict import on_curvature

H_GAIN = {
    "uniform": 0.1,
    "stratified": 0.2,
    "mars_fisher": 0.3,
    "mars_tempered": 0.35,
    "mars": 0.4,
}  # and G's is what is left to 0.5
ROUNDS = 4
CELL = {"backbone": "gaussian", "dataset": "gaussian", "own_rows": True, "examples": 100}


def gains(arm: str, seed: int) -> np.ndarray:
    """[ROUNDS] gains in H: the arm's, rising by round, moved by the seed."""
    return H_GAIN[arm] + 0.01 * np.arange(ROUNDS) + 0.003 * seed


def curved_study(path: Path, slope: float = 0.1, seeds: tuple[int, ...] = (0, 1, 2)) -> Path:
    """Each round's change in held-out accuracy is `slope` times its gain in H, whose opposite is the gain in G."""
    make_study(path, {"none": 0.2}, seeds, rounds=ROUNDS)
    for i, arm in enumerate(H_GAIN):
        for seed in seeds:
            run = make_run(path, arm, seed, 0.5, rounds=ROUNDS)
            h_gain = gains(arm, seed)
            add_curvature(run, h_gain, 0.5 - h_gain, 0.5 + np.cumsum(slope * h_gain))
            score_test(run, 30 + 5 * i + seed)
    return path


@pytest.fixture(scope="module")
def curved(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return load(curved_study(tmp_path_factory.mktemp("curved")))


def rows_of(study: Study, name: str, **keys: Any) -> list[dict[str, Any]]:
    frame = study.table(name).frame
    for key, value in keys.items():
        frame = frame[frame[key] == value]
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def foot(figure: Any) -> str:
    """What is said below all panels, on one line."""
    return " ".join(figure.texts[0].get_text().split())


# curvature and the bound


def test_gains_are_means_over_rounds_with_the_interval_over_replicates(curved: Study) -> None:
    (row,) = rows_of(curved, "curvature", arm="mars", part="mixture")
    expected = mean_interval(np.array([gains("mars", seed).mean() for seed in (0, 1, 2)]))
    assert [row[f"h_gain{end}"] for end in ("", "_lo", "_hi")] == pytest.approx(expected)
    assert row["g_gain"] == pytest.approx(0.5 - expected.mean)
    assert (row["replicates"], row["rounds"], row["directions"]) == (3, ROUNDS, 8)
    base, selection, _ = rows_of(curved, "curvature", arm="mars")
    assert (base["part"], selection["part"]) == ("base", "selection")
    assert math.isnan(base["h_gain"])  # a gain is the mixture's
    assert row["h_logdet"] - base["h_logdet"] == pytest.approx(row["h_gain"])
    assert base["h_condition"] == base["g_condition"] == pytest.approx(2.0**7)
    assert 1 < base["h_effective_rank"] < 8
    assert rows_of(curved, "curvature", arm="none") == []  # it recorded none


def test_condition_numbers_are_averaged_by_their_logarithms(tmp_path: Path) -> None:
    for seed, condition in enumerate((10.0, 1000.0)):
        run = make_run(tmp_path, "mars", seed, 0.5, rounds=2)
        add_curvature(run, [0.1, 0.1], [0.1, 0.1], [0.5, 0.5])
        table = pd.read_csv(run / "rounds.csv")
        table.assign(h_base_condition=[condition, np.inf]).to_csv(run / "rounds.csv", index=False)
    assert rows_of(load(tmp_path), "curvature", part="base")[0]["h_condition"] == pytest.approx(100)


def test_whole_model_summaries_stand_with_the_base_pairs(tmp_path: Path) -> None:
    run = make_run(tmp_path, "mars", 0, 0.5, rounds=2)
    add_curvature(run, [0.1, 0.1], [0.1, 0.1], [0.5, 0.5])
    table = pd.read_csv(run / "rounds.csv")
    table.assign(hessian_trace=[10.0, 30.0], hessian_largest=2.0, hessian_smallest=-0.5).to_csv(run / "rounds.csv")
    base, *others = rows_of(load(tmp_path), "curvature")
    assert (base["hessian_trace"], base["hessian_largest"], base["hessian_smallest"]) == (20, 2, -0.5)
    assert all(math.isnan(row["hessian_trace"]) for row in others)
    assert "trace, whole model" in load(tmp_path).table("curvature").to_markdown()


def test_the_bound_counts_rounds_in_which_its_conditions_hold(curved: Study) -> None:
    (row,) = rows_of(curved, "bound", arm="mars")
    assert (row["separated"], row["gains"], row["both"], row["holds"]) == (0, 0.5, 0, 1)
    assert [row[f"factor{end}"] for end in ("", "_lo", "_hi")] == [1.1] * 3
    assert (row["truth"], row["low"], row["high"], row["rounds"]) == (1.2, 3.0, 0.1, 3 * ROUNDS)


# information


def test_a_change_that_follows_the_gain_has_a_rank_correlation_of_one(curved: Study) -> None:
    table = correlations(curved).set_index(["gain", "outcome"])
    for outcome in ("accuracy_change", "loss_fall"):
        h, g = table.loc[("h_gain", outcome)], table.loc[("g_gain", outcome)]
        assert (h["rho"], h["rho_lo"], h["rho_hi"]) == pytest.approx((1, 1, 1))
        assert (g["rho"], g["within"]) == pytest.approx((-1, -1))
        assert (h["points"], h["replicates"]) == (
            len(H_GAIN) * (ROUNDS - 1),
            3,
        )  # the first round changes nothing known
    for outcome in ("accuracy", "gold_accuracy"):
        assert table.loc[("h_gain", outcome), "points"] == len(H_GAIN) - 1  # the reference differs in nothing
    assert table.loc[("h_gain", "gold_accuracy"), "rho"] == pytest.approx(1)


def test_what_all_arms_do_in_a_round_is_no_information_of_theirs(tmp_path: Path) -> None:
    """Gains fall and accuracy rises less from round to round, alike for all arms; between arms it is the other way."""
    for i, arm in enumerate(H_GAIN):
        for seed in (0, 1):
            run = make_run(tmp_path, arm, seed, 0.5, rounds=ROUNDS)
            change = np.array([0.0, 0.3, 0.2, 0.1]) - 0.001 * i
            add_curvature(run, np.array([4.0, 3.0, 2.0, 1.0]) + 0.01 * i, np.zeros(ROUNDS), np.cumsum(change))
    row = correlations(load(tmp_path)).set_index(["gain", "outcome"]).loc[("h_gain", "accuracy_change")]
    assert row["rho"] > 0.7
    assert row["within"] == pytest.approx(-1)


def test_a_round_without_a_number_costs_its_points_at_most(tmp_path: Path) -> None:
    path = curved_study(tmp_path)
    before = correlations(load(path))
    file = next(path.glob("mars-*-s0-*")) / "rounds.csv"
    rows = file.read_text(encoding="utf-8").splitlines()
    assert rows[0].startswith("round,")
    file.write_text("\n".join([*rows[:-1], "," + rows[-1].partition(",")[2]]) + "\n", encoding="utf-8")
    after = correlations(load(path))
    assert after[["gain", "outcome"]].equals(before[["gain", "outcome"]])
    assert after["rho"].notna().equals(before["rho"].notna())


def test_no_points_no_correlation(tmp_path: Path) -> None:
    add_curvature(make_run(tmp_path, "mars", 0, 0.5, rounds=2), [0.1, 0.2], [0.1, 0.2], [0.5, 0.6])
    study = load(tmp_path)
    with pytest.raises(NothingToShow, match="too few points"):
        study.table("information")
    assert points(study.judged())["accuracy_change"].tolist()[1:] == pytest.approx([0.1])
    assert len(on_curvature(study)) == 1  # the bound alone


def test_confounded_arms_have_no_final_correlation(tmp_path: Path) -> None:
    curved_study(tmp_path)
    for run in tmp_path.glob("mars-*"):
        manifest = (run / "manifest.json").read_text()
        (run / "manifest.json").write_text(manifest.replace('"steps": 30', '"steps": 99'))
    assert set(correlations(load(tmp_path))["outcome"]) == {"accuracy_change", "loss_fall"}
    allowed = load(tmp_path).judged(allow_confounded=True)
    assert "gold_accuracy" in set(correlations(allowed)["outcome"])


def test_over_several_groups_a_seed_counts_once(tmp_path: Path) -> None:
    curved_study(tmp_path)
    for run in list(tmp_path.glob("*")):
        if run.name.startswith("none"):
            continue
        arm, seed = run.name.split("-")[0], int(run.name.split("-s")[1][0])
        other = make_run(tmp_path, arm, seed, 0.5, dataset="hh_rlhf", rounds=ROUNDS)
        add_curvature(other, gains(arm, seed), gains(arm, seed), 0.9 - np.cumsum(0.1 * gains(arm, seed)))
    table = correlations(load(tmp_path))
    row = table[table["outcome"] == "accuracy_change"].set_index(["dataset", "gain"])
    assert row.loc[("planted", "h_gain"), "rho"] == -row.loc[("hh_rlhf", "h_gain"), "rho"] == pytest.approx(1)
    assert row.loc[(EVERYWHERE, "h_gain"), "rho"] == pytest.approx(0)
    assert row.loc[(EVERYWHERE, "h_gain"), "replicates"] == 3


def test_the_verdict_says_what_was_measured(curved: Study) -> None:
    assert on_curvature(curved) == (
        "Curvature was recorded. The bound's margins were separated (m_L < m_H) in 0 of 60 rounds, its factor was "
        "above 1 (κ·σ′(m_L) > σ′(m_H)) in 30, both in 0. A round's gain in H went with its change in held-out "
        "accuracy (rank correlation within rounds +1.00 [+1.00, +1.00], 3 replicates). A round's gain in G went "
        "against its change in held-out accuracy (rank correlation within rounds −1.00 [−1.00, −1.00], 3 replicates).",
    )


# figures


def test_the_spectra_are_geometric_means_over_replicates(curved: Study) -> None:
    figure = curved.figure("spectra")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [
        f"planted / minilm,\u0020{when}, {kind}" for when in ("first round", "last round") for kind in "HG"
    ]
    last = figure.axes[2]
    assert last.get_yscale() == "log"
    base, *lines = last.lines
    assert base.get_ydata() == pytest.approx(0.25 * 0.5 ** np.arange(8))
    selection, mixture = lines[-2:]
    gain = np.mean([gains("mars", seed)[-1] for seed in (0, 1, 2)])
    assert mixture.get_ydata() == pytest.approx(base.get_ydata() * np.exp(gain))
    assert selection.get_ydata() == pytest.approx(base.get_ydata() * np.exp(2 * gain))


def test_gains_in_h_and_g_have_one_scale_and_every_arm_that_recorded_any(curved: Study) -> None:
    figure = curved.figure("curvature")
    h, g = (axes for axes in figure.axes if "gain" in axes.get_title())
    assert h.get_ylim() == g.get_ylim()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(H_GAIN)
    mean = np.mean([gains("uniform", seed) for seed in (0, 1, 2)], axis=0)
    assert h.lines[0].get_ydata() == pytest.approx(mean)


def test_points_of_the_bound_show_which_conditions_hold(curved: Study) -> None:
    (axes,) = curved.figure("bound").axes
    marked = [line for line in axes.lines if line.get_marker() == "." and len(line.get_xdata())]
    assert sum(len(line.get_xdata()) for line in marked) == 30  # one condition of two, in half of 60 rounds
    assert all(
        line.get_markerfacecolor() == "none"
        for line in axes.lines
        if line.get_marker() == "D" and len(line.get_xdata())
    )
    assert foot(curved.figure("bound")).endswith(
        "no gain; with a dot: one of its conditions holds; hollow: none of its conditions holds"
    )


def test_the_panels_of_gains_carry_their_correlation(curved: Study) -> None:
    titles = [" ".join(axes.get_title().split()) for axes in curved.figure("information").axes]
    assert titles == [
        "planted / minilm, gain in H: ρ +1.00 [+1.00, +1.00]",
        "planted / minilm, gain in G: ρ −1.00 [−1.00, −1.00]",
    ]
    assert foot(curved.figure("information")).endswith(
        "no change; ρ: Spearman's within a replicate, mean over replicates with its 95 % interval"
    )


def test_a_foot_says_only_what_is_in_the_figure(curved: Study, tmp_path: Path) -> None:
    rho = "; ρ: Spearman's over the arms of a replicate, mean over replicates with its 95 % interval"
    assert foot(curved.figure("gains")) == f"a point an arm, mean over replicates; all less uniform{rho}"
    for arm in ("uniform", "mars"):  # too few for a correlation, and one seed
        run = make_run(tmp_path, arm, 0, 0.5, rounds=ROUNDS)
        add_curvature(run, gains(arm, 0), gains(arm, 0), np.full(ROUNDS, 0.5))
    figure = load(tmp_path).figure("gains")
    assert [axes.get_title() for axes in figure.axes] == ["gain in H", "gain in G"]
    assert foot(figure) == "a point an arm; all less uniform"


@pytest.mark.parametrize("size", [3.0, 0.012, 0.00012])
def test_the_numbers_of_gains_do_not_run_into_each_other(size: float, tmp_path: Path) -> None:
    for i, arm in enumerate(("uniform", "stratified", "mars")):
        run = make_run(tmp_path, arm, 0, 0.5, rounds=ROUNDS)
        add_curvature(run, np.full(ROUNDS, 0.1 - size * i), np.full(ROUNDS, 0.1 + size * i), np.full(ROUNDS, 0.5))
    figure = load(tmp_path).figure("gains")
    figure.draw_without_rendering()
    for axes in figure.axes:
        low, high = axes.get_xlim()
        at = [tick.label1.get_window_extent() for tick in axes.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
        assert len(at) >= 2
        assert all(left.x1 + 5 < right.x0 for left, right in itertools.pairwise(at))


# the map of regimes


def cell(path: Path, method: str, seed: int, right: int, *, data: Any, noise: float = 0.3, **options: Any) -> Path:
    """A run of one cell, `right` of its 100 test pairs ranked as truth has them."""
    config = {"dataset": {"name": "gaussian", "seed": seed, **data}, "augmenter": {"name": "gaussian", "noise": noise}}
    run = make_run(path, method, seed, 0.5, config=config, **(CELL | options))
    score_test(run, right)
    return run


FLIPS, CLEAN = {"noise": "flip", "flip_rate": 0.25}, {"noise": "none", "flip_rate": 0.2}
KNOWN = {("flip", "absolute"): 6, ("flip", "signed"): -8, ("none", "absolute"): 0, ("none", "signed"): -3}  # points


def known_map(path: Path, seeds: int = 6) -> Path:
    """MARS of two scores against uniform on two kinds of data, by KNOWN."""
    for data in (FLIPS, CLEAN):
        for seed in range(seeds):
            cell(path, "uniform", seed, 70 + seed, data=data)
            for score in ("absolute", "signed"):
                wobble = (-1) ** seed  # without it nothing varies, and nothing can be told
                right = 70 + seed + KNOWN[data["noise"], score] + wobble
                cell(path, "mars", seed, right, data=data, settings={"score": score, "tau": 2.0})
    return path


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of `known_map`; a test that writes into it takes a copy."""
    return known_map(tmp_path_factory.mktemp("map"))


def test_the_map_has_the_known_differences_and_words(mapped: Path) -> None:
    frame = regimes(load(mapped))
    assert list(frame["dataset"].unique()) == ["gaussian flip_rate=0.25 noise=flip", "gaussian noise=none"]
    found = {
        (row["dataset"].split("noise=")[1], row["arm"].split("=")[1].split()[0]): row
        for row in frame.to_dict("records")
    }
    for key, points_ in KNOWN.items():
        assert found[key]["difference"] == pytest.approx(points_ / 100)
        assert found[key]["difference_lo"] < points_ / 100 < found[key]["difference_hi"]
        assert found[key]["outcome"] == ("tie" if points_ == 0 else "win" if points_ > 0 else "loss")
        assert found[key]["reference_value"] == pytest.approx(0.725)
    assert set(frame["measure"]) == {"gold"}
    assert set(frame["replicates"]) == {6}
    assert set(frame["examples"]) == {100}


def test_the_map_is_one_family(mapped: Path) -> None:
    frame = regimes(load(mapped))
    smallest = frame["p"].idxmin()
    assert frame.loc[smallest, "p_holm"] == pytest.approx(4 * frame.loc[smallest, "p"])


def test_without_truth_the_map_is_of_labels(mapped: Path, tmp_path: Path) -> None:
    shutil.copytree(mapped, tmp_path, dirs_exist_ok=True)
    for file in tmp_path.glob("*/scores/in_distribution.parquet"):
        scores = pd.read_parquet(file).assign(gold_margin=np.nan)
        scores.to_parquet(file, index=False)
    study = load(tmp_path)
    frame = regimes(study)
    assert set(frame["measure"]) == {"label"}
    first = frame.iloc[0]
    group = dict(study.groups())[f"{first['dataset']} / gaussian"]
    gained = group.values(first["arm"], "test", "accuracy") - group.values("uniform", "test", "accuracy")
    assert first["difference"] == pytest.approx(gained.mean())
    assert "label accuracy" in study.table("regimes").caption


def test_variants_of_each_kind_have_their_own_reference(tmp_path: Path) -> None:
    for noise, right in ((0.3, 60), (1.0, 80)):
        for seed in (0, 1, 2):
            cell(tmp_path, "uniform", seed, right, data=CLEAN, noise=noise)
            cell(tmp_path, "mars", seed, right + 5 + seed, data=CLEAN, noise=noise)
    frame = regimes(load(tmp_path))
    assert list(frame["variants"]) == ["noise=0.3", "noise=1.0"]
    assert list(frame["strategy"]) == ["mars", "mars"]
    assert list(frame["reference_value"]) == pytest.approx([0.6, 0.8])
    assert list(frame["difference"]) == pytest.approx([0.06, 0.06])
    assert split_arm("mars augmenter=rules augmenter.rate=0.5 tau=2") == ("augmenter=rules rate=0.5", "mars tau=2")


def test_cells_of_unequal_steps_are_refused_unless_allowed(tmp_path: Path) -> None:
    known_map(tmp_path, seeds=2)
    for seed in (0, 1):
        cell(tmp_path, "mars_validated", seed, 90, data=CLEAN, manifest={"steps": 99})
    study = load(tmp_path)
    refused = regimes(study).set_index("dataset").loc["gaussian noise=none"]
    assert set(refused["not_compared"]) == {"arms differ in optimiser steps"}
    assert refused["difference"].isna().all()
    assert regimes(study.judged(allow_confounded=True))["difference"].notna().all()
    figure = study.figure("regimes")
    assert sum(text.get_text() == "×" for text in figure.axes[0].texts) == 3


def test_one_kind_of_data_and_variants_is_no_map(tmp_path: Path) -> None:
    study = load(make_study(tmp_path, seeds=(0,)))
    with pytest.raises(NothingToShow, match="experiment=regimes"):
        study.table("regimes")
    alone = load(make_study(tmp_path, {"mars": 1.0}, seeds=(0,), dataset="hh_rlhf"))
    assert list(regimes(alone.judged(reference="none"))["dataset"]).count("hh_rlhf") == 1


def test_the_phase_diagram_says_each_number_and_frames_what_is_significant(mapped: Path) -> None:
    figure = load(mapped).figure("regimes")
    axes, bar = figure.axes
    assert [" ".join(t.get_text().split()) for t in axes.get_xticklabels()] == ["mars absolute", "mars signed"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["clean", "flips 25 %"]
    said = {(round(t.get_position()[0]), round(t.get_position()[1])): t for t in axes.texts}
    numbers = {(0, 0): "0.0", (1, 0): "−3.0", (0, 1): "+6.0", (1, 1): "−8.0"}
    assert {place: text.get_text() for place, text in said.items()} == numbers
    assert {place for place, text in said.items() if text.get_fontweight() == "bold"} == {(1, 0), (0, 1), (1, 1)}
    assert "blank" not in foot(figure)  # every cell was run and compared
    assert "×" not in foot(figure)
    low, high = bar.get_ylim()
    assert low == pytest.approx(-high)  # white is no difference


# the report


def test_a_report_of_many_groups_has_one_map_few_panels_and_a_line_on_curvature(tmp_path: Path) -> None:
    for rare, method in itertools.product(range(7), ("uniform", "mars")):
        run = cell(tmp_path / "study", method, 0, 60 + rare, data={"rare_share": rare / 10})
        add_curvature(run, gains(method, 0)[:3], gains(method, 0)[:3], [0.5, 0.6, 0.8])
    with figures("accuracy", "bound", "curvature", "gains", "information", "regimes", "rounds"):
        directory = report(tmp_path / "study")
    page = (directory / "index.html").read_text()
    assert page.count("The first of 7 groups; study.figure(NAME) draws them all.") > 3
    assert page.index('id="table-regimes"') < page.index('id="table-main"')
    assert page.index('id="figure-regimes"') < page.index('id="figure-accuracy"')
    for name in ("curvature", "bound", "information"):
        assert f'id="table-{name}"' in page
        assert f'id="figure-{name}"' in page
    assert len(pd.read_csv(directory / "tables" / "regimes.csv")) == 7
    assert pd.read_csv(directory / "figures" / "gains.csv")["group"].nunique() == 7  # two panels, however many groups
    verdict = (directory / "verdict.md").read_text()
    assert "Curvature was recorded." in verdict
    assert "(ρ )" not in verdict  # every run's accuracy moves alike here, so there is no correlation to state
    assert len(load(tmp_path / "study").figure("bound").axes) == 7  # a reader of Python gets them all


# what may be held against what


def test_the_final_gains_are_net_of_the_reference_with_the_same_variants(tmp_path: Path) -> None:
    """With nearer and farther variants each arm is held against uniform of its own; without one, against none."""
    for noise in (0.3, 1.0):
        for i, arm in enumerate(H_GAIN):
            run = make_run(tmp_path, arm, 0, 0.5, rounds=ROUNDS, config={"augmenter": {"noise": noise}})
            add_curvature(run, gains(arm, 0) + noise, np.zeros(ROUNDS), np.full(ROUNDS, 0.5))
            score_test(run, 30 + 5 * i)
    (_, group), *_ = load(tmp_path).groups()
    own = finals(group).set_index("arm")
    assert not own.index.str.startswith("uniform").any()
    for noise in (0.3, 1.0):
        assert own.loc[f"mars augmenter.noise={noise}", "h_gain"] == pytest.approx(H_GAIN["mars"] - H_GAIN["uniform"])
    for run in tmp_path.glob("uniform-*"):
        if "noise: 1.0" in (run / "config.yaml").read_text():
            (run / "DONE").unlink()
    (_, group), *_ = load(tmp_path).groups()
    assert {arm.split("=")[-1] for arm in finals(group)["arm"]} == {"0.3"}
    not_compared = compare(group).set_index("arm")["not_compared"]
    assert set(not_compared[not_compared.index.str.endswith("noise=1.0")]) >= {"uniform ran with other variants only"}


def test_a_round_that_chose_by_the_held_out_pairs_is_no_point(tmp_path: Path) -> None:
    run = make_run(tmp_path, "mars_validated", 0, 0.5, rounds=3)
    add_curvature(run, [0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [0.5, 0.6, 0.7])
    rounds = pd.read_csv(run / "rounds.csv").assign(trial_steps=[0, 10, 0])
    rounds.to_csv(run / "rounds.csv", index=False)
    change = points(load(tmp_path))["accuracy_change"]
    assert change.isna().tolist() == [True, True, False]
