"""Which rows of the map of regimes (docs/regimes.md) have labels as noisy as these, and what the map found there.

`regime_map.yaml` beside this file keeps what the map found. It is printed by

    python -m analysis.inference.regime_map outputs/regimes

A row fits where its share of flips and its share of labels that are wrong by small margins are both within what is
known of the data, or NEAR it. Where none does, the nearest by these two shares is named, and that it does not fit.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from analysis.inference.noise_evidence import Noise
from analysis.inference.noise_model import Estimate, wrong_by_margin
from analysis.inference.regimes import regimes
from analysis.study.arm_names import settings_of
from analysis.study.loading import load
from analysis.study.study import Study
from mars.worlds.gaussian import COMMON, GOLD, SCALES

KEPT = Path(__file__).with_name("regime_map.yaml")
STEERING = {"score=absolute tau=2.0": "mars absolute", "score=signed tau=2.0": "mars signed"}  # of a strategy: its name
NEAR = 0.02  # of labels
OUTCOMES = ("win", "tie", "loss")
_SD = GOLD * math.sqrt(float((SCALES[:COMMON] ** 2).mean()))  # of common pairs' gold margins, over worlds


class Row(NamedTuple):
    """A kind of labels of the map. by_margin: the share wrong by small margins. cells: {arm: {outcome: number}}."""

    labels: str
    flips: float
    by_margin: float
    cells: Mapping[str, Mapping[str, int]]


@functools.cache
def rows() -> tuple[Row, ...]:
    """The map as it is kept."""
    kept = yaml.safe_load(KEPT.read_text(encoding="utf-8"))["rows"]
    return tuple(
        Row(row["labels"], row["flips"], wrong_by_margin(None, row["temperature"] / _SD), row["cells"]) for row in kept
    )


def fitting(noise: Noise) -> tuple[list[Row], bool]:
    """(the rows whose labels are as noisy, True), or (the nearest, False) where none is. No row if nothing is known."""
    if math.isnan(noise.flips.hi):
        return [], False
    found = [row for row in rows() if _within(row.flips, noise.flips) and _within(row.by_margin, noise.by_margin)]
    if found:
        return found, True
    return [min(rows(), key=lambda row: _off(row.flips, noise.flips) + _off(row.by_margin, noise.by_margin))], False


def foretold(noise: Noise) -> str:
    """What the map says of data as noisy as these, in a sentence or two; empty where nothing is known of them."""
    found, within = fitting(noise)
    if not found:
        return ""
    names = _listed([row.labels for row in found])
    if len(found) == len(rows()):
        opening = "Every row of the map in docs/regimes.md fits, so that it foretells nothing that depends on the noise"
    elif within:
        rows_, are = ("row", "is") if len(found) == 1 else ("rows", "are")
        opening = f"Of the map in docs/regimes.md, the {rows_} {names} {'may be' if noise.unknown else are} as noisy"
    else:
        opening = f"No row of the map in docs/regimes.md has labels as noisy as these; the nearest is {names}"
    return f"{opening}: {'; '.join(_outcomes(found))}."


def _outcomes(found: Sequence[Row]) -> Iterator[str]:
    for arm in STEERING.values():
        won, tied, lost = (sum(row.cells[arm][outcome] for row in found) for outcome in OUTCOMES)
        yield f"{arm} was above uniform in {won} of its {won + tied + lost} cells and below in {lost}"


def _within(value: float, known: Estimate) -> bool:
    return known.lo - NEAR <= value <= known.hi + NEAR


def _off(value: float, known: Estimate) -> float:
    return max(known.lo - value, value - known.hi, 0.0)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def of_study(study: Study) -> list[dict[str, Any]]:
    """The rows to keep, of a study of regimes. Raises NothingToShow for a study of one cell."""
    table = regimes(study)
    found: dict[tuple[float, float], dict[str, dict[str, int]]] = {}
    for dataset, strategy, outcome in table[["dataset", "strategy", "outcome"]].itertuples(index=False):
        arm = STEERING.get(strategy.partition(" ")[2])
        if arm is None or outcome not in OUTCOMES:
            continue
        settings = settings_of(dataset)
        noise = float(settings.get("flip_rate", 0)), float(settings.get("temperature", 0))
        found.setdefault(noise, {}).setdefault(arm, dict.fromkeys(OUTCOMES, 0))[outcome] += 1
    order = sorted(found, key=lambda noise: (noise[0], -noise[1]))
    return [
        {"labels": _name(*noise), "flips": noise[0], "temperature": noise[1], "cells": found[noise]} for noise in order
    ]


def _name(flips: float, temperature: float) -> str:
    return f"flips {100 * flips:g} %" if flips else f"Bradley–Terry at T = {temperature:g}" if temperature else "clean"


if __name__ == "__main__":
    print(yaml.safe_dump({"rows": of_study(load(*sys.argv[1:]))}, allow_unicode=True, sort_keys=False))
