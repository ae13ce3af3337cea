"""What is sent to the workers of a cluster, and what comes back."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from support.cluster import RAY, Here

from mars import fill
from mars.augment.variant import Request, Variant
from mars.cluster.settings import Need
from mars.cluster.shards import Work
from mars.files import digest
from mars.pool.on_workers import Distributed, Maker
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair
from mars.process import devices

PAIR = Pair("a/1", (Message("user", "Hi"), Message("assistant", "Ho\x00")), "half \ud800", "é\n", 0.1, "easy", True)


class Same:
    """Augmenter of one variant a pass."""

    name, together, batch = "same", 1, 1
    settings: ClassVar = {"a": 1}
    asked: ClassVar[list[Request]] = []

    def identity(self, request):
        return request.source

    def make(self, requests):
        self.asked.extend(requests)
        return [Variant(None if one.number else one.pair.chosen, "same", {"n": one.number}) for one in requests]


def maker():
    return Maker(Same(), digest(Same.settings))


def test_requests_and_variants_are_the_same_on_the_other_side(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(Same, "asked", asked := [])
    requests = [Request(PAIR, "prompt", 0), Request(PAIR, "rejected", 3)]
    made = Distributed(Same(), Here(RAY, Need(), 1, tmp_path), Work(f"{__name__}:maker", (), "same")).make(requests)
    assert asked == requests
    assert made == Same().make(requests)


def test_a_worker_binds_itself_to_its_part_of_the_card(tmp_path: Path, monkeypatch):
    taken: list[torch.device] = []
    monkeypatch.setattr(devices, "take", taken.append)
    monkeypatch.setattr(Maker, "__init__", lambda self, augmenter, settings: None)
    fill.maker({"name": "none"}, str(tmp_path), "cpu", torch.get_num_threads(), "")
    assert taken == [torch.device("cpu")]
