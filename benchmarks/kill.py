"""Whether a run that is killed and started again ends in the bits of one that nobody disturbed.

    python -m benchmarks.kill                                 (30 kills; minutes)
    python -m benchmarks.kill --kills 5 --kinds head --folder /tmp/kills

Runs of the tiny backbone, one for each way to train, say when they enter and leave each phase. An undisturbed run tells
how long each takes. Then a fresh one is stopped with SIGKILL at a random moment of a phase, started again with the same
settings, cache and directory, and its files are compared byte by byte: weights, metrics, selections, scores, and
rounds.csv without its timings. Every phase of every kind comes first, and more are drawn at random. A report is killed
likewise. `lost` is the time from what was last saved to the kill, the start of the process where nothing was. Runs keep
a checkpoint at every step, so that most kills are within a round. Exits with 1 where one pair of runs is not equal.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.killer import PHASES, Killer, Visit, report, run
from mars.cli import composed
from mars.record.layout import DONE, METRICS, ROUNDS
from mars.record.run_directory import RunDirectory

REPORT = "report"
KINDS = {
    "head": ["train=head"],
    "full": ["train=full", "train.dropout=true", "rounds.schedule=continue", "rounds.history=accumulate"],
    "lora": ["train=lora", "train.dropout=true"],
}
_RUN = ["scale=tiny", "dataset.size=16", "batch_size=8", "rounds.steps=8", "checkpoint_minutes=0", "threads=1"]
_RUN += ["augmenter=paraphrase", "augmenter.returned=1", "augmenter.beams=1", "augmenter.prompt_tokens=4"]
_RUN += ["augmenter.response_tokens=4", "pool.width=1", "rounds.budget=16"]


@dataclass(frozen=True)
class Kill:
    """What a kill hit, and whether the run that went on is the same."""

    kind: str
    phase: str
    moment: float  # seconds from the start of the process
    lost: float  # seconds of work
    unequal: Sequence[str]  # files

    def row(self) -> str:
        """Of the table that is printed."""
        told = "equal" if not self.unequal else f"NOT EQUAL: {', '.join(self.unequal)}"
        return f"| {self.kind} | {self.phase} | {self.moment:.2f} s | {self.lost:.2f} s | {told} |"


HEADER = "| run | killed in | after | lost | afterwards |\n|---|---|---:|---:|---|"


def unequal(one: Path, other: Path) -> list[str]:
    """Names of the files of two finished runs in which they differ."""
    if not RunDirectory(other).finished:
        return [DONE]
    names = [
        str(path.relative_to(one)) for path in sorted(one.rglob("*")) if path.suffix in (".parquet", ".safetensors")
    ]
    differ = [name for name in [*names, METRICS] if _bytes(one / name) != _bytes(other / name)]
    return differ + ([ROUNDS] if _untimed(one / ROUNDS) != _untimed(other / ROUNDS) else [])


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _untimed(path: Path) -> str:
    import pandas as pd

    table = pd.read_csv(path)
    timings = [name for name in map(str, table) if name.startswith("seconds") or name == "pairs_per_second"]
    return table.drop(columns=timings).to_csv()


def kill_runs(kills: int, kinds: Sequence[str], folder: Path, seed: int, tell: Callable[[Kill], None]) -> list[Kill]:
    """The outcome of each kill; `tell` is given each as it comes. kinds: of KINDS, and REPORT of a study of them."""
    killer, done = Killer(folder, seed), list[Kill]()
    trained = [kind for kind in kinds if kind != REPORT]

    def config(kind: str, name: str, logger: str) -> dict[str, Any]:
        place = [f"out={folder}/{name}", f"cache={folder}/cache-{Path(name).name}", f"logger={logger}"]
        return composed("config", [*_RUN, *KINDS[kind], *place])

    visits = {kind: killer.undisturbed(run, config(kind, f"study/{kind}", "wandb")) for kind in trained}
    study = str(folder / "study")
    if REPORT in kinds:
        visits[REPORT] = killer.undisturbed(report, study)
    pairs = [(kind, phase) for kind in visits for phase in PHASES if any(one[0] == phase for one in visits[kind])]
    while len(pairs) < kills:
        kind = trained[int(killer.rng.integers(len(trained)))]
        pairs.append((kind, ("training", "checkpointing")[int(killer.rng.integers(2))]))
    for number, (kind, phase) in enumerate(pairs[:kills]):
        if kind == REPORT:
            done.append(_report_killed(killer, visits[kind], Path(study)))
        else:
            logger = "wandb" if phase.startswith("W&B") else "terminal"
            done.append(_run_killed(killer, kind, config(kind, f"{number}-{kind}", logger), visits[kind], phase))
        tell(done[-1])
    return done


def _run_killed(killer: Killer, kind: str, config: dict[str, Any], visits: Sequence[Visit], phase: str) -> Kill:
    place = Path(config["out"])
    moment = killer.killed(run, config, visits, phase)
    saved = [path.stat().st_mtime for path in (place / "checkpoint").glob("[0-9]*/sha256.json")]
    killer.undisturbed(run, config)
    differ = unequal(killer.folder / "study" / kind, place)
    if len({path.name.rsplit("-", 1)[1] for path in place.glob("wandb/offline-run-*")}) > 1:
        differ.append("wandb/id")
    shutil.rmtree(place)
    shutil.rmtree(config["cache"])
    return Kill(kind, moment.phase, moment.at - moment.started, moment.at - max([moment.started, *saved]), differ)


def _report_killed(killer: Killer, visits: Sequence[Visit], study: Path) -> Kill:
    whole = study.with_name("report")
    shutil.copytree(study / "report", whole, dirs_exist_ok=True)
    shutil.rmtree(study / "report")
    moment = killer.killed(report, str(study), visits, visits[0][0])
    killer.undisturbed(report, str(study))
    written = sorted(
        {p.relative_to(root) for root in (whole, study / "report") for p in root.rglob("*") if p.is_file()}
    )
    differ = [str(name) for name in written if _bytes(whole / name) != _bytes(study / "report" / name)]
    after = moment.at - moment.started
    return Kill(REPORT, moment.phase, after, after, differ)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: prints a row for each kill, and how many are equal."""
    parser = argparse.ArgumentParser("python -m benchmarks.kill", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=30, help="default: %(default)s")
    parser.add_argument("--kinds", default=",".join([*KINDS, REPORT]), help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; default: %(default)s")
    parser.add_argument("--folder", type=Path, default=None, help="for the runs; default: a temporary one")
    asked = parser.parse_args(arguments)
    print(HEADER, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (asked.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        told = functools.partial(print, flush=True)
        done = kill_runs(asked.kills, asked.kinds.split(","), folder, asked.seed, lambda kill: told(kill.row()))
    equal = sum(not kill.unequal for kill in done)
    print(f"\n{equal} of {len(done)} equal; at most {max(kill.lost for kill in done):.2f} s of work lost")
    sys.exit(int(equal < len(done)))


if __name__ == "__main__":
    main()
