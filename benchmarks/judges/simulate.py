"""Whether the intervals of a judgement hold what they promise: planted comparisons, a gold judge made worse on purpose.

The pairs are of the planted world's two authors, whose gold reward is known; `shift` says how much more often ours is
the careful one. The judge knows the gold reward. In a share `bias` of units it says A in both orders; else it says the
opposite of the truth in a share `error` of showings. So its true win rate and position bias are known, and an interval
should hold them in 95 of 100 simulations. With `replicates`, each has a win rate of its own.

    python -m benchmarks.judges.simulate --simulations 1000 --comparisons 500
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.judges.clustered_shares import Clusters, Share
from benchmarks.judges.findings import flag
from benchmarks.judges.winrate import TIE, A, B, Findings, Units, measure
from benchmarks.metrics import coin_half_width
from mars.worlds.planted_latents import CAREFUL, CARELESS, draw_response, gold

_POPULATION = 20_000  # pairs of planted responses, drawn from with replacement: their shares are the truth


@dataclass(frozen=True)
class Scenario:
    """A judge and two policies. spread: sd of the win rate between replicates."""

    name: str
    shift: float = 0.0
    error: float = 0.2
    bias: float = 0.1
    replicates: int = 1
    spread: float = 0.0


SCENARIOS = (
    Scenario("null: two equal policies"),
    Scenario("a better policy", shift=0.3),
    Scenario("a judge with more bias", shift=0.3, error=0.1, bias=0.4),
    Scenario("a perfect judge", shift=0.3, error=0.0, bias=0.0),
    Scenario("null, 3 replicates that differ", replicates=3, spread=0.05),
    Scenario("null, 5 replicates that differ", replicates=5, spread=0.05),
    Scenario("a better policy, 5 replicates that differ", shift=0.3, replicates=5, spread=0.05),
)


@dataclass(frozen=True)
class Rates:
    """Shares of simulations: the interval holds the win rate, and the bias; ours is called better; theirs; useless."""

    win_rate: float
    bias: float
    better: float
    worse: float
    useless: float


def population(seed: int = 0, size: int = _POPULATION) -> np.ndarray:
    """[size] 1 where the planted world's careful author beats the careless one by gold, 0 where not, ½ for a tie."""
    rng = random.Random(seed)
    margins = [
        gold(draw_response(0, 0, False, CAREFUL, rng)) - gold(draw_response(0, 0, False, CARELESS, rng))
        for _ in range(size)
    ]
    return (np.sign(margins) + 1) / 2


def truth(scenario: Scenario, careful: np.ndarray) -> tuple[float, float]:
    """(win rate, position bias) of the judge, if it judged all pairs there are."""
    ours = _mixed(careful.mean(), 0.5 + scenario.shift / 2)
    ties = float(np.mean(careful == 0.5))
    true = (1 - 2 * scenario.error) * (ours - 0.5) + 0.5
    chance = 2 * scenario.error * (1 - scenario.error) * (1 - ties)  # an error in one order alone
    return scenario.bias / 2 + (1 - scenario.bias) * true, scenario.bias + (1 - scenario.bias) * chance


def simulated(scenario: Scenario, careful: np.ndarray, comparisons: int, rng: np.random.Generator) -> Units:
    """One judgement of `comparisons` units, shared out over the replicates, which have the same prompts."""
    prompts = comparisons // scenario.replicates
    n = prompts * scenario.replicates
    replicate = np.repeat(np.arange(scenario.replicates), prompts)
    prompt = np.tile(np.arange(prompts), scenario.replicates)
    lean = 0.5 + scenario.shift / 2 + rng.normal(0, 1, scenario.replicates)[replicate] * _lean_spread(scenario, careful)
    careful_is_ours = rng.random(n) < lean
    drawn = careful[rng.integers(0, len(careful), n)]
    outcome = np.where(careful_is_ours, drawn, 1 - drawn)
    first = np.where(outcome == 0.5, TIE, np.where(outcome == 1, A, B))
    said = np.column_stack([first, np.where(first == TIE, TIE, B - first)])
    wrong = (rng.random((n, 2)) < scenario.error) & (said != TIE)
    said = np.where(wrong, B - said, said)
    said = np.where(rng.random(n)[:, None] < scenario.bias, A, said)
    length = rng.normal(0, 100, n).round()
    return Units.judged(said, length, Clusters(prompt, replicate))


def rates(scenario: Scenario, careful: np.ndarray, simulations: int, comparisons: int, seed: int = 0) -> Rates:
    """How often the intervals of so many judgements hold the truth, and what is said."""
    rng = np.random.default_rng(seed)
    win, bias = truth(scenario, careful)
    found = [measure(simulated(scenario, careful, comparisons, rng)) for _ in range(simulations)]

    def holds(shares: Iterator[Share], value: float) -> float:
        return float(np.mean([one.lo <= value <= one.hi for one in shares]))

    return Rates(
        holds((one.win_rate for one in found), win),
        holds((one.position_bias for one in found), bias),
        float(np.mean([one.win_rate.lo > 0.5 for one in found])),
        float(np.mean([one.win_rate.hi < 0.5 for one in found])),
        float(np.mean([bool(flag(one)) for one in found])),
    )


def flagged(kind: str, simulations: int, comparisons: int, seed: int = 0) -> float:
    """The share of simulations in which a judge that knows nothing is called useless; kind: always_a or coin."""
    rng = np.random.default_rng(seed)

    def judged() -> Findings:
        n = comparisons
        said = np.zeros((n, 2), int) if kind == "always_a" else rng.integers(0, 2, (n, 2))
        return measure(Units.judged(said, rng.normal(0, 100, n), Clusters(np.arange(n), np.zeros(n, int))))

    return float(np.mean([bool(flag(judged())) for _ in range(simulations)]))


def _mixed(careful: float, share: float) -> float:
    """The win rate of ours if it is the careful author in that share of pairs."""
    return share * careful + (1 - share) * (1 - careful)


def _lean_spread(scenario: Scenario, careful: np.ndarray) -> float:
    """The sd of that share that gives the win rate the scenario's."""
    return scenario.spread / abs(2 * float(careful.mean()) - 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the rates as a markdown table."""
    parser = argparse.ArgumentParser("python -m benchmarks.judges.simulate", description="Coverage of a judgement.")
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--comparisons", type=int, default=500)
    given = parser.parse_args(arguments)
    careful = population()
    print(f"{given.simulations} simulations of {given.comparisons} comparisons; Monte Carlo error of 95 %: "
          f"± {100 * 2 * coin_half_width(given.simulations) * math.sqrt(0.95 * 0.05):.1f}\n")  # fmt: skip
    print("| | true win rate | held | true position bias | held | ours better | theirs better | judge useless |")
    print("|---|---|---|---|---|---|---|---|")
    for scenario in SCENARIOS:
        win, bias = truth(scenario, careful)
        found = rates(scenario, careful, given.simulations, given.comparisons)
        values = (found.win_rate, bias, found.bias, found.better, found.worse, found.useless)
        print(f"| {scenario.name} | {win:.1%} | " + " | ".join(f"{value:.1%}" for value in values) + " |", flush=True)
    for kind in ("always_a", "coin"):
        share = flagged(kind, given.simulations, given.comparisons)
        print(f"| {kind} | 50.0% | | | | | | {share:.1%} |", flush=True)


if __name__ == "__main__":
    main()
