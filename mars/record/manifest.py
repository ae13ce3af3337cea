"""What manifest.json says of a run: what it did, on what, with what, and where."""

from __future__ import annotations

import functools
import os
import platform
import resource
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mars.files import as_json
from mars.method.state import State
from mars.pool.pool import Pool
from mars.pool.preservation import preservation
from mars.pool.store import Supply
from mars.pool.unchanged import listed, repeats, unchanged
from mars.preferences.pair import Preferences
from mars.process.machine import cores
from mars.process.program import version
from mars.record.facts import SCHEMA_VERSION
from mars.reward.engine import Engine
from mars.reward.weights import weights_id

_PACKAGES = ("mars-reward", "torch", "transformers", "datasets", "tokenizers", "numpy", "pandas", "hydra-core", "peft")


def manifest(preferences: Preferences, engine: Engine, state: State, start: str) -> dict[str, Any]:
    """All of manifest.json that follows from what the run did; the caller adds its names and seed.

    start: sha256 of the weights that the first round began with.
    """
    splits = {"base": preferences.base, "validation": preferences.validation, **preferences.tests}
    ids = {split: [p.id for p in pairs] for split, pairs in splits.items()}
    return {
        "schema_version": SCHEMA_VERSION,
        "steps": sum(r["steps"] for r in state.records),
        **_kept(state),
        "pairs_trained": sum(r["pairs"] for r in state.records),
        "tokens": sum(r["tokens"] for r in state.records),
        "peak_memory_bytes": peak_memory_bytes(),
        "memory": engine.memory(),
        "ranks": engine.ranks.count,
        "not_deterministic": sorted(engine.determinism.without) if engine.determinism.wanted else None,
        "start": start,
        "weights": weights_id(engine.backbone),
        "template": engine.backbone.template,
        "max_length": engine.backbone.max_length,
        "truncation": engine.backbone.truncation,
        "truncated": {split: engine.texts.truncated(engine.texts.add_pairs(pairs)) for split, pairs in splits.items()},
        "splits": list(preferences.tests),  # the main one first
        **preferences.digests,
        "base_ids": ids["base"],
        "validation_ids": ids["validation"],
        "data": preferences.report,
        **environment(),
    }


def _kept(state: State) -> dict[str, Any]:
    """Of the model that is judged, where it is not the last one: its round, the run's steps by then, its bits."""
    best = state.best
    if best is None:
        return {}
    return {"kept_round": best.round, "kept_step": best.step, "kept_information": best.information}


def logged_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """manifest.json as a logger's summary has it: `manifest/KEY` of every key but the lists of ids.

    The last thing a finished run reports, so that a reader of W&B alone can tell whether it finished, and what it may
    be compared with (`analysis.study.wandb_runs` reads it back).
    """
    return {f"manifest/{k}": v for k, v in as_json(manifest).items() if not k.endswith("_ids")}


def logged_metrics(record: Mapping[str, Any]) -> dict[str, float]:
    """An evaluation record's metrics as a logger's summary has them: label/part/metric."""
    parts = record["metrics"].items()
    return {f"{record['label']}/{part}/{metric}": v for part, values in parts for metric, v in values.items()}


def pool_record(pool: Pool, supply: Supply, state: State) -> dict[str, Any]:
    """manifest.json's `pool`: what the run looked at, what of it was made now, what gates refused, what stayed true.

    Counts are of distinct variants, `rows` of drawn rows, and `flipped` under `refused` of rows, once for each look.
    unchanged_by: variants that equal their source, by reason. repeats: drawn rows that therefore say what their base
    pair says. preservation: see `mars.pool.preservation.preservation`; None where the truth is not known.
    """
    flipped = sum(record["rows_flipped"] for record in state.records)
    rows, same = np.concatenate(state.drawn), unchanged(pool)
    return {
        **supply.record(),
        "config": as_json(pool.config),
        "size": len(pool),
        "rows": len(rows),
        "unspent": sum(record["unspent"] for record in state.records),
        "looked_at": len(pool.looked_at),
        "possible": pool.possible,
        "unchanged": sum(same.values()),
        "unchanged_by": same,
        "repeats": int(repeats(pool, rows).sum()),
        "refused": {**pool.refused, **({"flipped": flipped} if flipped else {})},
        "preservation": preservation(pool, rows) if pool.base[0].gold_margin is not None else None,
    }


def total(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two countings of the same things, added up key by key; what one of them does not know is the other's."""

    def add(a: Any, b: Any) -> Any:
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            return total(a, b)
        return b if a is None else a if b is None else a + b

    return {key: add(one.get(key), other.get(key)) for key in {**one, **other}}


def pool_line(pool: Mapping[str, Any]) -> str:
    """The pool's use in a line for the log: made now, looked at, and all there could be."""
    refused = ", ".join(f"{n} {reason}" for reason, n in sorted(pool["refused"].items()))
    return (
        f"pool {pool['augmenter']}: {pool['made']} variants made now, {pool['looked_at']} looked at of "
        f"{pool['possible']} possible; unchanged: {listed(pool['unchanged_by'])}"
        + (f"; refused: {refused}" if refused else "")
    )


def environment() -> dict[str, Any]:
    """Where and with what a run was made: git commit, package versions, hardware.

    The commit is the one that was checked out when this process first asked: what it runs, whatever is edited since.
    """
    return {
        "git": _git(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "hardware": {
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "cores": cores(),  # of these, what this process may use
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


@functools.cache
def _git() -> dict[str, Any] | None:
    """Commit and dirty flag of the checkout this package runs from; None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None

    def git(*args: str) -> str | None:
        done = subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    status = git("status", "--porcelain")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def peak_memory_bytes() -> dict[str, int | None]:
    """Peak resident memory of this process so far, and of the GPU's allocator."""
    unit = 1 if platform.system() == "Darwin" else 1024
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    return {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "gpu": gpu}
