"""What a PostgreSQL schema holds, from its catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from synth_engine.errors import ConfigurationError
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.schema.types import default_kind
from synth_engine.warehouse import naming
from synth_engine.warehouse.postgres_types import neutral_type

_TABLES = """
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relkind IN ('r', 'p') AND NOT c.relispartition
AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e')"""

_COLUMNS = sa.text(
    """
SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull OR t.typnotnull,
  t.typtype::text, format_type(t.typbasetype, t.typtypmod), a.attgenerated <> '',
  a.attidentity <> '' OR pg_get_serial_sequence(quote_ident(:schema) || '.' || quote_ident(c.relname), a.attname) IS NOT NULL
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN (SELECT c.oid, c.relname"""
    + _TABLES
    + """) c ON c.oid = a.attrelid
WHERE a.attnum > 0 AND NOT a.attisdropped ORDER BY c.oid, a.attnum"""
)

_UNIQUE = sa.text(
    """
SELECT c.relname::text, i.indisprimary, array_agg(a.attname::text ORDER BY k.place)
FROM pg_index i JOIN (SELECT c.oid, c.relname"""
    + _TABLES
    + """) c ON c.oid = i.indrelid
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place)
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
WHERE i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place <= i.indnkeyatts
GROUP BY c.oid, c.relname, i.indexrelid, i.indisprimary ORDER BY c.oid, i.indexrelid"""
)

_FOREIGN = sa.text(
    """
SELECT c.relname::text, f.conname::text, p.relname::text, pn.nspname::text,
  array_agg(a.attname::text ORDER BY k.place), array_agg(b.attname::text ORDER BY k.place)
FROM pg_constraint f JOIN (SELECT c.oid, c.relname"""
    + _TABLES
    + """) c ON c.oid = f.conrelid
JOIN pg_class p ON p.oid = f.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
CROSS JOIN LATERAL unnest(f.conkey, f.confkey) WITH ORDINALITY k(child, parent, place)
JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.child
JOIN pg_attribute b ON b.attrelid = f.confrelid AND b.attnum = k.parent
WHERE f.contype = 'f' AND f.conparentid = 0
GROUP BY c.oid, c.relname, f.oid, f.conname, p.relname, pn.nspname ORDER BY c.oid, f.oid"""
)

_OBJECTS = sa.text("""
SELECT c.relname::text, obj_description(c.oid, 'pg_class'), c.relkind IN ('r', 'p')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relkind IN ('r', 'p', 'v', 'm', 'f')""")

_DEPENDENTS = sa.text("""
SELECT DISTINCT cn.nspname::text, c.relname::text, p.relname::text
FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
JOIN pg_class p ON p.oid = f.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
WHERE f.contype = 'f' AND pn.nspname = :schema AND p.relname = ANY(:tables)
AND NOT (cn.nspname = :schema AND c.relname = ANY(:tables)) ORDER BY 1, 2, 3""")

_SEQUENCES = sa.text("""
SELECT table_name, column_name, sequence FROM (
  SELECT c.relname::text AS table_name, a.attname::text AS column_name,
    pg_get_serial_sequence(quote_ident(:schema) || '.' || quote_ident(c.relname), a.attname) AS sequence
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = :schema AND c.relname = ANY(:tables) AND a.attnum > 0 AND NOT a.attisdropped) numbered
WHERE sequence IS NOT NULL""")

_SCHEMAS = sa.text("SELECT nspname::text FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema' ORDER BY 1")


def schemas(connection: sa.Connection) -> list[str]:
    """Names of all schemas that are not the server's own."""
    return list(connection.execute(_SCHEMAS).scalars())


def default_schema(connection: sa.Connection) -> str:
    """The first schema of the search path that exists. Raises `ConfigurationError` if there is none."""
    name = connection.execute(sa.text("SELECT current_schema()::text")).scalar()
    if name is None:
        raise ConfigurationError(["The connection must have a default schema, or the schema must be named. Found: an empty search_path"])
    return str(name)


def reflect(connection: sa.Connection, schema: str) -> Schema:
    """All base tables of a schema. What the twin does not keep (identity, generated columns, keys to other schemas)
    is said in the tables' notes."""
    columns: dict[str, list[Column]] = {}
    notes: dict[str, list[str]] = {}
    parameters = {"schema": schema}
    primary, unique = _unique_keys(connection, parameters)
    foreign = _foreign_keys(connection, schema, notes)
    for table, name, spelling, required, typtype, base, generated, numbered in connection.execute(_COLUMNS, parameters):
        native = "text" if typtype == "e" else base if typtype == "d" else spelling
        data_type = neutral_type(native)
        single = {key[0] for key in (primary.get(table, ()), *(k.columns for k in foreign.get(table, ()))) if len(key) == 1}
        kind = Kind.IDENTIFIER if name in single else default_kind(data_type)
        columns.setdefault(table, []).append(Column(name, kind, data_type, not required, native))
        if generated:
            notes.setdefault(table, []).append(f"column {name!r} is computed by the database; in the twin it is an ordinary column")
        if numbered:
            notes.setdefault(table, []).append(f"column {name!r} is numbered by the database; in the twin it is an ordinary column")
    return Schema.of(
        Table(
            name,
            tuple(listed),
            primary.get(name, ()),
            tuple(unique.get(name, ())),
            tuple(foreign.get(name, ())),
            tuple(notes.get(name, ())),
        )
        for name, listed in columns.items()
    )


def _unique_keys(
    connection: sa.Connection, parameters: Mapping[str, str]
) -> tuple[dict[str, tuple[str, ...]], dict[str, list[tuple[str, ...]]]]:
    primary: dict[str, tuple[str, ...]] = {}
    unique: dict[str, list[tuple[str, ...]]] = {}
    for table, is_primary, names in connection.execute(_UNIQUE, parameters):
        if is_primary:
            primary[table] = tuple(names)
        else:
            unique.setdefault(table, []).append(tuple(names))
    return primary, unique


def _foreign_keys(connection: sa.Connection, schema: str, notes: dict[str, list[str]]) -> dict[str, list[ForeignKey]]:
    foreign: dict[str, list[ForeignKey]] = {}
    for table, _, parent, parent_schema, names, parent_names in connection.execute(_FOREIGN, {"schema": schema}):
        key = ForeignKey(tuple(names), parent, tuple(parent_names))
        if parent_schema == schema:
            foreign.setdefault(table, []).append(key)
        else:
            notes.setdefault(table, []).append(f"key {key.label(table)} is dropped because its parent is in schema {parent_schema!r}")
    return foreign


def foreign_key_names(connection: sa.Connection, schema: str) -> dict[tuple[str, ForeignKey], str]:
    """The name of every foreign key's constraint, by `(child, key)`."""
    rows = connection.execute(_FOREIGN, {"schema": schema})
    return {(table, ForeignKey(tuple(names), parent, tuple(parents))): name for table, name, parent, _, names, parents in rows}


def comments(connection: sa.Connection, schema: str) -> dict[str, str | None]:
    """The comment of every table, by name."""
    return {name: comment for name, comment, is_table in connection.execute(_OBJECTS, {"schema": schema}) if is_table}


def refuse_obstacles(connection: sa.Connection, schema: str, tables: Sequence[str], replace_foreign_tables: bool) -> None:
    """Raise `PublicationRefused` if tables, views or keys of somebody else stand in the way."""
    where = f"schema {schema!r}"
    present = [row for row in connection.execute(_OBJECTS, {"schema": schema}) if row[0] in tables]
    views = [name for name, _, is_table in present if not is_table]
    if views:
        raise naming.refuse_view(where, views)
    foreign = [name for name, comment, _ in present if not naming.is_ours(comment)]
    if foreign and not replace_foreign_tables:
        raise naming.refuse_foreign(where, foreign)
    dependents = [
        f"{child_schema}.{child}->{parent}"
        for child_schema, child, parent in connection.execute(_DEPENDENTS, {"schema": schema, "tables": list(tables)})
    ]
    if dependents:
        raise naming.refuse_dependents(where, dependents)


def sequences(connection: sa.Connection, schema: str, tables: Sequence[str]) -> list[tuple[str, str, str]]:
    """`(table, column, sequence)` of every column that a sequence numbers."""
    return [
        (table, column, sequence) for table, column, sequence in connection.execute(_SEQUENCES, {"schema": schema, "tables": list(tables)})
    ]
