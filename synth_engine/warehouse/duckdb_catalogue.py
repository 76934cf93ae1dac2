"""What a DuckDB schema holds, from its catalogue."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from synth_engine.errors import ConfigurationError
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.schema.types import default_kind
from synth_engine.warehouse import naming
from synth_engine.warehouse.duckdb_session import run
from synth_engine.warehouse.duckdb_types import neutral_type

_COLUMNS = """
SELECT t.table_name, c.column_name, c.data_type, c.is_nullable
FROM duckdb_tables() t JOIN duckdb_columns() c USING (database_name, schema_name, table_name)
WHERE t.database_name = current_database() AND t.schema_name = ? AND NOT t.internal AND NOT t.temporary
ORDER BY t.table_oid, c.column_index"""

_KEYS = """
SELECT table_name, constraint_type, constraint_column_names, referenced_table, referenced_column_names
FROM duckdb_constraints()
WHERE database_name = current_database() AND schema_name = ? AND constraint_type IN ('PRIMARY KEY', 'UNIQUE', 'FOREIGN KEY')
ORDER BY table_oid, constraint_index"""

_OBJECTS = """
SELECT table_name, comment, false FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = ?
UNION ALL
SELECT view_name, comment, true FROM duckdb_views() WHERE database_name = current_database() AND schema_name = ? AND NOT internal"""

# DuckDB calls its default schema internal too
_SCHEMAS = """
SELECT schema_name FROM duckdb_schemas()
WHERE database_name = current_database() AND schema_name NOT IN ('information_schema', 'pg_catalog') ORDER BY schema_name"""


def schemas(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of all schemas that are not DuckDB's own."""
    return [name for (name,) in run(connection, _SCHEMAS)]


def reflected(connection: duckdb.DuckDBPyConnection, schema: str) -> Schema:
    """All base tables of a schema, keys from DuckDB's own catalogue."""
    columns: dict[str, list[tuple[str, str, bool]]] = {}
    for table, column, spelling, nullable in run(connection, _COLUMNS, [schema]):
        columns.setdefault(table, []).append((column, spelling, nullable))
    primary: dict[str, tuple[str, ...]] = {}
    unique: dict[str, list[tuple[str, ...]]] = {name: [] for name in columns}
    foreign: dict[str, list[ForeignKey]] = {name: [] for name in columns}
    for table, kind, names, parent, parent_names in run(connection, _KEYS, [schema]):
        if kind == "PRIMARY KEY":
            primary[table] = tuple(names)
        elif kind == "UNIQUE":
            unique[table].append(tuple(names))
        else:
            foreign[table].append(ForeignKey(tuple(names), parent, tuple(parent_names)))
    return Schema.of(
        Table(
            name,
            tuple(_column(*facts, single_keys(primary.get(name, ()), foreign[name])) for facts in listed),
            primary.get(name, ()),
            tuple(unique[name]),
            tuple(foreign[name]),
        )
        for name, listed in columns.items()
    )


def single_keys(primary: tuple[str, ...], foreign: Iterable[ForeignKey]) -> frozenset[str]:
    """Columns that are a primary or foreign key by themselves."""
    return frozenset(columns[0] for columns in (primary, *(k.columns for k in foreign)) if len(columns) == 1)


def _column(name: str, spelling: str, nullable: bool, keys: frozenset[str]) -> Column:
    data_type = neutral_type(spelling)
    # an enum's spelling lists values of real rows
    native = "VARCHAR" if spelling.upper().startswith("ENUM(") and data_type == "string" else spelling
    return Column(name, Kind.IDENTIFIER if name in keys else default_kind(data_type), data_type, nullable, native)


def is_published(connection: duckdb.DuckDBPyConnection, into: str, schema: Schema, staging: str) -> bool:
    """Whether all tables of the target came from this staging area."""
    comments = {name: comment for name, comment, _ in run(connection, _OBJECTS, [into, into])}
    return all(naming.publication_of(comments.get(name)) == staging for name in schema.tables)


def has_tables(connection: duckdb.DuckDBPyConnection, schema_name: str, schema: Schema) -> bool:
    """Whether there is a table, not a view, of every name in `schema`."""
    present = {name.casefold() for name, _, is_view in run(connection, _OBJECTS, [schema_name, schema_name]) if not is_view}
    return present >= {name.casefold() for name in schema.tables}


def refuse_obstacles(connection: duckdb.DuckDBPyConnection, into: str, schema: Schema, replace_foreign_tables: bool) -> None:
    """Raise `PublicationRefused` if tables, views or keys of somebody else stand in the way."""
    where = f"schema {into!r}"
    wanted = {name.casefold() for name in schema.tables}
    present = [row for row in run(connection, _OBJECTS, [into, into]) if row[0].casefold() in wanted]
    views = [name for name, _, is_view in present if is_view]
    if views:
        raise naming.refuse_view(where, views)
    foreign = [name for name, comment, _ in present if not naming.is_ours(comment)]
    if foreign and not replace_foreign_tables:
        raise naming.refuse_foreign(where, foreign)
    dependents = [
        key.label(name)
        for name, table in reflected(connection, into).tables.items()
        for key in table.foreign_keys
        if name.casefold() not in wanted and key.parent.casefold() in wanted
    ]
    if dependents:
        raise naming.refuse_dependents(where, dependents)


def require_distinct_names(schema: Schema) -> None:
    """DuckDB's names are equal whatever their case: refuse what it would mix up, before anything is written."""
    faults = [f"DuckDB must tell tables apart by more than case. Found: {names}" for names in _clashes(schema.tables)]
    for table in schema.tables.values():
        faults += [
            f"DuckDB must tell the columns of {table.name!r} apart by more than case. Found: {names}"
            for names in _clashes(table.column_names)
        ]
    if faults:
        raise ConfigurationError(faults)


def _clashes(names: Iterable[str]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.casefold(), []).append(name)
    return [", ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
