"""The jobs of a sweep as Hydra hands them over: checked before the first, sorted out, and composed fast.

A setting of a group's choice goes to the jobs whose choice has it: of `method=uniform,mars method.tau=0,1,2` four jobs
are left, since `uniform` has no τ. A setting that no choice of the sweep has stays, and is the error it is. Jobs with
the same data and backbone follow each other, however they were asked for, so that a process reads the data once.

    prepare(sweeper, batch)               # a list of lists of overrides, changed in place
    with composed_once(sweeper): ...      # what launches jobs here composes each set of choices once
"""

from __future__ import annotations

import functools
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf

from mars.composition import composition, key_of, parse, setting, with_settings

log = logging.getLogger("mars.launch.sweep")  # among what a sweep shows

check_all = Sweeper.validate_batch_is_legal


def prepare(sweeper: Any, batch: list[list[str]]) -> None:
    """Takes out of `batch` what its choices lack, and then jobs that are there twice; composes each choice once.

    So an unknown choice, or a setting that no choice has, fails before the first run. Hydra composes all jobs, and
    again when their turn comes: of a thousand short runs that is a part worth saving.
    """
    batch[:] = map(list, batch)
    is_group = _groups(sweeper)
    _leave_out(sweeper, batch, is_group)
    _put_together(sweeper, batch)
    met: set[str] = set()
    few: list[Sequence[str]] = []
    for job in batch:
        choices = {override for override in job if is_group(key_of(override))}
        if not few or not met.issuperset(choices):
            few.append(job)
        met |= choices
    check_all(sweeper, few)


def _groups(sweeper: Any) -> Callable[[str], bool]:
    """Whether a key is a config group with choices."""
    options = sweeper.hydra_context.config_loader.get_group_options
    return functools.cache(lambda key: bool(options(key)))


def _leave_out(sweeper: Any, batch: list[list[str]], is_group: Callable[[str], bool]) -> None:
    """Settings that some choice of a swept group has and others lack are taken out of the jobs of these others."""
    for group in dict.fromkeys(key_of(one) for job in batch for one in job if is_group(key_of(one)) and "@" not in one):
        of_choice: dict[str, list[str]] = {}  # a job of each
        for job in batch:
            of_choice.setdefault(_choice(job, group), job)
        package = group.replace("/", ".") + "."
        keys = dict.fromkeys(key for job in batch for one in job if (key := setting(one)))
        settings = [key for key in keys if key.startswith(package)]
        if len(of_choice) < 2 or not settings:
            continue
        load = sweeper.hydra_context.config_loader.load_sweep_config
        configs = {}
        for choice, job in of_choice.items():
            try:
                configs[choice] = load(sweeper.config, [one for one in job if not one.startswith(package)])
            except HydraException:
                return  # an unknown choice, of which the check will tell
        before = len(batch)
        for key in settings:
            lacking = [choice for choice, config in configs.items() if not has(config, key)]
            if not lacking or len(lacking) == len(configs):
                continue
            for job in batch:
                if _choice(job, group) in lacking:
                    job[:] = [one for one in job if not one.startswith(f"{key}=")]
            batch[:] = [list(job) for job in dict.fromkeys(map(tuple, batch))]
            names = ", ".join(one.partition("=")[2] or "the default" for one in lacking)
            line = "%s: %s %s has no such setting and runs without it (%d jobs, not %d)"
            log.info(line, key, group, names, len(batch), before)


def _put_together(sweeper: Any, batch: list[list[str]]) -> None:
    """Jobs with the same data and backbone follow each other, in the order in which the sweep comes to these."""
    dataset = OmegaConf.to_container(sweeper.config.get("dataset", {}), resolve=False)
    dear = {"dataset", "labels", "replicate", "backbone", *re.findall(r"\$\{(\w+)\}", str(dataset))}
    numbers: dict[tuple[str, ...], int] = {}

    def number(job: Sequence[str]) -> int:
        loaded = tuple(one for one in job if key_of(one).partition(".")[0] in dear)
        return numbers.setdefault(loaded, len(numbers))

    batch.sort(key=number)


def _choice(job: Sequence[str], group: str) -> str:
    """The override of a job that chooses of `group`; "" where it leaves the default."""
    return next((one for one in reversed(job) if one.startswith(f"{group}=")), "")


def has(config: Any, key: str) -> bool:
    """Whether a config has a dotted key, whatever its value."""
    node = config
    for part in key.split("."):
        if not isinstance(node, DictConfig) or part not in node.keys():  # noqa: SIM118, `in` is False for null
            return False
        node = node._get_node(part)
    return True


def choices_with(key: str, choices: Sequence[str]) -> list[str]:
    """Those of a group's `choices` that have a setting, whose `key` begins with the group."""
    group = key.partition(".")[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files that do not say where they stand among their defaults
        return [choice for choice in choices if has(composition(f"{group}/{choice}"), key)]


@contextmanager
def composed_once(sweeper: Any) -> Iterator[None]:
    """Inside, jobs of the same choices share one composition: Hydra takes a tenth of a second for each."""
    loader, is_group = sweeper.hydra_context.config_loader, _groups(sweeper)
    load = loader.load_sweep_config
    made: dict[tuple[str, ...], DictConfig] = {}

    def load_sweep_config(master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        plain = [one for one in sweep_overrides if setting(one) and not is_group(key_of(one))]
        alike = tuple(one for one in sweep_overrides if one not in plain)
        if alike not in made:
            made[alike] = load(master_config, list(alike))
        config = with_settings(made[alike], parse(plain))
        config.hydra.overrides.task = list(sweep_overrides)
        return config

    loader.load_sweep_config = load_sweep_config
    try:
        yield
    finally:
        del loader.load_sweep_config
