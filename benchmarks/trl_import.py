"""TRL, imported without its telemetry."""

from __future__ import annotations

import importlib
from typing import Any

from mars import telemetry


def quiet_trl() -> Any:
    """The package, its trainers imported lazily. Raises ImportError or RuntimeError where it cannot be imported."""
    telemetry.turn_off()
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True  # read once, when something before imported it
    return importlib.import_module("trl")
