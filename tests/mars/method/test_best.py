"""A run may be judged by its best moment: which moment that is, that nothing else changes, and a kill in between."""

import json
import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from support import BRIEFLY
from torch import nn

from benchmarks.protocol import Asked
from mars.assembly import assemble
from mars.choices import Settings, load
from mars.config import ConfigError, build, naming_runs
from mars.method.best import MOMENTS, Watch
from mars.method.checkpoint import Keeper
from mars.method.clock import COLUMNS
from mars.method.logger import Logger
from mars.method.loop import Loop, run_rounds
from mars.method.state import State
from mars.method.trainer import Trainer
from mars.preferences.labels import information
from mars.process.stopping import Stopped
from mars.run import execute

TIMED = [*COLUMNS, "seconds", "pairs_per_second"]
BEST = ["best_information", "best_round", "best_step"]
WAYS = {
    "head": ["train.lr=1"],
    "full": ["train=full", "train.dropout=true", "train.lr=0.02", "rounds.schedule=continue"],
    "lora": ["train=lora", "train.lr=0.02", "rounds.history=accumulate"],
    "anew": ["train=full", "train.lr=0.005", "rounds.start=reinitialise"],
}
TOY = ["scale=tiny", "batch_size=8", "rounds.number=3", "rounds.steps=9"]
TOY += ["dataset.test_size=8", "curvature=false", *BRIEFLY]


def test_information_by_hand():
    assert information(np.zeros(4)) == 0.0
    assert information(np.array([-1.0, -2.0])) == pytest.approx(0, abs=1e-3)  # at an endless temperature
    assert information(np.array([0.1, 3.0])) == pytest.approx(1)
    right = 3 / 4  # margins of one size: the best probability is their share
    bits = 1 + right * np.log2(right) + (1 - right) * np.log2(1 - right)
    assert information(np.array([1.0, 1, 1, -1])) == pytest.approx(bits)
    assert information(7 * np.array([1.0, 1, 1, -1])) == pytest.approx(bits)
    assert information(np.ones(5), np.full(5, right)) == pytest.approx(bits)  # votes say the same


@pytest.mark.parametrize(
    ("steps", "moments"),
    [(47, [5, 11, 17, 23, 29, 35, 41]), (235, [29, 58, 88, 117, 146, 176, 205]), (1, []), (3, [1, 2])],
)
def test_moments_are_evenly_spaced_within_the_round(steps, moments):
    watch = Watch(lambda model: np.zeros(0), None, wanted=True)
    assert sorted(watch.moments(steps)) == moments
    assert len(moments) < MOMENTS
    assert not Watch(lambda model: np.zeros(0), None, wanted=False).moments(steps)


def test_the_earliest_of_equal_moments_is_kept_and_later_training_does_not_touch_it():
    model = nn.Linear(2, 1)
    watch = Watch(lambda model: np.zeros(0), None, wanted=True)
    seen = {}
    for step, margins in enumerate([[1.0, 1, -1], [1.0, 1, 1, -1], [2.0, 2, 2, -2], [1.0, -1]]):
        seen[step] = {name: of.clone() for name, of in model.state_dict().items()}
        watch.consider(model, np.array(margins), 0, step)
        with torch.no_grad():
            model.weight += 1
    assert watch.columns()["best_step"] == 1
    watch.hand_over(model, 4)
    assert all(torch.equal(of, seen[1][name]) for name, of in model.state_dict().items())


def looped(compose, *overrides):
    """(the loop, its last state, held-out information at every moment by its step) of a run."""
    settings = build(Settings, compose(*TOY, *overrides), "")
    pieces = assemble(settings, load(settings.dataset))
    trainer = Trainer(pieces.engine, pieces.pool, pieces.preferences.validation, settings.plan, pieces.start)
    loop, found = Loop(trainer, State(), Logger()), {}
    consider = loop.watch.consider

    def considered(model, margins, index, step):
        found[step] = information(margins)
        consider(model, margins, index, step)

    loop.watch.consider = considered
    return loop, run_rounds(loop, pieces.strategy, Keeper(lambda state: None)), found


@pytest.mark.parametrize("way", WAYS)
def test_the_model_that_is_handed_over_is_the_best_of_its_moments(way, compose):
    loop, state, found = looped(compose, "rounds.keep=best", *WAYS[way])
    assert list(found) == [9 * t + s for t in range(3) for s in range(1, 10) if s in {1, 2, 3, 4, 5, 6, 7, 9}]
    best = max(found.values())
    assert len(set(found.values())) > 1
    assert state.best.information == best
    assert state.best.step == next(step for step, bits in found.items() if bits == best)
    scorer = loop.trainer.engine.scorer(loop.learner.model)
    assert information(scorer.margins(loop.trainer.held_out)) == pytest.approx(best, abs=1e-9)
    so_far = [max(bits for step, bits in found.items() if step <= 9 * (t + 1)) for t in range(3)]
    assert [record["best_information"] for record in state.records] == so_far
    assert [record["validation_information"] for record in state.records] == [found[9], found[18], found[27]]


@pytest.mark.parametrize("way", ["head", "full"])
def test_training_is_the_same_whichever_model_is_kept(way, compose, tmp_path):
    last, best = (
        execute(compose(*TOY, *WAYS[way], f"rounds.keep={keep}", f"out={tmp_path}/{keep}")) for keep in ("last", "best")
    )
    one, other = (pd.read_csv(place / "rounds.csv").drop(columns=TIMED) for place in (last, best))
    pd.testing.assert_frame_equal(one, other.drop(columns=BEST))
    for name in ("selection.parquet", "allocation.parquet"):
        assert (last / name).read_bytes() == (best / name).read_bytes()
    plain, kept = (json.loads((place / "manifest.json").read_text()) for place in (last, best))
    assert plain["steps"] == kept["steps"] == 27
    assert not any(key.startswith("kept") for key in plain)
    of_last_round = other[BEST].iloc[-1]
    assert [kept["kept_information"], kept["kept_round"], kept["kept_step"]] == list(of_last_round)
    assert kept["kept_step"] < 27, "it is the last model, and the rest of the test says nothing"
    model = "model/model.safetensors"
    assert (last / model).read_bytes() != (best / model).read_bytes()
    scores = pd.read_parquet(best / "scores" / "in_distribution.parquet").query("split == 'validation'")
    judged = information((scores["chosen_score"] - scores["rejected_score"]).to_numpy(float))
    assert judged == pytest.approx(kept["kept_information"], abs=1e-6)


@pytest.mark.parametrize("way", ["full", "lora"])
def test_a_run_that_is_left_and_gone_on_with_keeps_the_same_model(way, compose, tmp_path, signal_at, caplog):
    """Left after the best moment, so that the best weights come out of the checkpoint."""
    caplog.set_level(logging.INFO, "mars")
    settings = [*TOY, *WAYS[way], "rounds.keep=best"]
    whole = execute(compose(*settings, f"out={tmp_path}/whole"))
    step = json.loads((whole / "manifest.json").read_text())["kept_step"]
    config = compose(*settings, f"out={tmp_path}/left")
    signal_at(min(step + 1, 26))
    with pytest.raises(Stopped):
        execute(config)
    if step < 26:
        assert State.load(tmp_path / "left" / "checkpoint").best.step == step
    left = execute(config)
    assert "resuming round" in (left / "run.log").read_text()
    for name in ("model/model.safetensors", "metrics.json", "scores/in_distribution.parquet"):
        assert (left / name).read_bytes() == (whole / name).read_bytes(), name
    one, other = (pd.read_csv(place / "rounds.csv").drop(columns=TIMED) for place in (whole, left))
    pd.testing.assert_frame_equal(one, other)


def test_a_run_that_is_killed_while_it_is_judged_is_judged_by_the_best_model(compose, tmp_path, monkeypatch):
    settings = [*TOY, *WAYS["head"], "rounds.keep=best"]
    whole = execute(compose(*settings, f"out={tmp_path}/whole"))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Asked, "judge", killed)
        with pytest.raises(KeyboardInterrupt):
            execute(compose(*settings, f"out={tmp_path}/left"))
    left = execute(compose(*settings, f"out={tmp_path}/left"))
    for name in ("model/model.safetensors", "metrics.json"):
        assert (left / name).read_bytes() == (whole / name).read_bytes()


def test_without_validation_pairs_it_is_one_line(compose):
    settings = build(Settings, compose("scale=tiny", "rounds.keep=best"), "")
    line = r"^dataset\.validation: rounds\.keep=best chooses by validation pairs and finds none"
    with pytest.raises(ConfigError, match=line):
        assemble(settings, replace(load(settings.dataset), validation=[]))


def test_the_last_model_names_the_run_that_it_always_was(compose):
    config = compose("scale=tiny")
    before = {key: value for key, value in config["rounds"].items() if key != "keep"}
    assert naming_runs(config) == naming_runs({**config, "rounds": before})
    assert naming_runs(compose("scale=tiny", "rounds.keep=best"))["rounds"]["keep"] == "best"
