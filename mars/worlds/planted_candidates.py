"""Candidates from the planted world: replies to a pair's question whose gold reward is known.

The policy that would write them is an author who takes care with every other reply. Length and style are drawn without
regard to quality: in training they go with it, so a reward model that leans on them is misled here, and the more
candidates it may choose from, the more. The question decides what else a reply is about, and no question of one split
is asked in another, so a candidate to a test question is never among the training pairs.

    candidates("planted-0-test-3", 16)[0]  # (text, gold reward)
"""

from __future__ import annotations

import dataclasses
import random
from hashlib import blake2b

from mars.worlds.planted import World
from mars.worlds.planted_latents import CAREFUL, CARELESS, LENGTHS, STYLES, draw_response, gold, pick
from mars.worlds.planted_words import answer


def candidates(pair_id: str, number: int, seed: int = 0) -> list[tuple[str, float]]:
    """`number` replies to the question of a planted pair, each with its gold reward; fewer are the first of more.

    Raises ConfigError when `pair_id` is not the id of a planted pair.
    """
    latent = World.of(pair_id).latent(pair_id)
    found = []
    for k in range(number):
        rng = random.Random(int.from_bytes(blake2b(f"candidate/{seed}/{pair_id}/{k}".encode(), digest_size=8).digest()))
        care = CAREFUL if rng.random() < 0.5 else CARELESS
        drawn = draw_response(latent.topic, latent.fact, latent.rare, care, rng)
        response = dataclasses.replace(drawn, length=pick(rng, LENGTHS), style=pick(rng, STYLES))
        found.append((answer(response, rng), gold(response)))
    return found
