"""Two ways to the same row: an order line's customer is its order's. Where it is so in the source, the shorter way is not assigned: it
leads where the longer one does."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synth_engine.codes import joint_codes
from synth_engine.model.evidence import FEWEST_ROWS, is_chance, sample_of
from synth_engine.model.prepared import find_parents
from synth_engine.schema import ForeignKey, Schema, Table

AGREEING = 0.999
"""Share of the rows in which both ways must lead to the same row. The few others are taken for errors: they get the one that the way by
the parent leads to."""


@dataclass(frozen=True)
class Path:
    """The row that key number `direct` of table `child` leads to is the one that key number `onward` of its parent along key number `by`
    leads to."""

    child: str
    by: int
    direct: int
    onward: int

    def to_json(self) -> list[Any]:
        return [self.child, self.by, self.direct, self.onward]

    @classmethod
    def from_json(cls, raw: list[Any]) -> Path:
        return cls(*raw)

    def keys(self, schema: Schema) -> tuple[ForeignKey, ForeignKey, ForeignKey]:
        """The key to the parent, the direct one, and the parent's."""
        keys = schema.tables[self.child].foreign_keys
        return keys[self.by], keys[self.direct], schema.tables[keys[self.by].parent].foreign_keys[self.onward]

    def says(self, schema: Schema) -> str:
        """In words, for people."""
        by, direct, _ = self.keys(schema)
        return f"{direct.label(self.child)} leads to the same row as by way of {by.parent}"


def find_paths(schema: Schema, tables: Mapping[str, pa.Table]) -> list[Path]:
    """The keys that lead to the same row as two others one after the other, or nowhere where these do; each found once, those of parents
    first, and within a table those that lead to a parent before those by way of it."""
    found: list[Path] = []
    late = schema.deferred_keys()
    for name, child in schema.tables.items():
        for path, by, direct, onward in _pairs_of_ways(schema, child):
            used = any(path.direct == other.direct and path.child == other.child for other in found)
            if used or {(name, by), (name, direct), (by.parent, onward)} & late:
                continue
            if _never_lacking(child, tables[by.parent], direct, onward) and _agree(tables, name, by, direct, onward):
                found.append(path)
    return _in_turn(schema, found)


def led(paths: Collection[Path], child: str) -> frozenset[int]:
    """The numbers of a table's keys that lead where others do."""
    return frozenset(path.direct for path in paths if path.child == child)


def _never_lacking(child: Table, parent: pa.Table, direct: ForeignKey, onward: ForeignKey) -> bool:
    """Whether rows that must refer to somebody directly always find somebody the other way, be it by way of parents that have no such rows
    in the source."""
    return any(child.column(c).nullable for c in direct.columns) or not any(parent[c].null_count for c in onward.columns)


def _in_turn(schema: Schema, paths: Collection[Path]) -> list[Path]:
    """The paths of parents before those of children, and within a table those that lead to a parent before those by way of it."""
    level = {name: place for place, name in enumerate(schema.parents_first())}
    waiting, ordered = sorted(paths, key=lambda path: level[path.child]), list[Path]()
    while waiting:
        ready = next(p for p in waiting if not any(o.child == p.child and o.direct == p.by for o in waiting))
        waiting.remove(ready)
        ordered.append(ready)
    return ordered


def with_errors_mended(schema: Schema, tables: Mapping[str, pa.Table], paths: Collection[Path]) -> dict[str, pa.Table]:
    """The tables with each direct key as the way by the parent has it, that itself mended; `paths` are in turn, as they were found."""
    mended = dict(tables)
    for path in paths:
        by, direct, onward = path.keys(schema)
        child, parent = mended[path.child], mended[by.parent]
        at = find_parents(by, _by_name(child), _by_name(parent))
        for column, theirs in zip(direct.columns, onward.columns, strict=True):
            own, place = child[column], child.schema.get_field_index(column)
            other = parent[theirs].take(pa.array(at, mask=at < 0)).cast(own.type)
            child = child.set_column(place, child.schema.field(place), pc.if_else(pa.array(at >= 0), other, own))
        mended[path.child] = child
    return mended


def _pairs_of_ways(schema: Schema, child: Table) -> Iterator[tuple[Path, ForeignKey, ForeignKey, ForeignKey]]:
    """All keys of a table with all two others that lead to the same columns of the same table and share no column with any."""
    if child.polymorphic:
        return
    for i, by in enumerate(child.foreign_keys):
        parent = schema.tables.get(by.parent)
        if parent is None or parent is child or parent.polymorphic or not stands_alone(child, by):
            continue
        for j, direct in enumerate(child.foreign_keys):
            if i == j or not stands_alone(child, direct) or set(direct.columns) & {c for key in _unique(child) for c in key}:
                continue
            for k, onward in enumerate(parent.foreign_keys):
                if (onward.parent, onward.parent_columns) == (direct.parent, direct.parent_columns) and stands_alone(parent, onward):
                    yield Path(child.name, i, j, k), by, direct, onward


def stands_alone(table: Table, key: ForeignKey) -> bool:
    """Whether no other key has a column of this one, and all its values lead somewhere."""
    others = {c for other in table.foreign_keys if other is not key for c in other.columns}
    return not key.orphan_share and not others.intersection(key.columns)


def _unique(table: Table) -> tuple[tuple[str, ...], ...]:
    return (table.primary_key, *table.unique)


def _agree(tables: Mapping[str, pa.Table], name: str, by: ForeignKey, direct: ForeignKey, onward: ForeignKey) -> bool:
    """Whether the direct key is the one by way of the parent, in a sample and then in all rows, and not by chance."""
    child, parent = tables[name], tables[by.parent]
    if len(child) < FEWEST_ROWS:
        return False
    for rows in (sample_of(len(child)), None):
        some = child.select([*by.columns, *direct.columns])
        some = some if rows is None else some.take(pa.array(rows))
        at = find_parents(by, _by_name(some), _by_name(parent))
        known = at >= 0
        own, theirs = joint_codes([[some[c], parent[p]] for c, p in zip(direct.columns, onward.columns, strict=True)])
        same = own[known] == theirs[at[known]]  # -1 where a way leads nowhere
        if known.sum() < FEWEST_ROWS or same.mean() < AGREEING:
            return False
        shares = np.bincount(np.unique(own[known], return_inverse=True)[1].reshape(-1)) / known.sum()
        if is_chance(len(np.unique(at[known])), float(np.square(shares).sum())):
            return False
    return True


def _by_name(table: pa.Table) -> dict[str, pa.Array]:
    return dict(zip(table.column_names, table.columns, strict=True))
