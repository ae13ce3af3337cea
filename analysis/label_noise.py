"""How many labels are wrong, and where: flips whatever the margin, or mostly at small gold margins (Bradley–Terry).

    python -m analysis.label_noise study=outputs/settle
    python -m analysis.label_noise dataset=files dataset.train=testset-v1.json.gz dataset.schema=pandalm
    python -m analysis.label_noise dataset=gaussian labels=flip10 out=noise.csv

A study gives the labels of its main test split and the margins of models that saw base pairs alone; a dataset gives
gold margins or votes, of all its pairs with noisy labels. What cannot be known from them is said, not guessed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.exhibits.table import csv_text
from analysis.inference.label_noise import of_study
from analysis.inference.noise_evidence import CLEAN, FEWEST, FLIPS, MIXED, SMALL, UNKNOWN, Known, Noise, flat, noise_of
from analysis.inference.noise_model import Estimate
from analysis.inference.regime_map import foretold
from analysis.study.loading import load
from analysis.study.study import NothingToShow
from mars.choices import read
from mars.config import UserError, build
from mars.files import as_json, write_text
from mars.preferences.pair import Preferences


@dataclass(frozen=True)
class LabelNoiseConfig:
    """conf/label_noise.yaml, checked."""

    study: str | list[str] | None = None
    dataset: dict[str, Any] | None = None
    annotators: int | None = None
    out: str | None = None
    scale: str = "full"
    debug: bool = False

    def __post_init__(self) -> None:
        if bool(self.sources) == (self.dataset is not None):
            raise ValueError("study: give a study or a dataset, one of the two (study=DIR, or dataset=NAME …)")
        if self.annotators is not None and self.annotators < 2:
            raise ValueError(f"annotators: must be at least 2, not {self.annotators}")
        if self.annotators is not None and self.dataset is None:
            raise ValueError("annotators: goes with a dataset (a study's are the fewest that its shares allow)")
        if self.out is not None and Path(self.out).suffix not in (".csv", ".json"):
            raise ValueError(f"out: {self.out} is neither a .csv nor a .json file")

    @property
    def sources(self) -> list[str]:
        return [self.study] if isinstance(self.study, str) else self.study or []


_SAID = {
    FLIPS: "labels are turned round whatever the margin",
    SMALL: "wrong labels gather at small margins",
    MIXED: "labels are turned round whatever the margin, and more of them are wrong at small margins",
    CLEAN: "next to no label is wrong",
    UNKNOWN: "which labels are wrong cannot be known from this",
}


def sentences(noise: Noise) -> list[str]:
    """What is known, what is not, and what the map of regimes foretells."""
    said = [f"By {noise.evidence} ({noise.pairs:,} pairs), {_SAID[noise.kind]}: {_numbers(noise)}."]
    if noise.unknown:
        said.append(f"Not known: {noise.unknown}.")
    return [*said, *filter(None, [foretold(noise)])]


def _numbers(noise: Noise) -> str:
    parts = []
    if not math.isnan(noise.flips.hi):
        parts.append(f"flips {_share(noise.flips)}")
    if not math.isnan(noise.temperature.hi):
        parts.append(f"T {_interval(noise.temperature, '.2f')} in units of the gold margin")
    if not math.isnan(noise.by_margin.hi) and not math.isnan(noise.by_margin.value):
        parts.append(f"wrong by small margins {_share(noise.by_margin)}")
    if not math.isnan(noise.wrong.hi):
        what = (
            "votes that differ from what most people would say" if noise.votes > 1 else "labels that are wrong in all"
        )
        parts.append(f"{what} {_share(noise.wrong)}")
    if not math.isnan(noise.model_wrong.value):
        parts.append(f"pairs that the model ranks wrong {_share(noise.model_wrong)}")
    return "; ".join(parts) or noise.unknown


def _share(known: Estimate) -> str:
    return f"{_interval(Estimate(*(100 * value for value in known)), '.1f')} %"


def _interval(known: Estimate, spec: str) -> str:
    """`1.0 [0.5, 1.4]`, `at most 1.4` or `0.5 to 1.4`."""
    value, lo, hi = (format(number, spec).replace("inf", "∞") for number in known)
    if not math.isnan(known.value):
        return f"{value} [{lo}, {hi}]"
    return f"{lo} to {hi}" if known.lo > 0 else f"at most {hi}"


def of_dataset(preferences: Preferences, annotators: int | None = None) -> list[Noise]:
    """What the labels of a dataset say by themselves: of base and validation pairs, and those of its main test split.

    Raises UserError where they say nothing.
    """
    pairs = [*preferences.base, *preferences.validation, *next(iter(preferences.tests.values()), ())]
    gold = np.array([math.nan if pair.gold_margin is None else pair.gold_margin for pair in pairs])
    agreement = np.array([pair.agreement for pair in pairs])
    found = noise_of(Known(np.full(len(pairs), math.nan), gold, agreement), annotators)
    if not found:
        raise UserError(
            f"dataset: the label noise of {preferences.name} cannot be known from its labels: it has neither gold "
            f"margins nor several people's votes on {FEWEST} pairs or more (for bounds train on it, and give study=DIR)"
        )
    return found


def _of_sources(sources: Sequence[str]) -> list[tuple[str, list[Noise]]]:
    try:
        return [(f"{found.dataset} / {found.backbone}", found.noises) for found in of_study(load(*sources))]
    except NothingToShow as error:
        raise UserError(f"study: the label noise cannot be known from {', '.join(sources)}: {error}") from None


def run(cfg: Mapping[str, Any]) -> None:
    """The command: `cfg` is conf/label_noise.yaml, resolved."""
    settings = build(LabelNoiseConfig, {key: value for key, value in cfg.items() if key != "labels"}, "")
    if settings.dataset is not None:
        preferences = read(settings.dataset)
        groups = [(preferences.name, of_dataset(preferences, settings.annotators))]
    else:
        groups = _of_sources(settings.sources)
    for title, noises in groups:
        print("\n".join([title, *(f"  {line}" for noise in noises for line in sentences(noise))]))
    if settings.out:
        table = pd.DataFrame([{"data": title, **flat(noise)} for title, noises in groups for noise in noises])
        as_text = csv_text(table)
        if settings.out.endswith(".json"):
            as_text = json.dumps(as_json(table.to_dict("records")), indent=2, ensure_ascii=False) + "\n"
        write_text(Path(settings.out), as_text)
        print(settings.out)


def main() -> None:
    from mars.cli import command

    command("label_noise", run)()


if __name__ == "__main__":
    main()
