"""Publishing in PostgreSQL, inside the caller's transaction.

Tables of ours with the same structure are emptied and refilled, so that views, grants and OIDs stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import DDLCompiler
from sqlalchemy.sql.ddl import ExecutableDDLElement

from synth_engine.schema import Column, ForeignKey, Schema, Table
from synth_engine.warehouse import naming, sql
from synth_engine.warehouse import postgres_catalogue as catalogue
from synth_engine.warehouse.postgres_types import may_be_kept, native_type


def types_on(connection: sa.Connection, schema: Schema) -> Callable[[Column], str]:
    """The types of columns on this server: spellings without a neutral name are kept if the server knows them."""
    doubtful = {str(c.native_type) for t in schema.tables.values() for c in t.columns if may_be_kept(c)}
    known = frozenset(spelling for spelling in doubtful if _is_known(connection, spelling))
    return lambda column: native_type(column, known)


def _is_known(connection: sa.Connection, spelling: str) -> bool:
    try:
        with connection.begin_nested():
            return connection.execute(sa.text("SELECT to_regtype(:spelling) IS NOT NULL"), {"spelling": spelling}).scalar_one() is True
    except sa.exc.ProgrammingError:  # not even the form of a type: another dialect's spelling
        return False


class _OnTables(ExecutableDDLElement):
    """`TRUNCATE TABLE` or `DROP TABLE` of several tables at once, which foreign keys among them do not hinder."""

    def __init__(self, verb: str, tables: Iterable[sa.Table]) -> None:
        self.verb, self.tables = verb, tuple(tables)


@compiles(_OnTables)
def _on_tables(element: _OnTables, compiler: DDLCompiler, **_: object) -> str:
    return " ".join([element.verb, ", ".join(compiler.preparer.format_table(table) for table in element.tables)])


def fill(connection: sa.Connection, staging: str, into: str, schema: Schema) -> None:
    """Bring the target's tables to the structure of `schema` and fill them from the staging area."""
    type_of = types_on(connection, schema)
    closing = frozenset((name, key) for name, key in schema.deferred_keys() if key.parent != name)
    staged = sql.relations(schema, staging, type_of, deferred=None)
    made = sql.relations(schema, into, type_of, deferred=closing)
    if _has_structure(connection, into, schema, type_of):
        _empty_tables(connection, into, made)
    else:
        _make_tables(connection, into, made, schema)
    for name in schema.parents_first():
        connection.execute(sql.copy_rows(staged[name], made[name]))
    for table in made.values():
        for constraint in table.foreign_key_constraints:
            if constraint.use_alter:
                connection.execute(sa.schema.AddConstraint(constraint))
        table.comment = naming.marker(staging)
        connection.execute(sa.schema.SetTableComment(table))
    for name, column, sequence in catalogue.sequences(connection, into, list(schema.tables)):
        largest = sa.select(sa.func.max(made[name].columns[column])).scalar_subquery()
        connection.execute(sa.select(sa.func.setval(sequence, sa.func.coalesce(largest, 1), largest.is_not(None))))


def _has_structure(connection: sa.Connection, into: str, schema: Schema, type_of: Callable[[Column], str]) -> bool:
    """Whether the target has all the tables already, with these columns, types and keys."""
    found = catalogue.reflect(connection, into).tables
    return all(
        name in found and _structure(found[name], lambda c: str(c.native_type)) == _structure(table, type_of)
        for name, table in schema.tables.items()
    )


def _structure(table: Table, type_of: Callable[[Column], str]) -> tuple[object, ...]:
    columns = [(c.name, type_of(c), c.nullable and c.name not in table.primary_key) for c in table.columns]
    return columns, table.primary_key, set(table.unique), {_bare(key) for key in table.foreign_keys}


def _bare(key: ForeignKey) -> ForeignKey:
    """The key without its provenance, which the catalogue does not know."""
    return ForeignKey(key.columns, key.parent, key.parent_columns)


def _empty_tables(connection: sa.Connection, into: str, made: Mapping[str, sa.Table]) -> None:
    """TRUNCATE, and take away the keys that close a cycle: no order of inserting would satisfy them."""
    names = catalogue.foreign_key_names(connection, into)
    for table in made.values():
        for constraint in table.foreign_key_constraints:
            if constraint.use_alter:
                key = ForeignKey(
                    tuple(constraint.column_keys), constraint.referred_table.name, tuple(e.column.name for e in constraint.elements)
                )
                constraint.name = sql.quoted(names[table.name, key])
                connection.execute(sa.schema.DropConstraint(constraint))
    connection.execute(_OnTables("TRUNCATE TABLE", made.values()))


def _make_tables(connection: sa.Connection, into: str, made: Mapping[str, sa.Table], schema: Schema) -> None:
    """Drop what is there and make the tables anew; keys that close a cycle are added when the rows are in."""
    if into not in catalogue.schemas(connection):
        connection.execute(sa.schema.CreateSchema(sql.quoted(into)))
    old = [made[name] for name in catalogue.comments(connection, into) if name in made]
    if old:
        connection.execute(_OnTables("DROP TABLE", old))
    for name in schema.parents_first():
        declared = [c for c in made[name].foreign_key_constraints if not c.use_alter]
        connection.execute(sa.schema.CreateTable(made[name], include_foreign_key_constraints=declared))
