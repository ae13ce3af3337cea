"""Arms are declared once: whatever names them agrees with `baselines.ARMS`."""

from __future__ import annotations

import re

from support import ROOT

from analysis.exhibits.style import FIXED
from baselines import ARMS
from mars.plugins import resolve

NAMES = [arm.name for arm in ARMS]


def test_every_arm_is_a_class_with_select_and_a_config() -> None:
    configured = {path.stem for path in (ROOT / "conf" / "method").glob("*.yaml")}
    assert set(NAMES) <= configured
    assert all(callable(resolve(arm.target).select) for arm in ARMS)


def test_every_arm_has_its_place_in_the_declared_family_and_a_look() -> None:
    assert sorted(arm.declared for arm in ARMS) == list(range(1, len(ARMS) + 1))
    assert set(FIXED) == set(NAMES)


def test_the_statistics_page_lists_the_declared_family_in_its_order() -> None:
    page = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"and each of\s+(.*?)\s+that it ran", page, re.S)
    assert re.findall(r"\w+", listed.replace(" and ", " ")) == [
        arm.name for arm in sorted(ARMS, key=lambda arm: arm.declared)
    ]
