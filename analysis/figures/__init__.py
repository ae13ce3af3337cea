"""The figures of a study, by name: `study.figure("margins")`, and all of them in `DIR/report/figures/`.

In the order of a reader: the map where there is one, is there a difference, what kind of model makes it, how did
training get there, where did the budget go, what did that do to curvature and information, what if it had been set
otherwise, and can the scores be believed elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from matplotlib.figure import Figure

from analysis.exhibits import style
from analysis.figures import allocation, by_arm, curvature, forest, gains, margins, regimes, rounds, sweeps
from analysis.study.study import Study
from mars.config import choose


class Plot(NamedTuple):
    """make: Study → Figure; raises NothingToShow. title, caption: beside it on the page."""

    make: Callable[[Study], Figure]
    title: str
    caption: str

    def draw(self, study: Study) -> Figure:
        """The figure, the same whatever the reader's matplotlibrc says. Raises NothingToShow."""
        with style.styled():
            return self.make(study)


_OVER_SEEDS = "Mean and 95 % t interval over training seeds, each seed a small dot."

FIGURES: dict[str, Plot] = {
    "regimes": Plot(
        regimes.diagram,
        "Where arms win, tie and lose",
        "Difference to the reference arm on the same seeds and pairs of a cell, in points of accuracy. Only cells "
        "framed and bold differ by more than chance, judged over the whole map; the table has their intervals.",
    ),
    "accuracy": Plot(
        by_arm.accuracy,
        "Pairwise accuracy",
        f"{_OVER_SEEDS} The axis holds chance and reaches to 1. Intervals of two arms say little about their "
        "difference, which is taken on the same seeds and pairs: see the comparisons.",
    ),
    "comparisons": Plot(
        forest.comparisons,
        "Declared comparisons",
        "Differences in accuracy on the same seeds and test pairs, with 95 % intervals for new seeds and new pairs. "
        "Hollow: inconclusive. A difference within the grey bar would have been missed in more than one of five "
        "studies of this size.",
    ),
    "auc": Plot(
        by_arm.auc,
        "ROC-AUC",
        f"How often a chosen response scores higher than a rejected one of any pair. {_OVER_SEEDS}",
    ),
    "margins": Plot(
        margins.margins,
        "Margins by arm",
        "Density of Δ = r(chosen) − r(rejected) on the main test split, seeds pooled; 60 bins from the 1st to the 99th "
        "percentile of all arms. Right of the dashed line the pair is ranked as labelled.",
    ),
    "mean_margin": Plot(
        by_arm.mean_margin,
        "Mean margin",
        f"{_OVER_SEEDS} In the units of the scores, which an arm can stretch without ranking any pair better: "
        "comparable within a dataset and backbone only.",
    ),
    "snr": Plot(by_arm.snr, "Signal-to-noise ratio of the margins", f"Mean / population sd of Δ. {_OVER_SEEDS}"),
    "rounds": Plot(
        rounds.rounds,
        "Training over the rounds",
        "After each round, mean over seeds: training loss over what the arm trained on, accuracy and mean margin on "
        "the held-out validation pairs. Training losses of arms with other rows or weights are not comparable.",
    ),
    "steps": Plot(
        rounds.steps,
        "Accuracy against optimiser steps",
        "Does an arm win at equal compute? Validation accuracy over the steps taken so far, and test accuracy over all "
        "of them. Compare arms on one vertical only.",
    ),
    "allocation": Plot(
        allocation.allocation,
        "Where the budget went",
        "Lorenz curves: the share of the drawn rows that went to the base pairs with the fewest; on the diagonal all "
        "get equally many. Budget against margin: rows drawn per pair, in bins of equally many pairs, of the arms that "
        "take margins. First and last round in which rows were drawn.",
    ),
    "curvature": Plot(
        curvature.curvature,
        "Curvature and information over the rounds",
        "Log determinant of the average Hessian H and of the Godambe information per label G, under the model that "
        "chose the rows. Gain: base pairs and drawn rows together, less the base pairs alone. Copies of a pair can "
        "raise H; they bring G no label.",
    ),
    "spectra": Plot(
        curvature.spectrum,
        "Spectra of H and G",
        "Eigenvalues in the directions in which base pairs vary, largest first, of the base pairs, of the rows that "
        "were drawn and of both.",
    ),
    "bound": Plot(
        curvature.bound,
        "The bound against the truth",
        "What the paper's bound promises of the mixture's Hessian, and what it is: the smallest generalised eigenvalue "
        "of H with the drawn rows against H of the base pairs. Left of 1 the bound promises nothing. "
        "Its conditions: margins separated (m_L < m_H), and κ·σ′(m_L) > σ′(m_H).",
    ),
    "gains": Plot(
        gains.gains,
        "What goes with accuracy: curvature or information?",
        "Accuracy of an arm less the reference's, against its mean gain in H (the average Hessian, which the paper "
        "raises) and in G (information per label), less the reference's. Nothing is tested.",
    ),
    "information": Plot(
        curvature.information,
        "Gains against accuracy",
        "A round's gain in H, and in G, against what the round did to held-out accuracy. Correlation over a study's "
        "few arms is weak evidence: whatever else sets two arms apart moves both numbers.",
    ),
    "tau_sweep": Plot(
        sweeps.tau_sweep,
        "Accuracy against τ",
        "How hard to steer: 0 not at all, larger values towards low margins. Uniform sampling, where it ran, is a "
        "level with its interval.",
    ),
    "budget_sweep": Plot(
        sweeps.budget_sweep,
        "Accuracy against the budget",
        "Rows drawn a round. More rows are more optimiser steps unless `rounds.steps` holds them equal.",
    ),
    "reliability": Plot(
        margins.reliability,
        "Reliability",
        "Accuracy of the predicted winner where the model is that confident in it, σ(|Δ|) in 15 bins, seeds pooled, "
        "before any temperature. Where accuracy is below confidence the model is too sure of itself.",
    ),
    "sections": Plot(
        by_arm.sections,
        "RewardBench by section",
        f"{_OVER_SEEDS} Ties lose, officially. Chance is ½ for pairs and ¼ for the best of four.",
    ),
}


def build(study: Study, name: str) -> Figure:
    """Raises ConfigError for an unknown name, NothingToShow where the study has nothing to draw."""
    return choose(FIGURES, name, "figure").draw(study)
