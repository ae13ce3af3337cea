"""What a study draws anew, and so what its claims are about: other seeds, or other base pairs too."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

from analysis.inference.comparability import say_once
from analysis.study.study import Study


class Design(NamedTuple):
    """How one dataset × backbone was replicated.

    replicates: of the arm that has most. seeds: of a replicate, at most. draws: different draws of the base pairs.
    size, rows: base pairs of a replicate, and the rows they were drawn from; 0 where they are generated.
    """

    replicates: int
    seeds: int
    draws: int
    size: int
    rows: int

    @property
    def overlap(self) -> float:
        """The share of a replicate's base pairs that another one has too."""
        return self.size / self.rows if self.draws > 1 and self.rows else 0.0


@functools.lru_cache(maxsize=256)
def design(group: Study) -> Design:
    """The design of one group, as its runs recorded it."""
    runs = group.runs
    of_arm = runs.groupby("arm")["replicate"].nunique()
    seeds = runs.groupby(["arm", "replicate"])["seed"].nunique()
    draws = int(runs["base_sha256"].nunique()) if "base_sha256" in runs else 1
    subsets = [(group.members[run].manifest.get("data") or {}).get("subset") or {} for run in runs["run"]]
    known = [subset for subset in subsets if subset.get("size") and subset.get("train")]
    size, rows = (max((int(subset[key]) for subset in known), default=0) for key in ("size", "train"))
    return Design(int(of_arm.max()), int(seeds.max()), draws, size, rows)


def in_words(study: Study) -> Iterator[str]:
    """What was drawn anew, and what the claims hold for: a sentence for all groups of one design."""
    yield from say_once(_designs(study), len(list(study.groups())))


def _designs(study: Study) -> Iterator[tuple[str, str]]:
    for title, group in study.groups():
        of = design(group)
        each = f", each with {of.seeds} training seeds" if of.seeds > 1 else ""
        if of.draws < 2:
            text = (
                f"{of.replicates} training seed{'' if of.replicates == 1 else 's'} on one draw of the base pairs: what "
                "is said holds for other seeds on these base pairs"
            )
        elif not of.overlap:
            text = f"{of.replicates} draws of the base pairs{each}: what is said holds for new draws"
        else:
            text = (
                f"{of.replicates} subsamples of {of.size} of {of.rows} pairs{each}: what is said holds for new draws "
                f"of {of.size} pairs from where these come from, and intervals allow for the overlap of the subsamples"
            )
        yield title, f"{text}."
