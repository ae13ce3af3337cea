"""What the files of a run's directory are called, and what each holds."""

from __future__ import annotations

STAMP = "config.sha256"  # whose run a directory holds, written first
CONFIG = "config.yaml"
MANIFEST = "manifest.json"
ROUNDS = "rounds.csv"
SELECTION = "selection.parquet"
ALLOCATION = "allocation.parquet"
SPECTRA = "spectra.parquet"
VARIANTS = "variants.parquet"
SEMANTIC = "semantic.parquet"
METRICS = "metrics.json"
LOG = "run.log"
JOB_LOG = "slurm.log"
JOB_LOG_VARIABLE = "MARS_JOB_LOG"  # of the environment: the log of the job that this process is
DONE = "DONE"  # written last

# What a run writes into its directory, and what each holds. One given as out=DIR may have a user's own files beside it.
FILES = {
    STAMP: "the hash of the run's config, written first",
    CONFIG: "the resolved config",
    MANIFEST: "schema version, commit, package versions, hardware, sha256 of data and weights, ids of the base pairs, "
    "rows read and dropped and why, truncation, pool use, contamination, wall time, cores at work, tokens, peak memory",
    ROUNDS: "a row for each round: losses, held-out accuracy, margins, allocation, speed, seconds by part, curvature",
    SELECTION: "which pool rows each round drew",
    ALLOCATION: "the margin and the budget of each base pair, by round",
    SPECTRA: "the eigenvalues of H and G, by round, where curvature is recorded",
    VARIANTS: "every variant looked at: its parent, operation and parameters, why it equals its source or was refused",
    SEMANTIC: "every rewrite that the semantic layer tried",
    METRICS: "{evaluation: {part: {metric: value}}}",
    LOG: "what happened, line by line",
    JOB_LOG: "with hydra/launcher=slurm a link to the log of the job that worked on it, in STUDY/slurm",
    DONE: "nothing; written last, so that a directory without it is unfinished",
    "scores": "a table for each evaluation, with every example and its scores",
    "evaluations": "a record for each evaluation: protocol, numbers with intervals, data, model",
    "replies": "what policies made with the model reply, a file each, as AlpacaEval's model_outputs",
    "judgements": "whose replies a judge prefers: verdicts, record and the replies, a folder for each comparison",
    "model": "the trained model as safetensors, with its card",
    "checkpoint": "of an unfinished run: its two newest checkpoints, what it paid so far, scores of unfinished passes",
    "wandb": "the W&B run's id and offline files, with logger=wandb",
}
ALWAYS = (STAMP, CONFIG, MANIFEST, ROUNDS, METRICS)  # of these, what a finished run always has
PASSED_ON = (MANIFEST, METRICS, CONFIG, ROUNDS, DONE)  # of these, what a submission takes, besides scores and records

MAIN = "in_distribution"  # the evaluation that every run has
UNMEASURED = ".failed"  # ends the name of a table that could not be measured


def scores_of(label: str) -> str:
    """The name of an evaluation's table: its scores, a row per example."""
    return f"scores/{label}.parquet"


def record_of(label: str) -> str:
    """The name of an evaluation's record: its protocol, numbers and data."""
    return f"evaluations/{label}.json"


def replies_of(policy: str) -> str:
    """The name of a file of replies: what a policy made with the run's model says to prompts."""
    return f"replies/{policy}.json"


def judgements_of(ours: str, theirs: str) -> str:
    """The name of the folder of the judgements of two policies' replies, one for each judge."""
    return f"judgements/{ours}-vs-{theirs}"
