"""Which parents the rows of a table can refer to, and how often, so that the keys assigned later find theirs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from synth_engine.codes import joint_codes
from synth_engine.model.keyplan import KeyPlan, required
from synth_engine.model.keyvalues import KeyValues, Marks, Rows, present


class Openings:
    """Looks ahead from one key of a table to those that are assigned after it."""

    def __init__(self, values: KeyValues) -> None:
        self.values = values

    def open(self, name: str, plan: KeyPlan, i: int) -> Marks:
        """Parents along key i that a row can refer to: their key is not null, and the keys assigned later find a parent
        that agrees with them, where they must have one."""
        table, key = self.values.schema.tables[name], plan.keys[i]
        open_: Marks = np.all([present(self.values.of_parent(key.parent, p)) for p in key.parent_columns], axis=0)
        settled: set[str] = set()
        for j in plan.order:
            later, shared = plan.keys[j], [c for c in key.columns if c in plan.settled[j]]
            must = required(table, later) or settled.issuperset(later.columns)
            settled.update(later.columns)
            if j == i or not shared or not must or plan.deferred[j] or plan.order.index(j) < plan.order.index(i):
                continue
            sides = [[self._column(plan, k, c) for k in (i, j)] for c in shared]
            mine, theirs = joint_codes(sides)
            open_ &= np.isin(mine, theirs[self.open(name, plan, j)])
        return open_

    def most(self, name: str, plan: KeyPlan, i: int) -> Rows | None:
        """How many children each parent along key i can have where key columns together are unique: as many as there are
        combinations of the other keys' parents that agree with it. None where nothing limits them."""
        table, key = self.values.schema.tables[name], plan.keys[i]
        most: Rows | None = None
        for unique in (table.primary_key, *table.unique):
            rest = set(unique) - set(key.columns)
            if i not in plan.heads or not rest or not rest < set(unique) or not set(unique) <= plan.columns:
                continue
            combinations = np.ones(self.values.tables[key.parent].rows, np.int64)
            for j in plan.live:
                own = sorted(rest.intersection(plan.keys[j].columns))
                if own:
                    rest -= set(own)
                    combinations *= self._partners(name, plan, i, j, own)
            if not rest:
                most = combinations if most is None else np.minimum(most, combinations)
        return most

    def _partners(self, name: str, plan: KeyPlan, i: int, j: int, own: Sequence[str]) -> Rows:
        """For each parent along key i how many values the columns `own` can have from the parents along key j that agree."""
        key, other = plan.keys[i], plan.keys[j]
        shared = [c for c in key.columns if c in other.columns]
        open_ = self.open(name, plan, j)
        values = joint_codes([[self._column(plan, j, c)] for c in own])[0][open_]
        if not shared:
            return np.full(self.values.tables[key.parent].rows, len(np.unique(values)))
        sides = [[self._column(plan, k, c) for k in (i, j)] for c in shared]
        mine, theirs = joint_codes(sides)
        pairs = np.unique(np.stack([theirs[open_], values]), axis=1)
        return np.searchsorted(pairs[0], mine, side="right") - np.searchsorted(pairs[0], mine, side="left")

    def _column(self, plan: KeyPlan, i: int, column: str) -> pa.Array:
        """What the parents along key i have to give to a column."""
        return self.values.of_parent(plan.keys[i].parent, plan.refers_to(i, column))
