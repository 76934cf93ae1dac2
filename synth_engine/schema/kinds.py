"""From what a column stores and what its values look like to what it means: the kinds a model is trained on.

Reflection knows types only. Whether a string is a category or text, and whether a float column holds whole numbers, is a
question to the data; it is asked in the warehouse or of the snapshot, and only counts come here, never a value.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from synth_engine.errors import ConfigurationError, SynthError
from synth_engine.schema.model import MODELLED_KINDS, Column, Kind, Schema, Table
from synth_engine.schema.types import base_type, default_kind

ROWS_PER_CATEGORY = 2
"""A string column is a category if a value is held by at least this many rows on average. Below, most values are unique:
they name somebody or something, and are to be written anew in their format rather than repeated."""

MAX_CATEGORIES = 10_000
"""More values than this are no vocabulary a model could learn in a table that fits a run; such a column is text."""

MAX_CATEGORY_LENGTH = 200
"""Values longer than this many characters are prose, even where they repeat (templates, boilerplate)."""

NOT_KEY_TYPES = frozenset({"json", "binary", "other"})
"""Types of which no new, distinct values can be made: a key must not have them."""


@dataclass(frozen=True)
class ColumnStatistics:
    """Counts over the rows of one column that were looked at (`synth_engine.statistics` says how many).

    `distinct` counts values other than null; `max_length` is the longest string in characters, None for other types;
    `all_integral` says that every finite number is whole, None for other types and where none was seen; `not_finite` counts
    numbers that are infinite or NaN, `long` integers and decimals of more digits than a float holds.
    """

    rows: int
    nulls: int
    distinct: int
    max_length: int | None = None
    all_integral: bool | None = None
    not_finite: int = 0
    long: int = 0

    @property
    def values(self) -> int:
        """Rows that hold a value."""
        return self.rows - self.nulls


def refine_kinds(
    schema: Schema,
    statistics: Mapping[str, Mapping[str, ColumnStatistics]],
    written: Collection[tuple[str, str]] = frozenset(),
    kept: Collection[str] = (),
) -> Schema:
    """The schema with the kind of every column decided, and a note on each table for what cannot be modelled.

    `statistics` maps table and column name to counts; a column it does not hold, or that has no values, keeps its
    kind. `written` holds the `(table, column)` whose kind a person decided (`SchemaFile.written_kinds`): they are left as they
    are. The tables `kept` are not written by a model: nothing is lost of them. Applying it twice changes nothing more.

    Raises `ConfigurationError` that lists every column for which no value can be written: one that must not be null, or is a
    key, and is of a kind that is not modelled.
    """
    faults = [fault for name, table in schema.tables.items() if name not in kept for fault in _faults(table)]
    if faults:
        raise ConfigurationError(faults)
    return Schema({name: _refine_table(table, statistics.get(name, {}), written, name in kept) for name, table in schema.tables.items()})


def _refine_table(table: Table, statistics: Mapping[str, ColumnStatistics], written: Collection[tuple[str, str]], is_kept: bool) -> Table:
    identifying = _identifying_columns(table)
    columns = tuple(
        column
        if (table.name, column.name) in written
        else replace(column, kind=_kind(column, column.name in identifying, statistics.get(column.name)))
        for column in table.columns
    )
    refined = replace(table, columns=columns)
    notes = [] if is_kept else [*_notes_of_kinds(refined), *_notes_of_nulls(refined, statistics), *_notes_of_numbers(refined, statistics)]
    return replace(refined, notes=table.notes + tuple(note for note in notes if note not in table.notes))


def _identifying_columns(table: Table) -> frozenset[str]:
    """Columns that are a primary or foreign key on their own, and unique ones that hold numbers or strings.

    The parts of a composite key are ordinary values. A unique date or float (one reading a day) carries meaning beyond
    telling rows apart and keeps it.
    """
    keys = {key[0] for key in (table.primary_key, *(k.columns for k in table.foreign_keys)) if len(key) == 1}
    names = {key[0] for key in table.unique if len(key) == 1}
    return frozenset(keys | {n for n in names if base_type(table.column(n).data_type) in ("int16", "int32", "int64", "string", "uuid")})


def _kind(column: Column, identifying: bool, statistics: ColumnStatistics | None) -> Kind:
    if column.kind not in MODELLED_KINDS:
        return column.kind
    if identifying:
        return Kind.IDENTIFIER
    if statistics is None or statistics.values == 0:
        return column.kind
    suggested = default_kind(column.data_type)
    if suggested is Kind.TEXT:
        return Kind.CATEGORY if _repeats(statistics) else Kind.TEXT
    if suggested is Kind.DECIMAL and statistics.all_integral:
        return Kind.INTEGER
    return suggested


def _repeats(statistics: ColumnStatistics) -> bool:
    return (
        statistics.distinct * ROWS_PER_CATEGORY <= statistics.values
        and statistics.distinct <= MAX_CATEGORIES
        and (statistics.max_length or 0) <= MAX_CATEGORY_LENGTH
    )


def _faults(table: Table) -> list[SynthError]:
    keys = table.key_columns
    faults = []
    for column in table.columns:
        where = f"{table.name}.{column.name}"
        leave_out = f"leave table {table.name!r} out with the setting 'tables'"
        if column.name in keys and base_type(column.data_type) in NOT_KEY_TYPES:
            rule = f"{where}: a key must be of a type of which new values can be made"
            faults.append(SynthError(rule, value=column.native_type or column.data_type, advice=leave_out))
        elif column.kind not in MODELLED_KINDS and not column.nullable:
            rule = f"{where}: a column of kind {column.kind.value} is written as null, but this one must not be null"
            advice = f"give it kind 'category' in the schema file if its values repeat and may be shown, or {leave_out}"
            faults.append(SynthError(rule, value=f"{column.native_type or column.data_type} not null", advice=advice))
    return faults


def _notes_of_kinds(table: Table) -> list[str]:
    return [
        f"column {c.name} ({c.native_type or c.data_type}) is of kind {c.kind.value}, which is not modelled: it is written as null"
        for c in table.columns
        if c.kind not in MODELLED_KINDS
    ]


def _notes_of_nulls(table: Table, statistics: Mapping[str, ColumnStatistics]) -> list[str]:
    if statistics and not any(found.rows for found in statistics.values()):
        return ["the table has no rows, so nothing is learned of it: its twin is empty"]
    empty = [c.name for c in table.columns if c.name in statistics and statistics[c.name].rows and not statistics[c.name].values]
    return [f"column {name} holds nothing but nulls as far as was looked" for name in empty]


def _notes_of_numbers(table: Table, statistics: Mapping[str, ColumnStatistics]) -> list[str]:
    notes = []
    for name, found in statistics.items():
        if found.not_finite:
            notes.append(
                f"column {name} holds {found.not_finite} numbers that are infinite or NaN, as far as was looked: they are taken for nulls"
            )
        if found.long and table.column(name).kind in (Kind.INTEGER, Kind.DECIMAL):
            notes.append(
                f"column {name} holds {found.long} numbers of more than 15 digits, as far as was looked: those beyond are not kept"
            )
    return notes
