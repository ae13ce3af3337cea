"""What is sent to the workers of a cluster, and what comes back."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import torch

from mars import fill
from mars.augment.variant import Request, Variant
from mars.cluster.shards import _packed
from mars.files import digest
from mars.pool.on_workers import Maker, _content, _requests, _variants
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair
from mars.process import devices

PAIR = Pair("a/1", (Message("user", "Hi"), Message("assistant", "Ho\x00")), "half \ud800", "é\n", 0.1, "easy", True)


def test_requests_and_variants_are_the_same_on_the_other_side():
    requests = [Request(PAIR, "prompt", 0), Request(PAIR, "rejected", 3)]
    assert _requests(_content(requests)) == requests

    class Same:
        settings: ClassVar = {"a": 1}

        def make(self, requests):
            return [Variant(None if one.number else one.pair.chosen, "same", {"n": one.number}) for one in requests]

    made = Maker(Same(), digest(Same.settings))(_content(requests))
    assert _variants(pa.ipc.open_stream(_packed(made)).read_all()) == Same().make(requests)


def test_a_worker_binds_itself_to_its_part_of_the_card(tmp_path: Path, monkeypatch):
    taken: list[torch.device] = []
    monkeypatch.setattr(devices, "take", taken.append)
    monkeypatch.setattr(Maker, "__init__", lambda self, augmenter, settings: None)
    fill.maker({"name": "none"}, str(tmp_path), "cpu", torch.get_num_threads(), "")
    assert taken == [torch.device("cpu")]
