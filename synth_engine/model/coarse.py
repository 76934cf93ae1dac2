"""A column in a handful of codes, for questions that need no more: do siblings agree, what do a parent's children have in common."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth_engine.encode.values import to_floats
from synth_engine.schema import Column, Kind
from synth_engine.schema.types import MOMENT_TYPES, NUMBER_TYPES, base_type

GROUPS = 8


def is_ordered(column: Column) -> bool:
    """Whether means and deviations of the column make sense."""
    return column.kind not in (Kind.CATEGORY, Kind.BOOLEAN) and base_type(column.data_type) in NUMBER_TYPES | MOMENT_TYPES


def coarse_codes(values: pa.Array, column: Column) -> NDArray[np.uint8]:
    """Codes 0 (null) … GROUPS: eighths of an ordered column, the most frequent values of another (the rest in one)."""
    if is_ordered(column):
        numbers = to_floats(values, column.data_type)
        known = np.isfinite(numbers)
        edges = np.unique(np.quantile(numbers[known], np.linspace(0, 1, GROUPS + 1)[1:-1])) if known.any() else np.zeros(0)
        return np.where(known, 1 + np.searchsorted(edges, np.where(known, numbers, 0.0), side="right"), 0).astype(np.uint8)
    encoded = values.dictionary_encode()
    codes = np.asarray(pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False), dtype=np.int64)
    counts = np.bincount(codes[codes >= 0], minlength=max(len(encoded.dictionary), 1))
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return np.where(codes >= 0, 1 + np.minimum(rank[codes], GROUPS - 1), 0).astype(np.uint8)
