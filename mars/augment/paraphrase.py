"""A paraphraser: any seq2seq or causal transformers model; by default the T5 of the authors' code, with its settings.

One beam search of a text gives all its variants, best first. Exact duplicates among the beams are dropped, so variant k
is the k-th distinct text and the last ones may be missing. `mars.augment.generation` has what a search costs.

A T5 tokenizer has no newlines, so its variants have none. A variant may stop in the middle of a sentence where
`prompt_tokens` or `response_tokens` ended it; its parameters then say `output_cut`.

    python -m mars.run augmenter=paraphrase augmenter.source=DIRECTORY
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from mars.augment.generation import Passage, Writer, Written
from mars.augment.paraphrase_settings import ParaphraseConfig
from mars.augment.variant import Request, Variant


class Paraphraser:
    """Augmenter: variant k of a text is the k-th distinct one that the model returns, best first.

    Raises ConfigError for a model that cannot be found.
    """

    name = "paraphrase"

    def __init__(self, config: ParaphraseConfig | None = None, device: torch.device | None = None):
        self.config = config = config or ParaphraseConfig()
        device = device or torch.device("cpu")
        self.together = config.returned
        # An interruption loses half a minute or so: on a CPU a text takes seconds.
        self.batch = config.returned * (128 if device.type == "cuda" else 4)
        self.writer = Writer(config, device)
        self._operation = "sample" if config.do_sample else "beam"
        self.settings: Mapping[str, Any] = _settings(config, self.writer, device)

    def identity(self, request: Request) -> str:
        """The text and whether it is a prompt, which has its own limit; pairs with the same text share variants."""
        return f"{'prompt' if request.part == 'prompt' else 'response'}\x00{request.source}"

    def make(self, requests: Sequence[Request]) -> list[Variant]:
        """One variant per request, in order; text None where the model has fewer distinct ones to offer.

        Raises ConfigError for a model that cannot be loaded, UserError for a text that does not fit the GPU.
        """
        distinct = {self.identity(request): request for request in requests}
        passages = [
            self._passage(key, r) for key, r in distinct.items() if r.source.strip()
        ]  # a blank text has no variants
        written = self.writer.write(passages)
        variants = {p.key: self._variants(found) for p, found in zip(passages, written, strict=True)}
        return [self._numbered(variants.get(self.identity(r), []), r.number) for r in requests]

    def _passage(self, key: str, request: Request) -> Passage:
        limit = self.config.prompt_tokens if request.part == "prompt" else self.config.response_tokens
        return Passage(key, request.source, limit)

    def _variants(self, written: Written) -> list[Variant]:
        """A variant for each distinct text that is not blank, best first."""
        distinct: dict[str, dict[str, Any]] = {}
        for rank, (text, unfinished) in enumerate(zip(written.texts, written.unfinished, strict=True)):
            if text and text not in distinct:
                cuts = {"input_cut": written.source_cut, "output_cut": unfinished}
                distinct[text] = {"rank": rank} | {name: True for name, cut in cuts.items() if cut}
        return [Variant(text, self._operation, parameters) for text, parameters in distinct.items()]

    def _numbered(self, variants: Sequence[Variant], number: int) -> Variant:
        if number < len(variants):
            return variants[number]
        return Variant(None, self._operation, {"distinct": len(variants)})


def _settings(config: ParaphraseConfig, writer: Writer, device: torch.device) -> dict[str, Any]:
    """What shapes a variant: the config, excluding what this kind of search does not use, and the exact model."""
    unused = {"beams"} if config.do_sample else {"temperature", "top_p", "seed"}
    values = {k: v for k, v in asdict(config).items() if k not in {"source", "revision", "token_budget", *unused}}
    values |= {"model": writer.identity, "dtype": str(writer.dtype).removeprefix("torch.")}
    # A GPU's random numbers are not a CPU's.
    return values | ({"device": device.type} if config.do_sample else {})


AUGMENTER = (ParaphraseConfig, lambda config, cache, device: Paraphraser(config, device))
