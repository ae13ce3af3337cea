"""What of an evaluation stands unfolded on a model card."""

from support.downstream import training_table

from benchmarks.card_results import grouped, results
from benchmarks.protocols.trained_policy import TrainedPolicy, TrainedPolicyConfig


def test_of_a_curve_only_its_end_is_a_headline():
    found = TrainedPolicy(TrainedPolicyConfig(resamples=5)).evaluate(training_table())
    record = {"benchmark": "trained_policy", "metrics": found.metrics, "protocol": found.protocol}
    headline, _, folded = results(grouped({"trained_policy": record})).partition("<details>")
    assert "| trained_policy | overall | gold win rate |" in headline
    assert "step/" not in headline
    assert "step/10" in folded
