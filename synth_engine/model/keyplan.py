"""In which order the foreign keys of a table are assigned, and which of their columns are settled by then.

Keys may share columns (with each other, or with the primary key): a tenant in every key, a date that is also a value.
The key assigned first settles the shared columns; the others choose among the parents that agree with them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from synth_engine.schema import Column, ForeignKey, Schema, Table


@dataclass(frozen=True)
class KeyPlan:
    """The foreign keys of a table. `order` lists their numbers as they are assigned: live ones first, then the deferred.
    `settled[i]` are the columns of key i that are settled before its turn; `closing[i]` the live keys all of whose columns are
    settled once key i is, neither by it nor by the earlier ones alone (the last of a ring: x y, y z, z x); `heads` the keys
    that depend on no other, which alone may be owners."""

    keys: tuple[ForeignKey, ...]
    deferred: tuple[bool, ...]
    order: tuple[int, ...]
    settled: tuple[frozenset[str], ...]
    closing: tuple[tuple[int, ...], ...]
    heads: frozenset[int]

    @property
    def live(self) -> list[int]:
        """Numbers of the keys whose parents are generated before this table."""
        return [i for i, late in enumerate(self.deferred) if not late]

    @property
    def columns(self) -> frozenset[str]:
        """Columns whose values come from a parent."""
        live = {c for i in self.live for c in self.keys[i].columns}
        late = {c for i, key in enumerate(self.keys) for c in key.columns if self.deferred[i] and c not in self.settled[i]}
        return frozenset(live | late)

    def refers_to(self, i: int, column: str) -> str:
        """The parent's column that a column of key i refers to."""
        return self.keys[i].parent_columns[self.keys[i].columns.index(column)]


def plan_keys(schema: Schema, table: Table) -> KeyPlan:
    """Plan the keys of a table; those to tables that are not there are left out."""
    keys = tuple(k for k in table.foreign_keys if k.parent in schema.tables)
    late = _late_keys(schema)
    deferred = tuple((table.name, k) in late for k in keys)
    live = [i for i in range(len(keys)) if not deferred[i]]
    order, heads = _in_turn(live, table, keys)
    settled: list[frozenset[str]] = [frozenset()] * len(keys)
    closing: list[tuple[int, ...]] = [()] * len(keys)
    before: set[str] = set()
    for at, i in enumerate(order):
        own = set(keys[i].columns)
        settled[i] = frozenset(before & own)
        later = [j for j in order[at + 1 :] if before | own >= set(keys[j].columns)]
        closing[i] = tuple(j for j in later if not before >= set(keys[j].columns) and not own >= set(keys[j].columns))
        before.update(keys[i].columns)
    late_ones = [i for i in range(len(keys)) if deferred[i]]
    for i in sorted(late_ones, key=lambda i: not _identifies(table, keys[i])):
        order.append(i)
        settled[i] = frozenset(before.intersection(keys[i].columns)) | _own_columns(schema, table, keys[i])
        before.update(keys[i].columns)
    return KeyPlan(keys, deferred, tuple(order), tuple(settled), tuple(closing), frozenset(heads))


def _late_keys(schema: Schema) -> frozenset[tuple[str, ForeignKey]]:
    """`(child, key)` pairs that wait until all rows are there: those that close a cycle, and those that refer to columns which
    only such keys give a value to."""
    late = set(schema.deferred_keys())
    keys = [(name, key) for name, table in schema.tables.items() for key in table.foreign_keys if key.parent in schema.tables]
    while True:
        soon = {(name, c) for name, key in keys if (name, key) not in late for c in key.columns}
        given = {(name, c) for name, key in late for c in set(key.columns) - _own_columns(schema, schema.tables[name], key)} - soon
        more = {(name, key) for name, key in keys if any((key.parent, c) in given for c in key.parent_columns)} - late
        if not more:
            return frozenset(late)
        late |= more


def _in_turn(live: Iterable[int], table: Table, keys: tuple[ForeignKey, ...]) -> tuple[list[int], list[int]]:
    """The live keys in turn, and those among them that share no column with an earlier one: unique keys first (they
    leave least choice), then those of most columns (they imply the others); keys that overlap follow one another."""
    waiting = sorted(live, key=lambda i: (not _identifies(table, keys[i]), not is_unique(table, keys[i]), -len(keys[i].columns), i))
    order: list[int] = []
    heads: list[int] = []
    while waiting:
        taken = {c for i in order for c in keys[i].columns}
        overlapping = [i for i in waiting if taken.intersection(keys[i].columns)]
        chosen = overlapping[0] if overlapping else waiting[0]
        if not overlapping:
            heads.append(chosen)
        order.append(chosen)
        waiting.remove(chosen)
    return order, heads


def _identifies(table: Table, key: ForeignKey) -> bool:
    """Whether the columns of the key are a unique key themselves."""
    return any(set(unique) == set(key.columns) for unique in (table.primary_key, *table.unique))


def is_unique(table: Table, key: ForeignKey) -> bool:
    """Whether no two rows of the table may refer to the same parent along the key."""
    return any(unique and set(unique) <= set(key.columns) for unique in (table.primary_key, *table.unique))


def _own_columns(schema: Schema, table: Table, key: ForeignKey) -> frozenset[str]:
    """Columns of a key of several that closes a cycle which are values of the row itself: part of its primary key, referred
    to by others, or referring to themselves (the tenant in `(tenant, manager) -> (tenant, id)`)."""
    if len(key.columns) == 1:
        return frozenset()
    same = {c for c, p in zip(key.columns, key.parent_columns, strict=True) if key.parent == table.name and c == p}
    referred = {c for _, other in schema.children_of(table.name) for c in other.parent_columns}
    own = frozenset(same.union(set(key.columns) & referred.union(table.primary_key)))
    return own if own < set(key.columns) else frozenset()


def surrogate_columns(plan: KeyPlan, table: Table) -> frozenset[str]:
    """A primary key of one column that refers to nothing: its values are made, not learned."""
    return frozenset(table.primary_key) - plan.columns if len(table.primary_key) == 1 else frozenset()


def required(table: Table, key: ForeignKey) -> bool:
    """Whether every row must refer to a parent."""
    return not optional_columns(table, key)


def optional_columns(table: Table, key: ForeignKey) -> frozenset[str]:
    """Columns of the key that may be null. A row in which they all have values must refer to a parent."""
    return frozenset(c for c in key.columns if table.column(c).nullable)


def value_columns(plan: KeyPlan, table: Table) -> list[Column]:
    """Columns of the table that no key gives a value to."""
    taken = plan.columns | surrogate_columns(plan, table)
    return [c for c in table.columns if c.name not in taken]
