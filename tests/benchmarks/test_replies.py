"""Best-of-n picks as replies: the right candidates with their texts, ready for a judge of the whole study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.commands import run_here
from support.study import make_run

from benchmarks.judge import main as judge
from benchmarks.protocols.best_of_n import BestOfN, BestOfNConfig
from benchmarks.replies import main as replies
from benchmarks.replies import picks
from mars.config import UserError, build
from mars.pool.planted_reading import read
from mars.preferences.dialogue import Message
from mars.record.facts import SCHEMA_VERSION
from mars.record.run_directory import RunDirectory, finished_runs
from mars.worlds.planted import load_planted
from mars.worlds.planted_candidates import candidates
from mars.worlds.planted_latents import gold
from mars.worlds.planted_settings import PlantedConfig

DATA = {"size": 1, "validation": 1, "test_size": 30}
N, PROMPTS = 4, 12


def longest(texts: Any) -> np.ndarray:
    """A scorer that prefers the longer reply."""
    return np.array([float(len(reply)) for _, reply in texts])


def evaluated(run: Path, score: Any = longest, **settings: Any) -> Path:
    """The run judged on best-of-n by a scorer."""
    benchmark = BestOfN(
        build(BestOfNConfig, {"n": N, "candidates": 6, "prompts": PROMPTS, "resamples": 20, **settings}, "benchmark")
    )
    table, _ = benchmark.score(score, load_planted(PlantedConfig(**DATA)) if benchmark.asks_dataset else None)
    record = {"schema_version": SCHEMA_VERSION, "benchmark": "best_of_n", "label": "best_of_n", "data": {}}
    result = benchmark.evaluate(table)
    RunDirectory(run).write_evaluation(
        "best_of_n", table, record | {"protocol": result.protocol, "metrics": result.metrics}
    )
    return run


def planted_run(study: Path, method: str, seed: int = 0, **settings: Any) -> Path:
    """A finished run on planted data."""
    made = make_run(study, method, seed, 0.5, examples=10, rounds=1, config={"dataset": {"name": "planted", **DATA}})
    return evaluated(made, **settings)


def rows(file: Path) -> list[dict[str, Any]]:
    """The replies in a file."""
    return json.loads(file.read_text())


def test_picks_are_the_best_of_the_first_n_and_the_first_of_equal_ones():
    table = pd.DataFrame({"id": list("aaabbb"), "response": [0, 1, 2] * 2, "score": [1.0, 1.0, 9.0, 0.0, 2.0, 3.0]})
    found = picks(table, 2)
    assert found["of_n"].to_dict() == {"a": 0, "b": 1}
    assert found["of_1"].to_dict() == {"a": 0, "b": 0}
    with pytest.raises(UserError, match='"a" has 3 candidates, fewer than n=4'):
        picks(table, 4)


def test_the_world_s_candidates_are_written_with_the_pair_s_id(tmp_path):
    run = planted_run(tmp_path, "mars")
    done = run_here(replies, f"study={tmp_path}")
    assert done.returncode == 0, done.stderr
    ours, single = rows(run / "replies" / "best_of_n-4.json"), rows(run / "replies" / "best_of_n-1.json")
    assert done.stdout.split() == [str(run / "replies" / f"best_of_n-{n}.json") for n in (4, 1)]
    assert {row["generator"] for row in ours} == {"mars best_of_n-4"}
    assert len(ours) == PROMPTS
    for row, other in zip(ours, single, strict=True):
        texts = [text for text, _ in candidates(row["id"], N)]
        assert row["output"] == max(texts, key=len)
        assert other["output"] == texts[0]
        assert row["dataset"] == "planted"


def test_a_study_is_judged_run_by_run_and_what_fails_does_not_stop_the_others(tmp_path):
    for seed in (0, 1):
        planted_run(tmp_path, "mars", seed)
    run_here(replies, f"study={tmp_path}")
    names = (f"study={tmp_path}", "ours=best_of_n-4", "theirs=best_of_n-1", "device=cpu", "same_twice=3")
    done = run_here(judge, *names, "judge=gold")
    assert done.returncode == 0, done.stderr
    for run in finished_runs(tmp_path):
        folder = run.path / "judgements" / "best_of_n-4-vs-best_of_n-1"
        verdicts = pd.read_parquet(folder / "gold" / "verdicts.parquet")
        ours, theirs = (rows(folder / f"{side}.json") for side in ("ours", "theirs"))
        rewards = [[gold(read(row["output"], row["id"])) for row in side] for side in (ours, theirs)]
        wanted = ["ours" if a > b else "theirs" if a < b else "tie" for a, b in zip(*rewards, strict=True)]
        assert verdicts["verdict"].tolist()[::2] == wanted
    (run.path / "replies" / "best_of_n-4.json").unlink()
    again = run_here(judge, *names, "judge=length")
    assert "1 of 2 runs could not be judged" in again.stderr
    assert len(list(tmp_path.glob("*/judgements/*/length/judgement.json"))) == 1
    assert "out: judgements of study=DIR go into its runs" in run_here(judge, *names, "judge=gold", "out=x").stderr


def test_a_file_s_candidates_are_read_again_and_others_are_told(tmp_path):
    found = [{"prompt": f"Q{i}?", "candidates": ["a" * (1 + (i + k) % 5) for k in range(4)]} for i in range(8)]
    file, other = tmp_path / "c.jsonl", tmp_path / "d.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in found))
    other.write_text(file.read_text().replace("aa", "aaa"))
    run = evaluated(make_run(tmp_path / "s", "mars", 0, 0.5, examples=10, rounds=1), path=str(file))
    assert "candidates: is required" in run_here(replies, f"model={run}").stderr
    assert "is not the one that was scored" in run_here(replies, f"model={run}", f"candidates={other}").stderr
    assert not (run / "replies").exists()
    assert run_here(replies, f"model={run}", f"candidates={file}").returncode == 0
    written = rows(run / "replies" / "best_of_n-4.json")
    assert [row["output"] for row in written] == [max(row["candidates"], key=len) for row in found]


def test_a_policy_s_candidates_come_from_the_cache(tmp_path):
    import torch

    from benchmarks.models.policy import Policy, PolicyConfig

    sampling = {"policy": "random:qwen3", "policy_template": "plain", "max_new_tokens": 4, "prompts": 3}
    place = tmp_path / "cache", torch.device("cpu")
    run = make_run(
        tmp_path / "s", "mars", 0, 0.5, examples=10, rounds=1, config={"dataset": {"name": "planted", **DATA}}
    )
    benchmark = BestOfN(build(BestOfNConfig, {"n": 2, "candidates": 2, "resamples": 5, **sampling}, "b")).at(*place)
    table, _ = benchmark.score(longest, load_planted(PlantedConfig(**DATA)))
    result = benchmark.evaluate(table)
    record = {"schema_version": SCHEMA_VERSION, "benchmark": "best_of_n", "data": {}, "metrics": result.metrics}
    RunDirectory(run).write_evaluation("best_of_n", table, record | {"protocol": result.protocol})
    where = (f"cache={place[0]}", "device=cpu", "candidates=random:qwen3")
    done = run_here(replies, f"model={run}", *where)
    assert done.returncode == 0, done.stderr
    policy = Policy(PolicyConfig("random:qwen3", None, "plain", max_new_tokens=4), *place)
    pairs = {pair.id: pair for pair in load_planted(PlantedConfig(**DATA)).tests["test"]}
    for row in rows(run / "replies" / "best_of_n-1.json"):
        assert row["output"] == policy.write((Message("user", pairs[row["id"]].prompt[0].content),), 2).texts[0]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "model: give a run's directory, or study=DIR"),
        (("model=nowhere",), "nowhere holds no finished run"),
        (("study=RUN",), "has no evaluation"),
        (("study=RUN", "label=in_distribution"), "is of in_distribution, not of best_of_n"),
        (("study=RUN", "n=1"), "n: must be at least 2"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, arguments, line):
    make_run(tmp_path, "mars", 0, 0.5, examples=10, rounds=1)
    done = run_here(replies, *(text.replace("RUN", str(tmp_path)) for text in arguments))
    assert done.returncode == 1
    assert line in done.stderr.splitlines()[-1]
