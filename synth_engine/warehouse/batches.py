"""Arrow batches on their way in and out of a warehouse: bounded, and in the types the engine expects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from synth_engine.errors import SourceDataError, WarehouseError
from synth_engine.schema import Table
from synth_engine.schema.types import arrow_schema

BATCH_ROWS = 65_536
"""No batch that leaves a warehouse is longer than this."""


def declared_schema(table: Table) -> pa.Schema:
    """The Arrow schema of a table, with its not-null rules."""
    return pa.schema([field.with_nullable(c.nullable) for field, c in zip(arrow_schema(table), table.columns, strict=True)])


_FIRST, _LAST = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)


def reader(table: Table, batches: Iterable[pa.RecordBatch]) -> pa.RecordBatchReader:
    """Stream `batches` as the engine reads them: bounded, columns in schema order, types of `schema.types.arrow_schema`."""
    shape = arrow_schema(table)
    return pa.RecordBatchReader.from_batches(shape, _within_calendar(table, conformed(table, batches, shape)))


def _within_calendar(table: Table, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Refuse moments that no calendar of Python's or Arrow's holds, such as PostgreSQL's `infinity`."""
    for batch in batches:
        for column, field in zip(batch.columns, batch.schema, strict=True):
            if not (pa.types.is_date(field.type) or pa.types.is_timestamp(field.type)):
                continue
            first, last = (
                pa.scalar(edge.replace(tzinfo=UTC) if getattr(field.type, "tz", None) else edge, field.type) for edge in (_FIRST, _LAST)
            )
            outside = pc.sum(pc.or_(pc.less(column, first), pc.greater(column, last))).as_py()
            if outside:
                raise SourceDataError(
                    f"Column {field.name!r} of table {table.name!r} must hold moments of the years 1 to 9999",
                    value=f"{outside} others in a batch (infinity, or before our era)",
                    advice="correct them in the source, or leave the table out",
                )
        yield batch


def conformed(table: Table, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Cut and cast batches to `schema`. Raises `WarehouseError` that names the column, never a value."""
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            piece = batch.slice(start, BATCH_ROWS)
            yield pa.RecordBatch.from_arrays([_cast(table, piece, field) for field in schema], schema=schema)


def _cast(table: Table, batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    position = batch.schema.get_field_index(field.name)
    if position < 0:
        raise WarehouseError(
            f"Rows of table {table.name!r} must have every column of the schema",
            value=f"column {field.name!r} is missing or double",
            advice="run the reflect step again",
        )
    column = batch.column(position)
    if not field.nullable and column.null_count:
        raise WarehouseError(
            f"Column {field.name!r} of table {table.name!r} must not be null", value=f"{column.null_count} nulls in a batch"
        )
    try:
        # nanoseconds are truncated to the microseconds the engine works with
        return (
            column
            if column.type == field.type
            else pc.cast(column, options=pc.CastOptions(target_type=field.type, allow_time_truncate=True))
        )
    except pa.ArrowException as error:  # its message repeats the value
        raise WarehouseError(
            f"Column {field.name!r} of table {table.name!r} must be readable as {field.type}",
            value=f"{type(error).__name__} while casting from {column.type}",
            advice="change the column's type in the source, or leave the table out",
        ) from None
