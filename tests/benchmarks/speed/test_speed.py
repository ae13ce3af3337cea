"""The measuring command: it lists what there is, every measurement can be asked for help, and a small one prints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.backbones import backbone, pairs

from benchmarks.speed.__main__ import MEASUREMENTS, main
from benchmarks.speed.compiling import Way, compile_parts
from mars.reward.engine import Engine


def test_the_bare_command_lists_what_can_be_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([])
    listed = capsys.readouterr().out
    assert end.value.code == 0
    assert all(f"    {name}" in listed for name in MEASUREMENTS)


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_a_measurement_says_what_it_takes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert f"python -m benchmarks.speed {name}" in capsys.readouterr().out.replace("usage: ", "", 1)


def test_an_unknown_measurement_or_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, why in ((["nothing"], "nothing"), (["augmenters", "--count", "many"], "many")):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 2
        assert why in capsys.readouterr().err


def test_a_small_measurement_prints_a_line_for_each_way(capsys: pytest.CaptureFixture[str]) -> None:
    main(["augmenters", "--count", "10", "--repeats", "1"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["eda", "eda", "rules", "rules"]


def test_the_stages_of_a_round_are_printed_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    main(["scale", "--pairs", "300", "--features", "8", "--budget", "64", "--runs", ""])
    printed = capsys.readouterr().out.splitlines()
    stages = ["subset", "texts numbered", "margins", "allocation and selection", "rows", "training", "record"]
    assert [line.split(":")[0].split(",")[0].split(" (")[0] for line in printed[:7]] == stages
    assert "300 pairs × 8 features, 64 rows drawn, 6 steps" in printed


@pytest.mark.parametrize("kind", ["bert", "qwen3"])
def test_steps_are_timed_and_the_feed_forward_of_every_layer_would_be_compiled(kind: str, tmp_path: Path) -> None:
    engine = Engine(backbone(kind), "full", torch.device("cpu"), 4096, tmp_path)
    numbers = engine.texts.add_pairs(pairs(8))
    way = Way(engine, numbers, batch=4, compiled=False)
    seconds, losses = way.steps()
    assert seconds > 0
    assert losses == way.steps()[1]
    assert len(losses) == 2
    model = engine.new_model(0)
    compile_parts(model)  # at their first use, which takes half a minute
    compiled = [name for name, module in model.named_modules() if module._compiled_call_impl]
    assert sum("attention" not in name and name.endswith(("output", "mlp")) for name in compiled) == 2  # of two layers


@pytest.mark.parametrize(
    ("option", "said"),
    [("--known=vote", '--known: "vote" is unknown (did you mean "votes"?)'), ("--worlds=planet", "(did you mean")],
)
def test_a_mistake_is_one_line(option: str, said: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["noise", option, "--studies=1"])
    assert str(ended.value).startswith("error: ")
    assert said in str(ended.value)
