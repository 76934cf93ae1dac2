"""SQL that the dialects share, as SQLAlchemy constructs: names are always quoted by the dialect, never by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.sql.elements import quoted_name
from sqlalchemy.types import UserDefinedType

from synth_engine.errors import ConfigurationError
from synth_engine.schema import Column, ForeignKey, Schema, Table

# `named` keeps a per cent sign in a name as it is; psycopg's own style would double it.
_PLAIN = PGDialect(paramstyle="named")  # type: ignore[no-untyped-call]


class NativeType(UserDefinedType[Any]):
    """A type in the warehouse's own spelling."""

    cache_ok = True

    def __init__(self, spelling: str) -> None:
        self.spelling = spelling

    def get_col_spec(self, **_: object) -> str:
        return self.spelling


def quoted(name: str) -> quoted_name:
    """A name that is quoted whatever it looks like: reserved words differ between dialects."""
    return quoted_name(name, True)


def text_of(statement: sa.Executable | sa.ClauseElement) -> str:
    """The statement as text with all names quoted by double quotes, for drivers that SQLAlchemy does not drive."""
    return str(statement.compile(dialect=_PLAIN))  # type: ignore[union-attr]


def text_literal(value: str) -> str:
    """A quoted string, for the few statements that take no parameters."""
    return str(sa.literal(value).compile(dialect=_PLAIN, compile_kwargs={"literal_binds": True}))


def relations(
    schema: Schema, into: str, type_of: Callable[[Column], str], deferred: Iterable[tuple[str, ForeignKey]] | None
) -> dict[str, sa.Table]:
    """SQLAlchemy tables for every table of `schema`, placed in the database schema `into`.

    With `deferred` None they carry types and not-null rules only (staging). Otherwise they carry all keys, and the
    foreign keys named in `deferred` are marked to be added by ALTER TABLE.
    """
    metadata = sa.MetaData()
    made = {
        name: sa.Table(
            quoted(name),
            metadata,
            *(sa.Column(quoted(c.name), NativeType(type_of(c)), nullable=c.nullable, autoincrement=False) for c in table.columns),
            schema=quoted(into),
        )
        for name, table in schema.tables.items()
    }
    if deferred is not None:
        _add_keys(schema, made, frozenset(deferred))
    return made


def _add_keys(schema: Schema, made: Mapping[str, sa.Table], deferred: frozenset[tuple[str, ForeignKey]]) -> None:
    for name, table in schema.tables.items():
        columns = made[name].columns
        if table.primary_key:
            made[name].append_constraint(sa.PrimaryKeyConstraint(*(columns[c] for c in table.primary_key)))
        for unique in table.unique:
            made[name].append_constraint(sa.UniqueConstraint(*(columns[c] for c in unique)))
        for key in table.foreign_keys:
            parent = made[key.parent].columns
            made[name].append_constraint(
                sa.ForeignKeyConstraint(
                    [columns[c] for c in key.columns], [parent[c] for c in key.parent_columns], use_alter=(name, key) in deferred
                )
            )


def require_publishable(schema: Schema) -> None:
    """Every foreign key must refer to the primary key or a unique key of a table of the schema.

    Raises `ConfigurationError` with every key that does not.
    """
    faults = []
    for name, table in schema.tables.items():
        for key in table.foreign_keys:
            parent = schema.tables.get(key.parent)
            unique = [] if parent is None else [frozenset(k) for k in (parent.primary_key, *parent.unique)]
            if parent is None:
                faults.append(f"Key {key.label(name)} must refer to a table of the schema")
            elif frozenset(key.parent_columns) not in unique:
                faults.append(
                    f"Key {key.label(name)} must refer to a primary or unique key. "
                    f"Found: {', '.join(key.parent_columns)} is neither in {key.parent!r}. "
                    "Next step: declare it unique in the schema file, or remove the key"
                )
    if faults:
        raise ConfigurationError(faults)


def source(table: Table, schema: str | None) -> sa.TableClause:
    """The table as something to read from."""
    made = sa.table(
        table.name, *(sa.column(sql_name) for sql_name in map(quoted, table.column_names)), schema=quoted(schema) if schema else None
    )
    made.name = quoted(table.name)
    return made


def cast_through(column: sa.ColumnElement[Any], spellings: Iterable[str]) -> sa.ColumnElement[Any]:
    """The column cast to one native type after the other, under its own name."""
    name = quoted(str(column.key))
    for spelling in spellings:
        column = sa.cast(column, NativeType(spelling))
    return column.label(name)


def copy_rows(source: sa.FromClause, target: sa.Table) -> sa.Insert:
    """INSERT INTO target SELECT … FROM source, column by column, cast to the target's types."""
    return target.insert().from_select(list(target.columns.keys()), sa.select(*casts(source, target)))


def casts(source: sa.FromClause, target: sa.Table) -> list[sa.Cast[Any]]:
    """The columns of `source` in the order and types of `target`."""
    return [sa.cast(source.columns[c.name], c.type) for c in target.columns]
