"""The source's own graph, where a twin is to have it: which row refers to which, and nothing of what is in the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth_engine.errors import ConfigurationError
from synth_engine.model.prepared import PreparedTable

Rows = NDArray[np.int64]


@dataclass
class Skeleton:
    """The rows of a table in the order they were learned in: for each key the row number of the parent (-1: none), their
    hidden tokens, and for columns that may hold a value though their keys refer to nobody, which rows have one."""

    parents: list[Rows]
    hidden: NDArray[np.int32]
    present: dict[str, NDArray[np.bool_]]

    @classmethod
    def of(cls, one: PreparedTable, hidden: NDArray[np.int32]) -> Skeleton:
        present = {c: np.asarray(one.data[c].is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_) for c in one.loose}
        return cls([_with_loops(one, i) for i in range(len(one.keys))], hidden, present)

    def sequences(self, owner: int) -> tuple[Rows, Rows]:
        """First rows and lengths of the sequences along a key; rows without an owner stand alone."""
        at = self.parents[owner]
        starts = np.flatnonzero(np.r_[True, (at[1:] != at[:-1]) | (at[1:] < 0)][: len(at)])
        return starts, np.diff(np.r_[starts, len(at)])

    def to_arrow(self) -> pa.Table:
        columns: dict[str, NDArray[np.int64] | NDArray[np.int32] | NDArray[np.bool_]] = {}
        columns |= {f"parent {i}": at for i, at in enumerate(self.parents)}
        columns |= {f"hidden {i}": self.hidden[:, i] for i in range(self.hidden.shape[1])}
        return pa.table(columns | {f"present {c}": rows for c, rows in self.present.items()})

    @classmethod
    def from_arrow(cls, table: pa.Table, rows: int) -> Skeleton:
        found: dict[str, list[str]] = {what: [c for c in table.column_names if c.startswith(what)] for what in ("parent ", "hidden ")}
        parents = [np.asarray(table[c].to_numpy(), dtype=np.int64) for c in found["parent "]]
        hidden = [np.asarray(table[c].to_numpy(), dtype=np.int32) for c in found["hidden "]]
        present = {
            c.removeprefix("present "): np.asarray(table[c].to_numpy(), dtype=np.bool_)
            for c in table.column_names
            if c.startswith("present ")
        }
        return cls(parents, np.stack(hidden, axis=1) if hidden else np.zeros((rows, 0), np.int32), present)


def _with_loops(one: PreparedTable, i: int) -> Rows:
    """The parents along key i, with the rows that refer to themselves, which were learned as roots."""
    if one.keys[i].parent != one.table.name:
        return one.parents[i]
    pairs = zip(one.keys[i].columns, one.keys[i].parent_columns, strict=True)
    same = [pc.fill_null(pc.equal(one.data[c], one.data[p].cast(one.data[c].type)), False) for c, p in pairs]
    loops = np.all([found.to_numpy(zero_copy_only=False) for found in same], axis=0)
    return np.where((one.parents[i] < 0) & loops, np.arange(one.rows), one.parents[i])


def refuse_ambiguous_columns(prepared: Mapping[str, PreparedTable]) -> None:
    """Raise `ConfigurationError` if a row takes a column from two rows that need not agree in it once its values are drawn
    anew: a tenant that is no key to a table of tenants. Keys chosen by their values would agree; links as they are may not.
    """
    cells = _own_cells(prepared)  # by table and column the number of the cell that each row's value comes from
    given: dict[tuple[str, str], NDArray[np.bool_]] = {}
    faults: list[str] = []
    for late in (False, True):
        for name, one in prepared.items():
            for i in (i for i in one.plan.order if one.plan.deferred[i] == late):
                key, at = one.keys[i], _with_loops(one, i)
                refers = at >= 0
                for column, parent_column in zip(key.columns, key.parent_columns, strict=True):
                    mine, theirs = cells[name, column], cells[key.parent, parent_column][at[refers]]
                    before = given.setdefault((name, column), np.zeros(one.rows, dtype=np.bool_))
                    settled = np.ones(one.rows, np.bool_) if late and column in one.plan.settled[i] else before
                    if (settled[refers] & (mine[refers] != theirs)).any():
                        faults.append(
                            f"structure: original cannot keep {key.label(name)}: rows other than its parents decide {name}.{column}, "
                            f"whose values are drawn anew. Next step: set structure: sampled, or give {column} a table of its own "
                            "that the keys refer to"
                        )
                    mine[refers] = theirs
                    before |= refers
    if faults:
        raise ConfigurationError(faults)


def _own_cells(prepared: Mapping[str, PreparedTable]) -> dict[tuple[str, str], Rows]:
    """Every row of every column that keys have or refer to, numbered."""
    columns = {(name, c) for name, one in prepared.items() for key in one.keys for c in key.columns}
    columns |= {(key.parent, c) for one in prepared.values() for key in one.keys for c in key.parent_columns}
    cells, count = {}, 0
    for name, column in sorted(columns):
        cells[name, column] = count + np.arange(prepared[name].rows)
        count += prepared[name].rows
    return cells
