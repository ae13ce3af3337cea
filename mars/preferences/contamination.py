"""Which test pairs the training data already hold: exact repeats, and runs of thirteen words.

Thirteen is the length usual in language-model reports since GPT-3. The n-grams of the *test* splits are collected, then
the training text is read once against them, so memory grows with the smaller side. An n-gram is compared by a 64-bit
hash: with a hundred million of them the odds of a false hit are about one in a hundred thousand. The check reports and
removes nothing. In multi-turn data prompts share openings by design, and the reader decides what to do about that.

    print(*summary(between(base, validation, {"test": test})), sep="\n")
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mars.claims import key_of
from mars.preferences.pair import Pair
from mars.progress import counted

NGRAM = 13
LISTED = 100  # ids stored for each kind of hit
_KINDS = ("prompt", "prompt_response", "prompt_ngram", "response_ngram", "any_ngram")

_WORD = re.compile(r"\w+")
_Words = tuple[list[str], list[str], list[str]]  # of prompt, chosen and rejected


def words(text: str) -> list[str]:
    """The words of `text` in order, without case, punctuation and white space."""
    return _WORD.findall(text.casefold())


def prompt_key(pair: Pair) -> str:
    """The prompt's words in one string: two pairs with the same key answer the same question."""
    return " ".join(words(_prompt(pair)))


def between(
    base: Sequence[Pair], validation: Sequence[Pair], tests: Mapping[str, Sequence[Pair]]
) -> dict[str, dict[str, Any]]:
    """JSON by split name: how many pairs of each test split are also in base or validation, in whole or in part.

    So are those of `validation` that are in base. Each kind of hit has its count, its share of the split's pairs, and
    the ids of the first 100 hits. `prompt`: a training pair has the same prompt. `prompt_response`: it has the same
    prompt and one of the same responses. `prompt_ngram`, `response_ngram`, `any_ngram`: a run of 13 words occurs
    anywhere in a training pair.
    """
    asked = _Asked(itertools.chain(*tests.values(), validation))
    in_base = asked.found_in(base)
    in_either = in_base | asked.found_in(validation)
    held_out = {"validation": validation}
    return _report(tests, in_either, len(base) + len(validation)) | _report(held_out, in_base, len(base))


def summary(report: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """For the log, of `between`: a line for each split with a hit, and one for all without."""
    clean = [name for name, overlap in report.items() if not any(overlap[kind]["count"] for kind in _KINDS)]
    lines = [f"{name}: {'; '.join(_hits(overlap))}" for name, overlap in report.items() if name not in clean]
    if clean:
        run = report[clean[0]]["ngram"]
        lines.append(f"no pair of {', '.join(clean)} shares its prompt, or {run} words in a row, with a training pair")
    return lines


def _hits(overlap: Mapping[str, Any]) -> Iterator[str]:
    """What of a split was found in training pairs, in words."""
    exact, replies, runs = (overlap[kind]["count"] for kind in ("prompt", "prompt_response", "any_ngram"))
    of, train = f" of {counted(overlap['pairs'], 'pair')}", " with a training pair"
    if exact:
        yield f"{exact}{of} share the prompt{train}" + (f", {replies} a response to it too" if replies else "")
        of = train = ""
    if runs:
        counts = {part: overlap[f"{part}_ngram"]["count"] for part in ("prompt", "response")}
        where = ", ".join(f"{count} in the {part}" for part, count in counts.items() if count)
        yield f"{runs}{of} share {overlap['ngram']} words in a row{train} ({where})"


def _blocks(pairs: Iterable[Pair]) -> Iterator[list[_Words]]:
    """The words of `pairs`, of a thousand at a time: words take more memory than the text they are of."""
    said = map(_words_of, pairs)
    while block := list(itertools.islice(said, 1000)):
        yield block


@dataclass(frozen=True)
class _Found:
    """What of the pairs asked about occurs in training pairs."""

    asked: _Asked
    prompts: frozenset[bytes]  # by key, as the replies are
    replies: frozenset[bytes]
    grams: np.ndarray  # bool, of the n-grams asked about

    def __or__(self, other: _Found) -> _Found:
        return _Found(self.asked, self.prompts | other.prompts, self.replies | other.replies, self.grams | other.grams)


class _Asked:
    """The test pairs' prompts, replies and n-grams, for the training text to be read against, once."""

    def __init__(self, pairs: Iterable[Pair]):
        self.prompts, self.replies = set[bytes](), set[bytes]()
        self.vocabulary: dict[str, int] = {}
        grams = [np.empty(0, dtype=np.uint64)]
        for said in _blocks(pairs):
            self.prompts.update(_prompt_key(prompt) for prompt, *_ in said)
            self.replies.update(key for words in said for key in _reply_keys(*words))
            for word in itertools.chain.from_iterable(itertools.chain.from_iterable(said)):
                self.vocabulary.setdefault(word, len(self.vocabulary) + 1)  # 0 is any word the tests do not hold
            grams.append(_hashed_ngrams(itertools.chain.from_iterable(said), self.vocabulary)[0])
        self.grams = np.unique(np.concatenate(grams))

    def found_in(self, train: Iterable[Pair]) -> _Found:
        """Those that occur in `train`."""
        prompts, replies, seen = set[bytes](), set[bytes](), np.zeros(len(self.grams), dtype=bool)
        for said in _blocks(train):
            for words in said:
                if (prompt := _prompt_key(words[0])) in self.prompts:
                    prompts.add(prompt)
                    replies.update(key for key in _reply_keys(*words) if key in self.replies)
            seen |= np.isin(self.grams, _hashed_ngrams(itertools.chain.from_iterable(said), self.vocabulary)[0])
        return _Found(self, frozenset(prompts), frozenset(replies), seen)


def _report(tests: Mapping[str, Sequence[Pair]], found: _Found, train: int) -> dict[str, dict[str, Any]]:
    """See `between`. train: how many training pairs there are."""
    report = {}
    for name, split in tests.items():
        hits: dict[str, list[bool]] = {kind: [] for kind in _KINDS}
        for said in _blocks(split):
            of_prompt, of_response = _ngram_hits(said, found)
            hits["prompt"] += [_prompt_key(words[0]) in found.prompts for words in said]
            hits["prompt_response"] += [not found.replies.isdisjoint(_reply_keys(*words)) for words in said]
            hits["prompt_ngram"] += of_prompt.tolist()
            hits["response_ngram"] += of_response.tolist()
            hits["any_ngram"] += (of_prompt | of_response).tolist()
        sizes = {"pairs": len(split), "train_pairs": train, "ngram": NGRAM}
        report[name] = sizes | {kind: _count(split, hit) for kind, hit in hits.items()}
    return report


def _ngram_hits(said: Sequence[_Words], found: _Found) -> tuple[np.ndarray, np.ndarray]:
    """([N] bool, [N] bool): whether the prompt, or a response, of each of N pairs has an n-gram that was found."""
    grams, text_of = _hashed_ngrams(itertools.chain.from_iterable(said), found.asked.vocabulary)
    hits = np.zeros((len(said), 3), dtype=bool)
    hits.reshape(-1)[text_of[found.grams[np.searchsorted(found.asked.grams, grams)]]] = True
    return hits[:, 0], hits[:, 1] | hits[:, 2]


def _count(split: Sequence[Pair], hits: Sequence[bool]) -> dict[str, Any]:
    count = sum(hits)
    first = itertools.islice(itertools.compress(itertools.count(), hits), LISTED)
    return {"count": count, "share": count / len(split) if split else 0.0, "ids": [split[i].id for i in first]}


def _prompt(pair: Pair) -> str:
    turns = pair.prompt
    return turns[0].content if len(turns) == 1 else "\n".join([turn.content for turn in turns])


def _words_of(pair: Pair) -> _Words:
    return words(_prompt(pair)), words(pair.chosen), words(pair.rejected)


def _prompt_key(prompt: list[str]) -> bytes:
    return key_of(" ".join(prompt))


def _reply_keys(prompt: list[str], *replies: list[str]) -> list[bytes]:
    asked = " ".join(prompt)
    return [key_of(f"{asked}\x00{' '.join(reply)}") for reply in replies]


def _hashed_ngrams(texts: Iterable[list[str]], vocabulary: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """([G] uint64, [G] int): the hash of every n-gram of texts in words, and the index of the text it is in."""
    ids: list[int] = []
    lengths = []
    for text in texts:
        ids += [vocabulary.get(word, 0) for word in text]
        lengths.append(len(text))
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
