"""The edge to Hydra: a config in, a function called, and one clear line for a user's mistake.

Hydra's own composition errors are long and name a class path; here they become `config key: what is wrong (did you mean
…)`. `debug=true` brings the traceback back. Exit code 1 for a mistake, 130 for Ctrl-C, 75 for a run that was asked to
stop (`mars.process.stopping`).
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from mars.composition import composition, parse
from mars.launch.launching import Asked, sweeps
from mars.launch.ray import RayLauncher
from mars.launch.sweep import Outcome, Terminal, log_to, show
from mars.launch.tasks import Task
from mars.mistakes import MISTAKES, is_mistake, one_line
from mars.process import ranks, reader, telemetry
from mars.process.stopping import EXIT_CODE, Stopped

_SWEEPS = ("-m", "--multirun")  # may stand anywhere


# Hydra takes launchers of its plugins' package alone, and asks here what their names stand for.
Plugins.instance().class_name_to_class["hydra_plugins.mars.RayLauncher"] = RayLauncher


def command(
    config_name: str,
    function: Callable[[dict[str, Any]], object],
    after_interrupt: str = "",
    in_sweep: str | None = None,
) -> Callable[[], None]:
    """A command line: composes conf/`config_name`.yaml with the overrides and calls `function` with plain data.

    after_interrupt: what to tell who stops it: what is kept, what the same command would do. in_sweep: the address of
    what is called in the place of `function`, as `Task.carry_out` does, where jobs go through a study's ledger.
    """
    failures: list[str] = []
    began = time.time()
    by_ledger = None if _asked("debug", "dry_run") else in_sweep  # here: a launcher's worker has other arguments

    @hydra.main(version_base="1.3", config_path="pkg://conf", config_name=config_name)
    def job(cfg: DictConfig) -> Outcome | None:
        in_ledger = by_ledger if HydraConfig.get().mode == RunMode.MULTIRUN else None
        log_to(Terminal() if in_ledger else logging.StreamHandler())
        try:
            config: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
            if in_ledger:
                outcome = Task(0, config, task_overrides(), began, in_ledger).carry_out()
                show(outcome)
                return outcome
            with reader.may_leave():
                function(config)
        except MISTAKES as error:
            if in_ledger or cfg.get("debug") or not _in_this_process():
                raise
            failures.append(one_line(error, config_name))  # the other jobs of a sweep go on
        return None

    def main() -> None:
        sys.argv[1:] = sorted(sys.argv[1:], key=lambda one: one not in _SWEEPS)  # argparse wants them in one place
        telemetry.turn_off()
        atexit.register(gc.freeze)  # or the interpreter's last collection looks for cycles in all of torch, for 0.6 s
        os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions through: `one_line` words them
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        with _worded(config_name, after_interrupt, failures), sweeps(Asked(config_name, by_ledger, began), failures):
            job()
        if failures:
            counted = Counter(failures)
            end("\n".join(f"error: {line}" + (f" ({n} jobs)" if n > 1 else "") for line, n in counted.items()), 1)

    return main


@contextmanager
def _worded(config_name: str, after_interrupt: str, failures: list[str]) -> Iterator[None]:
    """Inside, a mistake is a line more of `failures`, and who stops the command is told `after_interrupt`."""
    try:
        with reader.may_leave():
            yield
    except Stopped:
        end("; ".join(filter(None, ("stopped as asked", after_interrupt))), EXIT_CODE)
    except (KeyboardInterrupt, ValueError, *MISTAKES) as error:
        if _asked("debug"):
            raise
        if isinstance(error, KeyboardInterrupt):
            end("; ".join(filter(None, ("interrupted", after_interrupt))), 130)
        if not is_mistake(error):
            raise
        failures.append(one_line(error, config_name))


def end(line: str, code: int) -> NoReturn:
    """Says why and ends the process."""
    ranks.say_last(line, code)
    sys.exit(code)


def _asked(*keys: str) -> bool:
    """Whether one of these settings is true on the command line."""
    return any(argument.lower() == f"{key}=true" for argument in sys.argv[1:] for key in keys)


def _in_this_process() -> bool:
    """Whether Hydra runs its jobs here, rather than handing them to a cluster that must see them fail."""
    return str(HydraConfig.get().launcher._target_).endswith("BasicLauncher")


def composed(config_name: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """conf/`config_name`.yaml with `overrides`, resolved to plain data, for what is no command of its own."""
    return OmegaConf.to_container(composition(config_name, overrides), resolve=True)  # type: ignore[return-value]


def swept(config_name: str, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """What `-m` would run: the config of the first job, resolved, and {key: its values as text} of the sweep.

    Of the keys in hydra.sweeper.params and in `overrides`, which win; a key with one value is there as well.
    """
    given = {one.get_key_element(): _values(one) for one in parse(list(overrides))}
    first = [f"{key}={values[0]}" for key, values in given.items()]
    cfg = composition(config_name, first, with_hydra=True)
    params = OmegaConf.to_container(cfg.hydra.sweeper, resolve=True).get("params") or {}  # type: ignore[union-attr]
    with open_dict(cfg):
        del cfg["hydra"]
    of_config = parse([f"{key}={value}" for key, value in params.items()])
    axes = {one.get_key_element(): _values(one) for one in of_config} | given
    return OmegaConf.to_container(cfg, resolve=True), axes  # type: ignore[return-value]


def _values(override: Override) -> list[str]:
    """The values that an override asks for, one or a sweep's."""
    if override.is_sweep_override():
        return [str(value) for value in override.sweep_string_iterator()]
    return [str(override.get_value_element_as_str())]


def task_overrides() -> list[str]:
    """The overrides this job was started with, for the record."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
