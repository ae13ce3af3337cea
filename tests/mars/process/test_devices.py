"""What a process may take of a card that it shares with others."""

import pytest
import torch

from mars.process import devices, machine


def test_a_share_bounds_what_a_process_takes_of_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[tuple[float, int]] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda part, card: parts.append((part, card)))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    card = torch.device("cuda")
    devices.take(card)
    assert not parts
    monkeypatch.setenv(machine.SHARE, "0.25")
    devices.take(torch.device("cpu"))
    devices.take(card)
    devices.take(torch.device("cuda", 1))
    assert parts == [(0.25, 3), (0.25, 1)]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (70, 100))
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", {3: 0.25}.__getitem__)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 5)
    assert devices.room(card) == 20
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda _: 1.0)
    assert devices.room(card) == 70
