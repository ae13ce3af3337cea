"""What a table of verdicts says: win rate, length-controlled win rate, position bias, agreement between judges.

Every pair of replies is shown in both orders, and the two verdicts are one unit: ours counts 1 where it is preferred, ½
for a tie, 0 where the other is, averaged over the orders. So a judge that looks at the order alone gets ½, exactly. A
unit of which one verdict cannot be read is left out, because the other alone would carry the position bias; `worst` and
`best` say what such units could change. Pairs that need no judge (identical replies, an empty one) are in the win rate
and in nothing that is said of the judge.

    found = measure(Units.of(table))
    found.win_rate.value, found.position_bias.lo
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.judges.clustered_shares import Clusters, Share, clustered_mean, p_of_half, share
from benchmarks.metrics import LEVEL, percentiles, resample_counts, sigmoid, t_quantile

SAID = ("A", "B", "tie", "unparsable")  # of the reply shown first, of the one shown second
A, B, TIE, UNPARSABLE, RULED = 0, 1, 2, 3, -1  # RULED: no judge was asked
FEWEST = 8  # prompts from which a judge can be told from a coin
_RIDGE = 0.01  # of both coefficients: keeps them finite where length, or one side, decides everything
_STEPS = 100
_RESAMPLES = 1000


@dataclass(frozen=True)
class Units:
    """U pairs of replies. said: [U, 2] codes, first with ours shown first. outcome: [U] of ours, in [0, 1], NaN where a
    verdict could not be read. length: [U] characters of ours − theirs."""

    said: np.ndarray
    outcome: np.ndarray
    length: np.ndarray
    clusters: Clusters

    @staticmethod
    def judged(said: np.ndarray, length: np.ndarray, clusters: Clusters) -> Units:
        """Units that were all shown to the judge."""
        return Units(said, outcomes(said), length, clusters)

    @staticmethod
    def of(table: pd.DataFrame) -> Units:
        """Units of a table of `benchmarks.judges.verdicts`: two rows a unit, ours shown first in the first."""
        first, second = table.iloc[0::2], table.iloc[1::2]
        codes = {name: code for code, name in enumerate(SAID)}
        said = np.column_stack([half["said"].map(codes).fillna(RULED).astype(int) for half in (first, second)])
        ruled = np.where(first["verdict"] == "ours", 1.0, np.where(first["verdict"] == "theirs", 0.0, 0.5))
        outcome = np.where(said[:, 0] == RULED, ruled, outcomes(said))
        length = (first["ours_length"] - first["theirs_length"]).to_numpy(float)
        clusters = Clusters(pd.factorize(first["prompt"])[0], first["replicate"].to_numpy(int))
        return Units(said, outcome, length, clusters)

    @property
    def asked(self) -> np.ndarray:
        """[U] whether a judge was asked."""
        return self.said[:, 0] != RULED

    @property
    def read(self) -> np.ndarray:
        """[U] whether a judge was asked and both verdicts could be read."""
        return self.asked & (self.said != UNPARSABLE).all(axis=1)


@dataclass(frozen=True)
class Findings:
    """What `measure` found; shares in [0, 1].

    p: of a true win rate of ½, two-sided. worst, best: the win rate if the units left out were all lost, all won.
    length_controlled: see `length_controlled`. position_bias: units with the same position preferred in both orders.
    toward_first: those that prefer the first position less those that prefer the second. consistency: see there.
    counts: of SAID, over showings.
    """

    win_rate: Share
    p: float
    worst: float
    best: float
    length_controlled: Share
    position_bias: Share
    toward_first: float
    consistency: Share
    counts: dict[str, int]
    units: int
    asked: int
    left_out: int


def outcomes(said: np.ndarray) -> np.ndarray:
    """[U] outcome of ours from [U, 2] codes: mean over the orders, NaN where one cannot be read."""
    of_code = np.array([1.0, 0.0, 0.5, math.nan])  # of A, B, tie, unparsable with ours shown first
    shown_first, shown_second = of_code[said[:, 0]], 1 - of_code[said[:, 1]]
    return (shown_first + shown_second) / 2


def measure(units: Units) -> Findings:
    """All that one judge's verdicts say."""
    counted = ~np.isnan(units.outcome)
    outcome, clusters = units.outcome[counted], units.clusters.of(counted)
    said, of_read = units.said[units.read], units.clusters.of(units.read)
    same = (said[:, 0] == said[:, 1]) & (said[:, 0] != TIE)
    total = len(units.outcome)
    lost = total - int(counted.sum())
    of_all = said[same]
    return Findings(
        win_rate=share(outcome, clusters),
        p=p_of_half(outcome, clusters),
        worst=float(outcome.sum()) / total,
        best=(float(outcome.sum()) + lost) / total,
        length_controlled=length_controlled(outcome, units.length[counted], clusters),
        position_bias=share(same.astype(float), of_read),
        toward_first=float(np.sum(1 - 2 * of_all[:, 0])) / len(said) if len(said) else math.nan,
        consistency=consistency(said, of_read),
        counts={name: int((units.said == code).sum()) for code, name in enumerate(SAID)},
        units=total,
        asked=int(units.asked.sum()),
        left_out=lost,
    )


def consistency(said: np.ndarray, clusters: Clusters) -> Share:
    """Correlation of what the judge prefers in the two orders, with the order undone, in [−1, 1], of [R, 2] codes.

    With s = 1 for A, 0 for a tie, −1 for B and m its mean over both showings, −mean((s₁ − m)(s₂ − m)) / mean((s − m)²).
    A judge that looks at the replies alone gets 1. One that does not look at them says A with the same probability of
    either showing, so whatever its position bias it gets 0. NaN ends below FEWEST units; all that says the same is 0.
    """
    if not len(said):
        return Share(math.nan)
    prefers = np.array([1.0, -1.0, 0.0])[said]
    centred = prefers - prefers.mean()
    clusters = Clusters(clusters.prompt, np.zeros_like(clusters.prompt))  # of the judge; policies may vary as they like
    spread = float((centred**2).mean())
    if not spread:
        return Share(0.0, n=len(said))
    mean = clustered_mean(-centred.prod(axis=1) / spread, clusters)
    if len(np.unique(clusters.prompt)) < FEWEST:
        return Share(mean.value, n=len(said))
    half = t_quantile(LEVEL, mean.df) * math.sqrt(mean.variance)
    return Share(mean.value, mean.value - half, min(1.0, mean.value + half), len(said))


def length_controlled(outcome: np.ndarray, length: np.ndarray, clusters: Clusters) -> Share:
    """The win rate at equal lengths, in the manner of AlpacaEval 2 (Dubois et al. 2024, arXiv 2404.04475).

    Logistic regression of the outcome y of each unit, y in [0, 1], on the difference d of lengths in characters:

        P(ours preferred) = σ(θ + φ · tanh(d / sd(d))),     length-controlled win rate = σ(θ),

    the prediction at d = 0. Theirs also has a term for the difficulty of each instruction, estimated from a hundred
    models' runs on AlpacaEval's own prompts, an L1 penalty by cross-validation, and two extra baselines to regularise;
    here there are a few prompts of any kind and two policies, so θ and φ are all, with a ridge of 0.01 each. The
    interval is that of θ by linearisation, clustered as that of the win rate. NaN ends where nothing varies.
    """
    if not len(outcome):
        return Share(math.nan)
    spread = float(length.std(ddof=1)) if len(length) > 1 else 0.0
    x = np.column_stack([np.ones(len(outcome)), np.tanh(length / spread) if spread else np.zeros(len(outcome))])
    theta, hessian = _logistic(outcome, x)
    slopes = (outcome - sigmoid(x @ theta))[:, None] * x
    influence = len(outcome) * np.linalg.solve(hessian, slopes.T)[0]
    mean = clustered_mean(theta[0] + influence, clusters)
    at = float(sigmoid(theta[:1])[0])
    if not mean.variance > 0 or outcome.min() == outcome.max():
        return Share(at, n=len(outcome))
    half = t_quantile(LEVEL, mean.df) * math.sqrt(mean.variance)
    lo, hi = sigmoid(np.array([theta[0] - half, theta[0] + half]))
    return Share(at, float(lo), float(hi), len(outcome))


def _logistic(y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(coefficients [K], penalised Hessian [K, K]) of the ridge logistic regression of y on x [U, K], by Newton."""
    theta = np.zeros(x.shape[1])
    penalty = _RIDGE * np.eye(x.shape[1])

    def loss(at: np.ndarray) -> float:
        z = x @ at
        return float(np.sum(np.logaddexp(0.0, z) - y * z) + _RIDGE * at @ at / 2)

    for _ in range(_STEPS):
        p = sigmoid(x @ theta)
        hessian = (x.T * (p * (1 - p))) @ x + penalty
        step = np.linalg.solve(hessian, x.T @ (y - p) - _RIDGE * theta)
        scale, before = 1.0, loss(theta)
        while loss(theta + scale * step) > before and scale > 1e-6:
            scale /= 2
        theta = theta + scale * step
        if np.abs(step).max() < 1e-10:
            break
    p = sigmoid(x @ theta)
    return theta, (x.T * (p * (1 - p))) @ x + penalty


@dataclass(frozen=True)
class Agreement:
    """How far two judges agree on which reply is better, over the units both of them were asked and were read on.

    raw: the share of units with the same verdict, ours, theirs or neither, both orders together. kappa: Cohen's (1960),
    raw agreement beyond that of two judges who say each verdict as often but by chance; NaN where one is all there is.
    """

    raw: Share
    kappa: Share


def agreement(one: Units, other: Units) -> Agreement:
    """Of two judges on the same units. The interval of κ is the percentile bootstrap's over prompts."""
    both = one.read & other.read
    if not both.any():
        return Agreement(Share(math.nan), Share(math.nan))
    verdicts = [np.sign(units.outcome[both] - 0.5).astype(int) + 1 for units in (one, other)]
    clusters = one.clusters.of(both)
    raw = share((verdicts[0] == verdicts[1]).astype(float), clusters)
    _, prompt = np.unique(clusters.prompt, return_inverse=True)
    cells = np.zeros((prompt.max() + 1, 9))
    np.add.at(cells, (prompt, 3 * verdicts[0] + verdicts[1]), 1.0)
    rng = np.random.default_rng(0)
    drawn = [_kappa(counts @ cells) for counts in resample_counts(len(cells), _RESAMPLES, rng)]
    value = float(_kappa(cells.sum(axis=0, keepdims=True))[0])
    return Agreement(raw, Share(value, *percentiles(np.concatenate(drawn)), len(verdicts[0])))


def _kappa(tables: np.ndarray) -> np.ndarray:
    """[R] Cohen's κ of R 3 × 3 tables, [R, 9] counts; NaN where chance alone agrees always."""
    shares = (tables / tables.sum(axis=1, keepdims=True)).reshape(-1, 3, 3)
    seen = np.trace(shares, axis1=1, axis2=2)
    chance = np.einsum("ri,ri->r", shares.sum(axis=2), shares.sum(axis=1))
    return np.divide(seen - chance, 1 - chance, out=np.full_like(seen, np.nan), where=chance < 1 - 1e-12)
