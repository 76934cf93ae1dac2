"""Columns and keys in which the rows of one parent do not differ: all have what the first of them has."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth_engine.codes import joint_codes
from synth_engine.model.evidence import is_chance, sample_of
from synth_engine.model.keyplan import KeyPlan
from synth_engine.model.paths import Path, stands_alone
from synth_engine.model.prepared import PreparedTable
from synth_engine.schema import Table
from synth_engine.schema.model import MODELLED_KINDS

UNTOLD = -2
"""Stands for a parent that no row has told yet."""


@dataclass(frozen=True)
class Constant:
    """All rows of one parent along key number `key` have the same in `column`."""

    column: str
    key: int

    def to_json(self) -> list[Any]:
        return [self.column, self.key]

    @classmethod
    def from_json(cls, raw: list[Any]) -> Constant:
        return cls(*raw)


def find_constants(one: PreparedTable, fixed: Collection[str]) -> list[Constant]:
    """The columns that no parent's rows differ in, with the key of fewest parents for which that is so: it explains the others. Not those
    that something else has a say in: the columns `fixed`, what follows from others, what is told as steps or tells them."""
    others = {*fixed, *one.loose, *one.references}
    columns = [c for c in one.own_columns if c.name not in others and c.kind in MODELLED_KINDS]
    keys = sorted(one.plan.live, key=lambda i: len(np.unique(one.parents[i]))) if columns else []
    firsts = {i: first_of_parent(one.parents[i]) for i in keys}
    found = []
    for column in columns:
        key = next((i for i, first in firsts.items() if _is_constant(one.data[column.name], first)), None)
        if key is not None:
            found.append(Constant(column.name, key))
    return found


def find_settled_keys(
    table: Table, plan: KeyPlan, parents: Sequence[NDArray[np.int64]], paths: Collection[Path]
) -> dict[int, tuple[int, ...]]:
    """The keys along which no parent's rows differ (all trips of a shape are of one route), by number, each with the number of the key to
    those parents: of several the one of fewest, and where that leads nowhere what settles it, as far as that holds for both. Not keys that
    share columns with others, whose columns are unique, or that lead where others do by the table's `paths`."""
    if table.polymorphic:
        return {}
    unique = {column for key in (table.primary_key, *table.unique) for column in key}
    alone = [i for i in plan.live if stands_alone(table, plan.keys[i]) and i not in {path.direct for path in paths}]
    size = {i: len(np.unique(parents[i][parents[i] >= 0])) for i in alone}
    coarse_last = sorted(alone, key=lambda i: (-size[i], i))
    found: dict[int, tuple[int, ...]] = {}
    for place, i in enumerate(coarse_last):
        if unique.intersection(plan.keys[i].columns):
            continue
        for j in reversed(coarse_last[:place]):
            way = next((way for way in dict.fromkeys([(j, *found.get(j, ())), (j,)]) if _settle(parents, way, i)), None)
            if way is not None:
                found[i] = way
                break
    return found


def first_along(parents: Sequence[NDArray[np.int64]], keys: Sequence[int]) -> NDArray[np.int64]:
    """For each row the first that has the same parent along the first of these keys that leads anywhere; itself where none does."""
    first = np.arange(len(parents[keys[0]]))
    for i in reversed(keys):
        first = np.where(parents[i] >= 0, first_of_parent(parents[i]), first)
    return first


def _settle(parents: Sequence[NDArray[np.int64]], by: Sequence[int], i: int) -> bool:
    """Whether rows that have one parent along the first of the keys `by` that leads anywhere have one along key i, and would not by chance.
    Some are looked at before all."""
    for rows in (sample_of(len(parents[i])), np.arange(len(parents[i]))):
        parent, others = parents[i][rows], 0
        for j in by:
            of, there = parents[j][rows], parents[j][rows] >= 0
            told = np.full(int(of.max(initial=-1)) + 1, UNTOLD)
            told[of[there]] = parent[there]
            if not np.array_equal(told[of[there]], parent[there]):
                return False
            others += int(there.sum()) - int(np.count_nonzero(told != UNTOLD))
            rows, parent = rows[~there], parent[~there]
    commonest = np.bincount(parents[i] + 1).max(initial=0) / max(len(parents[i]), 1)
    return others > 0 and not is_chance(others, float(commonest))


def first_of_parent(parents: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row the first that has the same parent; itself where there is none."""
    rows = np.arange(len(parents))
    first = np.full(int(parents.max(initial=-1)) + 2, len(parents))
    np.minimum.at(first, parents, rows)  # of those without a parent the last place
    return np.where(parents >= 0, first[parents], rows)


def _is_constant(values: pa.Array, first: NDArray[np.int64]) -> bool:
    """Whether rows of one parent, of whom `first` has the first, have one value, and would not by chance. Some are looked at before all."""
    for rows in (sample_of(len(first)), np.arange(len(first))):
        code, of_first = joint_codes([[values.take(pa.array(rows)), values.take(pa.array(first[rows]))]])
        if not len(rows) or not np.array_equal(code, of_first):
            return False
    others = int((first != np.arange(len(first))).sum())
    commonest = np.unique(code, return_counts=True)[1].max() / len(code)
    return not is_chance(others, float(commonest))
