"""Tables that are delivered as they are: which of their keys cannot be, because their parents are synthesised."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from synth_engine.errors import ConfigurationError
from synth_engine.schema.model import ForeignKey, PolymorphicKey, Schema, Table


def emptied_columns(table: Table, kept: Collection[str]) -> dict[ForeignKey, tuple[str, ...]]:
    """Keys of a kept table to synthesised parents, each with the columns that are written as null so that it refers to nobody:
    those that may be null and that no other key needs. A key without such a column cannot be emptied."""
    found = {}
    for key in table.foreign_keys:
        if key.parent in kept:
            continue
        needed = {c for other in table.foreign_keys if other.parent in kept for c in other.columns}.union(table.primary_key)
        found[key] = tuple(c for c in key.columns if table.column(c).nullable and c not in needed)
    return found


def emptied_types(table: Table, kept: Collection[str]) -> dict[PolymorphicKey, tuple[str, ...]]:
    """Polymorphic references of a kept table to synthesised parents, each with the types in whose rows the id is written as null."""
    found = {key: tuple(of for of, parent, _ in key.parents if parent not in kept) for key in table.polymorphic}
    return {key: types for key, types in found.items() if types}


def kept_faults(schema: Schema, kept: Collection[str]) -> list[str]:
    """Every key of a kept table that must find a row which is synthesised."""
    required = [
        (name, key.parent, key.label(name))
        for name in schema.tables
        if name in kept
        for key, columns in emptied_columns(schema.tables[name], kept).items()
        if not columns
    ]
    required += [
        (name, next(parent for of, parent, _ in key.parents if of in types), key.label(name))
        for name, table in schema.tables.items()
        if name in kept
        for key, types in emptied_types(table, kept).items()
        if not table.column(key.id_column).nullable or key.id_column in table.primary_key
    ]
    return [
        f"keep: {name} cannot be kept while {parent} is synthesised: {label} must not be null and would find no row. "
        f"Next step: keep {parent}, too, or do not keep {name}"
        for name, parent, label in required
    ]


def with_kept_tables(schema: Schema, kept: Collection[str]) -> Schema:
    """The schema with a note at every key that is emptied because its table is kept and its parent is not.

    Raises `ConfigurationError` with all keys that cannot be.
    """
    if faults := kept_faults(schema, kept):
        raise ConfigurationError(faults)
    tables = dict(schema.tables)
    for name in (name for name in tables if name in kept):
        notes = [
            f"the table is kept, but {key.parent} is synthesised: key {key.label(name)} is written as null ({', '.join(columns)})"
            for key, columns in emptied_columns(tables[name], kept).items()
        ]
        notes += [
            f"the table is kept, but not all that it refers to: {key.label(name)} is written as null in rows of type {', '.join(types)}"
            for key, types in emptied_types(tables[name], kept).items()
        ]
        tables[name] = replace(tables[name], notes=tables[name].notes + tuple(n for n in notes if n not in tables[name].notes))
    return Schema(tables)
