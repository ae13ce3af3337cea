"""What a round's rows do to curvature and to information, recorded beside what the round did: the theory, measured.

Taken under the model that chose the rows, before it trains. Three parts: `base`, the base pairs as they are;
`selection`, the rows this round drew; `mixture`, what the round trains on, its loss weights and, where draws
accumulate, earlier rounds' rows included. Rows of one pair share a label, so information is counted per pair
(`mars.theory.curvature`). Noise that an arm puts on its rows in training is left out. Votes are in the gradients that
information is made of, and what Δ has to exceed under `train.margin=column` is taken off Δ, as in the loss.

Recording draws none of the run's random numbers and changes none of its results. What is not defined, for an arm that
drew nothing, for fewer labels than directions, for a singular matrix, is left blank.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from mars.config import UserError
from mars.method.hessian import Sample, estimate, foreseen_seconds, products
from mars.method.row_inputs import RowInputs
from mars.method.state import Spectra
from mars.method.strategy import Selection
from mars.method.targets import Targets
from mars.method.training import TrainingSet, few_threads
from mars.reward.engine import Engine
from mars.reward.model import LinearReward, scalar_head
from mars.theory.bound import mixture_bound
from mars.theory.curvature import Span, Spectrum, godambe_spectrum, hessian_spectrum, span
from mars.theory.moments import Grouped, Moments, grouped, joined

log = logging.getLogger(__name__)

PARTS = ("base", "selection", "mixture")
_SUMMARIES = ("trace", "logdet", "largest", "smallest", "condition", "effective_rank")
_BOUND = ("low", "high", "kappa", "share", "factor", "truth", "separated", "gains", "holds")
_WHOLE = ("trace", "trace_se", "largest", "largest_error", "smallest", "smallest_error")
_PAIRS, _PROBES, _STEPS = 64, 8, 16  # of the whole model's curvature: base pairs, Hutchinson's vectors, Lanczos' steps
_STREAM = 3  # of the run's seed
MOST_NUMBERS = 1 << 25  # pairs × features that are observed unasked: four times as many float64 are held, 1 GiB

COLUMNS = (
    "curvature_span", "curvature_labels",
    *(f"{matrix}_{part}_{name}" for matrix in "hg" for part in PARTS for name in _SUMMARIES),
    "h_gain", "g_gain", *(f"bound_{name}" for name in _BOUND),
)  # fmt: skip

# Out of memory, features that are not finite, a decomposition that does not converge (NumPy's error is a ValueError).
_FAILURES = (UserError, ValueError, torch.linalg.LinAlgError, torch.OutOfMemoryError)


@dataclass
class Observer:
    """Observes the rounds of one run. targets: those of its base pairs."""

    engine: Engine
    inputs: RowInputs
    seed: int
    targets: Targets = field(default_factory=Targets)
    _space: Span | None = field(default=None, init=False)  # of features that no training changes

    def foretell(self, model: nn.Module, rounds: int) -> None:
        """Logs what the whole model's curvature will cost in `rounds` rounds, before any of it is paid.

        Nothing for a linear head, whose curvature is a matrix of features that takes a second at most.
        """
        if self.engine.mode == "head" or not rounds:
            return
        pairs = self._some_pairs()
        try:
            seconds = foreseen_seconds(self.engine, model, pairs, _PROBES, _STEPS)
        except _FAILURES as error:
            log.warning("no curvature of the whole model can be recorded: %s", error)
            return
        log.info(
            "curvature of the whole model: %d Hessian-vector products over %d pairs, some %.3g s a round and %.3g s in "
            "all (curvature=false leaves them out)",
            products(_PROBES, _STEPS),
            len(pairs.numbers),
            seconds,
            rounds * seconds,
        )

    def observe(
        self, model: nn.Module, index: int, data: TrainingSet, selection: Selection
    ) -> tuple[dict[str, float], Spectra]:
        """Round `index`'s columns of rounds.csv, NaN where not defined, and the spectra they sum up.

        `COLUMNS`, and for a fine-tuned model those of its whole Hessian, of the mean loss over up to 64 base pairs.
        """
        columns: dict[str, float] = dict.fromkeys(COLUMNS, math.nan)
        if self.engine.mode != "head":
            columns |= dict.fromkeys((f"hessian_{name}" for name in _WHOLE), math.nan)
        spectra: Spectra = {}
        try:
            with few_threads(self.engine.mode):
                parts = self._parts(model, data, selection)
                space = self._span(parts["base"])
                found = _spectra({part: parts[part] for part in PARTS if part in parts}, space)
                columns |= {"curvature_span": space.dimension, "curvature_labels": parts["base"].labels}
                columns |= _summaries(found)
                columns |= _bound(parts, space) if "synthetic" in parts else {}
            spectra = {name: spectrum.values for name, spectrum in found.items()}
        except _FAILURES as error:  # a record is no reason to lose a run
            log.warning("round %d: no curvature recorded: %s", index, error)
        if self.engine.mode != "head":
            try:
                columns |= self._whole(model, index)
            except _FAILURES as error:
                log.warning("round %d: no curvature of the whole model recorded: %s", index, error)
        return {name: float(value) if math.isfinite(value) else math.nan for name, value in columns.items()}, spectra

    def _parts(self, model: nn.Module, data: TrainingSet, selection: Selection) -> dict[str, Grouped]:
        """The parts that have rows; `weighted` are the base pairs and `synthetic` the other rows of the mixture."""
        pool, numbers, weights = self.inputs.pool, data.numbers, data.weights
        agreement, offsets = data.agreement, data.offsets
        count = len(pool.base)
        drawn = self.inputs.numbers(selection.rows)
        separate = not np.array_equal(drawn, numbers[count:])  # the mixture has rows of earlier rounds
        if separate:
            numbers = np.concatenate([numbers, drawn])
            of_drawn = self.targets.of_rows(pool, selection.rows, selection.labelled)
            agreement, offsets = _joined(agreement, of_drawn.agreement), _joined(offsets, of_drawn.offsets)
        differences = self.engine.scorer(model).differences(numbers)
        margins = differences @ _head(model)
        margins = margins if offsets is None else margins - offsets
        assert data.parents is not None
        parents = np.concatenate([data.parents, pool.parents(selection.rows)])[: len(numbers)]

        def part(rows: slice, weights: np.ndarray | None) -> Grouped:
            own, votes = (None if part is None else part[rows] for part in (weights, agreement))
            return grouped(differences[rows], margins[rows], parents[rows], own, votes)

        parts = {"base": part(slice(count), None)}
        parts["weighted"] = parts["base"] if weights is None else part(slice(count), weights)
        if len(data.numbers) > count:
            parts["synthetic"] = part(slice(count, len(data.numbers)), weights)
            parts["mixture"] = joined(parts["weighted"], parts["synthetic"])
        else:
            parts["mixture"] = parts["weighted"]
        if len(drawn):
            parts["selection"] = part(slice(len(data.numbers), None), None) if separate else parts["synthetic"]
        return parts

    def _span(self, base: Moments) -> Span:
        if self._space is not None:
            return self._space
        space = span(base.coverage)
        if self.engine.mode == "head":
            self._space = space
        return space

    def _whole(self, model: nn.Module, index: int) -> dict[str, float]:
        rng = np.random.default_rng([self.seed, _STREAM, index])
        found = estimate(self.engine, model, self._some_pairs(), _PROBES, _STEPS, rng)
        return {f"hessian_{name}": found[name] for name in _WHOLE}

    def _some_pairs(self) -> Sample:
        """Up to 64 base pairs, the same every round."""
        pool, targets = self.inputs.pool, self.targets
        some = np.sort(np.random.default_rng([self.seed, _STREAM]).permutation(len(pool.base))[:_PAIRS])
        said = (None if part is None else part[some] for part in (targets.agreement, targets.offsets))
        return Sample(self.inputs.numbers(pool.copies[some]), *said)


def _joined(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    return None if one is None or other is None else np.concatenate([one, other])


def _head(model: nn.Module) -> np.ndarray:
    """[d] float64 weight of the scalar head: margins are δ times it."""
    weight = model.theta if isinstance(model, LinearReward) else scalar_head(model).weight[0]
    return weight.detach().double().cpu().numpy()


def _spectra(parts: dict[str, Grouped], space: Span) -> dict[str, Spectrum]:
    """The spectrum of H, and where there is one of G, of each part; parts that are one object are one computation."""
    found: dict[str, Spectrum] = {}
    done: dict[int, str] = {}
    for part, rows in parts.items():
        same = done.setdefault(id(rows), part)
        if same != part:
            found |= {f"{matrix} {part}": found[f"{matrix} {same}"] for matrix in "hg" if f"{matrix} {same}" in found}
            continue
        found[f"h {part}"] = hessian_spectrum(rows, space)
        information = godambe_spectrum(rows, space)
        if information is not None:
            found[f"g {part}"] = information
    return found


def _summaries(found: dict[str, Spectrum]) -> dict[str, float]:
    """Columns of every spectrum; log-determinants are per direction, in nats."""
    columns: dict[str, float] = {}
    for name, spectrum in found.items():
        prefix = name.replace(" ", "_")
        columns |= {f"{prefix}_{summary}": getattr(spectrum, summary) for summary in _SUMMARIES}
        columns[f"{prefix}_logdet"] = spectrum.logdet / len(spectrum.values)
    for matrix in "hg":
        ends = [columns.get(f"{matrix}_{part}_logdet", math.nan) for part in ("mixture", "base")]
        columns[f"{matrix}_gain"] = ends[0] - ends[1]
    return columns


def _bound(parts: dict[str, Grouped], space: Span) -> dict[str, float]:
    """The paper's bound for the mixture that is trained on, beside the truth; yes and no are 1 and 0."""
    share = parts["synthetic"].weight / parts["mixture"].weight
    bound = mixture_bound(parts["weighted"], parts["synthetic"], share, space)
    columns = {f"bound_{name}": float(getattr(bound, name)) for name in _BOUND}
    if not math.isfinite(bound.factor):
        columns |= {"bound_gains": math.nan, "bound_holds": math.nan}
    if not math.isfinite(bound.truth):
        columns["bound_holds"] = math.nan
    return columns
