"""What a round records of curvature: the formulas on its rows, blanks where undefined, and no trace in the results."""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from support import BRIEFLY

from mars import conduct
from mars.assembly import Pieces, assemble
from mars.choices import DATASETS, Settings, load
from mars.config import build
from mars.method.checkpoint import Keeper
from mars.method.clock import COLUMNS as SECONDS
from mars.method.logger import Logger
from mars.method.loop import Loop, run_rounds
from mars.method.observer import COLUMNS, PARTS, Observer
from mars.method.state import State
from mars.method.strategy import Round, Selection
from mars.method.trainer import Trainer
from mars.pool.pool import Pool
from mars.run import execute

TIMES = ["seconds", "pairs_per_second", *SECONDS]
SMALL = ["scale=tiny", *BRIEFLY, "dataset.size=60", "rounds.budget=90", "train.lr=5"]  # margins that differ


def looped(compose, *overrides: str, strategy=None, prepare=lambda pieces: None) -> tuple[State, Pieces]:
    settings = build(Settings, compose(*SMALL, *overrides), "")
    pieces = assemble(settings, load(settings.dataset))
    prepare(pieces)
    trainer = Trainer(pieces.engine, pieces.pool, pieces.preferences.validation, settings.plan, pieces.start)
    loop = Loop(trainer, State(), Logger(), Observer(pieces.engine, trainer.inputs, settings.seed, trainer.targets))
    return run_rounds(loop, strategy or pieces.strategy, Keeper(lambda state: None)), pieces


def by_definition(pieces: Pieces, rows: np.ndarray, weights: np.ndarray, theta: np.ndarray, margins=0.0):
    """(H, G) of pool rows on the directions that base pairs vary in, one row at a time; margins: of each base pair."""

    def differences(of: np.ndarray) -> np.ndarray:
        numbers = pieces.engine.texts.add_pairs(pieces.pool.draw(of))
        chosen, rejected = (pieces.engine.inputs.batch(side)["features"].double().numpy() for side in numbers.T)
        return chosen - rejected

    base = differences(pieces.pool.copies)
    values, vectors = np.linalg.eigh(base.T @ base)
    basis = vectors[:, values > 1e-9 * values[-1]]
    d = basis.shape[1]
    hessian, gradients = np.zeros((d, d)), {}
    for difference, parent, weight in zip(differences(rows), pieces.pool.parents(rows), weights, strict=True):
        ahead = np.broadcast_to(margins, len(pieces.pool.base))[parent]
        p = 1 / (1 + np.exp(theta @ difference - ahead))  # σ(−Δ)
        against, delta = 1 - pieces.pool.base[parent].agreement, difference @ basis
        hessian += weight * p * (1 - p) * np.outer(delta, delta)
        gradients[parent] = gradients.get(parent, 0) - weight * (p - against) * delta
    score = np.cov(np.array(list(gradients.values())).T, bias=True) * len(gradients)
    information = hessian @ np.linalg.pinv(score, hermitian=True) @ hessian / len(gradients)
    return hessian / weights.sum(), information


@dataclass
class Scripted:
    """Draws row numbers of `inherited()`, or copies of the base pairs for negative ones, as it is told each round."""

    rounds: list[list[int]]
    weights: np.ndarray | None = None

    def select(self, view: Round) -> Selection:
        return Selection(pool_rows(view.pool, self.rounds[view.index]), self.weights)


def pool_rows(pool: Pool, numbers: list[int]) -> np.ndarray:
    return np.array([pool.inherited()[n] if n >= 0 else pool.copies[-n - 1] for n in numbers], dtype=np.int64)


HEAVY = np.where(np.arange(60) % 2, 3.0, 0.5)
COPIES = [-1 - i for i in range(60)]
FEW, MANY, NEXT = list(range(20)), list(range(0, 1500, 9)), list(range(0, 1500, 6))
CASES = {  # draws, weights, history → rows beside the base pairs that the second round trains on
    "draws": ([MANY, NEXT], None, "replace", NEXT),
    "accumulated": ([MANY, NEXT], None, "accumulate", MANY + [row for row in NEXT if row % 9]),
    "of a few pairs": ([MANY, FEW], None, "replace", FEW),
    "copies": ([COPIES, COPIES], None, "accumulate", COPIES + COPIES),
    "weights": ([[], []], HEAVY, "replace", []),
    "weights and draws": ([NEXT, NEXT], np.concatenate([HEAVY, np.full(len(NEXT), 2.0)]), "replace", NEXT),
    "nothing": ([[], []], None, "accumulate", []),
}


@pytest.mark.parametrize("case", CASES)
def test_the_columns_are_the_formulas_on_the_rows_trained_on(case, compose):
    """Of the second round, under the first one's model."""
    draws, weights, history, added = CASES[case]
    arm, kept = Scripted(draws, weights), f"rounds.history={history}"
    first, _ = looped(compose, kept, "rounds.number=1", strategy=arm)
    theta = first.model["theta"].double().numpy()
    outcome, pieces = looped(compose, kept, strategy=arm)
    record, pool = outcome.records[1], pieces.pool
    d = len(by_definition(pieces, pool.copies, np.ones(60), theta)[0])
    assert record["curvature_span"] == d < record["curvature_labels"] == 60
    rows, drawn = pool_rows(pool, added), outcome.drawn[1]
    whole = np.concatenate([pool.copies, rows])
    parts = {
        "base": (pool.copies, np.ones(60)),
        "selection": (drawn, np.ones(len(drawn)) if weights is None else weights[60:]),
        "mixture": (whole, np.ones(len(whole)) if weights is None else weights),
    }
    for part, (of_part, own) in parts.items():
        if not len(of_part):
            assert all(record[f"{matrix}_{part}_{name}"] is None for matrix in "hg" for name in ("trace", "condition"))
            continue
        h, g = by_definition(pieces, of_part, own, theta)
        found = {"h": h, "g": g}
        if len(np.unique(pool.parents(of_part))) <= d:
            assert record[f"g_{part}_trace"] is None
            del found["g"]
        for matrix, values in found.items():
            assert record[f"{matrix}_{part}_trace"] == pytest.approx(np.trace(values), rel=1e-4)
            assert record[f"{matrix}_{part}_largest"] == pytest.approx(np.linalg.eigvalsh(values)[-1], rel=1e-4)
            if len(of_part) > d:
                assert record[f"{matrix}_{part}_logdet"] == pytest.approx(np.linalg.slogdet(values)[1] / d, abs=1e-4)
            else:
                assert record[f"{matrix}_{part}_logdet"] is None  # −∞
            table = outcome.spectra[1][f"{matrix} {part}"]
            assert (np.diff(table) <= 0).all()
            assert table.sum() == pytest.approx(record[f"{matrix}_{part}_trace"])
    for matrix in "hg":
        gain = record[f"{matrix}_mixture_logdet"] - record[f"{matrix}_base_logdet"]
        assert record[f"{matrix}_gain"] == pytest.approx(gain, abs=1e-12)
    if case in ("copies", "nothing"):  # no new curvature, and no new information
        assert record["h_gain"] == pytest.approx(0, abs=1e-9)
        assert record["g_gain"] == pytest.approx(0, abs=1e-6)
    if not len(rows):
        assert all(record[name] is None for name in COLUMNS if name.startswith("bound"))
        return
    own = parts["mixture"][1]
    data, mixed = (by_definition(pieces, whole[:n], own[:n], theta)[0] for n in (60, len(whole)))
    truth = np.linalg.eigvals(np.linalg.solve(data, mixed)).real.min()
    assert record["bound_truth"] == pytest.approx(truth, abs=1e-5)
    assert record["bound_share"] == pytest.approx(own[60:].sum() / own.sum())
    assert record["bound_holds"] == 1


@pytest.mark.parametrize("way", ["none", "column", "weight"])
def test_votes_and_strengths_are_in_what_is_recorded(way, compose, monkeypatch):
    monkeypatch.setitem(DATASETS, "voted", "support.voted:DATASET")
    settings = ["dataset.name=voted", "rounds.history=accumulate", f"train.margin={way}"]
    arm = Scripted([MANY, MANY[::2]])
    first, _ = looped(compose, *settings, "rounds.number=1", strategy=arm)
    outcome, pieces = looped(compose, *settings, strategy=arm)
    theta, pool = first.model["theta"].double().numpy(), pieces.pool
    strength = pool.labels.strength
    margins = strength if way == "column" else 0.0
    rows = np.concatenate([pool.copies, outcome.drawn[0]])
    own = strength[pool.parents(rows)] if way == "weight" else np.ones(len(rows))
    parts = {"base": (pool.copies, np.ones(60)), "mixture": (rows, own), "selection": (outcome.drawn[1], np.ones(84))}
    for part, (of_part, weights) in parts.items():
        h, g = by_definition(pieces, of_part[weights > 0], weights[weights > 0], theta, margins)
        assert outcome.records[1][f"h_{part}_trace"] == pytest.approx(np.trace(h), rel=1e-4)
        if (found := outcome.records[1][f"g_{part}_trace"]) is not None:
            assert found == pytest.approx(np.trace(g), rel=1e-4)
    assert outcome.records[1]["g_base_trace"] is not None


@pytest.mark.parametrize("train", ["head", "full"])
def test_recording_changes_no_result(train, compose, tmp_path):
    settings = [*SMALL, f"train={train}", "train.lr=1e-3", "rounds.steps=2"]
    if train == "full":
        settings += ["dataset.size=8", "rounds.budget=4", "train.dropout=true", "backbone.max_length=24"]
    plain, seen = (execute(compose(*settings, f"curvature={c}", f"out={tmp_path}/{c}")) for c in ("false", "true"))
    for name in ("scores/in_distribution.parquet", "selection.parquet", "allocation.parquet", "metrics.json"):
        assert (plain / name).read_bytes() == (seen / name).read_bytes(), name
    one, other = (pd.read_csv(directory / "rounds.csv") for directory in (plain, seen))
    pd.testing.assert_frame_equal(one.drop(columns=TIMES), other[one.columns].drop(columns=TIMES))
    added = set(other.columns) - set(one.columns)
    whole = {
        f"hessian_{name}" for name in ("trace", "trace_se", "largest", "largest_error", "smallest", "smallest_error")
    }
    assert added == set(COLUMNS) | (whole if train == "full" else set())
    assert other[sorted(added & whole)].notna().all(axis=None)
    assert other["h_gain"].notna().all()
    assert not (plain / "spectra.parquet").exists()
    assert (plain / "config.sha256").read_text() == (seen / "config.sha256").read_text()


def test_what_is_recorded_by_default_is_the_heads(compose):
    head = execute(compose(*SMALL, "method=mars_fisher"))
    table, rounds = pd.read_parquet(head / "spectra.parquet"), pd.read_csv(head / "rounds.csv")
    assert list(table.columns) == ["round", "part", "index", "h", "g"]
    span = int(rounds["curvature_span"][0])
    keys = [(t, part, i) for t in range(2) for part in PARTS for i in range(span)]
    assert list(zip(table["round"], table["part"], table["index"], strict=True)) == keys
    largest = table[table["index"] == 0].pivot(index="round", columns="part", values="h")
    for part in PARTS:
        np.testing.assert_allclose(largest[part], rounds[f"h_{part}_largest"], rtol=1e-9)
    full = execute(compose("scale=tiny", "train=full", "method=none", "rounds.steps=1", "rounds.number=1"))
    assert not set(COLUMNS) & set(pd.read_csv(full / "rounds.csv").columns)
    assert not (full / "spectra.parquet").exists()


def test_a_resumed_run_has_the_same_record(compose, tmp_path, interrupt_at):
    """Of an arm that tries before it trains, interrupted in the middle of its trials."""
    settings = [*SMALL, "rounds.number=3", "method=mars_validated", "method.grid=[-5,0,5]"]
    whole = execute(compose(*settings, f"out={tmp_path}/whole"))
    interrupt_at(6)
    with pytest.raises(KeyboardInterrupt):
        execute(compose(*settings, f"out={tmp_path}/resumed"))
    state = State.load(tmp_path / "resumed" / "checkpoint")
    assert state.round == len(state.spectra) == 1
    resumed = execute(compose(*settings, f"out={tmp_path}/resumed"))
    assert (whole / "spectra.parquet").read_bytes() == (resumed / "spectra.parquet").read_bytes()
    one, other = (pd.read_csv(d / "rounds.csv").drop(columns=TIMES) for d in (whole, resumed))
    pd.testing.assert_frame_equal(one, other)
    assert (one["trial_steps"] == 3 * one["steps"]).all()


@pytest.mark.parametrize("size", [1, 5])
def test_fewer_pairs_than_features_leave_blanks(size, compose):
    outcome, _ = looped(compose, f"dataset.size={size}")
    for record in outcome.records:
        assert record["curvature_span"] == record["curvature_labels"] == size
        assert record["h_base_trace"] > 0
        assert record["g_base_trace"] is record["g_gain"] is None


def test_features_without_differences_leave_blanks_and_say_so(compose, caplog):
    def flatten(pieces):
        pieces.engine.texts.add_pairs(pieces.pool.base)
        with torch.inference_mode():
            pieces.engine.inputs._vectors._matrix.zero_()

    strategy = Scripted([COPIES, COPIES])
    outcome, _ = looped(compose, strategy=strategy, prepare=flatten)
    assert all(record[name] is None for record in outcome.records for name in COLUMNS)
    assert outcome.spectra == [{}, {}]
    assert "round 0: no curvature recorded: " in caplog.text


def test_margins_of_zero_and_of_any_size_are_recorded(compose):
    for scale in (0.0, 1e4):

        def scaled(pieces, scale=scale):
            start = pieces.start

            def fresh():
                model = start()
                model.theta.data *= scale
                return model

            object.__setattr__(pieces, "start", fresh)

        outcome, _ = looped(compose, "rounds.number=1", strategy=Scripted([NEXT]), prepare=scaled)
        (record,) = outcome.records
        if scale == 0:
            assert record["bound_low"] == record["bound_high"] == 0
            assert record["bound_factor"] == pytest.approx(record["bound_truth"])  # σ′ is ¼ everywhere
        assert record["h_base_trace"] >= 0
        json.dumps(record, allow_nan=False)


def test_of_very_many_pairs_curvature_is_recorded_only_when_asked_for(compose, monkeypatch, caplog):
    settings = ["scale=tiny", "dataset.size=40"]
    monkeypatch.setattr(conduct, "MOST_NUMBERS", 40 * 32 - 1)  # the tiny backbone has at least 32 features
    with caplog.at_level("INFO"):
        left_out = pd.read_csv(execute(compose(*settings)) / "rounds.csv")
    assert "no curvature is recorded of 40 pairs" in caplog.text
    asked = pd.read_csv(execute(compose(*settings, "curvature=true", "force=true")) / "rounds.csv")
    assert not set(left_out) & set(COLUMNS)
    assert set(COLUMNS) <= set(asked)
    assert left_out["train_loss"].tolist() == asked["train_loss"].tolist()
