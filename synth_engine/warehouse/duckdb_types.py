"""DuckDB's types as neutral names and back."""

from __future__ import annotations

from functools import cache

import duckdb

from synth_engine.errors import WarehouseError
from synth_engine.schema import Column
from synth_engine.schema.types import base_type, decimal_digits

NEUTRAL = {
    "BOOLEAN": "boolean",
    "TINYINT": "int16",
    "UTINYINT": "int16",
    "SMALLINT": "int16",
    "USMALLINT": "int32",
    "INTEGER": "int32",
    "UINTEGER": "int64",
    "BIGINT": "int64",
    "UBIGINT": "decimal(20,0)",
    "HUGEINT": "decimal(38,0)",
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "DATE": "date",
    "TIME": "time",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_S": "timestamp",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "VARCHAR": "string",
    "UUID": "uuid",
    "JSON": "json",
    "BLOB": "binary",
}
"""Neutral names of DuckDB's types; all others are `other`, but for decimals and enums."""

NATIVE = {
    "boolean": "BOOLEAN",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
    "string": "VARCHAR",
    "uuid": "UUID",
    "json": "JSON",
    "binary": "BLOB",
    "other": "VARCHAR",
}


def neutral_type(native: str) -> str:
    """The neutral name of a type as DuckDB's catalogue spells it."""
    spelling = native.upper()
    if spelling.startswith("DECIMAL(") and not spelling.endswith("]"):
        return spelling.replace(" ", "").lower()
    if spelling.startswith("ENUM(") and not spelling.endswith("]"):
        return "string"
    return NEUTRAL.get(spelling, "other")


def native_type(column: Column) -> str:
    """The DuckDB type of a column: the source's own spelling where DuckDB would read it as the same type."""
    if column.native_type and neutral_type(column.native_type) == column.data_type and _is_type(column.native_type):
        return column.native_type
    digits = decimal_digits(column.data_type)
    if digits is None:
        return NATIVE[base_type(column.data_type)]
    if digits[0] > 38:
        raise WarehouseError(
            "DuckDB holds decimals of at most 38 digits",
            value=f"column {column.name!r} is {column.data_type}",
            advice="narrow the column in the source",
        )
    return "DECIMAL({},{})".format(*digits)


@cache
def _is_type(spelling: str) -> bool:
    # without these settings DuckDB would look for an extension of that name on the network
    with duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}) as connection:
        try:
            return str(connection.sqltype(spelling)) != ""
        except duckdb.Error:
            return False


def readable_type(data_type: str) -> str:
    """The DuckDB type that a column is cast to when it is read, so that Arrow gets the neutral type."""
    digits = decimal_digits(data_type)
    if digits:
        return "DECIMAL({},{})".format(*digits)
    return "VARCHAR" if data_type in ("uuid", "json") else NATIVE[base_type(data_type)]
