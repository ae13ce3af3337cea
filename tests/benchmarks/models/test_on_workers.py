"""Forward passes by a cluster: what is sent, and that the encoder is this process's own again afterwards."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import judging
from benchmarks.models import model_files
from benchmarks.models.on_workers import _content, _texts
from benchmarks.settings import EvaluateConfig
from mars.cluster.settings import EngineConfig
from mars.reward.encoder import FrozenEncoder
from mars.reward.features import Features


def test_token_ids_are_the_same_on_the_other_side():
    texts = [np.array(ids) for ids in ([7], [1, 2, 0], [30000, 256])]
    found, width = _texts(_content(texts, 5))
    assert width == 5
    assert [ids.tolist() for ids in found] == [ids.tolist() for ids in texts]


def test_the_encoder_makes_its_own_passes_after_the_cluster_and_after_an_error(monkeypatch):
    monkeypatch.setattr(model_files, "weights", lambda found: "weights")
    encoder = FrozenEncoder.__new__(FrozenEncoder)
    encoder.elsewhere = None
    features = Features.__new__(Features)
    features.encoder = encoder
    settings = SimpleNamespace(
        **{field.name: None for field in dataclasses.fields(EvaluateConfig)}
        | {"cache": "cache", "device": "cpu", "engine": EngineConfig(), "threads": 1}
    )
    found = SimpleNamespace(revision="main")
    judged = SimpleNamespace(texts=SimpleNamespace(inputs=features), about={})

    def fails() -> None:
        with judging._passes(settings, found, judged, object()) as passes:
            assert encoder.elsewhere is passes is not None
            raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        fails()
    assert encoder.elsewhere is None
    with judging._passes(settings, found, judged, None) as passes:
        assert passes is None
