"""The semantic layer (v2): a base pair whose two responses say nearly the same is rewritten before it is augmented.

A pair is close when 1 − cosine of its responses is below a threshold. First the rejected response is rewritten, then
the chosen one. The first try that is further from the other response than the original was is taken; a pair without
such a try is kept as it is. Tries are made one number at a time for all open pairs, so a writer gets large batches and
writes no second rewrite where the first was taken. The price is that a pair waits for the slowest of its batch.

Distance alone is a weak test. A rewrite that turns a bad answer into a good one gains distance too, and so does a true
paraphrase, one time in three (planted data, MiniLM): ten tries move nearly every close pair by chance. `accept=any` is
what the paper does. `accept=strict` also asks for a least gain, and that a reward model still prefers the chosen
response. The decision depends on the pair, the threshold, the writer and that model alone, so neither the order nor the
time of asking changes it.

    refiner = Refiner(config, base, sentence_embedder(encoder), functools.partial(store.fill, writer))
    sources = refiner.refine(range(len(base)))
    python -m mars.run semantic=paper backbone@semantic.encoder=minilm augmenter@semantic.writer=planted
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from mars.augment.variant import Request, Variant
from mars.config import ConfigError, UserError
from mars.pool.semantic_settings import SemanticConfig
from mars.preferences.pair import SIDES, Pair, Side

if TYPE_CHECKING:  # torch is loaded when a run needs it
    from mars.reward.encoder import Embed

log = logging.getLogger(__name__)

Write = Callable[[Sequence[Request]], list[Variant]]
KeepsLabel = Callable[[Sequence[Pair]], np.ndarray]  # [P] bool: r(chosen) > r(rejected)
Reason = Literal["", "blank", "same", "too close", "min gain", "label"]  # why a try was refused; "" = taken


class Try(NamedTuple):
    """One rewrite and the decision about it."""

    side: Side
    number: int
    distance: float | None  # from the other, original response; None where nothing was measured
    reason: Reason


@dataclass(slots=True)
class Decision:
    """The decision about one base pair: the pair to augment, and every try in order."""

    pair: Pair
    tries: list[Try] = dataclasses.field(default_factory=list)

    @property
    def taken(self) -> Try | None:
        """The try that was taken, if one was."""
        return self.tries[-1] if self.tries and not self.tries[-1].reason else None


_COLUMNS: dict[str, Any] = {  # with their types, which a table without rows has too
    "id": "str", "distance": float, "threshold": float, "close": bool, "refined": "str", "number": "Int64",
    "new_distance": float, "gain": float, "tries_made": int, "tries": "str",
}  # fmt: skip


class Refiner:
    """Decides which pair is augmented in place of each base pair, when it is first asked for.

    embed: sentence embeddings; it is called with all responses of `pairs` first and should cache (a FrozenEncoder
    does). write: the rewrites of requests, from a store, so that a repeated run writes nothing. keeps_label: [P] bool,
    whether a reward model prefers each pair's chosen response.

    Raises ConfigError for accept=strict without `keeps_label`. Errors of `write` pass through, and nothing is decided
    about the pairs asked for.
    """

    def __init__(
        self,
        config: SemanticConfig,
        pairs: Sequence[Pair],
        embed: Embed,
        write: Write,
        keeps_label: KeepsLabel | None = None,
    ):
        if config.accept == "strict" and keeps_label is None:
            raise ConfigError("semantic.accept: strict needs a trained start (set rounds.warmup)")
        self.config, self.pairs = config, pairs
        self._embed, self._write = embed, write
        self._keeps_label = keeps_label if config.accept == "strict" else None
        self._decided: dict[int, Decision] = {}

    @functools.cached_property
    def distances(self) -> np.ndarray:
        """[N] float64: 1 − cosine of each base pair's two responses. Raises UserError where one is not finite."""
        distances = self._apart(self.pairs)
        if broken := int((~np.isfinite(distances)).sum()):
            raise UserError(
                f"semantic.encoder: {self.config.encoder.name} gives no finite distance for {broken} of "
                f"{len(distances)} pairs (choose another encoder)"
            )
        return distances

    @functools.cached_property
    def threshold(self) -> float:
        """The distance below which a pair is close."""
        distances, at = self.distances, self.config.at
        if at is None:
            middle = distances.mean()
        elif self.config.threshold == "value":
            return at
        else:
            middle = np.quantile(distances, at)
        # Rounding may put the mean of equal numbers above all of them, and then every pair would be close.
        return float(np.clip(middle, distances.min(), distances.max()))

    @functools.cached_property
    def close(self) -> np.ndarray:
        """[N] bool: the pairs to be rewritten when they are asked for."""
        close = self.distances < self.threshold
        log.info("semantic: %d of %d pairs are closer than %.4f", close.sum(), len(close), self.threshold)
        return close

    def refine(self, rows: Sequence[int] | np.ndarray) -> list[Pair]:
        """The pair to augment in place of each base pair: itself, unless it is close and was rewritten.

        rows: indices of base pairs, repeats allowed. A rewritten pair keeps id, prompt and subset. Its gold margin is
        None, because the truth about the new text is not known. Raises as `write`, and as `distances`.
        """
        wanted = [int(row) for row in rows]
        new = [row for row in dict.fromkeys(wanted) if row not in self._decided]
        if new:
            self._decided.update(self._decide(new))
        return [self._decided[row].pair for row in wanted]

    def record(self) -> pd.DataFrame:
        """One row per base pair decided about, in base order.

        refined: the side that was rewritten, or "". number, new_distance, gain: of the try taken; missing where none
        was. tries: JSON list of [side, number, distance or null, reason], where the reason "" is that of the try taken.
        """
        rows = [
            {
                "id": self.pairs[row].id,
                "distance": float(self.distances[row]),
                "threshold": self.threshold,
                "close": bool(self.close[row]),
                "refined": taken.side if taken else "",
                "number": taken.number if taken else None,
                "new_distance": taken.distance if taken else None,
                "gain": taken.distance - self.distances[row] if taken and taken.distance is not None else None,
                "tries_made": len(decision.tries),
                "tries": json.dumps(decision.tries),
            }
            for row, decision in sorted(self._decided.items())
            for taken in [decision.taken]
        ]
        return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)

    def summary(self) -> dict[str, Any]:
        """Counts over the pairs decided about, for the manifest; `kept` are the close pairs that no try changed."""
        table = self.record()
        reasons = Counter(t.reason for decision in self._decided.values() for t in decision.tries)
        taken = table[table["refined"] != ""]
        return {
            "threshold": self.threshold if len(table) else None,
            "looked_at": len(table),
            "close": int(table["close"].sum()),
            "refined_rejected": int((taken["refined"] == "rejected").sum()),
            "refined_chosen": int((taken["refined"] == "chosen").sum()),
            "kept": int(table["close"].sum()) - len(taken),
            "tries": reasons.total(),
            "refused": {reason: n for reason, n in sorted(reasons.items()) if reason},
            "mean_gain": float(taken["gain"].mean()) if len(taken) else None,
        }

    def line(self) -> str:
        """`summary` as a line for the log."""
        counts = self.summary()
        refused = ", ".join(f"{n} {reason}" for reason, n in counts["refused"].items())
        return (
            f"semantic: of {counts['close']} close pairs {counts['refined_rejected']} had their rejected response "
            f"rewritten, {counts['refined_chosen']} the chosen one, {counts['kept']} neither; "
            f"{counts['tries']} tries" + (f", refused: {refused}" if refused else "")
        )

    def _decide(self, rows: Sequence[int]) -> dict[int, Decision]:
        decisions = {row: Decision(self.pairs[row]) for row in rows}
        waiting = [row for row in rows if self.close[row]]
        tries: list[tuple[Side, int]] = [("rejected", number) for number in range(self.config.tries_rejected)]
        tries += [("chosen", number) for number in range(self.config.tries_chosen)]
        for side, number in tries:
            if not waiting:
                break
            variants = self._write([Request(self.pairs[row], side, number) for row in waiting])
            texts = [variant.text or "" for variant in variants]
            candidates = [_with(self.pairs[row], side, text) for row, text in zip(waiting, texts, strict=True)]

            reasons, distances = self._judge(waiting, side, candidates)
            for row, candidate, reason, distance in zip(waiting, candidates, reasons, distances, strict=True):
                decisions[row].tries.append(Try(side, number, distance, reason))
                if not reason:
                    decisions[row].pair = candidate
            waiting = [row for row, reason in zip(waiting, reasons, strict=True) if reason]
        return decisions

    def _judge(
        self, rows: Sequence[int], side: Side, candidates: Sequence[Pair]
    ) -> tuple[list[Reason], list[float | None]]:
        """([P] why each candidate is refused, "" where it is taken; [P] its distance, None where not measured).

        candidates: [P] the pairs of `rows` with a new text on `side`. The expensive tests come last, and only for those
        that pass the others.
        """
        sources = [self.pairs[row].side(side) for row in rows]
        reasons = [_at_sight(new.side(side), source) for new, source in zip(candidates, sources, strict=True)]
        distances: list[float | None] = [None] * len(rows)
        left = [i for i, reason in enumerate(reasons) if not reason]
        if left:
            for i, distance in zip(left, self._apart([candidates[i] for i in left]).tolist(), strict=True):
                distances[i], reasons[i] = distance, self._too_near(distance - self.distances[rows[i]])
        left = [i for i in left if not reasons[i]]
        if left and self._keeps_label is not None:
            for i, kept in zip(left, self._keeps_label([candidates[i] for i in left]), strict=True):
                reasons[i] = "" if kept else "label"
        return reasons, distances

    def _too_near(self, gain: float) -> Reason:
        if not gain > 0:
            return "too close"
        return "min gain" if gain < self.config.min_gain else ""

    def _apart(self, pairs: Sequence[Pair]) -> np.ndarray:
        """[P] float64: 1 − cosine of each pair's two responses, summed in float64 because a gain may be small."""
        vectors = self._embed([text for side in SIDES for text in (p.side(side) for p in pairs)]).astype(np.float64)
        chosen, rejected = np.split(vectors, 2)
        return np.maximum(1 - (chosen * rejected).sum(axis=1), 0)


def _at_sight(text: str, source: str) -> Reason:
    """Why a rewrite is refused before any distance is measured; "" where it is not."""
    if not text.strip():
        return "blank"
    return "same" if text.strip() == source.strip() else ""


def _with(pair: Pair, side: Side, text: str) -> Pair:
    """`pair` with another text on one side, and without a gold margin, because nobody knows that text's reward."""
    if side == "chosen":
        return dataclasses.replace(pair, chosen=text, gold_margin=None)
    return dataclasses.replace(pair, rejected=text, gold_margin=None)
