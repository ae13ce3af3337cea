"""A job of a sweep in a process that a launcher started: set up as the command line would, then worked on.

Nothing is composed here: the config comes resolved, so that a job means what it meant when it was asked for. Named by
launchers as "mars.launch.worker:work", because what it imports stands above them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.conf import HydraConf, OverridesConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from mars import telemetry
from mars.cli import log_to_stderr
from mars.run import execute_in_sweep
from mars.sweep import Outcome


def work(config: Mapping[str, Any], overrides: Sequence[str], began: float) -> Outcome:
    """How the run of `config` ends, as `execute_in_sweep` says; its lines are on standard error too.

    config: resolved. overrides: what the sweep asked for. began: when it did, in seconds since 1970.
    """
    telemetry.turn_off()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    log_to_stderr(logging.StreamHandler())
    asked = HydraConf(overrides=OverridesConf(task=list(overrides)))
    HydraConfig.instance().set_config(OmegaConf.create({"hydra": asked}))  # whose overrides are a run's record
    return execute_in_sweep(config, began)
