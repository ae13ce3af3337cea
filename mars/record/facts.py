"""What a run's files say, and what is wrong with them: read once, each number held to the scores it was taken from.

Every file is plain: edited, or left from another version, it looks like any other. The score tables are the evidence.
What is wrong is a `Problem` and raises nothing: a report turns problems into remarks and leaves a run out where one is
fatal, a board refuses a run for any. That evidence is missing is no problem here; a board asks for it itself.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from mars.config import UserError, naming_runs
from mars.files import config_hash
from mars.plugins import resolve

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1  # of every JSON record: the one that is written, and the newest that is understood
TOLERANCE = 1e-6  # relative and absolute: the same scores in another order sum up a little differently
NEEDED = {"method": str, "dataset": str, "backbone": str, "seed": int}  # of a run's manifest
ADDRESSED = {"instruct"}  # augmenters with settings that cannot change a result
_WORDS: dict[Any, str] = {str: "text", int: "a whole number"}
_NUMBER = (int, float)
_KINDS: dict[str, Any] = {  # of a manifest's values, where they are there; groups first
    **dict.fromkeys(("git", "strategy", "pool", "semantic", "semantic.writer", "data", "peak_memory_bytes"), Mapping),
    **dict.fromkeys(("pool.preservation", "pool.refused", "data.contamination", "data.sources"), Mapping),
    **dict.fromkeys(("data.subset", "data.settings", "data.generated", "data.labels"), Mapping),
    "replicate": int,
    **dict.fromkeys(("steps", "pairs_trained", "tokens", "wall_seconds", "busy_cores", "batch_size"), _NUMBER),
    **dict.fromkeys(("kept_round", "kept_step", "kept_information"), _NUMBER),
    **dict.fromkeys(("peak_memory_bytes.process", "peak_memory_bytes.gpu"), _NUMBER),
    **dict.fromkeys(("git.commit", "pool.augmenter", "start", "base_sha256", "test_sha256", "config_hash"), str),
    **dict.fromkeys(("overrides", "splits"), list),
    **dict.fromkeys(("git.dirty", "steps_may_differ", "drop_prompt"), bool),
}
_ROWS = ("base_sha256", "validation_sha256", "test_sha256")
_INTERVAL = ("_lo", "_hi", "_half_width")
_DEEPEST = 50  # levels of a config
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Parts = dict[str, dict[str, float]]  # {part: {metric: value}}


class Problem(NamedTuple):
    """Something wrong with a run. file: in its directory. fatal: the run cannot be counted.

    number: a stated number that the scores do not bear out, or scores that no number can be taken from.
    """

    file: str
    what: str
    fatal: bool = False
    number: bool = False

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


class Measured(NamedTuple):
    """An evaluation taken afresh. table: its scores, as the one who measured keeps them. protocol: as they bear it out.

    metrics: {part: {metric: value}}; None where the benchmark is not known and nothing can be compared.
    """

    table: Any
    protocol: Mapping[str, Any]
    metrics: Parts | None


def _no_rows() -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame()


@dataclass
class Facts:
    """What the files of a run say; empty where one is missing or cannot be used.

    manifest: manifest.json, or what the records say of a model from elsewhere. config: config.yaml. rounds: a row a
    round. metrics: metrics.json, {label: {part: {metric: value}}}. records: {label: its record}. tables: labels with a
    table of scores, the main one first. measured: {label: the evaluation taken afresh} of those that could be.
    """

    manifest: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    rounds: pd.DataFrame = field(default_factory=_no_rows)
    metrics: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)
    measured: dict[str, Measured] = field(default_factory=dict)

    @property
    def trained(self) -> bool:
        """Whether it is a run of an arm, and no model from elsewhere."""
        return "method" in self.manifest


# ---- files to values


def json_object(file: Path) -> dict[str, Any]:
    """Raises UserError, without the file's name, where it is none."""
    try:
        return _mapping(json.loads(file.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(error) from None


def yaml_mapping(file: Path) -> dict[str, Any]:
    """Raises UserError, without the file's name, where it is none."""
    try:
        text = file.read_bytes()
        _check_yaml(text)
        return _mapping(yaml.load(text, _Loader))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise unreadable(error) from None


def _check_yaml(text: bytes) -> None:
    """Raises ValueError for what no config has: aliases, a few lines of which stand for terabytes, and great depth."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST or isinstance(event, yaml.AliasEvent):
            raise ValueError("holds aliases" if depth <= _DEEPEST else f"is nested deeper than {_DEEPEST} levels")


def rounds_table(file: Path) -> pd.DataFrame:
    """rounds.csv. Raises UserError, without the file's name, for what is no table of numbers by round."""
    import pandas as pd  # here, so that a finished run is told without it

    try:
        text = file.read_text(encoding="utf-8-sig")
        try:
            table = _plain_table(text)
        except (ValueError, csv.Error):
            table = pd.read_csv(io.StringIO(text), low_memory=False)  # a small file needs no chunks
        if "round" not in table:
            raise ValueError("no column round")
        if odd := [str(name) for name, kind in table.dtypes.items() if kind.kind not in "iufb"]:
            raise ValueError(f"{', '.join(odd)}: not numbers")
        return table
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(error) from None


def _plain_table(text: str) -> pd.DataFrame:
    """A CSV of plain numbers, as runs write it: of a hundred columns pandas' reader takes four times as long.

    Raises ValueError or csv.Error for any other.
    """
    import numpy as np
    import pandas as pd

    if not text.isascii() or "_" in text.partition("\n")[2]:  # float() takes 1_000 and figures of other scripts
        raise ValueError("not plain numbers")
    names, *rows = csv.reader(io.StringIO(text, newline=""))
    values = np.array([[float(cell or "nan") for cell in row] for row in rows])
    if values.ndim != 2 or len(set(names)) < len(names):
        raise ValueError("rows of unlike length, none, or a name that repeats")
    return pd.DataFrame(values, columns=names)


def unreadable(error: Exception) -> UserError:
    """What became of reading a file, in one line that is the same wherever the file lies."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
    return UserError(f"cannot be read: {reason}")


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not a mapping of names to values")
    return value


# ---- values that cannot be used


def check_schema(value: Mapping[str, Any]) -> None:
    """Raises UserError for a JSON record without a schema version, or of one that is newer than this program."""
    version = value.get("schema_version")
    if isinstance(version, bool) or not isinstance(version, int):
        raise UserError(f"schema_version is {version!r}, not a whole number")
    if version > SCHEMA_VERSION:
        known = f"this program knows those up to {SCHEMA_VERSION} (update it)"
        raise UserError(f"is of schema version {version}, and {known}")


def check_manifest(manifest: Mapping[str, Any]) -> None:
    """Raises UserError for a run's manifest that is newer than this program, or broken."""
    check_schema(manifest)
    for key, kind in {**NEEDED, "run_id": str}.items():
        if key not in manifest:
            raise UserError(f"lacks {key}")
        if not isinstance(manifest[key], kind) or isinstance(manifest[key], bool):
            raise UserError(f"{key} is {manifest[key]!r}, not {_WORDS[kind]}")
    if not str(manifest["method"]).strip() or not 0 <= manifest["seed"] < 2**63:
        raise UserError(f"method is {manifest['method']!r}, seed {manifest['seed']}")
    for path, kind in _KINDS.items():
        value: Any = manifest
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            what = "a group of values" if kind is Mapping else "of its kind"
            raise UserError(f"{path} is {repr(value)[:80]}, not {what}")


def check_config(config: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Raises UserError for settings that are not those whose hash the manifest holds."""
    if {"config_hash", *_ROWS} <= manifest.keys() and isinstance(config.get("dataset"), Mapping):
        found = config_hash(shaping(config), {key: manifest[key] for key in _ROWS})
        if found != manifest["config_hash"]:
            raise UserError(f"is not what the run was made with ({found}, not {manifest['config_hash']})")


def shaping(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` as it names a run, excluding the settings of its augmenters that cannot change a result."""
    config = naming_runs(config)
    if not _names(config, ADDRESSED):
        return config
    return resolve("mars.choices:shaping")(config)  # imports augmenters, which nothing else here needs


def _names(config: Mapping[str, Any], choices: set[str]) -> bool:
    """Whether a group of a nested config is one of `choices`."""
    return any(
        _names(value, choices) if isinstance(value, Mapping) else key == "name" and value in choices
        for key, value in config.items()
    )


def check_metrics(metrics: Mapping[str, Any]) -> None:
    """Raises UserError where it is not {label: {part: {metric: value}}}."""
    for label, parts in metrics.items():
        if not isinstance(parts, Mapping) or not all(isinstance(values, Mapping) for values in parts.values()):
            raise UserError(f'holds {repr(parts)[:80]} where the metrics of "{label}" belong')


# ---- numbers that the scores do not bear out


def agree(one: Any, other: float) -> bool:
    """Whether a stated value is the recomputed one, but for the order of summation. NaN and null are one."""
    if one is None or isinstance(one, bool) or not isinstance(one, int | float):
        return one is None and math.isnan(other)
    if isinstance(one, int) and abs(one) >= 2**63:  # float() may refuse it
        return False
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE) or (math.isnan(one) and math.isnan(other))


def unlike(stated: Any, found: Parts) -> Iterator[str]:
    """`part/metric: …` of each stated metric that was not found again, intervals aside.

    One that is stated as null, not defined, may be absent.
    """
    if not isinstance(stated, Mapping):
        yield f"holds {repr(stated)[:80]} where metrics belong"
        return
    for part, values in stated.items():
        if not isinstance(values, Mapping):
            yield f"{part}: holds {values!r} where metrics belong"
            continue
        for metric, value in values.items():
            if is_interval(metric, values) or (value is None and metric not in found.get(part, {})):
                continue
            if metric not in found.get(part, {}):
                yield f"{part}/{metric}: stated {_shown(value)}, not to be had from the scores"
            elif not agree(value, found[part][metric]):
                yield f"{part}/{metric}: stated {_shown(value)}, the scores give {_shown(found[part][metric])}"


def is_interval(name: str, values: Mapping[str, Any]) -> bool:
    """Whether `name` is an interval of another of the `values`."""
    return name.endswith(_INTERVAL) and any(name.removesuffix(end) in values for end in _INTERVAL if name.endswith(end))


def _shown(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= 2**63:
        return "a number of more than 63 bits"
    return f"{value:.6g}" if isinstance(value, int | float) and not isinstance(value, bool) else repr(value)
