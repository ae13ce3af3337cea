"""Where a run reports to while it trains: the terminal always, and W&B when asked (`mars.method.wandb_logger`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

log = logging.getLogger(__name__)


class Logger:
    """Told of every step and round; changes nothing. This one prints a line a round."""

    def step(self, metrics: dict[str, float]) -> None:
        """An optimiser step: its number, loss, learning rate."""

    def round(self, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """A round: its row of rounds.csv, and the margins and budgets it was drawn by."""
        held_out = record.get("validation_accuracy")
        log.info(
            "round %d: %d base + %d augmented pairs, %d steps, train loss %.4f%s, %.0f pairs/s",
            record["round"],
            record["base_pairs"],
            record["synthetic_pairs"],
            record["steps"],
            record["train_loss"],
            "" if held_out is None else f", validation accuracy {held_out:.3f}",
            record["pairs_per_second"],
        )

    def summary(self, metrics: Mapping[str, Any]) -> None:
        """What is known of the whole run: a benchmark's numbers, or the manifest."""

    def files(self, kind: str, paths: Sequence[Path]) -> None:
        """What the run leaves of a kind (`model`, `evaluation`): files and directories inside its own."""

    def close(self, failed: bool) -> None:
        """The end of the run, or of this attempt."""
