"""Do the intervals of label noise hold the true ε and T 95 times in 100?

Labels of pairs with a known gold margin, of the Gaussian and of the planted world, turned round at a rate ε after they
were drawn from Bradley–Terry at T (0: the gold preference). First one label a pair, with the gold margin known. Then
one label a pair and the margins of a model, which correlate with gold by MODEL: how often the bound on ε holds, and how
far above ε it lies. Last three votes a pair and the margins of that model: ε, and in the place of T, whose unit nobody
knows then, the share of votes that are wrong by small margins. Gold is normal in the Gaussian world, which this
estimate takes for granted, and is not in the planted one.

    python -m benchmarks.speed noise [--studies 500]
"""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import NamedTuple

import numpy as np

from analysis.inference.noise_evidence import Known, noise_of
from analysis.inference.noise_model import Estimate, Fit, Votes, wrong_by_margin
from benchmarks.metrics import sigmoid
from mars.config import choose
from mars.worlds.gaussian import GaussianConfig, load_gaussian
from mars.worlds.planted import load_planted
from mars.worlds.planted_settings import PlantedConfig

PAIRS = 1000
FLIPS, TEMPERATURES = (0.0, 0.1, 0.25), (0.0, 0.5, 1.0, 2.0)
VOTED = ((0.0, 0.5), (0.0, 2.0), (0.1, 0.0), (0.1, 1.0), (0.25, 0.0))  # ε and T of what takes longer
ANNOTATORS, MODEL = 3, 0.6
SEEDS = 20  # of Gaussian worlds
_POOL = 5000  # planted pairs that a study's are drawn from, for they take long to make


class Held(NamedTuple):
    """Shares of intervals that hold the truth, of ε and of T or its like, and the intervals' median ends."""

    flips: float
    other: float
    flips_ends: tuple[float, float]
    other_ends: tuple[float, float]


class Margins:
    """Gold margins [PAIRS] above 0 of a study's pairs, drawn from SEEDS worlds' pairs, or from many of one."""

    def __init__(self, world: str):
        if world == "planted":
            worlds = [load_planted(PlantedConfig(size=_POOL, noise="none")).base]
        else:
            one = partial(GaussianConfig, size=PAIRS, validation=1, test_size=1, noise="none")
            worlds = [load_gaussian(one(seed=seed)).base for seed in range(SEEDS)]
        self._known = [np.abs([pair.gold_margin or 0.0 for pair in pairs]) for pairs in worlds]

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        return rng.choice(self._known[rng.integers(len(self._known))], PAIRS, replace=False)


def labels(gold: np.ndarray, flips: float, temperature: float, votes: int, rng: np.random.Generator) -> np.ndarray:
    """[N] of so many votes those for the truly better side. gold: [N] above 0."""
    right = sigmoid(gold / temperature) if temperature else np.ones(len(gold))
    return rng.binomial(votes, flips + (1 - 2 * flips) * right)


def of_gold(margins: Margins, flips: float, temperature: float, studies: int, rng: np.random.Generator) -> Held:
    """With the gold margin known, one label a pair."""
    found = []
    for _ in range(studies):
        gold = margins.draw(rng)
        chosen = labels(gold, flips, temperature, 1, rng)
        fit = Fit(Votes(np.where(chosen == 1, gold, -gold), np.ones_like(chosen)), "gold")
        found.append((fit.flips, Estimate(*(fit.unit * end for end in fit.t)), temperature))
    return _held(found, flips)


def of_votes(margins: Margins, flips: float, temperature: float, studies: int, rng: np.random.Generator) -> Held:
    """With ANNOTATORS votes a pair and a model's margins; the share wrong by small margins in the place of T."""
    found = []
    for _ in range(studies):
        gold, scores = _scored(margins, rng)
        chosen = labels(gold, flips, temperature, ANNOTATORS, rng)
        fit = Fit(Votes(scores, chosen, ANNOTATORS), "model")
        share = Estimate(*(wrong_by_margin(None, end) for end in fit.t))
        found.append((fit.flips, share, wrong_by_margin(gold, temperature)))
    return _held(found, flips)


def of_model(margins: Margins, flips: float, temperature: float, studies: int, rng: np.random.Generator) -> Held:
    """The bound on ε, with one label a pair and a model's margins."""
    found = []
    for _ in range(studies):
        gold, scores = _scored(margins, rng)
        signed = np.where(labels(gold, flips, temperature, 1, rng) == 1, scores, -scores)
        none = np.full(len(gold), math.nan)
        noises = noise_of(Known(signed, none, np.ones(len(gold))))
        bound = noises[0].flips if noises else Estimate(math.nan, 0.0, 0.5)
        found.append((bound, Estimate(math.nan, math.nan, math.nan), math.nan))
    return _held(found, flips)


def _scored(margins: Margins, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Gold margins [N], and those of a model that correlates with them by MODEL where both signs are as frequent."""
    gold = margins.draw(rng)
    scores = MODEL * gold / math.sqrt(float(np.square(gold).mean())) + math.sqrt(1 - MODEL**2) * rng.normal(size=PAIRS)
    return gold, scores


def _held(found: list[tuple[Estimate, Estimate, float]], flips: float) -> Held:
    within = [(known.lo <= flips <= known.hi, other.lo <= true <= other.hi) for known, other, true in found]
    shares = np.mean(within, axis=0)
    a, b, c, d = np.median([(*known[1:], *other[1:]) for known, other, _ in found], axis=0)
    return Held(float(shares[0]), float(shares[1]), (float(a), float(b)), (float(c), float(d)))


KINDS = {
    "gold": ("gold margins", of_gold, list(itertools.product(FLIPS, TEMPERATURES))),
    "model": ("a model's margins", of_model, VOTED),
    "votes": (f"{ANNOTATORS} votes, a model's margins", of_votes, VOTED),
}


WORLDS = ("gaussian", "planted")
_LINE = "| {:<8} | {:<26} | {:>4} | {:>3} | {:>11} | {:>13} | {:>11} | {:>13} |"


def line(kind: str, world: str, margins: Margins, truth: tuple[float, float], studies: int) -> str:
    """A row of what is printed, the same whichever others are."""
    known, measure, truths = KINDS[kind]
    rng = np.random.default_rng([list(KINDS).index(kind), WORLDS.index(world), truths.index(truth)])
    held = measure(margins, *truth, studies, rng)
    (a, b), (c, d) = held.flips_ends, held.other_ends
    other = ("", "") if math.isnan(c) else (f"{held.other:.3f}", f"{c:.3f} … {d:.3f}")
    return _LINE.format(world, known, *truth, f"{held.flips:.3f}", f"{a:.3f} … {b:.3f}", *other)


def main(studies: int = 500, known: str = "gold,model,votes", worlds: str = "gaussian,planted") -> None:
    se = (0.0475 / studies) ** 0.5
    print(f"{studies} studies of {PAIRS} pairs a row; a share of .95 has a standard error of {se:.3f}")
    print(_LINE.format("world", "known", "ε", "T", "ε is held", "ε from … to", "T is held", "T from … to"))
    for kind, world in itertools.product(known.split(","), worlds.split(",")):
        margins = Margins(choose(dict.fromkeys(WORLDS, world), world, "--worlds"))
        for truth in choose(KINDS, kind, "--known")[2]:
            print(line(kind, world, margins, truth, studies), flush=True)
