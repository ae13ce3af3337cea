"""MARS: margin-aware augmentation for reward models (arXiv 2602.17658), as a benchmark one can believe.

This is also the public place of what code outside this repository builds on: arms (`Strategy`, `Round`, `Selection`,
`Noise`, the three ways to draw rows, `allocation`), augmenters (`Augmenter`, `Request`, `Variant`), datasets (`Pair`,
`Preferences`, `Message`), and `load_linear` for a trained linear head. Each is imported when it is asked for.

The rooms of this package, lowest first; a room asks only rooms below it:

    config, plugins, files, progress, cache, claims, each_once   the ground
    process/       what a process is and may: cores, cards, signals, its rank among several
    cluster/       a Ray cluster: reached, found fit, given work in shards
    preferences/   what a preference is, and how rows become base, validation and test pairs
    theory/        curvature, information and the paper's bound: pure arrays
    worlds/        generated preferences whose truth is known
    reward/        the reward model: backbone, tokens, features, batching, loss, scoring
    augment/       what a variant of a text is, and one file for each way to make one
    pool/          variants of the base pairs on demand: store, gates, semantic layer, preservation
    method/        allocation, strategies, the round loop, training
    record/        what a run leaves behind
    launch/        a sweep: its jobs, and the processes that carry them out
    choices, assembly, conduct, dry_run, cli, composition, mistakes, fill   from a config to a run
    commands/      sub-commands that train nothing: look, show, status, doctor, cache
    run            the entrance
    strategy, model   names by which packages and model cards of others know what is in method/ and reward/
"""

from __future__ import annotations

import importlib
import os
from typing import Any

# NumPy's products add in an order that depends on the number of threads, so the last bits of a metric's interval would
# depend on the machine. Read when NumPy is first imported; whoever wants more threads sets the variable.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

PUBLIC = {  # name: the module it is in
    "allocation": "mars.method.allocation",
    **dict.fromkeys(
        ("Strategy", "Round", "Selection", "Noise", "Mars", "within_pairs", "anywhere", "equal_shares"),
        "mars.method.strategy",
    ),
    **dict.fromkeys(("Augmenter", "Request", "Variant"), "mars.augment.variant"),
    **dict.fromkeys(("Pair", "Preferences"), "mars.preferences.pair"),
    "Message": "mars.preferences.dialogue",
    "load_linear": "mars.reward.model",
}
__all__ = sorted(PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(PUBLIC[name])
    return module if module.__name__.endswith(f".{name}") else getattr(module, name)
