"""Texts to scores: every distinct text once, longest first, the same whatever shares a batch with it.

Longest first, so that a batch too large for the memory fails at once and not after an hour. Texts of near-equal length
share a forward pass, so little of it is padding. What a text scores depends on the text: rows are padded on the right
and masked, positions and pooling follow the mask, and the head computes in fp32 (`mars.reward.model`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from mars.config import ConfigError, UserError
from mars.preferences.dialogue import Message, Rendered, Template, render
from mars.progress import Progress
from mars.reward.batching import micro_batches
from mars.reward.tokens import CUT_PROMPT, CUT_RESPONSE, Inputs, Tokens

_CHUNK = 4096  # texts rendered and tokenised together


class ScoringError(UserError):
    """Texts that cannot be scored on this machine as asked."""


class RenderingError(ConfigError):
    """A dialogue the model's template will not take."""


Render = Callable[[Sequence[Message], str], Rendered]  # (prompt, response) → model input


def rendering(template: Template, tokenizer: Any, key: str = "template") -> Render:
    """(prompt, response) → model input. key: the setting a mistake is reported under. It raises RenderingError."""

    def rendered(prompt: Sequence[Message], response: str) -> Rendered:
        try:
            return render(prompt, response, template, tokenizer)
        except Exception as error:  # a chat template is a program of its author's
            raise RenderingError(f"{key}: {' '.join(str(error).split())[:200]}") from error

    return rendered


@torch.inference_mode()
def score(
    model: nn.Module, inputs: Inputs, numbers: np.ndarray, token_budget: int, most: int | None = None
) -> np.ndarray:
    """[len(numbers)] fp32 scores in eval mode.

    token_budget: padded tokens of a forward pass. most: texts of one, at most. Raises ScoringError where a pass does
    not fit the GPU's memory.
    """
    model.eval()
    unique, where = np.unique(numbers, return_inverse=True)
    scores = np.empty(len(unique), dtype=np.float32)
    lengths = inputs.lengths[unique]
    batches = micro_batches(np.arange(len(unique)), lengths, token_budget, texts_per_item=1, most=most)
    with Progress(int(lengths.sum()), f"scoring {len(unique)} texts", "tokens") as progress:
        for batch in batches:
            try:
                scores[batch] = model(**inputs.batch(unique[batch])).float().cpu().numpy()
            except torch.OutOfMemoryError:
                size = f"{len(batch)} texts of up to {lengths[batch].max()} tokens"
                raise ScoringError(f"token_budget: {size} do not fit the GPU's memory (lower it)") from None
            progress.advance(int(lengths[batch].sum()))
    return scores[where]


class ModelScorer:
    """A model with its inputs and its way of rendering (`benchmarks.protocol.Scorer`).

    render: (prompt, response) → model input. token_budget, most: as for `score`. `texts` and `tokens` count what has
    been asked for and what of it went through the model.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Inputs,
        render: Render,
        token_budget: int,
        most: int | None = None,
    ):
        self.model, self.inputs, self._render = model, inputs, render
        self._token_budget, self._most = token_budget, most
        self._numbers = np.empty(0, dtype=np.int64)  # of the distinct texts scored, padded ones left out
        self.texts, self.tokens = 0, 0

    def __call__(self, texts: Iterable[tuple[Sequence[Message], str]], padded: bool = False) -> np.ndarray:
        """[T] float64 scores in order, of texts that may be generated as they are read.

        padded: each padded as far as the model goes, which should change nothing.
        """
        inputs = self.inputs.padded() if padded else self.inputs
        numbers = [np.empty(0, dtype=np.int64)]
        stream = iter(texts)
        with Progress(None, "reading", "texts") as progress:
            while chunk := [self._render(*text) for text in itertools.islice(stream, _CHUNK)]:
                numbers.append(inputs.add(chunk))
                progress.advance(len(chunk))
        wanted = np.concatenate(numbers)
        self.texts += len(wanted)
        distinct = np.unique(wanted)
        if isinstance(inputs, Tokens):  # a linear head sees features
            self.tokens += int(inputs.lengths[distinct].sum())
        if not padded:
            self._numbers = np.union1d(self._numbers, distinct)
        try:
            return score(self.model, inputs, wanted, self._token_budget, self._most).astype(np.float64)
        except (ValueError, IndexError, RuntimeError) as error:  # what a model's own forward may raise at a text
            raise ScoringError(f"the model cannot score these texts: {' '.join(str(error).split())[:200]}") from error

    def truncated(self) -> dict[str, int]:
        """Of the distinct texts scored: how many, and how many lost prompt or response tokens to the length limit."""
        cuts = self.inputs.cuts[self._numbers]
        lost = {"prompt": int((cuts & CUT_PROMPT > 0).sum()), "response": int((cuts & CUT_RESPONSE > 0).sum())}
        return {"texts": len(cuts), **lost}
