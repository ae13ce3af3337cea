"""TRL, imported without its telemetry."""

from __future__ import annotations

import importlib
import os
from typing import Any

_SAYS_NOTHING = {"TRL_TELEMETRY": "0", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}


def quiet_trl() -> Any:
    """The package, its trainers imported lazily. Raises ImportError or RuntimeError where it cannot be imported."""
    os.environ.update(_SAYS_NOTHING)
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True  # read once, when something before imported it
    return importlib.import_module("trl")
