"""Columns that number the rows of one parent: the line of an order, the stop of a trip. They are counted, not learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth_engine.codes import joint_codes
from synth_engine.model.keyplan import KeyPlan
from synth_engine.schema import Table
from synth_engine.schema.types import base_type, to_arrow

COUNTED = 0.9
"""Share of the rows of which the number must be the next in its group."""


@dataclass(frozen=True)
class Ordinal:
    """`column` counts from `first` within the rows that agree in the columns `within`, which come from keys."""

    column: str
    within: tuple[str, ...]
    first: int

    def numbers(self, groups: list[pa.Array], rows: int, data_type: str) -> pa.Array:
        """The number of each row, in the order of the rows; `groups` are the columns `within`."""
        code = joint_codes([[column] for column in groups])[0] if rows else np.zeros(0, np.int64)
        return pa.array(self.first + _rank_within(code, np.arange(rows))).cast(to_arrow(data_type))

    def to_json(self) -> dict[str, Any]:
        return {"column": self.column, "within": list(self.within), "first": self.first}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Ordinal:
        return cls(raw["column"], tuple(raw["within"]), raw["first"])


def find_ordinal(table: Table, plan: KeyPlan, data: Mapping[str, pa.Array]) -> Ordinal | None:
    """The column that counts within a unique key's other columns, if the table has one."""
    live = {c for i in plan.live for c in plan.keys[i].columns}
    for unique in (table.primary_key, *table.unique):
        own = [c for c in unique if c not in plan.columns]
        within = tuple(c for c in unique if c in live)
        if (
            len(own) != 1
            or not within
            or len(within) + 1 < len(unique)
            or base_type(table.column(own[0]).data_type) not in ("int16", "int32", "int64")
        ):
            continue
        values = data[own[0]]
        if not len(values) or values.null_count or any(data[c].null_count for c in within):
            continue
        number = np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.int64)
        code = joint_codes([[data[c]] for c in within])[0]
        rank = _rank_within(code, number)
        first, counts = np.unique(number - rank, return_counts=True)
        if counts.max() >= COUNTED * len(number) and len(np.unique(code)) > 1:
            return Ordinal(own[0], within, int(first[counts.argmax()]))
    return None


def _rank_within(group: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each row among those of its group, by `order`."""
    line = np.lexsort((order, group))
    starts = np.r_[True, group[line][1:] != group[line][:-1]]
    at = np.arange(len(line))
    rank = np.empty(len(line), dtype=np.int64)
    rank[line] = at - np.maximum.accumulate(np.where(starts, at, 0))
    return rank
