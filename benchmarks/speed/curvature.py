"""What curvature costs: a million pairs from a file, one round of a run, and one allocation of `mars_fisher`.

    python -m benchmarks.speed curvature [--pairs 1000000] [--features 384]

The differences are single precision, of one distribution, in a file that is made first (4 bytes a number, in the
temporary folder) and then read as a memory map: A, C and coverage in one pass, once with every row a label of its own,
the most work for C, and once with four rows to a label. Peak memory is the process's resident set, the pages of the
file included (Linux). The sums are float64; beside them stands what single precision would save and cost. A round is
1,000 base pairs and 2,000 drawn rows: three parts' moments and spectra, and the bound.

On a busy machine the clock says little, and threads that wait for one another inflate what all cores spend:
OMP_NUM_THREADS=1 then shows the work.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from baselines.fisher import Fisher, greedy
from baselines.fisher import whitened as fisher_rows
from benchmarks.speed.clock import timed
from benchmarks.speed.machine import peak_mebibytes
from mars.method.training import few_threads
from mars.theory.bound import mixture_bound
from mars.theory.curvature import Spectrum, godambe_spectrum, hessian_spectrum, span
from mars.theory.moments import Moments, curvature_weight, grouped, joined, moments

_BLOCK = 10_000  # rows made at a time
_BASE, _DRAWN = 1000, 2000  # rows of a round


def write_differences(path: Path, pairs: int, features: int) -> np.ndarray:
    """A [pairs, features] float32 file, made in blocks, as a memory map; scales fall from 1.4 to 0.4."""
    rng = np.random.default_rng(0)
    scales = np.linspace(1.4, 0.4, features, dtype=np.float32)
    with path.open("wb") as file:
        for start in range(0, pairs, _BLOCK):
            rows = min(_BLOCK, pairs - start)
            file.write((rng.standard_normal((rows, features), dtype=np.float32) * scales).data)
    return np.memmap(path, np.float32, "r", shape=(pairs, features))


def large(differences: np.ndarray, theta: np.ndarray) -> None:
    """A, C, coverage and spectra of the whole file."""
    starts = range(0, len(differences), _BLOCK)
    margins, seconds = timed(lambda: np.concatenate([differences[at : at + _BLOCK] @ theta for at in starts]))
    print(f"margins: {seconds}")
    for rows in (1, 4):
        parents = np.arange(len(margins)) // rows
        found, seconds = timed(partial(moments, differences, margins, parents=parents))
        _, more = timed(partial(_spectra, found))
        print(f"{found.rows:,} rows, {found.labels:,} labels: A, C and coverage {seconds}; spectra {more}")
    print(f"peak memory {peak_mebibytes():,.0f} MiB")


def _spectra(found: Moments) -> tuple[Spectrum, Spectrum | None]:
    space = span(found.coverage)
    return hessian_spectrum(found, space), godambe_spectrum(found, space)


def single_precision(differences: np.ndarray, theta: np.ndarray) -> None:
    """How far A is off, of its largest entry, with scaled rows and products in float32 and float64 accumulation."""
    wide, narrow = (np.zeros((differences.shape[1],) * 2) for _ in range(2))
    seconds = {np.float64: 0.0, np.float32: 0.0}
    for start in range(0, len(differences), _BLOCK):
        block = differences[start : start + _BLOCK]
        root = np.sqrt(curvature_weight(block @ theta))[:, None]
        for total, kind in ((wide, np.float64), (narrow, np.float32)):
            began = time.process_time()
            scaled = block.astype(kind) * root.astype(kind)
            total += scaled.T @ scaled
            seconds[kind] += time.process_time() - began
    error = np.abs(narrow - wide).max() / np.abs(wide).max()
    print(
        f"A alone, all cores: float64 {seconds[np.float64]:.1f} s, float32 {seconds[np.float32]:.1f} s, {error:.0e} off"
    )


def a_round(differences: np.ndarray, theta: np.ndarray) -> None:
    """Base pairs, rows drawn from them with noise, and both: what `curvature=true` adds to a round."""
    rng = np.random.default_rng(1)
    base = np.array(differences[:_BASE], dtype=np.float64)
    parents = np.sort(rng.integers(0, len(base), _DRAWN))
    drawn = base[parents] + 0.3 * rng.normal(size=(_DRAWN, base.shape[1]))
    numbers = np.arange(len(base))
    space = span(base.T @ base)  # once a run where the encoder is frozen

    def measure() -> None:
        parts = grouped(base, base @ theta, numbers), grouped(drawn, drawn @ theta, parents)
        for part in (*parts, joined(*parts)):
            hessian_spectrum(part, space)
            godambe_spectrum(part, space)
        mixture_bound(*parts, _DRAWN / (_DRAWN + len(base)), space)

    with few_threads("head"):  # as `mars.method.observer` does
        _, seconds = timed(measure, repeats=9)
    print(f"a round of {len(base)} base pairs and {_DRAWN} drawn rows: {seconds}")
    budgets, seconds = timed(
        lambda: greedy(fisher_rows(base, base @ theta, Fisher.ridge), _DRAWN, np.random.default_rng(0)), repeats=3
    )
    print(f"mars_fisher's budgets for {len(base)} pairs and {budgets[0].sum()} draws: {seconds}")


def main(pairs: int = 1_000_000, features: int = 384) -> None:
    with tempfile.TemporaryDirectory() as folder:
        differences = write_differences(Path(folder) / "differences", pairs, features)
        theta = np.random.default_rng(2).normal(size=features) / np.sqrt(features)
        large(differences, theta)
        single_precision(differences, theta)
        a_round(differences, theta)
