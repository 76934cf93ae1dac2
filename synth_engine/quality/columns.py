"""How the quality room looks at a column: as numbers, as texts, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synth_engine.encode.values import hex_digits
from synth_engine.encode.written import format_that_reads, formats_of, read
from synth_engine.schema import Column, Kind, Schema
from synth_engine.schema.types import base_type

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

MOMENT_TYPES = frozenset({"date", "time", "timestamp", "timestamptz"})
NUMBER_TYPES = frozenset({"int16", "int32", "int64", "float32", "float64", "decimal"})
SECONDS_PER_DAY = 86_400.0

_DISCRETE_KINDS = frozenset({Kind.CATEGORY, Kind.BOOLEAN})
_CONTINUOUS_KINDS = frozenset({Kind.INTEGER, Kind.DECIMAL, Kind.DATE, Kind.TIME, Kind.TIMESTAMP})


def is_continuous(column: Column) -> bool:
    """Numbers and moments: they have an order and a distance."""
    return column.kind in _CONTINUOUS_KINDS


def is_discrete(column: Column) -> bool:
    """Categories and booleans."""
    return column.kind in _DISCRETE_KINDS


def is_moment(column: Column) -> bool:
    """Dates, times and timestamps, whatever type stores them."""
    return column.kind in (Kind.DATE, Kind.TIME, Kind.TIMESTAMP)


def moment_type(column: Column) -> str | None:
    """The type of the moments that can be compared in the warehouse as they are stored, None for all other columns.
    Integers such as 20140526 are dates; text is not compared."""
    stored = base_type(column.data_type)
    if stored in MOMENT_TYPES:
        return stored
    return "date" if is_moment(column) and stored in NUMBER_TYPES else None


def key_columns(schema: Schema, table: str) -> frozenset[str]:
    """Columns whose values are mere names: primary key, foreign keys, and what other tables' keys refer to."""
    referred = (key.parent_columns for _, key in schema.children_of(table))
    named = (column for t in schema.tables.values() for key in t.polymorphic for _, parent, column in key.parents if parent == table)
    return schema.tables[table].key_columns.union(*referred, named)


def scored_columns(schema: Schema, table: str) -> tuple[Column, ...]:
    """Columns that carry statistics: continuous or discrete, and no part of a key. Texts and identifiers are left out."""
    keys = key_columns(schema, table)
    unique = {key[0] for key in schema.tables[table].unique if len(key) == 1}
    return tuple(
        column
        for column in schema.tables[table].columns
        if column.name not in keys and (is_continuous(column) or (is_discrete(column) and column.name not in unique))
    )


def numbers(values: pd.Series | pa.Array | pa.ChunkedArray, column: Column) -> NDArray[np.float64]:
    """A continuous column as float64, missing as NaN: numbers as they are, moments in seconds (since 1970 or midnight).

    Moments may also be written as integers or text. Raises `pyarrow.ArrowInvalid` for values that are no number or moment.
    """
    array = _arrow(values)
    if pa.types.is_null(array.type):
        return np.full(len(array), np.nan)
    if is_moment(column):
        return _seconds(_moments(array, column), column.kind)
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    return _floats(array.cast(pa.float64(), safe=False))


def texts(values: pd.Series | pa.Array | pa.ChunkedArray) -> pa.Array:
    """Any column as strings, missing as null, such that 1 and 1.0, or a boolean in two types, read the same; bytes as hex digits."""
    array = _arrow(values)
    if pa.types.is_binary(array.type):
        return hex_digits(array)
    if pa.types.is_floating(array.type):
        whole = pc.all(pc.equal(pc.trunc(array), array)).as_py()
        array = array.cast(pa.int64()) if whole is not False and _fits_integers(array) else array
    return array.cast(pa.string())


def _arrow(values: pd.Series | pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        array = values.combine_chunks()
    elif isinstance(values, pa.Array):
        array = values
    else:
        array = pa.Array.from_pandas(values)
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _fits_integers(array: pa.Array) -> bool:
    largest = pc.max(pc.abs(array)).as_py()
    return largest is not None and largest < 2**53


def _moments(array: pa.Array, column: Column) -> pa.Array:
    """What is written as integers or text (integers that pandas made floats, too) in the type of moments, if it is any."""
    if pa.types.is_floating(array.type):
        array = array.cast(pa.int64())
    how = format_that_reads(array, formats_of(column))
    if how is None and pa.types.is_integer(array.type):
        raise pa.ArrowInvalid(f"column {column.name!r} holds integers that are no moments")
    return array if how is None else read(array, how)


def _seconds(array: pa.Array, kind: Kind) -> NDArray[np.float64]:
    if kind is Kind.TIME:
        return _floats(array.cast(pa.time64("us")).cast(pa.int64()).cast(pa.float64())) / 1e6
    if pa.types.is_timestamp(array.type) and array.type.tz:
        array = array.cast(pa.timestamp("us", tz="UTC"), safe=False).cast(pa.int64())
    elif pa.types.is_date(array.type):
        return _floats(array.cast(pa.date32()).cast(pa.int32()).cast(pa.float64())) * SECONDS_PER_DAY
    else:
        array = array.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    return _floats(array.cast(pa.float64(), safe=False)) / 1e6


def _floats(array: pa.Array) -> NDArray[np.float64]:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.float64)
