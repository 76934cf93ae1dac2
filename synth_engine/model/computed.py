"""Columns that are computed from others of their row, and rows whose results would lie outside of what may be written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth_engine.encode.base import Encoder, EncodingSettings, Floats, entity_count_of_values
from synth_engine.encode.bins import are_too_few, protected_bounds
from synth_engine.encode.calendar import seconds_of
from synth_engine.encode.derived import Derivation, Name
from synth_engine.encode.values import from_floats, to_floats
from synth_engine.model.evidence import CHUNK
from synth_engine.model.generated import GeneratedTable
from synth_engine.model.prepared import PreparedTable
from synth_engine.model.state import TableModel
from synth_engine.schema import Table

Decode = Callable[[str, NDArray[np.int64]], pa.Array]
"""The values of a column in some rows."""


def protected(derived: Sequence[Derivation], one: PreparedTable, settings: EncodingSettings, shared: Collection[str]) -> list[Derivation]:
    """The derivations with the bounds that protection draws for any number, and without names, or numbers that they stand for, that too few
    entities have; where no name is left the column follows from nothing. There are no bounds where too few entities have a value, and
    none for what is computed from columns that could not be drawn again with the row: a parent's, moments, those `shared` by rows of one
    parent."""
    found: list[Derivation] = []
    fixed = {*shared, *(derivation.column for derivation in derived if derivation.is_restated)}
    for derivation in derived:
        if derivation.names:
            derivation = replace(derivation, names=_names_of_many(derivation, one, settings.rare_entities))
            if not derivation.names:
                continue
        elif not derivation.is_restated and fixed.intersection(derivation.operands):
            fixed.add(derivation.column)
        elif not derivation.is_restated:
            values = to_floats(one.data[derivation.column], one.table.column(derivation.column).data_type)
            known = np.isfinite(values)
            if not are_too_few(one.entity[known], settings.extreme_entities):
                derivation = derivation.within(protected_bounds(values[known], one.entity[known], settings.extreme_entities))
        found.append(derivation)
    return found


def _names_of_many(one: Derivation, prepared: PreparedTable, fewest: int) -> tuple[tuple[int, Name], ...]:
    """The names that enough entities have, with their numbers; years only such that enough have, too: the first may be one person's."""
    moment = prepared.table.column(one.operands[0])
    number = one.compute([seconds_of(prepared.data[moment.name], moment.data_type)])
    known = np.isfinite(number)
    place = np.searchsorted([number for number, _ in one.names], number[known]).astype(np.int64)
    names = list(dict.fromkeys(name for _, name in one.names))
    of_number = np.array([names.index(name) for _, name in one.names])
    entity = prepared.entity[known] - prepared.entity.min(initial=0)
    with_number = entity_count_of_values(place, entity, len(one.names))
    with_name = entity_count_of_values(of_number[place], entity, len(names))
    told = (with_name[of_number] >= fewest) & ((with_number >= fewest) | (not one.formula.startswith("year")))
    return tuple(name for name, is_told in zip(one.names, told, strict=True) if is_told)


def compute(table: TableModel, made: GeneratedTable, schema: Table, hidden: int, decode: Decode) -> None:
    """Add the computed columns to those of `made`. Rows of which one would lie outside of its bounds, or be null where it must not, get
    what that is computed from of another row within: they could otherwise be beyond all real ones (a discount larger than the price). All
    but its first operand, of the row in which that is nearest; and all, of the most extreme rows within, where that does not do. Where no
    row is within, they stay outside. `hidden` is the number of the row's hidden tokens."""
    _Computation(table, made, schema, hidden, decode).run()


def compute_again(table: TableModel, made: GeneratedTable, schema: Table, hidden: int, decode: Decode) -> None:
    """The same once what the columns are computed from has changed: wherever the results lie now, but where they would be null and must
    not."""
    computation = _Computation(table, made, schema, hidden, decode)
    computation.write(computation.results()[0])


class _Computation:
    def __init__(self, table: TableModel, made: GeneratedTable, schema: Table, hidden: int, decode: Decode) -> None:
        self.table, self.made, self.schema, self.decode = table, made, schema, decode
        self.computed = [one for one in table.derived if not one.is_restated]
        self.slots = {c.column.name: [hidden + slot for slot in c.slots] for c in table.encoder.columns}

    def run(self) -> None:
        results, outside = self.results()
        for choose, kept in ((self._beside, self._pivots), (self._within, set[str]())):
            if outside.any() and ((source := choose(results, outside)) >= 0).any():
                self._draw_again(source, kept)
                results, outside = self.results()
        self.write(results)
        for c in self.table.encoder.columns:  # what was drawn in their place told the columns after it, children are told what it came to
            if c.column.name in results and isinstance(c.encoder, Encoder):
                for start in range(0, self.made.rows, CHUNK):
                    part = slice(start, start + CHUNK)
                    self.made.tokens[part, self.slots[c.column.name]] = c.encoder.encode(self.made.columns[c.column.name][part])

    def write(self, results: Mapping[str, Floats]) -> None:
        """Make the results columns. One that must not be null and is stays what it was, or becomes the least it may be."""
        for one in self.computed:
            values, column = results[one.column], self.schema.column(one.column)
            missing = np.isnan(values)
            if missing.any() and not column.nullable:
                before = self.made.columns.get(one.column)
                least = one.bounds[0] if np.isfinite(one.bounds[0]) else 0.0
                values = np.where(missing, least if before is None else to_floats(before, column.data_type), values)
            self.made.columns[one.column] = from_floats(values, column.data_type)

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

    @cached_property
    def _pivots(self) -> set[str]:
        """Of what each bounded column is computed from the first that is drawn for the row, which is kept as far as that goes; with what it
        is linked to."""
        drawn = self._drawn_together()
        firsts = (next((name for name in one.operands if name in drawn), None) for one in self._bounded())
        return self._linked({name for name in firsts if name is not None})

    def _beside(self, results: Mapping[str, Floats], outside: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each row that is outside the one within whose first operand is nearest, -1 for all others: with what else that is computed
        from, most come out within, and no two rows alike."""
        source = np.full(len(outside), -1)
        good = np.flatnonzero(outside == 0)
        for number, one in enumerate(self.computed, 1):
            rows = np.flatnonzero(np.abs(outside) == number)
            pivot = next((name for name in one.operands if name in self._pivots), None)
            if not len(rows) or pivot is None:
                continue
            values = to_floats(self._values(pivot, np.arange(self.made.rows)), self.schema.column(pivot).data_type)
            known = good[np.isfinite(values[good]) & np.isfinite(results[one.column][good])]
            if len(known):
                order = known[np.argsort(values[known], kind="stable")]
                place = np.searchsorted(values[order], values[rows]) - (np.arange(len(rows)) % 2)  # the one before, the one after in turn
                source[rows] = order[np.clip(place, 0, len(order) - 1)]
        return source

    def _within(self, results: Mapping[str, Floats], outside: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each row that is outside another that is not, -1 for all others and where there is none: of those with the highest results
        for rows above, with the lowest for those below, each as often as the others."""
        source = np.full(len(outside), -1)
        for number, one in enumerate(self.computed, 1):
            for side in (number, -number):
                rows, values = np.flatnonzero(outside == side), results[one.column]
                good = np.flatnonzero((outside == 0) & np.isfinite(values)) if len(rows) else rows
                if len(good):
                    nearest = good[np.argsort(-values[good] if side > 0 else values[good], kind="stable")]
                    source[rows] = np.resize(nearest, len(rows))
        return source

    def _draw_again(self, source: NDArray[np.int64], kept: Collection[str]) -> None:
        """Give each row that has a `source` what that is computed from, but for the columns `kept`."""
        rows = np.flatnonzero(source >= 0)
        for name in sorted(self._drawn_together() - set(kept)):
            if name in self.made.values:
                self.made.values[name][rows] = self.made.values[name][source[rows]]
            else:
                values = self._values(name, np.arange(self.made.rows))
                self.made.columns[name] = values.take(pa.array(np.where(source >= 0, source, np.arange(len(source)))))
            slots = np.array(self.slots[name], np.int64)
            self.made.tokens[np.ix_(rows, slots)] = self.made.tokens[np.ix_(source[rows], slots)]

    def _bounded(self) -> list[Derivation]:
        return [one for one in self.computed if np.isfinite(one.bounds).any()]

    def _drawn_together(self) -> set[str]:
        """What the bounded columns are computed from, of the row itself, with what that is linked to."""
        return self._linked({name for one in self._bounded() for name in one.operands} - {one.column for one in self.table.derived})

    def _linked(self, names: set[str]) -> set[str]:
        """The columns with those that they are told from or tell, settle or are settled by; without those that rows of one parent share."""
        shared = {constant.column for constant in self.table.constants}
        name_of = self.table.encoder.name_of
        told = self.table.references.items()
        linked = [{name, *(r.column for r in references if r.source == "row")} for name, references in told]
        linked += [{name_of(one.slot), name_of(one.of)} for one in self.table.dependencies]
        found = names - shared
        while more := {name for group in linked if group & found for name in group} - found - shared:
            found |= more
        return found
