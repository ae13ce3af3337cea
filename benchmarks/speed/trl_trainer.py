"""Training and scoring with TRL's `RewardTrainer`, where TRL is installed (`benchmarks.speed.ways`).

TRL would leave out pairs that are too long. Their ids are cut before, so that it keeps all, and it is an error where it
does not.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.speed.shapes import LENGTH
from benchmarks.speed.ways import LR, WARM, Done, Job, Watch, Way, classifier
from benchmarks.trl_import import quiet_trl
from mars.config import UserError
from mars.reward.weights import load_tokenizer


def trl_is_missing() -> str:
    """Why there is no TRL to measure; "" where there is."""
    if importlib.util.find_spec("trl") is None:
        return "trl is not installed (pip install 'mars-reward[bench]')"
    try:
        assert quiet_trl().RewardTrainer  # lazily imported
    except (ImportError, RuntimeError) as error:
        return f"trl cannot be imported: {' '.join(str(error).split())[:150]}"
    return ""


def _trainer(job: Job, folder: str, callbacks: Sequence[Any], log_every: int) -> Any:
    """A `RewardTrainer` over the job's ids in their order. Raises UserError where it leaves a pair out."""
    import datasets
    from transformers import PrinterCallback

    datasets.disable_progress_bars()

    trl, ids, cuda = quiet_trl(), job.ids, job.device.type == "cuda"
    rows = datasets.Dataset.from_dict({"chosen_ids": [c for c, _ in ids], "rejected_ids": [r for _, r in ids]})
    tokenizer = load_tokenizer(job.backbone)
    tokenizer.eos_token = tokenizer.eos_token or tokenizer.sep_token
    settings = trl.RewardConfig(
        output_dir=folder,
        per_device_train_batch_size=job.batch,
        per_device_eval_batch_size=job.batch,
        max_length=LENGTH,
        max_steps=-(-len(ids) // job.batch),
        learning_rate=LR,
        lr_scheduler_type="constant",
        bf16=cuda,
        use_cpu=not cuda,
        gradient_checkpointing=False,
        disable_dropout=True,
        train_sampling_strategy="sequential",
        logging_steps=log_every,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    model = classifier(job)
    trainer = trl.RewardTrainer(
        model=model, args=settings, train_dataset=rows, processing_class=tokenizer, callbacks=list(callbacks)
    )
    trainer.remove_callback(PrinterCallback)
    if len(trainer.train_dataset) != len(ids):
        raise UserError(f"trl kept {len(trainer.train_dataset)} of {len(ids)} pairs")
    return trainer


def train_trl(job: Job, warm: int = WARM, each: bool = False) -> Done:
    """each: the loss of each step is logged; TRL logs seldom by default, and so where it is timed."""
    from transformers import TrainerCallback

    watch = Watch(job.device)

    class Timing(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == warm:
                watch.start()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == state.max_steps:
                watch.stop()

    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(job, folder, [Timing()], 1 if each else 10)
        trainer.train()
        losses = [line["loss"] for line in trainer.state.log_history if "loss" in line] if each else []
    return Done(watch.seconds, job.part(warm * job.batch, None).tokens, np.array(losses[warm:]))


def score_trl(job: Job) -> Done:
    """Each row on its own, by `RewardTrainer.predict`, which returns a batch's chosen before its rejected.

    Raises UserError where the last batch is not full: `predict` cuts that to its pairs, so that half is lost.
    """
    if len(job.pairs) % job.batch:
        raise UserError(f"{len(job.pairs)} pairs are not batches of {job.batch}")
    watch = Watch(job.device)
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(job, folder, [], 10)
        rows = trainer.train_dataset
        trainer.predict(rows.select(range(min(len(rows), WARM * job.batch))))
        watch.start()
        logits = trainer.predict(rows).predictions
        watch.stop()
    flat = np.asarray(logits, dtype=np.float64).ravel()
    margins = []
    for start in range(0, len(job.pairs), job.batch):
        chosen, rejected = flat[2 * start : 2 * (start + job.batch)].reshape(2, -1)
        margins.append(chosen - rejected)
    return Done(watch.seconds, job.tokens, np.concatenate(margins))


TRL = Way("TRL", train_trl, score_trl, partial(train_trl, warm=0, each=True))
