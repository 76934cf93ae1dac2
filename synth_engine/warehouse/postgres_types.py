"""PostgreSQL's types as neutral names and back."""

from __future__ import annotations

import re

from synth_engine.schema import Column
from synth_engine.schema.types import base_type, decimal_digits, string_length

NEUTRAL = {
    "boolean": "boolean",
    "smallint": "int16",
    "integer": "int32",
    "bigint": "int64",
    "real": "float32",
    "double precision": "float64",
    "date": "date",
    "time without time zone": "time",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
    "text": "string",
    "character varying": "string",
    "bpchar": "string",
    "citext": "string",
    "name": "string",
    "uuid": "uuid",
    "json": "json",
    "jsonb": "json",
    "bytea": "binary",
    # an unlimited numeric travels with the digits that both warehouses can hold
    "numeric": "decimal(38,9)",
}
"""Neutral names of types as `format_type` spells them; the rest are `other`, but for those with parameters."""

NATIVE = {
    "boolean": "boolean",
    "int16": "smallint",
    "int32": "integer",
    "int64": "bigint",
    "float32": "real",
    "float64": "double precision",
    "date": "date",
    "time": "time without time zone",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "string": "text",
    "uuid": "uuid",
    "json": "jsonb",
    "binary": "bytea",
    "other": "text",
}

_NUMERIC = re.compile(r"numeric\((\d+),(-?\d+)\)")
_CHARACTERS = re.compile(r"character(?: varying)?\((\d+)\)")
_MOMENT = re.compile(r"(time|timestamp)\(\d\)( with(?:out)? time zone)")
_PLAIN_TYPE = re.compile(r"[\w .\"\[\](),]+")


def neutral_type(native: str) -> str:
    """The neutral name of a type as PostgreSQL's `format_type` spells it."""
    if found := _NUMERIC.fullmatch(native):
        precision, scale = int(found[1]), int(found[2])
        # a negative scale rounds before the point; a scale above the precision only holds fractions
        return f"decimal({max(precision, scale) if scale >= 0 else precision - scale},{max(scale, 0)})"
    if found := _CHARACTERS.fullmatch(native):
        return f"string({found[1]})"
    if found := _MOMENT.fullmatch(native):
        return NEUTRAL.get(found[1] + found[2], "other")
    return NEUTRAL.get(native, "other")


def may_be_kept(column: Column) -> bool:
    """Whether the source's spelling has no neutral name but looks like a type the server might know."""
    return column.data_type == "other" and column.native_type is not None and _PLAIN_TYPE.fullmatch(column.native_type) is not None


def native_type(column: Column, known: frozenset[str] = frozenset()) -> str:
    """The PostgreSQL type of a column: the source's own spelling where PostgreSQL reads it as the same type, or knows
    it though it has no neutral name (`known`)."""
    if column.native_type and column.data_type != "other" and neutral_type(column.native_type) == column.data_type:
        return column.native_type
    if column.native_type and column.data_type == "other" and column.native_type in known:
        return column.native_type
    digits, length = decimal_digits(column.data_type), string_length(column.data_type)
    if digits:
        return "numeric({},{})".format(*digits)
    if length:
        return f"character varying({length})"
    return NATIVE[base_type(column.data_type)]


def readable_type(data_type: str) -> tuple[str, ...]:
    """The types a column is cast to, in turn, so that the Arrow driver reads it: it knows no numeric and no uuid."""
    digits = decimal_digits(data_type)
    if digits:
        return ("numeric({},{})".format(*digits), "text")
    if base_type(data_type) in ("string", "uuid", "json", "other"):
        return ("text",)
    return (NATIVE[base_type(data_type)],)
