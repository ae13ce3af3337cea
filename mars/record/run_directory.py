"""A run's directory: how each file (`mars.record.layout`) is written, and what all of them say.

Everybody who meets a run comes here: the runner, evaluations, cards, reports, boards and the tests' synthetic studies.
Files are written aside and renamed; `DONE` comes last, so a directory without it is unfinished and is never counted.

    facts, problems = RunDirectory(Path("outputs/quick/RUN")).read()
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mars import files
from mars.config import ConfigError, UserError
from mars.record.facts import (
    SCHEMA_VERSION,
    Facts,
    Problem,
    check_config,
    check_manifest,
    check_metrics,
    check_schema,
    json_object,
    rounds_table,
    yaml_mapping,
)
from mars.record.layout import (
    ALWAYS,
    CONFIG,
    DONE,
    FILES,
    JOB_LOG,
    MAIN,
    MANIFEST,
    METRICS,
    ROUNDS,
    STAMP,
    UNMEASURED,
    record_of,
    scores_of,
)
from mars.record.remeasured import Measure, remeasured

if TYPE_CHECKING:
    import pandas as pd


def finished_runs(study: Path) -> list[RunDirectory]:
    """The finished runs of a study's directory, by name."""
    return [RunDirectory(path.parent) for path in sorted(study.glob(f"*/{DONE}"))]


@dataclass(frozen=True)
class RunDirectory:
    """One run's directory, or that of the evaluations of a model from elsewhere, which has scores and records alone."""

    path: Path

    # ---- what is there

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return (self.path / DONE).exists()

    @property
    def is_run(self) -> bool:
        """Whether it is the directory of a run, finished or not."""
        return any((self.path / name).is_file() for name in (DONE, CONFIG, STAMP, MANIFEST))

    @property
    def model(self) -> Path:
        """The directory of the trained model."""
        return self.path / "model"

    @property
    def checkpoints(self) -> Path:
        """The directory of what an unfinished run is resumed from."""
        return self.path / "checkpoint"

    def file(self, name: str) -> Path | None:
        """The file of that name (one of the constants above, `scores_of`, `record_of`), None where it is not there."""
        path = self.path / name
        return path if path.is_file() else None

    def tables(self) -> dict[str, Path]:
        """{label: score table} of the evaluations, the main one first."""
        found = {path.stem: path for path in self.path.glob(scores_of("*")) if not path.stem.endswith(UNMEASURED)}
        return {label: found[label] for label in sorted(found, key=lambda label: (label != MAIN, label))}

    def records(self) -> dict[str, Path]:
        """{label: record} of the evaluations, by label."""
        return {path.stem: path for path in sorted(self.path.glob(record_of("*")))}

    def evaluations(self) -> list[Path]:
        """All that evaluations left: metrics.json, score tables, records."""
        metrics = self.file(METRICS)
        return [*([metrics] if metrics else []), *self.tables().values(), *self.records().values()]

    # ---- reading

    def config(self) -> dict[str, Any]:
        """config.yaml. Raises UserError where it cannot be read."""
        try:
            return yaml_mapping(self.path / CONFIG)
        except UserError as error:
            raise UserError(f"{self.path / CONFIG}: {error}") from None

    def read(self, measure: Measure | None = None) -> tuple[Facts, list[Problem]]:
        """All that the files say, each read once, and what is wrong with it, file by file.

        measure: takes each evaluation afresh, once, and every stated number is held to what it finds; None believes
        what is stated. Of a model from elsewhere the manifest is made from its records, or lies beside them as one.
        """
        facts, problems, of_records = Facts(), list[Problem](), list[Problem]()
        for label, path in self.records().items():
            facts.records[label] = _tried(of_records, record_of(label), json_object, path) or {}
            if facts.records[label]:
                _tried(of_records, record_of(label), check_schema, facts.records[label])
        if self.is_run:
            facts.manifest = _tried(problems, MANIFEST, json_object, self.path / MANIFEST, fatal=True) or {}
        else:
            made = manifest_of_model, self.path.name, facts.records
            facts.manifest = _tried(problems, MANIFEST, *made, fatal=True) or {}
        if self.is_run and (facts.trained or "model" not in facts.manifest):
            self._read_run(facts, problems)
        elif facts.manifest:
            _tried(problems, MANIFEST, check_schema, facts.manifest, fatal=True)
        facts.metrics = _tried(problems, METRICS, _metrics, self.path / METRICS) or {}
        if facts.metrics and facts.trained and MAIN not in facts.metrics:
            problems.append(Problem(METRICS, f"holds no numbers of {MAIN}"))
        stated = [problem for problem in problems if problem.file == METRICS]
        problems += of_records
        tables = self.tables()
        facts.tables = list(tables)
        if measure:
            for label, path in tables.items():
                problems += remeasured(facts, measure, path, label)
            if stated and MAIN not in facts.measured:
                problems.append(Problem(METRICS, f"{stated[0].what}, and there are no scores to take them from", True))
        return facts, problems

    def _read_run(self, facts: Facts, problems: list[Problem]) -> None:
        """What a run has and no model from elsewhere: its end, its settings, its rounds."""
        if not self.finished:
            problems.insert(0, Problem(DONE, "is not there (the run is not finished)", True))
        if facts.manifest:
            _tried(problems, MANIFEST, check_manifest, facts.manifest, fatal=True)
        facts.config = _tried(problems, CONFIG, yaml_mapping, self.path / CONFIG, fatal=True) or {}
        if facts.config:
            _tried(problems, CONFIG, check_config, facts.config, facts.manifest, fatal=True)
        rounds = _tried(problems, ROUNDS, rounds_table, self.path / ROUNDS)
        facts.rounds = facts.rounds if rounds is None else rounds

    # ---- writing

    @property
    def ended(self) -> float:
        """When it was finished, in seconds since 1970 by its disk's clock. Raises OSError where it is not."""
        return (self.path / DONE).stat().st_mtime

    def identity(self) -> tuple[int, int]:
        """What tells the directory from another one of its name: device and inode."""
        found = self.path.stat()
        return found.st_dev, found.st_ino

    def check_same(self, identity: tuple[int, int]) -> None:
        """Raises UserError where the directory of that `identity` is no longer the one of this name."""
        with suppress(OSError):
            if self.identity() == identity:
                return
        raise UserError(
            f"{self.path}: was removed or replaced while the run worked in it (the same command makes the run anew)"
        )

    def check_whole(self) -> None:
        """Raises UserError where a file that a finished run always has is not there."""
        if lost := [name for name in ALWAYS if not (self.path / name).is_file()]:
            raise UserError(f"{self.path / lost[0]}: has gone since it was written (run the same command again)")

    def claim(self, config_hash: str) -> None:
        """Raises ConfigError where another config's run is here: to skip or resume it under this one would be a lie."""
        stamp = self.file(STAMP)
        if stamp and stamp.read_bytes() != config_hash.encode():
            raise ConfigError(
                f"out: {self.path} holds a run of another config, or its {STAMP} is damaged (choose another directory, "
                "or remove this one)"
            )

    def clear(self) -> None:
        """Remove an earlier run, DONE first; nothing but what a run writes."""
        for name in reversed(FILES):
            path = self.path / name
            try:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise UserError(f"{path}: cannot be removed: {files.words(error)} ({files.mending(error)})") from error

    def stamp(self, config_hash: str) -> None:
        """Say whose run this is, before anything else is written."""
        files.write_text(self.path / STAMP, config_hash)

    def link_job(self, log: Path) -> None:
        """slurm.log, a link to that log of a job; nothing where the file system has no links."""
        link = self.path / JOB_LOG
        with suppress(OSError):
            link.unlink(missing_ok=True)
            link.symlink_to(os.path.relpath(log.resolve(), self.path.resolve()))

    def write_config(self, config: Mapping[str, Any]) -> None:
        """config.yaml. config: resolved."""
        from omegaconf import OmegaConf  # a tenth of a second, which readers need not wait

        files.write_text(self.path / CONFIG, OmegaConf.to_yaml(OmegaConf.create(dict(config))))

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """manifest.json. manifest: with `schema_version`."""
        files.write_json(self.path / MANIFEST, manifest)

    def write_rounds(self, records: Sequence[Mapping[str, Any]] | pd.DataFrame) -> None:
        """rounds.csv. records: one a round."""
        import pandas as pd  # here, so that a finished run is told without it

        files.write_text(self.path / ROUNDS, pd.DataFrame(records).to_csv(index=False))

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """A parquet table under its `name`."""
        files.write_parquet(self.path / name, table)

    def write_parts(self, name: str, parts: Iterable[pd.DataFrame]) -> None:
        """A parquet table that comes in parts, of which one is in memory at a time, under its `name`."""
        files.write_parquet_parts(self.path / name, parts)

    def check_writable(self) -> None:
        """Before hours of scoring: raises UserError where an evaluation could not be written."""
        try:
            (self.path / scores_of("")).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"out: {self.path} cannot be written to: {files.words(error)} ({files.mending(error)})"
            ) from None
        self.stated()

    def write_evaluation(self, label: str, table: pd.DataFrame, record: Mapping[str, Any]) -> None:
        """An evaluation's scores and record, and its metrics among those in metrics.json, which others may be writing.

        Under their names come all three or none. record: with `schema_version`, and `metrics`, {part: {metric: value}}.
        Raises UserError where metrics.json is not JSON, or the disk does not take them.
        """
        of_table, of_record = self.path / scores_of(label), self.path / record_of(label)
        with files.writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with files.alone(self.path), files.aside(self.path / METRICS) as metrics:
            files.dump_json(metrics, self.stated() | {label: record["metrics"]})
            with files.aside(of_record) as about, files.aside(of_table) as scores:
                table.to_parquet(scores, index=False)
                files.dump_json(about, record)

    def keep_failed(self, label: str, table: pd.DataFrame) -> Path:
        """Where the scores were put that no number could be taken from."""
        path = self.path / scores_of(f"{label}{UNMEASURED}")
        files.write_parquet(path, table)
        return path

    def stated(self) -> dict[str, Any]:
        """What metrics.json says, empty where it is not there yet. Raises UserError where it is not JSON."""
        path = self.path / METRICS
        return files.read_json(path, "move it away; evaluations/ has the numbers") if path.exists() else {}

    def finish(self) -> None:
        """Mark the run as finished; what it would be resumed from goes."""
        files.write_text(self.path / DONE, "")
        shutil.rmtree(self.checkpoints, ignore_errors=True)


def manifest_of_model(name: str, records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The manifest of a model that was judged and not trained here, from its records.

    name: of its directory. records: by label. Raises UserError where these are not all of one model.
    """
    models = {label: record.get("model") or {} for label, record in records.items()}
    if not models:
        raise UserError("is not there, nor evaluations/*.json to make one from")
    named = {(model.get("name"), model.get("weights")) for model in models.values()}
    if len(named) > 1 or None in next(iter(named)):
        raise UserError(f"is not there, and evaluations/ does not hold one model's records ({', '.join(records)})")
    return {"schema_version": SCHEMA_VERSION, "run_id": name, "model": next(iter(models.values()))}


def _tried(problems: list[Problem], file: str, step: Callable[..., Any], *of: Any, fatal: bool = False) -> Any:
    """What `step` returns; None, and a problem more, where it raises UserError."""
    try:
        return step(*of)
    except UserError as error:
        problems.append(Problem(file, str(error), fatal))
        return None


def _metrics(file: Path) -> dict[str, Any]:
    metrics = json_object(file)
    check_metrics(metrics)
    return metrics
