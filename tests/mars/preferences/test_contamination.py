"""Contamination planted by hand is found, however it is planted, and none is found where there is none."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mars.preferences import contamination
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair

KINDS = ("prompt", "prompt_response", "prompt_ngram", "response_ngram", "any_ngram")


def text(name: str, count: int = 30) -> str:
    """`count` words that no other name shares."""
    return " ".join(f"{name}{i}" for i in range(count))


def pair(name: str, prompt: str = "", chosen: str = "", rejected: str = "") -> Pair:
    prompt = prompt or text(f"{name}p")
    return Pair(name, (Message("user", prompt),), chosen or text(f"{name}c"), rejected or text(f"{name}r"))


def check(train, splits):
    """What is found of these splits alone, with no validation pairs."""
    found = contamination.between(train, [], splits)
    return {name: found[name] for name in splits}


def hits(train: list[Pair], *tests: Pair) -> dict[str, list[str]]:
    found = check(train, {"test": tests})["test"]
    assert all(found[kind]["count"] == len(found[kind]["ids"]) for kind in KINDS)
    return {kind: found[kind]["ids"] for kind in KINDS if found[kind]["count"]}


def test_nothing_is_reported_on_disjoint_pairs():
    assert hits([pair("a"), pair("b")], pair("c"), pair("d")) == {}


def test_a_short_shared_prompt_is_an_exact_hit_and_no_ngram():
    assert hits([pair("a", prompt="How are you?")], pair("c", prompt="How are you?"), pair("d")) == {"prompt": ["c"]}


def test_case_punctuation_and_white_space_hide_nothing():
    train = [pair("a", prompt="How do I pick a LOCK?", chosen="You  should not!")]
    test = pair("c", prompt="how do i pick\na lock", rejected="you should not")
    assert hits(train, test) == {"prompt": ["c"], "prompt_response": ["c"]}


def test_the_same_response_to_another_prompt_is_no_exact_hit():
    assert hits([pair("a", chosen="No.")], pair("c", chosen="No.")) == {}


@pytest.mark.parametrize(("shared", "found"), [(12, {}), (13, {"response_ngram": ["c"], "any_ngram": ["c"]})])
def test_thirteen_words_in_a_row_are_a_hit_and_twelve_are_not(shared, found):
    run = text("shared", shared)
    train = [pair("a", prompt=f"{text('x')} {run.upper()} {text('y')}")]
    assert hits(train, pair("c", rejected=f"{text('z')} {run}, {text('w')}"), pair("d")) == found


def test_a_run_does_not_cross_from_one_text_to_the_next():
    run = text("shared", 20).split()
    train = [pair("a", chosen=" ".join(run))]
    assert hits(train, pair("c", chosen=" ".join(run[:10]), rejected=" ".join(run[10:]))) == {}


def test_every_turn_of_the_prompt_counts():
    run = text("shared", 13)
    dialogue = (Message("user", text("u")), Message("assistant", run), Message("user", "go on"))
    found = hits([pair("a", chosen=run)], Pair("c", dialogue, "yes", "no"))
    assert found == {"prompt_ngram": ["c"], "any_ngram": ["c"]}


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(13, 20), st.sampled_from(["prompt", "chosen", "rejected"]))
def test_a_planted_run_is_found_wherever_it_stands(before, after, length, place):
    planted = f"{text('l', before)} {text('run', length)} {text('m', after)}"
    train = [pair(f"t{i}") for i in range(3)] + [pair("leak", **{place: f"{text('n', after)} {text('run', length)}"})]
    found = hits(train, pair("x"), pair("c", chosen=planted))
    assert found == {"response_ngram": ["c"], "any_ngram": ["c"]}


def test_hits_go_to_the_split_they_are_in():
    run = text("run", 13)
    train = [pair("a", chosen=run)]
    splits = {"one": [pair("b"), pair("c", prompt=run)], "none": [pair("d")], "two": [pair("e", rejected=run)]}
    found = check(train, splits)
    assert [found[s]["prompt_ngram"]["ids"] for s in splits] == [["c"], [], []]
    assert [found[s]["response_ngram"]["ids"] for s in splits] == [[], [], ["e"]]


def test_the_stored_ids_are_capped_and_the_count_is_not():
    tests = [pair(f"c{i}", prompt="same") for i in range(150)]
    found = check([pair("a", prompt="same")], {"test": tests})["test"]["prompt"]
    assert (found["count"], found["share"], len(found["ids"])) == (150, 1.0, contamination.LISTED)


def test_empty_splits_have_no_hits():
    found = check([], {"test": [pair("c")], "validation": []})
    assert all(found[split][kind]["count"] == 0 for split in found for kind in KINDS)


def test_the_summary_says_how_many_of_how_many():
    run = text("run", 13)
    train = [pair("a", prompt="same", chosen="yes"), pair("b", chosen=run)]
    report = check(train, {"test": [pair("c", prompt="Same?", chosen="Yes."), pair("d", prompt=run)]})
    assert contamination.summary(report) == [
        "test: 1 of 2 pairs share the prompt with a training pair, 1 a response to it too; "
        "1 share 13 words in a row (1 in the prompt)"
    ]
    (only_words,) = contamination.summary(check([pair("b", chosen=run)], {"test": [pair("d", prompt=run)]}))
    assert only_words == "test: 1 of 1 pair share 13 words in a row with a training pair (1 in the prompt)"


def test_all_splits_at_once_are_what_each_is_on_its_own():
    run = text("shared", 14)
    base = [pair("a", prompt="Same?", chosen="Yes."), pair("b", chosen=run), pair("c")]
    validation = [pair("v", prompt=run), pair("w", prompt="Same?")]
    tests = {"test": [pair("d", prompt="Same?", rejected="yes"), pair("e", rejected=run)], "other": [pair("f")]}
    alone = check([*base, *validation], tests) | {"validation": check(base, {"alone": validation})["alone"]}
    assert contamination.between(base, validation, tests) == alone
    assert alone["validation"]["any_ngram"]["ids"] == ["v"]
    assert alone["test"]["prompt_response"]["ids"] == ["d"]


def test_splits_without_a_hit_share_one_line():
    train = [pair("a", prompt="same")]
    report = check(train, {"one": [pair("c")], "two": [pair("d", prompt="Same?")], "three": [pair("e")]})
    first, last = contamination.summary(report)
    assert first.startswith("two: 1 of 1 pair share")
    assert last == "no pair of one, three shares its prompt, or 13 words in a row, with a training pair"
