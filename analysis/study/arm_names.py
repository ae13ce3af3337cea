"""What the name of an arm says: its method, and the settings that tell it from others of that method.

`mars augmenter=eda tau=2` is the method mars with two settings. A dataset's name is read likewise. How names are made:
`analysis.study.naming`.
"""

from __future__ import annotations

import math


def method_of(named: str) -> str:
    """The method of an arm, or a dataset without its settings."""
    return named.partition(" ")[0]


def settings_of(named: str) -> dict[str, str]:
    """The settings in a name and their values, as it has them."""
    return {key: value for key, _, value in (word.partition("=") for word in named.split()[1:])}


def value_of(arm: str, setting: str) -> float:
    """The number that an arm's name gives a setting; NaN where it names none."""
    try:
        return float(settings_of(arm)[setting])
    except (KeyError, ValueError):
        return math.nan


def without(named: str, *settings: str) -> str:
    """A name without these settings."""
    return " ".join(word for word in named.split() if word.partition("=")[0] not in settings)


def parted(arm: str, *beginnings: str) -> tuple[list[str], str]:
    """(the settings that begin so, as words; the name without them)."""
    words = arm.split()
    of_part = [word for word in words[1:] if word.startswith(beginnings)]
    return of_part, " ".join(word for word in words if word not in of_part)


def has(arm: str, asked: str) -> bool:
    """Whether the arm's name has every word of `asked`."""
    return set(asked.split()) <= set(arm.split())


def fits(arm: str, asked: str) -> bool:
    """Whether an arm is of the method, and has the settings, that `asked` names; it may have more."""
    return method_of(arm) == method_of(asked) and has(arm, asked)
