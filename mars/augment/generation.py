"""The model behind a paraphraser: how a text becomes its input, and the search for what it writes.

Searches are cut to the memory: longest texts first, as many at once as the token budget allows, and half as many from
then on where a GPU's memory is too small. A text is searched alone where its result must not depend on the other texts
of a batch: on a CPU, where the shape of a batch changes the last bits of a score and so may swap two beams, and where
texts are sampled, because each then has its own seed. This halves the speed on a CPU. On a GPU it would cost far more,
so beams are batched there and a rare swap is accepted (`token_budget=1` rules it out).

    Writer(ParaphraseConfig(source="random:t5")).write([Passage("key", "Say it.", 32)])
"""

from __future__ import annotations

import functools
import logging
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from hashlib import blake2b
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    LogitsProcessor,
    NoRepeatNGramLogitsProcessor,
)

from mars.augment.paraphrase_settings import ParaphraseConfig
from mars.config import ConfigError, UserError
from mars.reward import tiny
from mars.reward.backbone import BackboneConfig
from mars.reward.model import autocast_dtype
from mars.reward.packed_linear import pack_linears
from mars.reward.weights import BackboneError, load_tokenizer, locate, safetensors_of, weights_id

log = logging.getLogger(__name__)

_RANDOM = "random:"


class Passage(NamedTuple):
    """A text to be rewritten in at most `limit` tokens; `key` seeds its sampling."""

    key: str
    text: str
    limit: int


class Written(NamedTuple):
    """What a passage became: texts by rank, whether the limit ended each, and whether the source was cut."""

    texts: list[str]
    unfinished: list[bool]
    source_cut: bool


class _Input(NamedTuple):
    """A passage as the model reads it."""

    key: str
    ids: list[int]
    cut: bool
    limit: int


class Writer:
    """A transformers model that writes; its weights are loaded when the first text is written.

    `identity` names the model exactly: a sha256 over local files, or hub id and commit. Raises ConfigError for a model
    that cannot be found. budget: tokens of one pass, smaller from when they do not fit; 0: a text at a time.
    """

    def __init__(self, config: ParaphraseConfig, device: torch.device):
        self.config, self.device = config, device
        self._backbone = BackboneConfig(
            name="paraphrase", source=config.source, revision=config.revision, dtype=config.dtype
        )
        self.dtype = autocast_dtype(self._backbone, device) or torch.float32
        self.identity = self._identity()
        self.budget = 0 if config.do_sample or device.type == "cpu" else config.token_budget

    def write(self, passages: Sequence[Passage]) -> list[Written]:
        """`config.returned` texts for each passage, in order.

        Raises ConfigError for a model that cannot be loaded, UserError for a text that does not fit the GPU.
        """
        inputs = [self._input(passage) for passage in passages]
        waiting = sorted(range(len(inputs)), key=lambda i: (-inputs[i].limit, -len(inputs[i].ids)))
        written: dict[int, Written] = {}
        while waiting:
            batch = waiting[: self._fitting([inputs[i] for i in waiting])]
            outputs = self._search([inputs[i] for i in batch])
            if outputs is None:
                continue  # did not fit: the budget is smaller now
            written |= {i: self._written(inputs[i], rows) for i, rows in zip(batch, outputs, strict=True)}
            waiting = waiting[len(batch) :]
        return [written[i] for i in range(len(inputs))]

    def _written(self, source: _Input, rows: list[list[int]]) -> Written:
        texts = [self._tokenizer.decode(row, skip_special_tokens=True).strip() for row in rows]
        return Written(texts, [self._ends.isdisjoint(row) for row in rows], source.cut)

    def _input(self, passage: Passage) -> _Input:
        ids, cut = self._fitted(passage.text.encode("utf-8", "replace").decode())  # no tokenizer takes lone surrogates
        if not self._model.config.is_encoder_decoder and ids[-1] in self._ends:
            ids = ids[:-1]  # a causal model that reads the end has nothing left to write
        return _Input(passage.key, ids, cut, passage.limit)

    def _cost(self, one: _Input) -> int:
        return (self.config.returned if self.config.do_sample else self.config.beams) * (len(one.ids) + one.limit)

    def _fitting(self, waiting: Sequence[_Input]) -> int:
        """The number of `waiting` texts, longest first, that one pass takes: those of one limit, within the budget."""
        alike = sum(one.limit == waiting[0].limit for one in waiting)
        return min(alike, max(1, self.budget // self._cost(waiting[0])))

    def _search(self, batch: Sequence[_Input]) -> list[list[list[int]]] | None:
        """[len(batch)][returned] lists of new token ids; None, and a smaller budget, where the GPU is too small."""
        try:
            return self._generate(batch)
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                raise UserError(
                    f"paraphrase: a text of {len(batch[0].ids)} tokens does not fit the GPU's memory "
                    "(lower augmenter.max_input or augmenter.beams)"
                ) from error
        torch.cuda.empty_cache()
        self.budget = self._cost(batch[0]) * (len(batch) // 2)
        log.info("paraphrase: %d texts at once do not fit the GPU's memory, going on with half", len(batch))
        return None

    @torch.inference_mode()
    def _generate(self, batch: Sequence[_Input]) -> list[list[list[int]]]:
        model, size = self._model, self.config.no_repeat_ngram_size
        causal = not model.config.is_encoder_decoder
        width = max(len(one.ids) for one in batch)
        ids = torch.full((len(batch), width), self._tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, one in enumerate(batch):
            place = slice(width - len(one.ids), width) if causal else slice(len(one.ids))
            ids[row, place], mask[row, place] = torch.tensor(one.ids), 1

        with _seeded(f"{self.config.seed}/{batch[0].key}", self.device) if self.config.do_sample else nullcontext():
            out = model.generate(
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                max_new_tokens=batch[0].limit,
                logits_processor=[NoRepeatOfNew(size, width if causal else 0)] if size else [],
            )
        new = out[:, width if causal else 1 :]  # a seq2seq model's first token is where its decoder starts
        return new.reshape(len(batch), self.config.returned, -1).tolist()

    def _fitted(self, text: str) -> tuple[list[int], bool]:
        """(at most `max_input` token ids, whether the text lost its end)."""
        most = self.config.max_input
        ids = self._ids(text)
        if len(ids) <= most:
            return ids, False
        if not self._chat:
            return self._tokenizer(self.config.prefix + text, truncation=True, max_length=most)["input_ids"], True
        # What follows the text in a chat template has to stay.
        end = bisect_right(range(len(text)), most, key=lambda end: len(self._ids(text[:end]))) - 1
        return self._ids(text[:end]), True

    def _ids(self, text: str) -> list[int]:
        if not self._chat:
            return self._tokenizer(self.config.prefix + text, verbose=False)["input_ids"]
        turn = [{"role": "user", "content": self.config.prefix + text}]
        # A model that can think first would spend all its tokens on that.
        whole = self._tokenizer.apply_chat_template(
            turn, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return self._tokenizer(whole, add_special_tokens=False, verbose=False)["input_ids"]

    @functools.cached_property
    def _chat(self) -> bool:
        template = bool(getattr(self._tokenizer, "chat_template", None))
        if self.config.chat and not template:
            raise ConfigError(f'augmenter.chat: the tokenizer of "{self.config.source}" has no chat template')
        return template if self.config.chat is None else self.config.chat

    # ---- the model

    def _identity(self) -> str:
        if self.config.source.startswith(_RANDOM):
            return f"{self.config.source} {tiny.writer_shape(self.config.source.removeprefix(_RANDOM))}"
        try:
            return weights_id(self._backbone)
        except BackboneError as error:
            raise self._unavailable(error.__cause__ or error) from error

    @functools.cached_property
    def _tokenizer(self) -> Any:
        try:
            tokenizer = load_tokenizer(self._backbone)
        except BackboneError as error:
            raise self._unavailable(error.__cause__ or error) from error
        tokenizer.truncation_side = "right"
        return tokenizer

    @functools.cached_property
    def _ends(self) -> frozenset[int]:
        """Token ids that end a text."""
        ends = self._model.generation_config.eos_token_id
        return frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])

    @functools.cached_property
    def _model(self) -> Any:
        source, config = self.config.source, self.config
        try:
            if source.startswith(_RANDOM):
                model = tiny.random_writer(source.removeprefix(_RANDOM), self._tokenizer)
            else:
                model = _load(*locate(self._backbone), self.dtype)
        except (OSError, ValueError, ImportError, RuntimeError, SafetensorError, BackboneError) as error:
            raise self._unavailable(error) from error

        self._check_room(model.config)
        chance = {"temperature": config.temperature, "top_p": config.top_p, "top_k": 0}
        model.generation_config.update(
            do_sample=config.do_sample,
            num_beams=1 if config.do_sample else config.beams,
            num_return_sequences=config.returned,
            no_repeat_ngram_size=0,  # `NoRepeatOfNew`
            max_length=None,  # of input and output together; a pass says its own max_new_tokens
            pad_token_id=self._tokenizer.pad_token_id,
            **(chance if config.do_sample else dict.fromkeys(chance)),
        )
        plain = self.device.type == "cpu" and self.dtype == torch.float32
        model = model.to(self.device, self.dtype).eval()
        return pack_linears(model) if plain else model

    def _check_room(self, model: Any) -> None:
        """Raises ConfigError where `max_input` is too small for the prefix, or too large for the model."""
        least, most = len(self._ids("")), self.config.max_input
        if least >= most:
            raise ConfigError(f"augmenter.max_input: prefix and template alone take {least} tokens, {most} are allowed")
        new = max(self.config.prompt_tokens, self.config.response_tokens)
        needed = max(most, new) if model.is_encoder_decoder else most + new
        positions = getattr(model, "max_position_embeddings", None)
        if positions and needed > positions:
            raise ConfigError(
                f'augmenter.max_input: with the new tokens a text may take {needed}, and "{self.config.source}" has '
                f"{positions} positions"
            )

    def _unavailable(self, error: BaseException) -> ConfigError:
        revision = f" at revision {self.config.revision}" if self.config.revision else ""
        return ConfigError(
            f'augmenter.source: "{self.config.source}"{revision} cannot be loaded (offline? give a local directory; '
            f"another model needs another revision): {str(error).partition(chr(10))[0]}"
        )


def _load(source: str, revision: str | None, dtype: torch.dtype) -> Any:
    config = AutoConfig.from_pretrained(source, revision=revision)
    auto: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    return auto.from_pretrained(
        source, revision=revision, config=config, dtype=dtype, use_safetensors=safetensors_of(source)
    )


@contextmanager
def _seeded(key: str, device: torch.device) -> Iterator[None]:
    """Inside, torch's random numbers are a function of `key`; outside, its generators are as they were."""
    seed = blake2b(key.encode(errors="surrogatepass"), digest_size=7).digest()
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int.from_bytes(seed, "big"))
        yield


class NoRepeatOfNew(LogitsProcessor):
    """Forbids repeating `n` tokens in a row among those from `start` on.

    transformers' own setting also counts what a causal model reads, and would forbid every phrase of the source.
    """

    def __init__(self, n: int, start: int):
        self.start, self._processor = start, NoRepeatNGramLogitsProcessor(n)

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """[B, V]: `scores` of the next token after [B, L] `input_ids`, with −∞ where it would complete a repetition."""
        return self._processor(input_ids[:, self.start :], scores)
