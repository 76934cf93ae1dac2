"""The formats that settings want keys to have, against the columns they are for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from synth_engine.config import ColumnSettings
from synth_engine.schema.check_digits import endings
from synth_engine.schema.model import Column, Kind, Table
from synth_engine.schema.patterns import UnreadablePattern, read_pattern
from synth_engine.schema.types import base_type, decimal_digits, string_length

WHOLE = ("int16", "int32", "int64")
RULES_OF_NUMBERS = ("luhn", "ean13")
WITHOUT_FORMAT = (Kind.CATEGORY, Kind.BOOLEAN, Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.INTEGER, Kind.DECIMAL)


def format_faults(tables: Mapping[str, Table], columns: Mapping[str, Mapping[str, ColumnSettings]]) -> list[str]:
    """Faults of `pattern`, `check_digit` and `keep_values`, of columns that are there."""
    return [
        f"columns.{name}.{c.name}.{fault}"
        for name, table in tables.items()
        for c in table.columns
        if (settings := columns.get(name, {}).get(c.name))
        for fault in _faults(table, c, settings)
    ]


def start_faults(tables: Mapping[str, Table], key_start: Mapping[str, int]) -> list[str]:
    """Faults of `key_start`, of tables that are there."""
    return [f"key_start.{name}: {fault}" for name, start in key_start.items() if name in tables for fault in _start(tables[name], start)]


def _faults(table: Table, column: Column, settings: ColumnSettings) -> Iterator[str]:
    if settings.pattern is not None:
        yield from (f"pattern: {fault}" for fault in (*_place(table, column, settings), *_pattern(column, settings)))
    if settings.check_digit is not None:
        yield from (f"check_digit: {fault}" for fault in (*_place(table, column, settings), *_check_digit(table, column, settings)))
    if settings.keep_values:
        yield from (f"keep_values: {fault}" for fault in _keep(table, column, settings))


def _place(table: Table, column: Column, settings: ColumnSettings) -> Iterator[str]:
    """Whether new values are made for a column, in a format."""
    keys = (table.primary_key, *table.unique)
    if any(column.name in key.columns for key in table.foreign_keys):
        yield "the values of a foreign key are its parent's. Next step: set it for the column that the key refers to"
    elif any(column.name in (key.type_column, key.id_column) for key in table.polymorphic):
        yield "the values of a polymorphic reference are its parents'. Next step: set it for the columns that it refers to"
    elif column.kind is not Kind.IDENTIFIER and not any(column.name in key for key in keys):
        yield "only a column of a primary or unique key, or of kind identifier, has a format. Next step: remove it, or set kind identifier"
    elif settings.kind in WITHOUT_FORMAT:
        yield f"a column of kind {settings.kind} has no such format. Next step: set kind identifier"


def _pattern(column: Column, settings: ColumnSettings) -> Iterator[str]:
    assert settings.pattern is not None
    if base_type(column.data_type) != "string":
        yield f"only strings have a pattern, and its type is {column.data_type}. Next step: remove it"
    try:
        language = read_pattern(settings.pattern)
    except UnreadablePattern as error:
        yield (
            f"{error}. Found: {settings.pattern!r}. Next step: spell it with letters, classes like [0-9A-F], \\d, ?, {{n}}, {{m,n}}, "
            "groups and |"
        )
        return
    limit = string_length(column.data_type)
    if limit is not None and language.longest > limit:
        yield f"its strings must fit type {column.data_type}. Found: {language.longest} characters. Next step: shorten it"
    if settings.check_digit == "mod97":
        yield "the check digits of an IBAN cannot be put into a pattern. Next step: remove it; the format is found in the values"
    elif settings.check_digit is not None and not language.before(endings(settings.check_digit)).capacity:
        yield (
            f"its last character must be any of {endings(settings.check_digit)}, for it is the check digit. Found: {settings.pattern!r}. "
            f"Next step: end it with [{endings(settings.check_digit)}]"
        )


def _check_digit(table: Table, column: Column, settings: ColumnSettings) -> Iterator[str]:
    stored, rule = base_type(column.data_type), settings.check_digit
    if stored in WHOLE and rule not in RULES_OF_NUMBERS:
        yield f"rule {rule} is for strings. Next step: use one of {', '.join(RULES_OF_NUMBERS)}"
    elif stored in WHOLE and table.primary_key != (column.name,):
        yield "of whole numbers only a primary key of one column has one. Next step: remove it"
    elif stored not in (*WHOLE, "string"):
        yield f"type {column.data_type} has none. Next step: remove it"


def _keep(table: Table, column: Column, settings: ColumnSettings) -> Iterator[str]:
    if table.primary_key != (column.name,):
        yield "only the values of a primary key of one column can be kept. Next step: remove it"
    elif any(column.name in key.columns for key in table.foreign_keys):
        yield "the values of a foreign key are its parent's. Next step: set it for the column that the key refers to"
    if base_type(column.data_type) == "binary":
        yield "bytes cannot be kept. Next step: remove it"
    if settings.pattern is not None or settings.check_digit is not None:
        yield "values that are kept have the format they have. Next step: remove pattern and check_digit, or this"


def _start(table: Table, start: int) -> Iterator[str]:
    made = [c for c in table.primary_key if not any(c in key.columns for key in table.foreign_keys)]
    if len(table.primary_key) != 1 or not made:
        yield "only a primary key of one column, which refers to nothing, can start at a number. Next step: remove it"
        return
    stored = table.column(made[0]).data_type
    digits = decimal_digits(stored)
    if base_type(stored) not in (*WHOLE, "decimal", "string") or (digits and digits[1]):
        yield f"a key of type {stored} does not count. Next step: remove it; other keys differ from run to run if the seed does"
    elif stored in WHOLE and not -(2 ** (int(stored[3:]) - 1)) <= start < 2 ** (int(stored[3:]) - 1):
        yield f"it must fit type {stored}. Found: {start}. Next step: set it lower, or widen the column"
    elif start < 0 and base_type(stored) == "string":
        yield f"a number in a string cannot be negative. Found: {start}. Next step: set it to 0 or more"
