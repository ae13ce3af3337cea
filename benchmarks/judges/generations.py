"""Files of replies to prompts, read and paired; and written as AlpacaEval's own tool reads them.

| file | a row holds |
|---|---|
| `.json` | AlpacaEval's model_outputs: a list of `instruction`, `output`, `generator`, with any `dataset` |
| the others of `mars.preferences.sources` | `prompt` and `response`, or the names above |

A prompt is text, or a list of `{role, content}` that ends with the user's turn, as MT-Bench's second turns are. `id` is
kept: the planted gold reads it. The same prompt may occur several times, once for each sample: the k-th occurrence in
one file is compared with the k-th in the other, and all of them are one unit of the statistics.

    pair_up(read_generations(Path("ours.json")), read_generations(Path("theirs.json")))
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mars.files import file_digest, write_json
from mars.preferences.dialogue import Message, transcript
from mars.preferences.pair import DataError
from mars.preferences.rows import Defect, messages_of
from mars.preferences.sources import open_file

_PROMPTS, _REPLIES = ("prompt", "instruction"), ("response", "output")
_FORMATS = re.compile(r"\.(json|(jsonl|csv|parquet)(\.gz)?)$")
Missing = Literal["raise", "drop"]


class Generation(NamedTuple):
    """One reply. id and dataset: as the file has them, "" where it has none."""

    prompt: tuple[Message, ...]
    reply: str
    id: str = ""
    dataset: str = ""


@dataclass(frozen=True)
class Generations:
    """The replies of one policy. name: its `generator`, else the file's name. identity: JSON, which file it was."""

    name: str
    rows: Sequence[Generation]
    label: str
    identity: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Two replies to one prompt. prompt_id: a digest of the prompt. occurrence: from 0, of a prompt that repeats."""

    prompt: tuple[Message, ...]
    ours: str
    theirs: str
    prompt_id: str
    occurrence: int = 0
    replicate: int = 0
    id: str = ""
    dataset: str = ""

    @property
    def ruled(self) -> str:
        """Why no judge is needed: "identical" replies are a tie, an "empty" one loses; "" where one is needed."""
        if self.ours == self.theirs:
            return "identical"
        return "" if self.ours.strip() and self.theirs.strip() else "empty"


class Paired(NamedTuple):
    """Comparisons, and for the record how many prompts had no counterpart, repeat, or need no judge."""

    comparisons: list[Comparison]
    counts: dict[str, int]


def read_generations(path: Path) -> Generations:
    """The replies in a file. Raises DataError with file and row for what cannot be used."""
    label = path.name
    named: dict[str, int] = {}
    rows = []
    for number, raw in _rows(path):
        where = f"{label}:{number}"
        try:
            rows.append(_generation(raw))
        except Defect as defect:
            raise DataError(f"{where}: {defect}") from None
        if raw.get("generator"):
            named.setdefault(str(raw["generator"]), number)
    if not rows:
        raise DataError(f"{path}: holds no replies")
    if len(named) > 1:
        (one, _), (other, number) = list(named.items())[:2]
        raise DataError(f'{label}:{number}: is by "{other}", rows before it by "{one}" (one file is one policy)')
    identity = {"file": label, "sha256": file_digest(path), "rows": len(rows)}
    return Generations(next(iter(named), stem(path.name)), rows, label, identity)


def stem(file: str) -> str:
    """The name of a file of replies without what says its format."""
    return _FORMATS.sub("", Path(file).name)


def pair_up(ours: Generations, theirs: Generations, missing: Missing = "raise", replicate: int = 0) -> Paired:
    """A comparison for each prompt and occurrence that both have, in the order of `ours`.

    missing: what to do where one lacks a prompt, or an occurrence of it, that the other has. Raises DataError for that,
    and where nothing is left.
    """
    sides = [_by_prompt(one.rows) for one in (ours, theirs)]
    lacking = [[key for key in a if key not in b] for a, b in (sides, sides[::-1])]
    for keys, has, lacks, rows in zip(lacking, (ours, theirs), (theirs, ours), sides, strict=True):
        if keys and missing == "raise":
            shown = _shown(rows[keys[0]].prompt)
            raise DataError(
                f"{lacks.label}: lacks {len(keys)} of the {len(rows)} prompts of {has.label}, the first {shown} "
                "(missing=drop leaves them out, counted)"
            )
    common = [key for key in sides[0] if key in sides[1]]
    if not common:
        raise DataError(f"{ours.label} and {theirs.label} have no prompt in common")
    comparisons = []
    for prompt_id, occurrence in common:
        one, other = (side[prompt_id, occurrence] for side in sides)
        names = (one.id or other.id, one.dataset or other.dataset)
        comparisons.append(Comparison(one.prompt, one.reply, other.reply, prompt_id, occurrence, replicate, *names))
    ruled = Counter(comparison.ruled for comparison in comparisons)
    counts = {
        "prompts": len({prompt_id for prompt_id, _ in common}),
        "comparisons": len(common),
        "repeated": sum(occurrence > 0 for _, occurrence in common),
        "missing_in_ours": len(lacking[1]),
        "missing_in_theirs": len(lacking[0]),
        "identical": ruled["identical"],
        "empty": ruled["empty"],
    }
    return Paired(comparisons, counts)


def instruction(prompt: Sequence[Message]) -> str:
    """The prompt as AlpacaEval's one text: a single user's turn as it is, several with their speakers."""
    if len(prompt) == 1 and prompt[0].role == "user":
        return prompt[0].content
    return transcript(prompt)


def write_model_outputs(path: Path, generator: str, rows: Iterable[Generation]) -> None:
    """AlpacaEval's model_outputs JSON; also good as its reference_outputs. A prompt of several turns becomes one text.

    A row that has an `id` keeps it, which AlpacaEval's tool does not mind.

    alpaca_eval --model_outputs ours.json --reference_outputs theirs.json
    """
    outputs = [
        {"dataset": row.dataset, "instruction": instruction(row.prompt), "output": row.reply, "generator": generator}
        | ({"id": row.id} if row.id else {})
        for row in rows
    ]
    write_json(path, outputs)


def prompt_key(prompt: Sequence[Message]) -> str:
    """16 hex digits that name a prompt."""
    told = json.dumps([[turn.role, turn.content] for turn in prompt])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _by_prompt(rows: Sequence[Generation]) -> dict[tuple[str, int], Generation]:
    """{(prompt, occurrence): its reply}."""
    seen: Counter[str] = Counter()
    found = {}
    for row in rows:
        key = prompt_key(row.prompt)
        found[key, seen[key]] = row
        seen[key] += 1
    return found


def _generation(raw: Mapping[str, Any]) -> Generation:
    """Raises Defect."""
    asked, replied = (next((n for n in names if raw.get(n) is not None), names[0]) for names in (_PROMPTS, _REPLIES))
    if raw.get(asked) is None:
        raise Defect("not_text", f'"{asked}" is missing (or "{_PROMPTS[1]}")')
    prompt = messages_of(raw[asked], asked)
    if prompt[-1].role != "user":
        raise Defect("dialogue", f'"{asked}" does not end with the user\'s turn')
    reply = raw.get(replied)
    if not isinstance(reply, str):
        kind = "missing" if reply is None else f"not text ({type(reply).__name__})"
        raise Defect("not_text", f'"{replied}" is {kind} (or "{_REPLIES[1]}")')
    texts = [value if isinstance(value := raw.get(name), str) else "" for name in ("id", "dataset")]
    return Generation(prompt, reply, *texts)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for row in open_file(path, path.name).rows:
        if row.value is None or row.defect:
            raise DataError(f"{path.name}:{row.number}: {row.defect}")
        yield row.number, row.value


def _shown(prompt: Sequence[Message]) -> str:
    text = " ".join(prompt[-1].content.split())
    return f'"{text[:60]}{"…" if len(text) > 60 else ""}"'
