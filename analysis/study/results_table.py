"""Every number of a study in one table: a row for each run × benchmark × split × metric, as `report/results.parquet`.

It is what other programs read, so it carries its schema's version in the file's metadata, and the same study gives the
same bytes.

    from analysis import load
    from analysis.study.results_table import tidy, to_parquet
    Path("results.parquet").write_bytes(to_parquet(tidy(load("outputs/quick"))))
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.study.study import KEYS, Study

SCHEMA_VERSION = 1
VERSION_KEY = "mars_schema_version"  # of the file's metadata
COLUMNS = [*KEYS, "source", "benchmark", "split", "metric", "value"]


def tidy(study: Study, comparable: Iterable[str] | None = None) -> pd.DataFrame:
    """COLUMNS, in the study's order; value is NaN where a number is not known.

    comparable: the names of the runs that belong in it, such as those that nothing confounds; None for all.
    """
    frame = study.metrics if comparable is None else study.metrics[study.metrics["run"].isin(list(comparable))]
    sources = study.runs.set_index("run")["source"]
    return frame.assign(source=frame["run"].map(sources))[COLUMNS].reset_index(drop=True)


def to_parquet(frame: pd.DataFrame) -> bytes:
    """`frame` as a parquet file, with SCHEMA_VERSION under VERSION_KEY."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), VERSION_KEY.encode(): str(SCHEMA_VERSION).encode()}
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), file)
    return file.getvalue()
