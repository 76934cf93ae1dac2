"""What the kinds of columns are decided by: counts over a bounded number of rows of the source, never a value."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from synth_engine.schema import Table
from synth_engine.schema.kinds import ColumnStatistics
from synth_engine.schema.types import base_type

SAMPLED_ROWS = 200_000
"""Rows from the start of a table that decide about kinds."""


def column_statistics(table: Table, batches: Iterable[pa.RecordBatch]) -> dict[str, ColumnStatistics]:
    """Counts of each column over the first `SAMPLED_ROWS` rows."""
    held, rows = [], 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        if rows >= SAMPLED_ROWS:
            break
    if not held:
        return {c.name: ColumnStatistics(0, 0, 0) for c in table.columns}
    data = pa.Table.from_batches(held)
    return {c.name: _of_column(data[c.name], base_type(c.data_type)) for c in table.columns}


def _of_column(values: pa.ChunkedArray, kind: str) -> ColumnStatistics:
    distinct = int(pc.count_distinct(values).as_py())
    longest = integral = None
    if kind == "string" and values.null_count < len(values):
        longest = int(pc.max(pc.utf8_length(values)).as_py())
    if kind in ("float32", "float64", "decimal") and values.null_count < len(values):
        numbers = pc.cast(values, pa.float64(), safe=False)
        finite = pc.filter(numbers, pc.fill_null(pc.is_finite(numbers), False))
        integral = bool(pc.all(pc.equal(finite, pc.round(finite))).as_py()) if len(finite) else None
    return ColumnStatistics(len(values), values.null_count, distinct, longest, integral)
