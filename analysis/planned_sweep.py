"""What an experiment would run, told without running it: runs a replicate, and the comparisons it will be judged by.

asked(["experiment=settle", "method=none_matched,uniform,mars"]).comparisons  # 2
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.inference.comparisons import AGAINST
from analysis.study.arm_names import method_of, settings_of
from analysis.study.naming import flat, short, text
from analysis.study.run_costs import read_pairs
from analysis.study.study import REFERENCE
from mars.cli import composed, swept
from mars.config import UserError

_ANEW = ("replicate", "seed")  # sweep axes that make no arm
_OF_DATA = ("dataset", "labels", "backbone")  # and those that make a group of its own


@dataclass(frozen=True)
class Asked:
    """An experiment's sweep.

    first: overrides that sweep over its first replicate alone, all seeds of it.
    arms, groups, seeds: runs a replicate are their product. comparisons: of arms in focus, over all groups.
    test_pairs: of a split; base_pairs: of a replicate; None where it takes all there are. read: base and validation
    pairs.
    """

    first: tuple[str, ...]
    name: str
    dataset: str
    backbone: str
    train: str
    arms: int
    groups: int
    seeds: int
    comparisons: int
    test_pairs: int | None
    base_pairs: int | None
    read: int

    @property
    def runs(self) -> int:
        """Of a replicate."""
        return self.arms * self.groups * self.seeds


def asked(overrides: Sequence[str]) -> Asked:
    """The sweep of `overrides`, as `mars.run` takes them. Raises UserError where nothing in it would be compared."""
    config, axes = swept("config", overrides)
    choices, focus = choices_of(config, axes), config["focus"]
    methods = [settings["name"] for settings in choices.values()]
    ours = [choice for choice, settings in choices.items() if is_of(focus, settings)]
    groups = _product(values for key, values in axes.items() if _is_of_data(key))
    others = {key: values for key, values in axes.items() if key not in _ANEW and not _is_of_data(key)}
    settings = _product(values for key, values in others.items() if key != "method")
    method = method_of(focus)
    against = (set(AGAINST) | {REFERENCE}) & set(methods) - {method}
    siblings = methods.count(method) - len(ours)
    comparisons = groups * settings * len(ours) * (len(against) + siblings)
    if not comparisons:
        raise UserError(
            f"experiment: it compares nothing: {focus} has to run beside another declared arm, and its arms are "
            f"{', '.join(dict.fromkeys(methods))} (give method={REFERENCE},{method} or more, or another experiment)"
        )
    return Asked(
        first=tuple(_first(overrides, axes)),
        name=config["name"],
        dataset=config["dataset"]["name"],
        backbone=config["backbone"]["name"],
        train=config["train"]["mode"],
        arms=len(methods) * settings,
        groups=groups,
        seeds=len(axes["seed"]) if "replicate" in axes and "seed" in axes else 1,
        comparisons=comparisons,
        test_pairs=config["dataset"].get("test_size"),
        base_pairs=config["dataset"].get("size"),
        read=read_pairs(flat(config)),
    )


def choices_of(config: Mapping[str, Any], axes: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """{choice of `method`: its settings as text, by the names that an arm's name has}, without those swept over.

    config, axes: of `mars.cli.swept`.
    """
    found = {}
    for choice in axes.get("method", [config["method"]["name"]]):
        method = composed("config", [f"method={choice}"])["method"] if "method" in axes else config["method"]
        settings = flat({"method": {key: value for key, value in method.items() if f"method.{key}" not in axes}})
        found[choice] = {short(key): text(value) for key, value in settings.items()}
    return found


def is_of(arm: str, settings: Mapping[str, str]) -> bool:
    """Whether a choice of `method` with these settings may have made the arm, by what the arm's name says."""
    named = settings_of(arm).items()
    return settings["name"] == method_of(arm) and all(settings.get(key, value) == value for key, value in named)


def _first(overrides: Sequence[str], axes: Mapping[str, Sequence[str]]) -> list[str]:
    key = next((key for key in _ANEW if key in axes), "replicate")
    kept = [one for one in overrides if not one.startswith(f"{key}=")]
    return [*kept, f"{key}={axes.get(key, ['0'])[0]}"]


def _is_of_data(key: str) -> bool:
    return key.split(".")[0].split("@")[0] in _OF_DATA and key != "dataset.seed"


def _product(axes: Iterable[Sequence[str]]) -> int:
    return math.prod(len(values) for values in axes)
