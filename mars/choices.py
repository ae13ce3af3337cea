"""What a config asks for by name, and what of it shapes a run: known before torch is loaded.

Arms are declared in `baselines.ARMS`, augmenters in `mars.augment.named`, datasets in the table below, all as
`"module:Name"`; others come from entry points of other packages (`mars.plugins`). A run's identity needs no more than
this module: its config as the arm has it, and the rows. So a sweep over finished runs ends in the time that composing
its configs takes.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from mars.augment.named import AUGMENTERS
from mars.config import ConfigError, build
from mars.method.settings import Plan, RoundsConfig, TrainConfig
from mars.method.wandb_logger import WandbConfig
from mars.plugins import find, resolve
from mars.pool.rows import PoolConfig
from mars.preferences import contamination
from mars.preferences.dataset import summary
from mars.preferences.pair import Preferences
from mars.reward.backbone import BackboneConfig

log = logging.getLogger(__name__)

SEEDS = 1000  # training seeds within a replicate: seed 1 of replicate 3 is 3001, and no other replicate has it

# "module:Name" of (settings dataclass, settings → Preferences)
DATASETS = {
    "planted": "mars.worlds.planted:DATASET",
    "gaussian": "mars.worlds.gaussian:DATASET",
    **dict.fromkeys(("hh_rlhf", "ultrafeedback", "pku_saferlhf", "files"), "mars.preferences.dataset:DATASET"),
}


def strategies() -> dict[str, str]:
    """Every arm of ours, by name."""
    return {arm.name: arm.target for arm in resolve("baselines:ARMS")}


@dataclass(frozen=True)
class Settings:
    """conf/config.yaml, checked; dataset, augmenter, semantic, method and benchmarks are built by their owners.

    downstream: {label: benchmark} that a run is judged by after `benchmark`.
    """

    dataset: dict[str, Any]
    backbone: BackboneConfig
    augmenter: dict[str, Any]
    pool: PoolConfig
    semantic: dict[str, Any]
    method: dict[str, Any]
    train: TrainConfig
    rounds: RoundsConfig
    benchmark: dict[str, Any]
    downstream: dict[str, dict[str, Any]]
    name: str
    study: str
    out: str | None
    seed: int
    replicate: int | None
    until: Literal["settled"] | None
    max_replicates: int
    look_every: int
    batch_size: int
    device: str
    threads: int | None
    cache: str
    save_model: bool
    curvature: bool | None
    deterministic: bool
    scale: str
    steps_may_differ: bool
    dry_run: bool
    force: bool
    debug: bool
    logger: Literal["terminal", "wandb"]
    wandb: WandbConfig | None
    checkpoint_minutes: float
    retry: Literal["failed"] | None
    workers: int | Literal["auto"]
    focus: str

    def __post_init__(self) -> None:
        for name in ("batch_size", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: must be at least 1, not {value}")
        if not self.checkpoint_minutes >= 0:
            raise ValueError(f"checkpoint_minutes: must be at least 0, not {self.checkpoint_minutes}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed: must be from 0 to 2**32 - 1, not {self.seed}")
        if self.replicate is not None and self.replicate < 0:
            raise ValueError(f"replicate: must be at least 0, not {self.replicate}")
        if not self.study.strip():
            raise ValueError("study: must name a directory")
        if not self.focus.strip():
            raise ValueError("focus: must name an arm")

    @property
    def plan(self) -> Plan:
        """How the run trains, whatever its arm chooses."""
        return Plan(self.rounds, self.train, self.batch_size, self.seed)


def effective(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` as the arm has it: its own augmenter or semantic layer in the place of the study's.

    An arm that draws nothing has neither, so that its runs do not need the pool's models and do not differ by them.
    Seeds are those of the replicate, which is then said no more: what is left is the run, however it was asked for.
    """
    own = {key: value for key, value in config["method"].items() if key in ("augmenter", "semantic")}
    method = {key: value for key, value in config["method"].items() if key not in own}
    strategy = find("strategies", strategies(), method.get("name", ""), "method.name")
    if not getattr(strategy, "draws", True):
        own = {"augmenter": {"name": "none"}, "semantic": {"name": "off"}, "pool": {}}
    return _drawn_anew({**config, **own, "method": method})


def _drawn_anew(config: dict[str, Any]) -> dict[str, Any]:
    """`config` with every seed moved by its replicate, if it names one, so that no two replicates share a draw."""
    replicate = config.pop("replicate", None)
    if replicate is None or isinstance(replicate, bool) or not isinstance(replicate, int) or replicate < 0:
        return {**config, "replicate": replicate}  # where it is no replicate, the check of the settings says so
    if not 0 <= config["seed"] < SEEDS:
        raise ConfigError(f"seed: with replicate={replicate} it must be below {SEEDS}, not {config['seed']}")
    groups = drawn_anew({name: config[name] for name in ("dataset", "augmenter")}, replicate)
    rounds = {**config["rounds"], "warmup_seed": config["rounds"]["warmup_seed"] + replicate}
    return {**config, **groups, "rounds": rounds, "seed": config["seed"] + SEEDS * replicate, "replicate": None}


def drawn_anew(groups: Mapping[str, Mapping[str, Any]], replicate: int) -> dict[str, dict[str, Any]]:
    """Config groups, the seed of each that has one moved by the replicate."""
    return {
        name: {**group, "seed": group["seed"] + replicate} if "seed" in group else dict(group)
        for name, group in groups.items()
    }


def check_replicate(replicate: int | None, preferences: Preferences) -> None:
    """Raises ConfigError where another replicate would draw the very same base pairs, all there are."""
    subset = preferences.report.get("subset")
    if replicate is None or subset is None:  # a generated world has as many pairs as are asked for
        return
    asked, found = subset["size_requested"], subset["size"]
    if asked is None or found < asked:
        wanted = "dataset.size is null" if asked is None else f"dataset.size={asked} asks for more than there are"
        raise ConfigError(
            f"replicate: {wanted}, so every replicate would train on the same {found} base pairs "
            f"(set dataset.size to at most half of them)"
        )


def shaping(config: Any) -> Any:
    """`config` less augmenter settings that cannot change a variant: an endpoint's address, patience, prices."""
    if not isinstance(config, Mapping):
        return config
    known = AUGMENTERS.get(config.get("name", "") if isinstance(config.get("name", ""), str) else "")
    left_out = getattr(resolve(known)[0], "without_effect", ()) if known else ()
    return {key: shaping(value) for key, value in config.items() if key not in left_out}


def read(dataset: Mapping[str, Any]) -> Preferences:
    """The dataset's rows, which name a run; the runs of a sweep read them once. Raises UserError."""
    return _read(json.dumps(dataset, sort_keys=True))


def load(dataset: Mapping[str, Any]) -> Preferences:
    """The dataset, with what it was found to hold in its report; the runs of a sweep look once. Raises UserError."""
    return _load(json.dumps(dataset, sort_keys=True))


@functools.lru_cache(maxsize=1)
def _read(dataset: str) -> Preferences:
    settings = json.loads(dataset)
    config_type, reader = find("datasets", DATASETS, settings.get("name", ""), "dataset.name")
    return reader(build(config_type, settings, "dataset"))


@functools.lru_cache(maxsize=1)
def _load(dataset: str) -> Preferences:
    preferences = _read(dataset)
    found = preferences.report.get("contamination")
    if found is None:
        found = contamination.between(preferences.base, preferences.validation, preferences.tests)
        preferences = replace(preferences, report={**preferences.report, "contamination": found})
    for line in [*summary(preferences.report), *contamination.summary(found)]:
        log.info("%s: %s", preferences.name, line)
    return preferences
