"""What no score reads: the last layer of an encoder, behind its attention, for all tokens but a text's first.

The attention of the last layer needs keys and values of every token. What follows it works token by token: its output
projection, the feed-forward and two norms, three quarters of a layer's products. In BERT and its kind the score reads
one token of all that, so the others are dropped there. Six layers of MiniLM do an eighth less work, twelve of BERT or
DeBERTa a sixteenth. Scores and gradients are the same, to rounding. With dropout they are so in distribution, since
fewer random numbers are drawn.

Whether a model is of that kind is found out before it is used (`mars.reward.fast_paths`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Unread:
    """Drops the tokens that no score reads behind `attention`, that of a model's last layer, until it is removed."""

    def __init__(self, attention: nn.Module):
        self._layout: Any = None
        self._hooks = (
            attention.register_forward_pre_hook(self._before_attention, with_kwargs=True),
            attention.get_submodule("output").register_forward_pre_hook(self._behind_attention),
        )

    def remove(self) -> None:
        """From now on every token is computed."""
        for hook in self._hooks:
            hook.remove()

    def _before_attention(self, _module: nn.Module, _inputs: Any, settings: dict[str, Any]) -> None:
        # Seen again where activations are computed a second time, so nothing has to be remembered for a pass.
        self._layout = settings.get("layout")

    def _behind_attention(self, _module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """What attention found and what it was given, [B, L, d] or [1, T, d] each, at the first token of each text."""
        return tuple(at_first(hidden, self._layout) for hidden in inputs)


def at_first(hidden: torch.Tensor, layout: Any) -> torch.Tensor:
    """[B, 1, d] of a padded batch [B, L, d], or [1, B, d] of a packed row [1, T, d] with its layout."""
    return hidden[:, :1] if layout is None else hidden[:, layout.scored]


def last_attention(model: nn.Module) -> nn.Module | None:
    """The attention of the last layer of BERT and its kind, which its submodule `output` follows; None of others."""
    found: nn.Module | None = None
    for layer in model.modules():
        if all(hasattr(layer, name) for name in ("attention", "intermediate", "output")):
            attention = layer.get_submodule("attention")
            found = attention if hasattr(attention, "output") else None
    return found
