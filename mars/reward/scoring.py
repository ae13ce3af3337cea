"""Texts to scores: every distinct text once, the same whatever shares a batch with it.

Padded batches come longest first, so that one too large for the memory is met at once; what follows is then cut
smaller. Texts of near-equal length share a forward pass, so little of it is padding. What a text scores depends on the
text: rows are padded on the right and masked, positions and pooling follow the mask, and the head computes in fp32
(`mars.reward.model`). A model that takes texts without padding gets them packed; a causal one computes a prompt once
for all replies to it (`mars.reward.feeding`).

Several processes of a run share the batches that one would have made, so that they find its scores, bit for bit.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from mars import files
from mars.config import UserError
from mars.preferences.dialogue import Message
from mars.process.ranks import Ranks
from mars.progress import Progress
from mars.reward import sharding
from mars.reward.batching import Step
from mars.reward.features import Features
from mars.reward.feeding import Feed
from mars.reward.memory import Budget, each_that_fits
from mars.reward.model import RewardModel, scalar_head
from mars.reward.on_workers import Elsewhere, Ids, passed
from mars.reward.texts import Texts
from mars.reward.tokens import Inputs, Tokens

CHUNK = 4096  # texts rendered and tokenised together


class ScoringError(UserError):
    """Texts that cannot be scored on this machine as asked."""


class Journal(Protocol):
    """Keeps what a pass has found so far (`mars.method.journal`)."""

    def page(self, identity: Callable[[], str], values: np.ndarray) -> AbstractContextManager[Any]: ...


class ModelScorer:
    """Scores of one model, of texts by number or as they are (`benchmarks.protocol.Scorer`).

    known: the texts that have numbers. budget: tokens of a forward pass, which is lowered where they do not fit the
    memory; a number is a budget of the scorer's own. ranks: share the passes, and all ask for the same. elsewhere: who
    makes the passes of token ids, where it is not this process. journal: keeps what passes that are made here find.
    `texts` and `tokens` count what was asked for as it is, and what of it went through the model.
    """

    def __init__(
        self,
        model: nn.Module,
        known: Texts,
        budget: Budget | int,
        ranks: Ranks | None = None,
        elsewhere: Elsewhere | None = None,
        journal: Journal | None = None,
    ):
        self.model, self.known, self._ranks, self._elsewhere = model, known, ranks or Ranks(), elsewhere
        self._budget, self._journal = budget if isinstance(budget, Budget) else Budget(budget), journal
        self._numbers = np.empty(0, dtype=np.int64)  # of the distinct texts asked for as they are, padded ones left out
        self.texts, self.tokens = 0, 0

    def scores(self, numbers: np.ndarray) -> np.ndarray:
        """fp32 scores in the shape of `numbers`, each distinct text scored once.

        Raises ScoringError where a single text does not fit the GPU's memory.
        """
        asked = np.zeros(len(self.known.inputs.lengths), dtype=bool)  # not sorted: numbers are small, and may be many
        asked[numbers] = True
        distinct = np.flatnonzero(asked)
        self.known.scored += len(distinct)
        scores = np.empty(len(asked), dtype=np.float32)
        scores[distinct] = self._score(self.known.inputs, distinct)
        return scores[numbers]

    def margins(self, numbers: np.ndarray) -> np.ndarray:
        """[N] float64 r(chosen) − r(rejected) of [N, 2] text numbers."""
        scores = self.scores(numbers).astype(np.float64)
        return scores[:, 0] - scores[:, 1]

    def differences(self, numbers: np.ndarray) -> np.ndarray:
        """[N, d] float64 δ = φ(chosen) − φ(rejected) of [N, 2] text numbers, each distinct text passed through once.

        φ is what the scalar head reads, in eval mode: margins are δ times the head's weight, its bias cancels.
        """
        inputs = self.known.inputs
        if isinstance(inputs, Features):
            chosen, rejected = (inputs.batch(side)["features"].double() for side in numbers.T)
            return (chosen - rejected).numpy()
        unique, where = np.unique(numbers, return_inverse=True)
        self.known.scored += len(unique)
        features = self._head_inputs(inputs, unique)
        chosen, rejected = where.reshape(numbers.shape).T
        return features[chosen] - features[rejected]

    def __call__(self, texts: Iterable[tuple[Sequence[Message], str]], padded: bool = False) -> np.ndarray:
        """[T] float64 scores in order, of (prompt, response) that may be generated as they are read.

        padded: each padded as far as the model goes, which should change nothing. Raises RenderingError, ScoringError.
        """
        into = self.known.padded() if padded else self.known
        numbers = [np.empty(0, dtype=np.int64)]
        stream = iter(texts)
        with Progress(None, "reading", "texts") as progress:
            while chunk := list(itertools.islice(stream, CHUNK)):
                numbers.append(into.add(chunk))
                progress.advance(len(chunk))
        wanted = np.concatenate(numbers)
        self.texts += len(wanted)
        distinct, where = np.unique(wanted, return_inverse=True)
        if isinstance(into.inputs, Tokens):  # a linear head sees features
            self.tokens += int(into.inputs.lengths[distinct].sum())
        if not padded:
            self._numbers = np.union1d(self._numbers, distinct)
        try:
            return self._score(into.inputs, distinct)[where].astype(np.float64)
        except torch.AcceleratorError:  # the device's fault, not the model's
            raise
        except (ValueError, IndexError, RuntimeError) as error:  # what a model's own forward may raise at a text
            raise ScoringError(f"the model cannot score these texts: {' '.join(str(error).split())[:200]}") from error

    def of_ids(self, texts: Ids, width: int) -> np.ndarray:
        """[len(texts)] fp32 scores of texts that were tokenised before. width: least tokens of a batch (`Tokens`)."""
        assert isinstance(self.known.inputs, Tokens)
        tokens = self.known.inputs.empty(width)
        return self._score(tokens, tokens.add_ids(texts))

    def truncated(self) -> dict[str, int]:
        """Of the distinct texts asked for as they are: how many, and how many lost prompt or response tokens."""
        return {"texts": len(self._numbers), **self.known.truncated(self._numbers)}

    def _score(self, inputs: Inputs, numbers: np.ndarray) -> np.ndarray:
        """[len(numbers)] fp32 scores of distinct texts in eval mode."""
        self.model.eval()
        lengths, feed = inputs.lengths[numbers], Feed(self.model, inputs)
        total = int(lengths.sum()) // self._ranks.count
        with Progress(total, f"scoring {len(numbers)} texts", "tokens") as progress, sharding.reading(self.model):

            def read(batch: np.ndarray) -> np.ndarray:
                progress.advance(int(lengths[batch].sum()))
                return self.model(**feed.batch(numbers[batch])).float().cpu().numpy()

            scores = np.zeros(len(numbers), dtype=np.float32)
            if self._elsewhere and isinstance(inputs, Tokens):
                tokens = self._budget.tokens
                batches = feed.batches(numbers, tokens, self._budget.most)
                for places, made in passed(self._elsewhere, inputs, numbers, batches, tokens):
                    scores[places] = made
                    progress.advance(int(lengths[places].sum()))
            else:
                self._read(feed, numbers, read, scores)
        return scores

    def _read(
        self, feed: Feed, numbers: np.ndarray, read: Callable[[np.ndarray], np.ndarray], into: np.ndarray
    ) -> np.ndarray:
        """`into`, zeros, with what `read` finds of each batch of positions in `numbers`, here or on another rank.

        Raises ScoringError for a text that does not fit the memory.
        """

        def cut(places: np.ndarray, tokens: int) -> Step:
            return [places[batch] for batch in feed.batches(numbers[places], tokens, self._budget.most)]

        def run(batch: np.ndarray) -> None:
            into[batch] = read(batch)

        batches = cut(np.arange(len(numbers)), self._ranks.least(self._budget.tokens))
        mine = list(self._ranks.share(batches))
        if sharding.is_sharded(self.model):  # every rank takes part in every pass, so none repeats or spares one alone
            for batch in mine:
                run(batch)
            if len(mine) * self._ranks.count < len(batches):
                read(batches[0])
        elif self._journal is None or not isinstance(feed.inputs, Tokens):  # a linear head takes no time
            self._fit(each_that_fits(mine, cut, run, self._budget), feed, numbers)
        else:
            with self._journal.page(lambda: self._identity(feed, numbers, into), into) as page:

                def run_and_keep(batch: np.ndarray) -> None:
                    run(batch)
                    page.found(batch)

                self._fit(each_that_fits(page.left(mine), cut, run_and_keep, self._budget), feed, numbers)
        self._ranks.add([torch.from_numpy(into)])
        return into

    def _fit(self, stuck: int | None, feed: Feed, numbers: np.ndarray) -> None:
        """Raises ScoringError where the text at position `stuck` does not fit the memory."""
        if stuck is not None:
            length = feed.inputs.lengths[numbers[stuck]]
            raise ScoringError(f"a text of {length} tokens does not fit the GPU's memory by itself (lower max_length)")

    def _identity(self, feed: Feed, numbers: np.ndarray, into: np.ndarray) -> str:
        """What a pass's findings depend on, as sha256: the weights, the texts, and how they are read."""
        assert isinstance(feed.inputs, Tokens)
        model = self.model
        total = hashlib.sha256(files.state_digest(dict(model.named_parameters())).encode())
        reading = [
            getattr(model, "autocast", None),
            feed.packing is not None,
            feed.inputs.width,
            into.shape,
            into.dtype,
        ]
        total.update(str(reading).encode())
        for ids in feed.inputs.ids(numbers):
            total.update(f" {len(ids)} ".encode())
            total.update(ids.tobytes())
        return total.hexdigest()

    def _head_inputs(self, inputs: Inputs, numbers: np.ndarray) -> np.ndarray:
        """[len(numbers), d] float64, what the scalar head reads of each text, behind a classifier's dense layer.

        In fp32 also where the model runs under bf16, whose rounding fills every direction in which differences are
        small.
        """
        model = self.model
        assert isinstance(model, RewardModel)
        # In fp32 a GPU has no attention over packed texts, and would take them one by one.
        head, feed = scalar_head(model), Feed(model, inputs, pack=next(model.parameters()).device.type == "cpu")
        heard: deque[torch.Tensor] = deque(maxlen=1)
        hook = head.register_forward_pre_hook(lambda _module, arguments: heard.append(arguments[0]))
        autocast, model.autocast = model.autocast, None

        def read(batch: np.ndarray) -> np.ndarray:
            model(**feed.batch(numbers[batch]))
            return heard.pop().double().cpu().numpy()

        try:
            with evaluating(model), sharding.reading(model):
                return self._read(feed, numbers, read, np.zeros((len(numbers), head.in_features)))
        finally:
            hook.remove()
            model.autocast = autocast


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, every module is in eval mode; afterwards each is as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
