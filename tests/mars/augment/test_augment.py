"""EDA and the rules: what they may touch, what they must leave, and that a variant depends on its request alone."""

import dataclasses
import gzip
import itertools
import json
import os
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ROOT

from mars.augment import build_synonyms
from mars.augment.eda import OPERATIONS, Eda, EdaConfig
from mars.augment.rules import Rules, RulesConfig, rewrites
from mars.augment.rules_table import rules
from mars.augment.synonyms import STOP_WORDS, thesaurus
from mars.augment.variant import Request, why_unchanged
from mars.augment.words import match_case, split_words, uniforms
from mars.config import ConfigError, build
from mars.preferences.pair import SIDES, Pair

AUGMENTERS = pytest.mark.parametrize("augmenter", [Eda(), Rules()], ids=lambda a: a.name)


def pair(chosen: str, rejected: str = "No.", pair_id: str = "t/0") -> Pair:
    return Pair(pair_id, (), chosen, rejected)


def variants(augmenter, text: str, count: int = 5, pair_id: str = "t/0") -> list[str]:
    made = augmenter.make([Request(pair(text, pair_id=pair_id), "chosen", number) for number in range(count)])
    return [variant.text for variant in made]


def one(augmenter, text: str, number: int = 0, pair_id: str = "t/0") -> str:
    (made,) = augmenter.make([Request(pair(text, pair_id=pair_id), "chosen", number)])
    return made.text


def only(operation: str, **settings) -> Eda:
    """EDA with a single operation."""
    alphas = {f"alpha_{name}": 0.3 if name == operation else 0.0 for name in OPERATIONS}
    return Eda(EdaConfig(**alphas | settings))


def words(text: str) -> list[str]:
    return split_words(text)[1::2]


# ---- what every augmenter promises

SENTENCES = [
    "I don't think that's a good idea, but you could try to help a large friend quickly.",
    "However, it is important to buy 3 cars in 2024.\n\n- First, find the answer\n- Then use `do not` well",
    "Visit https://example.com/do-not/help or mail help@do-not.org for example, and begin (quickly).",
    "```python\ndo not help  # however\n```\nHuman: do not begin.\n\nAssistant: It is a very big house.",
    "A “quoted do not” word; and 5'10\" people, who can't help themselves...\n\tIndented maybe.",
]
PROTECTED = re.compile(r"```.*?```|`[^`]*`|https?://\S+|\S+@\S+|Human:|Assistant:", re.DOTALL)
# Building blocks that between them hold everything that must survive, in any order and with any spacing.
BLOCKS = st.lists(
    st.sampled_from(
        [
            *("do not", "It is", "big", "help", "However,", "maybe", "think.", "I", "a", "DOGS", "person's", "end?"),
            *("`do not`", "https://a.b/do-not?help=1", "me@help.org", "Human:", "Assistant:", "12.5", "(help)"),
            *("```\nhelp  do not\n```", "*big*", "x=5", "🙂", "naïve", "and/or", "—", '"help"', "1.", "-", "U.S."),
        ]
    ),
    max_size=25,
)
SPACES = st.sampled_from([" ", "  ", "\n", "\n\n", "\n    "])


@st.composite
def dialogues(draw) -> str:
    return "".join(block + draw(SPACES) for block in draw(BLOCKS))


@AUGMENTERS
@given(text=dialogues(), pair_id=st.text(max_size=5), number=st.integers(0, 9))
def test_code_addresses_markers_digits_and_lines_survive(augmenter, text, pair_id, number):
    variant = one(augmenter, text, number, pair_id)
    assert PROTECTED.findall(variant) == PROTECTED.findall(text)
    assert re.findall(r"\d", variant) == re.findall(r"\d", text)
    assert variant.count("\n") == text.count("\n")


@settings(deadline=None)  # the table of synonyms is read at first use
@given(text=dialogues(), pair_id=st.text(max_size=5), number=st.integers(0, 9))
def test_eda_moves_no_mark(text, pair_id, number):
    variant = one(Eda(), text, number, pair_id)

    def marks(text: str) -> str:  # but for the blanks and apostrophes that come and go with words
        return re.sub(r"[^\W\d_]|[ ']", "", text)

    assert marks(variant) == marks(text)


@AUGMENTERS
@pytest.mark.parametrize(
    "text", ["", " ", "\n\n", "42 + 1 = 43", "🙂🙂 ❤️", "https://example.com/help", "`help do not`"]
)
def test_nothing_to_edit_is_returned_unchanged(augmenter, text):
    assert set(variants(augmenter, text, 8)) == {text}


@AUGMENTERS
@pytest.mark.parametrize("text", ["Help", "help!", "I", "🙂 help", "Ünïcödé wörds", "İstanbul do not İ"])
def test_tiny_and_odd_texts_never_become_empty(augmenter, text):
    assert all(variant.strip() for variant in variants(augmenter, text, 8))


@AUGMENTERS
def test_long_texts(augmenter):
    prose = "I do not think that the big dog helps. " * 2600  # 100k characters
    assert all(variant != prose for variant in variants(augmenter, prose, 4))
    for flat in ("a" * 100_000, "`" * 100_000, "a@" * 50_000, '"' * 100_000, "-- " * 30_000, "\n" * 100_000):
        assert variants(augmenter, flat, 4) == [flat] * 4


# A process of its own prints the variants it makes, in reverse order when asked.
PRINT = """
import json, sys
from mars.augment.eda import Eda
from mars.augment.rules import Rules
from mars.preferences.pair import Pair
from mars.augment.variant import Request, why_unchanged
texts = json.loads(sys.argv[1])
requests = [Request(Pair(f"t/{i}", (), t, t[::-1]), s, k) for i, t in enumerate(texts)
            for s in ("chosen", "rejected") for k in range(5)]
made = [dict(zip(requests[::step], a.make(requests[::step]))) for a in (Eda(), Rules())
        for step in (int(sys.argv[2]),)]
print(json.dumps([[m[r].text for r in requests] for m in made]))
"""


def test_a_variant_depends_on_neither_hash_seed_nor_order():
    outputs = set()
    for hash_seed, step in (("0", "1"), ("1", "-1"), ("77", "1")):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", PRINT, json.dumps(SENTENCES), step]
        outputs.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(outputs) == 1


@AUGMENTERS
def test_a_variant_depends_on_no_other_request_or_process(augmenter):
    requests = [
        Request(pair(text, text.upper(), f"t/{row}"), side, number)
        for row, text in enumerate(SENTENCES)
        for side in SIDES
        for number in range(5)
    ]
    whole = augmenter.make(requests)
    alone = [augmenter.make([request])[0] for request in reversed(requests)]
    assert alone[::-1] == whole
    with ProcessPoolExecutor(2) as pool:
        halves = list(pool.map(augmenter.make, [requests[:23], requests[23:]]))
    assert halves[0] + halves[1] == whole


@AUGMENTERS
def test_seed_and_id_change_the_variants(augmenter):
    other = type(augmenter)(dataclasses.replace(augmenter.config, seed=1))
    assert variants(augmenter, SENTENCES[0]) != variants(other, SENTENCES[0])
    assert variants(augmenter, SENTENCES[0], pair_id="t/0") != variants(augmenter, SENTENCES[0], pair_id="t/1")


@pytest.mark.parametrize(("name", "config"), [("eda", EdaConfig), ("rules", RulesConfig)])
def test_preset_holds_the_defaults(name, config):
    preset = yaml.safe_load((ROOT / f"conf/augmenter/{name}.yaml").read_text())
    assert preset.pop("name") == name
    assert build(config, preset, "augmenter") == config()
    assert set(preset) == {field.name for field in dataclasses.fields(config)}


# ---- EDA

TWENTY = "the cat and the dog saw a house , people think that children want water and the music of a friend"


@pytest.mark.parametrize(("count", "edits"), [(1, 1), (9, 1), (10, 1), (19, 1), (20, 2), (30, 3)])
def test_edits_are_a_tenth_of_the_words_and_at_least_one(count, edits):
    text = " ".join(["help"] * count)
    alone = {f"alpha_{name}": 0.0 for name in OPERATIONS}
    replaced = variants(Eda(EdaConfig(**alone | {"alpha_replace": 0.1})), text)
    assert [sum(word != "help" for word in words(variant)) for variant in replaced] == [edits] * 5
    inserted = variants(Eda(EdaConfig(**alone | {"alpha_insert": 0.1})), text)
    assert [len(words(variant)) - count for variant in inserted] == [edits] * 5


def test_one_swap_exchanges_two_words():
    for variant in variants(only("swap"), "one two, three"):
        moved = [(a, b) for a, b in zip(words(variant), ["one", "two", "three"], strict=True) if a != b]
        assert len(moved) == 2
        assert sorted(words(variant)) == ["one", "three", "two"]
        assert re.fullmatch(r"\w+ \w+, \w+", variant)


LINES = "Buy a big car: it pays\n\n- one two\n- three four five\n\nAssistant: Of course Human: yes, do it now"


def test_a_swap_stays_in_its_line_list_item_and_turn():
    lines = re.compile(r"\n+|(?=Human:|Assistant:)").split
    swapped = set(variants(only("swap"), LINES, 40)) - {LINES}
    assert len(swapped) > 5
    for variant in swapped:
        for ours, theirs in zip(lines(variant), lines(LINES), strict=True):
            assert sorted(re.findall(r"\w+", ours)) == sorted(re.findall(r"\w+", theirs))


def test_on_one_line_a_swap_is_what_it_was_before_it_minded_lines():
    assert variants(only("swap"), "one two three four, five six seven", 4) == [
        "five two three seven, one six four",
        "one two three four, five six seven",
        "six seven three four, five one two",
        "one three two seven, five six four",
    ]


def test_a_text_of_single_words_has_nothing_to_swap():
    assert set(variants(only("swap"), "- one\n- two\n- three", 8)) == {"- one\n- two\n- three"}


def test_stored_variants_of_the_swap_that_crossed_lines_are_not_read():
    assert (Eda().settings["version"], Rules().settings["version"]) == (2, 1)


@pytest.mark.parametrize(
    ("augmenter", "text", "reason"),
    [
        (Eda(), "我觉得这不是一个好主意。", "no word to edit"),
        (Eda(), "```\nhelp me\n```", "no word to edit"),
        (only("swap"), "Yes.", "a single word"),
        (only("delete"), "Yes.", "a single word"),
        (only("insert"), "Ich glaube nicht.", "no word with a synonym"),
        (only("replace"), "Ich glaube nicht.", "no word with a synonym"),
        (only("swap"), "- one\n- two", "no two words in a line"),
        (only("swap"), "one one", "by chance"),
        (Rules(), "我觉得这不是一个好主意。", "no word to edit"),
        (Rules(), "Ich glaube nicht.", "no rewrite fits"),
    ],
)
def test_a_variant_that_equals_its_source_says_why(augmenter, text, reason):
    request = Request(pair(text), "chosen", 0)
    (made,) = augmenter.make([request])
    assert why_unchanged(augmenter, request, made) == reason
    assert why_unchanged(augmenter, request, dataclasses.replace(made, text="other")) == ""


def test_deletion_keeps_each_word_with_probability_one_minus_alpha():
    text = " ".join(["word"] * 1000)
    kept = [len(words(variant)) for variant in variants(only("delete"), text, 20)]
    assert abs(sum(kept) / 20_000 - 0.7) < 0.02  # six standard errors
    assert min(kept) < max(kept)


def test_deletion_leaves_one_word_when_all_would_go():
    greedy = Eda(EdaConfig(alpha_replace=0, alpha_insert=0, alpha_swap=0, alpha_delete=0.999))
    assert set(variants(greedy, "one two three", 50)) == {"one", "two", "three"}


@given(dialogues(), st.integers(0, 20))
def test_deletion_leaves_clean_spacing(text, number):
    text = re.sub(r"(?<=\S)[ \n]+(?=\S)", " ", text).strip()  # one blank between words, no lines
    text = re.sub(r" (?=[.,;:!?)])", "", text)
    if "```" in text or "` " in text:
        return
    variant = one(only("delete"), text, number)
    assert "  " not in variant
    assert not re.search(r" [.,;:!?)]", variant)
    assert variant == variant.strip()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("  - one\n  - two", {"  -\n  - two", "  - one\n  -", "  - one\n  - two"}),
        ("one (two), three.", {"(two), three.", "one (), three.", "one (two),."}),
        ('say "yes" now', {'"yes" now', 'say "" now', 'say "yes"'}),
        ("one.  Two three", {".  Two three", "one.  three", "one.  Two"}),
    ],
)
def test_deletion_by_hand(text, kept):
    made = set(variants(only("delete"), text, 60))
    assert kept <= made


def test_replacement_keeps_the_case_pattern():
    assert [match_case("aid", like) for like in ("help", "Help", "HELP", "A")] == ["aid", "Aid", "AID", "Aid"]
    for variant in variants(only("replace", seed=3), "Help, HELP, help.", 20):
        title, upper, lower = re.fullmatch(r"(\w+), (\w+), (\w+)\.", variant).groups()
        assert (title.istitle(), upper.isupper(), lower.islower()) == (True, True, True)


def test_replacements_and_insertions_come_from_the_thesaurus():
    lookup = thesaurus("wordnet")
    assert "assist" in lookup("help")
    for variant in variants(only("replace"), TWENTY, 20):
        changed = [(a, b) for a, b in zip(words(TWENTY), words(variant), strict=True) if a != b]
        assert changed
        assert all(new in lookup(old) and old not in STOP_WORDS for old, new in changed)
    synonyms = {found for word in words(TWENTY) for found in lookup(word) or ()}
    for variant in variants(only("insert"), TWENTY, 20):
        added = Counter(words(variant)) - Counter(words(TWENTY))
        assert added
        assert set(added) <= synonyms


def test_both_sides_get_the_same_operations_and_variants_take_turns():
    eda = Eda()
    bases = [pair(TWENTY, TWENTY.upper(), f"t/{row}") for row in range(400)]
    for base in bases:
        turns = [eda.operation(base, "chosen", number) for number in range(5)]
        assert turns == [eda.operation(base, "rejected", number) for number in range(5)]
        assert set(turns) == set(OPERATIONS)
        assert turns[0] == turns[4]
    first = Counter(eda.operation(base, "chosen", 0) for base in bases)
    assert min(first.values()) > 60  # 100 expected, sd 8.7: the fifth variant favours no operation
    apart = Eda(EdaConfig(same_operations=False))
    agree = sum(apart.operation(base, "chosen", 0) == apart.operation(base, "rejected", 0) for base in bases)
    assert 60 < agree < 140


def test_an_alpha_of_zero_leaves_the_operation_out():
    eda = Eda(EdaConfig(alpha_delete=0))
    assert {eda.operation(pair(TWENTY), "chosen", number) for number in range(9)} == {"replace", "insert", "swap"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha_swap": 1.5}, "augmenter.alpha_swap: 1.5 is not in"),
        ({f"alpha_{name}": 0.0 for name in OPERATIONS}, "augmenter.alpha_replace: every alpha is 0"),
        ({"synonyms": "wordnets"}, 'did you mean "wordnet"'),
    ],
)
def test_bad_settings_name_the_key(settings, message):
    with pytest.raises(ConfigError, match=message):
        build(EdaConfig, settings, "augmenter")


def test_uniforms_are_uniform_and_keyed():
    draws = [number for number, _ in zip(uniforms("key"), range(10_000), strict=False)]
    assert abs(sum(draws) / 10_000 - 0.5) < 0.02
    assert all(0 <= number < 1 for number in draws)
    assert len(set(draws)) > 9_990
    assert draws[:3] != [next(uniforms("other"))] * 3
    assert draws[:16] == [number for number, _ in zip(uniforms("key"), range(16), strict=False)]


# ---- the thesaurus


def shipped() -> str:
    return gzip.decompress(resources.files("mars.augment").joinpath("synonyms.txt.gz").read_bytes()).decode()


def test_thesaurus_is_sorted_and_holds_no_stop_word():
    rows = [line.split() for line in shipped().splitlines()]
    assert all(a[0] < b[0] for a, b in pairwise(rows))
    assert all(build_synonyms.usable(word) for row in rows for word in row)
    assert all(len(row) > 1 and row[0] not in row[1:] for row in rows)


@pytest.mark.skipif(not build_synonyms.SOURCE.exists(), reason="WordNet's database (wordnet-base) is not installed")
def test_thesaurus_is_rebuilt_byte_for_byte():
    # The text, not the archive: another zlib may compress the same bytes differently.
    text = build_synonyms.table()
    assert text == shipped()
    assert build_synonyms.compress(text) == build_synonyms.compress(text)
    assert build_synonyms.compress(text)[4:8] == bytes(4)  # no time of building


def test_wordnet_licence_is_shipped_whole():
    licence = resources.files("mars.augment").joinpath("WORDNET-LICENSE").read_text()
    assert "WordNet 3.0 Copyright 2006 by Princeton University.  All rights reserved." in licence
    notice = Path("/usr/share/doc/wordnet-base/copyright")
    if notice.exists():
        paragraphs = re.sub(r"^ \.?", "", notice.read_text(), flags=re.MULTILINE)
        assert licence.strip() in paragraphs


def test_missing_nltk_is_one_line():
    hidden = "import sys; sys.modules['nltk'] = None\nfrom mars.augment.eda import *\nEda(EdaConfig(synonyms='nltk'))"
    done = subprocess.run([sys.executable, "-c", hidden], cwd=ROOT, capture_output=True, text=True)
    error = done.stderr.strip().splitlines()[-1]
    assert error.startswith("mars.config.ConfigError: synonyms:")
    assert "pip install nltk" in error


# ---- rules

NEGATION = re.compile(r"n't\b|\b(?:not|never|no|nor|none|nothing|nobody|neither|without)\b|\bcannot\b")


def negations(text: str) -> int:
    return len(NEGATION.findall(text.lower().replace("’", "'")))


def test_every_row_keeps_negations_and_digits():
    for rule in itertools.chain.from_iterable(rules().values()):
        for target in rule.targets:
            assert negations(rule.form) == negations(target), (rule.form, target)
            assert not re.search(r"\d", target)
        assert rule.targets
        assert rule.form not in rule.targets
        assert all(word == word.lower() for _, _, among in rule.conditions for word in among), rule


def everything(text: str) -> set[str]:
    """All texts one rewrite away."""
    found = set()
    for rewrite in rewrites(text):
        for edits in rewrite.choices:
            changed = text
            for start, end, put in reversed(edits):
                changed = changed[:start] + put + changed[end:]
            found.add(changed)
    return found


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("I do not know.", "I don't know."),
        ("I don’t know.", "I do not know."),
        ("It's important.", "It is important."),
        ("However, wait.", "That said, wait."),
        ("Maybe later.", "Perhaps later."),
        ("We begin in order to win.", "We start in order to win."),
        ("We begin in order to win.", "We begin to win."),
        ("The color of the day", "The colour of the day"),
        ("See this, for example.", "See this, for instance."),
        ("- one\n- two", "* one\n* two"),
        ("1. one\n2. two", "1) one\n2) two"),
        ('He said "yes" twice.', "He said “yes” twice."),
        ("He said “yes” twice.", 'He said "yes" twice.'),
        ("We saw red, green, and blue.", "We saw red, green and blue."),
    ],
)
def test_rewrites_by_hand(text, rewritten):
    assert rewritten in everything(text)


@pytest.mark.parametrize(
    "text",
    [
        "Don't you see?",  # "Do not you see?"
        "Why don't people eat?",
        "It's been long.",  # "has been"
        "Tell me who I am now.",  # "who I'm now"
        "Big Ben stands.",  # a name
        "We met at Big Ben.",
        "Run `maybe do not` and ```\nmaybe\n```",
        "HOWEVER, MAYBE.",
        "por favor, sin color",
        'x = "maybe"',
    ],
)
def test_no_rewrite_where_it_would_be_wrong(text):
    assert everything(text) == set()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("I cannot swim.", "I can't swim."),
        ("Perhaps she sings.", "Maybe she sings."),
        ("We behave in the theater and in the colors.", "We behave in the theatre and in the colours."),
        ("Although it rains, we sing.", "Even though it rains, we sing."),
    ],
)
def test_rewrites_go_both_ways(one, other):
    assert other in everything(one)
    assert one in everything(other)


def test_quoted_words_are_talked_about_and_not_used():
    assert everything('The word "maybe" ends so.') == {"The word “maybe” ends so."}


def test_an_article_stays_right():
    assert "It is an awful day." not in everything("It is a terrible day.")
    assert "It is so awful here." in everything("It is so terrible here.")


def test_spelling_changes_throughout_or_not_at_all():
    assert everything("The color and the flavor organize the center.") == {
        "The colour and the flavour organise the centre."
    }


@given(text=dialogues(), number=st.integers(0, 9))
def test_rules_keep_negations_and_apply_something_where_anything_applies(text, number):
    variant = one(Rules(), text, number)
    assert negations(variant) == negations(text)
    assert (variant != text) == bool(rewrites(text))


@given(text=dialogues())
def test_rewrites_never_overlap(text):
    for choice in (0, -1):
        spans = sorted((a, b) for rewrite in rewrites(text) for a, b, _ in rewrite.choices[choice])
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_variants_of_one_text_differ_as_long_as_there_are_rewrites():
    three = "Maybe I do not know whether towards is a word we often see."
    assert len(rewrites(three)) >= 3
    for row in range(50):
        assert len(set(variants(Rules(RulesConfig(rate=0)), three, 5, pair_id=f"t/{row}"))) == 5


def test_rate_sets_how_much_is_rewritten():
    text = "maybe often usually " * 50
    changed = []
    for rate in (0.0, 0.1, 0.9):
        (variant,) = variants(Rules(RulesConfig(rate=rate)), text, 1)
        changed.append(sum(a != b for a, b in zip(words(variant), words(text), strict=True)))
    assert 1 <= changed[0] <= 3 < changed[1] < 50 < 100 < changed[2]
    with pytest.raises(ConfigError, match=r"augmenter\.rate: 2\.0"):
        build(RulesConfig, {"rate": 2.0}, "augmenter")
