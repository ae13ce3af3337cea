"""What a run's arm is called: its method, and where a method ran with several settings, what tells them apart.

Data are called likewise: a dataset that a study has in several settings (label noise, rare pairs, size) is several, and
arms are compared within one of them only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.study.arm_names import method_of
from baselines import ARMS
from mars.choices import SEEDS
from mars.config import WITHOUT_EFFECT, UserError

_ORDER = {arm.name: place for place, arm in enumerate(ARMS)} | {ARMS[-1].name: len(ARMS)}  # room for others before MARS
_NOT_SETTINGS = WITHOUT_EFFECT | {"seed", "hydra"}  # top-level keys of a config that make no arm
_DATA = {f"dataset.{key}" for key in ("seed", "path", "train", "test")}  # the manifest's digests tell rows apart
_OF_A_NOISE = {"dataset.flip_rate": "flip", "dataset.temperature": "bradley_terry"}  # by dataset.noise, where there is


def datasets(ids: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each run's dataset, and where runs of it differ in its settings, those: `gaussian flip_rate=0.25 noise=flip`.

    Not by what draws or finds rows (seed, path, files), nor by a setting that the label noise leaves without effect. A
    setting that a run did not record makes no difference.
    """
    named = list(ids)
    for dataset in dict.fromkeys(ids):
        own = [row for row, other in enumerate(ids) if other == dataset]
        values: dict[str, set[str]] = {}
        for row in own:
            known = _of_data(configs[row])
            for key, value in configs[row].items():
                if key in known or key in _OF_A_NOISE:  # without effect here is another value than any
                    values.setdefault(key, set()).add(repr(value) if key in known else "")
        telling = sorted(_choices({key for key, found in values.items() if len(found) > 1}))
        for row in own:
            known = _of_data(configs[row])
            told = [f"{key.removeprefix('dataset.')}={text(configs[row][key])}" for key in telling if key in known]
            named[row] = " ".join([dataset, *told])
    return named


def _of_data(config: Mapping[str, Any]) -> set[str]:
    """The settings of a flat config that shape its data."""
    noise = config.get("dataset.noise")
    return {
        key
        for key in config
        if key.startswith("dataset.") and key != "dataset.name" and key not in _DATA
        if noise is None or _OF_A_NOISE.get(key, noise) == noise
    }


def as_asked(config: Mapping[str, Any], replicate: int | None) -> dict[str, Any]:
    """A run's flat `config` with the seeds that its replicate moved as they were asked for: they make no arm."""
    moved = {key: config[key] for key in ("augmenter.seed", "rounds.warmup_seed") if isinstance(config.get(key), int)}
    return {**config, **{key: seed - (replicate or 0) for key, seed in moved.items()}}


def replicates(runs: pd.DataFrame) -> list[int]:
    """The replicate of each run: one fresh draw of all that is random and not the arm, which the arms share.

    Where no run of a dataset × backbone states one, base pairs are one draw for all, or are drawn by the training seed,
    and a seed is a replicate. A run that was made as no replicate may be one: its seed says which.
    """
    stated = runs["replicate"].notna() if "replicate" in runs else pd.Series(False, runs.index)
    of_group = stated.groupby([runs["dataset"], runs["backbone"]]).transform("any")
    return list(runs["seed"].where(~of_group, runs["seed"] // SEEDS))


def arms(runs: pd.DataFrame, configs: list[dict[str, Any]]) -> list[str]:
    """The method, and where a method ran with several settings, the settings its runs differ in.

    Raises UserError when they differ in none that could tell them apart.
    """
    named = list(runs["method"])
    for _, same_method in runs.groupby(["dataset", "backbone", "method"]):
        telling = _telling([configs[row] for row in same_method.index], list(same_method["seed"]))
        for row in same_method.index:
            settings = [f"{short(key)}={text(configs[row][key])}" for key in telling if key in configs[row]]
            named[row] = " ".join([named[row], *settings])
    twice = runs.assign(arm=named).duplicated(["dataset", "backbone", "arm", "seed"], keep=False)
    if twice.any():
        first, second = runs.loc[twice, "run"].iloc[:2]
        raise UserError(f"study: {first} and {second} are the same arm and seed (move one out of the study)")
    return named


def _telling(configs: Sequence[dict[str, Any]], seeds: Sequence[int]) -> list[str]:
    """The settings that tell flat configs apart.

    The settings that come with a choice are named only where runs of one choice and seed differ in them.
    """
    told: set[str] = set()
    alike = [list(configs)]
    while more := {key for group in alike for key in _choices(differing(group))}:
        told |= more
        groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for config, seed in zip(configs, seeds, strict=True):
            groups.setdefault((seed, *(repr(config.get(key)) for key in sorted(told))), []).append(config)
        alike = list(groups.values())
    return sorted(told)


def _choices(varying: set[str]) -> set[str]:
    """Less what is under a choice that differs: `semantic.name` stands for `semantic.*`, `train.mode` for `train.*`."""
    chosen = {parent for key in varying for parent, _, last in [key.rpartition(".")] if last in ("name", "mode")}

    def comes_with(key: str) -> bool:
        parent, _, last = key.rpartition(".")
        return any(key.startswith(f"{p}.") and not (p == parent and last in ("name", "mode")) for p in chosen)

    return {key for key in varying if not comes_with(key)}


def differing(configs: Sequence[Mapping[str, Any]]) -> set[str]:
    """The settings in which flat configs are not all alike."""
    keys = {key for config in configs for key in settings(config)}
    return {key for key in keys if len({repr(config.get(key)) for config in configs}) > 1}


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Of a flat config what can make an arm: all but seeds, places and what cannot change a result."""
    return {key: value for key, value in config.items() if key.split(".")[0] not in _NOT_SETTINGS and key not in _DATA}


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves


def short(key: str) -> str:
    """A setting as an arm's name has it."""
    return key.removeprefix("method.").removesuffix(".name")


def text(value: Any) -> str:
    """A setting's value as a config writes it, but none for null."""
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def place(arm: str) -> tuple[Any, ...]:
    """Where an arm stands: by its method, then by its settings."""
    return _ORDER.get(method_of(arm), len(ARMS) - 1), _by_number(arm)


def place_of_data(dataset: str) -> tuple[Any, ...]:
    """Where a dataset stands: by its name, then by its settings, so that size=200 comes before size=1600."""
    return tuple(_by_number(dataset))


def first_few(names: Sequence[str]) -> str:
    """Three names, and how many more there are."""
    return ", ".join([*names[:3], *([f"{len(names) - 3} more"] if len(names) > 3 else [])])


def _by_number(name: str) -> list[tuple[Any, ...]]:
    """The words of a name with settings to sort by: values that are numbers as numbers, and before words."""
    words = []
    for word in name.split():
        key, _, value = word.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        words.append((key, 0, number, value) if math.isfinite(number) else (key, 1, 0.0, value))
    return words
