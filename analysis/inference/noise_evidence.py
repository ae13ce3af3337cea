"""How wrong are labels, and where: flips whatever the margin (ε), or mostly at small gold margins (Bradley–Terry at T)?

What is known of some pairs decides what can be told (`noise_of`):

- **gold margins** (generated data): ε and T (`analysis.inference.noise_model`).
- **votes, fewer than four a pair**: which side is called first is arbitrary, so that the share of pairs on which all
  agree is all there is. It fixes E[p(1 − p)], p the share of all people who would prefer one side, and nothing else.
  Flips alone explain it, and so do coins on a few pairs: ε and T are not told apart. From it follow bounds that need
  no model: ε(1 − ε) ≤ E[p(1 − p)], and, w(1 − w) being concave in w, those of how often one vote is wrong.
- **four votes or more** fix further moments of p(1 − p): ε and T, if log-odds are normal over pairs.
- **votes and a model's margins**: likewise, with errors of the model told from those of annotators, who differ.
  Whether people vote independently of each other is not to be seen in votes: it is taken for granted.
- **a model's margins and one label a pair**: bounds. A label is wrong less often than the model disagrees with it, in
  any group of held-out pairs, because no ranking agrees more often than the true one. What the model is surest of
  bounds ε, which is the same everywhere; nothing says that it is above 0, and nothing is known of T.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from analysis.inference.noise_model import Estimate, Fit, Votes, p_of_none, wrong_by_margin
from analysis.inference.stats import ALPHA, upper_share
from benchmarks.metrics import correctness, wilson
from mars.config import UserError
from mars.preferences.pair import TIE

GOLD, VOTES, BOTH, MARGINS = "gold margins", "votes", "votes and a model's margins", "a model's margins"
FEWEST = 100  # pairs, below which nothing is said
FEWEST_VOTES = 4  # a pair, for votes alone
FLIPS, SMALL, MIXED, CLEAN, UNKNOWN = "flips", "small margins", "both", "next to none", "not known"
_SUREST = (0.1, 0.25, 0.5, 1.0)  # shares of the pairs, the largest |Δ|: whose disagreement bounds flips
_LITTLE = 0.02  # of labels, below which a component is next to none
_MOST = 12  # annotators


class Known(NamedTuple):
    """What is known of N held-out pairs, NaN where it is not.

    margins: [N] a model's, chosen over rejected. gold: [N] gold margins, below 0 where the label is wrong. agreement:
    [N] the share of votes for the chosen side, 1 where there are none; ½ is a tie.
    """

    margins: np.ndarray
    gold: np.ndarray
    agreement: np.ndarray


class Noise(NamedTuple):
    """What one kind of evidence says. pairs: that were used, of `votes` labels each.

    flips: ε. temperature: T, in units of the gold margin, so that only gold margins tell it. by_margin: the share of
    labels wrong by small margins, of those not turned round, which stands for T elsewhere. wrong: in all. Estimates
    without a value are bounds. kind: which component is there for sure. unknown: what cannot be known, and why.
    p_no_flips, p_flips_alone: of these hypotheses. model_wrong: share of pairs that the model ranks against gold.
    """

    evidence: str
    pairs: int
    votes: int
    flips: Estimate
    temperature: Estimate
    by_margin: Estimate
    wrong: Estimate
    kind: str
    unknown: str
    p_no_flips: float = math.nan
    p_flips_alone: float = math.nan
    model_wrong: Estimate = Estimate(math.nan, math.nan, math.nan)


NOTHING = Estimate(math.nan, math.nan, math.nan)


def flat(noise: Noise) -> dict[str, object]:
    """Its fields, an estimate as three."""
    found: dict[str, object] = {}
    for key, value in noise._asdict().items():
        ends = {key: value.value, f"{key}_lo": value.lo, f"{key}_hi": value.hi} if isinstance(value, Estimate) else {}
        found |= ends or {key: value}
    return found


def noise_of(known: Known, annotators: int | None = None) -> list[Noise]:
    """What is known of the label noise, by each kind of evidence that there is. annotators: see `votes_of`.

    A tie of one label a pair is no vote, and left out. Raises UserError for votes that nothing can be told from.
    """
    found = []
    if (has_gold := np.isfinite(known.gold) & (known.gold != 0)).sum() >= FEWEST:
        found.append(_of_gold(known.gold[has_gold]))
    scored = np.isfinite(known.margins) & (known.agreement != TIE)
    if has_votes(known, annotators):
        votes = votes_of(known, annotators)
        found.append(_of_votes(votes))
        ranked = votes.chosen[np.isfinite(votes.margins)]
        if len(ranked) >= FEWEST:
            found.append(_of_both(votes))
    elif scored.sum() >= FEWEST and (not found or has_gold.any()):
        found += _of_margins(known.margins[scored])
    return found


def has_votes(known: Known, annotators: int | None = None) -> bool:
    """Whether several people judged a pair: ties among plain labels are no votes, unless annotators are told."""
    split = known.agreement < 1
    return bool((split if annotators else split & (known.agreement != TIE)).any())


def votes_of(known: Known, annotators: int | None = None) -> Votes:
    """The votes of pairs on which every annotator decided; one who called it a tie leaves the pair out.

    annotators: of a pair; None: the fewest that the shares allow. Raises UserError where the shares are not those of
    one odd number of annotators: an even split is told as a tie, so that it is not among the pairs.
    """
    ahead = 2 * known.agreement - 1
    number = annotators or next(
        (k for k in range(1, _MOST) if np.allclose(ahead * k, np.round(ahead * k), atol=1e-6)), 0
    )
    if not number or not np.allclose(ahead * number, np.round(ahead * number), atol=1e-6):
        raise UserError("annotators: the shares of votes are not those of one number of annotators for all pairs")
    if number % 2 == 0:
        raise UserError(
            f"annotators: with {number} votes a pair, how often people disagree cannot be known: an even split is told "
            "as a tie (say annotators=N where there were more, and some called it a tie)"
        )
    lead = np.round(ahead * number).astype(int)
    whole = (lead > 0) & ((number - lead) % 2 == 0)
    return Votes(known.margins[whole], (number + lead[whole]) // 2, number)


def _of_gold(gold: np.ndarray) -> Noise:
    labels = Votes(gold, np.ones(len(gold), dtype=int))
    fit = Fit(labels, "gold")
    wrong, size = float((gold < 0).sum()), gold / fit.unit
    return _fitted(Fit(labels, "gold", t=0.0), Fit(labels, "gold", flips=0.0), fit)._replace(
        evidence=GOLD,
        pairs=len(gold),
        votes=1,
        temperature=Estimate(*(fit.unit * end for end in fit.t)),
        by_margin=Estimate(*(wrong_by_margin(size, end) for end in fit.t)),
        wrong=Estimate(wrong / len(gold), *wilson(wrong, len(gold))),
    )


def _of_votes(votes: Votes) -> Noise:
    told = _bounds(votes)
    if votes.number >= FEWEST_VOTES and told.pairs >= FEWEST:
        labels = votes._replace(margins=np.zeros(told.pairs))
        fit = Fit(labels, "votes")
        fitted = _fitted(Fit(labels, "votes", t=0.0), Fit(labels, "votes", flips=0.0), fit)
        return fitted._replace(evidence=VOTES, pairs=told.pairs, votes=told.votes, wrong=told.wrong)
    return told


def _of_both(votes: Votes) -> Noise:
    told = _bounds(votes)
    scored = np.isfinite(votes.margins)
    labels = Votes(votes.margins[scored], votes.chosen[scored], votes.number)
    fit = Fit(labels, "model")
    fitted = _fitted(Fit(labels, "model", t=0.0), Fit(labels, "model", flips=0.0), fit)
    mistakes = Estimate(*(math.acos(end) / math.pi for end in (fit.r.value, fit.r.hi, fit.r.lo)))
    if fit.r.lo <= 0:
        why = "the model's margins say nothing for sure of which side people prefer, so they add nothing to the votes"
        fitted = fitted._replace(unknown="; ".join(filter(None, (fitted.unknown, why))))
    return fitted._replace(
        evidence=BOTH, pairs=len(labels.margins), votes=told.votes, wrong=told.wrong, model_wrong=mistakes
    )


def _bounds(votes: Votes) -> Noise:
    """What the share of unanimous pairs says, whatever the model."""
    n, number = len(votes.margins), votes.number
    if n < FEWEST:
        why = f"only {n} pairs on which all annotators decided, fewer than {FEWEST}"
        return Noise(VOTES, n, number, NOTHING, NOTHING, NOTHING, NOTHING, UNKNOWN, why)
    pairs = number * (number - 1)
    differ = 2 * votes.chosen * (number - votes.chosen) / pairs  # of two annotators of a pair
    most = 2 * (number // 2) * (number - number // 2) / pairs
    lo, hi = (most * end for end in wilson(float(differ.sum()) / most, n))
    flips, wrong = Estimate(math.nan, 0.0, _alike(hi)), Estimate(math.nan, _alike(lo), min(0.5, hi))
    why = (
        f"with {number} votes a pair only the share of pairs on which all agree is known, and flips alone or coin "
        "tosses on a few pairs explain it equally"
    )
    by_margin = Estimate(math.nan, 0.0, min(0.5, hi))
    return Noise(VOTES, n, number, flips, NOTHING, by_margin, wrong, UNKNOWN, why)


def _alike(differ: float) -> float:
    """How often one vote is wrong if it is so equally often on every pair, of how often two votes differ."""
    return (1 - math.sqrt(max(0.0, 1 - 2 * differ))) / 2


def _of_margins(margins: np.ndarray) -> Iterator[Noise]:
    """Bounds by what the model disagrees with; nothing of a model that ranks no better than a coin."""
    against = 1 - correctness(margins[np.argsort(-np.abs(margins), kind="stable")])
    n = len(against)
    if wilson(float(against.sum()), n)[1] >= 0.5:
        return
    level, sizes = ALPHA / len(_SUREST), [math.ceil(share * n) for share in _SUREST]
    ends = [upper_share(float(against[:size].sum()), size, level) for size in sizes]
    flips, all_wrong = Estimate(math.nan, 0.0, min(0.5, *ends)), Estimate(math.nan, 0.0, min(0.5, ends[-1]))
    why = (
        "one label a pair cannot tell a wrong label from a mistake of the model: these are upper bounds, T is not "
        "known, and no label need be wrong"
    )
    yield Noise(MARGINS, n, 1, flips, NOTHING, all_wrong, all_wrong, UNKNOWN, why)


def _fitted(flips_alone: Fit, none_flipped: Fit, fit: Fit) -> Noise:
    """What a fit says of ε, and of T for normal margins; the alternatives lack one of the two."""
    flips, by_margin = fit.flips, Estimate(*(wrong_by_margin(None, end) for end in fit.t))
    kind = _kind(flips, by_margin)
    return Noise(
        evidence="",
        pairs=0,
        votes=0,
        flips=flips,
        temperature=NOTHING,
        by_margin=by_margin,
        wrong=NOTHING,
        kind=kind,
        unknown=_UNTOLD.get(kind, ""),
        p_no_flips=p_of_none(fit, none_flipped),
        p_flips_alone=p_of_none(fit, flips_alone),
    )


_UNTOLD: Mapping[str, str] = {
    UNKNOWN: "flips alone and small margins alone both fit these labels, so that either may be all of the noise",
}


def _kind(flips: Estimate, by_margin: Estimate) -> str:
    if flips.lo > 0:
        return MIXED if by_margin.lo > 0 else FLIPS
    if by_margin.lo > 0:
        return SMALL
    return CLEAN if max(flips.hi, by_margin.hi) < _LITTLE else UNKNOWN
