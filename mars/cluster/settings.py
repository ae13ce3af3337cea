"""Settings of an engine (conf/engine/*.yaml): where work is done, and what each worker of it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

GB = 1e9  # bytes


@dataclass(frozen=True)
class Need:
    """What one worker takes. memory: GB."""

    cpus: int = 1
    gpus: float = 0.0
    memory: float | None = None

    def __post_init__(self) -> None:
        if self.cpus < 1:
            raise ValueError(f"cpus: must be at least 1, not {self.cpus}")
        if not (self.gpus == int(self.gpus) >= 0 or 0 < self.gpus < 1):
            raise ValueError(f"gpus: a whole number, or a share of one below 1, is expected, not {self.gpus}")
        if self.memory is not None and not self.memory > 0:
            raise ValueError(f"memory: must be above 0 GB, not {self.memory}")

    @property
    def options(self) -> dict[str, Any]:
        """As Ray is asked for it."""
        memory = {} if self.memory is None else {"memory": int(self.memory * GB)}
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, **memory}

    def places(self, resources: Mapping[str, float]) -> int:
        """The number of such workers that a node with these resources has room for."""
        asked = {"CPU": self.cpus, "GPU": self.gpus, "memory": (self.memory or 0) * GB}
        return int(min(resources.get(name, 0) / amount + 1e-9 for name, amount in asked.items() if amount))

    def __str__(self) -> str:
        memory = [] if self.memory is None else [f"{self.memory:g} GB of memory"]
        return " and ".join([f"{self.cpus} CPU", *([f"{self.gpus:g} GPU"] if self.gpus else []), *memory])


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Settings of any work on a Ray cluster: where it is, and what each worker takes. memory: GB."""

    address: str = "local"
    cpus: int = 1
    gpus: float = 0.0
    memory: float | None = None

    def __post_init__(self) -> None:
        _ = self.need  # which checks what it is made of

    @property
    def need(self) -> Need:
        """What each worker takes."""
        return Need(self.cpus, self.gpus, self.memory)


@dataclass(frozen=True)
class EngineConfig(ClusterConfig):
    """name: in this process, or on a Ray cluster; the rest is of the latter. actors: None is as many as it holds."""

    name: Literal["local", "ray"] = "local"
    actors: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.actors is not None and self.actors < 1:
            raise ValueError(f"actors: must be at least 1, not {self.actors}")

    def device(self, name: str) -> str:
        """The device of a worker: with `auto` a GPU where it has one. This machine may have none."""
        return name if name != "auto" else "cuda" if self.gpus else "cpu"
