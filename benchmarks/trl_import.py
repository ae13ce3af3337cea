"""TRL, imported without its telemetry and without warnings of names that only TRL itself uses."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from mars.process import telemetry


def quiet_trl() -> Any:
    """The package, its trainers imported lazily. Raises ImportError or RuntimeError where it cannot be imported."""
    telemetry.turn_off()
    warnings.filterwarnings("ignore", message=r"`(is_)?gradient_checkpointing`", category=FutureWarning)
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True  # read once, when something before imported it
    return importlib.import_module("trl")
