"""Texts to token ids, once each, in one memory-mapped array with offsets.

A text met again (a base pair in every round, a prompt's variant drawn twice) is the same row: `add` returns its number.
The ids live in an unlinked temporary file, so a million texts cost their offsets and page cache, not Python objects.

Truncation knows prompt from response. "left" drops the oldest prompt tokens and keeps the reply, which is where the two
sides of a pair differ; the reply itself is cut at its end only where it would leave the prompt less than a quarter of
the room. "right" cuts the end of the whole text, as the authors' code does.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from mars import files
from mars.preferences.dialogue import Rendered
from mars.preferences.numbering import Numbering
from mars.reward.backbone import Truncation
from mars.reward.memory import moved
from mars.reward.packing import Packing, pack

CUT_PROMPT, CUT_RESPONSE = 1, 2


_PROBE = Rendered("Human: Is it so?\n\nAssistant:", " About that, yes.")
_LONGEST_END = 4  # tokens a template puts after a reply's closing one: a line break, as a rule


class Inputs(Protocol):
    """Model inputs by text number: token ids for a transformer, cached features for a linear head."""

    lengths: np.ndarray  # [T] cost of each text in a padded batch: tokens, or 1 for a row of features
    cuts: np.ndarray  # [T] uint8, what truncation took: CUT_PROMPT | CUT_RESPONSE

    def add(self, texts: Sequence[Rendered]) -> np.ndarray:
        """[len(texts)] text numbers; a text seen before keeps its number."""
        ...

    def batch(self, numbers: np.ndarray) -> dict[str, torch.Tensor]:
        """What the model's forward takes for these texts."""
        ...

    def padded(self) -> Inputs:
        """Inputs of the same kind, still empty, in which every text is padded as far as the model goes."""
        ...


class Encoder:
    """A tokenizer with the study's length limit and truncation.

    special_tokens: False for a text that brings its own, a chat template's. Ids are those of the whole text, as its
    template's author has them. Where the tokenizer gives the same ids to prompt and reply apart, prompts are tokenised
    once for both sides of a pair; with many SentencePiece vocabularies, and where a chat template joins the two without
    a space, it does not.
    """

    def __init__(self, tokenizer: Any, max_length: int, truncation: Truncation, special_tokens: bool = True):
        self.tokenizer, self.truncation, self.max_length = tokenizer, truncation, max_length
        self.pad = tokenizer.pad_token_id
        self._whole = tokenizer.is_fast and not (special_tokens and self._parts_agree())
        self._own_ends = not special_tokens
        self.opening, self.closing = _special_ids(tokenizer) if special_tokens else ([], [])
        self.room = max_length - len(self.opening) - len(self.closing)
        if self.room < 8:
            raise ValueError(f"max_length: {max_length} leaves no room for a text")

    def __call__(self, texts: Sequence[Rendered]) -> tuple[list[list[int]], list[int]]:
        """Token ids of each text, special tokens included, at most `max_length` of them; and what was cut from it."""
        parts = self._split_whole(texts) if self._whole else self._apart(texts)
        fitted = [self._fit(prefix, response) for prefix, response in parts]
        return [[*self.opening, *body, *self.closing] for body, _ in fitted], [cut for _, cut in fitted]

    def _parts_agree(self) -> bool:
        whole, prefix, response = self._ids([_PROBE.prefix + _PROBE.response, *_PROBE])
        return whole == prefix + response

    def _apart(self, texts: Sequence[Rendered]) -> list[tuple[list[int], list[int]]]:
        prefixes = list(dict.fromkeys(t.prefix for t in texts))  # both sides of a pair share it
        ids = dict(zip(prefixes, self._ids(prefixes), strict=True))
        responses = self._ids([t.response for t in texts])
        return [(ids[t.prefix], response) for t, response in zip(texts, responses, strict=True)]

    def _split_whole(self, texts: Sequence[Rendered]) -> list[tuple[list[int], list[int]]]:
        """Ids of prefix and response; a token that holds the end of one and the start of the other is a response's."""
        encoded = self.tokenizer(
            [t.prefix + t.response for t in texts],
            add_special_tokens=False,
            return_attention_mask=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        parts = []
        for text, ids, spans in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            cut = bisect.bisect_right(spans, len(text.prefix), key=lambda span: span[1])
            parts.append((ids[:cut], ids[cut:]))
        return parts

    def _ids(self, texts: list[str]) -> list[list[int]]:
        return self.tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]

    def _fit(self, prefix: list[int], response: list[int]) -> tuple[list[int], int]:
        if len(prefix) + len(response) <= self.room:
            return prefix + response, 0
        if self.truncation == "right":
            return (prefix + response)[: self.room], CUT_RESPONSE | (CUT_PROMPT if len(prefix) > self.room else 0)
        head, tail = self._ends(prefix, response)
        prompt, text = prefix[head:], response[: len(response) - len(tail)]
        room = self.room - head - len(tail)
        reply = text[: room - min(len(prompt), room // 4)]
        rest = room - len(reply)
        cut = (CUT_RESPONSE if len(reply) < len(text) else 0) | (CUT_PROMPT if len(prompt) > rest else 0)
        return [*prefix[:head], *prompt[max(0, len(prompt) - rest) :], *reply, *tail], cut

    def _ends(self, prefix: list[int], response: list[int]) -> tuple[int, list[int]]:
        """What truncation leaves alone in a text with its own special tokens: (ids at its start, the ids at its end).

        The beginning-of-text token, and from the reply's last special token on, where a causal model's score is read.
        """
        if not self._own_ends:
            return 0, []
        head = int(prefix[:1] == [self.tokenizer.bos_token_id] or prefix[:1] == [self.tokenizer.cls_token_id])
        special = set(self.tokenizer.all_special_ids)
        last = next((i for i in range(1, min(len(response), _LONGEST_END) + 1) if response[-i] in special), 0)
        return head, response[len(response) - last :]


def _special_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The ids the tokenizer puts before and after a text ([CLS] and [SEP], say)."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return full[:start], full[start + len(bare) :]
    return [], []


def text_key(text: Rendered) -> bytes:
    """16 bytes that stand for a rendered text."""
    whole = f"{text.prefix}\x00{text.response}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(whole, digest_size=16).digest()


class Tokens:
    """`Inputs` of a transformer: ids of every distinct text, right-padded into batches.

    width: least tokens of a batch, padding included.
    """

    def __init__(self, encoder: Encoder, device: torch.device, width: int = 0):
        self._encoder, self._device, self.width = encoder, device, width
        self._numbers = Numbering()  # by digest: the texts themselves need not stay in memory
        self._offsets = np.zeros(1, dtype=np.int64)
        self._file = files.scratch("mars-tokens-")  # lives as long as the memory map
        self.lengths = np.zeros(0, dtype=np.int64)
        self.cuts = np.zeros(0, dtype=np.uint8)
        self._ids = np.empty(0, dtype=np.int32)
        self._pad = encoder.pad

    def add(self, texts: Sequence[Rendered]) -> np.ndarray:
        """[len(texts)] text numbers; a text seen before keeps its number."""
        keys = [text_key(text) for text in texts]
        found = self._numbers.find(keys)
        new = {key: text for key, text, number in zip(keys, texts, found.tolist(), strict=True) if number < 0}
        if new:
            encoded, cuts = self._encoder(list(new.values()))
            self._append(encoded, cuts)
            self._numbers.add(list(new))
            found = self._numbers.find(keys)
        return found

    def add_ids(self, texts: Sequence[np.ndarray]) -> np.ndarray:
        """[len(texts)] new text numbers of texts tokenised before, [L] int32 ids each; `add` comes no more."""
        return self._append([ids.tolist() for ids in texts], [0] * len(texts))

    def _append(self, encoded: Sequence[Sequence[int]], cuts: Sequence[int]) -> np.ndarray:
        first = len(self.lengths)
        files.append(self._file, np.fromiter((i for ids in encoded for i in ids), dtype=np.int32).tobytes())
        self.cuts = np.concatenate([self.cuts, np.array(cuts, dtype=np.uint8)])
        self._offsets = np.concatenate([self._offsets, self._offsets[-1] + np.cumsum([len(ids) for ids in encoded])])
        self.lengths = np.maximum(np.diff(self._offsets), self.width)
        self._ids = np.memmap(self._file, dtype=np.int32, mode="r")
        return np.arange(first, first + len(encoded))

    def batch(self, numbers: np.ndarray, width: int = 0) -> dict[str, torch.Tensor]:
        """input_ids and attention_mask, [len(numbers), L] int64; L is the longest text's or `width`, if more."""
        lengths = self._offsets[numbers + 1] - self._offsets[numbers]
        mask = np.arange(max(width, self.width, lengths.max(initial=1))) < lengths[:, None]
        ids = np.full(mask.shape, self._pad, dtype=np.int64)
        ids[mask] = np.concatenate(self.ids(numbers))
        tensors = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}
        return moved(tensors, self._device)

    def ids(self, numbers: np.ndarray) -> list[np.ndarray]:
        """[L] int32 token ids of each of these texts."""
        return [self._ids[self._offsets[n] : self._offsets[n + 1]] for n in numbers]

    def packed(self, numbers: np.ndarray, packing: Packing, share: bool = True) -> dict[str, Any]:
        """input_ids, [1, T] int64, and the layout of these texts in one row (`mars.reward.packing.pack`)."""
        nothing = np.array([self._pad], dtype=np.int32)  # stands for a text without a token, as it does when padded
        return pack([ids if len(ids) else nothing for ids in self.ids(numbers)], packing, self._device, share)

    def padded(self) -> Tokens:
        """Tokens of the same encoder, still empty, each text padded to `max_length`."""
        return self.empty(self._encoder.max_length)

    def empty(self, width: int) -> Tokens:
        """Tokens of the same encoder, still empty, of at least that width."""
        return Tokens(self._encoder, self._device, width)
