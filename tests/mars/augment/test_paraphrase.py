"""The paraphraser: variants that depend on nothing but their text and the settings, by any model that writes."""

import dataclasses
import itertools
import shutil

import pytest
import torch
import yaml
from transformers import NoRepeatNGramLogitsProcessor

from mars.augment.generation import NoRepeatOfNew, Passage
from mars.augment.paraphrase import Paraphraser
from mars.augment.paraphrase_settings import ParaphraseConfig
from mars.augment.variant import Request
from mars.config import ConfigError, UserError, build
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair
from mars.reward import tiny

KINDS = ["t5", "qwen3"]
WORDS = ["red", "green", "blue", "seven", "kind", "harbour"]


def paraphraser(kind="t5", **changes):
    """Small enough for a millisecond a token."""
    small = {"source": f"random:{kind}", "max_input": 64, "prompt_tokens": 6, "response_tokens": 9}
    return Paraphraser(ParaphraseConfig(**small | changes))


def pair(n):
    chosen, rejected = (" ".join(WORDS[(n + i) % 6] for i in range(length)) for length in (2 + n % 4, 1 + n % 3))
    return Pair(f"p{n}", (Message("user", f"tell me {WORDS[n % 6]}"),), chosen, rejected)


def requests(pairs, parts=("chosen", "rejected", "prompt"), width=5):
    return [Request(p, part, k) for p in pairs for part in parts for k in range(width)]


def texts_by(augmenter, asked):
    return {(augmenter.identity(r), r.number): v.text for r, v in zip(asked, augmenter.make(asked), strict=True)}


def reply(text):
    """Requests for all five variants of one response."""
    return requests([Pair("p", (Message("user", "q"),), text, "r")], parts=("chosen",))


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """A tiny model's threads spend their time waiting for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def t5_directory(tmp_path_factory):
    """A random T5 with its tokenizer, as `save_pretrained` leaves it."""
    directory = tmp_path_factory.mktemp("t5")
    tokenizer = tiny.byte_tokenizer()
    tiny.random_writer("t5", tokenizer).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_variant_is_the_same_whatever_is_made_beside_it(kind, sampled):
    pairs = [pair(n) for n in range(4)]
    together = texts_by(paraphraser(kind, do_sample=sampled), requests(pairs))
    other = paraphraser(kind, do_sample=sampled)
    backwards = {}
    for one in reversed(pairs):
        backwards |= texts_by(other, requests([one])[::-1])
    assert together == backwards
    assert len({text for text in together.values() if text}) > 20  # what is written depends on what is read


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_padded_to_its_longest_text_gives_what_each_text_gives_alone(kind):
    asked = requests([pair(n) for n in range(4)])
    batched = paraphraser(kind)
    batched.writer.budget = 5 * 3 * 60  # as on a GPU: three texts a pass
    assert texts_by(batched, asked) == texts_by(paraphraser(kind), asked)


def test_a_text_of_two_pairs_is_searched_once_and_a_prompt_apart_from_a_response():
    message = (Message("user", "the same words"),)
    first, second = Pair("a", message, "the same words", "x"), Pair("b", message, "y", "the same words")
    augmenter = paraphraser()
    assert augmenter.identity(Request(first, "chosen", 0)) == augmenter.identity(Request(second, "rejected", 3))
    assert augmenter.identity(Request(first, "chosen", 0)) != augmenter.identity(Request(first, "prompt", 0))
    long, same, short = augmenter.make(
        [Request(first, "chosen", 0), Request(second, "rejected", 0), Request(first, "prompt", 0)]
    )
    assert long == same
    assert len(short.text) <= 6 < len(long.text) <= 9  # one byte a token
    assert long.parameters["output_cut"] is True


@pytest.mark.parametrize("kind", KINDS)
def test_duplicates_among_the_beams_give_way_and_the_missing_are_none(kind):
    # Half of a random model's bytes are no UTF-8, and beams that differ in these alone read the same.
    augmenter = paraphraser(kind, response_tokens=2, no_repeat_ngram_size=0)
    missing = 0
    for n in range(6):
        variants = augmenter.make(reply(WORDS[n]))
        texts = [v.text for v in variants]
        found = [t for t in texts if t is not None]
        assert len(set(found)) == len(found)
        assert texts[len(found) :] == [None] * (5 - len(found))
        assert [v.parameters["rank"] for v in variants[: len(found)]] == sorted(
            {v.parameters["rank"] for v in variants[: len(found)]}
        )
        assert all(v.parameters == {"distinct": len(found)} for v in variants[len(found) :])
        missing += 5 - len(found)
    assert missing


def test_nothing_to_rewrite_gives_nothing():
    assert [v.text for v in paraphraser().make(reply(" \n"))] == [None] * 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_ends_at_once_gives_nothing(kind):
    augmenter = paraphraser(kind, beams=1, returned=1)
    model = augmenter.writer._model
    model.generation_config.update(forced_eos_token_id=2)
    assert augmenter.make(reply("word")[:1])[0].text  # forced at the limit only
    model.generation_config.update(suppress_tokens=[i for i in range(260) if i != 2])
    assert augmenter.make(reply("word")[:1])[0].text is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_over_max_input_loses_its_end_and_says_so(kind):
    augmenter = paraphraser(kind, max_input=40)
    fits = 40 - len("paraphrase: ") - 2  # [CLS] and [SEP]
    whole, over, further = (augmenter.make(reply("ab" * (fits // 2) + more)) for more in ("", "c", "cdef"))
    assert [v.text for v in whole] == [v.text for v in over] == [v.text for v in further]
    assert not any("input_cut" in v.parameters for v in whole)
    assert all(v.parameters["input_cut"] for v in [*over, *further] if v.text)


def test_a_chat_template_wraps_the_text_and_survives_truncation(tmp_path):
    tokenizer = tiny.byte_tokenizer()
    tiny.random_writer("qwen3", tokenizer).save_pretrained(tmp_path)
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}<reply>"
    tokenizer.save_pretrained(tmp_path)
    local = {"source": str(tmp_path), "prefix": "Reword: "}
    writer = paraphraser(**local).writer
    decoded = tokenizer.decode(writer._ids("hello"))
    assert decoded == "<user>Reword: hello</user><reply>"
    ids, cut = writer._fitted("hello " * 20)
    assert cut
    assert len(ids) == 64
    assert tokenizer.decode(ids).startswith("<user>Reword: hello hello")
    assert tokenizer.decode(ids).endswith("</user><reply>")
    plain = paraphraser(**local, chat=False)
    assert [v.text for v in plain.make(reply("hello"))] != [v.text for v in paraphraser(**local).make(reply("hello"))]
    assert plain.settings != paraphraser(**local).settings
    with pytest.raises(ConfigError, match=r"augmenter\.chat: the tokenizer of \"random:qwen3\" has no chat template"):
        paraphraser("qwen3", chat=True).make(reply("hello"))


def token_rows(augmenter, monkeypatch, texts):
    """(input ids, new ids up to the end) of every row that is generated for `texts`."""
    model, rows = augmenter.writer._model, []
    generate = model.generate

    def recorded(input_ids, **given):
        out = generate(input_ids=input_ids, **given)
        start = 1 if model.config.is_encoder_decoder else input_ids.shape[1]
        rows.extend(
            (input_ids[0].tolist(), list(itertools.takewhile(lambda i: i != 2, row))) for row in out[:, start:].tolist()
        )
        return out

    monkeypatch.setattr(model, "generate", recorded)
    for text in texts:
        augmenter.make(reply(text))
    return rows


@pytest.mark.parametrize("kind", KINDS)
def test_no_ngram_is_said_twice(kind, monkeypatch):
    def repetitions(size):
        augmenter = paraphraser(kind, no_repeat_ngram_size=size, response_tokens=24)
        rows = [new for _, new in token_rows(augmenter, monkeypatch, WORDS)]
        return sum(len(new) - 1 - len(set(itertools.pairwise(new))) for new in rows if new)

    assert repetitions(2) == 0 < repetitions(0)


def test_a_causal_model_may_say_what_it_has_read(monkeypatch):
    augmenter = paraphraser("qwen3", no_repeat_ngram_size=1, response_tokens=24)
    rows = token_rows(augmenter, monkeypatch, WORDS)
    assert all(len(set(new)) == len(new) for _, new in rows)
    assert any(set(read) & set(new) for read, new in rows)


def test_only_a_seq2seq_model_reads_the_end_of_its_input():
    for kind, ends in (("t5", True), ("qwen3", False)):
        given = paraphraser(kind).writer._input(Passage("key", "red", 4))
        assert (given.ids[-1] == 2) is ends  # [SEP]


def test_ngrams_are_counted_from_where_writing_starts():
    read, written = [5, 6, 7], [5, 6, 7, 5, 6]
    scores = torch.zeros(1, 10)
    ours = NoRepeatOfNew(3, start=3)
    assert torch.isfinite(ours(torch.tensor([[*read, 5, 6]]), scores)).all()
    assert torch.isinf(ours(torch.tensor([[*read, *written]]), scores)).nonzero().tolist() == [[0, 7]]
    theirs = NoRepeatNGramLogitsProcessor(3)
    assert torch.isinf(theirs(torch.tensor([[*read, 5, 6]]), scores)).any()  # what ours is for


def test_a_local_directory_is_the_model_saved_in_it(t5_directory):
    local = paraphraser(source=str(t5_directory))
    asked = requests([pair(0), pair(1)])
    assert local.make(asked) == paraphraser().make(asked)


def test_settings_name_the_model_exactly_without_loading_it(t5_directory, tmp_path):
    local = paraphraser(source=str(t5_directory))
    copy = shutil.copytree(t5_directory, tmp_path / "copy")
    assert paraphraser(source=str(copy)).settings == local.settings  # the same files elsewhere are the same model
    torch.manual_seed(1)
    model = tiny.random_writer("t5", tiny.byte_tokenizer())
    torch.nn.init.normal_(model.shared.weight)
    model.save_pretrained(copy)
    edited = shutil.copytree(copy, tmp_path / "edited")  # file hashes are kept for a process's lifetime
    assert paraphraser(source=str(edited)).settings != local.settings
    assert paraphraser("qwen3").settings != paraphraser("t5").settings
    assert "_model" not in vars(local.writer)
    yaml.safe_dump(local.settings)


def test_settings_hold_what_shapes_a_variant_and_nothing_else():
    beam = paraphraser()
    assert paraphraser(token_budget=1, seed=9, temperature=0.5, top_p=0.5).settings == beam.settings
    for change in ({"beams": 6}, {"prefix": "say: "}, {"response_tokens": 8}, {"dtype": "bfloat16"}, {"returned": 4}):
        assert paraphraser(**change).settings != beam.settings
    drawn = paraphraser(do_sample=True, returned=7)
    assert paraphraser(do_sample=True, returned=7, beams=1).settings == drawn.settings
    assert paraphraser(do_sample=True, returned=7, seed=1).settings != drawn.settings


def test_a_seed_draws_its_own_samples_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, two = (paraphraser(do_sample=True, seed=seed).make(reply("red")) for seed in (0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert [v.text for v in one] != [v.text for v in two]
    assert {v.operation for v in one} == {"sample"}


def test_a_batch_that_does_not_fit_the_gpu_is_halved(monkeypatch, caplog):
    asked = requests([pair(n) for n in range(4)], parts=("chosen",))
    expected = texts_by(paraphraser(), asked)
    small = paraphraser()
    small.writer.budget = 10**6
    model = small.writer._model
    generate, sizes = model.generate, []

    def out_of_memory(input_ids, **given):
        sizes.append(len(input_ids))
        if len(input_ids) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(input_ids=input_ids, **given)

    monkeypatch.setattr(model, "generate", out_of_memory)
    with caplog.at_level("INFO"):
        assert texts_by(small, asked) == expected
    assert sizes[:3] == [4, 2, 1]
    assert sum("going on with half" in message for message in caplog.messages) == 2
    monkeypatch.setattr(model, "generate", lambda **_: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA")))
    with pytest.raises(UserError, match="does not fit the GPU's memory"):
        small.make(asked)


def test_a_lone_surrogate_is_read_as_a_question_mark():
    odd, plain = paraphraser().make(reply("so \ud83d")), paraphraser().make(reply("so ?"))
    assert odd == plain


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"returned": 6}, r"augmenter\.returned: 5 beams cannot give 6 variants"),
        ({"beams": 0}, r"augmenter\.beams: must be at least 1"),
        ({"max_input": 0}, r"augmenter\.max_input: must be at least 1"),
        ({"no_repeat_ngram_size": -1}, r"augmenter\.no_repeat_ngram_size"),
        ({"temperature": 0}, r"augmenter\.temperature: must be above 0"),
        ({"top_p": 1.5}, r"augmenter\.top_p: 1.5 is not in \(0, 1\]"),
        ({"beam": 5}, r"augmenter\.beam: no such setting"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        build(ParaphraseConfig, settings, "augmenter")


def test_a_model_that_is_not_there_is_one_line(t5_directory, tmp_path):
    for source in ("nobody/paraphraser-of-nothing", str(tmp_path / "absent")):
        with pytest.raises(ConfigError, match=r"augmenter\.source: .* cannot be loaded \(offline\?") as error:
            paraphraser(source=source, revision="abc")
        assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match='"bert" is unknown'):
        paraphraser("bert")
    broken = shutil.copytree(t5_directory, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"half of a download")
    with pytest.raises(ConfigError, match=r"augmenter\.source: .* cannot be loaded"):
        paraphraser(source=str(broken)).make(reply("red"))


def test_a_prefix_without_room_and_a_model_without_positions_are_refused():
    with pytest.raises(ConfigError, match=r"augmenter\.max_input: prefix and template alone take 14 tokens"):
        paraphraser(max_input=14).make(reply("red"))
    with pytest.raises(ConfigError, match=r"may take 5000, and \"random:qwen3\" has 4096 positions"):
        paraphraser("qwen3", max_input=4991).make(reply("red"))


def test_the_preset_is_the_released_paraphraser(compose):
    values = compose("augmenter=paraphrase")["augmenter"]
    assert values.pop("name") == Paraphraser.name
    config = build(ParaphraseConfig, values, "augmenter")
    assert (config.beams, config.returned, config.no_repeat_ngram_size, config.do_sample) == (5, 5, 3, False)
    assert (config.prefix, config.max_input, config.prompt_tokens, config.response_tokens) == (
        "paraphrase: ",
        512,
        128,
        192,
    )
    assert dataclasses.replace(config, revision=None) == ParaphraseConfig()
