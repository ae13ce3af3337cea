"""What each round drew, and from what: round by round, and in a file as if it had been one table."""

from pathlib import Path

import numpy as np
import pandas as pd
from support.pool import Numbering, pairs

from mars.files import write_parquet, write_parquet_parts
from mars.pool.pool import Pool
from mars.record.tables import allocations, selections


def test_a_row_for_each_drawn_row_and_one_for_each_pair_in_every_round(tmp_path: Path) -> None:
    pool = Pool(pairs(3), Numbering())
    drawn = [pool.of_pairs(np.array([0, 2]))[:, :2].ravel(), pool.of_pairs(np.array([1]))[0, :1]]
    margins = [np.array([0.5, -1.0, 2.0]), None]
    write_parquet_parts(tmp_path / "selection.parquet", selections(drawn, pool))
    write_parquet_parts(tmp_path / "allocation.parquet", allocations(drawn, margins, pool))
    selected, allocated = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("selection", "allocation"))
    assert selected.to_dict("list") == {
        "round": [0, 0, 0, 0, 1],
        "row": np.concatenate(drawn).tolist(),
        "parent": [0, 0, 2, 2, 1],
        "budget": [2, 2, 2, 2, 1],
    }
    assert allocated[["round", "pair", "budget"]].to_numpy().tolist() == [
        [0, 0, 2], [0, 1, 0], [0, 2, 2], [1, 0, 0], [1, 1, 1], [1, 2, 0],
    ]  # fmt: skip
    np.testing.assert_array_equal(allocated.margin, [0.5, -1.0, 2.0, np.nan, np.nan, np.nan])


def test_one_part_is_the_file_that_the_whole_is(tmp_path: Path) -> None:
    frame = pd.DataFrame({"round": 0, "row": np.arange(5), "margin": np.linspace(0, 1, 5)})
    write_parquet(tmp_path / "whole", frame)
    write_parquet_parts(tmp_path / "parts", iter([frame]))
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "whole"]
