"""Polymorphic references as ordinary keys: one nullable foreign key a type, on a hidden column, of which a row uses at most one.

A model learns the keys, and what is left of the type column (`expanded`); scores see them beside the columns that are there
(`with_hidden_keys`). `collapsed` is the way back.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synth_engine.schema import Column, ForeignKey, Kind, PolymorphicKey, Schema, Table
from synth_engine.schema.types import to_arrow


def with_hidden_keys(schema: Schema) -> Schema:
    """The schema with the hidden columns and keys beside all others."""
    return Schema({name: _with_hidden_keys(schema, table) for name, table in schema.tables.items()})


def _with_hidden_keys(schema: Schema, table: Table) -> Table:
    if not table.polymorphic:
        return table
    hidden = [key for reference in table.polymorphic for key in reference.keys]
    stored = {key: schema.tables[key.parent].column(key.parent_columns[0]).data_type for key in hidden}
    columns = tuple(Column(key.columns[0], Kind.IDENTIFIER, stored[key]) for key in hidden)
    return replace(table, columns=table.columns + columns, foreign_keys=table.foreign_keys + tuple(hidden))


def expanded(schema: Schema) -> Schema:
    """The schema that a model learns: the hidden keys stand for type and id. The type column holds the type of rows that use
    none of the keys assigned with the rows; unique keys of type and id become one for each type. Keys with orphans may be null."""
    return Schema({name: _expanded(table) for name, table in with_hidden_keys(schema).tables.items()})


def _expanded(table: Table) -> Table:
    ids = {reference.id_column: reference for reference in table.polymorphic}
    types = {reference.type_column for reference in table.polymorphic}
    broken = {column for key in table.foreign_keys if key.orphan_share for column in key.columns}
    columns = tuple(
        replace(c, kind=Kind.CATEGORY, nullable=True) if c.name in types else replace(c, nullable=c.nullable or c.name in broken)
        for c in table.columns
        if c.name not in ids
    )
    unique = [key for u in (table.primary_key, *table.unique) if ids.keys() & set(u) for key in _unique_by_type(u, ids)]
    return replace(
        table,
        columns=columns,
        primary_key=() if ids.keys() & set(table.primary_key) else table.primary_key,
        unique=tuple(u for u in table.unique if not ids.keys() & set(u)) + tuple(unique),
    )


def _unique_by_type(unique: tuple[str, ...], ids: Mapping[str, PolymorphicKey]) -> list[tuple[str, ...]]:
    """The unique key with the hidden columns in place of type and id, in each combination of types."""
    references = [ids[column] for column in unique if column in ids]
    own = [c for c in unique if c not in ids and c not in {r.type_column for r in references}]
    return [(*own, *(key.columns[0] for key in chosen)) for chosen in itertools.product(*(r.keys for r in references))]


def alternatives(table: Table, keys: Sequence[ForeignKey], number: int) -> list[int]:
    """Numbers of the keys, that of `number` included, of which a row uses at most one; only itself for an ordinary key."""
    group = next((r.keys for r in table.polymorphic if keys[number] in r.keys), ())
    return [i for i, key in enumerate(keys) if i == number or key in group]


def type_of(table: Table, key: ForeignKey) -> tuple[str, str] | None:
    """Type column and type that a hidden key stands for; None for an ordinary key."""
    found = ((r.type_column, of) for r in table.polymorphic for of, own in zip(r.types, r.keys, strict=True) if own == key)
    return next(found, None)


# -- rows ----------------------------------------------------------------------------------------------------------------


def is_of_type(types: pa.Array | pa.ChunkedArray, wanted: str) -> pa.Array | pa.ChunkedArray:
    """Which rows have the type, given as text; a null has none."""
    return pc.fill_null(pc.equal(pc.cast(types, pa.string()), wanted), False)


def with_hidden_columns(schema: Schema, tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """The tables of `with_hidden_keys`; the sources' ids must be in their parents' form."""
    wide, out = with_hidden_keys(schema), dict(tables)
    for name, data in ((n, d) for n, d in tables.items() if n in schema.tables):
        for reference in schema.tables[name].polymorphic:
            for of, key in zip(reference.types, reference.keys, strict=True):
                ids = pc.if_else(is_of_type(data[reference.type_column], of), data[reference.id_column], None)
                data = data.append_column(key.columns[0], ids.cast(to_arrow(wide.tables[name].column(key.columns[0]).data_type)))
        out[name] = data
    return out


def expanded_tables(schema: Schema, tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """The tables of `expanded`."""
    learned, wide = expanded(schema), with_hidden_columns(schema, tables)
    late = learned.deferred_keys()
    for name in (n for n, table in schema.tables.items() if table.polymorphic and n in tables):
        data = wide[name]
        for reference in schema.tables[name].polymorphic:
            told = [data[key.columns[0]].is_valid() for key in reference.keys if (name, key) not in late]
            types = data[reference.type_column]
            for there in told:
                types = pc.if_else(there, pa.scalar(None, types.type), types)
            data = data.set_column(data.schema.get_field_index(reference.type_column), reference.type_column, types)
        wide[name] = data.select(list(learned.tables[name].column_names))
    return wide


def types_alone(reference: PolymorphicKey, data: Mapping[str, pa.Array]) -> list[str | None]:
    """Which of the types (None: no type) rows of an expanded table have that refer to nobody."""
    alone = np.all([data[key.columns[0]].is_null().to_numpy(zero_copy_only=False) for key in reference.keys], axis=0)
    found = set(pc.cast(data[reference.type_column].filter(pa.array(alone)), pa.string()).unique().to_pylist())
    return [of for of in (*reference.types, None) if of in found]


def collapsed(
    table: Table,
    reference: PolymorphicKey,
    hidden: Mapping[str, pa.Array],
    types: pa.Array,
    alone: Sequence[str | None],
    others: pa.Array,
) -> dict[str, pa.Array]:
    """Type and id of every row of `table` from the `hidden` columns and what is left of the type column.

    A row that refers to nobody keeps its type if it is one of `alone` (see `types_alone`) or of the `others`, which are not declared;
    otherwise it gets the type of another such row.
    """
    texts = pc.cast(types, pa.string())
    refers = np.any([hidden[key.columns[0]].is_valid().to_numpy(zero_copy_only=False) for key in reference.keys], axis=0)
    free = set(pc.cast(others, pa.string()).to_pylist()) - set(reference.types)
    allowed = pc.is_in(texts, pa.array([*sorted(free), *alone], pa.string())).to_numpy(zero_copy_only=False)
    known = types.filter(pa.array(allowed & ~refers))
    usual = alone[0] if alone else None if table.column(reference.type_column).nullable else reference.types[0]
    known = known if len(known) else pa.array([usual], pa.string()).cast(types.type)
    turn = np.cumsum(~allowed & ~refers) - 1
    types = pc.if_else(pa.array(allowed), types, known.take(pa.array(np.maximum(turn, 0) % len(known))))
    ids = pa.nulls(len(types), to_arrow(table.column(reference.id_column).data_type))
    for of, key in zip(reference.types, reference.keys, strict=True):
        values = hidden[key.columns[0]]
        types = pc.if_else(values.is_valid(), pa.scalar(of).cast(types.type), types)
        ids = pc.coalesce(values.cast(ids.type), ids)
    return {reference.type_column: types, reference.id_column: ids}
