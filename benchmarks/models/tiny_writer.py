"""A small language model that writes planted replies: a policy for studies that run offline, trained from scratch.

It imitates the author of `mars.worlds.planted_candidates`, who takes care with every other reply and whose length and
style say nothing about quality. So its replies differ in gold reward, as those of a reference policy have to: where all
are equally good there is nothing to choose, nor to learn. It has seen the prompts of the training split alone.

It is made once, on a CPU, in minutes, and kept under the digest of its settings. The directory is an ordinary one of
transformers, with safetensors, tokenizer and chat template, so whatever takes a policy takes this one. `tiny_writer` is
the source that names it:

    python -m benchmarks.evaluate model=RUN benchmark=best_of_n benchmark.policy=tiny_writer
    AutoModelForCausalLM.from_pretrained(tiny_writer(Path("cache")))
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from transformers.utils import logging as transformers_logging

from mars import claims
from mars.cache import Cache
from mars.config import ConfigError
from mars.files import aside, digest
from mars.progress import Progress
from mars.reward.batching import epoch_steps
from mars.worlds.planted import World
from mars.worlds.planted_candidates import candidates

SOURCE = "tiny_writer"
_VERSION = 1  # of all that shapes the model besides its settings; another one makes another model
_CONTEXT = 512  # tokens of prompt and reply; a planted dialogue has fewer than 150
_ROLES = ("user", "assistant", "system")
_PAD, _END = "<|pad|>", "<|end|>"
_CLAUSE = r"[^.!?:,]+|[.!?:,] ?"
_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_RARE = 0.1  # share of prompts that ask for a source: more than usual, for a policy has to know how to name one
_WARMUP = 0.05  # share of the steps
_SPREAD = 0.06  # of the weights at first: three times what is usual, which as small a model learns faster from

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WriterConfig:
    """What shapes the model: its width and layers, the planted dialogues it is trained on (each once), and how.

    phrases: of several words that are one token. sharpness: so much larger the trained model's logits are made, as a
    temperature of its inverse would, because what it has not learnt is spread over improbable words. seed: of weights
    and order, and of the replies.
    """

    width: int = 128
    layers: int = 2
    heads: int = 4
    phrases: int = 300
    dialogues: int = 40_000
    batch_size: int = 8
    lr: float = 4e-3
    sharpness: float = 1.2
    seed: int = 0


def named_writer(source: str, cache: Path) -> str:
    """The directory of `tiny_writer`, or of `tiny_writer:N`, which saw N dialogues; any other `source` as it is.

    Raises ConfigError for an N that is no number.
    """
    name, _, number = source.partition(":")
    if name != SOURCE:
        return source
    if number and not (number.isdecimal() and int(number)):
        raise ConfigError(f'benchmark.policy: "{source}" has to name a number of dialogues, as {SOURCE}:500')
    return str(tiny_writer(cache, WriterConfig(dialogues=int(number)) if number else None))


def tiny_writer(cache: Path, config: WriterConfig | None = None, look: float = 1.0) -> Path:
    """The model's directory under `cache`, made where it is not there yet; another process that makes it is waited for.

    look: seconds between two looks at what another process is making. Raises UserError where nothing can be stored
    under `cache`.
    """
    config = config or WriterConfig()
    home = cache / "writers"
    directory = home / f"{SOURCE}-{digest({'version': _VERSION, **asdict(config)})[:16]}"
    file = Cache(home / "claims.sqlite", "claims", "owner", claims.TABLE, "claims are made again")
    waiting = False
    while not directory.exists():
        file.create()
        with claims.Claims(file).claim(claims.free([key := claims.key_of(directory.name)])) as claim:
            if claim.keys and not directory.exists():
                _make(directory, config)
        if not claim.keys:
            if not waiting:
                log.info("%s: waiting for %s, which is making it", SOURCE, claim.others[key])
            waiting = True
            time.sleep(look)
    return directory


def _make(directory: Path, config: WriterConfig) -> None:
    """Trains the model and writes it, aside first: the directory is whole or not there."""
    began = time.monotonic()
    log.info("%s is made, once: a small model is trained on %d planted dialogues", SOURCE, config.dialogues)
    model, tokenizer = train(config)
    transformers_logging.disable_progress_bar()  # of a file that is written at once
    with aside(directory) as other:
        model.save_pretrained(other)
        tokenizer.save_pretrained(other)
    log.info("%s: made in %.0f s, kept in %s", SOURCE, time.monotonic() - began, directory)


def train(config: WriterConfig) -> tuple[Any, PreTrainedTokenizerFast]:
    """(the trained model in eval mode, its tokenizer): a function of `config`, on one machine with as many threads."""
    dialogues = list(_dialogues(config))
    tokenizer = _tokenizer(dialogues, config.phrases)
    replies = _encoded(tokenizer, dialogues)
    lengths = np.array([len(ids) for ids, _ in replies])
    steps = epoch_steps(
        lengths[:, None], config.batch_size, _CONTEXT * config.batch_size * 2, 16, np.random.default_rng(config.seed)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Qwen3ForCausalLM(_shape(config, tokenizer))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: _rate(done / len(steps)))
    model.train()
    with Progress(len(steps), f"training {SOURCE}", "steps") as progress:
        for (batch,) in steps:
            loss = _loss(model, [replies[int(i)] for i in batch])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            progress.advance(1)
    with torch.no_grad():
        model.model.norm.weight *= config.sharpness
    return model.eval(), tokenizer


def _dialogues(config: WriterConfig) -> Iterator[tuple[str, str]]:
    """(prompt, reply), all of the training split."""
    for row in range(config.dialogues):
        pair_id = f"planted-{config.seed}~rare_share={_RARE}-train-{row}"
        ((reply, _),) = candidates(pair_id, 1, config.seed)
        yield World.of(pair_id).find(pair_id).prompt[0].content, reply


def _tokenizer(dialogues: Sequence[tuple[str, str]], phrases: int) -> PreTrainedTokenizerFast:
    """A text is cut into as few pieces as there are: phrases and words of the dialogues, and bytes for all others."""
    special = [_PAD, _END, *(f"<|{role}|>" for role in _ROLES)]
    pieces = [piece.replace(" ", "Ġ") for piece in _pieces(dialogues, phrases)]  # as ByteLevel writes a space
    known = dict.fromkeys([*special, *sorted(pre_tokenizers.ByteLevel.alphabet()), *pieces])
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in known]))
    clauses = pre_tokenizers.Split(Regex(_CLAUSE), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [clauses, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=_PAD,
        eos_token=_END,
        additional_special_tokens=special[2:],
        chat_template=_TEMPLATE,
        model_max_length=_CONTEXT,
        padding_side="left",
    )


def _pieces(dialogues: Sequence[tuple[str, str]], phrases: int) -> list[str]:
    """The words of the dialogues, and phrases: the words that follow one another most often, merged as byte pairs are.

    So a reply is a third as many tokens as words, and more of it is right for as much training. To merge words where
    byte pairs are meant, each is written as one character.
    """
    clauses = [
        re.findall(r" ?[^ ]+|.", clause)
        for turns in dialogues
        for text in turns
        for clause in re.findall(_CLAUSE, text)
    ]
    words = sorted({word for clause in clauses for word in clause})
    letters = {word: chr(0xF0000 + i) for i, word in enumerate(words)}  # of Unicode's private use
    merged = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=len(words) + phrases, show_progress=False)
    merged.train_from_iterator(("".join(map(letters.__getitem__, clause)) for clause in clauses), trainer)
    return sorted("".join(words[ord(letter) - 0xF0000] for letter in piece) for piece in merged.get_vocab())


def _encoded(
    tokenizer: PreTrainedTokenizerFast, dialogues: Sequence[tuple[str, str]]
) -> list[tuple[torch.Tensor, int]]:
    """For each dialogue its token ids, as the chat template has it, and how many of them are the prompt's."""
    asked = [
        tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True)
        for prompt, _ in dialogues
    ]
    known, said = (
        tokenizer(texts, add_special_tokens=False)["input_ids"]
        for texts in (asked, [reply + _END for _, reply in dialogues])
    )
    return [(torch.tensor(before + after), len(before)) for before, after in zip(known, said, strict=True)]


def _shape(config: WriterConfig, tokenizer: PreTrainedTokenizerFast) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=config.width,
        intermediate_size=3 * config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        head_dim=config.width // config.heads,
        max_position_embeddings=_CONTEXT,
        tie_word_embeddings=True,
        initializer_range=_SPREAD,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _rate(done: float) -> float:
    """The learning rate's factor after a share `done` of the steps: up in a line, down along a cosine."""
    if done < _WARMUP:
        return done / _WARMUP
    return 0.5 + 0.5 * math.cos(math.pi * (done - _WARMUP) / (1 - _WARMUP))


def _loss(model: Any, dialogues: Sequence[tuple[torch.Tensor, int]]) -> torch.Tensor:
    """Mean cross-entropy of the replies' tokens. A token sees none after it, so padding at the end needs no mask."""
    ids = pad_sequence([ids for ids, _ in dialogues], batch_first=True)
    lengths = torch.tensor([len(ids) for ids, _ in dialogues])[:, None]
    begins = torch.tensor([prompt for _, prompt in dialogues])[:, None]
    places = torch.arange(1, ids.shape[1])
    said = (places >= begins) & (places < lengths)
    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    return F.cross_entropy(model.lm_head(hidden[said]), ids[:, 1:][said])
