"""Reports that dependencies would send of their own accord, of use and of errors: off, unless the user asks for them.

Each is turned off by the variable that its maker documents, before the package is imported; a variable that is set
already stays as it is.
"""

from __future__ import annotations

import os

OFF = {
    "WANDB_ERROR_REPORTING": "false",  # W&B looks up a host for it even when it is offline
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRL_TELEMETRY": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DO_NOT_TRACK": "1",
}


def turn_off() -> None:
    """To be called before any of these packages is imported."""
    for name, value in OFF.items():
        os.environ.setdefault(name, value)
