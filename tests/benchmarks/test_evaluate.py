"""`python -m benchmarks.evaluate`: one command, any model, any protocol, and nothing replaced unasked."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from support import ROOT, SHARED
from support.commands import run_here

from benchmarks import evaluate
from mars.config import UserError
from mars.method.journal import Page
from mars.reward.weights import file_sha256
from mars.run import execute

PANDALM = SHARED / "data" / "pandalm" / "testset-v1.json.gz"
ROWS = [
    {"id": f"row-{i}", "prompt": f"Question {i}?", "chosen": "A good long answer.", "rejected": "No." * i, "subset": s}
    for i, s in enumerate("aabbb", start=1)
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """One finished tiny run of each way of training, and the cache they share."""
    root = tmp_path_factory.mktemp("runs")
    made = {"cache": root / "cache"}
    for mode in ("full", "head"):
        GlobalHydra.instance().clear()
        with hydra.initialize_config_module("conf", version_base="1.3"):
            where = [f"study={root}/study", f"cache={root}/cache"]
            cfg = hydra.compose("config", ["scale=tiny", f"train={mode}", "rounds.number=1", *where])
        made[mode] = execute(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    return made


@pytest.fixture
def run_of(runs, tmp_path) -> Callable[[str], Path]:
    """A copy of the run, so that a test may write into it."""
    return lambda mode: Path(shutil.copytree(runs[mode], tmp_path / "study" / runs[mode].name))


@pytest.fixture
def ask(runs, capsys) -> Callable[..., list[dict[str, Any]]]:
    """The command, and the JSON documents it printed."""

    def asked(*overrides: object) -> list[dict[str, Any]]:
        GlobalHydra.instance().clear()
        with hydra.initialize_config_module("conf", version_base="1.3"):
            cfg = hydra.compose("evaluate", [f"cache={runs['cache']}", *map(str, overrides)])
        capsys.readouterr()
        evaluate.run(OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))  # type: ignore[arg-type]
        printed, decoder, documents = capsys.readouterr().out.strip(), json.JSONDecoder(), []
        while printed:
            document, end = decoder.raw_decode(printed)
            documents.append(document)
            printed = printed[end:].strip()
        return documents

    return asked


@pytest.fixture
def rows(tmp_path) -> Callable[..., Path]:
    def write(*changed: dict[str, Any]) -> Path:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in changed or ROWS))
        return path

    return write


@pytest.mark.parametrize("mode", ["full", "head"])
def test_a_run_gets_its_results_beside_those_it_has(mode, run_of, ask, rows):
    run = run_of(mode)
    before = json.loads((run / "metrics.json").read_text())
    (summary,) = ask(f"model={run}", "benchmark=files", f"benchmark.path={rows()}")
    assert summary["metrics"]["overall"]["n"] == 5
    assert json.loads((run / "metrics.json").read_text()) == before | {"files": summary["metrics"]}
    record = json.loads((run / "evaluations" / "files.json").read_text())
    assert {k: v for k, v in record.items() if k not in ("details", "environment")} == {
        k: v for k, v in summary.items() if k != "baselines"
    }
    assert summary["baselines"]["random"]["overall"]["accuracy"] == 0.5
    table = pd.read_parquet(run / "scores" / "files.parquet")
    assert list(table["id"]) == [row["id"] for row in ROWS]
    accuracy = np.mean(np.sign(table["chosen_score"] - table["rejected_score"]) / 2 + 0.5)
    assert summary["metrics"]["overall"]["accuracy"] == pytest.approx(accuracy)


@pytest.mark.parametrize("mode", ["full", "head"])
def test_a_saved_run_is_judged_as_it_judged_itself(mode, run_of, ask):
    run = run_of(mode)
    own = pd.read_parquet(run / "scores" / "in_distribution.parquet")
    ask(f"model={run}", "benchmark=in_distribution", "force=true")
    again = pd.read_parquet(run / "scores" / "in_distribution.parquet")
    pd.testing.assert_frame_equal(own, again, atol=1e-5)


def test_the_same_question_is_answered_once(run_of, ask, rows, tmp_path):
    run, path = run_of("full"), rows()
    first = ask(f"model={run}", "benchmark=files", f"benchmark.path={path}")
    elsewhere = path.rename(tmp_path / "renamed.jsonl")  # the same rows, wherever they are
    assert ask(f"model={run}", "benchmark=files", f"benchmark.path={elsewhere}") == first
    changed = rows(*ROWS[:3])
    with pytest.raises(UserError, match="holds another evaluation, of other rows"):
        ask(f"model={run}", "benchmark=files", f"benchmark.path={changed}")


def test_a_run_answered_the_usual_question_about_itself(run_of, ask):
    run = run_of("full")
    record = (run / "evaluations" / "in_distribution.json").read_bytes()
    (summary,) = ask(f"model={run}", "benchmark=in_distribution")
    assert summary["metrics"] == json.loads((run / "metrics.json").read_text())["in_distribution"]
    assert (run / "evaluations" / "in_distribution.json").read_bytes() == record


def test_one_models_numbers_are_never_given_as_anothers(run_of, ask, rows, tmp_path):
    full, head = run_of("full"), run_of("head")
    question = ("benchmark=files", f"benchmark.path={rows()}", f"out={tmp_path}/out")
    ask(f"model={full}", *question)
    assert not (full / "evaluations" / "files.json").exists()
    with pytest.raises(UserError, match="holds another evaluation, of other model"):
        ask(f"model={head}", *question)
    weights = full / "model" / "model.safetensors"
    save_file({key: 2 * value for key, value in load_file(weights).items()}, weights, {"format": "pt"})
    file_sha256.cache_clear()  # of this process, which has read the file before
    with pytest.raises(UserError, match="holds another evaluation, of other model"):
        ask(f"model={full}", *question)


def test_another_question_under_the_same_label_replaces_nothing_unasked(run_of, ask, rows):
    run = run_of("full")
    question = (f"model={run}", "benchmark=files", f"benchmark.path={rows()}")
    ask(*question)
    kept = (run / "evaluations" / "files.json").read_bytes()
    with pytest.raises(
        UserError, match=r"files\.json holds another evaluation, of other settings .*label=NAME.*force=true"
    ):
        ask(*question, "benchmark.resamples=50")
    assert (run / "evaluations" / "files.json").read_bytes() == kept
    ask(*question, "benchmark.resamples=50", "label=fifty")
    assert (run / "evaluations" / "files.json").read_bytes() == kept
    (replaced,) = ask(*question, "benchmark.resamples=50", "force=true")
    assert replaced["protocol"]["resamples"] == 50


def test_a_dataset_that_is_named_gets_its_own_label(run_of, ask):
    run = run_of("full")
    (summary,) = ask(f"model={run}", "benchmark=in_distribution", "dataset=planted", "dataset.test_size=40")
    assert (summary["benchmark"], summary["label"]) == ("in_distribution", "in_distribution-planted")
    assert set(json.loads((run / "metrics.json").read_text())) == {"in_distribution", "in_distribution-planted"}


def test_a_model_directory_leaves_its_results_where_it_is_told(runs, ask, rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    question = (f"model={runs['full']}/model", "benchmark=files", f"benchmark.path={rows()}")
    ask(*question, "out=here")
    assert (tmp_path / "here" / "scores" / "files.parquet").exists()
    ask(*question)
    ask(*question, "template=plain", "max_length=64")  # read otherwise, it is another model
    assert len(list((tmp_path / "outputs" / "evaluations").glob("model-*/scores/files.parquet"))) == 2


def turns(question, reply):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]


ARENA = [
    {
        "conversation_a": turns(f"Question {i}?", f"Good {i}."),
        "conversation_b": turns(f"Question {i}?", f"Bad, {i}."),
        "winner": "tie" if i % 10 == 0 else "model_a",
    }
    for i in range(60)
]
JUDGED = [
    {"ask": f"Question {i}?", "good": f"Good {i}.", "poor": f"Bad, {i}.", "gap": 1 + i % 3, "kind": "xy"[i % 2]}
    for i in range(60)
]
OWN = {"prompt": "ask", "chosen": "good", "rejected": "poor", "margin": "gap", "subset": "kind"}


@pytest.mark.parametrize(
    ("content", "settings", "on", "shape"),
    [
        (ARENA, {}, {"dataset.on.tie": "half", "benchmark.on.tie": "drop"}, "arena: "),
        (JUDGED, {f"columns.{usual}": own for usual, own in OWN.items()}, {}, "plain: as given; prompt is 'ask'"),
    ],
    ids=["arena", "own columns"],
)
def test_a_file_in_a_shape_of_its_own_trains_and_is_judged_by_a_command_each(
    content, settings, on, shape, compose, ask, tmp_path
):
    """`content` is a file's rows; settings: of dataset and benchmark alike."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in content))

    def overrides(group):
        both = {f"{group}.{key}": value for key, value in settings.items()} | on
        both.pop("benchmark.columns.margin", None)  # which judges nothing
        return [f"{key}={value}" for key, value in both.items() if key.startswith(group)]

    data = ("dataset=files", f"dataset.train={path}", "dataset.test_from_train=0.2")
    run = execute(compose("scale=tiny", *data, *overrides("dataset"), "augmenter=rules", "rounds.number=1"))
    told = json.loads((run / "manifest.json").read_text())["data"]
    assert told["rule"].startswith(shape)
    assert told["sources"]["train"][0]["rule"] == told["rule"]
    (summary,) = ask(f"model={run}", "benchmark=files", f"benchmark.path={path}", *overrides("benchmark"))
    assert summary["metrics"]["overall"]["n"] == len(content) - 6 * (content is ARENA)


@pytest.mark.skipif(not PANDALM.exists(), reason="needs PandaLM's rows in ../shared/data")
def test_pandalm_as_published_trains_and_is_judged_by_a_command_each(compose, ask):
    data = ("dataset=files", f"dataset.train={PANDALM}", "dataset.test_from_train=0.2", "dataset.on.empty=keep")
    run = execute(compose("scale=tiny", *data, "dataset.on.tie=half", "augmenter=rules", "rounds.number=1"))
    told = json.loads((run / "manifest.json").read_text())["data"]
    assert told["rule"].startswith("pandalm: ")
    assert told["sources"]["train"][0]["rows"] == 999
    let_go = ("benchmark.on.empty=keep", "benchmark.on.tie=drop")
    (summary,) = ask(f"model={run}", "benchmark=files", f"benchmark.path={PANDALM}", *let_go)
    assert summary["metrics"]["overall"]["n"] == 894  # of 999 rows 105 are ties


def test_every_finished_run_of_a_study(run_of, ask, rows):
    full, head = run_of("full"), run_of("head")
    (head.parent / "mars-planted-tiny-s9-00000000").mkdir()  # unfinished
    question = (f"study={full.parent}", "benchmark=files", f"benchmark.path={rows()}")
    summaries = ask(*question)
    assert sorted(s["model"]["name"] for s in summaries) == sorted([full.name, head.name])
    assert all((run / "scores" / "files.parquet").exists() for run in (full, head))


def test_one_broken_run_of_a_study_does_not_keep_the_others_from_being_judged(run_of, ask, rows):
    full, head = run_of("full"), run_of("head")
    (full / "model" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"study: 1 of 2 runs could not be judged; the first: .*holds no weights"):
        ask(f"study={full.parent}", "benchmark=files", f"benchmark.path={rows()}")
    assert (head / "evaluations" / "files.json").exists()


@pytest.mark.parametrize("mode", ["full", "head"])
def test_robustness_of_a_run_on_its_own_rows(mode, run_of, ask):
    (summary,) = ask(f"model={run_of(mode)}", "benchmark=robustness", "augmenter@benchmark.paraphrase=planted")
    metrics = summary["metrics"]
    assert {"paraphrase", "eda", "whitespace", "prefix", "padding"} <= set(metrics)
    assert metrics["padding"]["margin_change_abs"] < 1e-5
    assert metrics["padding"]["flip_rate"] == 0


def test_best_of_n_of_every_run_of_a_study_on_its_own_world(run_of, ask):
    full, head = run_of("full"), run_of("head")
    question = ("benchmark=best_of_n", "benchmark.prompts=4", "benchmark.n=2", "benchmark.candidates=4")
    summaries = ask(f"study={full.parent}", *question)
    assert {s["model"]["name"] for s in summaries} == {full.name, head.name}
    for summary in summaries:
        assert summary["metrics"]["overall"]["n"] == 4
        assert {"gold_gain", "gold_regret", "proxy", "kl"} <= summary["metrics"]["best_of/2"].keys()
    tables = [pd.read_parquet(run / "scores" / "best_of_n.parquet") for run in (full, head)]
    pd.testing.assert_frame_equal(*(table.drop(columns="score") for table in tables))  # the same candidates
    assert "gold gain, sd" in (full / "model" / "README.md").read_text()


def test_candidates_of_a_file_are_scored_once_a_text_and_long_prompts_counted(run_of, ask, tmp_path):
    rows = [{"prompt": p, "candidate": c} for p in ("short", "long " * 400) for c in ("yes", "no", "yes")]
    path = tmp_path / "candidates.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    question = (f"model={run_of('full')}", "benchmark=best_of_n", "benchmark.n=2", f"benchmark.path={path}")
    with pytest.raises(UserError, match=r"candidates\.jsonl:3: repeats the candidate at candidates\.jsonl:1"):
        ask(*question)
    (summary,) = ask(*question, "benchmark.repeated=keep")
    assert summary["truncated"] == {"texts": 4, "prompt": 2, "response": 0}
    assert "gold" not in summary["metrics"]["overall"]
    assert "no measure" in summary["protocol"]["gold"]


def test_results_go_to_the_runs_own_wandb_run(run_of, ask, rows, monkeypatch, tmp_path):
    run = run_of("full")
    ask(f"model={run}", "benchmark=files", f"benchmark.path={rows()}", "logger=wandb")
    assert list((run / "wandb").glob("offline-run-*/*.wandb"))


def test_scores_that_are_not_finite_are_kept_and_refused(run_of, ask, rows):
    run = run_of("full")
    file = run / "model" / "model.safetensors"
    weights = load_file(file)
    save_file(
        {k: v * float("nan") if k.startswith("classifier") else v for k, v in weights.items()}, file, {"format": "pt"}
    )
    with pytest.raises(UserError, match='the chosen score of "row-1" is nan'):
        ask(f"model={run}", "benchmark=files", f"benchmark.path={rows()}")
    assert pd.read_parquet(run / "scores" / "files.failed.parquet")["chosen_score"].isna().all()
    assert "files" not in json.loads((run / "metrics.json").read_text())


def test_a_failed_evaluation_leaves_the_earlier_one_whole(run_of, ask, rows):
    run = run_of("full")
    question = (f"model={run}", "benchmark=files", f"benchmark.path={rows()}")
    ask(*question)
    names = ("scores/files.parquet", "evaluations/files.json", "metrics.json")
    before = [(run / name).read_bytes() for name in names]
    file = run / "model" / "model.safetensors"
    save_file({key: value * float("nan") for key, value in load_file(file).items()}, file, {"format": "pt"})
    with pytest.raises(UserError):
        ask(*question, "force=true")
    assert [(run / name).read_bytes() for name in names] == before


def test_an_evaluation_that_is_interrupted_goes_on_with_the_texts_it_has_not_scored(run_of, ask, rows, monkeypatch):
    run, found, told = run_of("full"), Page.found, []

    def counted(page, batch):
        found(page, batch)
        told.append(batch)
        if len(told) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Page, "found", counted)
    question = (f"model={run}", "benchmark=files", f"benchmark.path={rows()}", "batch_size=1")
    with pytest.raises(KeyboardInterrupt):
        ask(*question)
    ask(*question)
    assert sum(map(len, told)) == 2 * len(ROWS)  # texts, each once
    assert not (run / "checkpoint").exists()
    interrupted = (run / "scores" / "files.parquet").read_bytes()
    ask(*question, "force=true")
    assert (run / "scores" / "files.parquet").read_bytes() == interrupted


def test_scores_of_an_older_run_are_not_replaced_unasked(run_of, ask):
    run = run_of("full")
    shutil.rmtree(run / "evaluations")
    kept = (run / "scores" / "in_distribution.parquet").read_bytes()
    with pytest.raises(UserError, match="holds scores without a record"):
        ask(f"model={run}", "benchmark=in_distribution")
    assert (run / "scores" / "in_distribution.parquet").read_bytes() == kept


def test_a_place_that_cannot_be_written_to_is_found_before_anything_is_scored(runs, ask, rows, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match=r"out: .*taken cannot be written to"):
        ask(f"model={runs['full']}", "benchmark=files", f"benchmark.path={rows()}", f"out={tmp_path}/taken")


def test_a_directory_in_the_place_of_a_file_is_named_as_one(runs, ask, tmp_path):
    with pytest.raises(UserError, match=r"is a directory without a file of \.jsonl, \.json, \.csv"):
        ask(f"model={runs['full']}", "benchmark=files", f"benchmark.path={tmp_path}", "label=other")


def test_damaged_records_are_one_line(run_of, ask, rows):
    run = run_of("full")
    question = (f"model={run}", "benchmark=files", f"benchmark.path={rows()}")
    ask(*question)
    (run / "evaluations" / "files.json").write_text("{")
    with pytest.raises(UserError, match=r"files\.json: cannot be read: Expecting"):
        ask(*question)
    (run / "metrics.json").write_text("")
    with pytest.raises(UserError, match=r"metrics\.json: cannot be read: Expecting"):
        ask(*question, "force=true")


def test_two_evaluations_that_end_together_both_count(tmp_path):
    """Each process reads metrics.json, adds its own and writes it back; a lock keeps one from undoing the other's."""
    program = """
import os, sys
from pathlib import Path
import numpy as np
from benchmarks.protocol import Asked, judge
from benchmarks.protocols.files import PreferenceFiles
class Lengths:
    texts = tokens = 0
    def truncated(self): return {}
    def __call__(self, texts, padded=False): return np.array([float(len(t)) for _, t in texts])
path, out = sys.argv[1:]
other = os.fork()
for i in range(20):
    label = f"{'a' if other else 'b'}{i}"
    judge(Asked("files", {}, PreferenceFiles(path, resamples=1), label), Lengths(), None, Path(out), {}, {})
if other:
    assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 0
"""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    subprocess.run([sys.executable, "-c", program, str(path), str(tmp_path / "out")], cwd=ROOT, check=True)
    assert len(json.loads((tmp_path / "out" / "metrics.json").read_text())) == 40


def test_an_unfinished_run_and_one_without_a_model(run_of, ask):
    run = run_of("full")
    shutil.rmtree(run / "model")
    with pytest.raises(UserError, match=r"kept no model \(run it with save_model=true"):
        ask(f"model={run}", "benchmark=in_distribution", "force=true")
    (run / "DONE").unlink()
    with pytest.raises(UserError, match="is an unfinished run"):
        ask(f"model={run}", "benchmark=in_distribution", "force=true")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"rejected": ""}, r'rows\.jsonl:2: "rejected" is empty'),
        ({"rejected": None}, r'rows\.jsonl:2: "rejected" is null, not text'),
        ({"id": "row-1"}, r'rows\.jsonl:2: the id "row-1" stands at rows\.jsonl:1 already'),
    ],
)
def test_a_row_that_cannot_be_used_is_one_line(change, line, runs, ask, rows, tmp_path):
    path = rows(ROWS[0], ROWS[1] | change)
    with pytest.raises(UserError, match=line):
        ask(f"model={runs['full']}/model", "benchmark=files", f"benchmark.path={path}", f"out={tmp_path}/out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["benchmark=files"],
            "error: model: is required (model=DIR_OR_HUB_ID, or study=DIR for every finished run in it)",
        ),
        (["model=x", "benchmark=null"], "error: a config group was set to null"),
        (["model=x", "benchmark=fils"], 'error: benchmark: "fils" is unknown (did you mean "files"?)'),
        (["model=tests", "benchmark=files"], "error: benchmark.path: is required"),
        (["model=x", "study=y"], "error: study: judges every finished run in it (leave model=… away)"),
        (["model=x", "benchmark=files", "benchmark.pth=y"], "error: benchmark.pth: no such setting"),
        (["model=./x", "benchmark=reward_bench"], "error: model: no such directory ./x"),
        (["model=x", "benchmark=reward_bench", "token_budget=0"], "error: token_budget: must be at least 1, not 0"),
    ],
)
def test_a_mistake_is_one_line_on_standard_error(overrides, line, tmp_path):
    done = run_here(evaluate.main, *overrides, cwd=ROOT)
    assert done.returncode == 1
    assert done.stdout == ""
    (only,) = done.stderr.strip().splitlines()
    assert only.startswith(line)
