"""Dialogues to model inputs: each distinct text is rendered and tokenised, or encoded, once, and then has a number.

Numbers are what the rest of a run speaks of: a base pair is two of them in every round.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from mars.config import ConfigError
from mars.preferences.dialogue import Message, Rendered, Template, render
from mars.preferences.pair import Pair
from mars.reward.tokens import CUT_PROMPT, CUT_RESPONSE, Inputs

_CHUNK = 1 << 16  # texts rendered at once: of a million, the words are never in memory together
Render = Callable[[Sequence[Message], str], Rendered]  # (prompt, response) → model input


class RenderingError(ConfigError):
    """A dialogue the model's template will not take."""


class Texts:
    """The texts of one model, or of one run's models, by number.

    inputs: where they are kept as the model takes them. render: (prompt, response) → model input.
    """

    def __init__(self, inputs: Inputs, render: Render):
        self.inputs, self.render = inputs, render
        self.scored = 0  # passed through a model so far for scores and feature differences, training left out

    def add(self, texts: Iterable[tuple[Sequence[Message], str]]) -> np.ndarray:
        """[T] text numbers of T (prompt, response), in order; a text seen before keeps its number.

        Raises RenderingError for a dialogue that the template does not take.
        """
        rendered = (self.render(prompt, response) for prompt, response in texts)
        numbers = [np.empty(0, dtype=np.int64)]
        while chunk := list(itertools.islice(rendered, _CHUNK)):
            numbers.append(self.inputs.add(chunk))
        return np.concatenate(numbers)

    def add_pairs(self, pairs: Sequence[Pair]) -> np.ndarray:
        """[len(pairs), 2] text numbers of the chosen and the rejected sides."""
        return self.add((pair.prompt, text) for pair in pairs for text in (pair.chosen, pair.rejected)).reshape(-1, 2)

    def truncated(self, numbers: np.ndarray) -> dict[str, int]:
        """How many of these texts lost prompt or response tokens to the length limit."""
        cuts = self.inputs.cuts[numbers]
        return {"prompt": int((cuts & CUT_PROMPT > 0).sum()), "response": int((cuts & CUT_RESPONSE > 0).sum())}

    def padded(self) -> Texts:
        """Texts of the same kind, still none, in which each is padded as far as the model goes."""
        return Texts(self.inputs.padded(), self.render)


def rendering(template: Template, tokenizer: Any, key: str = "template") -> Render:
    """(prompt, response) → model input. key: the setting a mistake is reported under. It raises RenderingError."""

    def rendered(prompt: Sequence[Message], response: str) -> Rendered:
        try:
            return render(prompt, response, template, tokenizer)
        except Exception as error:  # a chat template is a program of its author's
            raise RenderingError(f"{key}: {' '.join(str(error).split())[:200]}") from error

    return rendered
