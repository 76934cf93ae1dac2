"""Which parents the rows of a table can refer to, and how often, so that the keys assigned later find theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from synth_engine.codes import joint_codes
from synth_engine.model.keyplan import KeyPlan, required
from synth_engine.model.keyvalues import KeyValues, Marks, Rows, groups, present


@dataclass(frozen=True)
class Candidates:
    """Combinations that a row can get by one key: the parent's row, and the values of columns of this key and others."""

    parent: Rows
    columns: Mapping[str, pa.Array]

    def of(self, rows: Rows) -> Candidates:
        return Candidates(self.parent[rows], {c: values.take(pa.array(rows)) for c, values in self.columns.items()})

    def joined(self, others: Mapping[str, pa.Array]) -> Candidates:
        """Each with every different row of `others` that agrees with it."""
        shared = {c: values for c, values in self.columns.items() if c in others}
        size = len(next(iter(others.values())))
        theirs, mine = groups(others, shared, size, len(self.parent))
        order = np.argsort(theirs, kind="stable")
        first = np.searchsorted(theirs[order], mine, side="left")
        count = np.where(mine >= 0, np.searchsorted(theirs[order], mine, side="right") - first, 0)
        left = np.repeat(np.arange(len(mine)), count)
        right = order[np.repeat(first - np.cumsum(count) + count, count) + np.arange(len(left))]
        taken = self.of(left)
        more = {c: values.take(pa.array(right)) for c, values in others.items() if c not in shared}
        return Candidates(taken.parent, {**taken.columns, **more})


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
        for whole in self._rings(name, plan, i):
            open_ &= self._agreeing(plan, i, whole) > 0
        return open_

    def candidates(self, name: str, plan: KeyPlan, i: int, closing: Sequence[int]) -> Candidates:
        """The parents along key i, each together with what the keys that it closes a ring with could then be given: those
        combinations that have a parent along all of these."""
        key = plan.keys[i]
        found = Candidates(np.arange(self.values.tables[key.parent].rows), {c: self._column(plan, i, c) for c in key.columns})
        for j in closing:
            open_ = pa.array(np.flatnonzero(self.open(name, plan, j)))
            found = found.joined({c: self._column(plan, j, c).take(open_) for c in plan.keys[j].columns})
        return found

    def _rings(self, name: str, plan: KeyPlan, i: int) -> list[Candidates]:
        """The candidates of later keys that close a ring with key i and an earlier one."""
        table, found = self.values.schema.tables[name], []
        for j in plan.order[plan.order.index(i) + 1 :]:
            closing = [k for k in plan.closing[j] if set(plan.keys[i].columns) & set(plan.keys[k].columns)]
            if closing and plan.settled[j].intersection(plan.keys[i].columns) and required(table, plan.keys[j]):
                whole = self.candidates(name, plan, j, closing)
                found.append(whole.of(np.flatnonzero(self.open(name, plan, j)[whole.parent])))
        return found

    def _agreeing(self, plan: KeyPlan, i: int, whole: Candidates) -> Rows:
        """How many of the candidates agree with each parent along key i."""
        shared = {c: self._column(plan, i, c) for c in plan.keys[i].columns if c in whole.columns}
        of_candidate, of_parent = groups(whole.columns, shared, len(whole.parent), self.values.tables[plan.keys[i].parent].rows)
        counts = np.bincount(of_candidate[of_candidate >= 0], minlength=int(of_parent.max(initial=0)) + 1)
        return np.where(of_parent >= 0, counts[of_parent], 0)

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
            for whole in self._rings(name, plan, i):
                if set(unique) == {*key.columns, *whole.columns}:
                    most = np.minimum(self._agreeing(plan, i, whole), combinations if most is None else most)
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
