"""A study directory as the runner leaves it, with known scores, for the tests of analysis."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.pair_metrics import VALIDATION
from benchmarks.protocols.in_distribution import InDistribution, split_metrics
from benchmarks.splits import margins_of, test_splits
from mars.method import allocation
from mars.method.clock import COLUMNS as SECONDS
from mars.record.facts import SCHEMA_VERSION
from mars.record.layout import ALLOCATION, MAIN, ROUNDS, SPECTRA, scores_of
from mars.record.run_directory import RunDirectory

PAIRS, BUDGET = 24, 48  # base pairs, and rows drawn from them in a round
_JUDGE = InDistribution(resamples=20)
SPLITS = {"test": 1.0, "test_reversed_nuisance": 0.6}  # split: share of the arm's skill left on it

LEFT_OUT = object()  # as a manifest's value: it is not recorded


def make_run(
    study: Path,
    method: str,
    seed: int,
    skill: float,
    *,
    dataset: str = "planted",
    backbone: str = "minilm",
    own_rows: bool = False,
    examples: int = 60,
    rounds: int = 3,
    done: bool = True,
    settings: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    manifest: Mapping[str, Any] | None = None,
) -> Path:
    """One run with margins around `skill`, their noise shared in part by the arms of a seed, as between real runs.

    settings: of the method; config: the rest of config.yaml. own_rows: test pairs that no other seed has. A process
    makes the same run once, and copies it.
    """
    settings = {**(config or {}), "method": {"name": method, **(settings or {})}, "seed": seed}
    digest = hashlib.sha256(repr((dataset, backbone, settings)).encode()).hexdigest()[:8]
    run = study / f"{method}-{dataset}-{backbone}-s{seed}-{digest}"
    if done:
        asked = _Asked(run.name, method, dataset, backbone, seed, skill, own_rows, examples, rounds)
        key = asked, repr(manifest)
        if key not in _MADE:
            _write_run(made := _place_of_made() / str(len(_MADE)) / run.name, asked, dict(manifest or {}))
            _MADE[key] = made
        shutil.copytree(_MADE[key], run, dirs_exist_ok=True)
    place = RunDirectory(run)
    place.stamp(digest)
    place.write_config({**settings, "out": str(study)})
    return run


class _Asked(NamedTuple):
    """What a finished run holds, but for its config and what its manifest is told."""

    name: str
    method: str
    dataset: str
    backbone: str
    seed: int
    skill: float
    own_rows: bool
    examples: int
    rounds: int


_MADE: dict[tuple[_Asked, str], Path] = {}


@functools.cache
def _place_of_made() -> Path:
    return Path(tempfile.mkdtemp(dir=os.environ["MARS_CACHE"]))


def _write_run(run: Path, asked: _Asked, manifest: dict[str, Any]) -> None:
    place = RunDirectory(run)
    rng = np.random.default_rng([asked.seed, *asked.method.encode()])
    named = f"-s{asked.seed}" if asked.own_rows else ""
    tables = {
        split: _table(split, asked.examples, asked.skill * left, asked.seed, rng, named)
        for split, left in SPLITS.items()
    }
    tables[VALIDATION] = _table(VALIDATION, 20, asked.skill, asked.seed, rng)
    scores = pd.concat([table.assign(split=split) for split, table in tables.items()], ignore_index=True)
    test_rows = _sha(f"test{named}")
    measured = write_scores(run, scores, dict.fromkeys(SPLITS, test_rows))
    accuracy = measured["test"]["accuracy"] - 0.05 * np.arange(asked.rounds)[::-1]
    by_round = {"round": range(asked.rounds), "base_pairs": 100, "synthetic_pairs": 100, "pairs_per_second": 1e3}
    by_round |= {"steps": 10, "train_loss": 0.6, "validation_accuracy": accuracy}
    by_round |= {name: 0.1 * i for i, name in enumerate(SECONDS)}
    place.write_rounds(pd.DataFrame(by_round))
    place.write_table(ALLOCATION, _allocation(asked.method, asked.seed, asked.skill, asked.rounds))
    facts = {
        "schema_version": SCHEMA_VERSION,
        "run_id": run.name,
        "method": asked.method,
        "dataset": asked.dataset,
        "backbone": asked.backbone,
        "seed": asked.seed,
        "steps": 30,
        "start": _sha(f"start {asked.seed}"),
        "weights": "sha256:" + _sha(asked.backbone),
        "template": "plain",
        "max_length": 256,
        "truncation": "left",
        "base_sha256": _sha(f"base {asked.seed}"),
        "validation_sha256": _sha("validation"),
        "test_sha256": test_rows,
        "steps_may_differ": False,
        "batch_size": 64,
        "train_sha256": _sha("train"),
        "pool_sha256": _sha("pool"),
        "semantic_layer": "off",
        "drop_prompt": False,
        "pool": {
            "augmenter": "rules",
            "settings": {"rate": 0.5},
            "rows": 100,
            "unspent": 0,
            "made": 40,
            "possible": 600,
            "unchanged": 3,
            "refused": {},
            "preservation": {"rows": 50, "true": 0.9, "kept": 1.0},
        },
        "git": {"commit": "0" * 40, "dirty": False},
    }
    facts = {key: value for key, value in (facts | manifest).items() if value is not LEFT_OUT}
    place.write_manifest(facts)
    place.finish()


def write_scores(run: Path, table: pd.DataFrame, rows: Mapping[str, str]) -> dict[str, Any]:
    """The in-distribution evaluation of `table`, without its details; returns its metrics.

    table: of validation pairs, too. rows: {split: digest of its pairs}.
    """
    held_out = margins_of(table[table["split"] == VALIDATION])
    splits = test_splits(table, MAIN)
    metrics = {split: split_metrics(part, _JUDGE.resamples, _JUDGE.seed, held_out) for split, part in splits.items()}
    record = {"schema_version": SCHEMA_VERSION, "benchmark": MAIN, "label": MAIN, "protocol": _protocol()}
    RunDirectory(run).write_evaluation(MAIN, table, {**record, "metrics": metrics, "data": {"sha256": rows}})
    return metrics


@functools.cache
def _protocol() -> Mapping[str, Any]:
    """Of the in-distribution evaluation of any table with validation pairs."""
    table = pd.concat(
        [_table(split, 2, 1.0, 0, np.random.default_rng(0)).assign(split=split) for split in ("test", VALIDATION)]
    )
    return _JUDGE.evaluate(table).protocol


def make_study(
    study: Path, skills: Mapping[str, float] | None = None, seeds: tuple[int, ...] = (0, 1, 2), **options: Any
) -> Path:
    """A run for each arm of `skills` (method: mean margin) and seed; `options` as in make_run."""
    study.mkdir(parents=True, exist_ok=True)
    for method, skill in (skills or {"none": 0.4, "uniform": 0.7, "eda": 0.6, "mars": 1.1}).items():
        for seed in seeds:
            make_run(study, method, seed, skill, **options)
    return study


def add_curvature(
    run: Path, h_gain: Sequence[float], g_gain: Sequence[float], accuracy: Sequence[float], *, directions: int = 8
) -> None:
    """What `curvature=true` records, of known gains by round; accuracy: on the validation pairs after each round.

    The base pairs' eigenvalues halve from one direction to the next, H's from ¼ and G's from 4; the mixture's are
    e^gain times as large, so that condition numbers and effective ranks are those of the base pairs. The bound's
    factor is 1.1 and the truth 1.2; its first condition never holds, its second in even rounds.
    """
    table = pd.read_csv(run / ROUNDS)
    rounds = len(table)
    values = 0.5 ** np.arange(directions)
    share = values / values.sum()
    spectra = []
    for kind, largest, gain in (("h", 0.25, np.array(h_gain)), ("g", 4.0, np.array(g_gain))):
        for part, times in (("base", 0 * gain), ("selection", 2 * gain), ("mixture", gain)):
            spectrum = largest * np.exp(times)[:, None] * values
            table[f"{kind}_{part}_trace"] = spectrum.sum(axis=1)
            table[f"{kind}_{part}_logdet"] = np.log(spectrum).mean(axis=1)
            table[f"{kind}_{part}_largest"] = spectrum[:, 0]
            table[f"{kind}_{part}_smallest"] = spectrum[:, -1]
            table[f"{kind}_{part}_condition"] = 2.0 ** (directions - 1)
            table[f"{kind}_{part}_effective_rank"] = np.exp(-(share * np.log(share)).sum())
            axes, names = [range(rounds), [part], range(directions)], ["round", "part", "index"]
            spectra.append(pd.Series(spectrum.ravel(), pd.MultiIndex.from_product(axes, names=names), name=kind))
    both = pd.concat([pd.concat(spectra[:3]), pd.concat(spectra[3:])], axis=1).reset_index()
    RunDirectory(run).write_table(SPECTRA, both)
    numbers = {
        **{"curvature_span": directions, "curvature_labels": PAIRS, "h_gain": h_gain, "g_gain": g_gain},
        **{"bound_low": 3.0, "bound_high": 0.1, "bound_kappa": 0.9, "bound_share": 0.6},
        **{"bound_factor": 1.1, "bound_truth": 1.2, "bound_separated": 0, "bound_holds": 1},
        **{"bound_gains": [int(t % 2 == 0) for t in range(rounds)], "validation_accuracy": accuracy},
        "validation_loss": 1 - np.array(accuracy),
    }
    RunDirectory(run).write_rounds(table.assign(**numbers))


def score_test(run: Path, right: int) -> None:
    """The test pairs scored so that of `right` of them the truly better response is ahead, whatever their label."""
    scores = pd.read_parquet(run / scores_of(MAIN))
    test = scores["split"] == "test"
    ahead = np.where(np.arange(test.sum()) < right, 1.0, -1.0)
    scores.loc[test, "chosen_score"] = scores["rejected_score"][test] + ahead * np.sign(scores["gold_margin"][test])
    write_scores(run, scores, {split: _sha("test") for split in SPLITS})


def _allocation(method: str, seed: int, skill: float, rounds: int) -> pd.DataFrame:
    """Of `mars` the margins, which grow from round to round, and what they steer; of the others equal shares."""
    rng = np.random.default_rng([seed, 1])
    tables = []
    for t in range(rounds):
        margins = rng.normal(skill * t, 0.1 + t, PAIRS) if method == "mars" else np.full(PAIRS, np.nan)
        share = allocation.probabilities(margins if method == "mars" else np.zeros(PAIRS), 1.0, "absolute")
        budgets = allocation.largest_remainder(share, 0 if method == "none" else BUDGET, rng)
        tables.append(pd.DataFrame({"round": t, "pair": range(PAIRS), "margin": margins, "budget": budgets}))
    return pd.concat(tables, ignore_index=True)


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _table(split: str, n: int, skill: float, seed: int, rng: np.random.Generator, named: str = "") -> pd.DataFrame:
    shared = np.random.default_rng([seed, n, len(split)])
    rejected = shared.normal(size=n)
    gold = shared.normal(0.5, 1, n)
    margins = skill + 0.6 * shared.normal(size=n) + 0.5 * gold + 0.6 * rng.normal(size=n)
    return pd.DataFrame(
        {
            "id": [f"{split}{named}-{i}" for i in range(n)],
            "subset": "",
            "turns": 1,
            "chosen_score": rejected + margins,
            "rejected_score": rejected,
            "chosen_length": shared.integers(20, 200, n),
            "rejected_length": shared.integers(20, 200, n),
            "gold_margin": gold,
        }
    )
