"""How a model card words things: numbers, settings and tables in Markdown, and the code that loads the model.

Apart from `benchmarks.card` because none of it knows what a run is. The code is run by the tests as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

# A path or address anywhere in a value: at its beginning, or after a quote, a bracket or a separator.
_LOCAL = re.compile(r"""(^|[\s'"\[{(,:=])(~[\w.-]*/|\.{0,2}/(?=\S)|[A-Za-z]:[\\/]|\\\\)""")

_CLASSIFIER = {  # by template
    "plain": '''\
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

place = "."  # this directory, or its name on the hub
tokenizer = AutoTokenizer.from_pretrained(place)
model = AutoModelForSequenceClassification.from_pretrained(place).eval()
model.config.pad_token_id = None  # one text at a time: a causal model then reads the score at the last token
speaker = {"user": "Human: ", "assistant": "Assistant: ", "system": ""}
letter, alone = tokenizer("a")["input_ids"], tokenizer("a", add_special_tokens=False)["input_ids"]
before = letter.index(alone[0])
opening, closing = letter[:before], letter[before + len(alone) :]  # the special tokens around a text


def score(turns):
    """turns: [{"role": "user", "content": "…"}, …, {"role": "assistant", "content": "…"}], the last one is judged."""
    asked = "\\n\\n".join([speaker[turn["role"]] + turn["content"] for turn in turns[:-1]] + ["Assistant:"])
    text = asked + " " + turns[-1]["content"]
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    first = sum(end <= len(asked) for _, end in encoded["offset_mapping"])  # token of the reply
    prompt, reply = encoded["input_ids"][:first], encoded["input_ids"][first:]
CUT
    tokens = torch.tensor([opening + prompt + reply + closing])
    with torch.inference_mode():
        return model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[0, 0].item()
''',
    "chat": '''\
from os.path import commonprefix

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

place = "."  # this directory, or its name on the hub
tokenizer = AutoTokenizer.from_pretrained(place)
model = AutoModelForSequenceClassification.from_pretrained(place).eval()
model.config.pad_token_id = None  # one text at a time: a causal model then reads the score at the last token


def score(turns):
    """turns: [{"role": "user", "content": "…"}, …, {"role": "assistant", "content": "…"}], the last one is judged."""
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    asked = tokenizer.apply_chat_template(turns[:-1], tokenize=False, add_generation_prompt=True)
    asked = commonprefix([asked, text])
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    first = sum(end <= len(asked) for _, end in encoded["offset_mapping"])  # token of the reply
    prompt, reply = encoded["input_ids"][:first], encoded["input_ids"][first:]
ENDS
CUT
    tokens = torch.tensor([opening + prompt + reply + closing])
    with torch.inference_mode():
        return model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[0, 0].item()
''',
}
_ENDS = {  # by truncation: what a cut spares of a text with its own special tokens
    "left": """\
    opening = prompt[:1] if prompt[:1] in ([tokenizer.bos_token_id], [tokenizer.cls_token_id]) else []
    ends = [i for i in range(1, min(len(reply), 4) + 1) if reply[-i] in tokenizer.all_special_ids][:1] or [0]
    closing = reply[len(reply) - ends[0] :]  # the reply's last special token, and what follows it
    prompt, reply = prompt[len(opening) :], reply[: len(reply) - len(closing)]""",
    "right": "    opening, closing = [], []",
}
_CUT = {
    "left": """\
    room = LENGTH - len(opening) - len(closing)
    reply = reply[: room - min(len(prompt), room // 4)]  # a prompt keeps a quarter of the room
    prompt = prompt[max(0, len(prompt) + len(reply) - room) :]  # and its newest tokens""",
    "right": """\
    room = LENGTH - len(opening) - len(closing)
    prompt, reply = prompt[:room], reply[: max(0, room - len(prompt))]""",
}


def classifier_code(template: str, truncation: str, max_length: int) -> str:
    """Python that loads a transformers checkpoint and scores a dialogue cut as `mars.reward.tokens.Encoder` cuts it."""
    code = _CLASSIFIER[template].replace("ENDS", _ENDS[truncation]).replace("CUT", _CUT[truncation])
    return code.replace("LENGTH", str(max_length))


LINEAR_HEAD = '''\
import os
from pathlib import Path

import torch

from mars.reward.engine import Engine
from mars import load_linear
from mars.preferences.dialogue import Message

model, backbone = load_linear(Path("."))  # this directory
cache = Path(os.environ.get("MARS_CACHE", "~/.cache/mars")).expanduser()  # of features
engine = Engine(backbone, "head", torch.device("cpu"), token_budget=2048, cache=cache)


def score(turns):
    """turns: [{"role": "user", "content": "…"}, …, {"role": "assistant", "content": "…"}], the last one is judged."""
    *prompt, reply = [Message(**turn) for turn in turns]
    return engine.scorer(model)([(prompt, reply.content)])[0].item()
'''


def public(value: Any) -> str:
    """`value` as text; LOCAL where it holds a path or an address, which is this machine's own affair."""
    text = str(value)
    return "LOCAL" if _LOCAL.search(text) else text


def settings(values: Mapping[str, Any]) -> str:
    """`key=value` pairs in code style, without what is unset or private."""
    shown = {key: value for key, value in values.items() if value not in (None, "", [], {}) and not key.startswith("_")}
    return ", ".join(f"`{key}={public(plain(value)).replace('`', '')}`" for key, value in shown.items())


def plain(value: Any) -> str:
    """`value` in words: no quotes, numbers as short as they go."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {plain(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(plain, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def number(value: float | None) -> str:
    """Three decimals, fewer from 10 on and more below 0.001, so that three significant digits are left."""
    if value is None:
        return "–"
    size = abs(value)
    if size >= 10:
        return f"{value:.0f}" if 100 <= size < 1e6 else f"{value:.1f}" if size < 100 else f"{value:.2e}"
    if size >= 0.001 or size == 0:
        return f"{value + 0.0:.3f}"  # + 0.0: no minus sign before a zero
    return np.format_float_positional(value, 3, fractional=False, trim="-") if size >= 1e-6 else f"{value:.1e}"


def cell(value: Any) -> str:
    """`value` on one line, with nothing in it that Markdown or HTML would act on within a table."""
    text = " ".join(str(value).split())
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell(value) for value in line) + " |" for line in lines)
