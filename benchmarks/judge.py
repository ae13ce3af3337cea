"""Judge two policies' replies to the same prompts against each other.

    python -m benchmarks.judge ours=a.json theirs=b.json judge=reward_model judge.model=outputs/quick/RUN
    python -m benchmarks.judge ours=a.json theirs=b.json judge=endpoint judge.model=NAME dry_run=true

Standard output is the record as JSON; OUT/judgement.md is for reading (`benchmarks.judges.record`). Asked again with
another judge and the same `out`, the judges stand in one table with their agreement.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from benchmarks.judges.settings import JudgementConfig
from mars.config import build


def run(cfg: Mapping[str, Any]) -> None:
    """The command: `cfg` is conf/judge.yaml, resolved. Prints the record, or with dry_run what it would take."""
    settings = build(JudgementConfig, cfg, "")
    from benchmarks.judges.record import carry_out, printed  # here, because torch comes with it

    print(printed(carry_out(settings)), flush=True)


def main() -> None:
    from mars.cli import command

    command("judge", run, "nothing is half-written, and replies that were paid for are kept")()


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
