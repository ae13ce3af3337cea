"""Text to ids: the reply survives truncation, a text is tokenised once, both parts meet as one text."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mars.preferences.dialogue import Message, Rendered, parse_hh, render, render_plain, split_last_assistant
from mars.reward.tiny import byte_tokenizer
from mars.reward.tokens import CUT_PROMPT, CUT_RESPONSE, Encoder, Tokens

TOKENIZER = byte_tokenizer()


def decoded(ids):
    return TOKENIZER.decode(ids, skip_special_tokens=True)


@given(st.text(max_size=60), st.text(max_size=60))
def test_prefix_and_response_encode_as_the_whole_text_would(prefix, response):
    (ids,), (cut,) = Encoder(TOKENIZER, 1000, "left")([Rendered(prefix, response)])
    assert ids == TOKENIZER(prefix + response)["input_ids"]
    assert cut == 0


@given(st.text("abc ", max_size=200), st.text("xyz ", min_size=1, max_size=200), st.sampled_from(["left", "right"]))
def test_truncation_fits_and_reports_exactly_what_it_cut(prefix, response, side):
    (ids,), (cut,) = Encoder(TOKENIZER, 42, side)([Rendered(prefix, response)])
    text = decoded(ids)
    assert len(ids) <= 42
    kept = sum(text.count(c) for c in "abc"), sum(text.count(c) for c in "xyz")
    if side == "right":
        assert (prefix + response).startswith(text)
    whole = sum(prefix.count(c) for c in "abc"), sum(response.count(c) for c in "xyz")
    assert not (kept[0] < whole[0] and not cut & CUT_PROMPT)
    assert not (kept[1] < whole[1] and not cut & CUT_RESPONSE)
    assert (cut == 0) == (len(prefix + response) <= 40)


def test_left_truncation_keeps_the_reply_and_the_end_of_the_prompt():
    (ids,), (cut,) = Encoder(TOKENIZER, 22, "left")([Rendered("0123456789abcdefghij", "REPLY")])
    assert decoded(ids) == "56789abcdefghijREPLY"
    assert cut == CUT_PROMPT


def test_a_reply_longer_than_the_room_leaves_the_prompt_a_quarter():
    (ids,), (cut,) = Encoder(TOKENIZER, 22, "left")([Rendered("0123456789", "R" * 50)])
    assert decoded(ids) == "56789" + "R" * 15
    assert cut == CUT_PROMPT | CUT_RESPONSE


def test_texts_are_numbered_once_and_batches_are_padded_on_the_right():
    tokens = Tokens(Encoder(TOKENIZER, 64, "left"), torch.device("cpu"))
    first = tokens.add([Rendered("a", "b"), Rendered("longer ", "text"), Rendered("a", "b")])
    second = tokens.add([Rendered("new", ""), Rendered("a", "b")])
    assert first.tolist() == [0, 1, 0]
    assert second.tolist() == [2, 0]
    assert tokens.lengths.tolist() == [4, 13, 5]
    batch = tokens.batch(np.array([1, 0]))
    assert batch["attention_mask"].sum(1).tolist() == [13, 4]
    assert batch["input_ids"][1, 4:].eq(TOKENIZER.pad_token_id).all()
    assert decoded(batch["input_ids"][0]) == "longer text"


def test_a_length_limit_without_room_is_refused():
    with pytest.raises(ValueError, match="max_length: 6 leaves no room"):
        Encoder(TOKENIZER, 6, "left")


def test_the_plain_template_is_the_authors():
    prompt = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Why?"))
    assert (
        "".join(render_plain(prompt, "Because."))
        == "Human: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant: Because."
    )


def test_an_hh_dialogue_is_split_at_its_last_assistant_turn():
    dialogue = "\n\nHuman: one\n\ntwo\n\nAssistant: three\n\nHuman: four\n\nAssistant: five\n\nsix"
    prompt, response = split_last_assistant(parse_hh(dialogue))
    assert [m.content for m in prompt] == ["one\n\ntwo", "three", "four"]
    assert response == "five\n\nsix"


@pytest.mark.parametrize("dialogue", ["no markers", "\n\nAssistant: x\n\nHuman: y"])
def test_a_dialogue_without_a_final_reply_is_refused(dialogue):
    with pytest.raises(ValueError, match="the dialogue does not"):
        split_last_assistant(parse_hh(dialogue))


def test_a_chat_template_is_cut_where_the_reply_begins():
    tokenizer = byte_tokenizer()
    turns = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    tokenizer.chat_template = turns + "{% if add_generation_prompt %}<assistant>{% endif %}"
    rendered = render((Message("user", "Hi"),), "Yes", "chat", tokenizer)
    assert rendered == Rendered("<user>Hi</s><assistant>", "Yes</s>")


def test_a_tokenizer_without_a_chat_template_is_a_clear_error():
    with pytest.raises(ValueError, match="no chat template"):
        render((Message("user", "Hi"),), "Yes", "chat", TOKENIZER)


def test_ids_are_those_of_the_whole_text_under_a_vocabulary_that_marks_a_beginning():
    """Llama 2's way: every text tokenised on its own begins with a blank, and so would every reply."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted({*"▁Human: Is it so?\n\nAssistant: About that, yes.".replace(" ", "▁")})
    raw = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(["[PAD]", *letters])}, merges=[], unk_token="[PAD]"))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.decoder = decoders.Replace("▁", " ")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]")
    text = render_plain((Message("user", "Is it so?"),), "About that, yes.")
    (ids,), _ = Encoder(tokenizer, 200, "left")([text])
    assert ids == tokenizer(text.prefix + text.response)["input_ids"]
    apart = tokenizer(text.prefix)["input_ids"] + tokenizer(text.response)["input_ids"]
    assert ids != apart
