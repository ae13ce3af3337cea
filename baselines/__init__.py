"""The arms: one small file each, behind the same protocol as MARS (`mars.method.strategy`).

`ARMS` is the one place that says which there are. Their order, the classes behind their names, their kinds and the
comparisons declared for the verdict are read from it by whatever needs them. Nothing is imported before a run asks for
an arm by name. An arm of another package is no line here but an entry point (docs/adding_an_arm.md).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Family = Literal[
    "no augmentation", "sampling", "other augmentation", "re-ranking", "reweighting", "pseudo-labels", "MARS"
]


class Arm(NamedTuple):
    """One arm.

    name: as in `method=NAME`. target: `"module:Class"` of its strategy. family: its kind. declared: its place, from 1,
    among the comparisons with the arm in focus that the verdict is made from (`analysis.inference.comparisons`).
    """

    name: str
    target: str
    family: Family
    declared: int


# From what does least to MARS, which is last: the order of tables, figures and legends.
ARMS: tuple[Arm, ...] = (
    Arm("none", "baselines.none:NoAugmentation", "no augmentation", 5),
    Arm("none_matched", "baselines.none:NoneMatched", "no augmentation", 4),
    Arm("uniform", "baselines.uniform:Uniform", "sampling", 1),
    Arm("stratified", "baselines.stratified:Stratified", "sampling", 2),
    Arm("eda", "baselines.uniform:Uniform", "other augmentation", 3),
    Arm("won", "baselines.won:WoN", "re-ranking", 6),
    Arm("west_of_n", "baselines.west_of_n:WestOfN", "re-ranking", 7),
    Arm("adaboost", "baselines.adaboost:AdaBoost", "reweighting", 8),
    Arm("self_training", "baselines.self_training:SelfTraining", "pseudo-labels", 9),
    Arm("representation", "baselines.representation:Representation", "other augmentation", 10),
    Arm("mars_fisher", "baselines.fisher:Fisher", "MARS", 11),
    Arm("mars_tempered", "baselines.tempered:Tempered", "MARS", 12),
    Arm("mars_validated", "baselines.validated:Validated", "MARS", 13),
    Arm("mars", "mars.method.strategy:Mars", "MARS", 14),
)
