"""Keys that a dbt project knows: constraints of enforced contracts and generic tests, read from `target/manifest.json`.

Only what dbt guarantees is a fact: a test that is disabled, looks at a part of the rows, or may fail is told in a note of its
table instead. dbt itself is not needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synth_engine.errors import ConfigurationError, SynthError
from synth_engine.schema.files import SchemaFile, WrittenKey, WrittenTable, apply_schema_file, form_fault
from synth_engine.schema.model import Kind, Provenance, Schema, Table
from synth_engine.schema.types import default_kind

OLDEST_MANIFEST = 9
"""The first version of manifests (dbt 1.5) that tells of contracts and of the node a test is attached to."""

TABLE_LIKE = frozenset({"model", "seed", "snapshot", "source"})

_TESTS = {
    (None, "unique"): "unique",
    (None, "not_null"): "not_null",
    (None, "relationships"): "foreign_key",
    (None, "accepted_values"): "accepted_values",
    ("dbt_utils", "unique_combination_of_columns"): "unique",
    ("dbt_constraints", "primary_key"): "primary_key",
    ("dbt_constraints", "unique_key"): "unique",
    ("dbt_constraints", "foreign_key"): "foreign_key",
}
"""Generic tests that are read, by package and name, and the claim that each makes."""

_COLUMNS = ("combination_of_columns", "fk_column_names", "fk_column_name", "column_names", "column_name")
"""Arguments that name the columns a test is about, the first that is there; `dbt_constraints` has the most of them."""

_VERSION = re.compile(r"/manifest/v(\d+)")
_REFERENCE = re.compile(r"\b(ref|source)\(([^()]*)\)")
_QUOTED = re.compile(r"""(v(?:ersion)?\s*=\s*)?['"]([^'"]*)['"]""")
_WANTED_VERSION = re.compile(r"""\bv(?:ersion)?\s*=\s*['"]?([\w.]+)""")
_REFERENCES = re.compile(r"\s*(?:references\s+)?(?P<table>[^()]+?)\s*\((?P<columns>[^()]*)\)", re.IGNORECASE)


# -- what is read of a manifest ----------------------------------------------------------------------------------------


class _Part(BaseModel):
    """A manifest holds far more than keys, and more with every version of dbt."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Constraint(_Part):
    type: str
    columns: tuple[str, ...] | None = None
    expression: str | None = None
    to: str | None = None
    to_columns: tuple[str, ...] | None = None


class _Column(_Part):
    name: str
    constraints: tuple[_Constraint, ...] | None = None


class _Contract(_Part):
    enforced: bool | None = None


class _Config(_Part):
    enabled: bool | None = None
    materialized: str | None = None
    contract: _Contract | None = None
    severity: str | None = None
    where: str | None = None
    error_if: str | None = None


class _TestMetadata(_Part):
    name: str
    namespace: str | None = None
    kwargs: dict[str, Any] = Field(default_factory=dict)


class _Node(_Part):
    unique_id: str
    resource_type: str
    name: str
    package_name: str | None = None
    alias: str | None = None
    identifier: str | None = None
    database: str | None = None
    # pydantic's own `schema` must not be shadowed
    schema_name: str | None = Field(default=None, alias="schema")
    relation_name: str | None = None
    source_name: str | None = None
    version: str | int | float | None = None
    latest_version: str | int | float | None = None
    config: _Config = _Config()
    columns: dict[str, _Column] = Field(default_factory=dict)
    constraints: tuple[_Constraint, ...] | None = None
    test_metadata: _TestMetadata | None = None
    attached_node: str | None = None

    @property
    def table(self) -> str:
        """The table's name in the warehouse."""
        return self.alias or self.identifier or self.name


class _Manifest(_Part):
    nodes: dict[str, _Node]
    sources: dict[str, _Node]
    disabled: dict[str, tuple[_Node, ...]] | None = None

    def tables(self) -> dict[str, _Node]:
        """Nodes that are tables or views of a warehouse, by their id."""
        found = chain(self.nodes.items(), self.sources.items())
        return {i: node for i, node in found if node.resource_type in TABLE_LIKE and node.config.materialized != "ephemeral"}

    def tests(self) -> list[_Node]:
        """Generic tests of the kinds that are read, the disabled ones last."""
        found = chain(self.nodes.values(), *(self.disabled or {}).values())
        return [n for n in found if n.test_metadata and (n.test_metadata.namespace, n.test_metadata.name) in _TESTS]


@dataclass(frozen=True)
class _Claim:
    """What a constraint or a test says of its table; `doubt` is why it is no fact, `words` how a note names it."""

    sort: str
    words: str
    columns: tuple[str, ...]
    provenance: Provenance
    parent: str | None = None
    parent_columns: tuple[str, ...] = ()
    doubt: str = ""


def is_dbt_artefact(raw: Mapping[str, Any]) -> bool:
    """Whether a file's content was written by dbt."""
    metadata = raw.get("metadata")
    return isinstance(metadata, dict) and "dbt_schema_version" in metadata


def facts_of_manifest(
    path: str,
    raw: Mapping[str, Any],
    schema: Schema,
    source_schema: str | None,
    earlier: Mapping[tuple[str, ...], str] = MappingProxyType({}),
) -> SchemaFile:
    """What the manifest knows of the tables of `schema`, which is what reflection found in `source_schema`.

    What the warehouse declares, or an earlier file says, stays: the manifest adds keys, and a primary key where there is none.
    `earlier` names the file by what it says: `(table, "primary key")`, `(table, "foreign key", *columns)`. Raises
    `ConfigurationError` with every table that cannot be told apart, or if the manifest is for other tables.
    """
    _require_manifest(path, str(raw["metadata"]["dbt_schema_version"]))
    try:
        manifest = _Manifest.model_validate(raw)
    except ValidationError as error:
        raise ConfigurationError([form_fault(item) for item in error.errors(include_url=False)]) from None
    nodes = manifest.tables()
    places = _places(path, nodes, schema, source_schema)
    claims: dict[str, list[_Claim]] = {}
    for node, claim in [*_claims_of_contracts(nodes), *_claims_of_tests(manifest, nodes)]:
        if node in places:
            claims.setdefault(places[node], []).append(replace(claim, parent=places.get(claim.parent or "", claim.parent)))
    sifted = {name: _sift(schema.tables[name], found) for name, found in claims.items()}
    referred = {(c.parent, *map(str.lower, c.parent_columns)) for facts, _ in sifted.values() for c in facts if c.sort == "foreign_key"}
    for name, (facts, notes) in sifted.items():
        notes += _contradicted(path, schema.tables[name], facts, earlier)
    keyed = {name: _write_keys(schema.tables[name], facts, notes, referred) for name, (facts, notes) in sifted.items()}
    known = apply_schema_file(schema, SchemaFile(path, keyed))
    written = {name: _write_foreign_keys(known, name, table, sifted[name][0], path, earlier) for name, table in keyed.items()}
    return SchemaFile(path, written)


def _require_manifest(path: str, version: str) -> None:
    found = _VERSION.search(version)
    if found is None or int(found[1]) < OLDEST_MANIFEST:
        rule = f"A dbt artefact must be a manifest of version {OLDEST_MANIFEST} (dbt 1.5) or later"
        raise ConfigurationError([SynthError(rule, value=f"{version} in {path}", advice="pass target/manifest.json of a newer dbt")])


# -- nodes and tables --------------------------------------------------------------------------------------------------


def _places(path: str, nodes: Mapping[str, _Node], schema: Schema, source_schema: str | None) -> dict[str, str]:
    """The table of each node that has one among the tables found."""
    here = {i: n for i, n in nodes.items() if source_schema is None or (n.schema_name or "").lower() == source_schema.lower()}
    matches = {i: _like(n.table, schema.tables) for i, n in here.items()}
    faults = [
        SynthError(
            f"{i}: its table must be one of the source's",
            value=f"{here[i].table!r} could be {' or '.join(map(repr, found))}",
            advice="give the node the alias or identifier that its table has, letter by letter",
        )
        for i, found in matches.items()
        if len(found) > 1
    ]
    places = {i: found[0] for i, found in matches.items() if len(found) == 1}
    for name in dict.fromkeys(places.values()):
        relations = {((nodes[i].database or "").lower(), (nodes[i].schema_name or "").lower()): i for i in places if places[i] == name}
        if len(relations) > 1:
            found = ", ".join(f"{i} in schema {s!r}" for (_, s), i in relations.items())
            rule = f"table {name!r} must be the table of one relation of the dbt manifest"
            faults.append(SynthError(rule, value=found, advice="set source_schema to the schema of the source"))
    if not matches or not (places or faults):
        schemas = ", ".join(sorted({repr(n.schema_name) for n in nodes.values()})) or "none"
        wanted = f"none with a table in {source_schema!r}" if source_schema else "none with the table of a node"
        rule = f"{path}: the dbt manifest must be of the source's tables"
        advice = "set source_schema, or run `dbt parse` with the target whose tables the source holds"
        faults.append(SynthError(rule, value=f"schemas {schemas}, {wanted}", advice=advice))
    if faults:
        raise ConfigurationError(faults)
    return places


def _like(name: str, known: Iterable[str]) -> list[str]:
    """The name itself if it is known, otherwise all that differ from it in nothing but case."""
    every = list(known)
    return [name] if name in every else [other for other in every if other.lower() == name.lower()]


def _referred(expression: str, nodes: Mapping[str, _Node]) -> str | None:
    """The node that `ref('x')` or `source('x', 'y')` means; a compiled manifest has the relation's name there instead."""
    found = _REFERENCE.search(expression)
    if found is None:
        parts = _parts_of(expression)
        matches = [i for i, node in nodes.items() if parts and _parts_of(node.relation_name or "")[-len(parts) :] == parts]
        return matches[0] if len(matches) == 1 else None
    names = [name for version, name in _QUOTED.findall(found[2]) if not version]
    wanted = _WANTED_VERSION.search(found[2])
    matches = [i for i, node in nodes.items() if _is_meant(node, found[1], names, wanted[1] if wanted else None)]
    return matches[0] if len(matches) == 1 else None


def _is_meant(node: _Node, function: str, names: list[str], version: str | None) -> bool:
    if function == "source":
        return [node.source_name, node.name] == names
    if node.resource_type == "source" or [node.package_name, node.name][-len(names) :] != names:
        return False
    return str(node.version) == version if version else node.version in (None, node.latest_version)


def _parts_of(relation: str) -> list[str]:
    return [part.strip(' "`[]').lower() for part in relation.split(".") if part.strip()]


# -- claims ------------------------------------------------------------------------------------------------------------


def _claims_of_contracts(nodes: Mapping[str, _Node]) -> Iterable[tuple[str, _Claim]]:
    # dbt also writes `primary_key` beside the constraints: a guess of its own that counts tests with a `where`, so not read
    for i, node in nodes.items():
        enforced = node.config.contract is not None and bool(node.config.contract.enforced)
        of_model = ((constraint.columns or (), constraint) for constraint in node.constraints or ())
        of_columns = (((column.name,), constraint) for column in node.columns.values() for constraint in column.constraints or ())
        for columns, constraint in chain(of_model, of_columns):
            parent, parent_columns = _target_of(constraint, nodes)
            if constraint.type in ("primary_key", "unique", "foreign_key", "not_null"):
                words = f"dbt constraint {constraint.type} ({', '.join(columns)})"
                doubt = "" if enforced else "the model's contract is not enforced"
                yield i, _Claim(constraint.type, words, columns, Provenance.CONTRACT, parent, parent_columns, doubt)


def _target_of(constraint: _Constraint, nodes: Mapping[str, _Node]) -> tuple[str | None, tuple[str, ...]]:
    """Parent and parent columns of a foreign key: `to` and `to_columns`, or SQL such as `schema.table (id)`."""
    if constraint.to:
        return _referred(constraint.to, nodes), tuple(constraint.to_columns or ())
    found = _REFERENCES.match(constraint.expression or "")
    return (_referred(found["table"], nodes), tuple(found["columns"].split(","))) if found else (None, ())


def _claims_of_tests(manifest: _Manifest, nodes: Mapping[str, _Node]) -> Iterable[tuple[str, _Claim]]:
    for test in manifest.tests():
        assert test.test_metadata is not None
        arguments = test.test_metadata.kwargs
        # a test of a source is attached to nothing, but names it
        node = test.attached_node or _referred(str(arguments.get("model", "")), nodes)
        columns = _names(arguments, *_COLUMNS)
        if node is None or not columns:
            continue
        sort = _TESTS[test.test_metadata.namespace, test.test_metadata.name]
        claim = _Claim(sort, f"dbt test {test.name}", tuple(columns), Provenance.DBT_TEST, doubt=_doubt_of(test.config))
        if sort == "foreign_key":
            parent = _referred(str(arguments.get("to") or arguments.get("pk_table_name") or ""), nodes)
            claim = replace(claim, parent=parent, parent_columns=_names(arguments, "field", "pk_column_names", "pk_column_name"))
        yield node, claim


def _names(arguments: Mapping[str, Any], *keys: str) -> tuple[str, ...]:
    """The column names under the first of the arguments that is there; nothing if they are no names."""
    found = next((arguments[key] for key in keys if arguments.get(key)), ())
    names = (found,) if isinstance(found, str) else tuple(found) if isinstance(found, list) else ()
    return names if all(isinstance(name, str) for name in names) else ()


def _doubt_of(config: _Config) -> str:
    """Why a test proves nothing about the whole table; empty if it does."""
    if config.enabled is False:
        return "it is disabled"
    if config.where:
        return "its `where` leaves rows out"
    if (config.severity or "error").lower() == "warn":
        return "its severity is warn"
    if (config.error_if or "!= 0").replace(" ", "") not in ("!=0", ">0"):
        return "its `error_if` lets rows fail"
    return ""


# -- from claims to what is written ------------------------------------------------------------------------------------


def _sift(table: Table, claims: Iterable[_Claim]) -> tuple[list[_Claim], list[str]]:
    """The claims that are facts about columns of the table, in the table's own spelling, and notes on the others."""
    facts, notes = [], []
    for claim in claims:
        columns = _columns(table, claim.columns)
        if claim.doubt or not columns:
            reason = claim.doubt or f"the table does not have the columns ({', '.join(claim.columns)})"
            notes.append(f"{claim.words} is not used: {reason}")
        else:
            facts.append(replace(claim, columns=columns))
    return facts, list(dict.fromkeys(notes))


def _contradicted(path: str, table: Table, facts: Iterable[_Claim], earlier: Mapping[tuple[str, ...], str]) -> list[str]:
    """Primary keys of the manifest that another file says otherwise: they are unique keys then."""
    other = earlier.get((table.name, "primary key"))
    return [
        f"primary key: {other} says ({', '.join(table.primary_key)}), which is used, {path} says ({', '.join(fact.columns)})"
        for fact in facts
        if other and fact.sort == "primary_key" and set(fact.columns) != set(table.primary_key)
    ]


def _columns(table: Table, names: Iterable[str]) -> tuple[str, ...]:
    """Columns of the table by the names that dbt has for them; nothing if one is not there or could be several."""
    found = [_like(name.strip(' "`[]'), table.column_names) for name in names]
    return tuple(matches[0] for matches in found) if all(len(matches) == 1 for matches in found) else ()


def _write_keys(table: Table, facts: list[_Claim], notes: list[str], referred: set[tuple[str | None, ...]]) -> WrittenTable:
    """All that is said of the table but its foreign keys. `referred` holds `(table, *columns)`, columns in lower case."""
    not_null = {c for fact in facts if fact.sort in ("not_null", "primary_key") for c in fact.columns}
    required = not_null | {c.name for c in table.columns if not c.nullable}
    primary = [fact for fact in facts if fact.sort == "primary_key"]
    uniques = [fact for fact in facts if fact.sort == "unique"]
    # unique and never null makes a key: rather of one column, and rather the one that other tables refer to
    primary += sorted(
        (fact for fact in uniques if required.issuperset(fact.columns)),
        key=lambda fact: (len(fact.columns), (table.name, *map(str.lower, fact.columns)) not in referred),
    )
    chosen = primary[0].columns if primary and not table.primary_key else None
    unique = tuple(dict.fromkeys(fact.columns for fact in (*primary, *uniques) if fact.columns != chosen))
    keys = {column for fact in facts if fact.sort == "foreign_key" for column in fact.columns}
    keys |= table.key_columns.union(chosen or (), *unique)
    enumerated = [fact.columns[0] for fact in facts if fact.sort == "accepted_values" and fact.columns[0] not in keys]
    return WrittenTable(
        path=f"tables.{table.name}",
        primary_key=chosen,
        unique=unique,
        kinds={column: (Kind.CATEGORY,) for column in enumerated if default_kind(table.column(column).data_type) is Kind.TEXT},
        not_null=tuple(sorted(not_null)),
        notes=tuple(notes),
        # contracts come first and are the stronger claim
        provenance={fact.columns: fact.provenance for fact in reversed([*primary, *uniques])},
    )


def _write_foreign_keys(
    known: Schema, name: str, written: WrittenTable, facts: list[_Claim], path: str, earlier: Mapping[tuple[str, ...], str]
) -> WrittenTable:
    """The same with its foreign keys; `known` has the keys of all tables that these may refer to."""
    keys, notes = {key.columns: (key.parent, key.parent_columns) for key in known.tables[name].foreign_keys}, list(written.notes)
    found: dict[tuple[str, ...], WrittenKey] = {}
    for fact in (fact for fact in facts if fact.sort == "foreign_key"):
        parent = known.tables.get(fact.parent or "")
        columns = _columns(parent, fact.parent_columns) if parent else ()
        reason = _obstacle(parent, columns, fact)
        if parent and not reason and keys.setdefault(fact.columns, (parent.name, columns)) != (parent.name, columns):
            reason = f"({', '.join(fact.columns)}) is a key to {keys[fact.columns][0]} already"
            other = earlier.get((name, "foreign key", *fact.columns))
            reason += f", {other} says, and {path} says to {parent.name}" if other else ""
        if reason or parent is None:
            notes.append(f"{fact.words} is not used: {reason}")
        else:
            found.setdefault(fact.columns, WrittenKey(f"tables.{name}", fact.columns, parent.name, columns, fact.provenance))
    return replace(written, foreign_keys=tuple(found.values()), notes=tuple(notes))


def _obstacle(parent: Table | None, columns: tuple[str, ...], fact: _Claim) -> str:
    """Why a foreign key cannot be kept; empty if it can."""
    if parent is None:
        return f"the table it refers to ({fact.parent or 'unknown'}) is not among the source's tables"
    if len(columns) != len(fact.columns):
        return f"it must name the columns of {parent.name} that it refers to"
    if frozenset(columns) not in {frozenset(key) for key in (parent.primary_key, *parent.unique)}:
        return f"({', '.join(columns)}) of {parent.name} is not known to be unique"
    return ""
