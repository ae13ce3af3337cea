"""What is drawn by a seed: whole prompts that are held out, and labels that flip."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mars.preferences.columns import Picked
from mars.preferences.dialogue import Message
from mars.preferences.draws import flipped, hold_out, shuffled
from mars.preferences.pair import Pair


def held_out_one_by_one(pairs: list[Pair], number: int) -> tuple[list[Pair], list[Pair], int]:
    by_prompt: dict[str, list[Pair]] = {}
    for one in pairs:
        by_prompt.setdefault(one.prompt[0].content, []).append(one)
    held: list[Pair] = []
    rest: list[Pair] = []
    for group in by_prompt.values():
        (held if len(held) < number else rest).extend(group)
    return held[:number], rest, max(0, len(held) - number)


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(0, 35), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_whole_prompts_are_held_out_in_the_order_in_which_they_come(prompts, number, seed):
    pairs = [Pair(str(i), (Message("user", f"w{word}"),), "a", "b") for i, word in enumerate(prompts)]
    order = shuffled(pairs, seed, "train")
    held, rest, in_neither = hold_out(order, number)
    assert (list(held), list(rest), in_neither) == held_out_one_by_one(list(order), number)
    assert isinstance(rest, Picked)


def test_a_higher_rate_holds_a_lower_rates_flips_and_another_seed_has_others():
    pairs = [Pair(str(i), (Message("user", "w"),), "a", "b") for i in range(200)]
    few, many, other = (
        {p.id for p in flipped(pairs, *drawn) if p.exchanged} for drawn in ((0.1, 0), (0.25, 0), (0.25, 1))
    )
    assert few < many
    assert few
    assert many != other
    assert {p.id for p in flipped(pairs[::-1], 0.25, 0) if p.exchanged} == many
    assert flipped(pairs, 0.0, 0) == list(pairs)
