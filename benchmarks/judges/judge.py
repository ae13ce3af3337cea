"""What a judge is: it is shown two replies, one first, and says which is better; and which judges there are.

A judge never learns whose replies they are. It says "A" for the reply shown first, "B" for the second, "tie", or
something that cannot be read as any of these; undoing the order is not its business (`benchmarks.judges.verdicts`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mars.config import build
from mars.plugins import find
from mars.preferences.dialogue import Message

if TYPE_CHECKING:
    import torch

# name: (settings, what makes the judge of them), each with its conf/judge/NAME.yaml
JUDGES = {
    "endpoint": "benchmarks.judges.chat:ENDPOINT",
    "local": "benchmarks.judges.chat:LOCAL",
    "reward_model": "benchmarks.judges.models:REWARD_MODEL",
    "gold": "benchmarks.judges.models:GOLD",
    "always_a": "benchmarks.judges.controls:ALWAYS_A",
    "coin": "benchmarks.judges.controls:COIN",
    "length": "benchmarks.judges.controls:LENGTH",
    "released": "benchmarks.judges.controls:RELEASED",
}


class Showing(NamedTuple):
    """Two replies in the order in which they are shown. id: of a planted pair, "" for other prompts."""

    prompt: tuple[Message, ...]
    first: str
    second: str
    id: str = ""


@dataclass(frozen=True)
class Answer:
    """What a judge said. said: "A", "B", "tie" or "unparsable", and then `reason` says why. reply: its own words.

    model: what answered, dated where the endpoint says so; date: when, UTC. Tokens are None where there are none.
    """

    said: str
    reply: str = ""
    reason: str = ""
    model: str = ""
    date: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Judge(Protocol):
    """identity: JSON, all that shapes a verdict; wording: the version of the question it is asked, "" without one."""

    identity: Mapping[str, Any]
    wording: str

    def ask(self, showings: Sequence[Showing]) -> list[Answer]:
        """An answer for each showing, in order. Raises UserError; what was paid for before that is kept."""
        ...

    def plan(self, showings: Sequence[Showing]) -> dict[str, float | int | None]:
        """What `ask` would take now: calls, cached, prompt_tokens, most_completion_tokens, most_cost. Asks nothing."""
        ...

    @property
    def usage(self) -> Mapping[str, float | None]:
        """What asking took so far: calls, tokens, cost."""
        ...


class Free:
    """For judges that cost nothing to ask."""

    wording = ""

    def plan(self, showings: Sequence[Showing]) -> dict[str, float | int | None]:
        """No calls."""
        return {"calls": 0, "cached": 0, "prompt_tokens": 0, "most_completion_tokens": 0, "most_cost": 0.0}

    @property
    def usage(self) -> Mapping[str, float | None]:
        """Nothing."""
        return {"calls": 0, "cost": 0.0}


def made(settings: Mapping[str, Any], cache: Path, device: torch.device) -> Judge:
    """The judge of conf/judge/*.yaml. Raises ConfigError for a setting or a model that cannot be used."""
    values = dict(settings)
    config_type, make = find("judges", JUDGES, values.pop("name", ""), "judge.name")
    judge: Judge = make(build(config_type, values, "judge"), cache, device)
    return judge
