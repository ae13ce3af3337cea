"""`python -m benchmarks.judge`: every judge, both orders, nothing paid twice, nothing half-written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.commands import run_here
from support.endpoint import KEY, Server, failure, reply, serving
from transformers import AutoConfig, AutoModelForSequenceClassification

from benchmarks.judge import main
from benchmarks.judges import controls, wording
from benchmarks.judges.judge import Showing
from mars.preferences.dialogue import Message
from mars.reward import tiny
from mars.worlds.planted import load_planted
from mars.worlds.planted_settings import PlantedConfig

N = 24


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Planted replies: ours is the better one by gold in 2 of 3 prompts."""
    rows: tuple[list[Any], list[Any]] = ([], [])
    for i, pair in enumerate(load_planted(PlantedConfig(test_size=N)).tests["test"]):
        assert pair.gold_margin
        better, worse = (pair.chosen, pair.rejected) if pair.gold_margin > 0 else (pair.rejected, pair.chosen)
        for side, text in zip(rows, (worse, better) if i % 3 == 0 else (better, worse), strict=True):
            side.append({"id": pair.id, "prompt": pair.prompt[0].content, "response": text})
    paths = tmp_path / "ours.jsonl", tmp_path / "theirs.jsonl"
    for path, of_side in zip(paths, rows, strict=True):
        path.write_text("".join(json.dumps(row) + "\n" for row in of_side))
    return str(paths[0]), str(paths[1])


@pytest.fixture
def ask(files: tuple[str, str], tmp_path: Path) -> Callable[..., Any]:
    """The command: its record, or the one line it ends with."""

    def asked(*overrides: str, ours: str = files[0], theirs: str = files[1]) -> Any:
        where = (f"ours={ours}", f"theirs={theirs}", f"out={tmp_path}/out", f"cache={tmp_path}/cache", "device=cpu")
        done = run_here(main, *where, *overrides)
        if done.returncode:
            line = done.stderr.strip().splitlines()[-1]
            assert line.startswith("error: ")
            assert KEY not in done.stderr
            return line
        return json.loads(done.stdout)

    return asked


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("openai", reason="the extra `instruct` is not installed")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        yield server


def endpoint(server: Server, *more: str) -> tuple[str, ...]:
    patience = ("judge.backoff=0.001", "judge.attempts=2", "judge.concurrency=1")
    return ("judge=endpoint", "judge.model=m", f"judge.base_url={server.url}", *patience, "same_twice=0", *more)


def content(body: dict[str, Any]) -> str:
    return body["messages"][0]["content"]


def longer(body: dict[str, Any], _: int) -> Any:
    """Prefers the longer reply, from what it is shown."""
    shown = [content(body).partition(f"<reply_{x}>\n")[2].partition(f"\n</reply_{x}>")[0] for x in "AB"]
    answer = reply("**A**" if len(shown[0]) > len(shown[1]) else "B." if len(shown[0]) < len(shown[1]) else "Tie")
    answer.body["model"] = "m-2026-01-31"
    return answer


# ---- judges that need no endpoint


def test_the_gold_judge_finds_the_planted_win_rate(ask, tmp_path):
    record = ask("judge=gold", "same_twice=5")
    assert record["findings"]["win_rate"]["value"] == pytest.approx(2 / 3)
    assert record["findings"]["position_bias"]["value"] == 0.0
    assert record["useless"] is None
    assert record["same_twice"] == {"asked": 5, "counts": {"tie": 5}}
    table = pd.read_parquet(tmp_path / "out" / "gold" / "verdicts.parquet")
    assert len(table) == 2 * N
    by_order = table.groupby("order")["verdict"].value_counts().unstack()
    assert (by_order.loc["ours_first"] == by_order.loc["theirs_first"]).all()
    annotations = json.loads((tmp_path / "out" / "gold" / "annotations.json").read_text())
    assert sum(row["preference"] - 1 for row in annotations) == pytest.approx(2 / 3 * N)
    assert {"instruction", "output_1", "output_2", "generator_1", "generator_2", "annotator"} <= set(annotations[0])
    written = json.loads((tmp_path / "out" / "ours.json").read_text())
    assert [row["output"] for row in written] == [row["output_2"] for row in annotations]


@pytest.mark.parametrize("name", ["always_a", "coin", "released"])
def test_a_judge_that_knows_nothing_gives_no_verdict(ask, name):
    record = ask(f"judge={name}")
    assert record["verdict"].startswith("No verdict: the judge is useless")
    if name != "coin":
        assert record["findings"]["win_rate"]["value"] == 0.5
        assert record["findings"]["position_bias"]["value"] == 1.0
        assert record["same_twice"]["counts"] == {"A": 20}


def test_the_released_parser_reads_its_own_question():
    said_b = "You are a strict judge. Which is better?\nB"
    assert controls.released_parser(said_b) == "A"
    assert controls.released_parser("B") == "B"
    assert controls.released_parser("neither") == "A"
    prompt = (Message("user", "Why?"),)
    assert {controls.released(Showing(prompt, *pair)) for pair in (("x", "long"), ("long", "x"))} == {"A"}


def test_identical_policies_do_not_differ_and_no_judge_is_asked(ask, files):
    record = ask("judge=length", theirs=files[0])
    assert record["verdict"] == "No difference: ours and theirs gave the same replies."
    assert record["counts"]["identical"] == N
    assert record["findings"]["asked"] == 0


def test_judges_of_the_same_replies_stand_in_one_table_with_the_controls_and_their_agreement(ask, tmp_path):
    ask("judge=gold")
    ask("judge=length")
    page = (tmp_path / "out" / "judgement.md").read_text()
    for name in ("| gold |", "| length |", *(f"| *control:* {name} |" for name in controls.SHOWN)):
        assert page.count(name) >= 1
    assert "useless: it prefers the first reply" in page
    assert "| gold | length |" in page
    again = (tmp_path / "out" / "gold" / "judgement.json").read_bytes()
    ask("judge=gold")  # the same question is answered once
    assert (tmp_path / "out" / "gold" / "judgement.json").read_bytes() == again
    assert "holds another judgement" in ask("judge=gold", "same_twice=0")


def test_replicates_are_files_of_their_own(ask, files, tmp_path):
    record = ask("judge=gold", ours=f"[{files[0]},{files[1]}]", theirs=files[1])
    assert record["counts"]["replicates"] == 2
    assert record["counts"]["identical"] == N
    assert record["findings"]["win_rate"]["value"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert "theirs: 2 files, but ours are 1" in ask("judge=gold", theirs=f"[{files[0]},{files[1]}]")


def test_gold_needs_the_pair_s_id(ask, tmp_path):
    bare = tmp_path / "bare.jsonl"
    bare.write_text('{"prompt": "Q", "response": "R"}\n')
    other = tmp_path / "other.jsonl"
    other.write_text('{"prompt": "Q", "response": "S"}\n')
    assert "gold knows planted prompts by their pair's id" in ask("judge=gold", ours=str(bare), theirs=str(other))
    assert not list((tmp_path / "out").rglob("*.json"))


def test_gold_finds_a_planted_prompt_by_its_text_where_the_dataset_is_given(ask, files, tmp_path):
    bare = [tmp_path / "o.jsonl", tmp_path / "t.jsonl"]
    for path, named in zip(bare, files, strict=True):
        rows = [json.loads(line) for line in Path(named).read_text().splitlines()]
        path.write_text("".join(json.dumps({k: row[k] for k in ("prompt", "response")}) + "\n" for row in rows))
    sides = {"ours": str(bare[0]), "theirs": str(bare[1])}
    assert "has none (give every row" in ask("judge=gold", **sides)
    record = ask("judge=gold", "dataset=planted", f"dataset.test_size={N}", **sides)
    assert record["findings"]["win_rate"]["value"] == pytest.approx(2 / 3)
    assert "has none" in ask(
        "judge=gold", "dataset=planted", "dataset.seed=7", "dataset.test_size=5", "label=x", **sides
    )


# ---- a reward model


@pytest.fixture
def reward_model(tmp_path: Path) -> Path:
    tokenizer = tiny.byte_tokenizer()
    config = tiny.random_config("bert", tokenizer)
    config.num_labels = 1
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(tmp_path / "rm")
    tokenizer.save_pretrained(tmp_path / "rm")
    assert AutoConfig.from_pretrained(tmp_path / "rm").num_labels == 1
    return tmp_path / "rm"


def test_a_reward_model_has_no_position_bias_and_one_that_gives_nan_is_one_line(ask, reward_model, tmp_path):
    record = ask("judge=reward_model", f"judge.model={reward_model}")
    assert record["findings"]["position_bias"]["value"] == 0.0
    assert record["findings"]["consistency"]["value"] == pytest.approx(1.0)
    weights = load_file(reward_model / "model.safetensors")
    save_file({k: v * float("nan") for k, v in weights.items()}, reward_model / "model.safetensors", {"format": "pt"})
    line = ask("judge=reward_model", f"judge.model={reward_model}", "label=broken")
    assert 'scores a reply to "' in line
    assert " nan (" in line
    assert not (tmp_path / "out" / "broken" / "judgement.json").exists()
    assert "no such directory" in ask("judge=reward_model", f"judge.model={tmp_path}/none")


# ---- a chat model


def test_an_endpoint_is_asked_in_both_orders_and_its_dated_name_is_kept(ask, server, tmp_path):
    server.answer = longer
    plan = ask(*endpoint(server, "dry_run=true", "judge.price_prompt=1.0", "judge.price_completion=2.0"))
    assert plan["plan"]["calls"] == 2 * N
    assert plan["plan"]["most_cost"] > 0
    assert not server.bodies
    assert not (tmp_path / "out").exists()
    record = ask(*endpoint(server))
    assert len(server.bodies) == 2 * N
    assert all(body["temperature"] == 0 for body in server.bodies)
    assert record["models"] == ["m-2026-01-31"]
    assert record["wording"] == "brief-1"
    assert record["dates"][0].startswith("20")
    assert record["usage"]["prompt_tokens"] == 100 * 2 * N
    assert record["remarks"] == ["It says what length alone would in 100% of pairs."]
    assert record["controls"]["length"]["agreement"]["kappa"]["value"] == 1.0
    table = pd.read_parquet(tmp_path / "out" / "endpoint" / "verdicts.parquet")
    assert set(table["model"]) == {"m-2026-01-31"}
    assert table["date"].str.startswith("20").all()
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]


def test_what_stops_half_way_is_resumed_without_paying_twice(ask, server, tmp_path):
    server.answer = lambda body, times: longer(body, times) if len(server.bodies) <= 30 else failure(429, "slow down")
    line = ask(*endpoint(server))
    assert "429" in line
    assert "judge.concurrency" in line
    assert not list((tmp_path / "out").rglob("*.*"))  # nothing half-written
    paid = 30
    server.answer = longer
    assert ask(*endpoint(server, "dry_run=true"))["plan"] == pytest.approx(
        ask(*endpoint(server, "dry_run=true"))["plan"] | {"calls": 2 * N - paid, "cached": paid}
    )
    server.bodies.clear()
    ask(*endpoint(server))
    assert len(server.bodies) == 2 * N - paid


def test_cut_off_replies_refusals_and_long_questions_are_unparsable_with_their_reason(ask, server, tmp_path):
    starts: list[str] = []

    def answer(body: dict[str, Any], times: int) -> Any:
        prompt = content(body).partition("<dialogue>")[2].partition("</dialogue>")[0]
        if prompt not in starts:
            starts.append(prompt)
        kind = starts.index(prompt)
        odd = {1: reply("I think", "length"), 2: reply("", refusal="no"), 4: reply("A and B are both good."),
               3: failure(400, "too long", "context_length_exceeded")}  # fmt: skip
        return odd.get(kind) or longer(body, times)

    server.answer = answer
    record = ask(*endpoint(server))
    assert record["unread"] == {"length": 2, "refused": 2, "context_length": 2, "wording": 2}
    assert record["findings"]["left_out"] == 4
    assert record["findings"]["worst"] < record["findings"]["win_rate"]["value"] < record["findings"]["best"]
    server.bodies.clear()
    ask(*endpoint(server, "force=true"))
    assert len(server.bodies) == 2  # the long ones, which cost nothing; what was paid for is kept


def test_an_endpoint_whose_replies_cannot_be_read_is_not_asked_everything(ask, server):
    server.answer = lambda body, times: reply("Both replies have their merits.")
    line = ask(*endpoint(server))
    assert 'judge.model "m" gave no verdict that can be read in 16 replies (wording: "Both replies' in line
    assert len(server.bodies) == 16


def test_a_local_model_is_asked_and_only_its_new_tokens_are_read(ask, files, tmp_path):
    short = [tmp_path / "o.jsonl", tmp_path / "t.jsonl"]
    for path, text in zip(short, ("A", "B"), strict=True):
        path.write_text(json.dumps({"prompt": "Answer with A.", "response": text}) + "\n")
    record = ask("judge=local", "judge.model=random:qwen3", "judge.max_tokens=2", "same_twice=0",
                 ours=str(short[0]), theirs=str(short[1]))  # fmt: skip
    assert record["findings"]["counts"] == {"A": 0, "B": 0, "tie": 0, "unparsable": 2}
    assert "cannot be read" in record["verdict"]


@pytest.mark.parametrize(
    ("text", "brief", "reasons"),
    [
        ("A", "A", "A"),
        ("**B**.", "B", "B"),
        ("Verdict: TIE", "tie", "tie"),
        ("My final answer is B", "B", "B"),
        ("<think>B\nA</think>\nA", "A", "A"),
        ("<think>B", "unparsable", "unparsable"),
        ("A\nB", "unparsable", "B"),
        ("B\n\nIt is more complete.", "B", "unparsable"),
        ("A is better than B.", "unparsable", "unparsable"),
        ("Reply A:\ngood\nReply B:\nbad\nA", "unparsable", "A"),
        ("", "unparsable", "unparsable"),
        ("C", "unparsable", "unparsable"),
    ],
)
def test_only_a_line_that_says_nothing_else_is_a_verdict(text, brief, reasons):
    assert wording.said(text, "brief") == brief
    assert wording.said(text, "reasons") == reasons


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ((), "judge: is required"),
        (("judge=gold", "missing=skip"), "missing: 'skip' is not a choice"),
        (("judge=gold", "same_twice=-1"), "same_twice: must not be negative"),
        (("judge=endpoint",), "judge.model: is required"),
        (("judge=endpoint", "judge.model=m", "judge.wording=kind"), "judge.wording: 'kind' is not a choice"),
        (
            ("judge=endpoint", "judge.model=m", "judge.base_url=http://me:pw@host/v1"),
            "judge.base_url: must hold no cred",
        ),
        (("judge=gold", "label=../x"), "label: "),
    ],
)
def test_a_setting_that_cannot_be_is_one_line(ask, overrides, line):
    assert line in ask(*overrides)
