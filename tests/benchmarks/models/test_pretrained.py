"""Reward models of others: found, checked before a weight is read, and scored the same however they are batched."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from benchmarks.models.model_files import ModelError, find
from benchmarks.models.pretrained import Options, load
from mars.config import ConfigError
from mars.preferences.dialogue import Message, render
from mars.reward import tiny
from mars.reward.backbone import BackboneConfig
from mars.reward.engine import Engine
from mars.reward.memory import Budget
from mars.reward.scoring import ModelScorer
from mars.reward.texts import Texts
from mars.reward.tokens import Tokens

CPU = torch.device("cpu")
CAUSAL = {"num_key_value_heads": 1}
ARCHITECTURES = {
    "bert": {},
    "roberta": {"max_position_embeddings": 300},
    "deberta-v2": {},
    "modernbert": {"bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 300, "bos_token_id": 1, "eos_token_id": 2},
    "llama": CAUSAL,
    "qwen3": CAUSAL | {"head_dim": 16},
    "gemma2": CAUSAL | {"head_dim": 16},
}  # fmt: skip
CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
PROMPT = (Message("user", "Is it so?"),)
TEXTS = [
    (PROMPT, "Yes."),
    (PROMPT, "No, and here is why: " + "because of that, " * 9),
    (PROMPT, ""),
    (PROMPT, "Perhaps."),
]


def make(directory: Path, kind: str = "bert", tokenizer=None, labels: int = 1, **changes) -> Path:
    """A reward model of `kind` on disk, as transformers or TRL would save it."""
    tokenizer = tokenizer or tiny.byte_tokenizer()
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    shape = sizes | {"vocab_size": len(tokenizer), "num_labels": labels, "pad_token_id": tokenizer.pad_token_id}
    torch.manual_seed(0)
    limit = {} if kind == "xlnet" else {"max_position_embeddings": 300}
    config = AutoConfig.for_model(kind, **shape | limit | ARCHITECTURES.get(kind, {}) | changes)
    model = AutoModelForSequenceClassification.from_config(config)
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, 0, 0.2)  # large enough for scores to differ
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def judged(directory: Path, **options):
    found = find(str(directory), trust_remote_code=options.get("trust_remote_code", False))
    return load(found, Options(**options), directory / "cache", CPU)


def scorer(model, token_budget: int = 4096, most: int | None = None) -> ModelScorer:
    """With inputs of its own, so that nothing is shared between two ways of batching."""
    texts = Texts(Tokens(model.texts.inputs._encoder, CPU), model.texts.render)
    return ModelScorer(model.model, texts, Budget(token_budget, most=most))


def without_padding_token():
    """A tokenizer as Llama's: an end token, no padding token, so that padding has to be the end token."""
    tokenizer = tiny.byte_tokenizer()
    tokenizer.eos_token = "[SEP]"
    tokenizer.pad_token = None
    return tokenizer


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_scores_are_those_of_plain_transformers_one_text_at_a_time(kind, tmp_path):
    make(tmp_path, kind)
    reference = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    tokenizer = tiny.byte_tokenizer()
    expected = []
    for prompt, response in TEXTS:
        text = render(prompt, response, "plain")
        ids = tokenizer(text.prefix + text.response, return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            expected.append(reference(**ids).logits[0, 0].item())
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(scorer(judged(tmp_path))(TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize(("kind", "tokenizer"), [("bert", None), ("llama", without_padding_token)])
def test_scores_do_not_depend_on_batch_order_or_padding(kind, tokenizer, tmp_path):
    model = judged(make(tmp_path, kind, tokenizer and tokenizer(), pad_token_id=None if tokenizer else 0))
    together = scorer(model)(TEXTS)
    np.testing.assert_allclose(scorer(model, token_budget=1)(TEXTS), together, atol=1e-5)
    np.testing.assert_allclose(scorer(model, most=2)(TEXTS), together, atol=1e-5)
    np.testing.assert_allclose(scorer(model)(TEXTS[::-1])[::-1], together, atol=1e-5)
    np.testing.assert_allclose(scorer(model)(TEXTS, padded=True), together, atol=1e-5)


@pytest.mark.parametrize("padding", ["beyond", "none"])
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_padding_token_the_model_has_no_row_for_is_not_used(kind, padding, tmp_path):
    tokenizer = tiny.byte_tokenizer()
    rows = len(tokenizer)
    tokenizer.pad_token = None
    if padding == "beyond":
        tokenizer.add_special_tokens({"pad_token": "<added later>"})
    model = judged(make(tmp_path, kind, tokenizer, pad_token_id=None, vocab_size=rows))
    np.testing.assert_allclose(scorer(model)(TEXTS), scorer(model, token_budget=1)(TEXTS), atol=1e-5)


@pytest.mark.parametrize(("kind", "tokenizer"), [("bert", None), ("llama", without_padding_token)])
def test_scores_do_not_depend_on_the_padding_side(kind, tokenizer, tmp_path):
    model = judged(make(tmp_path, kind, tokenizer and tokenizer(), pad_token_id=None if tokenizer else 0))
    model.tokenizer.pad_token = model.tokenizer.pad_token or model.tokenizer.eos_token
    whole = ["".join(render(*text, "plain")) for text in TEXTS]
    scores = []
    for side in ("left", "right"):
        batch = model.tokenizer(whole, return_tensors="pt", padding=True, padding_side=side)
        with torch.inference_mode():
            scores.append(model.model(batch["input_ids"], batch["attention_mask"]).numpy())
    for found in scores:
        np.testing.assert_allclose(found, scorer(model)(TEXTS), atol=1e-5)


def test_every_distinct_text_is_scored_once(tmp_path):
    one = scorer(judged(make(tmp_path)))
    scores = one([*TEXTS, *TEXTS])
    np.testing.assert_array_equal(scores[:4], scores[4:])
    assert one.texts == 8
    assert len(one.known.inputs.lengths) == 4


def test_texts_may_be_generated_as_they_are_read(tmp_path):
    one = scorer(judged(make(tmp_path)))
    np.testing.assert_array_equal(one(text for text in TEXTS), one(TEXTS))


def test_a_hundred_thousand_characters_are_cut_and_counted(tmp_path):
    model = judged(make(tmp_path))
    score = ModelScorer(model.model, model.texts, 4096)
    assert np.isfinite(score([(PROMPT, "so " * 40_000)])).all()
    assert model.texts.inputs.lengths.max() == 300
    assert model.texts.inputs.cuts.any()


class TestTemplate:
    def chat_tokenizer(self):
        tokenizer = tiny.byte_tokenizer()
        tokenizer.chat_template = CHAT
        return tokenizer

    def test_the_tokenizers_own_where_it_has_one_else_plain(self, tmp_path):
        assert judged(make(tmp_path / "chat", tokenizer=self.chat_tokenizer())).template == "chat"
        assert judged(make(tmp_path / "plain")).template == "plain"

    def test_a_setting_wins(self, tmp_path):
        make(tmp_path, tokenizer=self.chat_tokenizer())
        model = judged(tmp_path, template="plain")
        assert (model.template, model.about["template_from"]) == ("plain", "set")

    def test_what_our_own_models_record_comes_before_the_tokenizers(self, tmp_path):
        backbone = BackboneConfig("tiny", "random:qwen3", max_length=77, truncation="right")
        engine = Engine(backbone, "full", CPU, 4096, tmp_path / "cache")
        engine.tokenizer.chat_template = CHAT
        engine.save(engine.new_model(0), tmp_path / "model")
        about = judged(tmp_path / "model").about
        assert (about["template"], about["max_length"], about["truncation"]) == ("plain", 77, "right")

    def test_a_chat_template_that_is_not_there(self, tmp_path):
        with pytest.raises(ConfigError, match=r"template: .* \(set template=plain\)"):
            judged(make(tmp_path), template="chat")

    def test_a_chat_text_that_is_cut_keeps_its_first_and_its_closing_token(self, tmp_path):
        """The last is where a causal model's score is read."""
        tokenizer = self.chat_tokenizer()
        tokenizer.bos_token, tokenizer.eos_token = "[CLS]", "[SEP]"
        tokenizer.chat_template = "[CLS]" + CHAT.replace("{% endfor %}", "{% endfor %}[SEP]\n")
        model = judged(make(tmp_path, tokenizer=tokenizer), max_length=32)
        for prompt, reply in (("why " * 20, "Yes."), ("why?", "because " * 20)):
            numbers = model.texts.inputs.add([render((Message("user", prompt),), reply, "chat", tokenizer)])
            text = tokenizer.decode(model.texts.inputs.batch(numbers)["input_ids"][0])
            assert len(tokenizer(text, add_special_tokens=False)["input_ids"]) == 32
            assert text.startswith("[CLS]")
            assert text.endswith("[SEP]\n")

    def test_chat_text_is_tokenised_whole(self, tmp_path):
        """As the template's author does: the reply's first token may hold the end of what stands before it."""
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        letters = sorted({*"<user>Is it so?<assistant>Yes.No, adhrwcfsetbeuP:\n", "Ġ"})
        vocabulary = {token: i for i, token in enumerate(["[PAD]", *letters, ">Y"])}
        merged = Tokenizer(models.BPE(vocab=vocabulary, merges=[(">", "Y")]))
        merged.pre_tokenizer = pre_tokenizers.Metaspace(replacement="Ġ", prepend_scheme="never", split=False)
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=merged, pad_token="[PAD]", chat_template=CHAT)
        model = judged(make(tmp_path, tokenizer=tokenizer))
        numbers = model.texts.inputs.add([render(PROMPT, "Yes.", "chat", tokenizer)])
        ids = model.texts.inputs.batch(numbers)["input_ids"][0].tolist()
        assert ids == tokenizer("<user>Is it so?\n<assistant>Yes.\n")["input_ids"]
        assert vocabulary[">Y"] in ids


class TestLength:
    def test_as_far_as_the_positions_go(self, tmp_path):
        assert judged(make(tmp_path / "bert")).about["max_length"] == 300
        assert judged(make(tmp_path / "roberta", "roberta")).about["max_length"] == 299  # one row is the padding's

    def test_rewardbenchs_own_limit_where_nothing_says_less(self, tmp_path):
        assert judged(make(tmp_path, "llama", max_position_embeddings=8192)).about["max_length"] == 2048

    def test_what_the_model_was_made_for_where_it_says_so(self, tmp_path):
        assert judged(make(tmp_path, "llama")).about["max_length"] == 300

    def test_more_than_the_positions_is_refused(self, tmp_path):
        with pytest.raises(ConfigError, match=r"max_length: 400 tokens, but the model has 300 positions"):
            judged(make(tmp_path), max_length=400)

    def test_no_room_for_a_text(self, tmp_path):
        with pytest.raises(ConfigError, match=r"^max_length: 3 leaves no room"):
            judged(make(tmp_path), max_length=3)


class TestRefused:
    def test_two_labels(self, tmp_path):
        with pytest.raises(ModelError, match="has 2 labels; a reward model has one score"):
            judged(make(tmp_path, labels=2))

    def test_a_backbone_without_a_head(self, tmp_path):
        make(tmp_path)
        weights = tmp_path / "model.safetensors"
        save_file({k: v for k, v in load_file(weights).items() if "classifier" not in k}, weights, {"format": "pt"})
        with pytest.raises(
            ModelError, match=r"lacks weights \(classifier.*\): a backbone without a trained reward head"
        ):
            judged(tmp_path)

    def test_a_lora_directory(self, tmp_path):
        (tmp_path / "adapter_config.json").write_text("{}")
        (tmp_path / "adapter_model.safetensors").touch()
        with pytest.raises(ModelError, match="is a LoRA adapter without its base"):
            judged(tmp_path)

    def test_a_pickle(self, tmp_path):
        make(tmp_path)
        torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
        assert judged(tmp_path)  # beside safetensors it is left alone
        (tmp_path / "model.safetensors").unlink()
        with pytest.raises(ModelError, match=r"no safetensors, only pytorch_model\.bin: a pickle can run any code"):
            judged(tmp_path)

    def test_no_weights(self, tmp_path):
        make(tmp_path)
        (tmp_path / "model.safetensors").unlink()
        with pytest.raises(ModelError, match="holds no weights"):
            judged(tmp_path)

    def test_damaged_weights(self, tmp_path):
        make(tmp_path)
        (tmp_path / "model.safetensors").write_bytes(b"not a tensor")
        with pytest.raises(ModelError, match="cannot be loaded"):
            judged(tmp_path)

    @pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
    def test_remote_code_unless_allowed(self, file, tmp_path):
        make(tmp_path)
        path = tmp_path / file
        name = "AutoTokenizer" if "tokenizer" in file else "AutoModelForSequenceClassification"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {name: "code.Model"}}))
        with pytest.raises(ModelError, match=rf"brings its own code \({name}\): .* trust_remote_code=true"):
            judged(tmp_path)

    def test_allowed_remote_code_runs(self, tmp_path):
        """A head that scores everything seven, which only the code in the directory can do."""
        make(tmp_path)
        (tmp_path / "seven.py").write_text(
            "from transformers import BertForSequenceClassification\n"
            "class Seven(BertForSequenceClassification):\n"
            "    def forward(self, *args, **kwargs):\n"
            "        out = super().forward(*args, **kwargs)\n"
            "        out.logits = out.logits * 0 + 7\n"
            "        return out\n"
        )
        path = tmp_path / "config.json"
        code = {"auto_map": {"AutoModelForSequenceClassification": "seven.Seven"}}
        path.write_text(json.dumps(json.loads(path.read_text()) | code))
        model = judged(tmp_path, trust_remote_code=True)
        np.testing.assert_array_equal(scorer(model)(TEXTS), 7)

    def test_a_score_that_depends_on_padding(self, tmp_path):
        """XLNet takes its score at the row's right end, padding or not."""
        make(tmp_path, "xlnet", d_model=32, n_layer=2, n_head=2, d_inner=64)
        with pytest.raises(ModelError, match=r"depends on the batch \(token_budget=1"):
            judged(tmp_path)
        model = judged(tmp_path, token_budget=1)
        scores = scorer(model, token_budget=1)(TEXTS)
        np.testing.assert_allclose(scores[0], scorer(model, token_budget=1)(TEXTS[:1])[0], atol=1e-6)

    @pytest.mark.parametrize(
        "told", [True, {"max_length": "many"}, {"truncation": "middle"}, {"template": "mine"}], ids=str
    )
    def test_a_record_of_reading_that_makes_no_sense(self, told, tmp_path):
        make(tmp_path)
        path = tmp_path / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"reward_model": told}))
        with pytest.raises(ModelError, match=r"the reward_model of its config\.json cannot be read"):
            judged(tmp_path)

    def test_a_recorded_length_beyond_the_positions(self, tmp_path):
        make(tmp_path)
        path = tmp_path / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"reward_model": {"max_length": 5000}}))
        with pytest.raises(ConfigError, match="max_length: 5000 tokens, but the model has 300 positions"):
            judged(tmp_path)

    @pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
    def test_settings_that_are_not_json(self, file, tmp_path):
        make(tmp_path)
        (tmp_path / file).write_text("[1")
        with pytest.raises(ModelError, match=rf"{file}: is not JSON"):
            judged(tmp_path)
        (tmp_path / file).write_text("[1]")
        with pytest.raises(ModelError, match=rf"{file}: is not a JSON object"):
            judged(tmp_path)

    def test_a_linear_head_without_its_backbone(self, tmp_path):
        (tmp_path / "config.json").write_text('{"model_type": "mars_linear"}')
        with pytest.raises(ModelError, match="names no backbone for its linear head"):
            judged(tmp_path)

    def test_a_chat_template_that_leaves_the_reply_out(self, tmp_path):
        tokenizer = tiny.byte_tokenizer()
        tokenizer.chat_template = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
        with pytest.raises(ModelError, match=r"does not show the reply \(set template=plain\)"):
            judged(make(tmp_path, tokenizer=tokenizer))

    def test_a_file_is_not_a_model(self, tmp_path):
        (tmp_path / "model.safetensors").touch()
        with pytest.raises(ModelError, match="is a file"):
            find(str(tmp_path / "model.safetensors"))

    def test_a_study_is_not_a_model(self, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "DONE").touch()
        with pytest.raises(ModelError, match="is a study, not a model"):
            find(str(tmp_path))

    def test_a_directory_that_is_no_model(self, tmp_path):
        with pytest.raises(ModelError, match=r"has no config\.json"):
            judged(tmp_path)
        with pytest.raises(ModelError, match="no such directory"):
            find(str(tmp_path / "nothing"))

    def test_a_hub_id_that_cannot_be_had(self):
        with pytest.raises(ModelError, match="somebody/reward is no directory here and cannot be had from the hub"):
            find("somebody/reward")

    def test_a_linear_head_asked_to_read_otherwise(self, tmp_path):
        engine = Engine(BackboneConfig("tiny", "random:bert"), "head", CPU, 4096, tmp_path / "cache")
        engine.texts.add(TEXTS)
        engine.save(engine.new_model(0), tmp_path / "model")
        with pytest.raises(ConfigError, match=r"max_length: .* trained on features with 512"):
            judged(tmp_path / "model", max_length=256)


def test_a_hub_snapshot_is_scored_at_its_commit(tmp_path, monkeypatch):
    """The layout huggingface_hub keeps a downloaded model in, without the network."""
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--somebody--reward"
    make(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    found = find("somebody/reward")
    assert (found.name, found.revision) == ("somebody/reward", commit)
    model = load(found, Options(), tmp_path / "cache", CPU)
    assert model.about["weights"] == f"somebody/reward@{commit}"
    assert np.ptp(scorer(model)(TEXTS)) > 0.01


def test_a_padded_linear_head_scores_the_same(tmp_path):
    engine = Engine(BackboneConfig("tiny", "random:bert"), "head", CPU, 4096, tmp_path / "cache")
    engine.texts.add(TEXTS)
    engine.save(engine.new_model(0), tmp_path / "model")
    model = judged(tmp_path / "model")
    one = ModelScorer(model.model, model.texts, 4096)
    np.testing.assert_allclose(one(TEXTS, padded=True), one(TEXTS), atol=1e-5)
    shutil.rmtree(tmp_path / "model")
