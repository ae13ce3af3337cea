"""docs/evaluation_record.md names every metric, column and key that there is, no other, and its one-liners run."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import hydra
import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from support import ROOT
from support.downstream import training_table
from support.voted import voted

from benchmarks import evaluate, registry
from benchmarks.protocols import reward_bench, reward_bench_2, reward_bench_raw
from benchmarks.protocols.best_of_n import BestOfN, BestOfNConfig
from benchmarks.protocols.files import PreferenceFiles
from benchmarks.protocols.in_distribution import InDistribution
from benchmarks.protocols.released_v1 import ReleasedV1
from benchmarks.protocols.robustness import Robustness, RobustnessConfig
from benchmarks.protocols.trained_policy import TrainedPolicy, TrainedPolicyConfig
from mars.augment.eda import Eda
from mars.augment.rules import Rules
from mars.config import build
from mars.run import execute
from mars.worlds.planted import load_planted
from mars.worlds.planted_settings import PlantedConfig

PAGE = (ROOT / "docs" / "evaluation_record.md").read_text(encoding="utf-8")
SECTIONS = dict(zip(*[iter(re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)[1:])] * 2, strict=True))


def named(section: str, column: int = 0) -> set[str]:
    """What stands in code style in a column of the section's table."""
    cells = [line.strip("|").split("|") for line in SECTIONS[section].splitlines() if line.startswith("|")]
    return set(re.findall(r"`([^`]+)`", " ".join(cell[column] for cell in cells if not cell[0].startswith(" *"))))


def texts_as_hashes(texts, padded=False):
    digests = [blake2b(repr(text).encode(), digest_size=4).digest() for text in texts]
    return np.array([int.from_bytes(digest, "big") / 2**32 for digest in digests])


def lines(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """{benchmark: (its score table, its metrics)}, on planted rows with votes (100 and the ties), or made-up ones."""
    place, few = tmp_path_factory.mktemp("rows"), {"resamples": 5}
    planted = load_planted(PlantedConfig(size=1, validation=5, test_size=134))
    preferences = replace(planted, tests={split: voted(pairs) for split, pairs in planted.tests.items()})
    text = {"prompt": "Q?", "chosen": "yes", "rejected": "no, never"}
    pairs = [text | {"subset": name, "id": i} for i, name in enumerate(reward_bench.COUNTS)]
    prompts = [
        {"prompt": "Q?", "chosen": ["a"], "rejected": ["b", "c"], "subset": name, "id": "1"}
        for name in reward_bench_2.SUBSETS if name != "Ties"
    ]  # fmt: skip
    prompts += [prompts[0] | {"subset": "Ties", "id": f"{kind}:1"} for kind in ("tied", "ref")]
    one, two = lines(place / "1.jsonl", pairs), lines(place / "2.jsonl", prompts)
    edits = {"paraphrase": {"name": "rules"}, "eda": {"name": "eda"}, **few}
    built = {
        "in_distribution": InDistribution(**few),
        "released_v1": ReleasedV1(),
        "files": PreferenceFiles(path=one, **few),
        "robustness": Robustness(build(RobustnessConfig, edits, ""), {"paraphrase": Rules().make, "eda": Eda().make}),
        "reward_bench": reward_bench.RewardBench(path=one, **few),
        "reward_bench_raw": reward_bench_raw.RewardBenchRaw(path=one, **few),
        "reward_bench_2": reward_bench_2.RewardBench2(path=two, **few),
        "best_of_n": BestOfN(BestOfNConfig(n=2, candidates=3, prompts=5, **few)),
    }
    scored = {name: judged.score(texts_as_hashes, preferences)[0] for name, judged in built.items()}
    built["trained_policy"] = TrainedPolicy(TrainedPolicyConfig(**few))
    scored["trained_policy"] = training_table()
    assert built.keys() == registry.names()
    return {name: (table, built[name].evaluate(table).metrics) for name, table in scored.items()}


def test_the_page_names_every_metric_of_every_benchmark_and_no_other(tables):
    emitted = {metric for _, parts in tables.values() for values in parts.values() for metric in values}
    ends = {f"{metric}{end}" for metric in emitted for end in ("_lo", "_hi", "_half_width")}
    assert named("Metrics") == emitted - ends
    assert {"accuracy_lo", "accuracy_half_width"} <= ends & emitted


def test_the_page_names_every_column_of_the_score_tables(tables):
    for name, (table, _) in tables.items():
        like = "in_distribution" if name in ("released_v1", "files", "reward_bench", "reward_bench_raw") else name
        rows = [
            line for line in SECTIONS["Score tables"].splitlines() if re.match(rf"\| (.*, )?({like}|{name})\b", line)
        ]
        said = set(re.findall(r"`(\w+)`", " ".join(rows)))
        assert set(table.columns) - {"id", "subset"} <= said, name


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A small study, and what judging it prints."""
    root = tmp_path_factory.mktemp("judged")

    def composed(config: str, *overrides: str):
        GlobalHydra.instance().clear()
        with hydra.initialize_config_module("conf", version_base="1.3"):
            return OmegaConf.to_container(hydra.compose(config, [*overrides, f"cache={root}/cache"]), resolve=True)

    sizes = ("dataset.size=8", "dataset.validation=8", "dataset.test_size=8", "benchmark.resamples=5", "train=head")
    run = execute(composed("config", "scale=tiny", "method=none", *sizes, f"study={root}/study"))
    cfg = composed("evaluate", f"study={root}/study", "benchmark=robustness", "benchmark.resamples=5")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        evaluate.run(cfg)
    return run, printed.getvalue()


def test_the_page_names_every_key_of_a_record(judged):
    run, printed = judged
    records = [json.loads(path.read_text()) for path in sorted((run / "evaluations").glob("*.json"))]
    assert len(records) == 2  # the run's own, and that of evaluate
    for record in records:
        assert named("The record") == record.keys()
        for key in ("question", "model", "truncated", "speed", "peak_memory_bytes", "details"):
            assert record[key].keys() <= named("The record", 1), key
    assert json.loads(printed).keys() == records[0].keys() - {"details", "environment"} | {"baselines"}


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_one_liners_of_the_page_answer(judged):
    run, printed = judged
    commands = [line for line in SECTIONS["With jq"].splitlines() if "jq " in line and not line.startswith("#")]
    assert len(commands) == 6
    for command in commands:
        shell = "jq " + command.split("jq ", 1)[1].replace("RUN", str(run)).replace("STUDY", str(run.parent))
        done = subprocess.run(["bash", "-c", shell], input=printed, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
        assert "null" not in done.stdout, command
