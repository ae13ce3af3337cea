"""A finished run's best-of-n picks as replies that a judge can compare: AlpacaEval's model_outputs.

    python -m benchmarks.evaluate study=outputs/matched benchmark=best_of_n
    python -m benchmarks.replies study=outputs/matched
    python -m benchmarks.judge study=outputs/matched ours=best_of_n-16 theirs=best_of_n-1 judge=gold

RUN/replies/LABEL-16.json has what the reward model picks of the first 16 candidates of each prompt, and LABEL-1.json
the first candidate, which no reward model picked: a sample of the policy itself. Score tables hold no texts, so
candidates are made or read once more: by the planted world, from the file of candidates, or by the policy, whose
samples are in the cache. One that is not as long as the one that was scored stops everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmarks.judges.generations import Generation, write_model_outputs
from benchmarks.picks import NAME
from mars import choices
from mars.config import UserError, build
from mars.files import read_json, read_parquet
from mars.record.layout import MANIFEST, record_of, replies_of, scores_of
from mars.record.run_directory import RunDirectory, finished_runs

if TYPE_CHECKING:
    from benchmarks.protocols.best_of_n import BestOfN


@dataclass(frozen=True)
class RepliesConfig:
    """conf/replies.yaml, checked. candidates: the file, or the policy, that they came from where it was not the world.

    label: of the evaluation. n: None is the largest of its curve.
    """

    model: str | None
    study: str | None
    label: str
    n: int | None
    candidates: str | None
    revision: str | None
    device: str
    cache: str
    debug: bool

    def __post_init__(self) -> None:
        if bool(self.model) == bool(self.study):
            raise ValueError("model: give a run's directory, or study=DIR for every finished run in it")
        if self.n is not None and self.n < 2:
            raise ValueError(f"n: must be at least 2, not {self.n} (the best of one is written anyway)")


def write(run: RunDirectory, settings: RepliesConfig) -> tuple[Path, Path]:
    """The files of the picks and of the single samples. Raises UserError where they cannot be had; writes none then."""
    label = settings.label
    record, table = _evaluation(run, label)
    n = settings.n or int(record["protocol"]["n"][-1])
    wanted = picks(table, n)
    texts = _texts(run, table, wanted, _benchmark(record, table, settings))
    method = read_json(run.path / MANIFEST).get("method", run.path.name)
    files = []
    for size, generator in ((n, f"{method} {label}-{n}"), (1, f"{label}-1")):
        files.append(run.path / replies_of(f"{label}-{size}"))
        rows = [texts[str(name), int(number)] for name, number in wanted[f"of_{1 if size == 1 else 'n'}"].items()]
        write_model_outputs(files[-1], generator, rows)
    return files[0], files[1]


def picks(table: pd.DataFrame, n: int) -> pd.DataFrame:
    """By prompt id: `of_n`, the number of the best scored of the first n candidates, and `of_1`, of the first.

    The first of equal ones. Raises UserError where a prompt has fewer than n.
    """
    first = table[table["response"] < n]
    number = first.groupby("id", sort=False)["response"].size()
    if (number < n).any():
        raise UserError(f'n: "{number.idxmin()}" has {number.min()} candidates, fewer than n={n}')
    best = first.loc[first.groupby("id", sort=False)["score"].idxmax()].set_index("id")["response"]
    return pd.DataFrame({"of_n": best, "of_1": first.groupby("id", sort=False)["response"].min()})


def _evaluation(run: RunDirectory, label: str) -> tuple[dict[str, Any], pd.DataFrame]:
    record, scores = run.file(record_of(label)), run.file(scores_of(label))
    if record is None or scores is None:
        raise UserError(
            f'label: {run.path} has no evaluation "{label}" (python -m benchmarks.evaluate model={run.path} '
            "benchmark=best_of_n)"
        )
    found = read_json(record)
    if found.get("benchmark") != NAME:
        raise UserError(f"label: {record} is of {found.get('benchmark')}, not of {NAME}")
    return found, read_parquet(scores)


def _benchmark(record: Mapping[str, Any], table: pd.DataFrame, settings: RepliesConfig) -> BestOfN:
    """The benchmark that scored the table, with what its candidates came from."""
    from benchmarks.protocols.best_of_n import BestOfN, BestOfNConfig

    protocol, number = record["protocol"], int(table["response"].max()) + 1
    source = protocol["candidates_from"]
    own: dict[str, Any] = {"n": protocol["n"][-1], "candidates": number, "seed": protocol["seed"]}
    if source == "world":
        return BestOfN(BestOfNConfig(**own, prompts=table["id"].nunique()))
    if settings.candidates is None:
        known = protocol.get("file") or (protocol.get("policy") or {}).get("weights")
        raise UserError(f"candidates: is required, because texts are not kept with scores (candidates={known})")
    if source == "file":
        return BestOfN(BestOfNConfig(**own, path=settings.candidates, repeated="keep"))
    from mars.process import devices  # torch comes with it

    sampled = {key: value for key, value in protocol["policy"].items() if key != "weights"}
    named = {"policy": settings.candidates, "policy_revision": settings.revision, **sampled}
    place = Path(settings.cache).expanduser(), devices.device(settings.device)
    return BestOfN(BestOfNConfig(**own, prompts=table["id"].nunique(), **named)).at(*place)


def _texts(
    run: RunDirectory, table: pd.DataFrame, wanted: pd.DataFrame, benchmark: BestOfN
) -> dict[tuple[str, int], Generation]:
    """{(prompt id, number): the candidate} of those wanted; raises UserError unless they are those of the table."""
    preferences = choices.load(run.config()["dataset"]) if benchmark.asks_dataset else None
    dataset = preferences.name if preferences else ""
    known = table.set_index(["id", "response"])["length"]
    keys = {(str(name), int(number)) for of in wanted for name, number in wanted[of].items()}
    found = {}
    for one in benchmark.candidates(preferences):
        if (key := (one.id, one.number)) in keys:
            if len(one.text) != known[key]:
                break
            found[key] = Generation(one.prompt, one.text, one.id, dataset)
    if lacking := keys - set(found):
        name, number = min(lacking)
        raise UserError(
            f'{run.path}: candidate {number} of "{name}" is not the one that was scored: other candidates or another '
            "dataset (give candidates=FILE, or the policy, as the evaluation had it)"
        )
    return found


def run(cfg: Mapping[str, Any]) -> None:
    """The command: `cfg` is conf/replies.yaml, resolved. Prints the files that were written."""
    settings = build(RepliesConfig, cfg, "")
    runs = finished_runs(Path(settings.study)) if settings.study else [RunDirectory(Path(str(settings.model)))]
    if not runs or not runs[0].finished:
        raise UserError(f"study: {settings.study or settings.model} holds no finished run")
    for one in runs:
        for path in write(one, settings):
            print(path, flush=True)


def main() -> None:
    from mars.cli import command

    command("replies", run, "no file is half-written; the same command writes them anew")()


if __name__ == "__main__":
    main()
