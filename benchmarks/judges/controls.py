"""Judges that know nothing, or the wrong thing: what a real judge has to be told from.

`always_a` prefers the reply shown first. `coin` tosses one for every showing. `length` prefers the longer reply.
`released` reads verdicts as the authors' released notebook does, by its description: the text that is searched holds
the question too, its first single letter a or b counts, and the question begins "You are a strict …". So it says A
whatever a model wrote. The notebook also showed each pair in one order, drawn by chance, so that its win rate was the
share of pairs with the arm shown first: a coin.

Each costs nothing to ask, and a report shows them beside every judge (`benchmarks.judges.findings`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.judges.judge import Answer, Free, Showing
from mars.preferences.dialogue import render_plain

if TYPE_CHECKING:
    import torch

SHOWN = ("always_a", "coin", "length", "released")  # beside every judge, in this order


@dataclass(frozen=True)
class ControlConfig:
    """conf/judge/always_a.yaml, length.yaml, released.yaml: nothing to set."""


@dataclass(frozen=True)
class CoinConfig:
    """conf/judge/coin.yaml. seed: of the tosses."""

    seed: int = 0


class Control(Free):
    """A judge that is a function of the showing."""

    def __init__(self, identity: Mapping[str, Any], says: Callable[[Showing], str]):
        self.identity, self._says = identity, says

    def ask(self, showings: Sequence[Showing]) -> list[Answer]:
        """What the function says of each."""
        return [Answer(self._says(showing)) for showing in showings]


def always_a(showing: Showing) -> str:
    """A."""
    return "A"


def length(showing: Showing) -> str:
    """The longer reply, in characters; a tie where they are as long."""
    difference = len(showing.first) - len(showing.second)
    return "A" if difference > 0 else "B" if difference < 0 else "tie"


def toss(showing: Showing, seed: int) -> str:
    """A or B by the showing's digest, so that the same showing is tossed once."""
    told = "\0".join([str(seed), render_plain(showing.prompt, "").prefix, showing.first, showing.second])
    return "AB"[blake2b(told.encode("utf-8", "surrogatepass"), digest_size=1).digest()[0] & 1]


_ROLE = "You are a strict and fair judge of two answers to a prompt."
_LETTER = re.compile(r"\b([ab])\b")


def released(showing: Showing) -> str:
    """The released parser on a question of ours, answered by `length`: it finds the letter of the question."""
    lines = [_ROLE, showing.prompt[-1].content, f"A: {showing.first}", f"B: {showing.second}", "Which is better?"]
    return released_parser("\n".join([*lines, length(showing)]))


def released_parser(text: str) -> str:
    """The first single letter a or b of the whole `text`, question included; without one, A."""
    found = _LETTER.search(text.lower())
    return found[1].upper() if found else "A"


_SAYS: Mapping[str, Callable[[Showing], str]] = {"always_a": always_a, "length": length, "released": released}


def control(name: str) -> Control:
    """A judge of SHOWN, at its usual settings."""
    return _tosser(CoinConfig()) if name == "coin" else Control({"name": name}, _SAYS[name])


def _tosser(config: CoinConfig) -> Control:
    return Control({"name": "coin", **asdict(config)}, lambda showing: toss(showing, config.seed))


def _declared(name: str) -> tuple[type[ControlConfig], Callable[[ControlConfig, Path, torch.device], Control]]:
    return ControlConfig, lambda config, cache, device: control(name)


ALWAYS_A, LENGTH, RELEASED = (_declared(name) for name in ("always_a", "length", "released"))
COIN = (CoinConfig, lambda config, cache, device: _tosser(config))
