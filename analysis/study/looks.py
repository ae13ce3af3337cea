"""A study that is looked at while it grows: the rule fixed before its first replicate, and what every look settled.

`looks.json` lies in the study's directory. Who judges the study later goes by it: verdicts of a study that stopped when
it liked its numbers would be false more often than they say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mars.config import UserError
from mars.files import write_json

FILE = "looks.json"
FUTILE = "futile"  # beside the verdicts: no number of the planned replicates is likely to settle it


@dataclass(frozen=True)
class Rule:
    """Fixed beforehand: as many replicates at most, and a look after every so many.

    chance: from half of the replicates on, a comparison is given up when it is settled by the last look with less than
    this probability.
    """

    max_replicates: int
    look_every: int
    margins: Mapping[str, float]
    focus: str
    reference: str
    chance: float = 0.1

    @property
    def looks(self) -> int:
        return self.max_replicates // self.look_every

    def fractions(self, look: int) -> list[float]:
        """Shares of the planned replicates at the looks up to `look`, counted from 1."""
        return [number * self.look_every / self.max_replicates for number in range(1, look + 1)]


@dataclass
class Looks:
    """The rule, how many comparisons share α (by two endpoints each), and what each look settled, by comparison."""

    rule: Rule
    family: int = 0
    looks: list[dict[str, str]] = field(default_factory=list)

    @property
    def settled(self) -> dict[str, str]:
        """{comparison: verdict or FUTILE} of all looks so far."""
        return {key: verdict for look in self.looks for key, verdict in look.items()}

    def write(self, study: Path) -> None:
        """Into the study's directory."""
        write_json(study / FILE, asdict(self))


def key_of(row: Mapping[Any, Any]) -> str:
    """A comparison by its endpoint, as `looks.json` names it. row: of `comparisons.compare`."""
    return " | ".join(str(row[name]) for name in ("dataset", "backbone", "arm", "reference", "endpoint"))


def read(study: Path) -> Looks | None:
    """What the study's directory holds, None where it was never looked at. Raises UserError for a damaged file."""
    file = study / FILE
    if not file.is_file():
        return None
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return Looks(Rule(**stored["rule"]), int(stored["family"]), [dict(look) for look in stored["looks"]])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{file}: cannot be read ({error}); the study cannot be judged without the rule in it"
        ) from None
