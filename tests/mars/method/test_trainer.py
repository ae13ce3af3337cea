"""A trial finds what the round then does, and leaves no trace."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from mars.assembly import Pieces, assemble
from mars.choices import Settings, load
from mars.config import ConfigError, build
from mars.method.checkpoint import Keeper
from mars.method.logger import Logger
from mars.method.loop import Loop, run_rounds
from mars.method.state import State
from mars.method.strategy import Mars, Round, Selection, Strategy
from mars.method.trainer import Trainer


@dataclass
class Trying:
    """An arm that tries what `arm` chooses, and something else first, before it returns it."""

    arm: Strategy
    found: list[np.ndarray] = field(default_factory=list)

    def select(self, view: Round) -> Selection:
        view.trial(Selection(view.pool.copies[:1], weights=None))
        selection = self.arm.select(view)
        self.found.append(view.trial(selection))
        return selection


@dataclass(frozen=True)
class Weighted:
    """Half the base pairs weigh three times as much, and nothing is drawn."""

    def select(self, view: Round) -> Selection:
        weights = np.where(np.arange(len(view.pairs)) % 2, 3.0, 1.0)
        return Selection(np.empty(0, dtype=np.int64), weights=weights)


CASES = [
    (Mars(tau=50.0), []),
    (Mars(tau=50.0), ["rounds.schedule=continue", "rounds.history=accumulate"]),
    (Mars(tau=50.0), ["rounds.start=reinitialise"]),
    (Mars(tau=50.0), ["train=full", "train.dropout=true", "rounds.number=2", "rounds.steps=2"]),
    (Weighted(), ["rounds.schedule=continue"]),
]


def looped(compose, strategy: Strategy, *overrides: str) -> tuple[Loop, State, Pieces]:
    settings = build(Settings, compose("scale=tiny", "rounds.number=3", *overrides), "")
    pieces = assemble(settings, load(settings.dataset))
    trainer = Trainer(pieces.engine, pieces.pool, pieces.preferences.validation, settings.plan, pieces.start)
    loop = Loop(trainer, State(), Logger())
    return loop, run_rounds(loop, strategy, Keeper(lambda state: None)), pieces


def same_model(one: Loop, other: Loop) -> bool:
    models = [loop.learner.model.state_dict().values() for loop in (one, other)]
    pairs = zip(*models, strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(("arm", "case"), CASES)
def test_a_trial_is_the_round_and_changes_nothing(arm, case, compose):
    trying = Trying(arm)
    loop, tried, pieces = looped(compose, trying, *case)
    other, plain, _ = looped(compose, arm, *case)
    assert same_model(loop, other)
    for record, untouched, margins in zip(tried.records, plain.records, trying.found, strict=True):
        assert np.logaddexp(0, -margins).mean() == record["validation_loss"] == untouched["validation_loss"]
        assert margins.std() == record["validation_margin_sd"]
        assert untouched["trial_steps"] == 0 < record["steps"] < record["trial_steps"]
    last = pieces.engine.scorer(loop.learner.model).margins(
        pieces.engine.texts.add_pairs(pieces.preferences.validation)
    )
    np.testing.assert_array_equal(last, trying.found[-1])


def test_what_is_tried_makes_a_difference(compose):
    """Trials of different rows are different models: a trial does train."""
    seen = []

    @dataclass(frozen=True)
    class Two:
        def select(self, view: Round) -> Selection:
            rows = view.pool.inherited()[:40]
            seen.extend([view.trial(Selection(rows)), view.trial(Selection(view.pool.swapped(rows)))])
            return Selection(rows)

    looped(compose, Two(), "rounds.number=1")
    assert np.abs(seen[0] - seen[1]).max() > 1e-4


def test_a_trial_without_validation_pairs_is_one_line(compose):
    settings = build(Settings, compose("scale=tiny", "method=mars_validated"), "")
    pieces = assemble(settings, load(settings.dataset))
    trainer = Trainer(pieces.engine, pieces.pool, [], settings.plan, pieces.start)
    with pytest.raises(ConfigError, match=r"^dataset\.validation: this arm chooses by validation pairs and finds none"):
        run_rounds(Loop(trainer, State(), Logger()), pieces.strategy, Keeper(lambda state: None))
