"""Frozen features, computed once for each distinct text and shared by every run on the machine.

Key: hash of the rendered text; file (`mars.cache`): hash of everything that shapes the feature (weights, template,
length, truncation, pooling, precision).
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModel

from mars.cache import Cache
from mars.preferences.dialogue import Rendered
from mars.progress import Progress
from mars.reward.backbone import BackboneConfig
from mars.reward.batching import micro_batches
from mars.reward.model import autocast_dtype, last_position, load_tokenizer, load_transformer, text_encoder, weights_id
from mars.reward.tokens import Tokens, text_key
from mars.worlds import gaussian

Embed = Callable[[Sequence[str]], np.ndarray]  # at least one text → [T, d] of unit length
Encode = Callable[[Sequence[Rendered]], tuple[np.ndarray, np.ndarray]]  # → ([T, d] features, [T] uint8 cuts)

_TABLE = "CREATE TABLE IF NOT EXISTS features (text BLOB PRIMARY KEY, vector BLOB, cut INTEGER) WITHOUT ROWID;"
_CHUNK_TOKENS = 200_000  # between two commits: what an interruption can lose, some thirty seconds on two cores


class PackedLinear(nn.Module):
    """A frozen fp32 linear layer through oneDNN with its weight laid out once.

    The same fp32 arithmetic, but PyTorch's own path goes to MKL, which runs at under half the speed on AMD processors:
    a MiniLM forward pass is 1.8 times as fast this way (`python -m benchmarks.speed encoder`).
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


def pack_linears(module: nn.Module) -> nn.Module:
    """`module` with every linear layer packed, where this build of PyTorch can; for inference on a CPU only."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return module
    for name, child in module.named_children():
        setattr(module, name, PackedLinear(child) if type(child) is nn.Linear else pack_linears(child))
    return module


class FeatureEncoder(Protocol):
    """Rendered texts to features, the same ones for the same text always."""

    tokenizer: Any

    def __call__(self, texts: Sequence[Rendered]) -> tuple[np.ndarray, np.ndarray]:
        """([T, d] float32 features, [T] uint8 what truncation cut) of at least one text."""
        ...

    def padded(self, texts: Sequence[Rendered]) -> tuple[np.ndarray, np.ndarray]:
        """What a call returns, each text padded as far as the backbone goes."""
        ...


class FrozenEncoder:
    """A backbone without a head: rendered texts → unit-length features, cached on disk.

    Unit length, because the embedded backbone was trained for cosine similarity and a length that varies with the text
    would make the scale of a margin depend on the topic.
    """

    def __init__(self, cfg: BackboneConfig, cache: Path, device: torch.device, token_budget: int):
        self.cfg, self.device, self.token_budget = cfg, device, token_budget
        self.tokenizer = load_tokenizer(cfg)
        self.weights = weights_id(cfg)
        shaping = {k: getattr(cfg, k) for k in ("template", "max_length", "truncation", "pooling", "attention")}
        precision = str(autocast_dtype(cfg, device))
        key = json.dumps([self.weights, shaping, precision], sort_keys=True)
        self.path = cache / "features" / f"{cfg.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.sqlite"
        self._file = Cache(self.path, "features", "text", _TABLE, "delete the file; features are computed again")
        self._file.create()
        self._memory: dict[bytes, tuple[np.ndarray, int]] = {}
        self._padded: dict[bytes, tuple[np.ndarray, int]] = {}

    @functools.cached_property
    def _backbone(self) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # only `random:` backbones draw weights here
            model = load_transformer(AutoModel, self.cfg, self.tokenizer)
        plain = self.device.type == "cpu" and autocast_dtype(self.cfg, self.device) is None
        return pack_linears(model.eval()) if plain else model.eval().to(self.device)

    def __call__(self, texts: Sequence[Rendered]) -> tuple[np.ndarray, np.ndarray]:
        """([T, d] float32 unit-length features, [T] uint8 what truncation cut) of at least one text."""
        keys = [text_key(t) for t in texts]
        missing = {k: t for k, t in zip(keys, texts, strict=True) if k not in self._memory}
        if missing:
            for key, vector, cut in self._file.read("text, vector, cut", list(missing)):
                self._memory[key] = np.frombuffer(vector, dtype=np.float32), cut
            self._compute({k: t for k, t in missing.items() if k not in self._memory})
        vectors, cuts = zip(*(self._memory[k] for k in keys), strict=True)
        return np.stack(vectors), np.array(cuts, dtype=np.uint8)

    @torch.inference_mode()
    def _compute(self, texts: dict[bytes, Rendered]) -> None:
        if not texts:
            return
        keys = list(texts)
        tokens = Tokens(text_encoder(self.cfg, self.tokenizer), self.device)
        numbers = tokens.add(list(texts.values()))
        rows: list[tuple[bytes, bytes, int]] = []
        unsaved = 0
        with Progress(
            int(tokens.lengths.sum()), f"{self.cfg.name} features of {len(keys)} texts", "tokens"
        ) as progress:
            for batch, width in _alike(tokens.lengths[numbers], self.token_budget):
                vectors = self._features(**tokens.batch(numbers[batch], width)).cpu().numpy()
                for i, vector in zip(batch, vectors, strict=True):
                    cut = int(tokens.cuts[numbers[i]])
                    self._memory[keys[i]] = vector, cut
                    rows.append((keys[i], vector.tobytes(), cut))
                done = int(tokens.lengths[numbers[batch]].sum())
                progress.advance(done)
                unsaved += done
                if unsaved > _CHUNK_TOKENS:
                    self._file.insert(rows)
                    rows, unsaved = [], 0
        self._file.insert(rows)

    @torch.inference_mode()
    def padded(self, texts: Sequence[Rendered]) -> tuple[np.ndarray, np.ndarray]:
        """What a call returns, each text padded to `max_length`; kept in memory for a study's heads, not on disk."""
        keys = [text_key(t) for t in texts]
        missing = {k: t for k, t in zip(keys, texts, strict=True) if k not in self._padded}
        if missing:
            tokens = Tokens(text_encoder(self.cfg, self.tokenizer), self.device, self.cfg.max_length)
            numbers = tokens.add(list(missing.values()))
            names = list(missing)
            for batch in micro_batches(np.arange(len(names)), tokens.lengths[numbers], self.token_budget, 1):
                vectors = self._features(**tokens.batch(numbers[batch])).cpu().numpy()
                cuts = tokens.cuts[numbers[batch]]
                self._padded.update(zip([names[i] for i in batch], zip(vectors, cuts, strict=True), strict=True))
        vectors, cuts = zip(*(self._padded[k] for k in keys), strict=True)
        return np.stack(vectors), np.array(cuts, dtype=np.uint8)

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


class Features:
    """`Inputs` of a linear head. Numbers are the run's own, so a run never depends on what ran before it.

    encode: what makes features of texts, the encoder itself unless told.
    """

    def __init__(self, encoder: FeatureEncoder, encode: Encode | None = None):
        self.encoder, self._encode = encoder, encode or encoder
        self._numbers: dict[bytes, int] = {}
        self._matrix: torch.Tensor | None = None  # [T, d]
        self.lengths = np.ones(0, dtype=np.int64)  # every text costs the same: one row
        self.cuts = np.zeros(0, dtype=np.uint8)

    def add(self, texts: Sequence[Rendered]) -> np.ndarray:
        """[len(texts)] text numbers; a text seen before keeps its number."""
        keys = [text_key(text) for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._numbers}
        if new:
            vectors, cuts = self._encode(list(new.values()))
            rows = torch.from_numpy(vectors)
            self.cuts = np.concatenate([self.cuts, cuts])
            self._matrix = rows if self._matrix is None else torch.cat([self._matrix, rows])
            self._numbers.update(zip(new, range(len(self._numbers), len(self._numbers) + len(new)), strict=True))
            self.lengths = np.ones(len(self._numbers), dtype=np.int64)
        return np.fromiter((self._numbers[key] for key in keys), dtype=np.int64, count=len(keys))

    @property
    def dimension(self) -> int:
        """d; known once a text has been added."""
        assert self._matrix is not None
        return self._matrix.shape[1]

    def batch(self, numbers: np.ndarray) -> dict[str, torch.Tensor]:
        """features, [len(numbers), d] float32."""
        assert self._matrix is not None
        return {"features": self._matrix[torch.from_numpy(numbers)]}

    def padded(self) -> Features:
        """Features of the same encoder, still empty, each text padded to `max_length` when it is encoded."""
        return Features(self.encoder, self.encoder.padded)
