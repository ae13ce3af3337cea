"""Fill the store of variants ahead of the runs: every variant of a pool, made here or by the workers of a cluster.

    python -m mars.fill dataset=hh_rlhf dataset.path=DIR augmenter=paraphrase
    python -m mars.fill dataset=hh_rlhf dataset.path=DIR augmenter=paraphrase engine=ray engine.actors=8 engine.gpus=1

Takes the settings of a run that shape its pool. A run with the same ones finds what is made here; one that asks for
more makes the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mars.choices import check_replicate, drawn_anew, load, read
from mars.cluster.settings import EngineConfig
from mars.cluster.shards import Actors, Work, open_actors
from mars.config import ConfigError, build
from mars.files import digest
from mars.pool.rows import PoolConfig

if TYPE_CHECKING:
    from mars.pool.on_workers import Maker
    from mars.pool.pool import Pool
    from mars.pool.store import Supply


_TOKENS = 4096  # of a pass of the gates' encoder, as an evaluation takes them


@dataclass(frozen=True)
class FillConfig:
    """conf/pool.yaml, checked; dataset and augmenter are built by their owners."""

    dataset: dict[str, Any]
    augmenter: dict[str, Any]
    pool: PoolConfig
    engine: EngineConfig
    replicate: int | None
    device: str
    threads: int | None
    cache: str
    scale: str
    debug: bool

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads: must be at least 1, not {self.threads}")
        if self.replicate is not None and self.replicate < 0:
            raise ValueError(f"replicate: must be at least 0, not {self.replicate}")


def run(cfg: Mapping[str, Any]) -> None:
    """The command: `cfg` is conf/pool.yaml, resolved. Prints what was found, made and refused."""
    replicate = cfg.get("replicate")
    if isinstance(replicate, int):
        cfg = {**cfg, **drawn_anew({name: cfg[name] for name in ("dataset", "augmenter")}, replicate)}
    settings = build(FillConfig, cfg, "")
    check_replicate(settings.replicate, read(settings.dataset))
    with open_actors(settings.engine, Path(settings.cache).expanduser()) as actors:
        supply, pool = _filled(settings, actors)
    print(_told(supply, pool))


def _filled(settings: FillConfig, actors: Actors | None) -> tuple[Supply, Pool]:
    """The pool with all its variants, and what they came from. Raises UserError."""
    import torch  # takes seconds, which a mistake need not wait for

    from mars import assembly
    from mars.pool.on_workers import Distributed
    from mars.pool.pool import Pool
    from mars.pool.store import Supply
    from mars.process import devices

    if settings.threads:
        torch.set_num_threads(settings.threads)
    cache, preferences = Path(settings.cache).expanduser(), load(settings.dataset)
    there = settings.engine.device(settings.device)
    device = devices.device(settings.device) if actors is None else torch.device(there)
    supply = assembly.supply_of(settings.augmenter, "augmenter", cache, device)
    if not getattr(supply.augmenter, "stored", True) or supply.augmenter.name == "none":
        raise ConfigError(f"augmenter: no variant of {supply.augmenter.name} is ever stored, so there is none to make")
    assembly.check_width(supply.augmenter, settings.pool)
    here = devices.device(settings.device if actors is None else "auto")
    gates = assembly.gates_of(settings.pool.gates, preferences, _TOKENS, cache, here)
    made = Distributed(supply.augmenter, actors, _work(settings, supply)) if actors else None
    if made:
        supply = Supply(made, supply.store)
    pool = Pool(preferences.base, supply.augmenter, settings.pool, supply.fill, gates=gates)
    pool.look_at_all()
    if made:
        made.forget()
    return supply, pool


def _work(settings: FillConfig, supply: Supply) -> Work:
    threads = settings.threads or settings.engine.cpus
    arguments = (
        settings.augmenter,
        settings.cache,
        settings.engine.device(settings.device),
        threads,
        digest(supply.augmenter.settings),
    )
    named = (settings.augmenter.get(key) for key in ("source", "model"))
    paths = tuple(str(Path(one).resolve()) for one in named if isinstance(one, str) and Path(one).is_dir())
    return Work("mars.fill:maker", arguments, [supply.augmenter.name, supply.augmenter.settings, threads], paths)


def maker(augmenter: dict[str, Any], cache: str, device: str, threads: int, settings: str) -> Maker:
    """In a worker: what makes the variants of an augmenter with these `settings`, a digest."""
    import torch

    from mars import assembly
    from mars.pool.on_workers import Maker
    from mars.process import devices

    torch.set_num_threads(threads)
    place = Path(cache).expanduser(), devices.device(device)
    return Maker(assembly.supply_of(augmenter, "augmenter", *place).augmenter, settings)


def _told(supply: Supply, pool: Pool) -> str:
    from mars.pool.unchanged import listed, unchanged

    refused = ", ".join(f"{number} {gate}" for gate, number in sorted(pool.refused.items()))
    return (
        f"{supply.augmenter.name}: {supply.store.found} variants found, {supply.store.made} made; of "
        f"{len(pool.looked_at)} in the pool {sum(pool.refused.values())} refused{f' ({refused})' if refused else ''}, "
        f"{listed(unchanged(pool))} unchanged\n{supply.store.path(supply.augmenter)}"
    )


def main() -> None:
    """`python -m mars.fill`, or `mars pool`."""
    from mars.cli import command

    command("pool", run, "what is made is kept; the same command makes the rest")()


if __name__ == "__main__":
    main()
