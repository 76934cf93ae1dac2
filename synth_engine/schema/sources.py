"""The files a schema can be told in, told apart by their content: the product's YAML, SDV metadata, a dbt manifest; one or several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from synth_engine.errors import ConfigurationError
from synth_engine.schema.dbt import facts_of_manifest, is_dbt_artefact
from synth_engine.schema.files import SchemaFile, apply_schema_file, load_schema_file, parse_schema_file
from synth_engine.schema.model import ForeignKey, Schema, Table

Facts = dict[tuple[str, ...], str]
"""What a schema says, in words, by the thing it is said of: a table's primary key, a key on some columns, a column's kind."""


def read_schema_source(
    path: str | Path, schema: Schema, source_schema: str | None = None, earlier: Mapping[tuple[str, ...], str] | None = None
) -> SchemaFile:
    """What the file says about the tables of `schema`; a dbt manifest is read for those of its nodes in `source_schema`. `earlier`
    names the file that each fact is from, where one is.

    Raises `ConfigurationError` with every fault of the file.
    """
    raw = load_schema_file(path)
    if is_dbt_artefact(raw):
        return facts_of_manifest(str(path), raw, schema, source_schema, earlier or {})
    return parse_schema_file(path, raw)


def apply_schema_sources(
    schema: Schema, paths: Sequence[str | Path], source_schema: str | None = None
) -> tuple[Schema, frozenset[tuple[str, str]]]:
    """The schema with all that the files say, and the `(table, column)` whose kind they decide. Later files add to earlier ones or
    correct them, with a note that names both; a dbt manifest only adds.

    Raises `ConfigurationError` with the faults of all files.
    """
    faults: list[str] = []
    kinds: frozenset[tuple[str, str]] = frozenset()
    said_by: dict[tuple[str, ...], str] = {}
    for path in paths:
        try:
            written = read_schema_source(path, schema, source_schema, said_by)
            changed = apply_schema_file(schema, written)
        except ConfigurationError as error:
            faults += [fault if len(paths) == 1 else f"{path}: {fault}" for fault in error.faults]
            continue
        before, now = _facts(schema, kinds), _facts(changed, written.written_kinds)
        kinds |= written.written_kinds
        schema = _with_notes(changed, _corrections(before, now, said_by, path))
        said_by |= {fact: str(path) for fact in now if before.get(fact) != now[fact]}
    if faults:
        raise ConfigurationError(faults)
    return schema, kinds


def _facts(schema: Schema, kinds: Iterable[tuple[str, str]]) -> Facts:
    return {fact: words for name, table in schema.tables.items() for fact, words in _facts_of(name, table, kinds)}


def _facts_of(name: str, table: Table, kinds: Iterable[tuple[str, str]]) -> Iterator[tuple[tuple[str, ...], str]]:
    if table.primary_key:
        yield (name, "primary key"), f"({', '.join(table.primary_key)})"
    for key in table.foreign_keys:
        yield (name, "foreign key", *key.columns), _target(key)
    for reference in table.polymorphic:
        told = ", ".join(f"{of}: {parent}.{column}" for of, parent, column in reference.parents)
        yield (name, "polymorphic reference", reference.id_column), f"by {reference.type_column} to {told}"
    own = {reference.type_column for reference in table.polymorphic} | {reference.id_column for reference in table.polymorphic}
    for of, column in kinds:
        if of == name and column in table.column_names and column not in own:
            yield (name, "kind", column), table.column(column).kind.value


def _target(key: ForeignKey) -> str:
    return f"to {key.parent} ({', '.join(key.parent_columns)})"


def _corrections(before: Facts, now: Facts, said_by: Mapping[tuple[str, ...], str], path: str | Path) -> list[tuple[str, str]]:
    """Table and note for each fact of an earlier file that this one says otherwise."""
    return [
        (fact[0], f"{' '.join((fact[1], *fact[2:]))}: {said_by[fact]} says {before[fact]}, {path} says {words}, which is used")
        for fact, words in now.items()
        if fact in said_by and fact in before and before[fact] != words
    ]


def _with_notes(schema: Schema, notes: list[tuple[str, str]]) -> Schema:
    tables = dict(schema.tables)
    for name, note in notes:
        tables[name] = replace(tables[name], notes=(*tables[name].notes, note))
    return Schema(tables)
