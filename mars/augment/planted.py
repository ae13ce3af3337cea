"""True paraphrases of planted responses: the same latents said in other words, so the gold reward is the same.

This is the upper bound of what any paraphraser could do, because no label becomes wrong. With `keep_nuisance=false`
length and style are drawn again, and no longer go with the label.

    PlantedAugmenter(PlantedAugmenterConfig()).make([Request(pair, "chosen", number) for number in range(5)])
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from mars.augment.variant import Request, Variant
from mars.config import ConfigError
from mars.preferences.pair import SIDES, Pair, Part
from mars.worlds.planted import World
from mars.worlds.planted_latents import LENGTHS, STYLES, Response, pick
from mars.worlds.planted_settings import usual_id
from mars.worlds.planted_words import answer

_VERSION = 1  # of what makes a variant: stored ones of another version are not read
_TRIES = 50  # for a text not seen before; a bare response has some forty wordings, most have thousands


@dataclass(frozen=True)
class PlantedAugmenterConfig:
    """keep_nuisance: whether a variant has its source's length and style."""

    seed: int = 0
    keep_nuisance: bool = True


class PlantedAugmenter:
    """Augmenter: variant k of a side is the k-th distinct rewording drawn from (seed, pair id, side), never the source.

    Id and side are those under the usual noise, so another noise exchanges sides and changes no variant.
    """

    name = "planted"
    together, batch = 1, 4096

    def __init__(self, config: PlantedAugmenterConfig | None = None):
        self.config = config or PlantedAugmenterConfig()
        self.settings: Mapping[str, Any] = asdict(self.config) | {"version": _VERSION}

    def identity(self, request: Request) -> str:
        """The side and pair id under the usual noise, and the text."""
        return f"{request.pair.origin(request.part)}/{usual_id(request.pair.id)}\0{request.source}"

    def make(self, requests: Sequence[Request]) -> list[Variant]:
        """One variant per request, in order. Raises ConfigError for a pair or text that is not planted."""
        pairs = {(pair.id, part): pair for pair, part, _ in requests}
        wanted: dict[tuple[str, Part], int] = {}
        for pair, part, number in requests:
            wanted[pair.id, part] = max(number, wanted.get((pair.id, part), 0))
        made = {}
        for key, last in wanted.items():
            variants = self._variants(pairs[key], key[1])
            made[key] = [next(variants) for _ in range(last + 1)]
        return [Variant(made[pair.id, part][number], "reword") for pair, part, number in requests]

    def _variants(self, pair: Pair, part: Part) -> Iterator[str]:
        source = pair.part(part)
        if part == "prompt":
            world = World.of(pair.id)
            rng, say = self._rng(f"{usual_id(pair.id)}/prompt"), lambda rng: world.ask_again(pair.id, rng)
        else:
            try:
                origin, response = _known(pair.id)[source]
            except KeyError:
                raise ConfigError(
                    f'augmenter: the {part} text of "{pair.id}" is not the planted one, so its latents are unknown'
                ) from None
            rng, say = self._rng(f"{usual_id(pair.id)}/{origin}"), lambda rng: answer(self._latents(response, rng), rng)
        seen: set[str] = set()
        while True:
            text, tries = source, 0
            while text == source or (text in seen and tries < _TRIES):
                text, tries = say(rng), tries + 1
            seen.add(text)
            yield text

    def _rng(self, what: str) -> random.Random:
        key = f"{self.config.seed}/{what}".encode()
        return random.Random(int.from_bytes(blake2b(key, digest_size=8).digest(), "big"))

    def _latents(self, response: Response, rng: random.Random) -> Response:
        if self.config.keep_nuisance:
            return response
        return dataclasses.replace(response, length=pick(rng, LENGTHS), style=pick(rng, STYLES))


@lru_cache(maxsize=4096)
def _known(pair_id: str) -> dict[str, tuple[Part, Response]]:
    """(side under the usual noise, latents) of both texts of a planted pair, by text.

    Raises ConfigError when the pair is not planted.
    """
    pair, latent = World.of(pair_id).known(pair_id)
    return {pair.side(side): (pair.origin(side), latent.side(side)) for side in SIDES}


AUGMENTER = (PlantedAugmenterConfig, lambda config, cache, device: PlantedAugmenter(config))
