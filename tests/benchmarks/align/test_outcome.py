"""What becomes of a policy, from tables whose outcome is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.align.outcome import COLUMNS, Outcome
from benchmarks.protocols.trained_policy import TrainedPolicy, TrainedPolicyConfig
from mars.config import ConfigError, UserError, build

SETTINGS = {"policy": "p", "samples": 4, "every": 5, "resamples": 50, "training": {"steps": 10}}


def of(**settings) -> TrainedPolicy:
    return TrainedPolicy(build(TrainedPolicyConfig, {**SETTINGS, **settings}, "benchmark"))


def table(rise: float, prompts: int = 30, gold: bool = True) -> pd.DataFrame:
    """Replies whose gold rises by `rise` sd at each look, and whose proxy rises twice as fast."""
    rng = np.random.default_rng(0)
    rows = []
    for step in (0, 5, 10):
        for prompt in range(prompts):
            base = 10.0 * prompt
            for response in range(4):
                reward = base + rng.normal() + rise * step / 5
                rows.append(
                    dict.fromkeys(COLUMNS, 0.0)
                    | {"id": f"p{prompt}", "subset": "", "step": step, "response": response}
                    | {"gold": reward if gold else np.nan, "score": 3 * (reward + rise * step / 5) - 7, "kl": step / 5}
                )
    return pd.DataFrame(rows)


def test_gains_are_in_standard_deviations_within_a_prompt():
    metrics = of().evaluate(table(1.0)).metrics
    assert metrics["step/0"]["gold_gain"] == 0
    assert metrics["step/5"]["gold_gain"] == pytest.approx(1, abs=0.3)
    assert metrics["step/10"]["gold_gain"] == pytest.approx(2, abs=0.4)
    assert metrics["step/10"]["proxy_gain"] == pytest.approx(4, abs=0.6)
    assert metrics["overall"] == metrics["step/10"]
    assert metrics["overall"]["kl"] == 2
    assert metrics["overall"]["n"] == 30


def test_the_win_rate_is_over_all_pairs_of_replies():
    frame = table(1.0)
    outcome = Outcome.of(frame)
    one = frame[frame["id"] == "p7"]
    before, after = (one.loc[one["step"] == step, "gold"].to_numpy() for step in (0, 10))
    wanted = np.mean([(a > b) + 0.5 * (a == b) for a in after for b in before])
    assert outcome.wins is not None
    assert outcome.wins[list(outcome.ids).index("p7"), 2] == wanted
    assert outcome.wins[:, 0] == pytest.approx(0.5)  # a policy against itself


def test_no_change_is_no_gain():
    overall = of().evaluate(table(0.0)).metrics["overall"]
    assert overall["gold_win_rate_lo"] < 0.5 < overall["gold_win_rate_hi"]
    assert overall["gold_gain_lo"] < 0 < overall["gold_gain_hi"]


def test_without_gold_the_proxy_alone_is_given():
    result = of().evaluate(table(1.0, gold=False))
    assert "proxy_gain" in result.metrics["overall"]
    assert not any("gold" in name for name in result.metrics["overall"])
    assert result.protocol["gold"].startswith("unknown")


def test_the_order_of_the_rows_does_not_matter():
    frame = table(1.0)
    again = of().evaluate(frame.sample(frac=1, random_state=3)).metrics
    assert again == of().evaluate(frame).metrics


def test_the_protocol_makes_the_benchmark_again():
    benchmark, frame = of(), table(1.0)
    protocol = benchmark.evaluate(frame).protocol
    made = TrainedPolicy.from_protocol(protocol, 50)
    assert made.remade(frame) == benchmark.remade(frame)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda t: t.drop(columns="kl"), "lacks kl"),
        (lambda t: t[t["step"] > 0], "at step 0"),
        (lambda t: t.iloc[1:], "as many replies"),
        (lambda t: t.assign(score=np.nan), "nan"),
        (lambda t: t.drop(columns="tokens"), "lacks tokens"),
    ],
)
def test_a_table_that_lacks_something_is_refused(spoil, what):
    with pytest.raises(UserError, match=what):
        of().evaluate(spoil(table(1.0)))


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"training": {"replies": 1}}, r"benchmark\.training\.replies: must be at least 2"),
        ({"training": {"batch_size": 30}}, r"benchmark\.training\.batch_size: 30 is not a multiple of the 4"),
        ({"training": {"at_once": 5}}, r"benchmark\.training\.at_once: 32 replies"),
        ({"training": {"lr": 0.0}}, r"benchmark\.training\.lr: must be above 0"),
        ({"training": {"beta": -1.0}}, r"benchmark\.training\.beta: must be at least 0"),
        ({"training": {"iterations": 2}, "every": 5}, r"benchmark\.every: 5 is not a multiple"),
        ({"samples": 1}, r"benchmark\.samples: must be at least 2"),
        ({"temperature": 0.0}, r"benchmark\.temperature: must be above 0"),
        ({"top_p": 2.0}, r"benchmark\.top_p: 2\.0 is not in"),
        ({"max_new_tokens": 0}, r"benchmark\.max_new_tokens: must be at least 1"),
        ({"training": {"algorithm": "ppo"}}, r"benchmark\.training\.algorithm: 'ppo' is not a choice"),
    ],
)
def test_settings_that_cannot_be_used_are_named(settings, what):
    with pytest.raises(ConfigError, match=what):
        of(**settings)
