"""A dataset made ready for a study: its rows are read, the policies applied, and base, validation and test pairs drawn.

No row disappears without a number. The report says for each file how many rows were read, kept and dropped, why, and
where the first ones are. Validation, and a test taken from train, get whole prompts, so that no prompt is on both sides
of a split (in PKU-SafeRLHF one prompt has many pairs). `flip_rate` flips labels of base and validation pairs on
purpose, to see how an arm copes with noise that does not depend on the margin; the test pairs keep their labels.

    preferences = load(DatasetConfig("hh_rlhf", path="../shared/data/hh_rlhf/harmless-base", size=500))
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mars.config import ConfigError
from mars.preferences import contamination
from mars.preferences.bad_rows import Policies, read_split
from mars.preferences.columns import Picked, pick
from mars.preferences.draws import flipped, hold_out, in_order, shuffled
from mars.preferences.pair import DataError, Pair, Preferences
from mars.preferences.recognition import open_rows
from mars.preferences.schemas import schema_of
from mars.preferences.shapes import Columns, Ranked, Reading
from mars.preferences.sources import Source, open_directory, open_hub, open_split

Split = Literal["train", "test"]

FILES = "files"  # the dataset of anybody's rows; the others have a schema of their own

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetConfig:
    """Where the rows come from (train and test, else path, else hub), which of them count, and how many are used.

    Raises ValueError naming the field that cannot be used.
    """

    name: str  # the schema: hh_rlhf, ultrafeedback, pku_saferlhf, files
    hub: str | None = None  # hub id
    revision: str | None = None  # hub commit
    hub_config: str | None = None
    data_dir: str | None = None  # directory of the hub dataset, and of `path` where it has it
    path: str | None = None  # local directory laid out as on the hub
    train: str | None = None  # local files, before `path` and `hub`
    test: str | None = None
    schema: str | None = None  # of dataset=files: the shape of its rows; None: the one that is recognised
    columns: Columns = field(default_factory=Columns)  # of dataset=files: the user's names
    ranked: Ranked = "best_worst"  # of dataset=files: which of several ranked replies are compared
    preference: str | None = None  # which label decides; None: the dataset's usual one
    size: int | None = None  # base pairs; None: all that are left after validation
    test_size: int | None = None
    test_from_train: float = 0.0  # a dataset without a test split: a share below 1, or a number of train pairs
    validation: float = 0.1  # a share below 1 of `size` (of train where that is smaller), or a number of train pairs
    seed: int = 0  # draws base, validation and test
    flip_rate: float = 0.0  # share of base and validation labels to flip, whatever the pair
    max_prompt_chars: int | None = None
    max_bad_fraction: float = 0.05  # dropped rows of a split, excluding duplicates, ties and long prompts
    on: Policies = field(default_factory=Policies)
    licence: str = "unknown"

    def __post_init__(self) -> None:
        for name in ("size", "test_size", "max_prompt_chars"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: {value} is not a positive number (null: no limit)")
        for name in ("validation", "test_from_train"):
            value = getattr(self, name)
            if value < 0 or (value > 1 and value != int(value)):
                raise ValueError(f"{name}: {value} is neither a share below 1 nor a number of pairs")
        if not 0 <= self.flip_rate < 0.5:
            raise ValueError(f"flip_rate: must be in [0, 0.5), not {self.flip_rate}")
        if not 0 <= self.max_bad_fraction <= 1:
            raise ValueError(f"max_bad_fraction: {self.max_bad_fraction} is not between 0 and 1")
        if self.test is not None and self.test_from_train:
            raise ValueError("test_from_train: there is a test file already (dataset.test)")
        if self.name != FILES:
            self._check_own_schema()
        elif self.schema is not None:
            self.reading.shape(self.schema)
        elif self.preference is not None:
            raise ValueError("preference: files has one label and nothing to choose (leave it null, or name schema)")

    def _check_own_schema(self) -> None:
        schema_of(self.name, self.preference)
        for name in ("schema", "columns", "ranked"):
            if getattr(self, name) != getattr(Reading(), name):
                raise ValueError(f"{name}: {self.name} has its own (dataset=files takes any, from files or the hub)")

    @property
    def reading(self) -> Reading:
        """How its rows are to be read, as far as it is said."""
        return Reading(self.schema, self.columns, self.ranked, self.preference)


def load(config: DatasetConfig) -> Preferences:
    """Base, validation and test pairs with the report of how they were made.

    Raises DataError with file and row for data that cannot be used, and ConfigError for a dataset with no rows to read.
    """
    train, train_files, rule = _read(config, "train")
    if not train:
        raise DataError("; ".join(summary({"sources": {"train": train_files}})))
    pairs = shuffled(train, config.seed, "train")

    whole_test, pairs, beside_test, test_sources = _test_split(config, pairs)
    whole_test, ties = _decided(config, whole_test)
    test = in_order(shuffled(whole_test, config.seed, "test"), config.test_size)

    wanted = min(len(pairs), config.size or len(pairs))
    held, rest, beside_validation = hold_out(pairs, _number(config.validation, wanted))
    drawn = pick(rest, np.arange(len(rest))[: config.size])
    _check_sizes(config, train, len(drawn), len(test))
    base, validation = (flipped(pairs, config.flip_rate, config.seed) for pairs in (drawn, held))

    subset = {
        "seed": config.seed,
        "train": len(train),
        "size_requested": config.size,
        "size": len(base),
        "validation": len(validation),
        "beside_validation": beside_validation,  # in neither: they share a prompt with a validation pair
        "test_from_train": bool(config.test_from_train),
        "beside_test": beside_test,
        "test_available": len(whole_test),
        "test": len(test),
        **({"test_ties": ties} if ties else {}),  # not in the test
    }
    report = {
        "dataset": config.name,
        "licence": config.licence,
        "rule": rule,
        "sources": {"train": train_files, **test_sources},
        "subset": subset,
        "length_baseline": {"test": length_baseline(test)},
        "contamination": contamination.between(base, validation, {"test": test}),
    }
    if config.flip_rate:
        turned = {"base": base, "validation": validation}
        report["flips"] = {"rate": config.flip_rate, **{k: sum(p.exchanged for p in of) for k, of in turned.items()}}
    return Preferences(config.name, base, validation, {"test": test}, report)


def _test_split(
    config: DatasetConfig, pairs: Picked
) -> tuple[Sequence[Pair], Picked, int, dict[str, list[dict[str, Any]]]]:
    """(test pairs in file order, the `pairs` left to train on, how many are in neither, the sources read for the test).

    pairs: the train rows in the order in which they are drawn.
    """
    if config.test_from_train:
        held, rest, in_neither = hold_out(pairs, _number(config.test_from_train, len(pairs)))
        return in_order(held), rest, in_neither, {}
    test, files, _ = _read(config, "test")
    return test, pairs, 0, {"test": files}


def _decided(config: DatasetConfig, test: Sequence[Pair]) -> tuple[Sequence[Pair], int]:
    """(`test` without ties, which have no right answer to judge by, their number). Raises DataError for ties alone."""
    if config.on.tie != "half":
        return test, 0
    kept = np.flatnonzero(np.fromiter((pair.agreement > 0.5 for pair in test), dtype=bool, count=len(test)))
    ties = len(test) - len(kept)
    if ties and not len(kept):
        raise DataError(f"{config.name}: no test pair has a better reply: all {ties} are ties (test on others)")
    return pick(test, kept), ties


def _check_sizes(config: DatasetConfig, train: Sequence[Pair], base: int, test: int) -> None:
    """Raises DataError where there are no base or no test pairs; warns where there are fewer than were asked for."""
    number = len(train)
    if not base:
        takers = [f"dataset.{name}" for name in ("test_from_train", "validation") if getattr(config, name)]
        instead = f"lower {' or '.join(takers)}"
        if len({contamination.prompt_key(pair) for pair in train}) == 1:
            others = "dataset.test=F and dataset.validation=0" if config.test_from_train else "dataset.validation=0"
            instead = f"all in one prompt, which {takers[0]} takes whole: set {others}, or add rows of other prompts"
        raise DataError(f"{config.name}: of {number} train pairs none is left to train on ({instead})")
    if not test and config.test_from_train and not _number(config.test_from_train, number):
        share = f"dataset.test_from_train={config.test_from_train} of {number} train pairs is none"
        raise DataError(f"{config.name}: {share} (a whole number takes so many pairs: dataset.test_from_train=1)")
    if not test:
        raise DataError(f"{config.name}: the test split has no pairs")
    if config.size is not None and base < config.size:
        log.warning("%s: only %d base pairs are left, not the %d of dataset.size", config.name, base, config.size)


def _read(config: DatasetConfig, split: Split) -> tuple[Sequence[Pair], list[dict[str, Any]], str]:
    """(the pairs of a split, what became of the rows of each of its sources, the rule of their labels)."""
    sources: Sequence[Source] = _sources(config, split)
    if config.name == FILES:
        schema, sources = open_rows(sources, replace(config.reading, judged=split == "test"))
    else:
        schema = schema_of(config.name, config.preference)
    limits = (config.max_prompt_chars, config.max_bad_fraction)
    return *read_split(sources, schema, f"{config.name}-{split}", config.on, *limits), schema.rule


def summary(report: Mapping[str, Any]) -> list[str]:
    """Lines for the log: of each file what its name does not say, and its defects with their first place; the flips."""
    lines = []
    for part in (tally for files in report.get("sources", {}).values() for tally in files):
        if part.get("read_as"):
            lines.append(f"{part['file']}: read as {part['read_as']}")
        told = [
            f"{what} " + ", ".join(f"{n} {kind} (first: {part['examples'][kind][0]})" for kind, n in part[key].items())
            for key, what in (("dropped", "dropped"), ("kept_despite", "kept all the same"))
            if part[key]
        ]
        if told:
            lines.append(
                "; ".join([f"{part.get('file') or part['hub']}: {part['kept']} of {_read_in(part)} kept", *told])
            )
        if "rule" in part:
            otherwise = " (to read it otherwise: dataset.schema=NAME)" if part.get("recognised") else ""
            lines.append(f"{part.get('file') or part['hub']}: read as {part['rule']}{otherwise}")
    if flips := report.get("flips"):
        counts = f"{flips['base']} base and {flips['validation']} validation pairs"
        lines.append(f"labels of {counts} turned round (dataset.flip_rate={flips['rate']})")
    return lines


def _read_in(part: Mapping[str, Any]) -> str:
    """What one source of a report was read as, counted: rows, or the pairs of rows that have several."""
    return f"{part['pairs']} pairs" if "pairs" in part else f"{part['rows']} rows"


def length_baseline(pairs: Sequence[Pair]) -> float:
    """The accuracy of preferring the longer response, in characters; a tie counts as ½."""
    longer = np.fromiter((len(pair.chosen) - len(pair.rejected) for pair in pairs), dtype=np.int64, count=len(pairs))
    return float(np.mean(np.sign(longer)) / 2 + 0.5)


def _number(wanted: float, available: int) -> int:
    return round(wanted * available) if wanted < 1 else int(wanted)


def _sources(config: DatasetConfig, split: Split) -> list[Source]:
    named = config.train if split == "train" else config.test
    if named is not None:
        return open_split(Path(named), split)
    if config.path is not None:
        root = Path(config.path)
        inner = root / (config.data_dir or "")
        return open_directory(inner if inner.is_dir() else root, split)
    if config.hub is not None:
        return [open_hub(config.hub, config.revision, config.hub_config, config.data_dir, split)]
    instead = " or dataset.test_from_train=N" if split == "test" else ""
    raise ConfigError(f"dataset.{split}: no rows to read (set dataset.{split}=F or dataset.path=DIR{instead})")


DATASET = (DatasetConfig, load)
