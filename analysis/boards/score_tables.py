"""What a score table may hold: ids, lengths and scores, each of its kind, every example once, and never a text.

A table from somebody else is evidence only if it is complete and says nothing twice, and it may only be passed on if
no row of a data set can be read out of it. So columns are let through by name, and what is a name (ids, subsets) must
be as short as one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.boards.bounds import LONGEST_NAME
from benchmarks.pair_metrics import VALIDATION
from benchmarks.protocol import Kind
from benchmarks.registry import find
from mars.config import UserError, nearest

MOST_EXAMPLES = 2_000_000  # rows of a table
LARGEST = 2**30  # bytes of a table unpacked

_FITS: Mapping[Kind, tuple[str, Callable[[pa.DataType], bool]]] = {  # what belongs in a column, in words and as a test
    "text": ("text", lambda t: pa.types.is_string(t) or pa.types.is_large_string(t)),
    "score": ("floating point", pa.types.is_floating),
    "count": ("integer", pa.types.is_integer),
    "flag": ("true or false", pa.types.is_boolean),
}
_OPTIONAL = "agreement"  # left out where it is 1 in every row
_EXAMPLE = ("split", "id", "edit", "response")  # those of a table's columns that name one of its rows


def read_scores(file: Path, benchmark: str) -> pd.DataFrame:
    """The table, sorted as it was written. Raises UserError in one line for the first thing that is wrong with it."""
    columns = find(benchmark).kinds
    try:
        parquet = pq.ParquetFile(file)
        schema = parquet.schema_arrow
        _check_columns(schema, columns)
        _check_size(parquet.metadata)
        names = [name for name in schema.names if columns[name] == "text"]
        packed = pq.ParquetFile(file, read_dictionary=names).read(use_threads=False)
        for name in names:
            _check_names(name, packed[name])
        table: pd.DataFrame = packed.cast(schema).to_pandas()
        _check_rows(table)
    except (OSError, ValueError, UserError, MemoryError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise UserError(" ".join(str(error).split())) from None
    return table


def example_columns(table: pd.DataFrame) -> list[str]:
    """The columns that name an example together."""
    return [name for name in _EXAMPLE if name in table]


def score_columns(table: pd.DataFrame) -> list[str]:
    """The columns that hold what a model says of an example."""
    return sorted(name for name in table.columns.astype(str) if name == "score" or name.endswith("_score"))


def without_validation(table: pd.DataFrame) -> pd.DataFrame:
    """The test examples."""
    return table[table["split"] != VALIDATION] if "split" in table else table


def rows_of(table: pd.DataFrame) -> pd.DataFrame:
    """What a table says of the examples and not of the model, in an order of its own; validation pairs are no part."""
    table = without_validation(table)
    facts = table.drop(columns=[c for c in (*score_columns(table), "turns") if c in table])
    return facts.sort_values(example_columns(table), kind="stable", ignore_index=True)[
        sorted(facts.columns.astype(str))
    ]


def fingerprint(table: pd.DataFrame) -> str:
    """sha256 of `rows_of` the table: equal where two tables are of the same examples."""
    rows = rows_of(table)
    total = hashlib.sha256(repr(list(rows)).encode())
    for name in rows:
        total.update(pd.util.hash_array(rows[name].to_numpy(object if rows[name].dtype == "str" else None)).tobytes())
    return total.hexdigest()


def difference(one: pd.DataFrame, other: pd.DataFrame) -> str:
    """In what the examples of two tables differ, for a reader; empty where in nothing."""
    one, other = rows_of(one), rows_of(other)
    key = example_columns(one)
    ours, theirs = (pd.MultiIndex.from_frame(rows[key]) for rows in (one, other))
    for names, what in ((theirs.difference(ours), "lacks"), (ours.difference(theirs), "has besides")):
        if len(names):
            return f'{what} {len(names)} of the examples, "{_method_of(key, names[0])}" among them'
    for name in sorted({*one.columns.astype(str), *other.columns.astype(str)}):
        if name not in one or name not in other:
            return f"{'lacks' if name not in one else 'has besides'} the column {name}"
        differ = np.flatnonzero(~((one[name] == other[name]) | (one[name].isna() & other[name].isna())).to_numpy(bool))
        if len(differ):
            return f'differs in {name} on {len(differ)} examples, "{_method_of(key, ours[differ[0]])}" among them'
    return ""


def _check_columns(schema: pa.Schema, columns: Mapping[str, Kind]) -> None:
    if foreign := [name for name in schema.names if name not in columns]:
        hint = "" if len(foreign[0]) > 40 else nearest(foreign[0], columns)
        raise UserError(
            f'column "{foreign[0][:40]}" does not belong there, a score table holds ids, lengths and scores{hint}'
        )
    if len(set(schema.names)) < len(schema.names):
        raise UserError("has a column twice")
    if missing := [name for name in columns if name not in schema.names and name != _OPTIONAL]:
        raise UserError(f"lacks {', '.join(missing)}")
    for field in schema:
        words, fits = _FITS[columns[field.name]]
        if not fits(field.type):
            raise UserError(f'column "{field.name}" is {field.type} where {words} belongs')


def _check_size(told: pq.FileMetaData) -> None:
    """A table of one name a million times takes nothing to send."""
    unpacked = sum(told.row_group(i).total_byte_size for i in range(told.num_row_groups))
    if told.num_rows > MOST_EXAMPLES or unpacked > LARGEST:
        most = f"at most {MOST_EXAMPLES:,} rows, {LARGEST:,} bytes"
        raise UserError(f"is larger than may be read ({told.num_rows:,} rows, {unpacked:,} bytes unpacked; {most})")


def _check_names(name: str, column: pa.ChunkedArray) -> None:
    """Raises UserError for a column of texts. column: each distinct one once, so that long ones do not multiply."""
    if column.null_count:
        raise UserError(f'column "{name}" has empty cells')
    for chunk in column.chunks:
        distinct = chunk.dictionary
        long = pc.or_(pc.greater(pc.utf8_length(distinct), LONGEST_NAME), pc.match_substring(distinct, "\n"))
        if first := next((text.as_py() for text in distinct.filter(long)), ""):
            raise UserError(f'column "{name}" holds texts ("{first[:20]}…"), and texts are not to be passed on')


def _check_rows(table: pd.DataFrame) -> None:
    if table.empty:
        raise UserError("holds no examples")
    key = example_columns(table)
    if (twice := table.duplicated(key)).any():
        raise UserError(f'"{_method_of(key, table.loc[twice, key].iloc[0])}" is there more than once')
    for name in score_columns(table):
        bad = ~np.isfinite(table[name].to_numpy(float))
        if bad.any():
            first = table.loc[bad, ["id", name]].iloc[0]
            raise UserError(f'the {name} of "{first["id"]}" is {first[name]} ({int(bad.sum())} such scores)')


def _method_of(key: list[str], values: object) -> str:
    """An example's name: its split, id, edit or response."""
    parts = values if isinstance(values, tuple | list) else list(values) if isinstance(values, pd.Series) else [values]
    return " ".join(str(part) for part in parts if str(part))
