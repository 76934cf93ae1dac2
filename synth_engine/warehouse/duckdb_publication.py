"""Publishing in DuckDB: the old tables are dropped and the new ones built under their final names, in one transaction.

Keys make every other way fail: renaming, truncating and refilling tables that foreign keys refer to.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import duckdb
import sqlalchemy as sa

from synth_engine.errors import WarehouseError
from synth_engine.schema import ForeignKey, Schema
from synth_engine.warehouse import naming, sql
from synth_engine.warehouse.duckdb_catalogue import reflected
from synth_engine.warehouse.duckdb_session import run
from synth_engine.warehouse.duckdb_types import native_type

_LOG = logging.getLogger(__name__)


def replace_tables(connection: duckdb.DuckDBPyConnection, staging: str, into: str, schema: Schema) -> None:
    """Drop the old tables children first, make the new ones parents first, and fill them."""
    run(connection, sa.schema.CreateSchema(sql.quoted(into), if_not_exists=True))
    wanted = {name.casefold() for name in schema.tables}
    for name in reversed(reflected(connection, into).parents_first()):
        if name.casefold() in wanted:
            run(connection, sa.schema.DropTable(sa.Table(sql.quoted(name), sa.MetaData(), schema=sql.quoted(into))))
    # DuckDB has no ALTER TABLE that adds a foreign key
    undeclared = frozenset((name, key) for name, key in schema.deferred_keys() if key.parent != name)
    for name, key in sorted(undeclared, key=lambda pair: pair[1].label(pair[0])):
        _LOG.warning("Key %s holds but is not declared: DuckDB cannot declare a cycle of keys", key.label(name))
    staged = sql.relations(schema, staging, native_type, deferred=None)
    made = sql.relations(schema, into, native_type, deferred=undeclared)
    for name in schema.parents_first():
        declared = [c for c in made[name].foreign_key_constraints if not c.use_alter]
        run(connection, sa.schema.CreateTable(made[name], include_foreign_key_constraints=declared))
        self_keys = [key for key in schema.tables[name].foreign_keys if key.parent == name]
        if self_keys:
            _copy_by_levels(connection, staged[name], made[name], self_keys)
        else:
            run(connection, sql.copy_rows(staged[name], made[name]))
        left_out = "".join(f", key {key.label(child)} not declared" for child, key in undeclared if child == name)
        made[name].comment = naming.marker(staging) + left_out
        run(connection, sa.schema.SetTableComment(made[name]))


def _copy_by_levels(connection: duckdb.DuckDBPyConnection, staged: sa.Table, target: sa.Table, self_keys: Sequence[ForeignKey]) -> None:
    """Fill a table that refers to itself, parents before children: DuckDB checks a row only against rows that
    earlier statements inserted."""
    row: sa.ColumnClause[int] = sa.literal_column("rowid")
    placed = sa.Table(
        sql.quoted("synth_placed_rows"),
        sa.MetaData(),
        sa.Column("place", sql.NativeType("BIGINT")),
        sa.Column("level", sql.NativeType("BIGINT")),
        prefixes=["TEMPORARY"],
    )
    run(connection, sa.schema.CreateTable(placed))
    ready = sa.and_(*(_has_parent(staged, target, key) for key in self_keys))
    level = 0
    while True:
        waiting: sa.Select[Any] = (
            sa.select(row, sa.literal_column(str(level))).select_from(staged).where(row.not_in(sa.select(placed.c.place)), ready)
        )
        if not run(connection, placed.insert().from_select(["place", "level"], waiting))[0][0]:
            break
        this_level = sa.select(placed.c.place).where(placed.c.level == sa.literal_column(str(level)))
        run(
            connection,
            target.insert().from_select(list(target.columns.keys()), sa.select(*sql.casts(staged, target)).where(row.in_(this_level))),
        )
        level += 1
    count = sa.func.count()
    (total,), (done,) = (run(connection, sa.select(count).select_from(t))[0] for t in (staged, target))
    if total != done:
        raise WarehouseError(
            f"Rows of {target.name!r} must not refer to themselves in a circle, because DuckDB cannot hold such a key",
            value=f"{total - done} rows",
            advice="publish to another warehouse, or leave the key out of the schema file",
        )
    run(connection, sa.schema.DropTable(placed))


def _has_parent(staged: sa.Table, target: sa.Table, key: ForeignKey) -> sa.ColumnElement[bool]:
    pairs = list(zip(key.columns, key.parent_columns, strict=True))
    missing = sa.or_(*(staged.columns[child].is_(None) for child, _ in pairs))
    found = sa.exists().where(*(target.columns[parent] == staged.columns[child] for child, parent in pairs))
    return sa.or_(missing, found.correlate(staged))
