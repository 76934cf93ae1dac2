"""Columns that are computed from others of their row, and rows whose results would lie outside of what may be written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth_engine.encode.base import Encoder, Floats
from synth_engine.encode.bins import are_too_few, protected_bounds
from synth_engine.encode.derived import Derivation
from synth_engine.encode.values import from_floats, to_floats
from synth_engine.model.generated import GeneratedTable
from synth_engine.model.prepared import PreparedTable
from synth_engine.model.state import TableModel
from synth_engine.schema import Table

CHUNK = 500_000
"""Rows computed at a time."""

Decode = Callable[[str, NDArray[np.int64]], pa.Array]
"""The values of a column in some rows."""


def within_bounds(found: Derivation, one: PreparedTable, extreme_entities: int) -> Derivation:
    """The derivation with the bounds that protection draws for any number; none where too few entities have a value."""
    if found.is_copy:
        return found
    values = to_floats(one.data[found.column], one.table.column(found.column).data_type)
    known = np.isfinite(values)
    if are_too_few(one.entity[known], extreme_entities):
        return found
    return found.within(protected_bounds(values[known], one.entity[known], extreme_entities))


def compute(table: TableModel, made: GeneratedTable, schema: Table, hidden: int, decode: Decode) -> None:
    """Add the computed columns to those of `made`. Rows of which one would lie outside of its bounds, or be null where it must not, get all
    that is computed from of other rows, whose results are the most extreme within: they could otherwise be beyond all real ones (a discount
    larger than the price). `hidden` is the number of the row's hidden tokens."""
    computed = [one for one in table.derived if not one.is_copy]
    if not computed or not made.rows:
        return
    results = _results(computed, made.rows, schema, decode)
    _draw_again(computed, results, table, made, schema, hidden, decode)
    for one in computed:
        made.columns[one.column] = from_floats(results.values[one.column], schema.column(one.column).data_type)
    for c in table.encoder.columns:  # what was drawn in their place told the columns after it; children and twins are told what it came to
        if c.column.name in results.values and isinstance(c.encoder, Encoder):
            made.tokens[:, [hidden + slot for slot in c.slots]] = c.encoder.encode(made.columns[c.column.name])


@dataclass
class _Results:
    """By column its `values`; for each row the number of the `first` derivation that is out of bounds in it (-1: none), and on which `side`
    (-1 below, 1 above, 0 missing)."""

    values: dict[str, Floats]
    first: NDArray[np.int64]
    side: NDArray[np.int64]


def _results(computed: Sequence[Derivation], rows: int, schema: Table, decode: Decode) -> _Results:
    found = _Results({one.column: np.empty(rows) for one in computed}, np.full(rows, -1), np.zeros(rows, np.int64))
    names = {name: schema.column(name).data_type for one in computed for name in one.operands if name not in found.values}
    for start in range(0, rows, CHUNK):
        at = np.arange(start, min(start + CHUNK, rows))
        known = {name: to_floats(decode(name, at), data_type) for name, data_type in names.items()}
        for number, one in enumerate(computed):
            operands = [known[name] for name in one.operands]
            known[one.column] = values = one.compute(operands)
            found.values[one.column][at] = values
            side = (values > one.bounds[1]).astype(np.int64) - (values < one.bounds[0])
            lacking = np.isnan(values) & (not schema.column(one.column).nullable)
            here = (found.first[at] < 0) & ((side != 0) | lacking)
            found.first[at[here]], found.side[at[here]] = number, side[here]
    return found


def _draw_again(
    computed: Sequence[Derivation], results: _Results, table: TableModel, made: GeneratedTable, schema: Table, hidden: int, decode: Decode
) -> None:
    rows, source = np.arange(made.rows), np.arange(made.rows)
    for number, one in enumerate(computed):
        values = results.values[one.column]
        good = np.flatnonzero((results.first < 0) & np.isfinite(values))
        by_value = good[np.argsort(values[good], kind="stable")]
        for side in (-1, 0, 1) if len(good) else ():
            bad = np.flatnonzero((results.first == number) & (results.side == side))
            source[bad] = by_value[(-1 - np.arange(len(bad)) if side > 0 else np.arange(len(bad))) % len(good)]
    if np.array_equal(source, rows):
        return
    slots = {c.column.name: [hidden + slot for slot in c.slots] for c in table.encoder.columns}
    for name in _drawn_together(computed, table):
        if name in made.values:
            made.values[name] = made.values[name][source]
        else:
            made.columns[name] = decode(name, rows).take(pa.array(source))
        made.tokens[:, slots[name]] = made.tokens[source][:, slots[name]]
    for values in results.values.values():
        values[:] = values[source]


def _drawn_together(computed: Sequence[Derivation], table: TableModel) -> list[str]:
    """What the derived columns are computed from, and what that is told from or tells, settles or is settled by."""
    results = {one.column for one in computed}
    found = {name for one in computed for name in one.operands} - results
    linked = [{name, *(r.column for r in references)} for name, references in table.references.items()]
    of_slot = {slot: c.column.name for c in table.encoder.columns for slot in c.slots}
    linked += [{of_slot[one.slot], of_slot[one.of]} for one in table.dependencies]
    while more := {name for group in linked if group & found for name in group} - found:
        found |= more
    return sorted(found)
