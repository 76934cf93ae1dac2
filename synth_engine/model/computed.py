"""Columns that are computed from others of their row, and rows whose results would lie outside of what may be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth_engine.encode.base import Encoder, EncodingSettings, Floats
from synth_engine.encode.bins import are_too_few, protected_bounds
from synth_engine.encode.category import CategoryEncoder
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


def protected(derived: Sequence[Derivation], one: PreparedTable, settings: EncodingSettings) -> list[Derivation]:
    """The derivations with the bounds that protection draws for any number, and without names that too few entities have. There are no
    bounds where too few entities have a value, and none for what is computed from a column of a parent's: it could not be drawn again
    with the row."""
    found: list[Derivation] = []
    repeated = {derivation.column for derivation in derived if derivation.key is not None}
    for derivation in derived:
        if repeated.intersection(derivation.operands):
            repeated.add(derivation.column)
        elif not derivation.is_restated:
            values = to_floats(one.data[derivation.column], one.table.column(derivation.column).data_type)
            known = np.isfinite(values)
            if not are_too_few(one.entity[known], settings.extreme_entities):
                derivation = derivation.within(protected_bounds(values[known], one.entity[known], settings.extreme_entities))
        elif derivation.names:
            column = one.table.column(derivation.column)
            frequent = CategoryEncoder.fit(one.data[column.name], column.data_type, one.entity, settings).values.to_pylist()
            derivation = replace(derivation, names=tuple(name for name in derivation.names if name[1] in frequent))
        found.append(derivation)
    return found


def compute(table: TableModel, made: GeneratedTable, schema: Table, hidden: int, decode: Decode) -> None:
    """Add the computed columns to those of `made`. Rows of which one would lie outside of its bounds, or be null where it must not, get all
    that is computed from of other rows, whose results are the most extreme within: they could otherwise be beyond all real ones (a discount
    larger than the price). `hidden` is the number of the row's hidden tokens."""
    computation = _Computation(table, made, schema, hidden, decode)
    if computation.computed and made.rows:
        computation.run()


def compute_again(table: TableModel, made: GeneratedTable, schema: Table, hidden: int, decode: Decode) -> None:
    """The same once what the columns are computed from has changed, wherever they lie now."""
    computation = _Computation(table, made, schema, hidden, decode)
    if computation.computed and made.rows:
        computation.write(computation.results()[0])


class _Computation:
    def __init__(self, table: TableModel, made: GeneratedTable, schema: Table, hidden: int, decode: Decode) -> None:
        self.table, self.made, self.schema, self.decode = table, made, schema, decode
        self.computed = [one for one in table.derived if not one.is_restated]
        self.slots = {c.column.name: [hidden + slot for slot in c.slots] for c in table.encoder.columns}
        self.types = {one.column: schema.column(one.column).data_type for one in self.computed}

    def run(self) -> None:
        results, outside = self.results()
        source = self._within(results, outside)
        if (source >= 0).any():
            self._draw_again(np.where(source >= 0, source, np.arange(self.made.rows)))
            results, _ = self.results()
        self.write(results)

    def write(self, results: Mapping[str, Floats]) -> None:
        for name, values in results.items():
            self.made.columns[name] = from_floats(values, self.types[name])
        for c in self.table.encoder.columns:  # what was drawn in their place told the columns after it, children are told what it came to
            if c.column.name in results and isinstance(c.encoder, Encoder):
                self.made.tokens[:, self.slots[c.column.name]] = c.encoder.encode(self.made.columns[c.column.name])

    def results(self) -> tuple[dict[str, Floats], NDArray[np.int64]]:
        """By column its values, and for each row which of them lies outside of its bounds: 1 for the first above, -1 for the first below or
        missing where it must not be, 2 and -2 for the second, 0 for none."""
        rows = self.made.rows
        found, outside = {one.column: np.empty(rows) for one in self.computed}, np.zeros(rows, np.int64)
        operands = {name for one in self.computed for name in one.operands} - found.keys()
        for start in range(0, rows, CHUNK):
            at = np.arange(start, min(start + CHUNK, rows))
            known = {name: to_floats(self._values(name, at), self.schema.column(name).data_type) for name in operands}
            for number, one in enumerate(self.computed, 1):
                known[one.column] = values = one.compute([known[name] for name in one.operands])
                found[one.column][at] = values
                low = (values < one.bounds[0]) | (np.isnan(values) & (not self.schema.column(one.column).nullable))
                side = number * ((values > one.bounds[1]).astype(np.int64) - low)
                outside[at] = np.where(outside[at] == 0, side, outside[at])
        return found, outside

    def _values(self, name: str, rows: NDArray[np.int64]) -> pa.Array:
        return self.made.columns[name].take(pa.array(rows)) if name in self.made.columns else self.decode(name, rows)

    def _within(self, results: Mapping[str, Floats], outside: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each row that is outside another that is not, -1 for all others and where there is none: of those with the highest results
        for rows above, with the lowest for those below, each as often as the others."""
        source = np.full(len(outside), -1)
        for number, one in enumerate(self.computed, 1):
            values = results[one.column]
            good = np.flatnonzero((outside == 0) & np.isfinite(values))
            by_value = good[np.argsort(values[good], kind="stable")]
            for side, nearest in ((number, by_value[::-1]), (-number, by_value)):
                rows = np.flatnonzero(outside == side)
                if len(rows) and len(nearest):
                    source[rows] = np.resize(nearest, len(rows))
        return source

    def _draw_again(self, source: NDArray[np.int64]) -> None:
        """Give each row what another, `source`, is computed from."""
        rows = np.arange(len(source))
        for name in self._drawn_together():
            if name in self.made.values:
                self.made.values[name] = self.made.values[name][source]
            else:
                self.made.columns[name] = self._values(name, rows).take(pa.array(source))
            self.made.tokens[:, self.slots[name]] = self.made.tokens[source][:, self.slots[name]]

    def _drawn_together(self) -> list[str]:
        """What the derived columns are computed from, and what that is told from or tells, settles or is settled by; of the row itself."""
        found = {name for one in self.computed for name in one.operands} - {one.column for one in self.table.derived}
        of_slot = {slot: c.column.name for c in self.table.encoder.columns for slot in c.slots}
        told = self.table.references.items()
        linked = [{name, *(r.column for r in references if r.source == "row")} for name, references in told]
        linked += [{of_slot[one.slot], of_slot[one.of]} for one in self.table.dependencies]
        while more := {name for group in linked if group & found for name in group} - found:
            found |= more
        return sorted(found)
