"""How long a large study takes to load and to report, and how much memory that needs.

    python -m benchmarks.speed report --runs 1000 --only load
    python -m benchmarks.speed report --runs 500 --examples 2000 [--keep DIR]
    python -m benchmarks.speed report --runs 1280 --groups 20 --examples 300

One real run is made, at toy size but with full-size tables (1,000 base pairs, five rounds, --examples test pairs), so
that the files are what the runner writes today. It is then copied under other arms, seeds and --groups data sets:
scores moved by noise of the seed and the numbers that follow from them taken afresh, since a report checks the one
against the other. Each measurement is a process of its own, from the interpreter's start, with its seconds on the clock
and of all cores; peak memory is that process's (Linux). --only measures one of the two; --keep names where the study is
made and left, or found from an earlier call.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.registry import recompute
from benchmarks.speed.clock import Seconds, timed
from mars.cli import composed
from mars.config import UserError, choose
from mars.files import config_hash
from mars.record.facts import is_interval
from mars.record.layout import ALLOCATION, MAIN, scores_of
from mars.record.run_directory import RunDirectory, finished_runs
from mars.run import execute

ARMS = ("none_matched", "uniform", "stratified", "eda", "won", "west_of_n", "adaboost", "self_training", "mars")
_SKILL = {"uniform": 0.2, "stratified": 0.2, "mars": 0.3}  # sds of the margin, above the others
_SPLITS = 4  # of the planted data
_MEASURED = """
import runpy, sys
sys.argv = sys.argv[1:]
if sys.argv[0] == "load":
    from analysis import load
    load(sys.argv[1])
else:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) / 1024, file=sys.stderr)
"""  # not the parent's ru_maxrss, which counts what the parent held when it forked


def make_study(study: Path, runs: int, examples: int, groups: int = 1) -> None:
    """`runs` finished runs of ARMS on so many data sets under `study`, each judged on `examples` pairs."""
    with tempfile.TemporaryDirectory() as folder:
        template = execute(_config("mars", Path(folder), examples))
        methods = [_config(arm, Path(folder), examples)["method"] for arm in ARMS]
        for number in range(runs):
            rest, arm = divmod(number, len(ARMS))
            seed, group = divmod(rest, groups)
            _copy(template, study, methods[arm], seed, group)


def _config(arm: str, folder: Path, examples: int) -> dict[str, Any]:
    overrides = ["scale=tiny", "experiment=matched", f"method={arm}", "rounds.number=5", "rounds.budget=500"]
    overrides += ["dataset.size=1000", f"dataset.test_size={examples // _SPLITS}", "dataset.validation=100"]
    overrides += ["benchmark.resamples=20", f"study={folder}/study", f"cache={folder}/cache"]
    return composed("config", overrides)


def _copy(template: Path, study: Path, method: dict[str, Any], seed: int, group: int) -> None:
    """The run as another arm and seed might have left it, on another data set."""
    facts, _ = RunDirectory(template).read()
    arm, record = method["name"], facts.records[MAIN]
    manifest = facts.manifest | ({"dataset": f"{facts.manifest['dataset']}{group}"} if group else {})
    config = facts.config | {"seed": seed, "method": method}
    rows = {key: manifest[key] for key in ("base_sha256", "validation_sha256", "test_sha256")}
    hashed = config_hash(config, rows)
    name = f"{arm}-{manifest['dataset']}-{manifest['backbone']}-s{seed}-{hashed}"
    run = RunDirectory(study / name)
    run.stamp(hashed)
    run.write_config(config)
    run.write_rounds(facts.rounds)
    allocated = pd.read_parquet(template / ALLOCATION)
    run.write_table(ALLOCATION, allocated if arm == "mars" else allocated.assign(margin=np.nan))
    own = {"run_id": name, "method": arm, "seed": seed, "config_hash": hashed, "start": f"{seed:064x}"}
    run.write_manifest(manifest | own)
    table = _moved(pd.read_parquet(template / scores_of(MAIN)), arm, seed)
    found = recompute(MAIN, record["protocol"], table)
    metrics = {part: _restated(values, found[part]) for part, values in record["metrics"].items()}
    run.write_evaluation(MAIN, table, record | {"metrics": metrics})
    run.finish()


def _moved(table: pd.DataFrame, arm: str, seed: int) -> pd.DataFrame:
    """Scores with noise that the arms of a seed share in part, so that differences are paired as real ones are."""
    shared = np.random.default_rng(seed)
    own = np.random.default_rng([seed, *arm.encode()])
    margins = _SKILL.get(arm, 0.0) + sum(rng.normal(scale=0.7, size=len(table)) for rng in (shared, own))
    return table.assign(chosen_score=table["rejected_score"] + margins)


def _restated(stated: dict[str, Any], found: dict[str, float]) -> dict[str, Any]:
    """`found` under the names of `stated`, its intervals moved along."""
    moved = {}
    for name, value in stated.items():
        metric = name.rpartition("_")[0] if is_interval(name, stated) else name
        moved[name] = value + found[metric] - stated[metric]
    return moved


def measure(*arguments: str) -> tuple[Seconds, float]:
    """(seconds, peak resident MiB) of `load STUDY` or of a module's command line. Raises UserError if it fails."""
    command = [sys.executable, "-c", _MEASURED, *arguments]
    before = _of_children()
    done, seconds = timed(lambda: subprocess.run(command, capture_output=True, text=True, check=False))
    if done.returncode:
        raise UserError(f"{' '.join(arguments)} failed: {done.stderr.strip().splitlines()[-1]}")
    return Seconds(seconds.clock, _of_children() - before), float(done.stderr.split()[-1])


def _of_children() -> float:
    """Seconds that processes begun by this one have used, those that they began included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(runs: int = 500, examples: int = 2000, groups: int = 1, only: str = "", keep: str = "") -> None:
    with tempfile.TemporaryDirectory() as folder:
        study = Path(keep or f"{folder}/study")
        if not study.exists():
            make_study(study, runs, examples, groups)
        print(f"{len(finished_runs(study))} runs, {examples} examples each")
        commands = {"load": ("load", str(study)), "report": ("analysis.report", f"study={study}")}
        chosen = {only: choose(commands, only, "only")} if only else commands
        for name, arguments in chosen.items():
            seconds, memory = measure(*arguments)
            print(f"{name}: {seconds}, peak {memory:.0f} MiB", flush=True)
