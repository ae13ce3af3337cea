"""The figures as a reader sees them: what is drawn, at which scale, and nothing over or beside its place."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from support import judged
from support.study import add_curvature, make_run, make_study

from analysis import NothingToShow, Study, load
from analysis.exhibits import FIGURES, allocation, margins, measures, style, sweeps, training, variance
from analysis.inference.comparisons import compare
from benchmarks.metrics import forecasts
from benchmarks.order_statistics import kl
from benchmarks.protocols.in_distribution import InDistribution
from benchmarks.protocols.reward_bench import HEADLINE

CURVATURE = {"curvature", "spectra", "bound", "information", "gains"}
TRAINED = {"trained_policy", "foretelling", "win_rates"}
SIZED, POOLED = "learning_curves", "pools_by_allocation"
OWN = {"best_of_n", "sensitivity", "label_noise", *TRAINED}
ELSEWHERE = {  # what each of the studies below has nothing for
    "study": {*OWN, "tau_sweep", "budget_sweep", "sections", "regimes", *CURVATURE, SIZED, POOLED},
    "crowd": {*OWN, "tau_sweep", "budget_sweep", "sections", "regimes", *CURVATURE, SIZED, POOLED},
    "sweep": {*OWN, "budget_sweep", "sections", "variance", "regimes", *CURVATURE, SIZED, POOLED},
    "several": {"sensitivity", "label_noise", "tau_sweep", "budget_sweep", *CURVATURE, SIZED, POOLED},
    "mapped": {*OWN, "tau_sweep", "budget_sweep", "sections", SIZED},
    "sized": {*OWN, "tau_sweep", "budget_sweep", "sections", *CURVATURE, POOLED},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """none, uniform, eda, mars × 3 seeds."""
    return load(make_study(tmp_path_factory.mktemp("outputs") / "quick"))


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Every arm that has a look of its own, and one that has none, × 2 seeds."""
    arms = {arm: 0.1 * i for i, arm in enumerate([*style.FIXED, "somebody_elses_idea"])}
    return load(make_study(tmp_path_factory.mktemp("crowd"), arms, seeds=(0, 1), examples=30))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """uniform, and mars × 6 τ × two scores, under long names; one seed."""
    path = tmp_path_factory.mktemp("sweep")
    make_run(path, "uniform", 0, 0.5, examples=20, rounds=2)
    for tau in (-1, 0, 0.1, 0.5, 2, 8):
        for score in ("absolute", "signed"):
            named = {"tau": tau, "score": score, "schedule_of_temperature": f"linear_{score}"}
            make_run(path, "mars", 0, 0.5, settings=named, examples=20, rounds=2)
    return load(path)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Four datasets with other arms in one of them, a name longer than its panel; RewardBench and best-of-n of one."""
    path = tmp_path_factory.mktemp("several")
    long = "a_data_set_of_somebody_with_a_name_much_longer_than_any_panel"
    for dataset in ("hh_rlhf", "planted", long):
        make_study(path, {"uniform": 0.5, "mars": 0.8}, seeds=(0, 1), dataset=dataset, examples=40)
    make_study(path, {"eda": 0.5, "won": 0.6, "mars": 0.8}, seeds=(0,), dataset="pku_saferlhf", examples=40)
    for file in path.glob("*-hh_rlhf-*/metrics.json"):
        measured = json.loads(file.read_text())
        measured["reward_bench"] = {part: {"accuracy": 0.6} for part in HEADLINE}
        measured["reward_bench_2"] = {"subset/Focus": {"accuracy": 0.4}, "subset/Ties": {"score": 0.2}}
        measured["best_of_n"] = {
            f"best_of/{n}": {"kl": kl(n), "gold_gain": 0.1 * n, "proxy_gain": 0.2 * n} for n in (1, 2, 4, 8, 16, 64)
        }
        gold = measured["in_distribution"]["test"]["accuracy"]
        steps = {f"step/{k}": {"kl": 0.3 * k, "gold_gain": 0.1 * k, "proxy_gain": 0.2 * k} for k in (0, 10, 20)}
        measured["trained_policy"] = {"overall": {"gold_gain": gold, "proxy_gain": 1.0}, **steps}
        file.write_text(json.dumps(measured))
    for policy in ("Llama-3.2-1B-Instruct", "TinyLlama-1.1B-Chat"):
        for run in path.glob("*-hh_rlhf-*"):
            judged.add_replies(run, policy, np.random.default_rng(list(run.name.encode())).integers(0, 3, 30) / 2)
            judged.judge(run, policy)
            judged.judge(run, policy, "always_a")
    return load(path)


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """uniform, mars_validated and mars × two scores, on data of two kinds with variants of two, with curvature."""
    path, rng = tmp_path_factory.mktemp("mapped"), np.random.default_rng(0)
    arms = [
        ("uniform", {}),
        ("mars_validated", {}),
        *(("mars", {"score": s, "tau": 2.0}) for s in ("absolute", "signed")),
    ]
    for (method, settings_), rare, noise, seed in itertools.product(arms, (0.0, 0.1), (0.3, 1.0), (0, 1)):
        data = {"name": "gaussian", "seed": seed, "noise": "none", "rare_share": rare}
        config = {"dataset": data, "augmenter": {"name": "gaussian", "noise": noise}}
        options = {"own_rows": True, "examples": 30, "settings": settings_, "config": config}
        run = make_run(path, method, seed, rng.normal(0.5, 0.2), dataset="gaussian", **options)
        add_curvature(run, rng.normal(0.3, 0.1, 3), rng.normal(0, 0.1, 3), rng.random(3))
    return load(path)


@pytest.fixture(scope="module")
def sized(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Three arms × six sizes of one dataset, budgets that go with them, two seeds."""
    path = tmp_path_factory.mktemp("sized")
    sizes = (50, 100, 200, 400, 800, 1600)
    for (rank, size), (better, arm), seed in itertools.product(
        enumerate(sizes), enumerate(("none_matched", "uniform", "mars")), (0, 1)
    ):
        config = {"dataset": {"name": "planted", "size": size}, "rounds": {"budget": 2 * size}}
        make_run(path, arm, seed, 0.2 + 0.2 * rank + 0.1 * better, own_rows=True, examples=40, config=config)
    return load(path)


def plots(figure: Figure) -> dict[str, Axes]:
    """The panels by their titles, each on one line; panels of one title are numbered."""
    named: dict[str, Axes] = {}
    for axes in figure.axes:
        title = " ".join(axes.get_title().split())
        named[title if title not in named else f"{title} ({len(named)})"] = axes
    return named


def words(figure: Figure) -> list[tuple[Text, Axes | None]]:
    """Every text a reader sees, and the panel it belongs to."""
    seen: list[tuple[Text, Axes | None]] = [(text, None) for text in figure.texts]
    seen += [(text, None) for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        seen += [(text, axes) for text in (axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts)]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
            seen += [(label, axes) for place, label in ticks if low - 1e-9 <= place <= high + 1e-9]
    return [(text, axes) for text, axes in seen if text.get_visible() and text.get_text().strip()]


def overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """[N, M] by how many pixels boxes [N, 4] and [M, 4] of x0, y0, x1, y1 lie over each other, the smaller way."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    return (high - low).min(axis=2)


def check_nothing_overlaps(figure: Figure) -> None:
    """Every text inside the figure, and none over another or over a panel that is not its own; no panel empty."""
    figure.draw_without_rendering()
    seen = words(figure)
    boxes = np.array([text.get_window_extent().extents for text, _ in seen])
    cut = (boxes < figure.bbox.extents[[0, 1, 0, 1]] - 0.5) | (boxes > figure.bbox.extents[[2, 3, 2, 3]] + 0.5)
    assert [seen[i][0].get_text() for i in np.flatnonzero(cut.any(axis=1))] == []
    over = np.argwhere(np.triu(overlap(boxes, boxes) > 2, 1))
    assert [(seen[i][0].get_text(), seen[j][0].get_text()) for i, j in over] == []
    panels = np.array([axes.get_window_extent().extents for axes in figure.axes])
    own = np.array([[axes is panel for panel in figure.axes] for _, axes in seen])
    astray = np.argwhere((overlap(boxes, panels) > 1) & ~own)
    assert [(seen[i][0].get_text(), figure.axes[j].get_title()) for i, j in astray] == []
    assert [axes.get_title() for axes in figure.axes if not (axes.lines or axes.patches or axes.collections)] == []


@pytest.mark.parametrize("which", ["study", "crowd", "sweep", "several", "mapped", "sized"])
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_all_in_its_place_or_says_what_is_missing(
    name: str, which: str, request: pytest.FixtureRequest
) -> None:
    study = request.getfixturevalue(which)
    if name in ELSEWHERE[which]:
        with pytest.raises(NothingToShow, match=r"^[^\n]*\(python -m [^\n]*\)$"):
            study.figure(name)
        return
    figure = study.figure(name)
    check_nothing_overlaps(figure)
    assert figure.get_size_inches()[0] < 17
    if which == "crowd" and name not in (
        "comparisons",
        "bit_comparisons",
        "variance",
        "allocation",
    ):  # an arm need not be compared, nor draw rows
        assert set(study.arms) <= {text.get_text() for text, _ in words(figure)}


def test_sizes_stand_in_their_order_and_apart(sized: Study) -> None:
    """Each size is a group of its own, where arms are ranked and compared; the curve joins them."""
    sizes = [50, 100, 200, 400, 800, 1600]
    assert [title for title, _ in sized.groups()] == [f"planted size={size} / minilm" for size in sizes]
    compared = compare(sized)
    assert len(compared) == 6 * 2 * 2  # sizes, references, endpoints
    axes = sized.figure("learning_curves").axes
    assert [panel.get_title() for panel in axes] == ["planted / minilm, accuracy", "planted / minilm, information"]
    accuracy = by_arm(axes[0])
    assert list(accuracy["mars"][0]) == sizes
    means = [group.values("mars", "test", "accuracy").mean() for _, group in sized.groups()]
    assert accuracy["mars"][1] == pytest.approx(means)


def by_arm(axes: Axes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The curves of a panel by the arm that has their look."""
    arms = {(look.colour, look.marker): arm for arm, look in style.FIXED.items()}
    named = {arms.get((str(line.get_color()), str(line.get_marker()))): line for line in axes.lines}
    return {arm: (np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for arm, line in named.items() if arm}


def test_a_sweep_of_budgets_is_ordered_by_the_budget(tmp_path: Path) -> None:
    for budget in (1000, 250, 8000):
        make_run(tmp_path, "mars", 0, 0.5, config={"rounds": {"budget": budget}})
    figure = load(tmp_path).figure("budget_sweep")
    check_nothing_overlaps(figure)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["250", "1000", "8000"]


def test_the_same_study_is_the_same_bytes_whatever_the_readers_own_style(study: Study) -> None:
    def drawn() -> list[bytes]:
        return [study.figure("snr").pixels().png, study.figure("rounds").pdf()]

    first = drawn()
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black", "savefig.dpi": 30, "axes.grid": True}):
        again = drawn()
    assert again == first
    image, document = first
    assert image.startswith(b"\x89PNG")
    assert document.startswith(b"%PDF")
    assert b"/CreationDate" not in document


def test_a_notebook_shows_a_figure(study: Study) -> None:
    assert study.figure("accuracy")._repr_png_().startswith(b"\x89PNG")


def test_an_arm_looks_the_same_whatever_it_is_shown_with() -> None:
    for arm, look in style.FIXED.items():
        assert style.looks([arm, "another"])[arm] == look
    crowd = style.looks([*style.FIXED, *(f"arm{i}" for i in range(12))])
    assert {arm: crowd[arm] for arm in style.FIXED} == style.FIXED
    assert len({(look.colour, look.line) for look in crowd.values()}) == len(crowd)


def test_a_sweep_beside_the_baselines_takes_colours_they_do_not_have() -> None:
    sweep = style.looks(["none", "uniform", *(f"mars tau={tau}" for tau in (0, 1, 2, 4, 8))])
    assert len({look.colour for look in sweep.values()}) == len(sweep)


def test_long_names_are_wrapped_and_a_setting_stays_in_one_piece(sweep: Study) -> None:
    assert style.wrap_name(sweep.arms[1]) == "mars\nschedule_of_temperature=linear_absolute\nscore=absolute tau=-1"


def test_a_small_picture_looks_the_same(study: Study) -> None:
    whole, small, (width, height) = study.figure("accuracy").pixels()
    assert len(small) < 0.6 * len(whole)
    one, other = (np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), float) for png in (whole, small))
    assert one.shape == other.shape
    assert height / width == pytest.approx(one.shape[0] / one.shape[1], rel=0.01)
    assert np.abs(one - other).mean() < 0.5  # of 255
    assert study.figure("accuracy").pixels().small == small


@given(st.text(alphabet="ab_- .", max_size=60), st.floats(0.3, 3))
@settings(max_examples=60)
def test_a_fitted_text_loses_nothing_and_fits(text: str, inches: float) -> None:
    fitted = style.wrap_text(text, inches)
    assert "".join(fitted.split()) == "".join(text.split())
    assert style.width(fitted) <= inches


@pytest.mark.parametrize("name", ["accuracy", "auc"])
def test_shares_fill_axes_of_one_span(name: str, study: Study) -> None:
    figure = study.figure(name)
    spans, filled = [], []
    for title, axes in plots(figure).items():
        low, high = axes.get_xlim()
        split = title.split(", ")[1]
        markers = [line for line in axes.lines if line.get_marker() == style.FIXED["mars"].marker]
        assert markers[0].get_xdata() == pytest.approx([study.values("mars", split, name).mean()])
        dots = np.concatenate([line.get_xdata() for line in axes.lines if line.get_marker() == "."])
        assert low < dots.min() <= dots.max() < high
        drawn = np.concatenate([line.get_xdata() for line in axes.lines if line.get_linestyle() != "--"])
        filled.append((min(drawn.max(), 1) - drawn.min()) / (high - low))
        spans.append(high - low)
    assert spans == pytest.approx([spans[0]] * len(spans))
    assert max(filled) > 0.8


@pytest.mark.parametrize("name", ["mean_margin", "snr"])
def test_bars_start_at_zero(name: str, study: Study) -> None:
    metric = {"mean_margin": "margin_mean"}.get(name, name)
    axes = plots(study.figure(name))["planted / minilm, test"]
    assert [bar.get_x() for bar in axes.patches] == [0] * 4
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(
        [study.values(arm, "test", metric).mean() for arm in study.arms]
    )
    assert axes.get_xlim()[0] <= 0


def test_one_seed_has_no_interval_and_the_figure_says_so(tmp_path: Path) -> None:
    figure = load(make_study(tmp_path, {"mars": 0.8}, seeds=(0,))).figure("accuracy")
    assert "one replicate, so no interval" in figure.texts[0].get_text()
    assert all(len(line.get_xdata()) == 1 for axes in figure.axes for line in axes.lines if line.get_marker() == "D")


def test_what_an_arm_did_not_measure_is_said_in_its_row(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5, "mars": 0.8}, seeds=(0, 1))
    for file in tmp_path.glob("uniform-*/metrics.json"):
        measured = json.loads(file.read_text())
        del measured["in_distribution"]["test"]["auc"]  # as an older version left it
        file.write_text(json.dumps(measured))
    figure = load(tmp_path).figure("auc")
    (aside,) = [t for t in figure.axes[0].texts if t.get_text() == "not measured"]
    assert aside.get_position()[1] == 0  # uniform's row


def test_further_splits_are_left_out_where_they_make_too_many_panels(tmp_path: Path) -> None:
    for i in range(7):
        make_run(tmp_path, "mars", 0, 0.5, dataset=f"data{i}", examples=10)
    figure = load(tmp_path).figure("accuracy")
    assert list(plots(figure)) == [f"data{i} / minilm, test" for i in range(7)]
    assert "main test split only" in figure.texts[0].get_text()


def test_losses_and_accuracies_of_the_rounds_fill_their_axes(study: Study) -> None:
    losses, accuracies = study.figure("rounds").axes  # this study recorded no margins
    assert losses.get_ylim() == pytest.approx((0.6 - 0.56 * 0.02, 0.6 + 0.56 * 0.02))  # all alike
    low, high = accuracies.get_ylim()
    curves = np.concatenate([line.get_ydata() for line in accuracies.lines if line.get_linestyle() != "--"])
    assert low < curves.min() < curves.max() < high < low + 4 * np.ptp(curves)
    assert list(accuracies.get_xticks()) == [0, 1, 2]
    mars = next(line for line in accuracies.lines if line.get_marker() == "D")
    by_round = study.rounds[study.rounds["arm"] == "mars"].groupby("round")["validation_accuracy"].mean()
    assert mars.get_ydata() == pytest.approx(by_round.to_numpy())


def test_a_single_round_shows_the_arms_side_by_side(tmp_path: Path) -> None:
    single = load(make_study(tmp_path, {"none": 0.5, "uniform": 0.5, "mars": 0.5}, seeds=(0, 1), rounds=1))
    axes = single.figure("rounds").axes[-1]
    places = [line.get_xdata()[0] for line in axes.lines if line.get_marker() in ("s", "o", "D")]
    assert len(set(places)) == 3


def test_steps_are_counted_over_rounds_and_equal_ones_stand_side_by_side(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5, "mars": 0.8}, seeds=(0, 1))
    make_study(tmp_path, {"none": 0.5}, seeds=(0, 1), rounds=2)
    on_the_way, at_the_end = load(tmp_path).figure("steps").axes
    x = {line.get_marker(): list(line.get_xdata()) for line in on_the_way.lines}
    assert (x["s"], x["o"], x["D"]) == ([10, 20], [10, 20, 30], [10, 20, 30])
    ends = {line.get_marker(): line.get_xdata()[0] for line in at_the_end.lines if line.get_marker() in "soD"}
    assert ends["s"] == 20
    assert ends["o"] < 30 < ends["D"]
    assert (ends["o"] + ends["D"]) / 2 == pytest.approx(30)
    assert on_the_way.get_xlim()[0] == at_the_end.get_xlim()[0] == 0


def test_lorenz_by_hand() -> None:
    assert allocation.lorenz(np.array([3.0, 0.0, 1.0])) == pytest.approx(
        np.array([[0, 0], [1 / 3, 0], [2 / 3, 1 / 4], [1, 1]])
    )


def test_margin_bins_hold_equally_many_pairs_and_each_seeds_mean_budget() -> None:
    margin = np.arange(24.0)
    x, by_seed = allocation.budget_by_margin(
        [allocation.Spent(24 - margin, margin), allocation.Spent(np.ones(24), margin)]
    )
    assert x == pytest.approx(np.arange(12) * 2 + 0.5)
    assert by_seed == pytest.approx(np.array([23.5 - np.arange(12) * 2, np.ones(12)]))
    constant, budgets = allocation.budget_by_margin([allocation.Spent(np.array([1.0, 3.0]), np.zeros(2))])
    assert (constant.tolist(), budgets.tolist()) == ([0.0], [[2.0]])


def test_allocation_is_drawn_from_what_a_run_kept(tmp_path: Path) -> None:
    study = tmp_path / "study"
    make_study(study, {"uniform": 0.5, "mars": 0.8}, seeds=(0, 1))
    for run in study.iterdir():
        budget = [[2, 2, 2, 2], [0, 1, 3, 4]] if run.name.startswith("mars") else [[2, 2, 2, 2]] * 2
        margin = [0.1, 0.2, 0.3, 0.4] if run.name.startswith("mars") else [np.nan] * 4
        frames = [
            pd.DataFrame({"round": t, "pair": range(4), "margin": margin, "budget": b}) for t, b in enumerate(budget)
        ]
        pd.concat(frames, ignore_index=True).to_parquet(run / "allocation.parquet")
    panels = plots(load(study).figure("allocation"))
    assert len(panels) == 4
    lorenz = panels["planted / minilm, last round"]
    mars = next(line for line in lorenz.lines if line.get_marker() == "D")
    assert np.interp([0.25, 0.5, 0.75], *mars.get_data()) == pytest.approx([0, 1 / 8, 4 / 8])
    uniform = next(line for line in lorenz.lines if line.get_marker() == "o")
    assert uniform.get_ydata() == pytest.approx(uniform.get_xdata())
    at_margins = list(panels.values())[3]
    assert {line.get_marker() for line in at_margins.lines} == {"D", "None"}  # uniform took no margins
    assert at_margins.get_ylim()[0] == 0


def test_arms_of_a_sweep_are_joined_by_what_else_they_share() -> None:
    arms = ["uniform", "mars score=signed tau=2", "mars score=signed tau=0.5", "mars score=absolute tau=1", "eda tau=x"]
    assert [(p.rest, p.value) for p in sweeps.points(arms, "tau")] == [
        ("mars score=signed", 0.5),
        ("mars score=signed", 2),
    ]
    assert sweeps.points(["mars tau=1", "eda tau=2"], "tau") == []


def test_a_sweep_stands_beside_the_level_of_uniform(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path, "uniform", seed, 0.5)
        for tau in (-1, 0, 4):
            make_run(tmp_path, "mars", seed, 0.5 + tau / 10, settings={"tau": tau})
    study = load(tmp_path)
    axes = plots(study.figure("tau_sweep"))["planted / minilm, test"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["−1", "0", "4"]
    line = next(line for line in axes.lines if line.get_marker() == "D")
    assert line.get_ydata() == pytest.approx([study.values(arm, "test", "accuracy").mean() for arm in study.arms[1:]])
    level = study.values("uniform", "test", "accuracy").mean()
    assert any(
        np.allclose(line.get_ydata(), level) and line.get_color() == style.FIXED["uniform"].colour
        for line in axes.lines
    )
    assert axes.get_ylim()[0] < 0.5 < 1 <= axes.get_ylim()[1]


def test_reliability_by_hand() -> None:
    wins = np.log([0.72 / 0.28] * 3 + [0.95 / 0.05])
    bins = margins.reliability_bins(wins * [1, 1, -1, 1])
    (full,) = np.flatnonzero(bins[:, 0] == 3)
    assert full == 6  # of 15 on [½, 1]: from 0.7 to 0.733
    assert bins[full] == pytest.approx([3, 0.72, 2 / 3])
    assert np.isnan(bins[0, 1:]).all()


def test_reliability_bins_make_the_calibration_error() -> None:
    drawn = np.random.default_rng(0).normal(0.5, 1, 500)
    pairs, confidence, accuracy = np.nan_to_num(margins.reliability_bins(drawn)).T
    assert (pairs * np.abs(accuracy - confidence)).sum() / 500 == pytest.approx(
        forecasts(drawn, np.ones((1, 500)))["ece"][0]
    )


def test_small_bins_are_faint(tmp_path: Path) -> None:
    study = load(make_study(tmp_path, {"mars": 0.8}, seeds=(0,), examples=400))
    axes = study.figure("reliability").axes[0]
    test = study.of("mars")[0].scores["test"]
    pairs = margins.reliability_bins(test["chosen_score"] - test["rejected_score"])[:, 0]
    drawn = {line.get_alpha(): len(line.get_xdata()) for line in axes.lines if line.get_marker() == "D"}
    assert drawn == {1.0: (pairs >= margins.SMALL_BIN).sum(), 0.25: ((pairs > 0) & (pairs < margins.SMALL_BIN)).sum()}
    assert min(drawn.values()) > 0


def test_densities_count_what_lies_outside_the_window(study: Study) -> None:
    axes = study.figure("margins").axes[0]
    for stairs in axes.patches:
        values, edges, _ = stairs.get_data()
        assert len(values) == margins.MARGIN_BINS
        assert 0.9 < (values * np.diff(edges)).sum() <= 1


@pytest.mark.parametrize("unit", [1e4, 0.0])
def test_scores_of_any_unit_fit_and_so_do_those_of_a_constant_scorer(unit: float, tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5, "mars": 0.8}, seeds=(0, 1))
    for run in tmp_path.iterdir():
        scores = pd.read_parquet(run / "scores" / "in_distribution.parquet")
        scores[["chosen_score", "rejected_score"]] *= unit
        scores.to_parquet(run / "scores" / "in_distribution.parquet", index=False)
        measured = dict(InDistribution(resamples=20).evaluate(scores).metrics)
        (run / "metrics.json").write_text(json.dumps({"in_distribution": measured}))
    study = load(tmp_path)
    assert len(study.runs) == 4
    for name in ("margins", "mean_margin", "snr", "reliability"):
        check_nothing_overlaps(study.figure(name))


def test_runs_without_scores_are_left_out_of_the_margins(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5, "mars": 0.8}, seeds=(0, 1))
    for file in tmp_path.glob("uniform-*/scores/in_distribution.parquet"):
        file.unlink()
    figure = load(tmp_path).figure("margins")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mars"]
    for file in tmp_path.glob("mars-*/scores/in_distribution.parquet"):
        file.unlink()
    for name in ("margins", "reliability"):
        with pytest.raises(NothingToShow, match="give the directory of the runs"):
            load(tmp_path).figure(name)


def test_comparisons_are_those_of_the_verdict(study: Study) -> None:
    (axes,) = study.figure("comparisons").axes
    table = compare(study)
    table = table[table["endpoint"] == "accuracy"]
    assert [label.get_text().replace("\u00a0", " ") for label in axes.get_yticklabels()] == [
        f"mars − {reference}" for reference in table["reference"]
    ]
    for row, text in zip(table.to_dict("records"), axes.texts, strict=True):
        assert text.get_text().startswith(f"{100 * row['difference']:+.1f} [".replace("-", "−"))
        point = next(line for line in axes.lines if line.get_marker() == style.FIXED[row["reference"]].marker)
        assert point.get_xdata() == pytest.approx([100 * row["difference"]])
        assert (point.get_markerfacecolor() == "white") == (row["verdict"] in ("not settled", "equivalent"))
    low, high = axes.get_xlim()
    shown = [*100 * table["difference_lo"], *100 * table["difference_hi"], -1, 1]
    assert low < min(shown) < max(shown) < high < low + 1.2 * (max(shown) - min(shown))
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == pytest.approx((200 * table["detectable"]).tolist())


def test_comparisons_that_cannot_be_made_say_why(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5}, seeds=(0, 1))
    make_study(tmp_path, {"mars": 0.8}, seeds=(0, 1), manifest={"start": "f" * 64})
    figure = load(tmp_path).figure("comparisons")
    check_nothing_overlaps(figure)
    (axes,) = figure.axes
    assert "not compared: arms differ in starting weights" in " ".join(axes.texts[0].get_text().split())


def test_sections_have_a_row_per_protocol_and_the_chance_of_each(several: Study) -> None:
    panels = plots(several.figure("sections"))
    assert [title.removeprefix("hh_rlhf / minilm, ") for title in panels] == [
        *(f"reward_bench: {part}" for part in HEADLINE),
        "reward_bench_2: Focus",
        "reward_bench_2: Ties",
    ]
    chances = {
        title.split(": ")[1]: [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
        for title, axes in panels.items()
    }
    assert chances["Chat Hard"] == [measures.CHANCE]
    assert chances["Focus"] == [0.25]
    assert chances["Ties"] == []


def test_nothing_measured_is_one_line(tmp_path: Path) -> None:
    make_study(tmp_path, {"mars": 0.8}, seeds=(0,))
    for run in tmp_path.iterdir():
        (run / "metrics.json").write_text(json.dumps({"in_distribution": {"test": {"accuracy": 0.7}}}))
        pd.DataFrame({"round": [0], "steps": [1]}).to_csv(run / "rounds.csv", index=False)
    study = load(tmp_path)
    for name in ("auc", "snr", "rounds", "steps"):
        with pytest.raises(NothingToShow, match="run it again with force=true"):
            study.figure(name)
    assert training.MEASURES[1].column not in study.rounds


def test_variance_bars_are_filled_and_told_by_what_the_study_tells_apart(tmp_path: Path) -> None:
    for method, skill in (("uniform", 0.6), ("mars", 0.9)):
        for seed in range(4):
            make_run(tmp_path / "shared", method, seed, skill)
            make_run(tmp_path / "own", method, seed, skill, own_rows=True)
            for draw in range(4):
                named = {"replicate": draw, "data": {"subset": {"size": 50, "train": 100}}}
                make_run(tmp_path / "several", method, 1000 * draw + seed, skill, manifest=named)
    told = {
        "shared": ["draws and seeds", "pair × replicate", "test pairs"],
        "own": ["draws and seeds", "own test pairs"],
        "several": ["draws", "seeds", "pair × replicate", "test pairs", "overlap of draws"],
    }
    for name, parts in told.items():
        study = load(tmp_path / name)
        figure, frame = study.figure("variance"), study.table("variance").frame
        check_nothing_overlaps(figure)
        assert [text.get_text() for text in figure.legends[0].get_texts()] == parts
        foot = " ".join(figure.texts[0].get_text().split())
        assert all((f"{part.name.capitalize()}: " in foot) == (part.name in parts) for part in variance.PARTS.values())
        assert frame.filter(like="share_").sum(axis=1).tolist() == pytest.approx([1.0, 1.0])
        for axes in figure.axes:
            assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(1)
            assert axes.get_xlim() == (0, 1)
        declared = compare(study)
        half = (declared["difference_hi"] - declared["difference_lo"]) / 2 * [100, 1]
        assert (half / frame["se"] > 1.96).all()  # the interval allows for an uncertain standard error
        assert (frame["se_floor"] <= frame["se_replicates"]).all()
        assert (frame["se_replicates"] < frame["se"]).all()
        assert (frame["se_examples"] < frame["se"]).all()
