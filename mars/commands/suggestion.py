"""The command that trains on the rows of a file or folder, or why there is none: the end of `mars look`.

What is printed is meant to be pasted. So a name is quoted for Hydra and for the shell where it has to be, and the
dataset's split is drawn beforehand: where few prompts would leave nothing to train on, the settings say otherwise.

    suggestion(Path("pairs.csv"), place, found)  # "  python -m mars.run study=outputs/pairs dataset=files …"
"""

from __future__ import annotations

import itertools
import math
import re
import shlex
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mars.preferences.bad_rows import HARMLESS
from mars.preferences.dataset import DatasetConfig
from mars.preferences.draws import hold_out, shuffled
from mars.preferences.pair import Pair
from mars.preferences.rows import Finding, Kind
from mars.preferences.sources import Source

WIDTH = 80
_TEST = 0.2  # share of the pairs to test on
_BARE = re.compile(r"[\w./-]+", re.ASCII)  # what Hydra takes without quotes
_NO_TEXT = re.compile(r"[-+]?([\d_.]+(e[-+]?\d+)?|inf|nan)|true|false|null", re.IGNORECASE)  # and for no text


@dataclass(frozen=True)
class Place:
    """Rows to train on. settings: of the command that does. test: what is tested on, "" where there is nothing yet."""

    sources: Sequence[Source]
    settings: Mapping[str, str]
    test: str = ""


@dataclass(frozen=True)
class Found:
    """What is in the rows. report: of each source, as in the record. details: what is wrong at a kind's first place."""

    pairs: Sequence[Pair]
    report: Sequence[Mapping[str, Any]]
    details: Mapping[Kind | Finding, str]

    def total(self, key: str) -> Counter[Kind | Finding]:
        """How many rows of each kind were "dropped", or "kept_despite"."""
        return sum((Counter(part[key]) for part in self.report), Counter[Kind | Finding]())

    def places(self, kind: Kind | Finding) -> list[str]:
        """The first three places of a kind of defect."""
        return [place for part in self.report for place in part["examples"].get(kind, [])][:3]


def suggestion(path: Path, place: Place, found: Found) -> Iterator[str]:
    """Lines: the command that trains on what was found at `path`, and what it lets go; or why there is none."""
    if not found.pairs:
        yield from _wrapped(_why_no_pairs(found))
        return
    split = _split(found.pairs, with_test=bool(place.test))
    if split is None:
        yield from _wrapped(_why_no_split(found.pairs))
        return
    settings: dict[str, str | float] = {"dataset": "files", **place.settings, **split}
    if "dataset.validation" in split:
        yield from _wrapped("A prompt is in one part alone, and there are few: no pair is held out for validation.")
    dropped, rows = found.total("dropped"), sum(part.get("pairs", part["rows"]) for part in found.report)
    bad = dropped.total() - sum(dropped[kind] for kind in HARMLESS)
    if bad > DatasetConfig.max_bad_fraction * rows:
        yield f"  {bad} of {rows} rows ({bad / rows:.1%}) cannot be used. The last setting lets them go;"
        yield "  without it the run stops until they are mended."
        settings["dataset.max_bad_fraction"] = math.ceil(100 * bad / rows) / 100
    words = ["python -m mars.run", _override("study", f"outputs/{_name(path.resolve())}")]
    words += [_override(key, value) for key, value in settings.items()]
    yield "  " + " \\\n      ".join(_lines_of(words, WIDTH - 8))


def _why_no_pairs(found: Found) -> str:
    bad = next((kind for kind in found.details if kind not in HARMLESS and found.total("dropped")[kind]), None)
    if bad is not None:
        return f"There are no pairs to train on. {found.places(bad)[0]}: {found.details[bad]}"
    return (
        "There are no pairs to train on: each is a tie. dataset.on.tie=half keeps them; what is tested on "
        "(dataset.test=FILE) needs pairs of which one side is better."
    )


def _split(pairs: Sequence[Pair], with_test: bool) -> dict[str, float] | None:
    """The settings that leave something to test and to train on: the usual ones where they do. None: there are none."""
    drawn = shuffled(pairs, DatasetConfig.seed, "train")
    for test, validation in itertools.product([0] if with_test else [_TEST, 1], [DatasetConfig.validation, 0]):
        held, rest, _ = hold_out(drawn, _number(test, len(drawn)))
        _, base, _ = hold_out(rest, _number(validation, len(rest)))
        if base and (held or with_test):
            no_validation = {} if validation else {"dataset.validation": 0}
            return ({} if with_test else {"dataset.test_from_train": test}) | no_validation
    return None


def _number(wanted: float, available: int) -> int:
    return round(wanted * available) if wanted < 1 else int(wanted)


def _why_no_split(pairs: Sequence[Pair]) -> str:
    what = f"all {len(pairs)} pairs are in one prompt" if len(pairs) > 1 else "there is one pair"
    return (
        f"A test from these rows would take all: {what}, and a prompt is in one part alone. Name a file of other "
        "prompts to test on, with dataset.test=FILE dataset.validation=0."
    )


def _name(path: Path) -> str:
    """A study's, after the file or folder."""
    plain = path.name.split(".")[0]
    return re.sub(r"\W+", "_", path.parent.name if plain in ("train", "data") else plain).strip("_") or "mine"


def _override(key: str, value: str | float) -> str:
    """A setting for the shell, quoted for it and for Hydra where it has to be."""
    if not isinstance(value, str) or (_BARE.fullmatch(value) and not _NO_TEXT.fullmatch(value)):
        return f"{key}={value}"
    plain = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)  # else an interpolation
    escaped = re.sub(r"(\\*)('|\Z)", lambda found: 2 * found[1] + found[2].replace("'", "\\'"), plain)
    setting = f"{key}='{escaped}'"
    return (
        shlex.quote(setting) if re.search(r'["$`\\!]', setting) else f'"{setting}"'
    )  # the shorter way where it can be


def _lines_of(words: Sequence[str], width: int) -> list[str]:
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _wrapped(told: str) -> Iterator[str]:
    yield from textwrap.wrap(
        told, WIDTH, initial_indent="  ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
