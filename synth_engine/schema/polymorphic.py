"""What can be wrong with polymorphic references, told against the tables that are there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from synth_engine.errors import SynthError, nearest
from synth_engine.schema.model import PolymorphicKey, Schema, Table
from synth_engine.schema.types import base_type

WHOLE = ("int16", "int32", "int64")
TYPE_TYPES = ("string", *WHOLE)
"""Types of a column that can name a type."""


def polymorphic_faults(tables: Mapping[str, Table]) -> list[SynthError]:
    """Every table or column that is not there, key that is not unique, and column that more than one reference needs."""
    return [
        fault
        for name, table in tables.items()
        for i, reference in enumerate(table.polymorphic)
        for fault in _faults(tables, table, reference, f"tables.{name}.polymorphic[{i}]")
    ]


def is_fitting(stored: str, parent: str) -> bool:
    """Whether ids of one type can refer to keys of another: text to all that can be spelled in one way, otherwise the same."""
    mine, theirs = base_type(stored), base_type(parent)
    return mine == theirs or (mine in WHOLE and theirs in WHOLE) or (mine == "string" and theirs in (*WHOLE, "uuid"))


def _faults(tables: Mapping[str, Table], table: Table, reference: PolymorphicKey, path: str) -> Iterator[SynthError]:
    missing = False
    for part, column in (("type", reference.type_column), ("id", reference.id_column)):
        if column not in table.column_names:
            missing = True
            yield _unknown(f"{path}.{part}", "column", column, table.column_names)
    for of, parent, column in reference.parents:
        where = f"{path}.parents.{of}"
        if parent not in tables:
            yield _unknown(where, "table", parent, tables)
        elif column not in tables[parent].column_names:
            yield _unknown(where, "column", column, tables[parent].column_names)
        else:
            yield from _faults_of_parent(tables[parent], column, None if missing else table.column(reference.id_column).data_type, where)
    if not missing:
        yield from _faults_of_columns(tables, table, reference, path)


def _faults_of_parent(parent: Table, column: str, stored: str | None, where: str) -> Iterator[SynthError]:
    if (column,) not in (parent.primary_key, *parent.unique):
        rule = f"{where}: an id must refer to the primary key or a unique key, of one column"
        advice = f"if it is unique, say so under tables.{parent.name}.unique"
        yield SynthError(rule, value=f"{parent.name}.{column} is neither", advice=advice)
    own = parent.column(column).data_type
    if stored is not None and not is_fitting(stored, own):
        advice = "give the id that type, or text, in the source; or leave this parent out"
        yield SynthError(f"{where}: an id must be of the type of the key it refers to", value=f"{stored} refers to {own}", advice=advice)


def _faults_of_columns(tables: Mapping[str, Table], table: Table, reference: PolymorphicKey, path: str) -> Iterator[SynthError]:
    own = (reference.type_column, reference.id_column)
    stored = table.column(reference.type_column).data_type
    if base_type(stored) not in TYPE_TYPES:
        yield SynthError(f"{path}.type: a type must be text or a whole number", value=stored, advice="name the column that tells the table")
    for column in own:
        uses = [key.label(table.name) for key in table.foreign_keys if column in key.columns]
        uses += [k.label(child) for child, k in Schema(tables).children_of(table.name) if column in k.parent_columns]
        uses += [r.label(table.name) for r in table.polymorphic if r != reference and column in (r.type_column, r.id_column)]
        uses += ["the reference's other column"] if own[0] == own[1] else []
        if uses:
            rule = f"{path}: type and id must belong to no other key"
            yield SynthError(rule, value=f"{column} belongs to {uses[0]}", advice="remove one of the two")
    for unique in (u for u in (table.primary_key, *table.unique) if len(set(u).intersection(own)) == 1):
        rule = f"{path}: a unique key must hold both type and id, or neither"
        yield SynthError(rule, value=f"({', '.join(unique)})", advice="remove the unique key or the reference")


def _unknown(path: str, noun: str, name: str, known: Mapping[str, Table] | tuple[str, ...]) -> SynthError:
    hint = nearest(name, known)
    advice = f"{hint}? Otherwise correct the name, or remove the entry" if hint else "correct the name, or remove the entry"
    return SynthError(f"{path}: there must be a {noun} of that name", value=repr(name), advice=advice)
