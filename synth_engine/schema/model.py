"""The nouns of a relational schema: `Schema`, `Table`, `Column`, `ForeignKey`, `Kind`.

Plain immutable values without behaviour of a warehouse or a model: everything else in the engine reads them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a column means, which decides how it is encoded (not how the warehouse stores it)."""

    IDENTIFIER = "identifier"
    CATEGORY = "category"
    INTEGER = "integer"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    TEXT = "text"
    JSON = "json"
    BINARY = "binary"
    GEO = "geo"
    OTHER = "other"


class Provenance(StrEnum):
    """Where a fact about the schema comes from, strongest first."""

    DECLARED = "declared"
    CONTRACT = "contract"
    DBT_TEST = "dbt test"
    USER = "user"
    INFERRED = "inferred"


MODELLED_KINDS = frozenset(
    {
        Kind.IDENTIFIER,
        Kind.CATEGORY,
        Kind.INTEGER,
        Kind.DECIMAL,
        Kind.BOOLEAN,
        Kind.DATE,
        Kind.TIME,
        Kind.TIMESTAMP,
        Kind.TEXT,
    }
)
"""Kinds the engine learns. A column of any other kind is written as null, and reflection says so."""


@dataclass(frozen=True)
class Column:
    """One column: its name, what it means (`kind`) and how it is stored.

    `data_type` is one of the neutral type names of `schema.types`; `native_type` is the warehouse's own spelling,
    kept so that a twin in the same kind of warehouse gets the same type.
    """

    name: str
    kind: Kind
    data_type: str
    nullable: bool = True
    native_type: str | None = None


@dataclass(frozen=True)
class ForeignKey:
    """`columns` of the child refer to `parent_columns` of table `parent`, pairwise. `orphan_share` is the share of the rows that
    find no parent, where a policy has the twin reproduce them: such a key is none that a warehouse could declare."""

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    provenance: Provenance = Provenance.DECLARED
    orphan_share: float = 0.0

    def label(self, child: str) -> str:
        """Readable and unique name of the key: `child.column->parent`."""
        return f"{child}.{'+'.join(self.columns)}->{self.parent}"


@dataclass(frozen=True)
class PolymorphicKey:
    """`id_column` of the child refers to the table that `type_column` names: `parents` holds for each type, as text, the parent
    and its column. A row whose id is null refers to nobody, whatever its type; one with an id has a type of these."""

    type_column: str
    id_column: str
    parents: tuple[tuple[str, str, str], ...]
    provenance: Provenance = Provenance.USER

    def label(self, child: str) -> str:
        """Readable and unique name of the reference: `child.type+id`."""
        return f"{child}.{self.type_column}+{self.id_column}"

    @property
    def types(self) -> tuple[str, ...]:
        return tuple(found for found, _, _ in self.parents)

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables it may refer to, each once."""
        return tuple(dict.fromkeys(parent for _, parent, _ in self.parents))

    @property
    def keys(self) -> tuple[ForeignKey, ...]:
        """The reference as one foreign key a type, each of a column of its own that is null in rows of other types."""
        return tuple(ForeignKey((f"{self.id_column}[{of}]",), parent, (column,), self.provenance) for of, parent, column in self.parents)


@dataclass(frozen=True)
class Table:
    """A table with its keys. `notes` says in plain words what of it can not be kept, and what happens instead.

    `undeclared` tells of each primary and unique key that the warehouse does not declare where it comes from.
    """

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    notes: tuple[str, ...] = ()
    undeclared: Mapping[tuple[str, ...], Provenance] = field(default_factory=dict, hash=False)
    polymorphic: tuple[PolymorphicKey, ...] = ()

    def provenance(self, key: tuple[str, ...]) -> Provenance:
        """Where the primary or unique key of these columns comes from."""
        return self.undeclared.get(key, Provenance.DECLARED)

    def column(self, name: str) -> Column:
        """The column of that name; `KeyError` if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def key_columns(self) -> frozenset[str]:
        """Columns that belong to the primary key or refer to another row: their values carry no statistics. The type of a
        polymorphic reference, which says where to, is none of them."""
        return frozenset(self.primary_key).union(*(fk.columns for fk in self.foreign_keys), (key.id_column for key in self.polymorphic))


@dataclass(frozen=True)
class Schema:
    """Tables by name, in the order they were found."""

    tables: Mapping[str, Table] = field(default_factory=dict)

    @classmethod
    def of(cls, tables: Iterable[Table]) -> Schema:
        return cls({table.name: table for table in tables})

    def fingerprint(self) -> str:
        """sha256 over names, types, nullability and keys: equal for equal schemas, whatever obtained them.

        Order of tables and of keys does not matter, order of columns does. Kinds are left out: a user may change
        the kind of a column without changing the schema of the warehouse.
        """
        facts = {
            name: {
                "columns": [[c.name, c.data_type, c.nullable] for c in table.columns],
                "primary_key": list(table.primary_key),
                "unique": sorted(list(u) for u in table.unique),
                "foreign_keys": sorted([list(k.columns), k.parent, list(k.parent_columns)] for k in table.foreign_keys),
                **(
                    {"polymorphic": sorted([k.type_column, k.id_column, list(k.parents)] for k in table.polymorphic)}
                    if table.polymorphic
                    else {}
                ),
            }
            for name, table in self.tables.items()
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def parents_first(self) -> list[str]:
        """Table names such that every parent stands before its children; keys that close a cycle are ignored, and polymorphic
        references that would close one with the other keys.

        Ties keep the order of the schema, so the result is deterministic.
        """
        deferred = self.deferred_keys()
        waiting = {
            name: {k.parent for k in table.foreign_keys if k.parent in self.tables and (name, k) not in deferred}
            for name, table in self.tables.items()
        }
        above = self._above(deferred)
        for name, parent in ((n, p) for n, t in self.tables.items() for k in t.polymorphic for p in k.tables):
            if name not in above[parent]:
                waiting[name].add(parent)
                _put_above(above, name, parent)
        order: list[str] = []
        while waiting:
            ready = [name for name, parents in waiting.items() if not parents & waiting.keys()]
            order += ready
            for name in ready:
                del waiting[name]
        return order

    def deferred_keys(self) -> frozenset[tuple[str, ForeignKey]]:
        """`(child, key)` pairs that close a cycle (self-references included).

        Of the keys of a cycle the one that least depends on is left for last: one that may be null, rather than one of a row's
        identity or one that must not be null. Ties keep the order of the schema.
        """
        keys = [(name, key) for name, table in self.tables.items() for key in table.foreign_keys if key.parent in self.tables]
        above: dict[str, set[str]] = {name: {name} for name in self.tables}
        deferred: set[tuple[str, ForeignKey]] = set()
        for name, key in sorted(keys, key=lambda found: self._can_wait(*found)):
            if name in above[key.parent]:
                deferred.add((name, key))
            else:
                _put_above(above, name, key.parent)
        return frozenset(deferred)

    def _above(self, deferred: frozenset[tuple[str, ForeignKey]]) -> dict[str, set[str]]:
        """Each table with all it depends on by keys that are not `deferred`."""
        above = {name: {name} for name in self.tables}
        for name, key in (
            (n, k) for n, t in self.tables.items() for k in t.foreign_keys if k.parent in self.tables and (n, k) not in deferred
        ):
            _put_above(above, name, key.parent)
        return above

    def _can_wait(self, name: str, key: ForeignKey) -> tuple[bool, bool, bool]:
        """In which order keys may wait until all rows are there: last those whose columns others refer to, those that must not
        be null, and those a row is known by."""
        table = self.tables[name]
        referred = {c for _, other in self.children_of(name) for c in other.parent_columns}
        known_by = set(table.primary_key).union(*table.unique)
        nullable = any(table.column(c).nullable for c in key.columns)
        return not referred.issuperset(key.columns), nullable, not known_by.intersection(key.columns)

    def children_of(self, parent: str) -> list[tuple[str, ForeignKey]]:
        """`(child, key)` of every foreign key that refers to `parent`, in schema order."""
        return [(name, key) for name, table in self.tables.items() for key in table.foreign_keys if key.parent == parent]

    def with_orphans(self, shares: Mapping[str, float]) -> Schema:
        """The schema with the share of orphans of each key that is named, by its label."""
        return Schema(
            {
                name: replace(
                    table, foreign_keys=tuple(replace(k, orphan_share=shares.get(k.label(name), 0.0)) for k in table.foreign_keys)
                )
                for name, table in self.tables.items()
            }
        )

    def without_broken_keys(self) -> Schema:
        """The schema with only those foreign keys that hold in every row."""
        return Schema(
            {
                name: replace(table, foreign_keys=tuple(k for k in table.foreign_keys if not k.orphan_share))
                for name, table in self.tables.items()
            }
        )

    def select(self, names: Iterable[str]) -> Schema:
        """The schema of only these tables; foreign keys to tables left out are dropped and noted, polymorphic references even if
        only one of their tables is."""
        wanted = set(names)
        chosen = []
        for name, table in self.tables.items():
            if name not in wanted:
                continue
            kept = tuple(k for k in table.foreign_keys if k.parent in wanted)
            whole = tuple(k for k in table.polymorphic if wanted.issuperset(k.tables))
            gone = [(k.label(name), k.parent) for k in table.foreign_keys if k.parent not in wanted]
            gone += [(k.label(name), next(p for p in k.tables if p not in wanted)) for k in table.polymorphic if k not in whole]
            lost = tuple(f"key {label} is dropped because table {parent!r} is not selected" for label, parent in gone)
            chosen.append(replace(table, foreign_keys=kept, polymorphic=whole, notes=table.notes + lost))
        return Schema.of(chosen)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, the inverse of `from_dict`."""
        return {
            "tables": [
                {
                    "name": t.name,
                    "columns": [
                        {
                            "name": c.name,
                            "kind": c.kind.value,
                            "data_type": c.data_type,
                            "nullable": c.nullable,
                            "native_type": c.native_type,
                        }
                        for c in t.columns
                    ],
                    "primary_key": list(t.primary_key),
                    "unique": [list(u) for u in t.unique],
                    "foreign_keys": [
                        {
                            "columns": list(k.columns),
                            "parent": k.parent,
                            "parent_columns": list(k.parent_columns),
                            "provenance": k.provenance.value,
                            "orphan_share": k.orphan_share,
                        }
                        for k in t.foreign_keys
                    ],
                    "notes": list(t.notes),
                    "undeclared": [[list(key), provenance.value] for key, provenance in t.undeclared.items()],
                    "polymorphic": [
                        {
                            "type_column": k.type_column,
                            "id_column": k.id_column,
                            "parents": [list(parent) for parent in k.parents],
                            "provenance": k.provenance.value,
                        }
                        for k in t.polymorphic
                    ],
                }
                for t in self.tables.values()
            ]
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Schema:
        return cls.of(
            Table(
                name=t["name"],
                columns=tuple(Column(c["name"], Kind(c["kind"]), c["data_type"], c["nullable"], c["native_type"]) for c in t["columns"]),
                primary_key=tuple(t["primary_key"]),
                unique=tuple(tuple(u) for u in t["unique"]),
                foreign_keys=tuple(
                    ForeignKey(tuple(k["columns"]), k["parent"], tuple(k["parent_columns"]), Provenance(k["provenance"]), k["orphan_share"])
                    for k in t["foreign_keys"]
                ),
                notes=tuple(t["notes"]),
                undeclared={tuple(key): Provenance(provenance) for key, provenance in t["undeclared"]},
                polymorphic=tuple(
                    PolymorphicKey(
                        k["type_column"],
                        k["id_column"],
                        tuple((of, parent, c) for of, parent, c in k["parents"]),
                        Provenance(k["provenance"]),
                    )
                    for k in t["polymorphic"]
                ),
            )
            for t in raw["tables"]
        )


def _put_above(above: dict[str, set[str]], child: str, parent: str) -> None:
    """Have the child, and all that depends on it, depend on all that the parent does."""
    for tables in above.values():
        if child in tables:
            tables |= above[parent]
