"""One run: `python -m mars.run method=mars seed=0`; a sweep: `python -m mars.run -m method=none,mars seed=0,1`.

Reads the config and tells a run that is finished, before torch is loaded. Else the pieces are put together
(`mars.assembly`), and the run is carried to its end (`mars.conduct`); `DONE` is written last, so a directory without it
is unfinished: it is resumed, never counted.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mars import files
from mars.choices import Settings, check_replicate, effective, load, read, shaping
from mars.cli import command, task_overrides
from mars.config import UserError, build, naming_runs, nearest
from mars.plugins import resolve
from mars.record.run_directory import LOG, RunDirectory
from mars.stopping import Stopped, listening

COMMANDS = {  # sub-command: the module whose `main` it calls; its settings are conf/NAME.yaml, but `show` has none
    "plan": "analysis.plan",
    "evaluate": "benchmarks.evaluate",
    "judge": "benchmarks.judge",
    "report": "analysis.report",
    "leaderboard": "analysis.leaderboard",
    "submission": "analysis.submission",
    "replies": "benchmarks.replies",
    "share": "benchmarks.share",
    "show": "mars.show",
}
log = logging.getLogger("mars.run")  # also when it runs as __main__


def execute(config: Mapping[str, Any]) -> Path:
    """Run `config` (conf/config.yaml, resolved) to its end and return its directory. A finished run is left as it is.

    Raises UserError (bad setting, data or backbone; a loss that is not finite) with the directory left without DONE.
    """
    replicate, config = config.get("replicate"), effective(config)
    settings = build(Settings, config, "")
    rows = read(settings.dataset)
    check_replicate(replicate, rows)
    config_hash = files.config_hash(shaping(config), rows.digests)
    names = _names(settings, config, config_hash) | {"replicate": replicate}
    directory = Path(settings.out) if settings.out else Path(settings.study) / names["run_id"]
    place = RunDirectory(directory)
    place.claim(config_hash)
    if place.finished and not settings.force:
        log.info("%s is finished (force=true runs it again)", directory)
        return directory

    from mars import dry_run  # here, because torch comes with these three
    from mars.assembly import assemble
    from mars.conduct import Conductor

    # Every setting is checked before anything is written or replaced.
    pieces = assemble(settings, load(settings.dataset))
    if settings.dry_run:
        print(dry_run.report(pieces, settings.rounds))
        return directory
    if settings.force:
        place.clear()
    place.stamp(config_hash)
    with _logged(directory / LOG), listening() as stop:
        log.info("run %s", directory)
        try:
            Conductor(settings, pieces, place, names).run(config, stop)
        except UserError as error:
            log.error("%s: %s", names["run_id"], error)
            raise
        except Stopped:
            log.info("%s was asked to stop: the same command goes on from its last checkpoint", names["run_id"])
            raise
    return directory


def _names(settings: Settings, config: Mapping[str, Any], config_hash: str) -> dict[str, Any]:
    """What the manifest says of a run before it starts: its id, and what it may be compared by."""
    parts = (settings.method.get("name"), settings.dataset.get("name"), settings.backbone.name)
    return {
        "run_id": f"{'-'.join(map(str, parts))}-s{settings.seed}-{config_hash}",
        "config_hash": config_hash,
        **dict(zip(("method", "dataset", "backbone"), parts, strict=True)),
        "seed": settings.seed,
        "steps_may_differ": settings.steps_may_differ,
        "batch_size": settings.batch_size,
        "train_sha256": files.digest(naming_runs(config)["train"]),
        "pool_sha256": files.digest([shaping(config)[key] for key in ("augmenter", "pool", "semantic")]),
        "semantic_layer": settings.semantic.get("name", ""),
        "drop_prompt": bool(settings.method.get("drop_prompt", False)),
        "overrides": task_overrides(),
    }


@contextmanager
def _logged(file: Path) -> Iterator[None]:
    """Inside, every log line also goes into `file`."""
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def main() -> None:
    """`python -m mars.run`, and with a sub-command the console script `mars`: evaluate, report, leaderboard, …"""
    gc.set_threshold(100_000)  # a run makes many small objects that live as long as it does, and hardly a cycle
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    if first in COMMANDS:
        resolve(f"{COMMANDS[sys.argv.pop(1)]}:main")()
    elif first.isidentifier():
        sys.exit(f'error: "{first}" is no sub-command{nearest(first, COMMANDS)}')
    elif any(argument.startswith("until=") for argument in sys.argv[1:]):
        resolve("analysis.settle:main")()
    else:
        command("config", execute, "the same command goes on from the last checkpoint")()


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
