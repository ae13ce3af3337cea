"""Where a run is opened at W&B, and its steps, rounds and files are told there (`logger=wandb`).

W&B is offline unless `wandb.mode=online`. A run's W&B id is drawn once and kept in its directory, so a resumed run is
the same W&B run; the group is the study. All that W&B gets is also in the run directory: a window, not the record.
So where it fails while a run trains, that is said once and the run goes on.
"""

from __future__ import annotations

import logging
import os
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mars import files
from mars.config import UserError
from mars.method.logger import Logger
from mars.process import telemetry

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WandbConfig:
    """W&B settings (`wandb:` in conf/logger/wandb.yaml)."""

    project: str = "mars"
    entity: str | None = None
    mode: Literal["offline", "online", "disabled"] = "offline"
    tags: tuple[str, ...] = field(default_factory=tuple)
    log_every: int = 10  # steps
    artifacts: bool = False  # model and evaluations too, which may be large

    def __post_init__(self) -> None:
        if self.log_every < 1:
            raise ValueError(f"log_every: must be at least 1, not {self.log_every}")


class WandbLogger(Logger):
    """Steps and rounds to W&B too, with histograms of margins and of budgets."""

    def __init__(self, cfg: WandbConfig, directory: Path, config: Mapping[str, Any], group: str):
        os.environ.setdefault("WANDB_SILENT", "true")
        telemetry.turn_off()
        import wandb

        self._wandb, self._cfg, self._lost = wandb, cfg, False
        self._directory = directory.resolve()
        kept = directory / "wandb" / "id"
        try:
            self.run = self._start(cfg, directory, config, group, kept_id(kept))
        except wandb.Error as error:
            raise UserError(f"wandb: {error} (wandb.mode=offline needs no account)") from error
        self.run.define_metric("round/*", step_metric="round/round")
        self.run.define_metric("train/*", step_metric="train/step")

    def _start(self, cfg: WandbConfig, directory: Path, config: Mapping[str, Any], group: str, run_id: str) -> Any:
        return self._wandb.init(
            project=cfg.project,
            entity=cfg.entity,
            mode=cfg.mode,
            dir=str(directory),
            id=run_id,
            resume="allow",
            name=directory.name,
            group=group,
            tags=list(cfg.tags),
            config=dict(config),
        )

    def _tell(self, told: Callable[[], Any]) -> None:
        if self._lost:
            return
        try:
            told()
        except Exception as error:  # whatever it is, it changes nothing of the run
            self._lost = True
            log.warning("W&B fails: %s (the run goes on without it, and has all of it in its directory)", error)

    def step(self, metrics: dict[str, float]) -> None:
        if metrics["step"] % self._cfg.log_every == 0:
            self._tell(lambda: self.run.log({f"train/{k}": v for k, v in metrics.items()}))

    def round(self, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        super().round(record, arrays)
        histograms = {f"round/{name}": self._wandb.Histogram(values.tolist()) for name, values in arrays.items()}
        self._tell(lambda: self.run.log({f"round/{k}": v for k, v in record.items()} | histograms))

    def summary(self, metrics: Mapping[str, Any]) -> None:
        self._tell(lambda: self.run.summary.update(dict(metrics)))

    def files(self, kind: str, paths: Sequence[Path]) -> None:
        if self._cfg.artifacts:
            self._tell(lambda: self.run.log_artifact(self._artifact(kind, paths)))

    def _artifact(self, kind: str, paths: Sequence[Path]) -> Any:
        """Of the files where they are, without a copy."""
        artifact = self._wandb.Artifact(artifact_name(kind, self._directory.name), type=kind)
        for path in map(Path.resolve, paths):
            add = artifact.add_dir if path.is_dir() else artifact.add_file
            add(str(path), name=path.relative_to(self._directory).as_posix(), policy="immutable")
        return artifact

    def close(self, failed: bool) -> None:
        kept = Path(self.run.dir).parent  # of the offline or online run's files
        self._tell(lambda: self.run.finish(exit_code=int(failed)))
        if self._cfg.mode == "offline" and not self._lost:
            log.info("W&B, offline: %s (wandb sync %s)", kept, kept)


def artifact_name(kind: str, of: str) -> str:
    """As W&B allows it: letters, digits, dots, dashes and underscores, up to 128."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", f"{kind}-{of}")[:128]


def kept_id(kept: Path) -> str:
    """The run's id at W&B: the one that is kept, a fresh one where there is none or another than was written."""
    with suppress(OSError, ValueError):
        if re.fullmatch("[0-9a-f]{16}", found := kept.read_text(encoding="utf-8")):
            return found
    drawn = uuid.uuid4().hex[:16]
    files.write_text(kept, drawn)
    return drawn
