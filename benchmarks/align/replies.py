"""What a policy writes to the judged prompts, and how far it has moved from the policy it was.

The KL divergence is taken token by token over the whole vocabulary, on the replies that the policy itself wrote, and
summed over a reply: the mean over replies is an unbiased estimate of KL(policy ‖ reference) of whole replies, never
negative and steadier than the log ratio of the tokens drawn. It is that of the temperature sampled at; a `top_p` below
1 cuts both distributions and is left out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn.utils.rnn import pad_sequence

from benchmarks.candidates import Prompts, gold_of
from benchmarks.judges.generations import Generation, write_model_outputs
from benchmarks.models.policy import AT_ONCE, Policy
from benchmarks.protocol import Scorer

_NUMBERS = 1 << 26  # logits of a pass, 256 MB in fp32

Reference = Callable[[], AbstractContextManager[Any]]  # the model that the policy is held to, inside


@dataclass(frozen=True)
class Probe:
    """Samples a policy on prompts that it is not trained on. number: replies to each prompt."""

    policy: Policy
    prompts: Prompts
    number: int
    seed: int
    scorer: Scorer

    def written(self, step: int, reference: Reference | None) -> pd.DataFrame:
        """`outcome.COLUMNS` and `text`, a row for each reply of the policy as it is after `step`.

        Without a `reference` the policy is the reference itself. Raises UserError where replies do not fit the memory.
        """
        asked = [self.policy.prompt_ids(pair.prompt)[0] for pair in self.prompts.pairs]
        rows = [(place, k) for place in range(len(asked)) for k in range(self.number)]
        prompts = [asked[place] for place, _ in rows]
        own = blake2b(f"{self.seed}/{step}".encode(), digest_size=6).digest()
        with self.policy.drawing(int.from_bytes(own, "big")):
            replies = [
                reply
                for start in range(0, len(rows), AT_ONCE)
                for reply in self.policy.sample(prompts[start : start + AT_ONCE])
            ]
        kl, entropy = divergence(self.policy, reference, prompts, replies)
        texts = [self.policy.text(reply) for reply in replies]
        pairs = [self.prompts.pairs[place] for place, _ in rows]
        found = {
            "id": [pair.id for pair in pairs],
            "subset": [pair.subset for pair in pairs],
            "step": step,
            "response": [k for _, k in rows],
            "score": self.scorer((pair.prompt, text) for pair, text in zip(pairs, texts, strict=True)),
            "gold": [gold_of(self.prompts.dataset, pair, text) for pair, text in zip(pairs, texts, strict=True)],
            "length": [len(text) for text in texts],
            "tokens": [len(reply) for reply in replies],
            "kl": kl,
            "entropy": entropy,
            "repetition": [repetition(text) for text in texts],
            "cut_off": [not self.policy.ended(reply) for reply in replies],
        }
        return pd.DataFrame({**found, "text": texts})


@torch.inference_mode()
def divergence(
    policy: Policy, reference: Reference | None, prompts: Sequence[list[int]], replies: Sequence[list[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """[B] KL of each reply in nats, summed over its tokens, and [B] the mean entropy of its tokens, in nats.

    prompts, replies: token ids. Without a `reference` the KL is 0.
    """
    kl, entropy = np.zeros(len(replies)), np.zeros(len(replies))
    model, done = policy.writer.model, 0
    width = max(len(prompt) + len(reply) for prompt, reply in zip(prompts, replies, strict=True))
    together = max(1, _NUMBERS // (width * model.get_input_embeddings().weight.shape[0]))
    while done < len(replies):
        rows = range(done, min(len(replies), done + together))
        own = _log_probabilities(model, policy, prompts, replies, rows)
        other = own
        if reference is not None:
            with reference() as held:
                other = _log_probabilities(held, policy, prompts, replies, rows)
        for row, p, q in zip(rows, own, other, strict=True):
            share = p.exp()
            kl[row] = (share * (p - q)).sum().item()
            entropy[row] = -(share * p).sum(-1).mean().item() if len(p) else 0.0
        done = rows.stop
    return kl, entropy


def _log_probabilities(
    model: Any, policy: Policy, prompts: Sequence[list[int]], replies: Sequence[list[int]], rows: range
) -> list[torch.Tensor]:
    """[T, V] fp32 for each of `rows`, T its reply's tokens; a token sees what is before it, so no padding."""
    whole = [torch.tensor(prompts[row] + replies[row], device=policy.device) for row in rows]
    logits = model(input_ids=pad_sequence(whole, batch_first=True), use_cache=False).logits
    found = []
    for row, own in zip(rows, logits, strict=True):
        start = len(prompts[row]) - 1
        found.append((own[start : start + len(replies[row])].float() / policy.config.temperature).log_softmax(-1))
    return found


def write_replies(path: Path, generator: str, prompts: Prompts, table: pd.DataFrame) -> None:
    """The texts of a table of `Probe.written` as a file that a judge reads."""
    asked = {pair.id: pair.prompt for pair in prompts.pairs}
    named = zip(table["id"].tolist(), table["text"].tolist(), strict=True)
    rows = [Generation(asked[of], text, of, prompts.dataset) for of, text in named]
    write_model_outputs(path, generator, rows)


def repetition(text: str) -> float:
    """The share of a text's runs of three words that are said again in it; 0 where it has none."""
    words = text.split()
    runs = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
