"""Every check that needs a GPU, in one go and within minutes, into one JSON: `make device-check`.

    python -m benchmarks.speed device [ROWS] [--only tests,minilm] [--out outputs/device_check]

same-bits: a fine-tune repeated, and one killed and resumed, which have to end in the same bits. tests: of what computes
on a device. bert-base and other shapes: `benchmarks.speed training`, with peak memory; texts have to go without padding
where they can. sweep: 35 fine-tunes of MiniLM by five workers. paper-preset: one at full size, with random DeBERTa-v3
weights and EDA variants in the place of what a hub has. policy: of Qwen3-0.6B's shape, trained by RLOO. compile:
whether `torch.compile` repays. Each has a limit of its own and what is left of the whole; one that fails or runs out of
time does not stop the next. Exit: 0 if all passed, 1 if not, 2 without a GPU.

rows: HH-RLHF's. only: some checks. out: a name without its ending; the tables of the shapes lie beside it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.speed import machine, shapes
from mars import files
from mars.config import UserError, choose
from mars.record.layout import MAIN, MANIFEST, ROUNDS, SELECTION, scores_of
from mars.record.run_directory import RunDirectory

WHOLE = 475.0  # seconds of all checks together
_TAIL = 15  # lines kept of what a check said
_TESTS = (
    "tests/mars/method/test_trainer.py",
    "tests/mars/method/test_measure.py",
    "tests/mars/method/test_hessian.py::test_a_gpu_finds_what_the_cpu_does",
    "tests/mars/reward/test_packing.py",
    "tests/mars/test_run.py",
    "tests/baselines/test_arms.py",
)
_RUN = [sys.executable, "-m", "mars.run"]
_FINE_TUNE = ["backbone=minilm", "train=full", "dataset=planted", "dataset.size=512", "dataset.test_size=128"]
_FINE_TUNE += ["rounds.number=3", "rounds.steps=20", "rounds.budget=512", "batch_size=16", "seed=1"]
_SHAPES = ("bert-base", "qwen3-0.6b", "deberta-v3-base", "modernbert-base", "minilm")
_ARMS = ("none_matched", "uniform", "stratified", "eda", "mars", "mars_tempered", "mars_signed")  # of the sweep
_PADDED = ("deberta-v3-base",)  # whose attention cannot be exchanged
_RECORDED = ("steps", "seconds", "pairs_per_second", "tokens", "padding_efficiency", "train_loss")


class Check(NamedTuple):
    """A check by its name: what it does with the seconds it may take, returning what it found; it raises on failure."""

    name: str
    limit: float
    work: Callable[[float], Mapping[str, Any]]


class CheckError(UserError):
    """A check that did not pass; its message is the end of what was said, `found` what it had found by then."""

    def __init__(self, why: str, found: Mapping[str, Any] | None = None):
        super().__init__(why)
        self.found = found or {}


def command(arguments: Sequence[str], seconds: float) -> str:
    """What the command printed. Raises CheckError where it fails or is not done in time; its children die with it."""
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as child:
        try:
            said, _ = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            said, _ = child.communicate()
            raise CheckError(f"not done in {seconds:.0f} s\n{_end(said)}") from None
    if child.returncode:
        raise CheckError(f"exit {child.returncode}\n{_end(said)}")
    return said


def _end(said: str) -> str:
    return "\n".join(said.strip().splitlines()[-_TAIL:])


def carry_out(checks: Sequence[Check], whole: float, note: Callable[[list[dict[str, Any]]], None]) -> bool:
    """Whether all `checks` passed, one after another in `whole` seconds; `note` is given all results after each."""
    results: list[dict[str, Any]] = []
    began = time.monotonic()
    for check in checks:
        start, left = time.monotonic(), whole - (time.monotonic() - began)
        result: dict[str, Any] = {"check": check.name, "limit": check.limit}
        try:
            if left < 1:
                raise CheckError("no time is left for it")
            result |= {"passed": True, "found": dict(check.work(min(check.limit, left)))}
        except Exception as error:  # whatever it is, the next check is to run
            result |= {"passed": False, "why": str(error) if isinstance(error, UserError) else repr(error)}
            result["found"] = dict(getattr(error, "found", {}))
        result["seconds"] = round(time.monotonic() - start, 1)
        results.append(result)
        line = "passed" if result["passed"] else f"FAILED: {result['why'].splitlines()[0]}"
        print(f"{check.name}: {line} ({result['seconds']} s)", flush=True)
        note(results)
    return all(result["passed"] for result in results)


# ---- the checks


def tests(seconds: float) -> dict[str, Any]:
    """The tests that compute on a device, which the settings' `device: auto` makes the GPU."""
    workers = ["--numprocesses", str(min(8, os.cpu_count() or 1))]
    said = command([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *workers, *_TESTS], seconds)
    return {"said": _end(said).splitlines()[-1]}


def same_bits(settings: Sequence[str], folder: Path, seconds: float) -> dict[str, Any]:
    """Digests of a run, which its repeat and an edition that was killed after a round share. Raises CheckError."""
    end = time.monotonic() + seconds
    places = {name: folder / name for name in ("whole", "repeated", "resumed")}
    arguments = {name: [*_RUN, *settings, f"out={place}"] for name, place in places.items()}
    for name in ("whole", "repeated"):
        command(arguments[name], end - time.monotonic())
    _kill_after_a_round(arguments["resumed"], RunDirectory(places["resumed"]), end)
    command(arguments["resumed"], end - time.monotonic())
    found = {name: _digests(place) for name, place in places.items()}
    for name in ("repeated", "resumed"):
        unlike = [file for file, digest in found["whole"].items() if found[name][file] != digest]
        if unlike:
            raise CheckError(f"{name}: other bits in {', '.join(unlike)}")
    return {"files": found["whole"], **_recorded(places["whole"])}


def _kill_after_a_round(arguments: Sequence[str], place: RunDirectory, end: float) -> None:
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        while child.poll() is None and time.monotonic() < end and not any(place.checkpoints.glob("[0-9]*")):
            time.sleep(0.02)
        child.kill()
    if place.finished:
        raise CheckError("the run ended before it could be killed: nothing was resumed")


def _digests(run: Path) -> dict[str, str]:
    names = (scores_of(MAIN), SELECTION, "model/model.safetensors")
    return {name: files.file_digest(run / name) for name in names}


def _recorded(run: Path) -> dict[str, Any]:
    """What a run recorded of its speed and its memory."""
    import pandas as pd

    rounds, manifest = pd.read_csv(run / ROUNDS), json.loads((run / MANIFEST).read_text(encoding="utf-8"))
    kept = [name for name in rounds if name in _RECORDED or str(name).startswith("seconds_")]
    return {
        "rounds": rounds[kept].to_dict("records"),
        "wall_seconds": manifest["wall_seconds"],
        "peak_memory_bytes": manifest["peak_memory_bytes"],
    }


def preset(rows: str, folder: Path, seconds: float) -> dict[str, Any]:
    """What a round of `paper_v1_code` recorded, on 1,000 rows and 2,000 variants as published."""
    end, weights = time.monotonic() + seconds, shapes.write("deberta-v3-base", folder).backbone
    settings = ["experiment=paper_v1_code", "method=uniform", "seed=42", "augmenter=eda", "pool.prompts=false"]
    settings += [f"dataset.path={rows}", "dataset.test_size=200", f"backbone.source={weights.source}"]
    settings += ["backbone.revision=null", "rounds.number=1", "save_model=false", f"out={folder / 'run'}"]
    command([*_RUN, *settings], end - time.monotonic())
    return _recorded(folder / "run")


def bench(shape: str, rows: str, out: Path, seconds: float) -> dict[str, Any]:
    """The records of `benchmarks.speed training` at 16 and 64 pairs; CheckError has some, if time runs out.

    Raises it too where texts of a shape that takes them without padding were padded.
    """
    arguments = [sys.executable, "-m", "benchmarks.speed", "training", rows, "--shapes", shape, "--out", str(out)]
    file = out.with_name(f"{out.name}.json")
    file.unlink(missing_ok=True)
    try:
        command([*arguments, "--pairs", "16,64", "--steps", "3", "--repeats", "3"], seconds)
    except CheckError as error:
        raise CheckError(str(error), json.loads(file.read_text()) if file.exists() else None) from None
    found = json.loads(file.read_text(encoding="utf-8"))
    if shape not in _PADDED and not all(one.get("packed") for one in found["records"] if one["way"] == "ours"):
        raise CheckError("its texts were padded, or ours failed", found)
    return found


def sweep(rows: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Seconds of 35 fine-tunes of MiniLM on one card, of 7 arms by 5 seeds, and what one of them recorded."""
    settings = [f"method={','.join(_ARMS)}", "seed=0,1,2,3,4", "train=full", "backbone=minilm", "augmenter=rules"]
    settings += ["dataset=hh_rlhf", f"dataset.path={rows}", "dataset.validation=100", "dataset.test_size=200"]
    settings += ["rounds.number=5", "rounds.steps=47", "rounds.budget=2000", "batch_size=64"]
    began = time.monotonic()
    command([*_RUN, "-m", *settings, "save_model=false", "workers=5", f"study={folder}"], seconds)
    found = {"seconds": time.monotonic() - began, **_recorded(next(folder.glob("mars-*")))}
    if (made := sum(RunDirectory(run).finished for run in folder.glob("*-*"))) != 35:
        raise CheckError(f"{made} of 35 runs are finished", found)
    return found


def policy(folder: Path, seconds: float) -> dict[str, Any]:
    """Speed and memory of four steps of RLOO of a random Qwen3-0.6B, with a small reward model."""
    end, weights, run = time.monotonic() + seconds, folder / "qwen3", folder / "run"
    shapes.write_writer("qwen3-0.6b", weights)
    settings = ["backbone=minilm", "train=head", "method=uniform", "augmenter=planted", "dataset.size=64"]
    settings += ["dataset.test_size=64", "rounds.number=1", "rounds.budget=64", f"out={run}"]
    command([*_RUN, *settings], end - time.monotonic())
    # A random policy hardly ever ends a reply, so that each has all its tokens.
    settings = [f"benchmark.policy={weights}", "benchmark.training.steps=4", "benchmark.every=4"]
    settings += ["benchmark.prompts=16", "benchmark.training.batch_size=64", "benchmark.max_new_tokens=32"]
    judge = [sys.executable, "-m", "benchmarks.evaluate", f"model={run}", "benchmark=trained_policy"]
    command([*judge, *settings], end - time.monotonic())
    record = json.loads((run / "evaluations" / "trained_policy.json").read_text(encoding="utf-8"))
    return {key: record[key] for key in ("speed", "peak_memory_bytes")} | {"steps": record["data"]["training"]}


def compiling(rows: str, seconds: float) -> dict[str, Any]:
    """What `benchmarks.speed compiling` says of BERT-base."""
    arguments = [sys.executable, "-m", "benchmarks.speed", "compiling", rows, "--shape", "bert-base", "--pairs", "64"]
    return {"said": _end(command(arguments, seconds)).splitlines()[-2:]}


def checks_of(rows: str, out: str, folder: Path) -> list[Check]:
    """All checks, what matters most first. folder: for what they write and nobody keeps."""
    shapes_of_all = [
        Check(shape, 100 if shape.startswith("qwen3") else 75, partial(bench, shape, rows, Path(f"{out}_{shape}")))
        for shape in _SHAPES
    ]
    return [
        Check("same-bits", 70, partial(same_bits, _FINE_TUNE, folder)),
        *shapes_of_all[:3],
        Check("tests", 100, tests),
        Check("paper-preset", 80, partial(preset, rows, folder)),
        Check("sweep", 110, partial(sweep, rows, folder / "sweep")),
        *shapes_of_all[3:],
        Check("policy", 70, partial(policy, folder / "policy")),
        Check("compile", 60, partial(compiling, rows)),
    ]


def main(rows: str = "../shared/data/hh_rlhf/harmless-base", only: str = "", out: str = "outputs/device_check") -> None:
    if not torch.cuda.is_available():
        print("device: there is no GPU that PyTorch can use, and all of these checks need one", file=sys.stderr)
        raise SystemExit(2)
    about = {"machine": machine.name(torch.device("cuda")), "torch": torch.__version__}

    def note(results: list[dict[str, Any]]) -> None:
        files.write_json(Path(f"{out}.json"), about | {"checks": results})

    with tempfile.TemporaryDirectory() as name:
        checks = {check.name: check for check in checks_of(rows, out, Path(name))}
        wanted = [choose(checks, one, "only") for one in only.split(",")] if only else list(checks.values())
        passed = carry_out(wanted, WHOLE, note)
    print(f"{out}.json")
    raise SystemExit(0 if passed else 1)
