"""The commands that would make a study again, from what its runs recorded of how they were started.

A manifest holds its run's overrides as they were typed and the commit of the code. Runs that are a product of choices
(every method with every seed) become one sweep; those that are not become as few sweeps as one pass over the settings
finds, never a run more. Paths appear as typed: they are of the machine that ran the study.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from analysis.study.naming import first_few
from analysis.study.study import BENCHMARK, Run, Study
from mars.progress import counted

Choices = dict[str, tuple[str, ...]]  # `seed=`: its values; a run takes one of each setting

_OF_THE_MACHINE = {"cache", "force", "debug"}  # overrides that say nothing about the runs


class Step(NamedTuple):
    """What to run at one commit; it is empty where none was recorded."""

    commit: str
    runs: int
    commands: tuple[str, ...]


class Reproduction(NamedTuple):
    """steps: one for each commit. after: what to run when the runs are there. remarks: what will not come back."""

    steps: tuple[Step, ...] = ()
    after: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def commands(self) -> tuple[str, ...]:
        """All of it, a line each."""
        made = [[f"git checkout {step.commit}"] * bool(step.commit) + [*step.commands] for step in self.steps]
        return (*(line for lines in made for line in lines), *self.after)


def reproduction(study: Study) -> Reproduction:
    """How to make every counted run of the study, in the order of its arms."""
    runs = [run for _, group in study.groups() for arm in group.arms for run in group.of(arm)]
    by_commit: dict[str, list[Run]] = {}
    for run in runs:
        if _overrides(run):
            by_commit.setdefault(_commit(run), []).append(run)
    steps = tuple(Step(commit, len(same), commands(map(_overrides, same))) for commit, same in by_commit.items())
    return Reproduction(steps, _after(runs) if steps else (), tuple(_remarks(runs, by_commit)))


def commands(overrides: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """`python -m mars.run …` lines, quoted for a POSIX shell, that start runs of these overrides (`key=value`)."""
    lines = []
    for choices in sweeps(overrides):
        sweep = ["-m"] if any(len(values) > 1 for values in choices.values()) else []
        words = [setting + ",".join(values) for setting, values in choices.items()]
        lines.append(shlex.join(["python", "-m", "mars.run", *sweep, *words]))
    return tuple(lines)


def sweeps(overrides: Iterable[Sequence[str]]) -> list[Choices]:
    """Disjoint products of choices whose union is the runs, each once.

    Products that differ in the values of one setting only are merged into one, setting by setting.
    """
    products: list[Choices] = []
    for run in overrides:
        single: Choices = {key + equals: (value,) for key, equals, value in (word.partition("=") for word in run)}
        if single not in products:
            products.append(single)
    for setting in dict.fromkeys(setting for choices in products for setting in choices):
        alike: dict[object, Choices] = {}
        for choices in products:
            others = frozenset((key, frozenset(values)) for key, values in choices.items() if key != setting)
            first = alike.setdefault((others, setting in choices), dict(choices))
            if setting in choices and first[setting] != choices[setting]:
                first[setting] += choices[setting]
        products = list(alike.values())
    return products


def _overrides(run: Run) -> list[str]:
    words = [str(word) for word in run.manifest.get("overrides") or []]
    return [word for word in words if word.lstrip("+").partition("=")[0] not in _OF_THE_MACHINE]


def _commit(run: Run) -> str:
    return str((run.manifest.get("git") or {}).get("commit") or "")


def _after(runs: Sequence[Run]) -> tuple[str, ...]:
    """The report on the directories the runs were written to, as these were named when they were started."""
    studies = list(dict.fromkeys(str(run.config["study"]) for run in runs if run.config.get("study")))
    if not studies:
        return ()
    named = f"study={studies[0]}" if len(studies) == 1 else f"study=[{','.join(studies)}]"
    return (shlex.join(["python", "-m", "analysis.report", named, *(["out=report"] if len(studies) > 1 else [])]),)


def _remarks(runs: Sequence[Run], by_commit: dict[str, list[Run]]) -> Iterable[str]:
    if silent := [run.name for run in runs if not _overrides(run)]:
        yield f"{counted(len(silent), 'run')} recorded no command: {first_few(silent)}."
    if len(by_commit) > 1:
        yield f"The runs were made at {len(by_commit)} commits; code that differs may give results that differ."
    if nameless := [run.name for run in by_commit.get("", [])]:
        yield f"{counted(len(nameless), 'run')} recorded no commit: {first_few(nameless)}."
    if dirty := [run.name for run in runs if (run.manifest.get("git") or {}).get("dirty")]:
        yield f"{counted(len(dirty), 'run')} ran on code with changes that were never committed: {first_few(dirty)}."
    judged = sorted({label for run in runs for label in run.metrics} - {BENCHMARK})
    if judged:
        yield (
            f"Judged besides on {', '.join(judged)}, with python -m benchmarks.evaluate unless the run did so itself; "
            "each run's evaluations hold the protocol."
        )
