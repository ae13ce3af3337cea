"""Fidelity gates: which variants are fit to inherit their source's label.

A paraphraser may copy its input, stop half-way, ramble or change the subject, and nothing later would notice: the pair
keeps its label whatever the text says. Each gate refuses one of these by a number that anyone can check. Refused
variants are never drawn and always counted; a strategy draws another row instead.

    Gates(GatesConfig(identical=True)).refusals(["Yes."], ["Yes."])  # ["identical"]
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mars.preferences.pair import Pair
from mars.reward.backbone import BackboneConfig

if TYPE_CHECKING:  # torch and pandas are loaded when a run needs them
    from mars.reward.encoder import Embed


@dataclass(frozen=True)
class GatesConfig:
    """What a variant must satisfy, compared with its source (conf `pool.gates`); a blank one is always refused.

    flips: a gate on rows rather than variants. A row is refused when the current model prefers its rejected side but
    the chosen side of its parent, or the other way round.
    """

    identical: bool = False  # refuse a variant that equals its source
    shortest: float = 0.0  # least characters, as a share of the source's; 0 = no bound
    longest: float | None = None  # most characters, as a share of the source's
    similarity: float | None = None  # least cosine of the sentence embeddings of variant and source
    encoder: BackboneConfig | None = None  # of these embeddings
    flips: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.shortest <= 1:
            raise ValueError(f"shortest: a share of the source's length in [0, 1] is expected, not {self.shortest}")
        if self.longest is not None and not self.longest >= 1:
            raise ValueError(f"longest: must be at least 1, not {self.longest}")
        if self.similarity is not None and not -1 <= self.similarity <= 1:
            raise ValueError(f"similarity: a cosine in [-1, 1] is expected, not {self.similarity}")


@dataclass(frozen=True)
class Gates:
    """The gates of one pool, with what they compare with.

    embed: sentence embeddings, needed where `config.similarity` is set. held_out: `content` of the validation and test
    pairs: a base pair that is one of them, under whatever id, has no variants, and its rows are refused as "held out".
    """

    config: GatesConfig
    embed: Embed | None = None
    held_out: Collection[Hashable] = frozenset()

    def admit(self, pair: Pair) -> bool:
        """Whether variants of this base pair may be made."""
        return pair.content not in self.held_out

    def refusals(self, sources: Sequence[str], texts: Sequence[str | None]) -> list[str]:
        """[V] str: the first gate that refuses each variant: blank, identical, short, long or dissimilar; "" for none.

        sources: [V] the texts that the variants were made from. texts: [V] the variants.
        """
        reasons = [_by_text(self.config, source, text) for source, text in zip(sources, texts, strict=True)]
        left = [i for i, reason in enumerate(reasons) if not reason]
        if self.config.similarity is None or not left:
            return reasons
        assert self.embed is not None
        ours, theirs = self.embed([texts[i] or "" for i in left]), self.embed([sources[i] for i in left])
        for i, cosine in zip(left, (ours * theirs).sum(axis=1), strict=True):
            if not cosine >= self.config.similarity:  # what cannot be compared is not similar
                reasons[i] = "dissimilar"
        return reasons


def _by_text(cfg: GatesConfig, source: str, text: str | None) -> str:
    if text is None or not text.strip():
        return "blank"
    if cfg.identical and text.strip() == source.strip():
        return "identical"
    if len(text) < cfg.shortest * len(source):
        return "short"
    if cfg.longest is not None and len(text) > cfg.longest * len(source):
        return "long"
    return ""
