"""What RewardBench 1 and 2 are made of: sections, subsets and their official counts.

Apart from the protocols, so that who only names the parts of a result does not import what scores a model.
"""

from __future__ import annotations

# RewardBench 1: the official count of each subset since 2024-09-10.
SECTIONS: dict[str, dict[str, int]] = {
    "Chat": {
        "alpacaeval-easy": 100, "alpacaeval-length": 95, "alpacaeval-hard": 95, "mt-bench-easy": 28, "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37, "llmbar-natural": 100, "llmbar-adver-neighbor": 134, "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47, "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100, "refusals-offensive": 100, "xstest-should-refuse": 154, "xstest-should-respond": 250,
        "donotanswer": 136,
    },
    "Reasoning": {
        "math-prm": 984,
        "hep-cpp": 164, "hep-go": 164, "hep-java": 164, "hep-js": 164, "hep-python": 164, "hep-rust": 164,
    },
}  # fmt: skip
HEADLINE = ("overall", *SECTIONS)
COUNTS = {subset: count for section in SECTIONS.values() for subset, count in section.items()}
BEFORE = COUNTS | {"xstest-should-refuse": 250, "xstest-should-respond": 154}
ROWS = COUNTS | {"math-prm": 447}  # of the split: 2985

# RewardBench 2: prompts, 1865 in all.
SUBSETS = {"Factuality": 475, "Focus": 495, "Math": 183, "Precise IF": 160, "Safety": 450, "Ties": 102}
SCORES = ("accuracy", "score")  # of a best-of-four subset, of Ties
