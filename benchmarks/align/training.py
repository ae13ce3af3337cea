"""A policy trained with a reward model: RLOO or GRPO of TRL, the reward model read by our own scorer.

The reward model sees a reply as it saw the pairs that it was trained on: prompt and response apart, in its own
template, by its own tokenizer and truncation. A training that was interrupted goes on from TRL's own checkpoints, of
which only whole ones count. Whatever TRL would send or print is turned off.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoModelForCausalLM, PrinterCallback, TrainerCallback

from benchmarks.align.replies import Probe, repetition
from benchmarks.align.settings import Training
from benchmarks.candidates import Prompts, gold_of
from benchmarks.models.policy import Policy
from benchmarks.protocol import Scorer
from benchmarks.trl_import import quiet_trl
from mars import files
from mars.config import ConfigError, UserError
from mars.files import write_parquet, write_text
from mars.progress import Progress
from mars.reward.weights import safetensors_of

_WHOLE = "whole"  # the file that is written into a checkpoint when all of it is there
# What of TRL's log is kept, and its name here.
_LOGGED = {
    "step": "step", "proxy": "proxy", "proxy_sd": "proxy_sd", "gold": "gold", "kl": "kl_token", "entropy": "entropy",
    "completions/mean_length": "tokens", "completions/clipped_ratio": "cut_off", "repetition": "repetition",
    "loss": "loss", "grad_norm": "grad_norm", "learning_rate": "lr", "step_time": "seconds",
}  # fmt: skip

log = logging.getLogger(__name__)


def check_trainable(policy: Policy, training: Training) -> None:
    """Raises ConfigError for a package that is not there, and for a policy that cannot be trained."""
    for package in ("trl", *(("peft",) if training.lora_rank else ())):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"benchmark: training a policy needs {package} (pip install 'mars-reward[align]')")
    if policy.config.source.startswith("random:"):
        raise ConfigError("benchmark.policy: random weights cannot be trained from (save them to a directory first)")
    assert policy.template  # which may have to be said


@dataclass
class Reward:
    """What TRL asks for rewards. prompts: that the policy is trained on."""

    policy: Policy
    prompts: Prompts
    scorer: Scorer
    training: Training
    __name__ = "proxy"

    def __call__(self, completion_ids: Sequence[list[int]], place: Sequence[int], **asked: Any) -> list[float]:
        """[B] rewards of replies to the prompts at `place`. Raises UserError for a score that is not finite."""
        pairs = [self.prompts.pairs[which] for which in place]
        texts = [self.policy.text(ids) for ids in completion_ids]
        scores = self.scorer((pair.prompt, text) for pair, text in zip(pairs, texts, strict=True))
        if not np.isfinite(scores).all():
            which = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise UserError(
                f'trained_policy: the reward model gives {scores[which]} to a reply to "{pairs[which].id}" '
                "(its training diverged, or it overflows in half precision: try dtype=float32)"
            )
        told = asked["log_metric"]
        told("proxy", float(scores.mean()))
        told("proxy_sd", float(scores.std()))
        told("repetition", float(np.mean([repetition(text) for text in texts])))
        golds = [gold_of(self.prompts.dataset, pair, text) for pair, text in zip(pairs, texts, strict=True)]
        if not math.isnan(golds[0]):
            told("gold", float(np.mean(golds)))
        return self._shaped(scores).tolist()

    def _shaped(self, scores: np.ndarray) -> np.ndarray:
        if self.training.whiten:
            sd = scores.std()
            scores = (scores - scores.mean()) / (sd if sd > 0 else 1.0)
        return scores if self.training.clip is None else np.clip(scores, -self.training.clip, self.training.clip)


def trained(reward: Reward, probe: Probe, every: int, seed: int, home: Path) -> list[dict[str, float]]:
    """The log of every step of the training in `home`, begun or gone on with; its policy is judged as it goes.

    home/step-N.parquet has the replies after step N (`replies.Probe.written`), home/policy the policy at the end.
    Raises UserError where prompts do not fit the policy, or memory does not suffice.
    """
    policy, training = reward.policy, reward.training
    places = _fitting(policy, reward.prompts)
    trainer = _trainer(reward, places, every, seed, home)

    @contextmanager
    def reference() -> Iterator[Any]:
        if training.lora_rank:
            with policy.writer.model.disable_adapter():
                yield policy.writer.model
        else:
            yield held

    held = None if training.lora_rank else trainer.ref_model or _copy(policy).to(policy.device)
    last = _last_whole(home / "checkpoints")
    done = _step(last) if last else 0
    if done:
        log.info("the policy's training goes on from step %d", done)
    with Progress(training.steps - done, f"training the policy by {training.algorithm}", "steps") as progress:
        trainer.add_callback(_Keeper(probe, reference, home, progress))
        with files.writing(home):
            trainer.train(resume_from_checkpoint=str(last) if last else None)
    with files.writing(home / "policy"):
        _save(policy, trainer, home / "policy")
    shutil.rmtree(home / "checkpoints", ignore_errors=True)
    return [_row(line) for line in trainer.state.log_history if "proxy" in line]


def _row(line: Mapping[str, Any]) -> dict[str, float]:
    row = {name: line[key] for key, name in _LOGGED.items() if line.get(key) is not None}
    row["kl"] = row.get("kl_token", 0.0) * row["tokens"]
    return row


def _fitting(policy: Policy, prompts: Prompts) -> list[int]:
    """Places of the prompts that the policy reads whole. Raises UserError where it reads none."""
    places = [place for place, pair in enumerate(prompts.pairs) if not policy.prompt_ids(pair.prompt)[1]]
    if not places:
        raise UserError(
            f"benchmark.policy: none of the {len(prompts.pairs)} prompts fits its context with "
            f"{policy.config.max_new_tokens} new tokens (lower benchmark.max_new_tokens)"
        )
    if left_out := len(prompts.pairs) - len(places):
        log.info("%d of %d prompts do not fit the policy's context and are left out", left_out, len(prompts.pairs))
    return places


def _trainer(reward: Reward, places: Sequence[int], every: int, seed: int, home: Path) -> Any:
    import datasets

    policy, training = reward.policy, reward.training
    order = _order(places, training, seed)
    asked = [policy.rendered(reward.prompts.pairs[place].prompt) for place in order]
    rows = datasets.Dataset.from_dict({"prompt": asked, "place": order})
    model = policy.writer.model
    if not training.lora_rank:
        model = model.float()  # small steps are lost in bf16 weights; passes are in bf16 where that is faster
    trainer = getattr(quiet_trl(), f"{training.algorithm.upper()}Trainer")(
        model=model,
        reward_funcs=reward,
        args=_trainers_settings(reward, every, seed, home),
        train_dataset=rows,
        processing_class=policy.writer.tokenizer,
        peft_config=_adapters(training),
    )
    trainer.remove_callback(PrinterCallback)
    policy.writer.model = trainer.model
    return trainer


def _trainers_settings(reward: Reward, every: int, seed: int, home: Path) -> Any:
    """What TRL's trainer is told, in its own words. every: steps from one checkpoint to the next."""
    policy, training = reward.policy, reward.training
    cuda, chat = policy.device.type == "cuda", policy.template == "chat"
    together = training.at_once or training.batch_size
    return getattr(quiet_trl(), f"{training.algorithm.upper()}Config")(
        output_dir=str(home / "checkpoints"),
        max_steps=training.steps,
        per_device_train_batch_size=together,
        gradient_accumulation_steps=training.batch_size // together,
        num_generations=training.replies,
        num_iterations=training.iterations,
        max_completion_length=policy.config.max_new_tokens,
        temperature=policy.config.temperature,
        top_p=policy.config.top_p,
        top_k=0,
        beta=training.beta,
        learning_rate=training.lr,
        lr_scheduler_type=training.schedule,
        chat_template_kwargs={"enable_thinking": False} if chat else None,
        gradient_checkpointing=False,
        model_init_kwargs={"revision": policy.config.revision} if policy.config.revision else None,
        shuffle_dataset=False,
        use_cpu=not cuda,
        bf16=cuda,
        seed=seed,
        logging_steps=1,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
    )


def _order(places: Sequence[int], training: Training, seed: int) -> list[int]:
    """The prompts of all steps in their order, each pass over `places` shuffled.

    One epoch of the trainer's: a training that goes on in a later epoch would take the prompts of the first again.
    """
    rng = np.random.default_rng(seed)
    needed = -(-training.steps // training.iterations) * (training.batch_size // training.replies)
    passes = [rng.permutation(places) for _ in range(-(-needed // len(places)))]
    return [int(place) for place in np.concatenate(passes)[:needed]]


def _adapters(training: Training) -> Any:
    if not training.lora_rank:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=training.lora_rank, lora_alpha=training.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def _copy(policy: Policy) -> Any:
    """The policy's weights as they were, loaded anew."""
    name = policy.writer.model.config._name_or_path
    how = {"revision": policy.config.revision, "use_safetensors": safetensors_of(name)}
    return AutoModelForCausalLM.from_pretrained(name, dtype=policy.writer.model.dtype, **how).eval()


class _Keeper(TrainerCallback):
    """Judges the policy when a checkpoint is due, and marks a checkpoint that is whole."""

    def __init__(self, probe: Probe, reference: Any, home: Path, progress: Progress):
        self.probe, self.reference, self.home, self.progress = probe, reference, home, progress

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Replies are written before the checkpoint, so that no checkpoint lacks those of its step."""
        self.progress.advance(1)
        if state.global_step % args.save_steps == 0 or state.global_step == args.max_steps:
            model = self.probe.policy.writer.model
            model.eval()
            table = self.probe.written(state.global_step, self.reference)
            model.train()
            write_parquet(self.home / f"step-{state.global_step}.parquet", table)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The checkpoint of this step has been written."""
        write_text(Path(args.output_dir) / f"checkpoint-{state.global_step}" / _WHOLE, "")


def _last_whole(checkpoints: Path) -> Path | None:
    whole = [path.parent for path in checkpoints.glob(f"checkpoint-*/{_WHOLE}")]
    return max(whole, key=_step, default=None)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.partition("-")[2])


def _save(policy: Policy, trainer: Any, directory: Path) -> None:
    """The policy as a directory of transformers, adapters merged into the weights; written aside, then renamed."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    aside = directory.with_name(f".{directory.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    model.save_pretrained(aside)
    policy.writer.tokenizer.save_pretrained(aside)
    shutil.rmtree(directory, ignore_errors=True)
    os.replace(aside, directory)
