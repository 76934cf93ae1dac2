"""Values of the key columns of rows whose links are there, and of the parents that they refer to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth_engine.codes import joint_codes
from synth_engine.model.generated import GeneratedTable
from synth_engine.model.keyplan import KeyPlan, plan_keys
from synth_engine.randomness import stream, uniforms
from synth_engine.schema import Schema
from synth_engine.schema.types import to_arrow

Rows = NDArray[np.int64]
Marks = NDArray[np.bool_]


class KeyValues:
    """What the rows of the tables generated so far, `tables`, have in their keys."""

    def __init__(self, schema: Schema, tables: Mapping[str, GeneratedTable], seed: int) -> None:
        self.schema, self.tables, self.seed = schema, tables, seed
        self._plans = {name: plan_keys(schema, table) for name, table in schema.tables.items()}

    def plan(self, name: str) -> KeyPlan:
        return self._plans[name]

    def of_parent(self, name: str, column: str) -> pa.Array:
        return self.tables[name].columns[column]

    def of_row(self, made: GeneratedTable, plan: KeyPlan, column: str, keys: Sequence[int]) -> pa.Array:
        """Values of a column from the first of the keys that has a parent in the row."""
        target = to_arrow(self.schema.tables[made.name].column(column).data_type)
        out = pa.nulls(made.rows, target)
        for i in reversed([i for i in keys if column in plan.keys[i].columns]):
            values, at = self.of_parent(plan.keys[i].parent, plan.refers_to(i, column)), made.parents[i]
            if len(values):
                taken = values.take(pa.array(np.maximum(at, 0), mask=at < 0)).cast(target)
                out = pc.coalesce(taken, out)
        return out

    def settled(self, made: GeneratedTable, plan: KeyPlan, i: int, column: str) -> pa.Array:
        """The values of a column as the keys before key i (or the row itself) settled them."""
        earlier = plan.order[: plan.order.index(i)]
        if column not in made.columns:
            return self.of_row(made, plan, column, earlier)
        if any(plan.deferred[j] and column in plan.keys[j].columns for j in earlier):
            return pc.coalesce(self.of_row(made, plan, column, earlier), made.columns[column])
        return made.columns[column]

    def key_columns(self, made: GeneratedTable, deferred: bool) -> dict[str, pa.Array]:
        """The columns that come from parents, null where no key with the column refers to anybody; those of `deferred` keys
        only when they are assigned."""
        plan = self.plan(made.name)
        keys = [i for i in plan.order if deferred or not plan.deferred[i]]
        columns = {c for i in keys for c in plan.keys[i].columns} & plan.columns
        return {c: self.of_row(made, plan, c, keys) for c in sorted(columns)}

    def some_values(self, made: GeneratedTable, column: str, deferred: bool) -> pa.Array:
        """For every row a value of the column that some parent has: of a key that refers to nobody, a part may have a value,
        and a real one must not come out."""
        plan, target = self.plan(made.name), to_arrow(self.schema.tables[made.name].column(column).data_type)
        key = next(i for i in plan.order if column in plan.keys[i].columns and (deferred or not plan.deferred[i]))
        values = self.of_parent(plan.keys[key].parent, plan.refers_to(key, column)).drop_null()
        if not len(values):
            return pa.nulls(made.rows, target)
        drawn = uniforms(stream(self.seed, "some value", made.name, column), np.arange(made.rows))
        return values.take(pa.array((drawn * len(values)).astype(np.int64))).cast(target)

    # -- as numbers that compare -------------------------------------------------------------------------------------------

    def completes_a_null(self, made: GeneratedTable, plan: KeyPlan, i: int) -> Marks:
        """Rows in which a parent along key i would give a value to the last column of an earlier key that refers to nobody:
        that would be an orphan."""
        table = self.schema.tables[made.name]
        out = np.zeros(made.rows, dtype=np.bool_)
        for e in plan.order[: plan.order.index(i)]:
            if not set(plan.keys[e].columns) & set(plan.keys[i].columns):
                continue
            complete = made.parents[e] < 0
            for c in plan.keys[e].columns:
                if c not in plan.keys[i].columns and table.column(c).nullable:
                    complete = complete & present(self.settled(made, plan, i, c))
            out |= complete
        return out

    def codes_of_both(self, made: GeneratedTable, plan: KeyPlan, i: int, columns: Sequence[str]) -> tuple[Rows, Rows]:
        """Equal numbers for rows, and for parents along key i, that agree in these columns of the key."""
        parent = plan.keys[i].parent
        if not columns:
            return np.zeros(made.rows, np.int64), np.zeros(self.tables[parent].rows, np.int64)
        mine, theirs = joint_codes([[self.of_row(made, plan, c, plan.live), self.of_parent(parent, plan.refers_to(i, c))] for c in columns])
        return mine, theirs

    def codes(self, made: GeneratedTable, plan: KeyPlan, columns: Sequence[str]) -> Rows:
        """Equal numbers for rows that agree in these columns of live keys."""
        if not columns:
            return np.zeros(made.rows, np.int64)
        return joint_codes([[self.of_row(made, plan, c, plan.live)] for c in columns])[0]

    def codes_with_nulls(self, made: GeneratedTable, plan: KeyPlan, columns: Sequence[str]) -> Rows:
        """The same, where a null is a value like any other."""
        code = np.zeros(made.rows, np.int64)
        for c in columns:
            (own,) = joint_codes([[self.of_row(made, plan, c, plan.live)]])
            code = np.unique(code * (own.max(initial=-1) + 2) + own + 1, return_inverse=True)[1].reshape(-1)
        return code


def present(values: pa.Array) -> Marks:
    return np.asarray(values.is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_)


def groups(theirs: Mapping[str, pa.Array], mine: Mapping[str, pa.Array], parents: int, rows: int) -> tuple[Rows, Rows]:
    """Group numbers of some parents and of some rows: equal where they agree in the columns `mine` (-1: null)."""
    if not mine:
        return np.zeros(parents, np.int64), np.zeros(rows, np.int64)
    of_parent, of_row = joint_codes([[theirs[c], values] for c, values in mine.items()])
    distinct, small = np.unique(np.r_[of_parent, of_row], return_inverse=True)
    small = small.reshape(-1) - np.searchsorted(distinct, 0)
    small = np.where(np.r_[of_parent, of_row] < 0, -1, small)
    return small[:parents], small[parents:]
