"""A mixture deals out its parts in turn, each part's variants as the part alone makes them."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest
import torch

from mars.assembly import supply_of
from mars.augment.eda import Eda, EdaConfig
from mars.augment.mixture import Mixture
from mars.augment.named import augmenter_of
from mars.augment.rules import Rules, RulesConfig
from mars.augment.variant import Request, why_unchanged
from mars.config import ConfigError
from mars.pool.store import Store
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair

PAIRS = [
    Pair(
        f"own-{number}",
        (Message("user", "What can I do about a cold?"),),
        "It's best to rest, don't work. You should drink a lot of tea, and get help if it's bad.",
        "I can't help you with that. It's not something that I know a lot about, get help.",
    )
    for number in range(40)
]
PLACE = Path("unused"), torch.device("cpu")


def _requests(numbers: int = 6) -> list[Request]:
    return [Request(pair, side, k) for pair in PAIRS for side in ("chosen", "rejected") for k in range(numbers)]


def test_each_part_makes_an_equal_share_and_both_sides_begin_with_the_same_part() -> None:
    mixture, requests = Mixture({"rules": Rules(), "eda": Eda()}), _requests(5)
    parts = {
        (r.pair.id, r.part, r.number): v.parameters["part"]
        for r, v in zip(requests, mixture.make(requests), strict=True)
    }
    counts = Counter(parts.values())
    assert sum(counts.values()) == 400
    assert abs(counts["rules"] - 200) <= 40  # with an odd width, what begins decides
    for pair in PAIRS:
        chosen, rejected = ([parts[pair.id, side, k] for k in range(5)] for side in ("chosen", "rejected"))
        assert chosen == rejected
        assert all(one != other for one, other in itertools.pairwise(chosen))


def test_a_variant_is_what_its_part_makes_alone() -> None:
    parts = {"eda": Eda(EdaConfig(seed=3)), "rules": Rules(RulesConfig(seed=4))}
    mixture, requests = Mixture(parts), _requests()
    seen = Counter[tuple[str, str, str]]()
    for request, variant in zip(requests, mixture.make(requests), strict=True):
        part = variant.parameters["part"]
        own = request._replace(number=seen[request.pair.id, request.part, part])
        seen[request.pair.id, request.part, part] += 1
        assert variant.text == parts[part].make([own])[0].text


def test_order_and_batches_change_no_variant() -> None:
    mixture, requests = Mixture({"rules": Rules(), "eda": Eda()}), _requests()
    together = mixture.make(requests)
    assert [mixture.make([request])[0] for request in reversed(requests)][::-1] == together


def test_settings_of_the_parts_their_labels_and_seed_are_in_the_stores_key(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def path(**changed: object) -> Path:
        eda = {"name": "eda", "alpha_swap": changed.pop("alpha_swap", 0.1)}
        parts = {str(changed.pop("label", "rules")): {"name": "rules"}, "eda": eda}
        settings = {"name": "mixture", "parts": parts, **changed}
        return store.path(augmenter_of(settings, "augmenter", *PLACE))

    assert path() == path()
    assert len({path(), path(seed=1), path(alpha_swap=0.2), path(label="second")}) == 4  # variants name their part


def test_the_mixtures_seed_moves_those_of_its_parts() -> None:
    settings = {"name": "mixture", "parts": {"rules": {"name": "rules", "seed": 2}, "eda": {"name": "eda"}}, "seed": 5}
    described = augmenter_of(settings, "augmenter", *PLACE).settings["parts"]
    assert [(part["name"], part["settings"]["seed"]) for part in described] == [("eda", 5), ("rules", 7)]


def test_why_a_variant_equals_its_source_names_the_part() -> None:
    blank = Pair("digits", (Message("user", "1 + 1?"),), "2", "3")
    mixture = Mixture({"rules": Rules(), "eda": Eda()})
    reasons = {
        why_unchanged(mixture, request, variant)
        for request in (Request(blank, "chosen", k) for k in range(2))
        for variant in mixture.make([request])
    }
    assert reasons == {"eda: no word to edit", "rules: no word to edit"}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"rules": {"name": "rules"}}, "augmenter.parts: a mixture has two augmenters or more"),
        (
            {"rules": {"name": "rulez"}, "eda": {"name": "eda"}},
            r'augmenter.parts.rules.name: "rulez" is unknown \(did you mean "rules"\?\)',
        ),
        (
            {"rules": {"name": "rules", "sead": 1}, "eda": {"name": "eda"}},
            r'augmenter.parts.rules.sead: no such setting \(did you mean "seed"\?\)',
        ),
        (
            {"rules": {"name": "rules"}, "nothing": {"name": "none"}},
            'augmenter.parts.nothing.name: "none" is no part of a mixture',
        ),
    ],
)
def test_a_part_that_cannot_be_is_one_line(parts: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        supply_of({"name": "mixture", "parts": parts}, "augmenter", *PLACE)
