"""Real data in two halves that have no entity in common: one to learn, one to hold the result against.

An entity is what hangs together by keys: a customer with all orders, say. Tables that are mere reference (few rows, or many
children a row: airports, products) belong to no entity and stand in both halves in full, and so does what they refer to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from synth_engine.codes import joint_codes
from synth_engine.schema import ForeignKey, Schema

FEWEST_ROWS = 100
"""A smaller table is reference: its halves would be too small to judge."""

MOST_CHILDREN = 50
"""A table whose rows have more children than that, on average over those that have any, is reference."""

LARGEST_ENTITY = 0.05
"""Entities larger than this share of the rows are taken apart: the key that binds least is cut."""

Positions = NDArray[np.int64]
Tables = Mapping[str, pa.Table]
Key = tuple[str, ForeignKey]


@dataclass(frozen=True)
class Halves:
    """`shared` are the tables that both halves hold in full."""

    training: dict[str, pa.Table]
    held_out: dict[str, pa.Table]
    shared: frozenset[str]


def halves(schema: Schema, tables: Tables, seed: int) -> Halves | None:
    """Split by entity, half of the entities each way; None where there are no entities to split.

    Where a key had to be cut within entities (a post and its editor), references from one half into the other become null, or
    their row is left out where they must not be.
    """
    positions = {(name, key): _positions(tables, name, key) for name, table in schema.tables.items() for key in table.foreign_keys}
    entities, shared = _entities(schema, tables, positions)
    if len(shared) == len(tables):
        return None
    label = _halved(entities, np.random.default_rng(seed))
    sides = []
    for half in (0, 1):
        kept = {name: np.ones(len(tables[name]), np.bool_) if name in shared else label[name] == half for name in tables}
        sides.append(_half(schema, tables, positions, kept))
    return Halves(sides[0], sides[1], shared)


def _positions(tables: Tables, name: str, key: ForeignKey) -> Positions:
    """For each row of the child the row of its parent, -1 where there is none."""
    child, parent = joint_codes([(tables[name][c], tables[key.parent][p]) for c, p in zip(key.columns, key.parent_columns, strict=True)])
    order = np.argsort(parent, kind="stable")
    place = np.minimum(np.searchsorted(parent[order], child), len(parent) - 1)
    found = np.asarray(order[place], dtype=np.int64) if len(parent) else np.full(len(child), -1, dtype=np.int64)
    return np.where((child >= 0) & (parent[found] == child), found, -1) if len(parent) else found


def _entities(schema: Schema, tables: Tables, positions: Mapping[Key, Positions]) -> tuple[dict[str, Positions], frozenset[str]]:
    """For each table that is split the number of each row's entity, and the tables that are shared."""
    reference = {name for name, table in tables.items() if len(table) < FEWEST_ROWS}
    reference |= {key.parent for (_, key), found in positions.items() if _children(found) > MOST_CHILDREN}
    shared, cut = _with_ancestors(schema, reference), set[Key]()
    while True:
        binding = [k for k in positions if k not in cut and not {k[0], k[1].parent} & shared]
        entities, largest = _components([name for name in tables if name not in shared], tables, {k: positions[k] for k in binding})
        candidates = [(key, owner) for key in binding if (owner := _owner(key[0], binding, positions)) != key]
        if largest <= LARGEST_ENTITY or not candidates:
            break
        weakest, owner = min(candidates, key=lambda pair: _children(positions[pair[0]]))
        with_parent = _with_ancestors(schema, shared | {weakest[1].parent})
        if not {weakest[0], owner[1].parent} & with_parent:
            shared = with_parent
        cut.add(weakest)
    return entities, frozenset(tables) if largest > 0.5 else frozenset(shared)


def _owner(child: str, binding: list[Key], positions: Mapping[Key, Positions]) -> Key:
    """The key along which a table's rows are most numerous, never one to the own table if there is another."""
    return max((k for k in binding if k[0] == child), key=lambda k: (k[1].parent != child, _children(positions[k])))


def _children(positions: Positions) -> float:
    """Mean number of children of the parents that have any."""
    used = positions[positions >= 0]
    return len(used) / max(len(np.unique(used)), 1)


def _with_ancestors(schema: Schema, names: set[str]) -> set[str]:
    found, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [key.parent for key in schema.tables[name].foreign_keys]
    return found


def _components(names: list[str], tables: Tables, positions: Mapping[Key, Positions]) -> tuple[dict[str, Positions], float]:
    """Numbers of connected rows by table, and the largest share of all rows that are connected."""
    sizes = [len(tables[name]) for name in names]
    start = dict(zip(names, np.cumsum([0, *sizes]), strict=False))
    total = sum(sizes)
    if not total:
        return {}, 0.0
    edges = [np.empty((2, 0), np.int64)]
    for (child, key), found in positions.items():
        rows = np.flatnonzero(found >= 0)
        edges.append(np.stack([rows + start[child], found[rows] + start[key.parent]]))
    first, second = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(len(first), np.bool_), (first, second)), shape=(total, total))
    _, number = connected_components(graph, directed=False)
    found_numbers = {
        name: np.asarray(number[start[name] : start[name] + size], dtype=np.int64) for name, size in zip(names, sizes, strict=True)
    }
    return found_numbers, float(np.bincount(number).max()) / total


def _halved(entities: Mapping[str, Positions], generator: np.random.Generator) -> dict[str, Positions]:
    """0 or 1 for each row; of the entities of each make (by the first table they have rows in) half go each way."""
    count = 1 + max(int(numbers.max()) for numbers in entities.values() if len(numbers))
    make = np.full(count, len(entities))
    for place, numbers in reversed(list(enumerate(entities.values()))):
        make[numbers] = place
    order = np.lexsort((generator.random(count), make))
    half = np.empty(count, np.int64)
    half[order] = np.arange(count) % 2
    return {name: half[numbers] for name, numbers in entities.items()}


def _half(schema: Schema, tables: Tables, positions: Mapping[Key, Positions], kept: dict[str, NDArray[np.bool_]]) -> dict[str, pa.Table]:
    """The rows kept, without references to rows that are not."""
    emptied: dict[str, dict[str, NDArray[np.bool_]]] = {name: {} for name in tables}
    changed = True
    while changed:  # a row left out may have children
        changed = False
        for (child, key), found in positions.items():
            lost = kept[child] & (found >= 0) & ~kept[key.parent][found]
            column = _column_to_empty(schema, child, key)
            if column is not None:
                emptied[child][column] = emptied[child].get(column, np.zeros(len(lost), np.bool_)) | lost
            elif lost.any():
                kept[child] = kept[child] & ~lost
                changed = True
    result = {}
    for name, table in tables.items():
        for column, lost in emptied[name].items():
            index = table.schema.get_field_index(column)
            values = table[column].combine_chunks()
            table = table.set_column(index, table.schema.field(index), pa.chunked_array([_without(values, lost)]))
        result[name] = table.filter(pa.array(kept[name]))
    return result


def _column_to_empty(schema: Schema, child: str, key: ForeignKey) -> str | None:
    """A column of the key that may be null and belongs to no other key, if there is one."""
    table = schema.tables[child]
    elsewhere = set(table.primary_key).union(*table.unique, *(k.columns for k in table.foreign_keys if k != key))
    return next((c for c in key.columns if table.column(c).nullable and c not in elsewhere), None)


def _without(values: pa.Array, lost: NDArray[np.bool_]) -> pa.Array:
    import pyarrow.compute as pc

    return pc.if_else(pa.array(lost), pa.scalar(None, values.type), values)
