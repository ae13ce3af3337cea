"""Synonyms of single lower-case words: the extract of WordNet that comes with this package, or all of NLTK's.

The extract (made by `mars.augment.build_synonyms`) loads in milliseconds, needs no download and is the same for
everyone. `nltk` is every sense of every word, as in the published EDA, for a comparison with it; it has more wrong
senses than right ones.

    thesaurus("wordnet")("big")
"""

from __future__ import annotations

import functools
import gzip
import hashlib
from collections.abc import Callable
from importlib import resources
from typing import Any, Literal

from mars.config import ConfigError

Source = Literal["wordnet", "nltk"]
Lookup = Callable[[str], tuple[str, ...] | None]

# Function words, auxiliaries and negations are neither replaced nor offered as a replacement: WordNet takes them for
# other words ("will": volition).
_STOP_WORDS = """
a about above after again against ago all almost along already also although always am among an and another any
anybody anyone anything are around as at away back be because been before behind being below beside besides between
beyond both but by can cannot could dare did do does doing done down during each either else enough even ever every
everybody everyone everything except far few for from further get gets getting go goes going gone got had has have
having he hence her here hers herself him himself his how however i if in indeed inside instead into is it its
itself just least less let like many may me mean might mine more most much must my myself near neither never no
nobody non none nor not nothing now nowhere of off often on once one ones only onto or other others otherwise ought
our ours ourselves out outside over own past per perhaps please quite rather same several shall she should since so
some somebody someone something sometimes still such than that the their theirs them themselves then there therefore
these they this those though through throughout thus till to together too toward towards twice under unless until up
upon us used using very was we well were what whatever when whenever where wherever whether which whichever while
who whoever whom whose why will with within without would yes yet you your yours yourself yourselves
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


def thesaurus(source: Source) -> Lookup:
    """A function from a lower-case word to its synonyms, nearest sense first; None or () when it has none.

    Raises ConfigError when `source` is "nltk" and the package or its corpus is missing.
    """
    return _table().get if source == "wordnet" else _nltk_lookup()


def version(source: Source) -> str:
    """A text that differs between thesauri, recorded because variants depend on it. Raises as `thesaurus`."""
    return hashlib.sha256(_text().encode()).hexdigest()[:12] if source == "wordnet" else str(_nltk().get_version())


def _text() -> str:
    return gzip.decompress(resources.files("mars.augment").joinpath("synonyms.txt.gz").read_bytes()).decode()


@functools.cache
def _table() -> dict[str, tuple[str, ...]]:
    rows = map(str.split, _text().splitlines())
    return {word: tuple(synonyms) for word, *synonyms in rows}


@functools.cache
def _nltk() -> Any:
    try:
        from nltk.corpus import wordnet

        wordnet.ensure_loaded()
    except ImportError:
        raise ConfigError('synonyms: "nltk" needs the package nltk (pip install nltk, or synonyms=wordnet)') from None
    except (LookupError, OSError):  # NLTK's own message fills a page
        raise ConfigError(
            'synonyms: "nltk" needs its WordNet corpus (python -m nltk.downloader wordnet, or synonyms=wordnet)'
        ) from None
    return wordnet


def _nltk_lookup() -> Lookup:
    wordnet = _nltk()

    @functools.cache
    def lookup(word: str) -> tuple[str, ...]:
        if word in STOP_WORDS:
            return ()
        names = [name for sense in wordnet.synsets(word) for name in sense.lemma_names()]
        return tuple(n for n in dict.fromkeys(names) if usable(n) and n != word)

    return lookup


def usable(word: str) -> bool:
    """Whether `word` is a single lower-case word of at least three letters and no stop word."""
    return len(word) > 2 and word.isascii() and word.isalpha() and word.islower() and word not in STOP_WORDS
