"""A table ready to learn from, and what its rows are told from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth_engine.codes import joint_codes
from synth_engine.encode.base import Floats
from synth_engine.encode.derived import Derivation
from synth_engine.encode.relative import Reference
from synth_engine.encode.values import to_floats
from synth_engine.model.coarse import is_ordered
from synth_engine.model.keyplan import KeyPlan, value_columns
from synth_engine.model.ordinals import Ordinal
from synth_engine.schema import Column, ForeignKey, Kind, Table
from synth_engine.schema.types import MOMENT_TYPES, base_type


@dataclass
class PreparedTable:
    """A table ready to learn from. Rows are sorted so that those of one owner stand together in order.

    `parents[i]` is the row number, in the prepared parent, that key `keys[i]` refers to (-1: none). `source_row` is
    each row's place in the source. `entity` numbers the root row a row descends from, along key `part_of` (None: each is one).
    `settled_by` has for keys along which the rows of one parent do not differ the number of the key to that parent, and
    those that count where it leads nowhere.
    `alike` marks as many training entities as are held out, chosen in the same way: what the held-out ones may fairly be compared with.
    """

    table: Table
    data: dict[str, pa.Array]
    plan: KeyPlan
    parents: list[NDArray[np.int64]]
    owner: int | None
    sequence: NDArray[np.int64] | None
    source_row: NDArray[np.int64]
    entity: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    alike: NDArray[np.bool_]
    coarse: dict[str, NDArray[np.uint8]]
    moments: dict[str, Floats]
    loose: dict[str, pa.Array] = field(default_factory=dict)
    loop_share: dict[int, float] = field(default_factory=dict)
    part_of: int | None = None
    order_column: str | None = None
    ordinal: Ordinal | None = None
    references: dict[str, list[Reference]] = field(default_factory=dict)
    derived: list[Derivation] = field(default_factory=list)
    settled_by: dict[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return len(self.source_row)

    @property
    def keys(self) -> tuple[ForeignKey, ...]:
        return self.plan.keys

    @property
    def later(self) -> NDArray[np.int64] | None:
        """How many siblings come after each row; None where rows are in no sequence."""
        return None if self.sequence is None else siblings_to_come(self.sequence)

    @property
    def value_columns(self) -> list[Column]:
        """Columns that hold values: neither given by a key, nor made for one, nor counted. Columns of keys that hold a value where the key
        refers to nobody are among them: whether they do, not which."""
        counted = self.ordinal.column if self.ordinal else None
        return [c for c in value_columns(self.plan, self.table) if c.name != counted] + [
            _presence(self.table.column(c)) for c in self.loose
        ]

    @property
    def own_columns(self) -> list[Column]:
        """Those of them that do not follow from others."""
        computed = {derivation.column for derivation in self.derived}
        return [c for c in self.value_columns if c.name not in computed]

    @property
    def drawn_columns(self) -> list[Column]:
        """Those of them that the row model draws: what follows from one other says no more than that, what follows from several comes right
        after them and is computed later."""
        columns = self.own_columns
        for one in (one for one in self.derived if len(one.operands) > 1 and not one.is_restated):
            place = max((i for i, c in enumerate(columns) if c.name in self._drawn_for(one.operands)), default=len(columns) - 1)
            columns.insert(place + 1, self.table.column(one.column))
        return columns

    def forget_encoded(self, referred: Collection[str]) -> None:
        """Give back the memory of columns that are told by tokens and coarse codes alone from here on: neither keys nor `referred` to
        by any, nor summarised by their order."""
        keys = {*self.table.key_columns, *referred}
        for column in self.table.columns:
            if column.name not in keys and not is_ordered(column):
                self.data.pop(column.name, None)

    def forget_values(self) -> None:
        """Give back the memory of the columns: keys, sequences and marks of rows remain."""
        for values in (self.data, self.coarse, self.moments):
            values.clear()

    def reference_values(self, prepared: Mapping[str, PreparedTable]) -> dict[str, list[Floats]]:
        """For each column told as steps, the value of each of its references in every row (NaN where missing)."""
        return {name: [self.reference(name, r, prepared) for r in found] for name, found in self.references.items()}

    def reference(self, column: str, reference: Reference, prepared: Mapping[str, PreparedTable]) -> Floats:
        """The value of a column's reference in every row, in the column's units (NaN where missing)."""
        if reference.source == "previous":
            return previous_values(self._floats(column), self.sequence)
        if reference.source == "row":
            return in_units_of(self._floats(reference.column), self.table.column(reference.column), self.table.column(column))
        parent = prepared[self.keys[reference.key].parent]
        return in_units_of(
            take_or_nan(parent.moments[reference.column], self.parents[reference.key]),
            parent.table.column(reference.column),
            self.table.column(column),
        )

    def _drawn_for(self, operands: Sequence[str]) -> set[str]:
        """The columns that are drawn for these: for one that follows from one other, that."""
        single = {one.column: one.operands[0] for one in self.derived if len(one.operands) == 1 and not one.is_restated}
        found = set(operands)
        while follow := found & single.keys():
            found = (found - follow) | {single[name] for name in follow}
        return found

    def _floats(self, column: str) -> Floats:
        """The values of a moment or a number."""
        return self.moments[column] if column in self.moments else to_floats(self.data[column], self.table.column(column).data_type)


def is_moment(column: Column) -> bool:
    """Whether the values are dates or times that others may be told from."""
    return base_type(column.data_type) in MOMENT_TYPES and column.kind in (Kind.DATE, Kind.TIMESTAMP)


def in_units_of(values: Floats, source: Column, target: Column) -> Floats:
    """Days turned into seconds or back, so that a reference can be subtracted."""
    from_date, to_date = base_type(source.data_type) == "date", base_type(target.data_type) == "date"
    if from_date == to_date:
        return values
    return values * 86_400.0 if from_date else np.floor(values / 86_400.0)


def take_or_nan(values: Floats, rows: NDArray[np.int64]) -> Floats:
    """`values[rows]`, NaN where the row is -1."""
    if not len(values):
        return np.full(len(rows), np.nan)
    return np.where(rows >= 0, values[np.maximum(rows, 0)], np.nan)


def previous_values(values: Floats, sequence: NDArray[np.int64] | None) -> Floats:
    """The last value that is known before each row in the same sequence, NaN where none is."""
    if sequence is None or not len(values):
        return np.full(len(values), np.nan)
    row = np.arange(len(values))
    start = np.maximum.accumulate(np.where(np.r_[True, sequence[1:] != sequence[:-1]], row, 0))
    known = np.r_[-1, np.maximum.accumulate(np.where(np.isfinite(values), row, -1))[:-1]]
    return np.where(known >= start, values[np.maximum(known, 0)], np.nan)


def siblings_to_come(sequence: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many rows of the same sequence come after each row; rows of one stand together."""
    first = np.flatnonzero(np.r_[True, sequence[1:] != sequence[:-1]][: len(sequence)])
    length = np.diff(np.r_[first, len(sequence)])
    return np.repeat(first + length, length) - 1 - np.arange(len(sequence))


def _presence(column: Column) -> Column:
    return replace(column, kind=Kind.BOOLEAN, data_type="boolean", nullable=True, native_type=None)


def find_parents(key: ForeignKey, child: Mapping[str, pa.Array], parent: Mapping[str, pa.Array]) -> NDArray[np.int64]:
    """Row number of the parent each row refers to, -1 for a null in the key and for orphans."""
    sides = [[parent[p], child[c]] for c, p in zip(key.columns, key.parent_columns, strict=True)]
    known, wanted = joint_codes(sides)
    order = np.argsort(known, kind="stable")
    place = np.minimum(np.searchsorted(known[order], wanted), max(len(known) - 1, 0))
    if not len(known):
        return np.full(len(wanted), -1, dtype=np.int64)
    found: NDArray[np.int64] = np.where((wanted >= 0) & (known[order][place] == wanted), order[place], -1)
    return found
