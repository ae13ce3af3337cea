"""Which test pairs the training data already hold: exact repeats, and runs of thirteen words.

Thirteen is the length usual in language-model reports since GPT-3. The n-grams of the *test* splits are collected, then
the training text is read once against them, so memory grows with the smaller side. An n-gram is compared by a 64-bit
hash: with a hundred million of them the odds of a false hit are about one in a hundred thousand. The check reports and
removes nothing. In multi-turn data prompts share openings by design, and the reader decides what to do about that.

    print(*summary(between(base, validation, {"test": test})), sep="\n")
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mars.preferences.pair import Pair

NGRAM = 13
LISTED = 100  # ids stored for each kind of hit

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of `text` in order, without case, punctuation and white space."""
    return _WORD.findall(text.casefold())


def prompt_key(pair: Pair) -> str:
    """The prompt's words in one string: two pairs with the same key answer the same question."""
    return " ".join(words(_prompt(pair)))


def between(
    base: Sequence[Pair], validation: Sequence[Pair], tests: Mapping[str, Sequence[Pair]]
) -> dict[str, dict[str, Any]]:
    """`check` of every test split against base and validation, and of validation against base."""
    return check([*base, *validation], tests) | check(base, {"validation": validation})


def check(train: Sequence[Pair], tests: Mapping[str, Sequence[Pair]]) -> dict[str, dict[str, Any]]:
    """JSON by split name: how many pairs of each test split are also in `train`, in whole or in part.

    Each kind of hit has its count, its share of the split's pairs, and the ids of the first 100 hits. `prompt`: a
    training pair has the same prompt. `prompt_response`: it has the same prompt and one of the same responses.
    `prompt_ngram`, `response_ngram`, `any_ngram`: a run of 13 words occurs anywhere in a training pair.
    """
    prompts, replies = set(), set()
    for pair in train:
        prompts.add(prompt_key(pair))
        replies.update(_reply_keys(pair))

    pairs = [pair for split in tests.values() for pair in split]
    prompt_hits, response_hits = _ngram_hits(train, pairs)
    report, start = {}, 0
    for name, split in tests.items():
        of_prompt, of_response = (h[start : start + len(split)] for h in (prompt_hits, response_hits))
        start += len(split)
        hits = {
            "prompt": [prompt_key(pair) in prompts for pair in split],
            "prompt_response": [not replies.isdisjoint(_reply_keys(pair)) for pair in split],
            "prompt_ngram": of_prompt,
            "response_ngram": of_response,
            "any_ngram": of_prompt | of_response,
        }
        sizes = {"pairs": len(split), "train_pairs": len(train), "ngram": NGRAM}
        report[name] = sizes | {kind: _count(split, hit) for kind, hit in hits.items()}
    return report


def summary(report: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line for each split of `report` (of `check` or `between`), for the log."""
    lines = []
    for name, overlap in report.items():
        exact, replies = overlap["prompt"]["count"], overlap["prompt_response"]["count"]
        grams = [f"{overlap[f'{part}_ngram']['count']} in the {part}" for part in ("prompt", "response")]
        lines.append(
            f"{name}: of {overlap['pairs']} pairs {exact} share the prompt with a training pair, {replies} a response "
            f"to it too; {overlap['any_ngram']['count']} share {overlap['ngram']} words in a row ({', '.join(grams)})"
        )
    return lines


def _count(split: Sequence[Pair], hits: Iterable[bool]) -> dict[str, Any]:
    ids = [pair.id for pair, hit in zip(split, hits, strict=True) if hit]
    return {"count": len(ids), "share": len(ids) / len(split) if split else 0.0, "ids": ids[:LISTED]}


def _prompt(pair: Pair) -> str:
    return "\n".join(message.content for message in pair.prompt)


def _reply_keys(pair: Pair) -> list[tuple[str, str]]:
    prompt = prompt_key(pair)
    return [(prompt, " ".join(words(response))) for response in (pair.chosen, pair.rejected)]


def _ngram_hits(train: Sequence[Pair], pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """([N] bool, [N] bool): whether the prompt, or a response, of each of `pairs` shares an n-gram with `train`."""
    vocabulary: dict[str, int] = {}
    for pair in pairs:
        for text in _texts(pair):
            for word in words(text):
                vocabulary.setdefault(word, len(vocabulary) + 1)  # 0 is any word the tests do not hold

    grams, text_of = _hashed_ngrams((text for pair in pairs for text in _texts(pair)), vocabulary)
    known, position = np.unique(grams, return_inverse=True)
    seen = np.zeros(len(known), dtype=bool)
    for start in range(0, len(train), 1000):
        texts = (text for pair in train[start : start + 1000] for text in _texts(pair))
        seen |= np.isin(known, _hashed_ngrams(texts, vocabulary)[0])

    hits = np.zeros((len(pairs), 3), dtype=bool)
    hits.reshape(-1)[text_of[seen[position]]] = True
    return hits[:, 0], hits[:, 1] | hits[:, 2]


def _texts(pair: Pair) -> tuple[str, str, str]:
    return _prompt(pair), pair.chosen, pair.rejected


def _hashed_ngrams(texts: Iterable[str], vocabulary: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """([G] uint64, [G] int): the hash of every n-gram, and the index of the text it is in."""
    ids: list[int] = []
    lengths = []
    for text in texts:
        before = len(ids)
        ids.extend(vocabulary.get(word, 0) for word in words(text))
        lengths.append(len(ids) - before)
    starts = len(ids) - NGRAM + 1
    if starts <= 0:
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
    word_hash = _mix(np.array(ids, dtype=np.uint64))
    owner = np.repeat(np.arange(len(lengths)), lengths)
    grams = np.zeros(starts, dtype=np.uint64)
    for offset in range(NGRAM):  # a polynomial in an odd number, modulo 2**64
        grams = grams * np.uint64(0x9E3779B97F4A7C15) + word_hash[offset : offset + starts]
    inside = owner[:starts] == owner[NGRAM - 1 :]
    return grams[inside], owner[:starts][inside]


def _mix(values: np.ndarray) -> np.ndarray:
    """[W] uint64: `values` ([W] uint64) spread well, one to one (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
