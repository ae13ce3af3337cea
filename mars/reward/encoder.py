"""The frozen encoder: texts to features, each distinct text encoded once and shared by every run on the machine.

Key: hash of the rendered text; file (`mars.cache`): hash of everything that shapes the feature (weights, template,
length, truncation, pooling, precision).
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from mars import claims
from mars.cache import Cache, Damaged
from mars.claims import Claim, Claims
from mars.each_once import each_once
from mars.preferences.dialogue import Rendered
from mars.progress import Progress
from mars.reward.backbone import BackboneConfig
from mars.reward.batching import micro_batches
from mars.reward.model import autocast_dtype, last_position, load_transformer
from mars.reward.on_workers import Elsewhere, Ids, passed
from mars.reward.packed_linear import pack_linears
from mars.reward.tokens import Tokens
from mars.reward.vectors import Vectors
from mars.reward.weights import load_tokenizer, text_encoder, weights_id
from mars.worlds import gaussian

Embed = Callable[[Sequence[str]], np.ndarray]  # at least one text → [T, d] of unit length

TABLE = f"""
CREATE TABLE IF NOT EXISTS features (text BLOB PRIMARY KEY, vector BLOB, cut INTEGER) WITHOUT ROWID;
{claims.TABLE}"""
_UNIT = 1e-3  # how far the square of a unit vector's length may be from 1
# What a process claims of the texts that are to be encoded, in full token budgets: what an interruption loses, and what
# another process may have to wait for. Some seconds, on a GPU too.
_BUDGETS = {True: 16, False: 1024}  # on a CPU; else


class FeatureEncoder(Protocol):
    """Rendered texts to features, the same ones for the same text always."""

    @property
    def tokenizer(self) -> Any: ...

    def __call__(self, texts: Sequence[Rendered]) -> tuple[np.ndarray, np.ndarray]:
        """([T, d] float32 features, [T] uint8 what truncation cut) of at least one text."""
        ...

    def padded(self, texts: Sequence[Rendered]) -> tuple[np.ndarray, np.ndarray]:
        """What a call returns, each text padded as far as the backbone goes."""
        ...


class _Text(NamedTuple):
    """A text that is to be encoded. number: its own among the tokens. size: how many it has."""

    key: bytes
    number: int
    size: int

    @property
    def wanted(self) -> tuple[bytes]:
        """The row that is its feature."""
        return (self.key,)


class FrozenEncoder:
    """A backbone without a head: rendered texts → unit-length features, cached on disk.

    Unit length, because the embedded backbone was trained for cosine similarity and a length that varies with the text
    would make the scale of a margin depend on the topic. tokenised: texts at a time, for lists of ids are large.
    """

    def __init__(
        self, cfg: BackboneConfig, cache: Path, device: torch.device, token_budget: int, tokenised: int = 4096
    ):
        self.cfg, self.device, self.token_budget, self._tokenised = cfg, device, token_budget, tokenised
        self.elsewhere: Elsewhere | None = None  # who makes the passes, where it is not this process
        self.weights = weights_id(cfg)
        shaping = {k: getattr(cfg, k) for k in ("template", "max_length", "truncation", "pooling", "attention")}
        precision = str(autocast_dtype(cfg, device))
        key = json.dumps([self.weights, shaping, precision], sort_keys=True)
        self.path = cache / "features" / f"{cfg.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.sqlite"
        self._file = Cache(self.path, "features", "text", TABLE, "features are computed again")
        self.vectors, self.padded_vectors = Vectors(self._fill), Vectors(self._fill_padded)

    @functools.cached_property
    def tokenizer(self) -> Any:
        """Loaded when a text is to be encoded that the disk does not have. Raises BackboneError."""
        return load_tokenizer(self.cfg)

    @functools.cached_property
    def _backbone(self) -> Any:
        from transformers import AutoModel

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # only `random:` backbones draw weights here
            model = load_transformer(AutoModel, self.cfg, self.tokenizer)
        plain = self.device.type == "cpu" and autocast_dtype(self.cfg, self.device) is None
        return pack_linears(model.eval()) if plain else model.eval().to(self.device)

    def __call__(self, texts: Sequence[Rendered]) -> tuple[np.ndarray, np.ndarray]:
        """([T, d] float32 unit-length features, [T] uint8 what truncation cut) of at least one text."""
        return self.vectors.of(texts)

    def padded(self, texts: Sequence[Rendered]) -> tuple[np.ndarray, np.ndarray]:
        """What a call returns, each text padded to `max_length`; kept in memory for a study's heads, not on disk."""
        return self.padded_vectors.of(texts)

    def _fill(self, texts: Mapping[bytes, Rendered]) -> None:
        known = self._read(list(texts))
        with suppress(Damaged):  # it is out of the way by now
            self._compute(texts, known)
        self._compute(texts, known)

    def _read(self, keys: Sequence[bytes]) -> set[bytes]:
        """Puts the vectors of those `keys` that are on the disk into memory: whose they are."""
        stored = self._file.read("text, vector, cut", keys)
        if not stored:
            return set()
        found, vectors, cuts = zip(*stored, strict=True)
        matrix = _unit_vectors(vectors)
        if matrix is None or (len(self.vectors) and matrix.shape[1] != self.vectors.dimension):
            self._file.refuse("holds vectors that are not features of this backbone")
            return set()
        self.vectors.put(found, matrix, np.array(cuts, dtype=np.uint8))
        return set(found)

    def _compute(self, texts: Mapping[bytes, Rendered], known: set[bytes]) -> None:
        """Encodes those that are not `known`, and adds them. Of processes that want the same, each encodes a part."""
        texts = {key: text for key, text in texts.items() if key not in known}
        if not texts:
            return
        tokens, numbers = self._tokens(list(texts.values()))
        todo = [_Text(key, int(n), max(1, int(tokens.lengths[n]))) for key, n in zip(texts, numbers, strict=True)]
        todo.sort(key=lambda text: -text.size)  # batches of near-equal length; the largest first
        total = sum(text.size for text in todo)
        most = total if self.elsewhere else self.token_budget * _BUDGETS[self.device.type == "cpu"]
        with Progress(total, f"{self.cfg.name} features of {len(texts)} texts", "tokens") as progress:
            while todo:  # again where the file was lost meanwhile
                self._divide(todo, most, tokens, known, progress)
                known |= self._read([text.key for text in todo if text.key not in known])
                todo = [text for text in todo if text.key not in known]

    def _divide(self, todo: Sequence[_Text], most: int, tokens: Tokens, known: set[bytes], progress: Progress) -> None:
        """Returns once each text was encoded; those that this process encoded are in memory, and `known`."""
        counted = 0

        def make(mine: Sequence[_Text], claim: Claim) -> None:
            nonlocal counted
            numbers, made = np.array([text.number for text in mine]), []
            for places, vectors in self._passes(tokens, numbers):
                made.append((places, vectors))
                done = sum(mine[i].size for i in places)
                progress.advance(done)
                counted += done
            places, vectors = (np.concatenate(part) for part in zip(*made, strict=True))
            keys, cuts = [mine[i].key for i in places], tokens.cuts[numbers[places]]
            self.vectors.put(keys, vectors, cuts)
            known.update(keys)
            rows = zip(keys, vectors, cuts.tolist(), _of_unit_length(vectors), strict=True)
            self._keep([(key, vector.tobytes(), cut) for key, vector, cut, sound in rows if sound], claim)

        self._file.create()
        for gone in each_once(Claims(self._file), todo, most, make, "features"):
            progress.advance(gone - counted)  # by others
            counted = 0

    def _keep(self, rows: Sequence[tuple[bytes, bytes, int]], claim: Claim) -> None:
        """Stores rows and drops the claim on them, in one transaction."""
        with self._file.transaction() as database:
            self._file.add(database, rows)
            claim.drop(database)

    def of_ids(self, texts: Ids, width: int) -> np.ndarray:
        """[len(texts), d] features of texts that were tokenised before, kept nowhere. width: as of `Tokens`."""
        tokens = Tokens(text_encoder(self.cfg, self.tokenizer), self.device, width)
        places, vectors = zip(*self._passes(tokens, tokens.add_ids(texts)), strict=True)
        return np.concatenate(vectors)[np.argsort(np.concatenate(places))]

    @torch.inference_mode()
    def _passes(self, tokens: Tokens, numbers: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(positions in `numbers`, their vectors) of every batch, longest first; of shards, where others make them."""
        lengths = tokens.lengths[numbers]
        if tokens.width:
            batches = [(batch, 0) for batch in micro_batches(np.arange(len(numbers)), lengths, self.token_budget, 1)]
        else:
            batches = list(_alike(lengths, self.token_budget))
        if self.elsewhere:
            yield from passed(self.elsewhere, tokens, numbers, [batch for batch, _ in batches], self.token_budget)
            return
        for batch, width in batches:
            yield batch, self._features(**tokens.batch(numbers[batch], width)).cpu().numpy()

    def _fill_padded(self, texts: Mapping[bytes, Rendered]) -> None:
        keys, tokens, numbers = list(texts), *self._tokens(list(texts.values()), self.cfg.max_length)
        for places, vectors in self._passes(tokens, numbers):
            self.padded_vectors.put([keys[i] for i in places], vectors, tokens.cuts[numbers[places]])

    def _tokens(self, texts: Sequence[Rendered], width: int = 0) -> tuple[Tokens, np.ndarray]:
        """(`texts` as tokens of at least that width, their numbers), tokenised in parts."""
        tokens, size = Tokens(text_encoder(self.cfg, self.tokenizer), self.device, width), self._tokenised
        parts = [tokens.add(texts[start : start + size]) for start in range(0, len(texts), size)]
        return tokens, np.concatenate(parts)

    def _features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        dtype = autocast_dtype(self.cfg, self.device)
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None):
            hidden = self._backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
        if self.cfg.pooling == "mean":
            mask = attention_mask[..., None]
            pooled = (hidden * mask).sum(1) / mask.sum(1)
        else:
            position = last_position(attention_mask) if self.cfg.pooling == "last" else attention_mask.argmax(dim=1)
            pooled = hidden[torch.arange(len(hidden), device=hidden.device), position]
        return F.normalize(pooled, dim=-1)


def _unit_vectors(stored: Sequence[bytes]) -> np.ndarray | None:
    """[T, d] float32; None where they are not vectors of unit length, all of one dimension."""
    if len({len(vector) for vector in stored}) > 1 or len(stored[0]) % 4:
        return None
    matrix = np.frombuffer(b"".join(stored), dtype=np.float32).reshape(len(stored), -1)
    return matrix if np.all(_of_unit_length(matrix)) else None


def _of_unit_length(matrix: np.ndarray) -> np.ndarray:
    """[T] bool of [T, d]: False of a text without a token too, whose numbers are none."""
    return np.abs(np.einsum("td,td->t", matrix, matrix) - 1) < _UNIT


def _alike(lengths: np.ndarray, token_budget: int) -> Iterator[tuple[np.ndarray, int]]:
    """(positions, padded width) of batches of near-equal length, longest first.

    A text is always padded to its own length rounded up to a multiple of 8, never to its neighbours': on a CPU its
    feature then has the same bits whatever is encoded beside it, and a run does not depend on what the cache held.
    """
    widths = -(-lengths // 8) * 8
    for width in np.unique(widths)[::-1]:
        for batch in micro_batches(np.flatnonzero(widths == width), widths, token_budget, texts_per_item=1):
            yield batch, int(width)


@functools.lru_cache(maxsize=2)
def frozen_encoder(cfg: BackboneConfig, cache: Path, device: torch.device, token_budget: int) -> FeatureEncoder:
    """One encoder a process, so that the runs of a sweep share its weights and what it has read from disk."""
    if cfg.source == gaussian.SOURCE:
        return gaussian.GaussianEncoder()
    return FrozenEncoder(cfg, cache, device, token_budget)


def sentence_embedder(encoder: FeatureEncoder) -> Embed:
    """Texts on their own, without a prompt, as unit vectors.

    A blank text says nothing: its vector is zero, at distance 1 from every other. (A tokenizer without special tokens
    makes no token of it, and the mean over no token is not a number.)
    """

    def embed(texts: Sequence[str]) -> np.ndarray:
        vectors, _ = encoder([Rendered("", text if text.strip() else "-") for text in texts])
        vectors[[not text.strip() for text in texts]] = 0
        return vectors

    return embed
