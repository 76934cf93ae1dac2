"""Columns of parents that sum up their children in every row: how many there are, their total, the first and the last."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth_engine.encode.base import Floats
from synth_engine.encode.calendar import DAY, seconds_of
from synth_engine.encode.derived import agree, rounded, tolerance
from synth_engine.encode.number import decimal_places
from synth_engine.encode.values import from_floats
from synth_engine.model.evidence import CHUNK, FEWEST_ROWS, is_no_chance, is_number, numbers_of, sample_of
from synth_engine.model.formulas import FEWEST_TOLD
from synth_engine.model.prepared import PreparedTable, is_moment
from synth_engine.schema import Column
from synth_engine.schema.types import base_type

DRAWN = "drawn"
"""What parents without children have where the source has none of these: the value that was drawn."""


@dataclass(frozen=True)
class Aggregate:
    """`column` is the `function` of SQL (count, sum, avg, min, max) over column `of` (None: the rows) of those rows of table `child` that
    refer to the row along their key number `key`, rounded to so many decimal `places`. Nulls are passed over. Rows without such values have
    the number `childless` (0, or None for null), or what is `DRAWN`."""

    column: str
    function: str
    child: str
    key: int
    of: str | None
    places: int | None
    childless: float | str | None

    def says(self) -> str:
        """In words, for people."""
        return f"{self.function}({'*' if self.of is None else self.of}) of its rows of {self.child}"

    def unrounded(self, found: Floats, is_date: bool) -> Floats:
        """What rows have for what was `found` in their children, NaN where there is none. Moments are in seconds, of which dates are the
        days."""
        values = np.floor(found / DAY) * DAY if is_date else found
        return np.where(np.isnan(values), self.childless, values) if isinstance(self.childless, float) else values

    def column_of(self, found: Floats, drawn: Callable[[], pa.Array], data_type: str) -> pa.Array:
        """The column for what was `found`; `drawn` gives its values where they are wanted."""
        is_date = base_type(data_type) == "date"
        values = self.unrounded(found, is_date)
        values = values if self.places is None else rounded(values, self.places)
        made = from_floats(values / DAY if is_date else values, data_type)
        return pc.coalesce(made, drawn()) if self.childless == DRAWN else made

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Aggregate:
        return cls(**raw)


Values = Callable[[NDArray[np.int64]], Floats]
"""The values of a child's column in some rows, NaN where there is none."""


def over_children(function: str, values: Values | None, parents: NDArray[np.int64], rows: int) -> Floats:
    """The function over the children of each of so many parents; `parents` has the parent of each child (-1: none). NaN where a parent has
    no child with a value, for counts, too."""
    counts, total = np.zeros(rows), np.zeros(rows)
    extreme = np.full(rows, np.inf if function == "min" else -np.inf)
    for start in range(0, len(parents), CHUNK):
        at = np.arange(start, min(start + CHUNK, len(parents)))
        found = np.ones(len(at)) if values is None else values(at)
        known = (parents[at] >= 0) & np.isfinite(found)
        parent, found = parents[at][known], found[known]
        counts += np.bincount(parent, minlength=rows)
        if function in ("sum", "avg"):
            total += np.bincount(parent, found, rows)
        elif function in ("min", "max"):
            (np.minimum if function == "min" else np.maximum).at(extreme, parent, found)
    result = {"count": counts, "sum": total, "avg": total / np.maximum(counts, 1)}.get(function, extreme)
    return np.where(counts > 0, result, np.nan)


def find_aggregates(one: PreparedTable, prepared: Mapping[str, PreparedTable], fixed: Collection[str]) -> list[Aggregate]:
    """The columns of a table that sum up children in every row, none of them `fixed`."""
    restated = {derivation.column for derivation in one.derived if derivation.is_restated}
    targets = [c for c in one.value_columns if c.name not in restated.union(fixed, one.loose) and (is_number(c) or is_moment(c))]
    some = sample_of(one.rows) if one.rows >= FEWEST_ROWS else np.zeros(0, np.int64)
    targets = [c for c in targets if is_no_chance(one.data[c.name].take(pa.array(some)), len(some))]
    found: list[Aggregate] = []
    for child, other in prepared.items() if targets else ():
        for key, parents in enumerate(other.parents):
            if other.keys[key].parent == one.table.name and not other.plan.deferred[key] and child != one.table.name:
                done = {aggregate.column for aggregate in found}
                found += _of_children(one, other, key, parents, [c for c in targets if c.name not in done], some)
    return found


def _of_children(
    one: PreparedTable, other: PreparedTable, key: int, parents: NDArray[np.int64], targets: list[Column], some: NDArray[np.int64]
) -> Iterator[Aggregate]:
    """The targets that sum up the children along one key. Tried on the children of some parents, then on all."""
    degrees = np.bincount(parents[parents >= 0], minlength=one.rows)
    if (degrees[some] > 1).sum() < FEWEST_TOLD:
        return  # of an only child the sum is the value
    place = np.full(one.rows + 1, -1)
    place[some] = np.arange(len(some))
    theirs = np.flatnonzero(place[parents] >= 0)
    of = [c for c in other.value_columns if c.name not in other.loose and c.name not in _told_by_parent(other, key)]
    for column in [None, *(c for c in of if is_number(c) or is_moment(c))]:
        of_moments = column is not None and is_moment(column)
        fitting = [c for c in targets if is_moment(c) == of_moments]
        sampled = _values(other, column)(theirs) if column is not None and fitting else None
        for function in ("count",) if column is None else ("min", "max") if of_moments else ("sum", "avg", "min", "max"):
            if not fitting:
                break
            found = over_children(function, None if sampled is None else sampled.__getitem__, place[parents[theirs]], len(some))
            for target in fitting:
                if _matched(one, target, function, other, key, column, found, some) is None:
                    continue
                whole = over_children(function, None if column is None else _values(other, column), parents, one.rows)
                if (aggregate := _matched(one, target, function, other, key, column, whole, np.arange(one.rows))) is not None:
                    targets, fitting = ([c for c in left if c is not target] for left in (targets, fitting))
                    yield aggregate


def _matched(
    one: PreparedTable,
    target: Column,
    function: str,
    other: PreparedTable,
    key: int,
    column: Column | None,
    found: Floats,
    rows: NDArray[np.int64],
) -> Aggregate | None:
    """The aggregate, if the target is what was `found` in these rows, and null or 0 in those without children: any other value would be
    that of one row."""
    values = _values(one, target)(rows)
    without = values[np.isnan(found)]
    if not len(without):
        childless: float | str | None = 0.0 if function in ("count", "sum") else DRAWN
    else:
        childless = None if np.isnan(without).all() else 0.0
    finite = values[np.isfinite(values)]
    places = None if is_moment(target) or not len(finite) else decimal_places(finite)
    name = None if column is None else column.name
    aggregate = Aggregate(target.name, function, other.table.name, key, name, places, childless)
    expected = aggregate.unrounded(found, base_type(target.data_type) == "date")
    known = np.isfinite(found)
    if known.sum() < FEWEST_ROWS:
        return None
    near = tolerance(values, places, base_type(target.data_type) == "float32")
    return aggregate if agree(expected, values, near).all() else None


def _told_by_parent(other: PreparedTable, key: int) -> set[str]:
    """Columns of children that repeat one of the parent's, and what is computed from nothing else: they are no news to it."""
    found = {one.column for one in other.derived if one.key == key}
    for one in other.derived:
        if one.key is None and found.issuperset(one.operands):
            found.add(one.column)
    return found


def values_of(values: pa.Array, column: Column) -> Floats:
    """Numbers, or moments in seconds."""
    return seconds_of(values, column.data_type) if is_moment(column) else numbers_of(values, column)


def _values(one: PreparedTable, column: Column) -> Values:
    data = one.data[column.name]
    return lambda rows: values_of(data.take(pa.array(rows)), column)
