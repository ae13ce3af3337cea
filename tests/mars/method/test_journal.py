"""A pass over texts that is interrupted goes on where it was, and a run with it ends in the same bits."""

import os
import signal

import numpy as np
import pytest

from mars.method.journal import Journal, Page
from mars.process.stopping import Stopped
from mars.run import execute

BATCHES = [np.array([4, 1]), np.array([0, 2]), np.array([3, 5])]


def passed(journal: Journal, name: str = "one", until: int = 99) -> tuple[np.ndarray, int]:
    """(what a pass finds, how many batches it read), interrupted before batch `until`."""
    values, read = np.zeros(6, dtype=np.float32), 0
    with journal.page(lambda: name, values) as page:
        for batch in page.left(BATCHES):
            if read == until:
                raise KeyboardInterrupt
            values[batch] = batch * 10.0
            page.found(batch)
            read += 1
    return values, read


def test_a_pass_goes_on_after_what_it_had_found(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        passed(Journal(tmp_path, "run"), until=2)
    values, read = passed(Journal(tmp_path, "run"))
    assert read == 1
    np.testing.assert_array_equal(values, np.arange(6) * 10.0)


def test_it_is_saved_when_the_minutes_are_over_whoever_kills_it(tmp_path):
    with Journal(tmp_path, "run", minutes=0).page(lambda: "one", np.zeros(6)) as page:
        page.found(BATCHES[0])
        assert passed(Journal(tmp_path, "run"))[1] == 2  # of a process that starts meanwhile


def test_passes_that_have_ended_are_found_too_until_the_run_has_come_on(tmp_path):
    journal = Journal(tmp_path / "checkpoint", "run", minutes=0)
    passed(journal)
    with pytest.raises(KeyboardInterrupt):
        passed(journal, "two", until=1)
    again = Journal(tmp_path / "checkpoint", "run", minutes=0)
    assert passed(again)[1] == 0
    assert passed(again, "two")[1] == 2
    assert passed(again, "three")[1] == 3
    again.clear()
    assert not (tmp_path / "checkpoint").exists()
    assert passed(again)[1] == 3


def test_a_short_pass_is_not_worth_keeping(tmp_path):
    journal = Journal(tmp_path, "run", minutes=1)
    passed(journal)
    with pytest.raises(KeyboardInterrupt):
        passed(journal, "two", until=1)
    assert passed(Journal(tmp_path, "run"))[1] == 3


def test_a_torn_page_is_named_and_not_used(tmp_path, caplog):
    with pytest.raises(KeyboardInterrupt):
        passed(Journal(tmp_path, "run"), until=2)
    (tensors,) = tmp_path.glob("*/*/tensors.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:-1])
    assert passed(Journal(tmp_path, "run"))[1] == 3
    assert "tensors.safetensors is not what was written" in caplog.text


@pytest.fixture
def signal_at(monkeypatch):
    """`found = signal_at(n)`: SIGTERM comes after the n-th batch that is found from now on; `found` counts them."""
    real = Page.found

    def arm(n: int) -> list[int]:
        told: list[int] = []

        def found(self, batch):
            real(self, batch)
            told.append(1)
            if len(told) == n:
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(Page, "found", found)
        return told

    return arm


SETTINGS = ["scale=tiny", "train=full", "method=mars_fisher", "rounds.number=1", "rounds.steps=2"]
SETTINGS += ["train.token_budget=512"]
BITS = ("metrics.json", "selection.parquet", "scores/in_distribution.parquet", "allocation.parquet")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.95])
def test_a_run_stopped_while_it_scores_scores_the_rest_and_ends_in_the_same_bits(share, compose, tmp_path, signal_at):
    everything = signal_at(0)
    whole = execute(compose(*SETTINGS, f"out={tmp_path}/whole"))
    passes, config = len(everything), compose(*SETTINGS, "checkpoint_minutes=0", f"out={tmp_path}/left")
    before = signal_at(int(passes * share))
    with pytest.raises(Stopped):
        execute(config)
    assert list((tmp_path / "left" / "checkpoint").glob("scoring-rank0/0*"))
    after = signal_at(0)
    left = execute(config)
    assert len(before) + len(after) == passes
    assert all((left / name).read_bytes() == (whole / name).read_bytes() for name in BITS)
    assert not (left / "checkpoint").exists()
