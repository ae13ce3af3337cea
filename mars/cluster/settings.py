"""Settings of an engine (conf/engine/*.yaml): where work is done, and what each worker of it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class EngineConfig:
    """name: here, or on a Ray cluster; the rest is of the latter. memory: GB."""

    name: Literal["local", "ray"] = "local"
    address: str = "local"
    actors: int | None = None
    cpus: int = 1
    gpus: float = 0.0
    memory: float | None = None

    def __post_init__(self) -> None:
        if self.actors is not None and self.actors < 1:
            raise ValueError(f"actors: must be at least 1, not {self.actors}")
        if self.cpus < 1:
            raise ValueError(f"cpus: must be at least 1, not {self.cpus}")
        if not (self.gpus == int(self.gpus) >= 0 or 0 < self.gpus < 1):
            raise ValueError(f"gpus: a whole number, or a share of one below 1, is expected, not {self.gpus}")
        if self.memory is not None and not self.memory > 0:
            raise ValueError(f"memory: must be above 0 GB, not {self.memory}")
