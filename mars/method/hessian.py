"""Curvature of a whole reward model, whose Hessian is far too large to write down: its trace and its extremes.

All of it rests on Hessian-vector products of the mean Bradley–Terry loss (Pearlmutter 1994). The trace is Hutchinson's
(1990), with the standard error of its probes; the extreme eigenvalues are Lanczos', with what is left open stated: the
residual of the Ritz pair, and what the random start may hide. `mars.theory.curvature` has the exact matrix of a linear
head.

An estimate costs `probes + steps + 2` products, each two to three training passes over the pairs, and the memory of
`steps` copies of the trainable parameters. Products are fp32, whose rounding is some 1e-5 of the largest eigenvalue; it
shows in the residual. Afterwards the model is as it was: weights, gradients, modes and the run's random numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from mars.config import UserError
from mars.reward.batching import micro_batches
from mars.reward.engine import Engine
from mars.reward.loss import Told, bradley_terry
from mars.reward.model import RewardModel
from mars.reward.scoring import evaluating

Product = Callable[[torch.Tensor], torch.Tensor]  # v [P] → Hv [P]

MISSED = 0.01  # probability that an extreme lies beyond its stated error, over the random start
_SHARE = 4  # of the token budget: the graph of two backward passes is four to five times that of one


class Sample(NamedTuple):
    """M pairs whose mean loss is looked at. numbers: [M, 2] of texts. agreement, offsets: [M] of the loss, or None.

    Both shape the Hessian of a model that is not linear: it has a term (σ(Δ) − p)·∇²Δ.
    """

    numbers: np.ndarray
    agreement: np.ndarray | None = None
    offsets: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Sample:
        """The pairs of these rows."""
        agreement, offsets = (None if part is None else part[rows] for part in self[1:])
        return Sample(self.numbers[rows], agreement, offsets)

    def told(self, device: torch.device) -> Told:
        """What their labels say, as the loss takes it."""
        said = (self.agreement, self.offsets)
        return Told(*(None if part is None else torch.as_tensor(part, dtype=torch.float32).to(device) for part in said))


def estimate(
    engine: Engine, model: nn.Module, pairs: Sample, probes: int, steps: int, rng: np.random.Generator
) -> dict[str, float]:
    """Curvature of the mean Bradley–Terry loss over M pairs, in the P trainable parameters.

    probes: random vectors of the trace, at least 2. steps: of Lanczos, cut to P. Keys: trace, trace_se, largest,
    largest_error, smallest, smallest_error (see `Extreme`), parameters (P), pairs (M). Raises ValueError for numbers it
    cannot do with, UserError where it does not fit the GPU's memory.
    """
    if not len(pairs.numbers):
        raise ValueError("pairs: there are none to take a Hessian of")
    size = sum(p.numel() for p in trainable(model))
    try:
        with twice_differentiable(model):
            product = hessian_product(engine, model, pairs)
            trace, trace_se = hutchinson(product, size, probes, rng, engine.device)
            largest, smallest = lanczos(product, size, steps, rng, engine.device)
    except torch.OutOfMemoryError:
        need = f"{steps} vectors of {size} numbers beside two backward passes"
        raise UserError(f"curvature: {need} do not fit the GPU's memory (lower train.token_budget?)") from None
    return {
        "trace": trace,
        "trace_se": trace_se,
        "largest": largest.value,
        "largest_error": largest.error,
        "smallest": smallest.value,
        "smallest_error": smallest.error,
        "parameters": size,
        "pairs": len(pairs.numbers),
    }


def products(probes: int, steps: int) -> int:
    """How many Hessian-vector products `estimate` takes: Hutchinson's, Lanczos', and one for each residual."""
    return probes + steps + 2


def foreseen_seconds(engine: Engine, model: nn.Module, pairs: Sample, probes: int, steps: int) -> float:
    """Seconds that `estimate` would take of M pairs, by a product over the pair of middling length.

    The second of two, since the first also warms what it runs on. Time is taken to grow with the tokens: on a GPU,
    which one pair does not fill, that is more than it will be. Raises as `estimate` does.
    """
    if not len(pairs.numbers):
        raise ValueError("pairs: there are none to take a Hessian of")
    longest = engine.inputs.lengths[pairs.numbers].max(axis=1)
    middle = np.argsort(longest, kind="stable")[len(longest) // 2]
    with twice_differentiable(model):
        product = hessian_product(engine, model, pairs.take(np.array([middle])))
        vector = torch.ones(sum(p.numel() for p in trainable(model)), device=engine.device)
        for _ in range(2):
            began = time.perf_counter()
            product(vector)[0].item()  # waits for a GPU
            spent = time.perf_counter() - began
    return spent * float(longest.sum() / longest[middle]) * products(probes, steps)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """What the Hessian is taken in: every parameter, or under LoRA the adapters and the head."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


@contextmanager
def twice_differentiable(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in eval mode and fp32, and attends by plain matrix products.

    The fused attention kernels have no second derivative, on a CPU or on a GPU, and flash attention takes no fp32.
    """
    with evaluating(model), torch.enable_grad():
        if not isinstance(model, RewardModel):
            yield
            return
        autocast, attention = model.autocast, model.model.config._attn_implementation
        try:
            model.autocast = None
            model.model.set_attn_implementation("eager")
            yield
        finally:
            model.autocast = autocast
            model.model.set_attn_implementation(attention)


def hessian_product(engine: Engine, model: nn.Module, pairs: Sample) -> Product:
    """v [P] → Hv [P], fp32 on the model's device; call it inside `twice_differentiable`.

    Micro-batches of a quarter of the engine's token budget, each freed before the next. `grad` fields are not touched.
    """
    parameters = trainable(model)
    count, longest = len(pairs.numbers), engine.inputs.lengths[pairs.numbers].max(axis=1)
    batches = [pairs.take(rows) for rows in micro_batches(np.arange(count), longest, engine.token_budget // _SHARE)]

    def product(vector: torch.Tensor) -> torch.Tensor:
        parts = [v.view_as(p) for v, p in zip(vector.split([p.numel() for p in parameters]), parameters, strict=True)]
        result = torch.zeros_like(vector)
        for batch in batches:
            chosen, rejected = model(**engine.inputs.batch(batch.numbers.T.ravel())).chunk(2)
            loss = bradley_terry(chosen, rejected, told=batch.told(engine.device)) / count
            gradients = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
            slope = sum((g * v).sum() for g, v in zip(gradients, parts, strict=True))
            second = torch.autograd.grad(slope, parameters, materialize_grads=True)
            result += torch.cat([part.ravel() for part in second])
        return result

    return product


def hutchinson(
    product: Product, size: int, probes: int, rng: np.random.Generator, device: torch.device
) -> tuple[float, float]:
    """(trace, standard error): mean of vᵀHv over `probes` vectors of random signs, whose off-diagonal terms cancel.

    Hutchinson 1990. Raises ValueError for fewer than two probes, which say nothing of their spread.
    """
    if probes < 2:
        raise ValueError(f"probes: {probes} give no standard error (use at least 2)")
    found = np.empty(probes)
    generator = _generator(rng)
    for i in range(probes):
        signs = (torch.randint(0, 2, (size,), generator=generator).float() * 2 - 1).to(device)
        found[i] = (signs.double() @ product(signs).double()).item()
    return float(found.mean()), float(found.std(ddof=1) / math.sqrt(probes))


@dataclass(frozen=True)
class Extreme:
    """An eigenvalue at one end of the spectrum: within `error` of `value`, except with probability `MISSED`.

    residual: ‖Hy − value·y‖ of its unit Ritz vector y; some eigenvalue lies this near. hidden: how much farther out the
    end of the spectrum can lie, unless the random start was nearly orthogonal to it.
    """

    value: float
    residual: float
    hidden: float

    @property
    def error(self) -> float:
        """How far from `value` the end of the spectrum may lie, except with probability `MISSED`."""
        return self.residual + self.hidden


def lanczos(
    product: Product, size: int, steps: int, rng: np.random.Generator, device: torch.device
) -> tuple[Extreme, Extreme]:
    """(largest, smallest) eigenvalue after `steps` products from a random start, and one more each for its residual.

    Each new vector is orthogonalised twice against all before it, so that no eigenvalue comes back as its own ghost.
    Raises ValueError for no step.
    """
    if steps < 1:
        raise ValueError(f"steps: must be at least 1, not {steps}")
    steps = min(steps, size)
    basis = torch.empty(steps, size, device=device)
    vector = torch.randn(size, generator=_generator(rng)).to(device)
    diagonal, off = [], []
    for k in range(steps):
        basis[k] = vector / vector.norm()
        vector = product(basis[k])
        diagonal.append(torch.dot(basis[k], vector).item())
        for _ in range(2):
            vector = vector - basis[: k + 1].T @ (basis[: k + 1] @ vector)
        off.append(vector.norm().item())
        if off[-1] <= torch.finfo(vector.dtype).eps * max(map(abs, diagonal)):  # the start spans no more
            break
    values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off[:-1], 1) + np.diag(off[:-1], -1))
    extremes = []
    for end, sign in ((-1, 1.0), (0, -1.0)):
        ritz = torch.from_numpy(vectors[:, end]).float().to(device) @ basis[: len(diagonal)]
        ritz = ritz / ritz.norm()
        residual = (product(ritz).double() - values[end] * ritz.double()).norm().item()
        extremes.append(Extreme(float(values[end]), residual, _hidden(sign * values, off, size)))
    return extremes[0], extremes[1]


def _hidden(values: np.ndarray, off: list[float], size: int) -> float:
    """How far above max(values) the largest eigenvalue may lie, but with probability `MISSED`.

    The Lanczos polynomial p(x) = Π(x − value_i) takes the start q to length ‖p(H)q‖ = Π off_i, and that is at least
    |p(λ)|·|c| for any eigenvalue λ with c the start's share in it. A random start has |c| below MISSED·√(π/2P) with
    probability MISSED at most, and p grows beyond its last root: solve p(x) = Π off_i / |c| there (van Dorsselaer,
    Hochstenbach & van der Vorst 2000).
    """
    if min(off) == 0.0:
        return 0.0
    bound = np.log(off).sum() - math.log(MISSED * math.sqrt(math.pi / (2 * size)))
    top = values.max()
    low, high = 0.0, math.exp(bound / len(values))  # every factor is at least x − top
    for _ in range(200):
        middle = (low + high) / 2
        if np.log(middle + (top - values)).sum() < bound:
            low = middle
        else:
            high = middle
    return high


def _generator(rng: np.random.Generator) -> torch.Generator:
    """Of its own and on the CPU: the run's generators stay where they are, and devices share their vectors."""
    return torch.Generator().manual_seed(int(rng.integers(2**63)))
