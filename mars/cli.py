"""The edge to Hydra: a config in, a function called, and one clear line for a user's mistake.

Hydra's own composition errors are long and name a class path; here they become `config key: what is wrong (did you mean
…)`. `debug=true` brings the traceback back. Exit code 1 for a mistake, 130 for Ctrl-C, 75 for a run that was asked to
stop (`mars.stopping`).
"""

from __future__ import annotations

import copy
import functools
import logging
import os
import re
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from mars import files, jobs, telemetry
from mars.config import UserError, nearest
from mars.plugins import declared
from mars.record.ledger import job_of
from mars.stopping import EXIT_CODE, Stopped
from mars.sweep import FAILED, PACKAGES, Outcome, Sweep, Terminal

# `${scaled:FULL,TINY}` in a config: what stands there at full size, and what under scale=tiny.
OmegaConf.register_new_resolver(
    "scaled", lambda full, tiny, *, _root_: tiny if _root_.scale == "tiny" else full, replace=True
)


class _ReadOnce(ImportlibResourcesConfigSource):
    """Config files of a package, each parsed once: a sweep composes the same twenty for every job."""

    @staticmethod
    def scheme() -> str:
        return "once"

    def load_config(self, config_path: str) -> ConfigResult:
        key = self.path, config_path
        if key not in _PARSED:
            _PARSED[key] = super().load_config(config_path)
        return copy.deepcopy(_PARSED[key])  # Hydra takes the defaults list out of what it is given


_PARSED: dict[tuple[str, str], ConfigResult] = {}


class _SearchPath(SearchPathPlugin):
    """Adds the config packages of installed plug-ins behind our own, and has all of them read once."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for point in declared("mars.conf").values():
            search_path.append(provider=point.name, path=f"pkg://{point.value}")
        for element in search_path.get_path():
            if element.path and element.path.startswith("pkg://"):
                element.path = element.path.replace("pkg://", "once://", 1)


Plugins.instance().register(_ReadOnce)
Plugins.instance().register(_SearchPath)

# What a user can cause and mend: settings and data, and files, folders and disks that cannot be used.
MISTAKES = (UserError, HydraException, OmegaConfBaseException, OSError, sqlite3.Error)
_NULL_GROUP = "Config group override"  # begins Hydra's ValueError for semantic=null


def command(
    config_name: str,
    function: Callable[[dict[str, Any]], object],
    after_interrupt: str = "",
    in_sweep: Callable[[dict[str, Any], float], Outcome] | None = None,
) -> Callable[[], None]:
    """A command line: composes conf/`config_name`.yaml with the overrides and calls `function` with plain data.

    after_interrupt: what to tell who stops it: what is kept, what the same command would do. in_sweep: called in the
    place of `function`, with the second at which the sweep began, where jobs go through a study's ledger.
    """
    failures: list[str] = []
    began = time.time()
    by_ledger = in_sweep is not None and not _asked("debug", "dry_run")  # here: a launcher's worker has other arguments

    @hydra.main(version_base="1.3", config_path="pkg://conf", config_name=config_name)
    def job(cfg: DictConfig) -> Outcome | None:
        in_ledger = in_sweep if by_ledger and HydraConfig.get().mode == RunMode.MULTIRUN else None
        _log_to_stderr(Terminal() if in_ledger else logging.StreamHandler())
        try:
            config: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
            if in_ledger:
                return in_ledger(config, began)
            function(config)
        except MISTAKES as error:
            if in_ledger or cfg.get("debug") or not _in_this_process():
                raise
            failures.append(_one_line(error, config_name))  # the other jobs of a sweep go on
        return None

    def main() -> None:
        telemetry.turn_off()
        os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions through: `_one_line` words them
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        try:
            with _sweeps(config_name, failures, by_ledger):
                job()
        except BrokenPipeError:  # of `--help | head`; standard output must not be flushed again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except Stopped:
            print("; ".join(filter(None, ("stopped as asked", after_interrupt))), file=sys.stderr)
            sys.exit(EXIT_CODE)
        except (KeyboardInterrupt, ValueError, *MISTAKES) as error:
            if _asked("debug"):
                raise
            if isinstance(error, KeyboardInterrupt):
                print("; ".join(filter(None, ("interrupted", after_interrupt))), file=sys.stderr)
                sys.exit(130)
            if not isinstance(error, MISTAKES) and not str(error).startswith(_NULL_GROUP):
                raise
            failures.append(_one_line(error, config_name))
        if failures:
            counted = Counter(failures)
            sys.exit("\n".join(f"error: {line}" + (f" ({n} jobs)" if n > 1 else "") for line, n in counted.items()))

    return main


@contextmanager
def _sweeps(config_name: str, failures: list[str], by_ledger: bool) -> Iterator[None]:
    """Inside, a sweep's jobs are those that `jobs.prepare` leaves; by_ledger: they go through a `Sweep`.

    The method is replaced because Hydra takes sweepers of others from the package hydra_plugins alone, which every
    other Hydra program on the machine would import.
    """

    def checked(sweeper: Any, batch: list[list[str]]) -> None:
        _log_to_stderr(Terminal())
        jobs.prepare(sweeper, batch)
        if by_ledger and not isinstance(sweeper.launcher.launch, functools.partial):  # a batch before was
            sweeper.launcher.launch = functools.partial(launched, sweeper, sweeper.launcher.launch)

    def launched(sweeper: Any, launch: Any, batch: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
        here = type(sweeper.launcher).__name__ == "BasicLauncher"  # Hydra imports its plugins a second time
        sweep = Sweep(Path(sweeper.config.hydra.sweep.dir), batch, here)
        try:
            with jobs.composed_once(sweeper) if here else nullcontext():
                sweep.run(lambda some: [ended(one) for one in launch(some, initial_job_idx=initial_job_idx)])
        finally:
            _log_to_stderr(logging.StreamHandler())
        failures.extend(sweep.mistakes())
        return []

    def ended(job: Any) -> Outcome:
        try:
            return job.return_value  # type: ignore[no-any-return]
        except MISTAKES as error:  # of the config itself
            return Outcome(FAILED, job_of(job.overrides), why=_one_line(error, config_name))

    Sweeper.validate_batch_is_legal = checked  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Sweeper.validate_batch_is_legal = jobs.check_all  # type: ignore[method-assign]


def _asked(*keys: str) -> bool:
    """Whether one of these settings is true on the command line."""
    return any(argument.lower() == f"{key}=true" for argument in sys.argv[1:] for key in keys)


def _in_this_process() -> bool:
    """Whether Hydra runs its jobs here, rather than handing them to a cluster that must see them fail."""
    return str(HydraConfig.get().launcher._target_).endswith("BasicLauncher")


def _one_line(error: Exception, config_name: str) -> str:
    """The cause as one line; Hydra's and OmegaConf's reworded where they name a key or a choice."""
    text = str(error)
    if isinstance(error, UserError):
        return " ".join(text.split("\n"))
    if isinstance(error, OSError) and error.errno:
        return files.told(error)
    if text.startswith(_NULL_GROUP):
        return "a config group was set to null (name one of its choices)"
    causes = text + "\n" + str(error.__cause__ or "")
    if match := re.search(r"Could not override '([^']+)'", causes):
        key = match.group(1)
        group = key.split(".")[0]
        if having := jobs.choices_with(key, _options(group)):
            chosen = [argument for argument in sys.argv[1:] if argument.startswith(f"{group}=")]
            return f"{key}: not a setting of {(chosen or [f'this {group}'])[-1]}, but of {', '.join(having)}"
        known = _known_keys(config_name)
        near = [k for k in known if k.split(".")[0] == key.split(".")[0]] or [k for k in known if "." not in k]
        return f"{key}: no such setting{nearest(key, near)}"
    if match := re.search(r"(?:Could not find|In '[^']*': Could not find|Could not load) '([\w-]+)/([^']*)'", causes):
        group, name = match.groups()
        return f'{group}: "{name}" is unknown{nearest(name, _options(group))}'
    if match := re.search(r"Ambiguous value for argument '([^']*)'", causes):
        return f"{match.group(1)}: several values make a sweep (add -m)"
    if match := re.search(r"You must specify '([^']+)'", causes):
        group = match.group(1)
        return f"{group}: is required (known: {', '.join(_options(group))})"
    if match := re.search(r"Error parsing override '([^']*)'", causes):
        return f"{match.group(1)}: cannot be read as key=value"
    if match := re.search(r"Missing mandatory value: \S+\s+full_key: (\S+)", causes):
        return f"{match.group(1)}: is required (give it as {match.group(1)}=…)"
    return " ".join(causes.split())


def composed(config_name: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """conf/`config_name`.yaml with `overrides`, resolved to plain data, for what is no command of its own."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_module("conf", version_base="1.3"):
        cfg = hydra.compose(config_name, list(overrides))
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def swept(config_name: str, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """What `-m` would run: the config of the first job, resolved, and {key: its values as text} of the sweep.

    Of the keys in hydra.sweeper.params and in `overrides`, which win; a key with one value is there as well.
    """
    parse = OverridesParser.create().parse_overrides
    given = {one.get_key_element(): _values(one) for one in parse(list(overrides))}
    first = [f"{key}={values[0]}" for key, values in given.items()]
    GlobalHydra.instance().clear()
    with hydra.initialize_config_module("conf", version_base="1.3"):
        cfg = hydra.compose(config_name, first, return_hydra_config=True)
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


def _compose(config_name: str) -> DictConfig:
    """The config under the group choices of the command line, or if these do not compose the default one."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_module("conf", version_base="1.3"):
        options = GlobalHydra.instance().config_loader().get_group_options
        choices = [a for a in sys.argv[1:] if re.fullmatch(r"[\w/]+(@[\w.]+)?=[\w-]+", a)]
        chosen = [choice for choice in choices if options(re.split("[@=]", choice)[0])]
        try:
            return hydra.compose(config_name, chosen)
        except HydraException:
            return hydra.compose(config_name)


def _known_keys(config_name: str) -> list[str]:
    """Dotted keys of the default config, leaves and groups."""

    def walk(node: Mapping[Any, Any], path: str) -> list[str]:
        keys = []
        for key, value in node.items():
            keys.append(f"{path}{key}")
            if isinstance(value, Mapping):
                keys += walk(value, f"{path}{key}.")
        return keys

    plain = OmegaConf.to_container(_compose(config_name), resolve=False)
    return walk(plain, "") if isinstance(plain, Mapping) else []


def _options(group: str) -> list[str]:
    """Choices of a config group, those of installed plugins included."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_module("conf", version_base="1.3"):
        return sorted(GlobalHydra.instance().config_loader().get_group_options(group))


def _log_to_stderr(handler: logging.Handler) -> None:
    """Time and message on standard error; libraries only from a warning up."""
    form, clock = "%(asctime)s %(message)s", "%H:%M:%S"
    logging.basicConfig(format=form, datefmt=clock, level=logging.WARNING, force=True, handlers=[handler])
    for name in PACKAGES:
        logging.getLogger(name).setLevel(logging.INFO)


def task_overrides() -> list[str]:
    """The overrides this job was started with, for the record."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
