"""One finished run, from its directory or from what W&B was told of it, its numbers checked against its scores.

What a run cannot be counted without is a UserError: that costs the run, not the study. What it can do without is a
remark, and so is every number of metrics.json that its scores do not bear out; shown is then what the scores give.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from analysis.study import checks, naming
from analysis.study.study import BENCHMARK, Run
from analysis.study.wandb_runs import Logged
from mars.config import UserError
from mars.files import config_hash

SCHEMA_VERSION = 1  # the newest manifest.json that is understood, that of `mars.record.manifest`
NEEDED = {"method": str, "dataset": str, "backbone": str, "seed": int}  # of a manifest
_NUMBER = (int, float)
_KINDS: dict[str, Any] = {  # of a manifest's values, where they are there; groups first
    **dict.fromkeys(("git", "strategy", "pool", "semantic", "semantic.writer", "data", "peak_memory_bytes"), Mapping),
    **dict.fromkeys(("pool.preservation", "pool.refused", "data.contamination", "data.sources"), Mapping),
    **dict.fromkeys(("data.subset", "data.settings", "data.generated", "data.labels"), Mapping),
    **dict.fromkeys(("steps", "pairs_trained", "tokens", "wall_seconds", "batch_size"), _NUMBER),
    **dict.fromkeys(("peak_memory_bytes.process", "peak_memory_bytes.gpu"), _NUMBER),
    **dict.fromkeys(("git.commit", "pool.augmenter", "start", "base_sha256", "test_sha256", "config_hash"), str),
    **dict.fromkeys(("overrides", "splits"), list),
    **dict.fromkeys(("git.dirty", "steps_may_differ", "drop_prompt"), bool),
}
_ROWS = ("base_sha256", "validation_sha256", "test_sha256")
_SHARES = ("accuracy", "auc", "length_controlled_accuracy", "gold_accuracy")
_ADDRESSED = {"instruct"}  # augmenters with settings that cannot change a result
_SHOWN = 3  # remarks on one run's numbers
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def from_directory(directory: Path, source: str) -> tuple[Run, list[str]]:
    """(the run, remarks). Raises UserError, without the directory's name, for one that cannot be counted."""
    if not (directory / "DONE").exists():
        raise UserError("unfinished")
    manifest = _manifest(_json(directory / "manifest.json"))
    settings = _settings(_yaml(directory / "config.yaml"), manifest)
    remarks: list[str] = []
    rounds, metrics, missing = pd.DataFrame(), {}, None
    try:
        rounds = _csv(directory / "rounds.csv")
    except UserError as error:
        remarks.append(f"{error}; its rounds are not shown")
    try:
        metrics = _by_part(_json(directory / "metrics.json"))
        if BENCHMARK not in metrics:
            raise UserError(f"metrics.json: holds no numbers of {BENCHMARK}")
    except UserError as error:
        missing = error
    name = manifest.get("run_id", directory.name)
    run = Run(name, source, directory, manifest, settings, metrics, rounds)
    try:
        _ = run.scores  # kept by the run
    except UserError as error:
        raise UserError(str(error).replace(f"{directory}/", "")) from None
    run, wrong = _checked(run)
    if missing:
        run = _completed(run, missing)
        remarks.append(f"{missing}; its numbers are taken from its scores, without intervals")
    return run, [*(f"{name}: {remark}" for remark in remarks), *wrong]


def from_wandb(logged: Logged, source: str) -> Run:
    """Raises UserError for a run that cannot be counted: one that did not finish reported no manifest."""
    if logged.damage:
        raise UserError(logged.damage)
    if not logged.manifest:
        raise UserError("unfinished, or by a version that did not report its manifest to W&B")
    manifest = _manifest(logged.manifest)
    settings = _settings({key: value for key, value in logged.config.items() if key != "_wandb"}, {})
    return Run(manifest.get("run_id", logged.name), source, None, manifest, settings, logged.metrics, logged.rounds)


def _checked(run: Run) -> tuple[Run, list[str]]:
    """The run with what its scores give in the place of what metrics.json says, and what was wrong with that.

    Raises UserError for scores that no number can be taken from.
    """
    if run.scores:
        checks.measure(run)
    wrong = checks.discrepancies(run)
    unproven = [label for label in run.metrics if label not in checks.records(run)]
    impossible = [
        f"{run.name}: {label}/{part}/{metric}: {value!r} is no share, left out"
        for label in unproven
        for part, values in run.metrics[label].items()
        for metric, value in values.items()
        if metric in _SHARES and not _share(value)
    ]
    if not wrong and not impossible:
        return run, []
    more = f"{run.name}: {len(wrong) - _SHOWN} more of its numbers are not those of its scores"
    remarks = wrong[:_SHOWN] + ([more] if len(wrong) > _SHOWN else []) + impossible
    found = checks.measurable(run)
    metrics = {
        label: {part: _true(found.get(label, {}).get(part, {}), values) for part, values in parts.items()}
        for label, parts in run.metrics.items()
        if label in found or label in unproven
    }
    return replace(run, metrics=metrics), remarks


def _true(found: Mapping[str, float], stated: Mapping[str, Any]) -> dict[str, Any]:
    """`stated` as the scores have it; a number that was put right loses its interval, which nobody vouches for."""
    wrong = {key for key, value in found.items() if key in stated and not checks.agree(stated[key], value)}
    stated = {key: value for key, value in stated.items() if key not in _SHARES or key in wrong or _share(value)}
    ends = {f"{key}{end}" for key in wrong for end in ("_lo", "_hi", "_half_width")}
    return {key: found[key] if key in wrong else value for key, value in stated.items() if key not in ends}


def _share(value: Any) -> bool:
    return not isinstance(value, int | float) or 0 <= value <= 1 or value != value  # NaN and text are told elsewhere


def _completed(run: Run, missing: UserError) -> Run:
    """The run with what its scores give for labels that metrics.json does not have. Raises UserError without scores."""
    try:
        metrics = checks.recomputed(run)
    except UserError as error:
        raise UserError(f"{missing}; {error}") from None
    if BENCHMARK not in metrics:
        raise UserError(f"{missing}, and there are no scores to take them from")
    return replace(run, metrics=metrics | dict(run.metrics))


def _manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """manifest.json less its lists of ids. Raises UserError for one that is newer than this program, or broken."""
    version = manifest.get("schema_version", 0)
    if not isinstance(version, int):
        raise UserError(f"manifest.json: schema_version is {version!r}, not a whole number")
    if version > SCHEMA_VERSION:
        known = f"this program knows those up to {SCHEMA_VERSION} (update it)"
        raise UserError(f"manifest.json: is of schema version {version}, and {known}")
    for key, kind in {**NEEDED, "run_id": str}.items():
        if key in manifest and not isinstance(manifest[key], kind):
            raise UserError(f"manifest.json: {key} is {manifest[key]!r}")
        if key not in manifest and key in NEEDED:
            raise UserError(f"manifest.json: lacks {key} (was it written by another version?)")
    if not str(manifest["method"]).strip() or not 0 <= manifest["seed"] < 2**63:
        raise UserError(f"manifest.json: method is {manifest['method']!r}, seed {manifest['seed']}")
    for path, kind in _KINDS.items():
        value: Any = manifest
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            what = "a group of values" if kind is Mapping else "of its kind"
            raise UserError(f"manifest.json: {path} is {repr(value)[:80]}, not {what}")
    return {key: value for key, value in manifest.items() if not key.endswith("_ids")}


def _settings(config: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A run's settings under dotted keys, less those of its augmenters that cannot change a result.

    Raises UserError for settings that are not those whose hash the manifest holds.
    """
    if _names(config, _ADDRESSED):
        from mars.choices import shaping

        config = shaping(config)
    if {"config_hash", *_ROWS} <= manifest.keys() and isinstance(config.get("dataset"), Mapping):
        found = config_hash(config, {key: manifest[key] for key in _ROWS})
        if found != manifest["config_hash"]:
            raise UserError(f"config.yaml: is not what the run was made with ({found}, not {manifest['config_hash']})")
    return naming.flat(dict(config))


def _names(config: Mapping[str, Any], choices: set[str]) -> bool:
    """Whether a group of a nested config is one of `choices`."""
    return any(
        _names(value, choices) if isinstance(value, Mapping) else key == "name" and value in choices
        for key, value in config.items()
    )


def _by_part(benchmarks: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """metrics.json with every metric under a part: the empty one where a benchmark has none."""
    for benchmark, parts in benchmarks.items():
        if not isinstance(parts, dict):
            raise UserError(f'metrics.json: holds {parts!r} where the metrics of "{benchmark}" belong')
    return {
        benchmark: parts if all(isinstance(v, dict) for v in parts.values()) else {"": parts}
        for benchmark, parts in benchmarks.items()
    }


def _json(file: Path) -> dict[str, Any]:
    try:
        return _mapping(json.loads(file.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(file, error) from None


def _yaml(file: Path) -> dict[str, Any]:
    try:
        return _mapping(yaml.load(file.read_bytes(), _Loader))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise _unreadable(file, error) from None


def _csv(file: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(file)
        if "round" not in table:
            raise ValueError("no column round")
        if odd := [str(name) for name, kind in table.dtypes.items() if kind.kind not in "iufb"]:
            raise ValueError(f"{', '.join(odd)}: not numbers")
        return table
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(file, error) from None


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not a mapping of names to values")
    return value


def _unreadable(file: Path, error: Exception) -> UserError:
    reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
    return UserError(f"{file.name}: cannot be read: {reason}")
