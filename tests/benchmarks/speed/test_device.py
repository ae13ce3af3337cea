"""The checks of a GPU: without one a line and an exit; a check that fails or is too slow does not stop the next."""

import subprocess
import sys
import time

import pytest
import torch
from support import ROOT
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.speed import device, shapes
from benchmarks.speed.device import Check, CheckError, carry_out, checks_of, command


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_a_line_and_exits_with_two(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        device.main(out=str(tmp_path / "found"))
    assert end.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "device: there is no GPU that PyTorch can use, and all of these checks need one"
    ]
    assert not list(tmp_path.iterdir())


def test_a_check_that_fails_or_is_too_slow_does_not_stop_the_next():
    kept, asked = [], []

    def sound(seconds):
        asked.append(seconds)
        return {"answer": 42}

    checks = [
        Check("broken", 9, lambda seconds: {"never": 1 // 0}),
        Check("slow", 0.2, lambda seconds: {"said": command(["sleep", "60"], seconds)}),
        Check("sound", 9, sound),
    ]
    assert not carry_out(checks, 100, lambda results: kept.append(list(results)))
    assert [len(results) for results in kept] == [1, 2, 3]  # written after each
    broken, slow, last = kept[-1]
    assert "ZeroDivisionError" in broken["why"]
    assert slow["why"].startswith("not done in 0 s")
    assert last["found"] == {"answer": 42}
    assert asked == [9]
    assert carry_out(checks[2:], 5, lambda results: None)
    assert asked[1] <= 5  # no more than what is left of the whole
    assert not carry_out(checks[2:], 0.5, kept.append)
    assert kept[-1][0]["why"] == "no time is left for it"


def test_a_command_that_runs_out_of_time_takes_its_children_with_it(tmp_path):
    file = tmp_path / "pid"
    with pytest.raises(CheckError, match=r"^not done in"):
        command(["sh", "-c", f"sleep 60 & echo $! > {file}; wait"], 3)
    end = time.monotonic() + 5
    while _lives(file.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _lives(file.read_text())


def _lives(pid: str) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def test_a_command_that_fails_shows_its_last_lines():
    with pytest.raises(CheckError, match=r"^exit 3\nwhy$"):
        command([sys.executable, "-c", "import sys; print('why'); sys.exit(3)"], 60)


def test_every_shape_has_a_check_and_the_tests_that_are_run_are_there(tmp_path):
    names = [check.name for check in checks_of("rows", "out", tmp_path)]
    assert len(set(names)) == len(names)
    assert set(shapes.SHAPES) - set(names) == {"qwen3-tiny"}  # which is a CPU's
    for test in device._TESTS:
        file, _, function = test.partition("::")
        assert f"def {function}" in (ROOT / file).read_text()


def test_a_writer_of_a_shape_takes_whatever_its_tokenizer_returns(tmp_path):
    shapes.write_writer("qwen3-tiny", tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello"}], return_tensors="pt", return_dict=True
    )
    written = AutoModelForCausalLM.from_pretrained(tmp_path).generate(**prompt, max_new_tokens=2, do_sample=False)
    assert "hello" in tokenizer.decode(written[0])
