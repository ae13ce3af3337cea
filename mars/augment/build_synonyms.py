"""Makes synonyms.txt.gz from WordNet's database files: `python -m mars.augment.build_synonyms [/usr/share/wordnet]`.

WordNet's senses are fine and many, so a thesaurus of all of them offers mostly wrong ones ("can": tin, "time": clip).
WordNet also counts how often each sense of each word was met in a tagged corpus, and these counts decide here:

- a word keeps the senses that make up at least a fifth of its tagged uses; a word never met, only if it has one sense;
- a synonym must itself have been met in that very sense;
- both are single, lower-case, of three letters or more, in base form, and no stop words (`synonyms.STOP_WORDS`).

One line per word, sorted: the word, then its synonyms, those of its commonest sense first. The same input gives the
same text; the gzip header carries no time. Licence of the data: WORDNET-LICENSE.
"""

from __future__ import annotations

import gzip
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from mars.augment.synonyms import usable

SOURCE = Path("/usr/share/wordnet")  # where Debian's wordnet-base puts it
SHARE = 0.2  # of a word's tagged uses, for a sense to be kept
PARTS = ("noun", "verb", "adj", "adv")
_PART_OF_KEY = {"1": "noun", "2": "verb", "3": "adj", "4": "adv", "5": "adj"}  # 5: satellite adjective

Synset = tuple[str, str]  # (part of speech, offset in its data file)


def table(source: Path = SOURCE) -> str:
    """The whole table as text, one line a word. Raises OSError when a database file of `source` is missing."""
    senses, counts, members = _senses(source), _counts(source), _members(source)
    uses = {
        (word, synset): counts.get((word, synset[0], number), 0)
        for word, synsets in senses.items()
        for synset, number in synsets
    }
    lines = []
    for word in sorted(filter(usable, senses)):
        total = sum(uses[word, synset] for synset, _ in senses[word])
        kept = [s for s, _ in senses[word] if (uses[word, s] >= SHARE * total if total else len(senses[word]) == 1)]
        synonyms: dict[str, None] = {}  # a set that keeps order
        for synset in sorted(kept, key=lambda s: -uses[word, s]):
            if word in members[synset]:  # not where WordNet writes it with a capital
                synonyms |= dict.fromkeys(m for m in members[synset] if usable(m) and m != word and uses[m, synset])
        if synonyms:
            lines.append(" ".join([word, *synonyms]) + "\n")
    return "".join(lines)


def compress(text: str) -> bytes:
    """`text` gzipped; the header has no time, so the same text gives the same bytes."""
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


def _records(path: Path) -> Iterator[list[str]]:
    """The fields of each line, licence header (lines that open with blanks) left out."""
    with path.open(encoding="utf-8") as lines:
        yield from (line.split() for line in lines if not line.startswith(" "))


def _senses(source: Path) -> dict[str, list[tuple[Synset, int]]]:
    """word → its synsets, each with its sense number (from 1) within its part of speech."""
    senses: dict[str, list[tuple[Synset, int]]] = defaultdict(list)
    for part in PARTS:
        for record in _records(source / f"index.{part}"):
            synsets = record[-int(record[2]) :]  # lemma pos synset_count … offsets
            senses[record[0]] += [((part, offset), number) for number, offset in enumerate(synsets, 1)]
    return senses


def _counts(source: Path) -> dict[tuple[str, str, int], int]:
    """(word, part of speech, sense number) → times met in the tagged corpus."""
    counts = {}
    for key, number, count in _records(source / "cntlist.rev"):  # key: lemma%type:file:id:head:head_id
        word, _, rest = key.partition("%")
        counts[word, _PART_OF_KEY[rest[0]], int(number)] = int(count)
    return counts


def _members(source: Path) -> dict[Synset, list[str]]:
    """synset → its words as written, without an adjective's `(p)`."""
    members = {}
    for part in PARTS:
        for record in _records(source / f"data.{part}"):  # offset file type word_count (hex) word id word id …
            words = record[4 : 4 + 2 * int(record[3], 16) : 2]
            members[part, record[0]] = [word.partition("(")[0] for word in words]
    return members


def main() -> None:
    """Writes synonyms.txt.gz into this package; exit code 1 when WordNet is not there."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE
    try:
        text = table(source)
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror} (install wordnet-base, or name WordNet's dict directory)")
    with resources.as_file(resources.files("mars.augment")) as folder:
        (folder / "synonyms.txt.gz").write_bytes(compress(text))
    print(f"{text.count(chr(10))} words, {len(compress(text))} bytes")


if __name__ == "__main__":
    main()
