"""The states of the process's random generators, to be taken and put back.

Dropout and noise draw from PyTorch's. Nothing of ours draws from Python's and NumPy's global ones, but a backbone or an
arm of somebody else may.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

State = dict[str, Any]  # tensors, arrays and plain values


def of_training(device: torch.device) -> State:
    """The states of PyTorch's generators, which dropout and noise draw from."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def of_all(device: torch.device) -> State:
    """The states of PyTorch's, Python's and NumPy's generators."""
    return of_training(device) | {"python": random.getstate(), "numpy": np.random.get_state(legacy=False)}  # noqa: NPY002


def restore(state: State, device: torch.device) -> None:
    """Puts back what `of_training` or `of_all` returned."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
    if "python" in state:
        version, words, gauss = state["python"]
        random.setstate((version, tuple(words), gauss))
        np.random.set_state(state["numpy"])  # noqa: NPY002
