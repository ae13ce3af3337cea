"""A model card says what a run was, its code scores as the run did, and only a checkpoint goes up, where it may."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import hydra
import pandas as pd
import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from support import ROOT
from transformers import AutoModelForSequenceClassification

from benchmarks import share
from benchmarks.card import write_card
from benchmarks.card_text import number, public, table
from mars import choices
from mars.config import ConfigError, UserError, build
from mars.files import config_hash
from mars.reward import tiny
from mars.run import execute

CHAT = (
    "[CLS]{% for m in messages %}<|{{ m.role }}|>{{ m.content }}[PAD]{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SMALL = (
    "scale=tiny", "method=mars", "rounds.number=1", "rounds.budget=8", "benchmark.resamples=20",
    "dataset.size=16", "dataset.validation=8", "dataset.test_size=8",
)  # fmt: skip


def finished_run(root, name, *overrides):
    GlobalHydra.instance().clear()
    with hydra.initialize_config_module("conf", version_base="1.3"):
        places = [f"study={root}/study", f"out={root}/{name}", f"cache={root}/cache"]
        cfg = hydra.compose("config", [*SMALL, *places, *overrides])
    return execute(OmegaConf.to_container(cfg, resolve=True))


def local_causal(directory):
    """A causal backbone on disk whose padding token is the one that ends a turn, with a chat template."""
    tokenizer = tiny.byte_tokenizer()
    tokenizer.chat_template = CHAT
    tokenizer.eos_token = tokenizer.pad_token
    config = tiny.random_config("qwen3", tokenizer)
    config.num_labels = 1
    AutoModelForSequenceClassification.from_config(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def pku_rows(directory):
    for split, count in (("train", 30), ("test", 10)):
        lines = [
            {"prompt": f"{split} question {i}?", "response_0": f"zebra {i}", "response_1": f"quagga {i} and more",
             "better_response_id": i % 2, "safer_response_id": 0}
            for i in range(count)
        ]  # fmt: skip
        (directory / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return f"dataset.train={directory}/train.jsonl", f"dataset.test={directory}/test.jsonl"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("shared-runs")


@pytest.fixture(scope="module")
def planted_run(root):
    return finished_run(root, "planted", "train=full", "backbone.max_length=512")


@pytest.fixture(scope="module")
def pku_run(root):
    return finished_run(root, "pku", "dataset=pku_saferlhf", *pku_rows(root), "backbone.max_length=512", "train=head")


@pytest.fixture
def planted(planted_run, tmp_path):
    return Path(shutil.copytree(planted_run, tmp_path / "planted"))


@pytest.fixture
def pku(pku_run, tmp_path):
    return Path(shutil.copytree(pku_run, tmp_path / "pku"))


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def front_matter(text):
    return yaml.safe_load(text.split("---\n")[1])


def sections(text):
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


CUT = 48  # tokens: nearly every planted prompt and reply is longer


@pytest.mark.parametrize("kind", ["full", "head", "left", "right", "chat", "chat_right"])
def test_the_code_on_the_card_scores_as_the_run_did(kind, root, planted_run, pku_run, monkeypatch):
    chat = ("backbone.template=chat", f"backbone.source={local_causal(root / 'causal')}")
    cut = ("train=full", f"backbone.max_length={CUT}")
    made = {"left": (), "right": ("backbone.truncation=right",), "chat": chat}
    made["chat_right"] = (*chat, "backbone.truncation=right")
    run = {"full": planted_run, "head": pku_run}.get(kind) or finished_run(root, kind, *cut, *made[kind])
    text = write_card(run).read_text()
    assert str(root) not in text
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    monkeypatch.chdir(run / "model")
    monkeypatch.setenv("MARS_CACHE", str(root / "features"))
    names = {}
    exec(code, names)
    scores = pd.read_parquet(run / "scores" / "in_distribution.parquet").set_index("id")
    config = yaml.safe_load((run / "config.yaml").read_text())
    for pair in list(choices.load(config["dataset"]).tests["test"])[:8]:
        turns = [{"role": m.role, "content": m.content} for m in pair.prompt]
        for side in ("chosen", "rejected"):
            scored = names["score"]([*turns, {"role": "assistant", "content": pair.side(side)}])
            assert scored == pytest.approx(scores.loc[pair.id, f"{side}_score"], abs=1e-5)
    lost = json.loads((run / "manifest.json").read_text())["truncated"]["test"]
    if kind in made:
        assert lost["response"] > 8  # of 16: among the scored ones too
        assert lost["prompt"] > (8 if "right" not in kind else -1)
    assert (root / "features" / "features").is_dir() or kind != "head"


def test_the_same_run_gives_the_same_bytes(planted):
    first = write_card(planted).read_bytes()
    assert write_card(planted).read_bytes() == first


def test_the_card_says_what_the_run_was(planted):
    text = write_card(planted).read_text()
    manifest = json.loads((planted / "manifest.json").read_text())
    metrics = json.loads((planted / "metrics.json").read_text())["in_distribution"]
    said = sections(text)
    assert f"| sha256, all test splits together | `{manifest['test_sha256']}` |" in said["Data"]
    assert "`tau=2`" in said["Training"]
    assert f"{manifest['steps']} ({manifest['pairs_trained']} pairs" in said["Training"]
    for part, values in metrics.items():
        low, high = values["accuracy_lo"], values["accuracy_hi"]
        accuracy = f"| {part} | accuracy | {values['accuracy']:.3f} [{low:.3f}, {high:.3f}] | 8 |"
        assert said["Results"].count(accuracy) == 2  # in the headline, and in the details
    assert "accuracy_lo" not in said["Results"]
    assert "Not a safety filter" in said["Limits"]
    assert manifest["config_hash"] in said["Reproduce"]
    assert "license" not in front_matter(text)  # nobody has stated one
    assert front_matter(text)["pipeline_tag"] == "text-classification"


def interval(name, value, low, high):
    return {name: value, f"{name}_lo": low, f"{name}_hi": high}


MINE = {
    "benchmark": "files",
    "label": "mine",
    "protocol": {"name": "files", "ties": "half credit", "where": "/home/someone", "on": {"empty": "drop"}},
    "data": {"sources": [{"file": "a.jsonl", "sha256": "0123456789abcdef", "rows": 9, "kept": 8}]},
    "metrics": {
        "overall": {
            **interval("accuracy", 0.75, 0.5, 1.0), **interval("tie_rate", 0.0, 0.0, 0.0), "n": 8,
            "macro_accuracy": 0.5, "margin_mean": 0.00004, "score": None, "length_accuracy": 0.625,
            **interval("ece", 0.02, 0.00002, 0.3),
        },
        "subset/a|b": {**interval("accuracy", 0.75, 0.5, 1.0), "n": 8},
    },
    "details": {"baselines": {
        "length_only": {"overall": {"accuracy": 0.625, "margin_mean": 31.0}, "subset/a|b": {"accuracy": 0.625}},
        "random": {"overall": {"accuracy": 0.5, "accuracy_lo": 0.2}},
    }},
}  # fmt: skip
ROBUST = {
    "benchmark": "robustness",
    "label": "robustness",
    "protocol": {"name": "robustness", "edits": ["whitespace", "padding"]},
    "data": {"name": "planted", "split": "test", "rows": 8},
    "metrics": {
        "overall": {"accuracy": 0.5, "worst_case_accuracy": 0.25, "n": 8},
        "whitespace": {"unchanged": 0.0, "unseen": 0.75, "flip_rate": 0.125, "accuracy_before": 0.5, "n": 8},
        "prefix": {"unchanged": 0.0, "unseen": 0.0, "flip_rate": 0.25, "accuracy_before": 0.5, "n": 8},
    },
    "details": {},
}
BENCH = {
    "benchmark": "reward_bench",
    "label": "reward_bench",
    "protocol": {
        "name": "RewardBench",
        "partial": "28 of 2985 rows: not a RewardBench number",
        "weights": {"hep-go": 164},
    },
    "data": {"file": "rows.jsonl", "sha256": "fedcba9876543210", "rows": 28},
    "metrics": {part: {"accuracy": 0.5, "n": 28} for part in ("overall", "Chat", "subset/hep-go", "draw_188/Chat")},
    "details": {},
}


def results_with(run, *records):
    """The section's (text above the table, rows of the headline table less the run's own, {title: folded text})."""
    for record in records:
        (run / "evaluations" / f"{record['label']}.json").write_text(json.dumps({"schema_version": 1, **record}))
    said = sections(write_card(run).read_text())["Results"]
    shown, *folded = said.split("<details>\n<summary>")
    table_rows = [line for line in shown.splitlines() if line.startswith("| ") and "| in_distribution |" not in line]
    titles = {text.partition(": protocol and every metric</summary>\n\n")[::2] for text in folded}
    return shown, table_rows[2:], {title: text.removesuffix("</details>\n\n") for title, text in titles}


def test_headlines_come_first_and_every_metric_is_folded_up_behind_them(planted):
    _, headlines, folded = results_with(planted, MINE)
    assert headlines == [
        "| files (label mine) | overall | accuracy | 0.750 [0.500, 1.000] | 8 | 0.625 | 0.500 |",
        "| files (label mine) | overall | macro accuracy | 0.500 | 8 |  |  |",
        "| files (label mine) | overall | ECE | 0.020 [0.000, 0.300] | 8 |  |  |",
    ]
    assert folded["files (label mine)"].strip().splitlines() == [
        "- judged on: a.jsonl, 8 of 9 rows, sha256 `0123456789ab`",
        "- ties: half credit",
        "- where: LOCAL",
        "",
        "| part | metric | value [95 %] | n | length only | random |",
        "| --- | --- | --- | --- | --- | --- |",
        "| overall | accuracy | 0.750 [0.500, 1.000] | 8 | 0.625 | 0.500 |",
        "| overall | tie_rate | 0.000 [0.000, 0.000] | 8 |  |  |",
        "| overall | macro_accuracy | 0.500 | 8 |  |  |",
        "| overall | margin_mean | 0.00004 | 8 |  |  |",  # characters are no unit of a margin
        "| overall | ece | 0.020 [0.000, 0.300] | 8 |  |  |",
        r"| subset/a\|b | accuracy | 0.750 [0.500, 1.000] | 8 | 0.625 |  |",
    ]
    assert "- temperature: " in folded["in_distribution"]
    assert "| temperature |" not in folded["in_distribution"]


def test_records_that_differ_in_their_label_alone_are_shown_once(planted):
    again, other = MINE | {"label": "again"}, MINE | {"label": "other", "protocol": {"ties": "official"}}
    _, _, folded = results_with(planted, MINE | {"label": "files"}, again, other)
    assert folded.keys() == {"in_distribution", "files (labels again, files)", "files (label other)"}


def test_a_flip_rate_says_which_share_of_the_edits_reached_no_score(planted):
    shown, headlines, _ = results_with(planted, ROBUST)
    assert headlines == [
        "| robustness | overall | accuracy | 0.500 | 8 |  |  |",
        "| robustness | overall | worst-case accuracy | 0.250 | 8 |  |  |",
        "| robustness | whitespace | flip rate (75 % unseen) | 0.125 | 8 |  |  |",
        "| robustness | prefix | flip rate | 0.250 | 8 |  |  |",
    ]
    assert "*Unseen* is the share" in shown


def test_a_part_of_rewardbench_does_not_look_like_rewardbench(planted):
    shown, headlines, folded = results_with(planted, BENCH)
    assert "\n**reward_bench, rows.jsonl: 28 of 2985 rows: not a RewardBench number.**\n" in shown
    assert [row.split(" | ")[1] for row in headlines] == ["overall", "Chat"]
    assert "- judged on: rows.jsonl, 28 rows, sha256 `fedcba987654`\n" in folded["reward_bench"]


def test_limits_follow_from_the_evaluations_that_are_there(planted):
    results_with(planted, ROBUST, MINE)
    limits = sections(write_card(planted).read_text())["Limits"]
    assert "Results under in_distribution and robustness are on held-out pairs of the same data" in limits
    assert "Results under mine are on other rows: whether training saw some of them was not checked." in limits
    own = json.loads((planted / "evaluations" / "in_distribution.json").read_text())
    other = own | {"label": "in_distribution-hh_rlhf", "data": own["data"] | {"name": "hh_rlhf"}}
    of_the_name = own | {"label": "released_v1", "data": own["data"] | {"sha256": {"test": "0"}}}
    anew = ROBUST | {"label": "robustness-planted"}
    for name in ("mine", "robustness"):
        (planted / "evaluations" / f"{name}.json").unlink()
    results_with(planted, other, of_the_name, anew)
    limits = sections(write_card(planted).read_text())["Limits"]
    assert "Results under in_distribution are on held-out pairs" in limits
    assert "Results under in_distribution-hh_rlhf, released_v1 and robustness-planted are on other rows" in limits


def test_a_card_can_be_read_at_a_glance(planted):
    results_with(planted, ROBUST)
    open_text = re.sub(r"<details>.*?</details>", "", write_card(planted).read_text(), flags=re.DOTALL)
    assert len(open_text.splitlines()) <= 150
    assert not re.search(r"^\|( *\|)+$", open_text, re.MULTILINE)  # no header without names


def test_a_local_copy_is_not_called_the_dataset(pku, planted):
    assert "trained on 16 generated preference pairs (planted) with" in write_card(planted).read_text()
    assert "preference pairs of a local copy of pku_saferlhf with" in write_card(pku).read_text()
    data = json.loads((pku / "manifest.json").read_text())["data"]
    data["sources"]["train"][0] |= {"hub": "a/rows", "revision": "c0ffee"}
    edit(pku / "manifest.json", data=data)
    assert "preference pairs of pku_saferlhf with" in write_card(pku).read_text()


def test_the_card_holds_no_row_and_no_place_of_this_machine(pku, root):
    where = f"{root}/train.jsonl"
    overrides = [
        f"dataset.train={where}", "dataset.test=data/x.jsonl", "+augmenter.extra={base: 'http://10.0.0.7:8000/v1'}",
        "study=/home/someone/s", "wandb.entity=someone", "scale=tiny", "seed=3", "backbone.source=Qwen/Qwen3-0.6B",
    ]  # fmt: skip
    edit(pku / "manifest.json", overrides=overrides)
    text = write_card(pku).read_text()
    assert str(root) not in text
    assert "someone" not in text
    assert "10.0.0.7" not in text
    command = (
        "python -m mars.run dataset.train=LOCAL dataset.test=LOCAL +augmenter.extra=LOCAL scale=tiny seed=3 "
        "backbone.source=Qwen/Qwen3-0.6B"
    )
    assert command in text.splitlines()
    assert "train.jsonl (sha256" in text
    for word in ("zebra", "quagga", "question", "pku_saferlhf-train-1"):
        assert word not in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/home/me/x", "LOCAL"), ("~/x", "LOCAL"), ("~me/x", "LOCAL"), ("../x", "LOCAL"), ("C:\\x", "LOCAL"),
        ("https://host/v1", "LOCAL"), ("[a, '/b']", "LOCAL"), ("\\\\server\\x", "LOCAL"),
        ("owner/name", "owner/name"), ("random:bert", "random:bert"), ("~30 %", "~30 %"), (0.5, "0.5"),
        ("mean / sd", "mean / sd"), ("package:a_b/model", "package:a_b/model"),
    ],
)  # fmt: skip
def test_paths_and_addresses_stay_at_home(value, shown):
    assert public(value) == shown


def test_numbers_are_readable():
    shown = {
        0.0: "0.000", 0.65625: "0.656", 1.0: "1.000", -12.345: "-12.3", 123.45: "123", 1234.5: "1234",
        -0.0004: "-0.0004", 0.0000412345: "0.0000412", 5.8e-8: "5.8e-08", 2.5e7: "2.50e+07", None: "–",
    }  # fmt: skip
    assert [number(x) for x in shown] == list(shown.values())
    assert number(-0.0) == "0.000"


def test_a_table_keeps_its_shape_whatever_is_in_it():
    assert table(("a", "b"), [("x|y\nz", "<b>")]).splitlines()[2] == r"| x\|y z | &lt;b> |"


def test_the_front_matter_names_what_is_on_the_hub_and_nothing_else(pku):
    manifest, config = (yaml.safe_load((pku / name).read_text()) for name in ("manifest.json", "config.yaml"))
    text = write_card(pku).read_text()
    assert front_matter(text)["license"] == "cc-by-nc-4.0"
    assert not {"base_model", "datasets"} & front_matter(text).keys()  # random weights, local files
    assert front_matter(text)["library_name"] == "mars-reward"  # transformers cannot load a linear head

    hub = {"hub": "a/rows", "revision": "c0ffee", "config": None, "data_dir": "d", "split": "train"}
    files = manifest["data"]["sources"]["train"][0]
    del files["file"], files["sha256"]
    manifest["data"]["sources"]["train"] = [files | hub]
    edit(pku / "manifest.json", weights="Owner/base@abc", data=manifest["data"])
    text = write_card(pku).read_text()
    assert (front_matter(text)["base_model"], front_matter(text)["datasets"]) == ("Owner/base", ["a/rows"])
    assert "a/rows@c0ffee (`data_dir=d`, `split=train`): 30 of 30 rows usable" in text

    config["backbone"] |= {"source": "package:p/m", "hub": "Owner/carried", "sha256": "0" * 64}
    (pku / "config.yaml").write_text(yaml.safe_dump(config))
    edit(pku / "manifest.json", weights="sha256:12", config_hash=hash_of(pku, config))
    assert front_matter(write_card(pku).read_text())["base_model"] == "Owner/carried"


def test_a_model_that_wrote_synthetic_text_is_named(planted):
    assert "written by" not in sections(write_card(planted).read_text())["Licence"]
    pool = json.loads((planted / "manifest.json").read_text())["pool"]
    writer = {"augmenter": "instruct", "settings": {"model": "owner/writer"}}
    pool["settings"] = {"source": "owner/paraphraser"}
    edit(planted / "manifest.json", pool=pool, semantic={"close": 1, "writer": writer})
    licence = sections(write_card(planted).read_text())["Licence"]
    assert "written by `owner/paraphraser` and `owner/writer`" in licence


def test_contamination_and_truncation_are_counted_on_the_card(planted):
    data = json.loads((planted / "manifest.json").read_text())["data"]
    assert "no test pair shares its prompt, or 13 words in a row" in sections(write_card(planted).read_text())["Limits"]
    data["contamination"]["test"]["prompt"]["count"] = 7
    edit(planted / "manifest.json", data=data, truncated={"base": {"prompt": 5, "response": 2}})
    limits = sections(write_card(planted).read_text())["Limits"]
    assert "test: 7 of 8 pairs share the prompt with a training pair" in limits
    assert "Texts cut to 512 tokens: base 5 in the prompt, 2 in the reply, of 32." in limits


def settings(run, **given):
    return build(share.ShareConfig, {"model": str(run), **given}, "")


@pytest.fixture
def token(monkeypatch):
    """A token is there and the hub is not: what is refused now is refused before the first request."""
    monkeypatch.setenv("HF_TOKEN", "secret")


def test_without_push_the_card_is_written_and_its_place_printed(planted, capsys):
    share.run({"model": str(planted), "push": None, "licence_note": None, "private": False, "debug": False})
    place = Path(capsys.readouterr().out.strip())
    assert place == planted / "model" / "README.md"
    assert place.exists()


def test_the_owners_note_stays_on_a_card_that_is_written_anew(pku):
    share.share(settings(pku, licence_note="For research alone."))
    card = write_card(pku).read_text(encoding="utf-8")
    (pku / "licence_note.txt").unlink()
    assert "For research alone." in card


def test_an_unfinished_run_is_refused(planted):
    with pytest.raises(UserError, match="not its model/"):
        share.share(settings(planted / "model"))
    (planted / "DONE").unlink()
    with pytest.raises(UserError, match="is no finished run"):
        share.share(settings(planted))
    with pytest.raises(UserError, match="no such directory"):
        share.share(settings(planted / "nowhere"))


def test_a_run_that_lacks_what_a_run_leaves_is_one_line(planted):
    manifest = json.loads((planted / "manifest.json").read_text())
    del manifest["data"]
    (planted / "manifest.json").write_text(json.dumps(manifest))
    for repository in (None, "me/model"):
        with pytest.raises(UserError, match="its records lack 'data'"):
            share.share(settings(planted, push=repository))
    (planted / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        share.share(settings(planted))
    (planted / "metrics.json").unlink()
    (planted / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"manifest\.json: cannot be read: No such file"):
        share.share(settings(planted))
    shutil.rmtree(planted / "model")
    with pytest.raises(UserError, match="save_model=true"):
        share.share(settings(planted))


@pytest.mark.parametrize("licence", ["cc-by-nc-4.0", "CC BY-NC 4.0", "non commercial", "unknown", "", None])
def test_data_that_may_not_be_used_freely_needs_a_note(licence, pku, token):
    data = json.loads((pku / "manifest.json").read_text())["data"]
    edit(pku / "manifest.json", data={**data, "licence": licence})
    with pytest.raises(UserError, match=r"is (non-commercial|unknown)"):
        share.share(settings(pku, push="me/model"))
    with pytest.raises(UserError, match="offline mode"):  # with a note nothing but the network is in the way
        share.share(settings(pku, push="me/model", licence_note="For research,\nas its data."))
    text = (pku / "model" / "README.md").read_text()
    assert "Stated by who shares this model: For research, as its data." in sections(text)["Licence"]
    assert front_matter(text)["license"] == "other"


@pytest.mark.parametrize("licence", ["mit", "apache-2.0", "cc-by-4.0", "incl. attribution"])
def test_data_under_a_free_licence_needs_none(licence, pku, token):
    data = json.loads((pku / "manifest.json").read_text())["data"]
    edit(pku / "manifest.json", data={**data, "licence": licence})
    with pytest.raises(UserError, match="offline mode"):
        share.share(settings(pku, push="me/model"))


@pytest.mark.parametrize("name", ["rows.parquet", "train.jsonl", "pytorch_model.bin", "optimizer.pt", "notes.json",
                                  "data/config.csv", ".cache/x", "vocab.parquet"])  # fmt: skip
def test_what_is_no_checkpoint_stops_the_upload(name, planted, token):
    (planted / "model" / name).parent.mkdir(exist_ok=True)
    (planted / "model" / name).write_text("x")
    with pytest.raises(UserError, match=f"{re.escape(name)} is no file of a checkpoint"):
        share.share(settings(planted, push="me/model"))


def test_a_checkpoint_without_weights_is_refused(planted, token):
    (planted / "model" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no \.safetensors"):
        share.share(settings(planted, push="me/model"))


def hash_of(run, config):
    """The hash of the run as if it had been made with `config`."""
    manifest = json.loads((run / "manifest.json").read_text())
    return config_hash(config, {key: manifest[key] for key in ("base_sha256", "validation_sha256", "test_sha256")})


def test_a_head_whose_backbone_nobody_else_has_is_refused(pku, token):
    config = yaml.safe_load((pku / "config.yaml").read_text())
    config["backbone"]["source"] = "/home/someone/encoder"
    (pku / "config.yaml").write_text(yaml.safe_dump(config))
    edit(pku / "manifest.json", weights="sha256:12", config_hash=hash_of(pku, config))
    with pytest.raises(UserError, match="a local directory"):
        share.share(settings(pku, push="me/model", licence_note="research"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"push": "model"}, 'push: "model" is not of the form OWNER/NAME'),
        ({"push": "a/b/c"}, "push: "),
        ({"push": "/b"}, "not of the form"),
        ({"push": "a/"}, "not of the form"),
        ({"push": "a/b--c"}, "push: Cannot have --"),
        ({"push": "a/b c"}, "push: Repo id must use"),
        ({"push": "a/b", "licence_note": " "}, "licence_note: is empty"),
        ({"private": True}, "private: has no use without push"),
    ],
)
def test_settings_that_cannot_be_meant(given, message):
    with pytest.raises(ConfigError, match=message):
        settings("run", **given)
    with pytest.raises(ConfigError, match="model: must name"):
        settings(" ")


class Hub(BaseHTTPRequestHandler):
    """The hub's side of an upload of small files: create, preupload, commit. me/public exists, me/denied may not."""

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        asked, place = self.server.asked, self.path
        here = "http://{}:{}".format(*self.server.server_address)
        if place == "/api/repos/create":
            sent = json.loads(body)
            name = f"{sent['organization']}/{sent['name']}"
            asked.append(("create", name, sent.get("visibility"), self.headers["Authorization"]))
            if name == "me/denied":
                return self._answer({"error": "You may not create a model under me"}, 403)
            return self._answer({"url": f"{here}/{name}"}, 409 if name == "me/public" else 200)
        if "/preupload/" in place:
            files = json.loads(body)["files"]
            return self._answer(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        if "/commit/" in place:
            asked.append(("commit", place, [json.loads(line) for line in body.splitlines()]))
            return self._answer({"commitUrl": f"{here}/me/new/commit/0", "commitOid": "0" * 40})
        return self._answer({"errors": [], "warnings": []})  # of the card's metadata

    def do_GET(self):
        name = self.path.removeprefix("/api/models/").split("/revision")[0]
        known = name in ("me/public", "me/new")
        self._answer({"id": name, "private": name == "me/new"} if known else {}, 200 if known else 404)

    def _answer(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


PUSHES = """
import json, os, sys
from support.commands import run_here
from benchmarks.share import main
said = {}
for name, (arguments, token) in json.loads(sys.argv[1]).items():
    os.environ |= token
    done = run_here(main, f"push={name}", "private=true", *arguments)
    said[name] = done.stdout, done.stderr, done.returncode
    for key in token:
        del os.environ[key]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def pushes(root, planted_run, pku_run):
    """What the command did, by repository, and what the hub was asked: in one process, which knows no other hub."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = "http://{}:{}".format(*server.server_address)
    env = {**os.environ, "HF_ENDPOINT": here, "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1", "HF_HOME": str(root)}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    env = {key: value for key, value in env.items() if key not in ("HF_TOKEN", "HF_TOKEN_PATH")}
    pku = shutil.copytree(pku_run, root / "pushed")
    given = {
        "me/new": ([f"model={pku}", "licence_note='research only, as its data'"], {"HF_TOKEN": "secret"}),
        "me/denied": ([f"model={planted_run}"], {"HF_TOKEN": "secret"}),
        "me/public": ([f"model={planted_run}"], {"HF_TOKEN": "secret"}),
        "me/tokenless": ([f"model={planted_run}"], {}),
    }
    command = [sys.executable, "-c", PUSHES, json.dumps(given)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    server.shutdown()
    server.server_close()
    return said, server.asked, here, pku


def test_the_checkpoint_and_its_card_go_up_and_nothing_else(pushes):
    said, asked, here, pku = pushes
    assert said["me/new"][0] == f"{here}/me/new\n", said["me/new"]
    assert said["me/new"][2] == 0
    assert ("create", "me/new", "private", "Bearer secret") in asked
    [(_, place, lines)] = [one for one in asked if one[0] == "commit"]  # nobody else's came so far
    assert place.startswith("/api/models/me/new/commit/main")
    assert {line["key"] for line in lines} == {"header", "file"}
    files = [line["value"] for line in lines if line["key"] == "file"]
    sent = {file["path"]: base64.b64decode(file["content"]) for file in files}
    assert sorted(sent) == ["README.md", "config.json", "model.safetensors"]
    assert sent == {path.name: path.read_bytes() for path in (pku / "model").iterdir()}
    assert sent["README.md"] == write_card(pku, "research only, as its data").read_bytes()


@pytest.mark.parametrize(
    ("repository", "line"),
    [
        ("me/denied", "push: me/denied: You may not create a model under me"),
        ("me/public", "private: me/public is there already and public (make it private first)"),
        ("me/tokenless", "push: no hub token is at hand (hf auth login, or the environment variable HF_TOKEN)"),
    ],
)
def test_a_push_that_cannot_be_is_one_line(repository, line, pushes):
    said, asked, _, _ = pushes
    _, errors, code = said[repository]
    assert code == 1
    assert errors.splitlines()[-1] == f"error: {line}"
    assert "Traceback" not in errors
    assert ("me/tokenless" in [one[1] for one in asked]) is False
