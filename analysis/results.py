"""A study's directory as tables: what ran, what it measured, and what is not finished.

Only directories named like runs are looked at, and only those with DONE are counted; the others are listed, so that a
report never silently rests on half a sweep. Scores are large and read when asked for. Everything downstream is a pure
function of a `Study`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from benchmarks.metrics import correctness
from mars.config import WITHOUT_EFFECT, UserError

KEYS = ["run", "arm", "method", "dataset", "backbone", "seed"]
BENCHMARK = "in_distribution"
_METHODS = (  # from what does least to MARS; methods of others stand before MARS
    "none", "none_matched", "uniform", "stratified", "eda", "won", "west_of_n", "adaboost", "self_training",
    "representation",
)  # fmt: skip
_ORDER = {method: i for i, method in enumerate(_METHODS)} | {"mars": len(_METHODS) + 1}
_RUN_NAME = re.compile(r"[^.].*-s\d+-[0-9a-f]{8}")
_NOT_SETTINGS = WITHOUT_EFFECT | {"seed", "hydra"}  # top-level keys of a config that make no arm
_DATA = {f"dataset.{key}" for key in ("seed", "path", "train", "test")}  # the manifest's digests tell rows apart


@dataclass(frozen=True)
class Study:
    """Finished runs of one study, or of one dataset × backbone group of it.

    `runs` has a row per run: KEYS, the manifest's plain values, commit, dirty, and `strategy`, a mapping. `metrics` has
    KEYS, benchmark, split, metric, value; `rounds` has KEYS and the columns of rounds.csv; `pools` has KEYS and the
    manifest's pool record under dotted names, with `writer.usage` of the semantic layer. `arm` is the method, with the
    settings that tell it apart where one method ran with several.
    """

    path: Path
    runs: pd.DataFrame
    metrics: pd.DataFrame
    rounds: pd.DataFrame
    pools: pd.DataFrame
    unfinished: tuple[str, ...]

    @property
    def arms(self) -> list[str]:
        """Baselines first, MARS last, methods of others in between; one method's settings by their numbers."""
        return sorted(self.runs["arm"].unique(), key=_place)

    @property
    def splits(self) -> list[str]:
        """In-distribution test splits, the main one first."""
        return list(self.metrics.loc[self.metrics["benchmark"] == BENCHMARK, "split"].unique())

    def groups(self) -> Iterator[tuple[str, Study]]:
        """(`dataset / backbone`, that part of the study): only within one are arms comparable."""
        for dataset, backbone in sorted(set(zip(self.runs["dataset"], self.runs["backbone"], strict=True))):
            frames = {
                name: frame[(frame["dataset"] == dataset) & (frame["backbone"] == backbone)]
                for name, frame in vars(self).items()
                if isinstance(frame, pd.DataFrame)
            }
            yield f"{dataset} / {backbone}", replace(self, **frames)

    def values(self, arm: str, split: str, metric: str) -> pd.Series:
        """[S] an in-distribution metric by seed; empty where it was not measured."""
        m = self.metrics
        chosen = (m["arm"] == arm) & (m["benchmark"] == BENCHMARK) & (m["split"] == split) & (m["metric"] == metric)
        return m[chosen].set_index("seed")["value"].sort_index().dropna()

    def settings(self, arm: str) -> dict[str, str]:
        """What the arm's strategy was set to, as text, less what its name says already."""
        recorded = self.runs.loc[self.runs["arm"] == arm, "strategy"].iloc[0]
        said = {word.partition("=")[0] for word in arm.split()[1:]}
        return {k: _text(v) for key, v in _flat(recorded).items() if (k := _short(key)) not in said}

    def scores(self, run: str, split: str) -> pd.DataFrame:
        """One run's in-distribution score table for one split. Raises UserError when it is missing or repeats ids."""
        file = self.path / run / "scores" / f"{BENCHMARK}.parquet"
        if not file.is_file():
            raise UserError(f"{file}: the run is marked DONE and has no scores (run it again with force=true)")
        try:
            table = pd.read_parquet(file)
        except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
            raise _unreadable(file, error) from None
        table = table[table["split"] == split]
        if table["id"].duplicated().any():
            raise UserError(
                f'{file}: id "{table.loc[table["id"].duplicated(), "id"].iloc[0]}" repeats in split {split}'
            )
        return table

    def correct(self, arm: str, split: str) -> pd.DataFrame:
        """[S seeds × E ids] 1 right, 0 wrong, ½ tied: what paired differences are taken on."""
        by_seed = {}
        for run, seed in self.runs.loc[self.runs["arm"] == arm, ["run", "seed"]].itertuples(index=False):
            table = self.scores(run, split).set_index("id")
            by_seed[seed] = pd.Series(
                correctness((table["chosen_score"] - table["rejected_score"]).to_numpy()), table.index
            )
        return pd.DataFrame(by_seed).T.sort_index()


def load(study: Path) -> Study:
    """Read a study's directory. Raises UserError when it is missing, has no finished run, or a file cannot be read."""
    if not study.is_dir():
        raise UserError(f"study: {study} is not a directory (give the directory that holds the runs)")
    found = sorted(d for d in study.iterdir() if d.is_dir() and _RUN_NAME.fullmatch(d.name))
    done = [d for d in found if (d / "DONE").exists()]
    unfinished = tuple(d.name for d in found if d not in done)
    if not done:
        what = f"{len(unfinished)} unfinished runs and no finished one" if unfinished else "no runs"
        raise UserError(f"study: {study} holds {what} (start or resume the sweep first)")
    manifests = [_json(d / "manifest.json") for d in done]
    plain = [{k: v for k, v in m.items() if isinstance(v, str | int | float)} for m in manifests]
    code = [{k: v for k, v in (m.get("git") or {}).items() if k in ("commit", "dirty")} for m in manifests]
    runs = pd.DataFrame([p | c for p, c in zip(plain, code, strict=True)]).assign(
        run=[d.name for d in done], strategy=pd.Series([m.get("strategy") or {} for m in manifests])
    )
    for key in ("method", "dataset", "backbone", "seed"):
        if key not in runs or runs[key].isna().any():
            raise UserError(f"study: a manifest.json under {study} lacks {key} (was it written by another version?)")
    runs["arm"] = _arms(runs, [_config(d / "config.yaml") for d in done])
    runs = runs[KEYS + [c for c in runs.columns if c not in KEYS]]
    metrics = pd.concat([_metrics(_json(d / "metrics.json")) for d in done], keys=runs["run"], names=["run", "i"])
    rounds = pd.concat([_csv(d / "rounds.csv") for d in done], keys=runs["run"], names=["run", "i"])
    keys = runs[KEYS]
    return Study(
        study,
        runs,
        keys.merge(metrics.reset_index("run"), on="run"),
        keys.merge(rounds.reset_index("run"), on="run"),
        keys.join(pd.DataFrame([_pool(m) for m in manifests])),
        unfinished,
    )


def _arms(runs: pd.DataFrame, configs: list[dict[str, Any]]) -> list[str]:
    """The method, and where a method ran with several settings, the settings its runs differ in.

    Raises UserError when they differ in none that could tell them apart.
    """
    arms = list(runs["method"])
    for _, same_method in runs.groupby(["dataset", "backbone", "method"]):
        telling = _telling([configs[row] for row in same_method.index], list(same_method["seed"]))
        for row in same_method.index:
            settings = [f"{_short(key)}={_text(configs[row][key])}" for key in telling if key in configs[row]]
            arms[row] = " ".join([arms[row], *settings])
    twice = runs.assign(arm=arms).duplicated(["dataset", "backbone", "arm", "seed"], keep=False)
    if twice.any():
        first, second = runs.loc[twice, "run"].iloc[:2]
        raise UserError(f"study: {first} and {second} are the same arm and seed (move one out of the study)")
    return arms


def _telling(configs: Sequence[dict[str, Any]], seeds: Sequence[int]) -> list[str]:
    """The settings that tell flat configs apart.

    The settings that come with a choice are named only where runs of one choice and seed differ in them.
    """
    told: set[str] = set()
    alike = [list(configs)]
    while more := {key for group in alike for key in _choices(_differing(group))}:
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


def _differing(configs: Sequence[dict[str, Any]]) -> set[str]:
    """The settings in which flat configs are not all alike."""
    keys = {key for config in configs for key in config if key.split(".")[0] not in _NOT_SETTINGS} - _DATA
    return {key for key in keys if len({repr(config.get(key)) for config in configs}) > 1}


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _short(key: str) -> str:
    """A setting as an arm's name has it."""
    return key.removeprefix("method.").removesuffix(".name")


def _text(value: Any) -> str:
    """A setting's value as a config writes it, but none for null."""
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _place(arm: str) -> tuple[Any, ...]:
    """Where an arm stands: by its method, then by its settings, numbers as numbers and before words."""
    words = []
    for word in arm.split():
        name, _, value = word.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        words.append((name, 0, number, value) if math.isfinite(number) else (name, 1, 0.0, value))
    return _ORDER.get(arm.split()[0], len(_METHODS)), words


def _config(file: Path) -> dict[str, Any]:
    """A run's settings under dotted keys, less those of its augmenters that cannot change a result."""
    from mars.assembly import shaping  # imports torch and every arm, which nothing else here needs

    return _flat(shaping(_yaml(file)))


def _pool(manifest: dict[str, Any]) -> dict[str, Any]:
    """The pool record under dotted names, less the augmenter's settings; `variants_made` is `made`.

    With it `writer.usage`, what the semantic layer's writer used.
    """
    writer = (manifest.get("semantic") or {}).get("writer") or {}
    record = {**(manifest.get("pool") or {}), "writer": {"usage": writer.get("usage") or {}}}
    return {k.removeprefix("variants_"): v for k, v in _flat(record).items() if not k.startswith("settings.")}


def _metrics(benchmarks: dict[str, Any]) -> pd.DataFrame:
    """metrics.json as rows; a benchmark without splits has the empty split. null is NaN."""
    rows = []
    for benchmark, splits in benchmarks.items():
        if not isinstance(splits, dict):
            raise UserError(f'study: a metrics.json holds {splits!r} where the metrics of "{benchmark}" belong')
        nested = splits if all(isinstance(v, dict) for v in splits.values()) else {"": splits}
        rows += [(benchmark, split, k, v) for split, values in nested.items() for k, v in values.items()]
    frame = pd.DataFrame(rows, columns=["benchmark", "split", "metric", "value"])
    return frame.assign(value=pd.to_numeric(frame["value"], errors="coerce").astype(np.float64))


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        return value
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from None


def _yaml(file: Path) -> dict[str, Any]:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise _unreadable(file, error) from None


def _csv(file: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"{file}: the run is marked DONE and this file cannot be read: {reason} (run it with force=true)")
