"""A schema written by a person: the product's YAML, or SDV multi-table metadata (JSON, `MULTI_TABLE_V1`).

Everything that reflection finds can be left out; what is written wins. Reading finds what is wrong with the file
itself, applying what does not fit the tables that are there. Both report every fault at once, each with its path.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synth_engine.errors import ConfigurationError, SynthError, nearest
from synth_engine.mappings import read_yaml
from synth_engine.schema.model import Column, ForeignKey, Kind, PolymorphicKey, Provenance, Schema, Table
from synth_engine.schema.polymorphic import polymorphic_faults
from synth_engine.schema.types import default_kind


@dataclass(frozen=True)
class WrittenKey:
    """A foreign key as the file spells it; `path` is where, for messages. A column may be an expression."""

    path: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    provenance: Provenance = Provenance.USER

    @property
    def expressions(self) -> tuple[str, ...]:
        """Columns that are written as a call, such as `hour(scheduled)`."""
        return tuple(name for name in (*self.columns, *self.parent_columns) if "(" in name and name.endswith(")"))


@dataclass(frozen=True)
class WrittenTable:
    """What the file says about one table. `primary_key` is None where the file says nothing.

    `kinds` holds for a column the kinds its entry allows, the preferred one first: one for the product's YAML,
    several where SDV's word (`numerical`, `datetime`) leaves the choice to the stored type. `provenance` tells of primary and
    unique keys that no person wrote where they come from.
    """

    path: str
    primary_key: tuple[str, ...] | None = None
    unique: tuple[tuple[str, ...], ...] = ()
    foreign_keys: tuple[WrittenKey, ...] = ()
    columns: tuple[str, ...] = ()
    kinds: Mapping[str, tuple[Kind, ...]] = field(default_factory=dict)
    not_null: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    provenance: Mapping[tuple[str, ...], Provenance] = field(default_factory=dict)
    polymorphic: tuple[PolymorphicKey, ...] = ()


@dataclass(frozen=True)
class SchemaFile:
    """A schema file that is right in itself; `apply_schema_file` compares it with the tables that are there."""

    path: str
    tables: Mapping[str, WrittenTable] = field(default_factory=dict)

    @property
    def written_kinds(self) -> frozenset[tuple[str, str]]:
        """`(table, column)` of every column whose kind the file decides: data must not change these."""
        decided = {(name, column) for name, table in self.tables.items() for column in table.kinds}
        return frozenset(decided | {(n, c) for n, t in self.tables.items() for k in t.polymorphic for c in (k.type_column, k.id_column)})


# -- reading -----------------------------------------------------------------------------------------------------------


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _References(_Form):
    table: str
    columns: tuple[str, ...] = Field(min_length=1)


class _KeyForm(_Form):
    columns: tuple[str, ...] = Field(min_length=1)
    references: _References


class _PolymorphicForm(_Form):
    type: str
    id: str
    parents: dict[str | int, Annotated[str, Field(pattern=r"^.+\..+$")]] = Field(min_length=1)

    def key(self) -> PolymorphicKey:
        parents = ((str(of), *target.rsplit(".", 1)) for of, target in self.parents.items())
        return PolymorphicKey(self.type, self.id, tuple((of, table, column) for of, table, column in parents))


class _ColumnForm(_Form):
    kind: Kind | None = None


class _TableForm(_Form):
    primary_key: tuple[str, ...] | None = None
    unique: tuple[tuple[str, ...], ...] = ()
    foreign_keys: tuple[_KeyForm, ...] = ()
    polymorphic: tuple[_PolymorphicForm, ...] = ()
    columns: dict[str, _ColumnForm] = Field(default_factory=dict)


class _ProductForm(_Form):
    tables: dict[str, _TableForm]


class _SdvPart(BaseModel):
    """SDV writes settings of its own synthesizers beside what is read here; they are none of our business."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _SdvColumn(_SdvPart):
    sdtype: str
    computer_representation: str = ""
    datetime_format: str | None = None


class _SdvTable(_SdvPart):
    columns: dict[str, _SdvColumn]
    primary_key: str | tuple[str, ...] | None = None
    alternate_keys: tuple[str | tuple[str, ...], ...] = ()


class _SdvRelationship(_SdvPart):
    parent_table_name: str
    parent_primary_key: str | tuple[str, ...]
    child_table_name: str
    child_foreign_key: str | tuple[str, ...]


class _SdvForm(_SdvPart):
    tables: dict[str, _SdvTable]
    relationships: tuple[_SdvRelationship, ...] = ()


def read_schema_file(path: str | Path) -> SchemaFile:
    """Read the product's YAML (or the same as JSON) or SDV multi-table metadata; which of the two is told by its content.

    Raises `ConfigurationError` with every fault of form and its path, for example `tables.flights.columns.carrier.kind`.
    """
    return parse_schema_file(path, load_schema_file(path))


def parse_schema_file(path: str | Path, raw: Mapping[str, Any]) -> SchemaFile:
    """`read_schema_file` of content that was loaded already."""
    try:
        if "METADATA_SPEC_VERSION" in raw or "relationships" in raw:
            _require_multi_table(raw, path)
            return _from_sdv(str(path), _SdvForm.model_validate(raw))
        return _from_product(str(path), _ProductForm.model_validate(raw))
    except ValidationError as error:
        raise ConfigurationError([form_fault(item) for item in error.errors(include_url=False)]) from None


def load_schema_file(path: str | Path) -> dict[str, Any]:
    """The mapping that a YAML or JSON file holds. Raises `ConfigurationError` if it cannot be read or holds something else."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        raw = json.loads(text) if Path(path).suffix == ".json" else read_yaml(text)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(
            [f"The schema file must be readable YAML or JSON. Found: {path}: {error}. Next step: correct it"]
        ) from None
    if not isinstance(raw, dict):
        rule = "The schema file must hold a mapping with the entry 'tables'"
        raise ConfigurationError([SynthError(rule, value=f"{path} holds {type(raw).__name__}")])
    return raw


def _require_multi_table(raw: Mapping[str, Any], path: str | Path) -> None:
    version = raw.get("METADATA_SPEC_VERSION", "MULTI_TABLE_V1")
    if version != "MULTI_TABLE_V1":
        fault = SynthError(
            "SDV metadata must be of version MULTI_TABLE_V1",
            value=f"{version!r} in {path}",
            advice="save it from sdv.metadata.Metadata, or write the product's YAML",
        )
        raise ConfigurationError([fault])


def _from_product(path: str, form: _ProductForm) -> SchemaFile:
    tables = {}
    for name, table in form.tables.items():
        where = f"tables.{name}"
        keys = tuple(
            WrittenKey(f"{where}.foreign_keys[{i}]", key.columns, key.references.table, key.references.columns)
            for i, key in enumerate(table.foreign_keys)
        )
        kinds = {column: (entry.kind,) for column, entry in table.columns.items() if entry.kind is not None}
        polymorphic = tuple(reference.key() for reference in table.polymorphic)
        tables[name] = WrittenTable(where, table.primary_key, table.unique, keys, tuple(table.columns), kinds, polymorphic=polymorphic)
    return SchemaFile(path, tables)


def _from_sdv(path: str, form: _SdvForm) -> SchemaFile:
    keys: dict[str, list[WrittenKey]] = {name: [] for name in form.tables}
    faults = []
    for i, relationship in enumerate(form.relationships):
        where, child = f"relationships[{i}]", relationship.child_table_name
        if child not in keys:
            faults.append(_unknown(f"{where}.child_table_name", "table", child, keys))
            continue
        columns, parent_columns = _names(relationship.child_foreign_key), _names(relationship.parent_primary_key)
        keys[child].append(WrittenKey(where, columns, relationship.parent_table_name, parent_columns))
    if faults:
        raise ConfigurationError(faults)
    tables = {
        name: WrittenTable(
            path=f"tables.{name}",
            primary_key=_names(table.primary_key) if table.primary_key else None,
            unique=tuple(_names(key) for key in table.alternate_keys),
            foreign_keys=tuple(keys[name]),
            columns=tuple(table.columns),
            kinds={column: _kinds_of_sdtype(entry) for column, entry in table.columns.items()},
        )
        for name, table in form.tables.items()
    }
    return SchemaFile(path, tables)


def _names(written: str | tuple[str, ...]) -> tuple[str, ...]:
    return (written,) if isinstance(written, str) else written


def _kinds_of_sdtype(column: _SdvColumn) -> tuple[Kind, ...]:
    if column.sdtype == "numerical":
        integral = column.computer_representation.startswith(("Int", "UInt"))
        return (Kind.INTEGER,) if integral else (Kind.DECIMAL, Kind.INTEGER)
    if column.sdtype == "datetime":
        with_time = column.datetime_format is None or any(code in column.datetime_format for code in ("%H", "%I", "%T", "%X", "%c"))
        return (Kind.TIMESTAMP, Kind.DATE, Kind.TIME) if with_time else (Kind.DATE, Kind.TIMESTAMP)
    exact = {"id": Kind.IDENTIFIER, "categorical": Kind.CATEGORY, "boolean": Kind.BOOLEAN}
    if column.sdtype in exact:
        return (exact[column.sdtype],)
    # `unknown` and the words for personal data (email, latitude …) say nothing about how a value is stored: the kind is the
    # one of the stored type, text for a string.
    return tuple(Kind)


def form_fault(item: Any) -> str:
    """One error of pydantic as advice."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"]).lstrip(".") or "schema file"
    if item["type"] == "extra_forbidden":
        return str(SynthError(f"{path}: there is no such entry", advice="remove it or correct its name"))
    if item["type"] == "string_pattern_mismatch":
        return str(SynthError(f"{path}: a parent must be written as table.column", value=repr(item["input"]), advice="write it so"))
    if item["type"] == "enum":
        kinds = [kind.value for kind in Kind]
        advice = f"{_otherwise(str(item['input']), kinds)}write one of {', '.join(kinds)}"
        return str(SynthError(f"{path}: a kind must be one this product knows", value=repr(item["input"]), advice=advice))
    if item["type"] == "tuple_type" and isinstance(item["input"], str):
        return str(SynthError(f"{path}: must be a list", value=repr(item["input"]), advice=f"write [{item['input']}]"))
    if item["type"] == "missing":
        return str(SynthError(f"{path}: this entry must be there", advice="add it"))
    return str(SynthError(f"{path}: {item['msg']}", value=repr(item["input"]), advice="correct it, see docs/schema-file.md"))


# -- applying ------------------------------------------------------------------------------------------------------------


def apply_schema_file(schema: Schema, file: SchemaFile) -> Schema:
    """The schema with everything the file says; the tables and columns themselves are the schema's.

    A written primary key replaces the one found, which stays a unique key. Written unique and foreign keys are added, a foreign key
    in place of one found on the same columns, a polymorphic reference in place of one with the same id, each with the provenance it
    is written with. A foreign key one of whose columns is an expression cannot be kept and becomes a note of the table.

    Raises `ConfigurationError` with every table, column or key of the file that does not fit.
    """
    faults = _faults_of_names(schema, file)
    tables = {name: _apply_table(table, file.tables[name]) if name in file.tables else table for name, table in schema.tables.items()}
    faults += _faults_of_keys(tables, file)
    faults += polymorphic_faults(tables)
    if faults:
        raise ConfigurationError(faults)
    return Schema(tables)


def _apply_table(table: Table, written: WrittenTable) -> Table:
    primary_key, unique = table.primary_key, list(table.unique)
    if written.primary_key is not None and set(written.primary_key) != set(primary_key):
        unique += [primary_key] if primary_key else []
        primary_key = written.primary_key
    known = {frozenset(key) for key in unique}
    unique += [key for key in written.unique if frozenset(key) not in known]
    unique = [key for key in unique if set(key) != set(primary_key)]
    keys = _merge_keys(table.foreign_keys, written.foreign_keys)
    identifying = {key[0] for key in (primary_key, *(k.columns for k in keys)) if len(key) == 1}
    columns = tuple(_apply_column(column, written, column.name in primary_key, column.name in identifying) for column in table.columns)
    references = {key.id_column: key for key in (*table.polymorphic, *written.polymorphic)}
    return replace(
        table,
        columns=columns,
        primary_key=primary_key,
        unique=tuple(unique),
        foreign_keys=keys,
        notes=table.notes + written.notes + tuple(_note_of_expression(table.name, key) for key in written.foreign_keys if key.expressions),
        undeclared=_undeclared(table, written, [key for key in (primary_key, *unique) if key]),
        polymorphic=tuple(references.values()),
    )


def _undeclared(table: Table, written: WrittenTable, keys: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], Provenance]:
    """Whence those of the keys are known that the warehouse does not declare; what was found keeps its provenance."""
    found = {frozenset(key): table.undeclared.get(key) for key in (table.primary_key, *table.unique)}
    origins = {key: found.get(frozenset(key), written.provenance.get(key, Provenance.USER)) for key in keys}
    return {key: origin for key, origin in origins.items() if origin is not None}


def _merge_keys(found: tuple[ForeignKey, ...], written: tuple[WrittenKey, ...]) -> tuple[ForeignKey, ...]:
    merged = {key.columns: key for key in found}
    for entry in written:
        key = ForeignKey(entry.columns, entry.parent, entry.parent_columns, entry.provenance)
        same = merged.get(key.columns)
        if entry.expressions or (same and replace(same, provenance=key.provenance) == key):
            continue  # what the warehouse declares as well keeps its stronger provenance
        merged[key.columns] = key
    return tuple(merged.values())


def _apply_column(column: Column, written: WrittenTable, primary: bool, identifying: bool) -> Column:
    kind, allowed = column.kind, written.kinds.get(column.name)
    if column.name in {key.type_column for key in written.polymorphic}:
        kind = Kind.CATEGORY
    elif column.name in {key.id_column for key in written.polymorphic}:
        kind = Kind.IDENTIFIER
    elif allowed:
        suggested = default_kind(column.data_type)
        kind = suggested if suggested in allowed else allowed[0]
    elif identifying:
        kind = Kind.IDENTIFIER
    # A primary key column is never null, in every warehouse, whether or not its file (CSV, Parquet) can say so.
    return replace(column, kind=kind, nullable=column.nullable and not primary and column.name not in written.not_null)


def _note_of_expression(child: str, key: WrittenKey) -> str:
    label = ForeignKey(key.columns, key.parent, key.parent_columns).label(child)
    return f"key {label} is not kept because {', '.join(key.expressions)} is an expression, not a column"


# -- faults --------------------------------------------------------------------------------------------------------------


def _faults_of_names(schema: Schema, file: SchemaFile) -> list[SynthError]:
    """Tables and columns of the file that are not there, other than those of foreign keys."""
    faults = []
    for name, written in file.tables.items():
        if name not in schema.tables:
            faults.append(_unknown(written.path, "table", name, schema.tables))
            continue
        known = schema.tables[name].column_names
        mentioned = [(f"{written.path}.primary_key", column) for column in written.primary_key or ()]
        mentioned += [(f"{written.path}.unique[{i}]", column) for i, key in enumerate(written.unique) for column in key]
        mentioned += [(f"{written.path}.columns", column) for column in written.columns]
        faults += [_unknown(path, "column", column, known) for path, column in mentioned if column not in known]
    return faults


def _faults_of_keys(tables: Mapping[str, Table], file: SchemaFile) -> list[SynthError]:
    """What is wrong with the written foreign keys, told against the tables as they are with the file applied."""
    return [
        fault
        for name, written in file.tables.items()
        if name in tables
        for key in written.foreign_keys
        if not key.expressions
        for fault in _faults_of_key(tables, name, key)
    ]


def _faults_of_key(tables: Mapping[str, Table], child: str, key: WrittenKey) -> list[SynthError]:
    if key.parent not in tables:
        return [_unknown(key.path, "table", key.parent, tables)]
    parent = tables[key.parent]
    faults = [_unknown(key.path, "column", c, tables[child].column_names) for c in key.columns if c not in tables[child].column_names]
    faults += [_unknown(key.path, "column", c, parent.column_names) for c in key.parent_columns if c not in parent.column_names]
    if len(key.columns) != len(key.parent_columns):
        value = f"{len(key.columns)} columns refer to {len(key.parent_columns)}"
        faults.append(
            SynthError(f"{key.path}: a foreign key must have as many columns as it refers to", value=value, advice="pair the columns")
        )
    if faults:
        return faults
    identifying = {frozenset(candidate) for candidate in (parent.primary_key, *parent.unique) if candidate}
    if frozenset(key.parent_columns) not in identifying:
        columns = ", ".join(key.parent_columns)
        rule = f"{key.path}: a foreign key must refer to the primary key or a unique key"
        advice = f"if they are unique, say so under tables.{key.parent}.unique"
        faults.append(SynthError(rule, value=f"({columns}) of table {key.parent!r} is neither", advice=advice))
    return faults


def _unknown(path: str, noun: str, name: str, known: Iterable[str]) -> SynthError:
    advice = f"{_otherwise(name, known)}correct the name, or remove the entry"
    return SynthError(f"{path}: there must be a {noun} of that name", value=repr(name), advice=advice)


def _otherwise(name: str, known: Iterable[str]) -> str:
    """What comes before advice for those who did not mean a known name."""
    hint = nearest(name, known)
    return f"{hint}? Otherwise " if hint else ""
