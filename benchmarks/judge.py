"""Judge two policies' replies to the same prompts against each other.

    python -m benchmarks.judge ours=a.json theirs=b.json judge=reward_model judge.model=outputs/quick/RUN
    python -m benchmarks.judge ours=a.json theirs=b.json judge=endpoint judge.model=NAME dry_run=true
    python -m benchmarks.judge study=outputs/matched ours=best_of_n-16 theirs=best_of_n-1 judge=gold

Standard output is the record as JSON; OUT/judgement.md is for reading (`benchmarks.judges.record`). Asked again with
another judge and the same `out`, the judges stand in one table with their agreement. With study=DIR the replies are
those of its runs, RUN/replies/NAME.json, and judgements go into RUN/judgements/, where the study's report finds them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from benchmarks.judges.settings import JudgementConfig
from mars.config import UserError, build
from mars.progress import counted

log = logging.getLogger("benchmarks.judge")  # also when it runs as __main__


def run(cfg: Mapping[str, Any]) -> None:
    """The command: `cfg` is conf/judge.yaml, resolved. Prints the record, or with dry_run what it would take."""
    settings = build(JudgementConfig, cfg, "")
    from benchmarks.judges.record import carry_out, printed  # here, because torch comes with it

    if settings.study is None:
        print(printed(carry_out(settings)), flush=True)
        return
    runs, failures = settings.of_runs(), list[UserError]()
    for name, of_run in runs.items():
        try:
            print(printed(carry_out(of_run)), flush=True)
        except UserError as error:
            log.error("%s: %s", name, error)
            failures.append(error)
    if failures:
        raise UserError(
            f"study: {len(failures)} of {counted(len(runs), 'run')} could not be judged; the first: {failures[0]}"
        )


def main() -> None:
    from mars.cli import command

    command("judge", run, "nothing is half-written, and replies that were paid for are kept")()


if __name__ == "__main__":
    main()
