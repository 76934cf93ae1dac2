"""The settings against the schema they are for: every name must be there, every kind must fit its type."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from synth_engine.config import Config
from synth_engine.errors import ConfigurationError, nearest
from synth_engine.schema.formats import format_faults, start_faults
from synth_engine.schema.kept import kept_faults
from synth_engine.schema.model import Kind, Schema, Table
from synth_engine.schema.polymorphic import polymorphic_faults
from synth_engine.schema.types import TYPES_OF_KIND, base_type


def check_settings(schema: Schema, config: Config) -> Schema:
    """The schema of the tables that the settings select, with the kinds that they name.

    Raises `ConfigurationError` with all faults: unknown tables and columns, row counts that are negative or not to be chosen,
    tables that cannot be kept, unknown kinds, kinds that cannot be read from a column's type, and formats that no key can have.
    """
    faults = []
    if config.tables:
        faults += [_unknown("tables", f"table as {name!r}", name, schema.tables) for name in config.tables if name not in schema.tables]
        schema = schema if faults else schema.select(config.tables)
    for setting in ("rows", "key_start"):
        named = getattr(config, setting)
        faults += [_unknown(f"{setting}.{name}", "table", name, schema.tables) for name in named if name not in schema.tables]
    faults += [
        f"rows.{name}: a table cannot have {rows} rows. Next step: ask for 0 or more" for name, rows in config.rows.items() if rows < 0
    ]
    for setting, listed in (("keep", config.keep), ("privacy.entity_tables", config.privacy.entity_tables)):
        faults += [_unknown(setting, f"table as {name!r}", name, schema.tables) for name in listed if name not in schema.tables]
    faults += _entities_of_entities(schema, config.privacy.entity_tables)
    faults += rows_that_are_given(config.rows, config.keep, config.structure)
    faults += links_that_are_given(config.links.temperature, config.structure)
    faults += kept_faults(schema, config.keep) if not _pointing_nowhere(schema.tables) and not polymorphic_faults(schema.tables) else []
    tables = dict(schema.tables)
    for name, columns in config.columns.items():
        if name not in tables:
            faults.append(_unknown(f"columns.{name}", "table", name, tables))
            continue
        for column, settings in columns.items():
            path = f"columns.{name}.{column}"
            if column not in tables[name].column_names:
                faults.append(_unknown(path, f"column in table {name!r}", column, tables[name].column_names))
            elif settings.kind is not None and column in {c for k in tables[name].polymorphic for c in (k.type_column, k.id_column)}:
                faults.append(f"{path}.kind: it is part of a polymorphic reference, which decides its kind. Next step: remove it")
            elif settings.kind is not None and settings.kind not in list(Kind):
                faults.append(f"{path}.kind: there is no kind {settings.kind!r}. Next step: use one of {', '.join(Kind)}")
            elif settings.kind is not None:
                changed = tuple(replace(c, kind=Kind(settings.kind)) if c.name == column else c for c in tables[name].columns)
                tables[name] = replace(tables[name], columns=changed)
    faults += format_faults(tables, config.columns)
    faults += start_faults(tables, config.key_start)
    faults += [*_pointing_nowhere(tables), *map(str, polymorphic_faults(tables))] if not faults else []
    faults += _misfits(tables.values()) if not faults else []
    if faults:
        raise ConfigurationError(faults)
    return Schema(tables)


def _entities_of_entities(schema: Schema, named: Collection[str]) -> list[str]:
    """Faults of tables named as entities that refer, directly or by way of others, to another one: rows are part of one entity."""
    faults = []
    for name in named:
        above: set[str] = set()
        waiting = [name]
        while waiting:
            table = schema.tables.get(waiting.pop())
            parents = {key.parent for key in table.foreign_keys} if table else set()
            parents |= {parent for key in table.polymorphic for _, parent, _ in key.parents} if table else set()
            waiting += sorted(parents - above)
            above |= parents
        faults += [
            f"privacy.entity_tables: rows of {name} are part of those of {other}, to which they refer. Next step: name one of the two"
            for other in named
            if other in above - {name}
        ]
    return faults


def rows_that_are_given(rows: Mapping[str, int], kept: Collection[str], structure: str) -> list[str]:
    """Faults of row counts asked for where they cannot be chosen: of kept tables, and wherever the graph is the source's."""
    if structure == "original":
        return [
            f"rows.{name}: with structure: original every table has the source's rows. Found: {count}. "
            "Next step: remove it, or set structure: sampled"
            for name, count in rows.items()
        ]
    return [
        f"rows.{name}: the table is kept, so its rows are the source's. Found: {rows[name]}. Next step: remove it, or do not keep {name}"
        for name in kept
        if name in rows
    ]


def links_that_are_given(temperature: float, structure: str) -> list[str]:
    """Faults of settings of links where the graph is the source's."""
    if structure == "sampled" or temperature == 1:
        return []
    return [
        f"links.temperature: with structure: original the links are the source's. Found: {temperature:g}. "
        "Next step: remove it, or set structure: sampled"
    ]


def require_memory(schema: Schema, rows: Mapping[str, int]) -> None:
    """Raise `ConfigurationError` if so many rows of these tables cannot fit in this machine's memory, in which they are
    generated, even at the least of four bytes a value."""
    needed = {name: 4 * count * len(schema.tables[name].columns) for name, count in rows.items()}
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if sum(needed.values()) > present:
        largest = max(needed, key=needed.__getitem__)
        raise ConfigurationError(
            [
                f"rows.{largest}: all tables must fit in memory while they are generated. Found: {rows[largest]:,} rows; with those of "
                f"the other tables they need more than {sum(needed.values()) / 2**30:,.0f} GiB, and this machine has "
                f"{present / 2**30:,.0f} GiB. Next step: ask for fewer rows"
            ]
        )


def _pointing_nowhere(tables: Mapping[str, Table]) -> list[str]:
    return [
        f"tables.{name}.foreign_keys: {key.label(name)} must point at columns that are there. Next step: correct or remove the key"
        for name, table in tables.items()
        for key in table.foreign_keys
        if key.parent not in tables
        or not set(key.columns) <= set(table.column_names)
        or not set(key.parent_columns) <= set(tables[key.parent].column_names)
    ]


def _misfits(tables: Iterable[Table]) -> list[str]:
    return [
        f"columns.{table.name}.{c.name}: kind {c.kind} cannot be read from type {c.data_type}. "
        "Next step: name another kind, or change the column's type"
        for table in tables
        for c in table.columns
        if c.kind in TYPES_OF_KIND and base_type(c.data_type) not in TYPES_OF_KIND[c.kind]
    ]


def _unknown(path: str, what: str, name: str, known: Iterable[str]) -> str:
    hint = nearest(name, known) or f"name one of {', '.join(map(repr, list(known)[:8]))}"
    return f"{path}: there is no such {what}. Next step: {hint}"
