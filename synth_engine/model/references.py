"""What dates, times and numbers are told from: the columns of parents, of siblings and of their own row that they stand near or
never pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from synth_engine.encode.base import Floats
from synth_engine.encode.relative import Reference
from synth_engine.encode.values import to_floats
from synth_engine.model.evidence import sample_of
from synth_engine.model.prepared import PreparedTable
from synth_engine.schema import Kind

FEWEST_LEVELS = 100
"""Different values from which on a number may be told as steps: steps between fewer could come to one that there is not."""

FINER_THAN_BINS = 0.03
"""Relative spread of the steps between siblings up to which a number is told by them: larger ones its bins tell as well, and a sum of
steps wanders."""

ALL_BUT = 0.1
"""Relative spread of the difference of two numbers of a row up to which one is told from the other."""


def choose_references(one: PreparedTable, prepared: Mapping[str, PreparedTable]) -> dict[str, list[Reference]]:
    """For every column told as steps its references, nearest first: for moments those that are nearer than chance (parents' moments, the
    previous sibling's, another of the row). A column comes after those of its row that it is told from; one without references is
    told as it is, for others to be told from."""
    chosen: dict[str, list[Reference]] = {}
    known: list[str] = []
    for name in sorted(one.moments, key=lambda name: name != one.order_column):
        ranked: list[tuple[float, bool, Reference]] = []
        candidates = [Reference("parent", i, c) for i in one.plan.live for c in prepared[one.keys[i].parent].moments]
        if one.sequence is not None and name == one.order_column:
            candidates.append(Reference("previous"))
        for reference in [*candidates, *(Reference("row", column=c) for c in known)]:
            base = one.reference(name, reference, prepared)
            spread = _relative_spread(one.moments[name], base)
            if spread is not None:
                ranked.append((round(spread, 3), reference.source == "previous", reference))
        _choose(chosen, name, [reference for *_, reference in sorted(ranked, key=lambda item: item[:2])[:3]])
        known.append(name)
    for name, references in _numbers_told_as_steps(one):
        _choose(chosen, name, references)
    return chosen


def _choose(chosen: dict[str, list[Reference]], name: str, references: list[Reference]) -> None:
    if references:
        for reference in references:
            if reference.source == "row":
                chosen.setdefault(reference.column, [])
        chosen[name] = references


def _numbers_told_as_steps(one: PreparedTable) -> Iterator[tuple[str, list[Reference]]]:
    """Numbers that move little from sibling to sibling, or in one direction only (a path's coordinates, a mileage), and those that are
    all but another of their row (an arrival and a departure), or never below it; each from what is nearest."""
    numbers = _may_be_told_by_steps(one)
    found = {name: _relative_spread(values, before, FINER_THAN_BINS) for name, (values, before) in numbers.items()}
    smooth = {name: spread for name, spread in found.items() if spread is not None}
    spreads: dict[str, float] = {}
    for name in sorted(numbers, key=lambda name: name not in smooth):
        values, others = numbers[name][0], []
        spread = _spread(values)
        for other, of_other in spreads.items():
            if 0 < of_other <= 2 * spread <= 4 * of_other:
                ratio = _relative_spread(values, numbers[other][0], ALL_BUT)
                others += [(ratio, other)] if ratio is not None else []
        spreads[name] = spread
        ranked = [(ratio, Reference("row", column=other)) for ratio, other in sorted(others)[:1]]
        ranked += [(smooth[name], Reference("previous"))] if name in smooth else []
        yield name, [reference for _, reference in sorted(ranked, key=lambda item: item[0])]


def _may_be_told_by_steps(one: PreparedTable) -> dict[str, tuple[Floats, Floats]]:
    """The numbers that steps may lead anywhere in, not unique and of many different values: those of some rows, and of the siblings before
    them. What never changes within a parent is no step."""
    unique = {key[0] for key in (one.table.primary_key, *one.table.unique) if len(key) == 1}
    rows = sample_of(one.rows)
    follows = np.zeros(len(rows), np.bool_) if one.sequence is None else (rows > 0) & (one.sequence[rows] == one.sequence[rows - 1])
    found = {}
    for column in one.own_columns:
        if column.kind in (Kind.INTEGER, Kind.DECIMAL) and column.name not in unique:
            values, before = (
                to_floats(one.data[column.name].take(pa.array(at)), column.data_type) for at in (rows, np.maximum(rows - 1, 0))
            )
            before = np.where(follows, before, np.nan)
            moved = (values != before)[np.isfinite(values) & np.isfinite(before)]
            levels = len(np.unique(values[np.isfinite(values)]))
            if levels >= FEWEST_LEVELS and (moved.any() or not len(moved)):
                found[column.name] = values, before
    return found


def _relative_spread(values: Floats, base: Floats, nearest: float = 0.5) -> float | None:
    """Spread of the steps relative to the values' own, or None where the reference is not worth using: rarely there,
    neither close by (`nearest`) nor always on one side."""
    both = np.isfinite(values) & np.isfinite(base)
    if both.sum() < 20 or both.sum() < 0.05 * len(values):
        return None
    step = values[both] - base[both]
    own = _spread(values[both])
    ratio = _spread(step) / own if own > 0 else 1.0
    ordered = bool((step >= 0).all() or (step <= 0).all())
    return ratio if ratio < nearest or (ordered and ratio < 1.5) else None


def _spread(values: Floats) -> float:
    low, first, third, high = np.quantile(values[np.isfinite(values)], [0.05, 0.25, 0.75, 0.95])
    return float((high - low) + (third - first))
