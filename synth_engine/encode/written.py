"""Moments that a column keeps as integers or text, such as 20140526: read as the moments they are, written back as they were.

A kind says that such a column holds moments; how they are written is found in its values, and from then on stands in
the `data_type` that the encoders see: `date(int64 as %Y%m%d)` is a date for whoever computes and an int64 for whoever stores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from synth_engine.errors import ConfigurationError, SynthError
from synth_engine.schema import Column, Kind, Schema
from synth_engine.schema.types import base_type, default_kind, to_arrow, written_type

Reader = Callable[[str, list[str]], Iterable[pa.RecordBatch]]
"""The batches of a table, given by name, with only some of its columns."""

DATE_FORMATS = {
    "%Y%m%d": "date",
    "%Y-%m-%d": "date",
    "%Y-%m-%d %H:%M:%S": "timestamp",
    "%Y-%m-%dT%H:%M:%S": "timestamp",
    "%Y-%m-%dT%H:%M:%SZ": "timestamp",
}
TIME_FORMATS = {"%H:%M:%S": "time", "%H:%M": "time"}
MOMENT_OF_FORMAT = DATE_FORMATS | TIME_FORMATS
"""The formats that are read, each with the type of the moments it tells."""


def formats_of(column: Column) -> tuple[str, ...]:
    """The formats in which a column may keep its moments; none where its type or kind is not one for that."""
    stored = base_type(column.data_type)
    if column.kind in (Kind.DATE, Kind.TIMESTAMP) and stored in ("int32", "int64"):
        return ("%Y%m%d",)
    if stored != "string":
        return ()
    return {Kind.DATE: tuple(DATE_FORMATS), Kind.TIMESTAMP: tuple(DATE_FORMATS), Kind.TIME: tuple(TIME_FORMATS)}.get(column.kind, ())


def read(values: pa.Array, how: str) -> pa.Array:
    """The moments of integers or text, in their Arrow type; null where a value is not exactly what `write` would make of one."""
    text = values.cast(pa.string())
    moments = pc.strptime(text, how, "s", error_is_null=True)
    # a day that no month has is taken for one of the next month, and missing digits are overlooked: neither comes back
    same = pc.equal(pc.strftime(moments, how), text)
    return pc.if_else(same, moments, pa.scalar(None, moments.type)).cast(to_arrow(MOMENT_OF_FORMAT[how]))


def write(moments: pa.Array, how: str, stored: str) -> pa.Array:
    """The inverse of `read`, in the Arrow type of the neutral type `stored`. What the format has no place for is cut off."""
    whole = moments.cast(pa.timestamp("s"), safe=False) if pa.types.is_timestamp(moments.type) else moments
    whole = whole.cast(pa.time32("s"), safe=False) if pa.types.is_time(moments.type) else whole
    return pc.strftime(whole, how).cast(to_arrow(stored))


def format_that_reads(values: pa.Array, candidates: Iterable[str]) -> str | None:
    """The first format in which every value is written; None if there is none."""
    return next((how for how in candidates if read(values, how).null_count == values.null_count), None)


def with_written_moments(schema: Schema, reader: Reader) -> Schema:
    """The schema with the types of written moments (see above) where kinds ask for them.

    Raises `ConfigurationError` naming every column that has values which are not moments in one format.
    """
    faults: list[SynthError] = []
    tables = []
    for name, table in schema.tables.items():
        told = {c.name: formats_of(c) for c in table.columns if formats_of(c)}
        unread = _unread(told, reader(name, list(told))) if told else {}
        types = {}
        for column in (c for c in table.columns if c.name in told):
            how = min(told[column.name], key=lambda form: unread[column.name][form])
            if unread[column.name][how]:
                faults.append(_fault(name, column, how, unread[column.name]))
            types[column.name] = written_type(MOMENT_OF_FORMAT[how], column.data_type, how)
        tables.append(replace(table, columns=tuple(replace(c, data_type=types.get(c.name, c.data_type)) for c in table.columns)))
    if faults:
        raise ConfigurationError(faults)
    return Schema.of(tables)


_VALUES = "values"


def _unread(told: dict[str, tuple[str, ...]], batches: Iterable[pa.RecordBatch]) -> dict[str, Counter[str]]:
    """For each column how many of its values each format cannot read, and under `_VALUES` how many there are."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in told}
    for batch in batches:
        for name, formats in told.items():
            values = batch.column(name)
            counts[name][_VALUES] += len(values) - values.null_count
            counts[name].update({how: read(values, how).null_count - values.null_count for how in formats})
    return counts


def _fault(table: str, column: Column, how: str, unread: Counter[str]) -> SynthError:
    count, values = unread[how], unread[_VALUES]
    others = ", ".join(_words(form) for form in formats_of(column))
    return SynthError(
        f"columns.{table}.{column.name}: every value of kind {column.kind} in type {column.data_type} must be written in one of: {others}",
        value=f"{count / values:.2%} of the values ({count} of {values}) are not {_words(how)}",
        advice=f"give it kind {default_kind(column.data_type)}, or correct these values in the source",
    )


def _words(how: str) -> str:
    """`%Y-%m-%d` as people write it: yyyy-mm-dd."""
    for code, letters in (("%Y", "yyyy"), ("%m", "mm"), ("%d", "dd"), ("%H", "hh"), ("%M", "mm"), ("%S", "ss")):
        how = how.replace(code, letters)
    return how
