"""What kinds of columns, and keys that nobody declared, are decided by: a bounded number of rows of the source."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import pyarrow as pa
import pyarrow.compute as pc

from synth_engine.schema import Schema, Table
from synth_engine.schema.inference import InferredKey, Sample, apply_inferred, infer_keys
from synth_engine.schema.kinds import ColumnStatistics, refine_kinds
from synth_engine.schema.types import base_type, to_arrow

SAMPLED_ROWS = 200_000
"""Rows from the start of a table that decide about kinds and undeclared keys."""

MOST_EXACT = 2.0**53
"""Whole numbers up to it are exact as floats."""


def refine_schema(
    schema: Schema,
    read: Callable[[Table], Iterable[pa.RecordBatch]],
    written_kinds: Collection[tuple[str, str]],
    *,
    with_keys: bool,
    kept: Collection[str] = (),
) -> tuple[Schema, tuple[InferredKey, ...]]:
    """The schema with its kinds decided by the first rows of each table, and, if wanted, with keys that these give away.

    Also returns every key that was thought of, taken or not. `written_kinds` are the `(table, column)` whose kind a person decided;
    the tables `kept` are to be delivered as they are.
    """
    statistics, samples = {}, {}
    for name, table in schema.tables.items():
        rows, whole = first_rows(table, read(table))
        statistics[name] = column_statistics(table, rows)
        if with_keys:
            samples[name] = Sample.of(table, rows, whole)
    inferred = infer_keys(schema, samples, written_kinds) if with_keys else ()
    return refine_kinds(apply_inferred(schema, inferred), statistics, written_kinds, kept), inferred


def first_rows(table: Table, batches: Iterable[pa.RecordBatch]) -> tuple[pa.Table, bool]:
    """The first `SAMPLED_ROWS` rows or a few more, to the end of a batch; and whether they are the whole table."""
    held, rows, rest = [], 0, iter(batches)
    for batch in rest:
        held.append(batch)
        rows += batch.num_rows
        if rows >= SAMPLED_ROWS:
            break
    schema = None if held else pa.schema([(c.name, to_arrow(c.data_type)) for c in table.columns])
    return pa.Table.from_batches(held, schema), next(rest, None) is None


def column_statistics(table: Table, rows: pa.Table) -> dict[str, ColumnStatistics]:
    """Counts of each column over these rows."""
    return {c.name: _of_column(rows[c.name], base_type(c.data_type)) for c in table.columns}


def _of_column(values: pa.ChunkedArray, kind: str) -> ColumnStatistics:
    distinct = int(pc.count_distinct(values).as_py())
    longest = integral = None
    not_finite = long = 0
    if kind == "string" and values.null_count < len(values):
        longest = int(pc.max(pc.utf8_length(values)).as_py())
    if kind in ("float32", "float64", "decimal") and values.null_count < len(values):
        numbers = pc.cast(values, pa.float64(), safe=False)
        finite = pc.filter(numbers, pc.fill_null(pc.is_finite(numbers), False))
        integral = bool(pc.all(pc.equal(finite, pc.round(finite))).as_py()) if len(finite) else None
        not_finite = len(values) - values.null_count - len(finite)
    if kind in ("int64", "decimal") and values.null_count < len(values):
        places = getattr(values.type, "scale", 0)
        whole = pc.multiply(pc.cast(values, pa.float64(), safe=False), 10.0**places)
        long = int(pc.sum(pc.greater(pc.abs(whole), MOST_EXACT)).as_py() or 0)
    return ColumnStatistics(len(values), values.null_count, distinct, longest, integral, not_finite, long)
