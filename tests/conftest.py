"""No network, no telemetry, a private cache: set before any library reads its environment."""

import os
import tempfile

from support import SHARED

os.environ["MARS_CACHE"] = tempfile.mkdtemp(prefix="mars-tests-")
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", WANDB_MODE="offline", WANDB_SILENT="true")
os.environ.setdefault("HYDRA_FULL_ERROR", "1")

import copy
import functools
import gc
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.plugins import distribution

from mars.cli import composed
from mars.plugins import declared
from mars.process.machine import cores

_UNSET = "of-the-test"  # in the place of a test's own directories

torch.set_num_threads(1)  # tensors are small, and several workers share the cores


def pytest_xdist_auto_num_workers() -> int | None:
    """Half as many again as there are cores, since many a test waits for other processes; None: xdist's own way."""
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else cores() * 3 // 2


def pytest_collection_finish() -> None:
    """What libraries and collected tests are made of lives as long as the process: no collection looks through it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000)  # as a run has it


@pytest.fixture
def compose(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A resolved config from overrides, its study and cache under the test's directory.

    Features, which are the same for whoever asks, are shared by the tests of a process.
    """
    shared = Path(os.environ["MARS_CACHE"]) / "features"
    shared.mkdir(exist_ok=True)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "features").symlink_to(shared)

    def build(*overrides: str) -> dict[str, Any]:
        config = copy.deepcopy(_composed(overrides))
        for key in ("study", "cache"):
            config[key] = str(tmp_path / key) if config[key] == _UNSET else config[key]
        return config

    return build


@functools.cache
def _composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    """The same overrides are composed once a process, which takes a tenth of a second."""
    return composed("config", [f"study={_UNSET}", f"cache={_UNSET}", *overrides])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless browser; the test is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on PATH")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str], str], None]]:
    """`plugin(files, entry_points)`: from now on a package of these files is installed."""

    def install(files: dict[str, str], entry_points: str) -> None:
        distribution(tmp_path / "site", files, entry_points)
        monkeypatch.syspath_prepend(tmp_path / "site")
        declared.cache_clear()

    yield install
    declared.cache_clear()


@pytest.fixture
def real_hh() -> Path:
    path = SHARED / "data" / "hh_rlhf" / "harmless-base"
    if not path.exists():
        pytest.skip("../shared with the real rows is not here")
    return path


@pytest.fixture
def interrupt_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """`calls = interrupt_at(n)`: the n-th round or trial trained from now on is interrupted; `calls` counts them."""
    from mars.method import trainer

    real = trainer.train_round

    def arm(n: int) -> list[int]:
        calls: list[int] = []

        def train_round(*args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            if len(calls) == n:
                raise KeyboardInterrupt
            return real(*args, **kwargs)

        monkeypatch.setattr(trainer, "train_round", train_round)
        return calls

    return arm


@pytest.fixture
def signal_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`signal_at(n)`: SIGTERM comes while the n-th step from now on is told of; the random generators move on."""
    from mars.method.training import Onlooker

    step = Onlooker.__init__

    def arm(n: int) -> None:
        told = []

        def init(self: Onlooker, on_step: Any = lambda metrics: None, *rest: Any, **named: Any) -> None:
            def counted(metrics: Any) -> None:
                told.append(1)
                if len(told) == n:
                    os.kill(os.getpid(), signal.SIGTERM)
                on_step(metrics)

            step(self, counted, *rest, **named)

        monkeypatch.setattr(Onlooker, "__init__", init)

    return arm
