"""What each kind of evidence says of label noise, what it cannot say, and the rows of the map that fit."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta
from support import ROOT
from support.commands import run_here
from support.study import make_study

from analysis import NothingToShow, load
from analysis.exhibits.label_noise import BySize
from analysis.inference.label_noise import label_noise
from analysis.inference.noise_evidence import (
    BOTH,
    FLIPS,
    GOLD,
    MARGINS,
    SMALL,
    UNKNOWN,
    VOTES,
    Known,
    noise_of,
    votes_of,
)
from analysis.inference.noise_model import Estimate
from analysis.inference.regime_map import STEERING, fitting, foretold, rows
from analysis.inference.stats import upper_share
from analysis.label_noise import main
from mars.config import UserError


def known(margins: object = math.nan, gold: object = math.nan, agreement: object = 1.0) -> Known:
    return Known(*(np.array(part, dtype=float) for part in np.broadcast_arrays(margins, gold, agreement)))


def shares(unanimous: int, split: int) -> np.ndarray:
    """Agreements of three annotators."""
    return np.array([1.0] * unanimous + [2 / 3] * split)


def test_three_votes_alone_bound_flips_by_what_unanimity_allows_and_leave_the_rest_unknown():
    flips = 0.1  # on every pair: 1 − 3·ε(1 − ε) are unanimous
    (found,) = noise_of(known(agreement=shares(7300, 2700)))
    assert found.evidence == VOTES
    assert found.kind == UNKNOWN
    assert "three" not in found.evidence
    assert math.isnan(found.flips.value)
    assert found.flips.lo == 0
    assert flips < found.flips.hi < 0.107
    assert found.wrong.lo < flips
    assert found.wrong.hi > 0.18
    assert "unanim" in found.unknown or "all agree" in found.unknown


def test_a_pair_that_someone_called_a_tie_is_left_out():
    votes = votes_of(known(agreement=[1.0, 2 / 3, 5 / 6, 0.5, 1.0]))
    assert votes.number == 3
    assert votes.chosen.tolist() == [3, 2, 3]


@pytest.mark.parametrize(
    ("agreement", "annotators", "said"),
    [
        ([1.0, 0.75], None, "with 2 votes a pair"),
        ([1.0, 0.8], 3, "not those of one number"),
        ([1.0, 0.9123], None, "not"),
    ],
)
def test_votes_that_nothing_can_be_told_from_are_one_line(agreement, annotators, said):
    with pytest.raises(UserError, match=said):
        votes_of(known(agreement=agreement), annotators)


def test_few_pairs_say_nothing():
    (found,) = noise_of(known(agreement=shares(20, 5)))
    assert math.isnan(found.flips.hi)
    assert "only 25 pairs" in found.unknown
    assert noise_of(known(gold=np.linspace(0.1, 1, 50))) == []


def test_gold_margins_tell_flips_from_small_margins():
    rng = np.random.default_rng(0)
    gold = np.abs(rng.normal(size=2000))
    (flipped,) = noise_of(known(gold=np.where(rng.random(2000) < 0.1, -gold, gold)))
    assert flipped.evidence == GOLD
    assert flipped.kind == FLIPS
    assert flipped.flips.lo <= 0.1 <= flipped.flips.hi
    wrong = rng.random(2000) < 1 / (1 + np.exp(gold / 0.5))
    (ambiguous,) = noise_of(known(gold=np.where(wrong, -gold, gold)))
    assert ambiguous.kind == SMALL
    assert ambiguous.temperature.lo <= 0.5 <= ambiguous.temperature.hi


def test_a_models_margins_bound_flips_and_never_find_them():
    rng = np.random.default_rng(0)
    gold = rng.normal(size=3000)
    scores = gold + 0.3 * rng.normal(size=3000)
    labels = np.where(rng.random(3000) < 0.1, -1, 1) * np.sign(gold)
    (found,) = noise_of(known(margins=labels * scores))
    assert found.evidence == MARGINS
    assert found.kind == UNKNOWN
    assert found.flips.lo == 0
    assert 0.1 <= found.flips.hi < 0.16
    assert math.isnan(found.flips.value)


def test_a_model_no_better_than_a_coin_says_nothing():
    assert noise_of(known(margins=np.tile([1.0, -1.0], 200))) == []


def test_ties_of_one_label_a_pair_are_left_out_and_are_no_votes():
    rng = np.random.default_rng(0)
    margins = rng.normal(1, 1, size=400)
    tied = np.arange(500) >= 400
    with_ties = known(margins=np.append(margins, np.zeros(100)), agreement=np.where(tied, 0.5, 1.0))
    (found,) = noise_of(with_ties)
    assert repr(found) == repr(noise_of(known(margins=margins))[0])


def test_votes_and_margins_add_what_votes_alone_leave_open():
    rng = np.random.default_rng(0)
    gold = rng.normal(size=1500)
    scores, ahead = gold + 0.5 * rng.normal(size=1500), rng.binomial(3, np.where(gold > 0, 0.9, 0.1))
    side = np.where(ahead > 1, 1, -1)
    alone, both = noise_of(known(margins=side * scores, agreement=np.maximum(ahead, 3 - ahead) / 3))
    assert (alone.evidence, both.evidence) == (VOTES, BOTH)
    assert alone.kind == UNKNOWN
    assert both.kind == FLIPS
    assert both.flips.lo <= 0.1 <= both.flips.hi
    assert both.model_wrong.lo <= math.atan(0.5) / math.pi <= both.model_wrong.hi


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 40), (200, 1000)])
def test_the_bound_of_a_share_is_that_of_clopper_and_pearson(k, n):
    assert upper_share(k, n, 0.025) == pytest.approx(beta.ppf(0.975, k + 1, n - k))


def test_a_study_says_what_its_gold_margins_hold(tmp_path: Path):
    study = make_study(
        tmp_path / "study", {"none_matched": 0.4, "mars": 0.6}, seeds=(0, 1), own_rows=True, examples=120
    )
    table = label_noise(load(study))
    assert table["evidence"].tolist() == [GOLD, MARGINS]
    assert set(table["arm"]) == {"none_matched"}
    assert table["pairs"].tolist() == [240, 240]  # both seeds' own pairs
    small = make_study(tmp_path / "small", {"none": 0.4}, seeds=(0,), examples=30)
    with pytest.raises(NothingToShow, match="100 pairs"):
        label_noise(load(small))


def test_the_figure_has_the_shares_that_are_seen_and_the_curves_of_each_kind_of_noise(tmp_path: Path):
    study = load(make_study(tmp_path / "study", {"none": 0.4}, seeds=(0,), examples=200))
    frame = BySize().frame(study)
    seen = frame[frame["series"] == "seen"]
    gold = study.members[study.runs["run"].iloc[0]].scores["test"]["gold_margin"]
    assert seen["pairs"].sum() == 200
    assert (seen["share"] * seen["pairs"]).sum() == pytest.approx((gold < 0).sum())
    flips = frame.loc[frame["series"] == "flips alone", "share"]
    assert flips.max() == pytest.approx(flips.min())  # level
    assert frame.loc[frame["series"] == "small margins alone", "share"].is_monotonic_decreasing
    assert len(study.figure("label_noise").axes) == 1
    assert "gold margins" in study.table("label_noise").to_markdown()


def test_a_study_whose_votes_say_nothing_says_why(tmp_path: Path):
    path = make_study(tmp_path / "study", {"none": 0.4}, seeds=(0,), examples=200)
    for file in path.glob("*/scores/*.parquet"):
        table = pd.read_parquet(file).drop(columns="gold_margin")
        table.assign(agreement=np.resize([1.0, 0.75], len(table))).to_parquet(file)
    with pytest.raises(NothingToShow, match="with 2 votes a pair"):
        label_noise(load(path))


def test_the_map_that_is_kept_is_that_of_the_site():
    kept: dict[str, dict[str, Counter[str]]] = {}
    for line in (ROOT / "docs/results/data/regimes/regimes.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if cells[0].startswith("gaussian ") and (arm := STEERING.get(cells[2].partition(" ")[2])):
            told = dict(word.split("=") for word in cells[0].split()[1:])
            name = f"flips {100 * float(told['flip_rate']):g} %" if "flip_rate" in told else "clean"
            name = f"Bradley–Terry at T = {float(told['temperature']):g}" if "temperature" in told else name
            kept.setdefault(name, {}).setdefault(arm, Counter())[cells[3]] += 1
    assert kept == {
        row.labels: {arm: Counter({key: n for key, n in cells.items() if n}) for arm, cells in row.cells.items()}
        for row in rows()
    }


def test_rows_of_the_map_fit_by_both_shares_or_the_nearest_is_named():
    exact = noise_of(known(gold=np.concatenate([-np.linspace(0.5, 9, 100), np.linspace(0.5, 9, 900)])))[0]
    assert [row.labels for row in fitting(exact)[0]] == ["flips 10 %"]
    assert fitting(exact)[1]
    between = exact._replace(flips=Estimate(0.17, 0.16, 0.18))
    found, within = fitting(between)
    assert [row.labels for row in found] == ["flips 10 %"]
    assert not within
    assert "nearest" in foretold(between)
    anything = exact._replace(flips=Estimate(math.nan, 0.0, 0.5), by_margin=Estimate(math.nan, 0.0, 0.5))
    assert len(fitting(anything)[0]) == len(rows())
    assert "Every row" in foretold(anything)


def test_the_command_says_what_is_known_and_writes_it(tmp_path: Path):
    done = run_here(main, "dataset=gaussian", "labels=flip10", "dataset.size=500", f"out={tmp_path}/noise.json")
    assert done.returncode == 0
    assert "turned round whatever the margin" in done.stdout
    assert "flips 10 %" in done.stdout
    (row,) = json.loads((tmp_path / "noise.json").read_text())
    assert row["evidence"] == GOLD
    assert row["flips_lo"] <= 0.1 <= row["flips_hi"]


def test_the_command_reads_a_study(tmp_path: Path):
    study = make_study(tmp_path / "study", {"none": 0.4}, seeds=(0,), examples=200)
    done = run_here(main, f"study={study}", f"out={tmp_path}/noise.csv")
    assert done.returncode == 0
    assert re.search(r"^planted / minilm$", done.stdout, re.MULTILINE)
    assert len(pd.read_csv(tmp_path / "noise.csv")) == 2


def test_mistakes_are_one_line(tmp_path: Path):
    rows_ = tmp_path / "rows.jsonl"
    rows_.write_text(
        "".join(json.dumps({"prompt": f"{i}?", "chosen": "a", "rejected": "b"}) + "\n" for i in range(150))
    )
    few = make_study(tmp_path / "few", {"none": 0.4}, seeds=(0,), examples=30)
    bare = make_study(tmp_path / "bare", {"none": 0.4}, seeds=(0,), examples=30)
    for file in bare.glob("*/scores/*.parquet"):
        file.unlink()
    for arguments, said in (
        ((), "give a study or a dataset"),
        (("study=a", "dataset=gaussian"), "give a study or a dataset"),
        ((f"study={few}", "out=x.txt"), "out: x.txt is neither"),
        ((f"study={few}", "annotators=3"), "annotators: goes with a dataset"),
        ((f"study={few}",), "cannot be known"),
        ((f"study={bare}",), "cannot be known"),
        (("dataset=files", f"dataset.train={rows_}", "dataset.test_from_train=0.2"), "cannot be known from its labels"),
    ):
        done = run_here(main, *arguments)
        assert done.returncode == 1, arguments
        assert said in done.stderr.splitlines()[-1]
