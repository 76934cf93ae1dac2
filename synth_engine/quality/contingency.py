"""Columns cut into few cells, and how much two contingency tables over such cells overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synth_engine.quality.columns import is_continuous, numbers, texts
from synth_engine.schema import Column

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Codes = NDArray[np.int64]

MOST_BINS = 10


def bins_for(rows: int) -> int:
    """Bins a column so that a pair of columns keeps about ten rows a cell: between 2 and `MOST_BINS`."""
    return int(np.clip(np.sqrt(rows / 10), 2, MOST_BINS))


@dataclass(frozen=True)
class Discretiser:
    """Maps a column to the codes 0 … `size` - 1; the last one stands for missing. Fitted on real values only.

    Continuous columns are cut at `edges` (quantiles); of a discrete column the commonest `categories` keep a code
    and all others share one.
    """

    column: Column
    edges: NDArray[np.float64]
    categories: tuple[str, ...]

    @classmethod
    def fit(cls, values: pd.Series, column: Column, bins: int) -> Discretiser:
        if is_continuous(column):
            present = numbers(values, column)
            present = present[~np.isnan(present)]
            inner = np.quantile(present, np.linspace(0, 1, bins + 1))[1:-1] if len(present) else np.empty(0)
            return cls(column, np.unique(inner), ())
        counted = sorted(
            ((str(v["values"]), int(v["counts"])) for v in pc.value_counts(texts(values).drop_null()).to_pylist()),
            key=lambda p: (-p[1], p[0]),
        )
        return cls(column, np.empty(0), tuple(name for name, _ in counted[:bins]))

    @property
    def size(self) -> int:
        return (len(self.edges) if is_continuous(self.column) else len(self.categories)) + 2

    def codes(self, values: pd.Series) -> Codes:
        if is_continuous(self.column):
            found = numbers(values, self.column)
            return np.where(np.isnan(found), self.size - 1, np.searchsorted(self.edges, found, side="right")).astype(np.int64)
        names = texts(values)
        index = pc.index_in(names, value_set=pa.array(self.categories, pa.string()))
        code = pc.if_else(pc.is_null(names), self.size - 1, pc.fill_null(index, self.size - 2))
        return np.asarray(code.to_numpy(zero_copy_only=False), dtype=np.int64)


def overlap(real: Sequence[Codes], synthetic: Sequence[Codes], sizes: Sequence[int]) -> float:
    """1 minus the total variation distance of two joint distributions; each is given as one code array a column.

    A side without rows overlaps with nothing but another such.
    """
    cells = int(np.prod(sizes))
    p, q = (np.bincount(np.ravel_multi_index(tuple(side), tuple(sizes)), minlength=cells) for side in (real, synthetic))
    if not p.sum() or not q.sum():
        return float(p.sum() == q.sum())
    return float(1 - 0.5 * np.abs(p / p.sum() - q / q.sum()).sum())
