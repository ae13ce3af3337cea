"""Numbers of prompts with several right and several wrong responses, as RewardBench 2 has them: credit, and Ties.

The credit of a prompt is the share of correct responses among those tied at the top, so with one correct response, as
officially, 1/k in a tie of k. Half credit gives ½ to any tie at the top of right and wrong.

Ties: each question is there twice, as `tied:N` with many correct answers and as `ref:N` with one. For a prompt let
s = best − worst correct score and m = worst correct − best wrong, m_ref the m of its reference; accurate means m > 0.

    score = 0.30·tied accuracy + 0.30·ref accuracy + 0.20·P(m > s) + 0.20·P(min(m, m_ref) > s)
            + 0.01·mean tanh(min(m, m_ref)/s − 1)

over the tied prompts, and from the third term on over those with a reference. Where s = 0 the last term counts 0; the
released NumPy code does so for 0/0 alone and else gives ±1, which moves the score by 0.01 at most. A prompt without its
partner counts in the accuracy it has, and is recorded. No rule for ties at the top touches this score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.hub_rows import Ties

TIES_WEIGHTS = {
    "tied_accuracy": 0.30,
    "ref_accuracy": 0.30,
    "margin_over_spread": 0.20,
    "margin_over_spread_with_ref": 0.20,
    "margin_term": 0.01,
}


@dataclass(frozen=True)
class Group:
    """The prompts of one subset, their rows so ordered that each has its correct responses first, then the others."""

    ids: np.ndarray  # [P]
    rows: np.ndarray  # [R] rows of the table
    starts: np.ndarray  # [2P] in `rows`, of the correct and of the wrong responses of each prompt in turn

    @property
    def sizes(self) -> np.ndarray:
        """[2P] numbers of correct and of wrong responses."""
        return np.diff(self.starts, append=len(self.rows))

    @property
    def of_prompt(self) -> np.ndarray:
        """[P] numbers of responses."""
        return self.sizes[::2] + self.sizes[1::2]


def best_of(scores: np.ndarray, group: Group, ties: Ties) -> np.ndarray:
    """[P] credit of each prompt. scores: [R], in the group's order."""
    top = np.repeat(np.maximum.reduceat(scores, group.starts[::2]), group.of_prompt)
    at_top = np.add.reduceat(scores == top, group.starts, dtype=float)
    right, wrong = at_top[::2], at_top[1::2]
    if ties == "half":
        return np.where(wrong > 0, 0.5, 1.0) * (right > 0)
    return right / (right + wrong)


def ties_margins(scores: np.ndarray, group: Group) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """s, m and m_ref, [..., Q] each, NaN where a question lacks the prompt. scores: [..., R], in the group's order."""
    best = np.maximum.reduceat(scores, group.starts, axis=-1)
    worst = np.minimum.reduceat(scores, group.starts, axis=-1)[..., ::2]
    spread, margin = best[..., ::2] - worst, worst - best[..., 1::2]
    tied, ref, _ = questions(group.ids)

    def at(values: np.ndarray, prompts: np.ndarray) -> np.ndarray:
        return np.where(prompts >= 0, values[..., prompts], np.nan)

    return at(spread, tied), at(margin, tied), at(margin, ref)


def ties_terms(spread: np.ndarray, margin: np.ndarray, ref: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The terms of TIES_WEIGHTS, and `score` where any question has both prompts; a term of no prompt is absent.

    s, m and m_ref as of `ties_margins`, [Q] or [D, Q]; weights: [D, Q].
    """
    least = np.minimum(margin, ref)  # NaN where either is
    ratio = np.divide(least, spread, out=np.ones_like(least), where=spread > 0)
    tied, single, both = (~np.isnan(values) for values in (margin, ref, least))
    terms = {
        "tied_accuracy": (tied, margin > 0),
        "ref_accuracy": (single, ref > 0),
        "margin_over_spread": (both, margin > spread),
        "margin_over_spread_with_ref": (both, least > spread),
        "margin_term": (both, np.tanh(ratio - 1)),
    }
    found = {name: _mean(values, known, weights) for name, (known, values) in terms.items() if known.any()}
    if both.any():
        found["score"] = np.sum([weight * found[name] for name, weight in TIES_WEIGHTS.items()], axis=0)
    return found


def questions(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Where in `ids` each question's tied and reference prompts stand, [Q] each, −1 for none; and the unmatched ids."""
    at = {name.removeprefix("Ties/"): i for i, name in enumerate(ids)}
    numbers = sorted({name.partition(":")[2] for name in at})
    tied, ref = (np.array([at.get(f"{kind}:{number}", -1) for number in numbers]) for kind in ("tied", "ref"))
    alone = np.concatenate([tied[ref < 0], ref[tied < 0]])
    return tied, ref, [str(name) for name in ids[np.sort(alone)]]


def _mean(values: np.ndarray, known: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[D] weighted mean over what is known; 0 where a resample holds none of it, as in the released code."""
    total = (weights * known).sum(axis=-1)
    summed = (weights * np.where(known, values, 0.0)).sum(axis=-1)
    return np.divide(summed, total, out=np.zeros_like(total), where=total > 0)
