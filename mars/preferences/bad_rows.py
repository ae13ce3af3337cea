"""Where a bad row is counted, and dropped, kept or an error.

There is one policy for each kind of defect; a finding (`rows.Finding`) has none and is kept. The count names the
first places of each kind, because the reader of "12 rows dropped" wants to look at one. A split that loses too many
rows is taken for the wrong file and is an error.
"""

from __future__ import annotations

import itertools
import json
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NoReturn

from mars.preferences.columns import Stored
from mars.preferences.containers.raw import RawRow
from mars.preferences.pair import DataError, Pair, texts_key
from mars.preferences.rows import Defect, Finding, Kind, Row, Schema, examine, near
from mars.preferences.sources import Source

Policy = Literal["drop", "keep", "raise"]
Unusable = Literal["drop", "raise"]  # such a row holds no preference that could be kept
Ties = Literal["drop", "keep", "half", "raise"]


@dataclass(frozen=True)
class Policies:
    """What happens to a row with a defect; the kinds are those of `mars.preferences.rows.Kind`."""

    bad_json: Unusable = "drop"
    encoding: Policy = "drop"  # keep: with U+FFFD where the text was
    not_text: Unusable = "drop"
    dialogue: Unusable = "drop"
    unlabelled: Unusable = "drop"
    prompts_differ: Policy = "drop"  # keep: with the chosen side's prompt
    empty: Policy = "drop"
    identical: Policy = "drop"
    tie: Ties = "drop"  # keep: with its label, where it has one; half: as preferred by half of the annotators
    duplicate: Policy = "drop"
    long_prompt: Policy = "drop"


# Sound rows, and no sign of a wrong or broken file.
HARMLESS: tuple[Kind | Finding, ...] = ("duplicate", "tie", "long_prompt")


@dataclass
class _Tally:
    """What became of one source's rows."""

    rows: int = 0
    pairs: int = 0  # of these rows: more, where a row has several
    kept: int = 0
    last: int = 0  # number of the last row
    columns: set[str] = field(default_factory=set)
    dropped: Counter[Kind | Finding] = field(default_factory=Counter)
    kept_despite: Counter[Kind | Finding] = field(default_factory=Counter)
    examples: dict[Kind | Finding, list[str]] = field(default_factory=dict)  # the first three places of each kind
    details: dict[Kind | Finding, str] = field(default_factory=dict)  # what is wrong at the first of them
    first_bad: str = ""  # place and defect

    def note(self, defect: Defect, place: str, dropped: bool) -> None:
        (self.dropped if dropped else self.kept_despite)[defect.kind] += 1
        self.details.setdefault(defect.kind, str(defect))
        places = self.examples.setdefault(defect.kind, [])
        if len(places) < 3:
            places.append(place)
        if dropped and defect.kind not in HARMLESS and not self.first_bad:
            self.first_bad = f"{place}: {defect}"

    def report(self, identity: Mapping[str, Any]) -> dict[str, Any]:
        counts = {"rows": self.rows, **({"pairs": self.pairs} if self.pairs != self.rows else {}), "kept": self.kept}
        kinds = {"dropped": dict(self.dropped), "kept_despite": dict(self.kept_despite), "examples": self.examples}
        return {**identity, **counts, **kinds}


def read_split(
    sources: Sequence[Source],
    schema: Schema,
    prefix: str,
    policies: Policies,
    max_prompt_chars: int | None = None,
    max_bad_fraction: float = 1.0,
) -> tuple[Sequence[Pair], list[dict[str, Any]]]:
    """(the usable pairs of one split in file order, for each source the JSON count of what became of its rows).

    A pair's id is the row's own, else `prefix` and the row's number, counted through all sources; where a row has
    several pairs, it ends in which of them this is. max_prompt_chars: a
    longer prompt is a defect; None is no limit. max_bad_fraction: the largest share of rows that may be dropped,
    excluding duplicates, ties and long prompts.

    Raises DataError with file and row where a policy says so, for a file without rows or without a column the schema
    needs, for an id used twice, and where too many rows are dropped.
    """
    pairs, tallies = _counted(sources, schema, prefix, policies, max_prompt_chars)
    _check_share(tallies, max_bad_fraction)
    return pairs, _reports(sources, tallies)


def explain_split(
    sources: Sequence[Source], schema: Schema, prefix: str, policies: Policies
) -> tuple[Sequence[Pair], list[dict[str, Any]], dict[Kind | Finding, str]]:
    """(pairs and count as of `read_split` without its limits, what is wrong at the first place of each kind)."""
    pairs, tallies = _counted(sources, schema, prefix, policies, None)
    details = {kind: detail for tally in reversed(tallies) for kind, detail in tally.details.items()}
    return pairs, _reports(sources, tallies), details


def _reports(sources: Sequence[Source], tallies: Sequence[_Tally]) -> list[dict[str, Any]]:
    return [tally.report(source.identity) for source, tally in zip(sources, tallies, strict=True)]


def _counted(
    sources: Sequence[Source], schema: Schema, prefix: str, policies: Policies, max_prompt_chars: int | None
) -> tuple[Sequence[Pair], list[_Tally]]:
    pairs = Stored()
    names: set[int] = set()  # their hashes
    places = array("q")  # of each pair, counted over all sources
    tallies: list[_Tally] = []
    seen: set[bytes] = set()
    before = 0  # rows of earlier sources
    for source in sources:
        tally = _Tally()
        for number, row in _usable_rows(source, schema, policies, max_prompt_chars, tally, seen):
            name = row.id or f"{prefix}-{before + number}"
            name = f"{name}-{row.part}" if row.part else name
            if hash(name) in names and (earlier := _whereabouts(name, pairs, places, sources, tallies)):
                shown = json.dumps(name[:60], ensure_ascii=False)
                raise DataError(f"{source.label}:{number}: the id {shown} stands at {earlier} already")
            names.add(hash(name))
            places.append(before + number)
            told = (row.agreement, row.strength)
            pairs.append(Pair(name, row.prompt, row.chosen, row.rejected, None, row.subset, False, *told))

        if not tally.rows:
            raise DataError(f"{source.label}: holds no rows")
        _check_columns(source.label, tally.columns, schema)
        before += tally.last
        tallies.append(tally)
    return pairs, tallies


def _whereabouts(
    name: str, pairs: Sequence[Pair], places: Sequence[int], sources: Sequence[Source], tallies: Sequence[_Tally]
) -> str:
    """File and row of the pair of that name; "" where there is none, and only the hash of its name is there already.

    tallies: of the sources before the one that is being read.
    """
    place = next((place for pair, place in zip(pairs, places, strict=True) if pair.id == name), None)
    if place is None:
        return ""
    for source, tally in itertools.zip_longest(sources, tallies):
        if tally is None or place <= tally.last:
            return f"{source.label}:{place}"
        place -= tally.last
    raise AssertionError("a pair is of some source")


def _usable_rows(
    source: Source,
    schema: Schema,
    policies: Policies,
    max_prompt_chars: int | None,
    tally: _Tally,
    seen: set[bytes],
) -> Iterator[tuple[int, Row]]:
    """(number, row) of each row that the policies keep; `tally` and `seen` are updated on the way."""
    for raw in source.rows:
        place = f"{source.label}:{raw.number}"
        tally.rows, tally.last = tally.rows + 1, raw.number
        tally.columns.update(raw.value or ())
        for row, defects in _understand(raw, schema, max_prompt_chars):
            tally.pairs += 1
            key = b""
            if row is not None:
                tied = policies.tie == "half" and any(defect.kind == "tie" for defect in defects)
                key = _tie_key(row) if tied else texts_key(row.prompt, row.chosen, row.rejected)
                row = replace(row, agreement=0.5) if tied else row
                defects += _repeated(row, key, seen)

            cause = _cause_to_drop(defects, policies, place, row)
            for defect in [cause] if cause else defects:
                tally.note(defect, place, dropped=cause is not None)
            if row is not None and cause is None:
                tally.kept += 1
                seen.add(key)
                yield raw.number, row


def _repeated(row: Row, key: bytes, seen: set[bytes]) -> list[Defect]:
    """What a row says again, or the other way round, of an earlier one; key: of its texts, and of a tie as such."""
    found = [Defect("duplicate", "repeats an earlier row")] if key in seen else []
    turned = texts_key(row.prompt, row.rejected, row.chosen)
    if turned in seen and row.agreement > 0.5 and row.chosen != row.rejected:
        found.append(Defect("contradictory", "an earlier row has the same responses the other way round"))
    return found


def _tie_key(row: Row) -> bytes:
    """A tie that counts as half repeats another in whichever order, and no row that says which reply is better."""
    return texts_key(row.prompt, *sorted((row.chosen, row.rejected)), "tie")


def _understand(raw: RawRow, schema: Schema, max_prompt_chars: int | None) -> Iterator[tuple[Row | None, list[Defect]]]:
    """(each pair of a raw row, or None where it holds no preference; its defects in the order they were found)."""
    defects = [raw.defect] if raw.defect else []
    if raw.value is None:
        yield None, defects
        return
    try:
        rows = schema.rows(raw.value)
    except Defect as defect:
        yield None, [*defects, defect]
        return
    for row in rows:
        yield row, [*defects, *examine(row, max_prompt_chars)]


def _cause_to_drop(defects: Sequence[Defect], policies: Policies, place: str, row: Row | None) -> Defect | None:
    """The defect for which a row is dropped, or None where it is kept. Raises DataError where a policy says so.

    row: None where there is no preference to keep; as little is there to keep of a tie without a label.
    """
    tie = next((defect for defect in defects if defect.kind == "tie"), None)
    if tie and policies.tie == "keep" and row is not None and row.agreement == 0.5:
        _refuse(place, tie)
    for defect in defects:
        policy: Policy | Ties = getattr(policies, defect.kind, "keep")  # a finding has none
        if policy == "drop":
            return defect
        if policy == "raise":
            raise DataError(f"{place}: {defect} (drop such rows with dataset.on.{defect.kind}=drop)")
    if row is None:
        _refuse(place, defects[-1])
    return None


def _refuse(place: str, defect: Defect) -> NoReturn:
    told = f"(drop such rows with dataset.on.{defect.kind}=drop)"
    raise DataError(f"{place}: {defect}, with no label to keep {told}")


def _check_columns(label: str, columns: set[str], schema: Schema) -> None:
    """Raises DataError when no row has a column that the schema needs; the message names the nearest one there is."""
    missing = min(([c for c in needed if c not in columns] for needed in schema.columns), key=len)
    if missing and columns:  # where no row could be read there are no columns, and `_check_share` says so
        names = " and ".join(f'"{name}"' for name in missing)
        raise DataError(f"{label}: no column {names}{near(missing[0], sorted(columns))}")


def _check_share(tallies: Sequence[_Tally], most: float) -> None:
    """Raises DataError when more than a share `most` of the rows is bad: probably the wrong file or schema."""
    rows = sum(tally.pairs for tally in tallies)
    bad = Counter[Kind | Finding]()
    for tally in tallies:
        bad.update({kind: count for kind, count in tally.dropped.items() if kind not in HARMLESS})
    if bad.total() > most * rows:
        kinds = ", ".join(f"{count} {kind}" for kind, count in bad.most_common())
        first = next(tally.first_bad for tally in tallies if tally.first_bad)
        share = f"{bad.total()} of {rows} rows ({bad.total() / rows:.1%}) cannot be used: {kinds}"
        raise DataError(f"{first}; {share} (mend them, or allow more than dataset.max_bad_fraction={most})")
