"""The neutral type names every room shares, and their Arrow types.

A `data_type` is one of: `boolean`, `int16`, `int32`, `int64`, `float32`, `float64`, `decimal(p,s)`, `date`, `time`,
`timestamp` (no zone), `timestamptz` (an instant, UTC), `string`, `string(n)`, `uuid`, `json`, `binary`, `other`.

Encoders know one more: a moment written in another type, such as `date(int64 as %Y%m%d)` (`written_type`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from synth_engine.schema.model import Kind, Table

if TYPE_CHECKING:
    import pyarrow as pa

_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")
_STRING = re.compile(r"string\((\d+)\)")
_WRITTEN = re.compile(r"(?:date|time|timestamp)\((.+) as (.+)\)")

KIND_OF_TYPE: dict[str, Kind] = {
    "boolean": Kind.BOOLEAN,
    "int16": Kind.INTEGER,
    "int32": Kind.INTEGER,
    "int64": Kind.INTEGER,
    "float32": Kind.DECIMAL,
    "float64": Kind.DECIMAL,
    "decimal": Kind.DECIMAL,
    "date": Kind.DATE,
    "time": Kind.TIME,
    "timestamp": Kind.TIMESTAMP,
    "timestamptz": Kind.TIMESTAMP,
    "string": Kind.TEXT,
    "uuid": Kind.IDENTIFIER,
    "json": Kind.JSON,
    "binary": Kind.BINARY,
    "other": Kind.OTHER,
}
"""The kind a type suggests before any data was seen. Strings become categories when their values repeat."""

NUMBER_TYPES = frozenset({"int16", "int32", "int64", "float32", "float64", "decimal", "time"})
MOMENT_TYPES = frozenset({"date", "timestamp", "timestamptz"})

TYPES_OF_KIND: dict[Kind, frozenset[str]] = {
    Kind.INTEGER: NUMBER_TYPES - {"time"},
    Kind.DECIMAL: NUMBER_TYPES - {"time"},
    Kind.DATE: MOMENT_TYPES | {"int32", "int64", "string"},
    Kind.TIMESTAMP: MOMENT_TYPES | {"int32", "int64", "string"},
    Kind.TIME: frozenset({"time", "string"}),
    Kind.BOOLEAN: frozenset({"boolean", "int16", "int32", "int64", "string"}),
}
"""The base types a kind can be read from; a kind that is not listed takes any. Whether integers and text are moments is
for their values to say (`encode.written`)."""


def decimal_digits(data_type: str) -> tuple[int, int] | None:
    """`(precision, scale)` of `decimal(p,s)`, else None."""
    found = _DECIMAL.fullmatch(data_type)
    return (int(found[1]), int(found[2])) if found else None


def string_length(data_type: str) -> int | None:
    """Longest string in characters that `string(n)` holds, else None."""
    found = _STRING.fullmatch(data_type)
    return int(found[1]) if found else None


def written_type(moment: str, stored: str, how: str) -> str:
    """The type of a moment that is kept in another type: `date(int64 as %Y%m%d)`. Its base type is that of the moment."""
    return f"{moment}({stored} as {how})"


def written_form(data_type: str) -> tuple[str, str] | None:
    """`(stored, how)` of a type that `written_type` made, else None."""
    found = _WRITTEN.fullmatch(data_type)
    return (found[1], found[2]) if found else None


def base_type(data_type: str) -> str:
    """`data_type` without its parameters: `decimal(10,2)` -> `decimal`."""
    return data_type.partition("(")[0]


def default_kind(data_type: str) -> Kind:
    """The kind that a type suggests by itself."""
    return KIND_OF_TYPE[base_type(data_type)]


def to_arrow(data_type: str) -> pa.DataType:
    """The Arrow type in which snapshots and synthetic tables hold a column of `data_type`.

    `uuid`, `json` and `other` travel as strings; a `decimal` wider than 38 digits travels as decimal256.
    """
    import pyarrow as pa

    if written := written_form(data_type):
        return to_arrow(written[0])
    digits = decimal_digits(data_type)
    if digits:
        return pa.decimal128(*digits) if digits[0] <= 38 else pa.decimal256(*digits)
    return {
        "boolean": pa.bool_(),
        "int16": pa.int16(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "float32": pa.float32(),
        "float64": pa.float64(),
        "date": pa.date32(),
        "time": pa.time64("us"),
        "timestamp": pa.timestamp("us"),
        "timestamptz": pa.timestamp("us", tz="UTC"),
        "string": pa.string(),
        "uuid": pa.string(),
        "json": pa.string(),
        "binary": pa.binary(),
        "other": pa.string(),
    }[base_type(data_type)]


def arrow_schema(table: Table) -> pa.Schema:
    """The Arrow schema in which a table travels: every column may be null, for what arrives has yet to be checked."""
    import pyarrow as pa

    return pa.schema([pa.field(c.name, to_arrow(c.data_type)) for c in table.columns])


def from_arrow(arrow: pa.DataType) -> str:
    """The neutral name of an Arrow type; `other` where there is none."""
    import pyarrow.types as pt

    if pt.is_dictionary(arrow):
        return from_arrow(arrow.value_type)
    if pt.is_decimal(arrow):
        return f"decimal({arrow.precision},{arrow.scale})"
    if pt.is_timestamp(arrow):
        return "timestamptz" if arrow.tz else "timestamp"
    checks = (
        (pt.is_boolean, "boolean"),
        (lambda t: pt.is_int8(t) or pt.is_int16(t) or pt.is_uint8(t), "int16"),
        (lambda t: pt.is_int32(t) or pt.is_uint16(t), "int32"),
        (pt.is_integer, "int64"),
        (lambda t: pt.is_float16(t) or pt.is_float32(t), "float32"),
        (pt.is_float64, "float64"),
        (pt.is_date, "date"),
        (pt.is_time, "time"),
        (lambda t: pt.is_string(t) or pt.is_large_string(t) or pt.is_string_view(t), "string"),
        (lambda t: pt.is_null(t), "string"),
        (lambda t: pt.is_binary(t) or pt.is_large_binary(t) or pt.is_fixed_size_binary(t), "binary"),
    )
    return next((name for check, name in checks if check(arrow)), "other")
