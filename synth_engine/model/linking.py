"""Which parents the rows of a table refer to: degrees drawn, the owner's rows laid out, all other keys assigned in turn
so that keys that share columns agree in every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth_engine.codes import joint_codes
from synth_engine.errors import Terminal
from synth_engine.model.generated import GeneratedTable
from synth_engine.model.keyplan import KeyPlan, optional_columns, plan_keys, required
from synth_engine.model.learning import degree_features, link_codes, own_code
from synth_engine.model.links import (
    NONE,
    assign,
    capped,
    fit_to_groups,
    forest,
    roots_of_groups,
    with_roots,
    without_duplicates,
    without_late_duplicates,
)
from synth_engine.model.preparation import take_or_nan
from synth_engine.model.state import KeyModel, Model, TableModel
from synth_engine.polymorphic import alternatives, is_of_type, type_of
from synth_engine.randomness import generator, stream, uniforms
from synth_engine.schema.types import to_arrow

Rows = NDArray[np.int64]
Marks = NDArray[np.bool_]


class Linking:
    """Links of the tables generated so far, `tables`; they are changed in place."""

    def __init__(self, model: Model, tables: Mapping[str, GeneratedTable], seed: int, temperature: float = 1.0) -> None:
        self.model, self.tables, self.seed, self.temperature = model, tables, seed, temperature

    # -- degrees and owner -----------------------------------------------------------------------------------------------

    def draw_degrees(self, table: TableModel, made: GeneratedTable) -> None:
        """Draw the degrees of all live keys; parents that no row can refer to get none."""
        plan = self._plan(made.name)
        for i, key in enumerate(table.keys):
            if key.deferred:
                continue
            parent = self.tables[key.key.parent]
            before = [made.degrees[j] for j in range(i) if j in made.degrees and table.keys[j].key.parent == key.key.parent]
            total = self._total(made, table, i)
            code = own_code(self.model, made.name, i, parent.tokens)
            drawn = key.degrees.draw(
                degree_features(parent.tokens, parent.context, before),
                code,
                total,
                stream(self.seed, "degrees", made.name, i),
                key.key.label(made.name),
                self.temperature,
            )
            drawn = self._of_open_parents(made.name, plan, i, key, drawn)
            most = self._most(made.name, plan, i)
            made.degrees[i] = drawn if most is None else capped(drawn, np.where(self._open(made.name, plan, i), most, 0))

    def _total(self, made: GeneratedTable, table: TableModel, i: int) -> int:
        """How many rows refer to somebody along key i. Of the keys of a polymorphic reference it is the running total that is rounded:
        together they leave exactly as many rows out as there should be nulls."""
        keys = [key.key for key in table.keys]
        group = alternatives(self.model.schema.tables[made.name], keys, i)
        before = sum(made.rows * (1 - table.keys[j].null_share) for j in group if j < i)
        return round(before + made.rows * (1 - table.keys[i].null_share)) - round(before)

    def _taken(self, made: GeneratedTable, plan: KeyPlan, i: int) -> Marks:
        """Rows that refer to somebody along another key of the same polymorphic reference."""
        others = [j for j in alternatives(self.model.schema.tables[made.name], plan.keys, i) if j != i]
        return np.any([made.parents[j] >= 0 for j in others], axis=0) if others else np.zeros(made.rows, dtype=np.bool_)

    def _of_its_type(self, made: GeneratedTable, plan: KeyPlan, i: int) -> Rows:
        """A wish for any parent in rows whose type names that of key i, for none in others; for none at all of an ordinary key."""
        told = type_of(self.model.schema.tables[made.name], plan.keys[i])
        if told is None:
            return np.full(made.rows, NONE)
        return np.where(is_of_type(made.columns[told[0]], told[1]).to_numpy(zero_copy_only=False), 0, NONE)

    def lay_out(self, table: TableModel, made: GeneratedTable) -> tuple[Rows | None, Rows | None]:
        """Rows of one owner stand together; rows without an owner follow, each by itself. Returns the sequences' first rows
        and lengths."""
        if table.owner is None:
            return None, None
        degrees = made.degrees[table.owner]
        owned = int(degrees.sum())
        made.parents[table.owner][:owned] = np.repeat(np.arange(len(degrees)), degrees)
        lengths = np.r_[degrees[degrees > 0], np.ones(made.rows - owned, np.int64)]
        return np.r_[0, np.cumsum(lengths)[:-1]].astype(np.int64) if len(lengths) else np.zeros(0, np.int64), lengths

    def _of_open_parents(self, name: str, plan: KeyPlan, i: int, key: KeyModel, degrees: Rows) -> Rows:
        open_ = self._open(name, plan, i)
        if not (degrees[~open_] > 0).any():
            return degrees
        if not open_.any():
            raise _no_parent(name, key, int(degrees.sum()))
        wanted, rng = np.array([degrees.sum()]), generator(self.seed, "open", name, i)
        fitted = fit_to_groups(degrees, np.where(open_, 0, -1), wanted, key.degrees.unique, rng)
        lacking = int(degrees.sum() - fitted.sum())
        if lacking and required(self.model.schema.tables[name], key.key):
            raise _no_parent(name, key, lacking)
        return fitted

    def _open(self, name: str, plan: KeyPlan, i: int) -> Marks:
        """Parents along key i that a row can refer to: their key is not null, and the keys assigned later find a parent
        that agrees with them, where they must have one."""
        table, key = self.model.schema.tables[name], plan.keys[i]
        open_: Marks = np.all([_present(self._of_parent(key.parent, p)) for p in key.parent_columns], axis=0)
        settled: set[str] = set()
        for j in plan.order:
            later, shared = plan.keys[j], [c for c in key.columns if c in plan.settled[j]]
            must = required(table, later) or settled.issuperset(later.columns)
            settled.update(later.columns)
            if j == i or not shared or not must or plan.deferred[j] or plan.order.index(j) < plan.order.index(i):
                continue
            sides = [[self._of_parent(key.parent, _refers(plan, i, c)), self._of_parent(later.parent, _refers(plan, j, c))] for c in shared]
            mine, theirs = joint_codes(sides)
            open_ &= np.isin(mine, theirs[self._open(name, plan, j)])
        return open_

    def _most(self, name: str, plan: KeyPlan, i: int) -> Rows | None:
        """How many children each parent along key i can have where key columns together are unique: as many as there are
        combinations of the other keys' parents that agree with it. None where nothing limits them."""
        table, key = self.model.schema.tables[name], plan.keys[i]
        most: Rows | None = None
        for unique in (table.primary_key, *table.unique):
            rest = set(unique) - set(key.columns)
            if i not in plan.heads or not rest or not rest < set(unique) or not set(unique) <= plan.columns:
                continue
            combinations = np.ones(self.tables[key.parent].rows, np.int64)
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
        open_ = self._open(name, plan, j)
        values = joint_codes([[self._of_parent(other.parent, _refers(plan, j, c))] for c in own])[0][open_]
        if not shared:
            return np.full(self.tables[key.parent].rows, len(np.unique(values)))
        sides = [[self._of_parent(key.parent, _refers(plan, i, c)), self._of_parent(other.parent, _refers(plan, j, c))] for c in shared]
        mine, theirs = joint_codes(sides)
        pairs = np.unique(np.stack([theirs[open_], values]), axis=1)
        return np.searchsorted(pairs[0], mine, side="right") - np.searchsorted(pairs[0], mine, side="left")

    # -- references --------------------------------------------------------------------------------------------------------

    def assign_references(self, table: TableModel, made: GeneratedTable, wished: NDArray[np.int32] | None) -> None:
        """Assign the live keys other than the owner; `wished` holds the link tokens of each of `table.reference_keys`."""
        plan = self._plan(made.name)
        ends = np.cumsum([len(table.keys[i].link_sizes) for i in table.reference_keys])
        drawn = {} if wished is None else dict(zip(table.reference_keys, np.split(wished, ends[:-1], axis=1), strict=True))
        for i in plan.order:
            if i in table.reference_keys:
                codes, wishes = self._wishes(made, table.keys[i], i, drawn.get(i))
                made.parents[i] = self._assigned(made, plan, table.keys[i], i, wishes, codes)

    def _wishes(self, made: GeneratedTable, key: KeyModel, i: int, wished: NDArray[np.int32] | None) -> tuple[Rows, Rows]:
        """The code of every parent, and of the parent that each row wishes for."""
        parent = self.tables[key.key.parent]
        if wished is None or key.summary is None:
            return np.zeros(parent.rows, np.int64), np.full(made.rows, NONE)
        codes = link_codes(self.model, made.name, i, parent.tokens, parent.context)
        place = np.cumprod([1, *key.link_sizes[:0:-1]])[::-1]  # as one number, the first token foremost
        return codes @ place, np.where(wished[:, 0] == 0, NONE, wished @ place)

    def _assigned(self, made: GeneratedTable, plan: KeyPlan, key: KeyModel, i: int, wishes: Rows, codes: Rows) -> Rows:
        """Parents of all rows along key i: those agree with what earlier keys settled, wishes are met as far as the
        degrees allow."""
        table, rng = self.model.schema.tables[made.name], generator(self.seed, "assign", made.name, i)
        settled = sorted(plan.settled[i])
        known = {c: self._given(made, plan, i, c) for c in settled}
        there = np.stack([_present(known[c]) for c in settled]) if settled else np.ones((0, made.rows), np.bool_)
        pattern = (1 << np.arange(len(settled))) @ there.astype(np.int64)  # which of them are there, as bits
        patterns = sorted(np.unique(pattern).tolist(), key=lambda p: -bin(p).count("1"))
        groups: dict[int, tuple[Rows, Rows]] = {}
        has_parent = np.ones(made.rows, dtype=np.bool_)
        open_ = self._open(made.name, plan, i)
        for p in patterns:
            rows = np.flatnonzero(pattern == p)
            columns = [c for at, c in enumerate(settled) if there[at, rows[0]]]
            of_parent, of_row = self._groups(made, plan, i, {c: known[c].take(pa.array(rows)) for c in columns}, len(rows))
            of_parent = np.where(open_, of_parent, -1)
            groups[p] = of_parent, of_row
            has_parent[rows] = np.isin(of_row, of_parent[of_parent >= 0])
        optional = optional_columns(table, key.key)
        must = np.full(made.rows, optional <= set(settled))
        for at, column in enumerate(settled):
            if column in optional:
                must = must & there[at]
        if (must & ~has_parent).any():
            raise _no_parent(made.name, key, int((must & ~has_parent).sum()))
        may: Marks = must | (has_parent & ~self._completes_a_null(made, plan, i) & ~self._taken(made, plan, i))
        refers = _chosen(wishes != NONE, must, may, int(made.degrees[i].sum()), rng)
        parents, left = np.full(made.rows, -1, dtype=np.int64), made.degrees[i]
        for p in patterns:
            of_parent, of_row = groups[p]
            rows = np.flatnonzero(pattern == p)
            of_row = of_row[refers[rows]]
            rows = rows[refers[rows]]
            if key.degrees.unique:
                of_parent = np.where(np.isin(np.arange(len(codes)), parents), -1, of_parent)  # each serves once
                rows, of_row = self._within_capacity(made.name, key, rows, of_row, of_parent, must, rng)
            wanted = np.bincount(of_row, minlength=int(of_parent.max(initial=-1)) + 1)
            quota = fit_to_groups(left, of_parent, wanted, key.degrees.unique, rng)
            size = int(max(codes.max(initial=0), wishes.max(initial=0))) + 2
            wish = of_row * size + np.where(wishes[rows] >= 0, wishes[rows] + 1, 0)
            parents[rows] = assign(wish, np.maximum(of_parent, 0) * size + codes + 1, quota, rng)
            left = np.maximum(left - quota, 0)
        return parents

    def _within_capacity(
        self, name: str, key: KeyModel, rows: Rows, group: Rows, of_parent: Rows, must: Marks, rng: np.random.Generator
    ) -> tuple[Rows, Rows]:
        """Of a unique key, no more rows of a group than it has parents; the others refer to nobody, if they may."""
        room = np.bincount(of_parent[of_parent >= 0], minlength=int(group.max(initial=-1)) + 1)
        order = np.lexsort((rng.random(len(rows)), ~must[rows], group))
        rank = np.arange(len(rows)) - np.searchsorted(group[order], group[order], side="left")
        kept = np.zeros(len(rows), dtype=np.bool_)
        kept[order] = rank < room[group[order]]
        if must[rows[~kept]].any():
            raise _no_parent(name, key, int(must[rows[~kept]].sum()))
        return rows[kept], group[kept]

    def _groups(self, made: GeneratedTable, plan: KeyPlan, i: int, settled: Mapping[str, pa.Array], rows: int) -> tuple[Rows, Rows]:
        """Group numbers of the parents along key i and of some rows: equal where the settled columns agree (-1: null)."""
        parent = plan.keys[i].parent
        if not settled:
            return np.zeros(self.tables[parent].rows, np.int64), np.zeros(rows, np.int64)
        theirs, mine = joint_codes([[self._of_parent(parent, _refers(plan, i, c)), values] for c, values in settled.items()])
        distinct, small = np.unique(np.r_[theirs, mine], return_inverse=True)
        small = small.reshape(-1) - np.searchsorted(distinct, 0)
        small = np.where(np.r_[theirs, mine] < 0, -1, small)
        return small[: len(theirs)], small[len(theirs) :]

    def _completes_a_null(self, made: GeneratedTable, plan: KeyPlan, i: int) -> Marks:
        """Rows in which a parent along key i would give a value to the last column of an earlier key that refers to nobody:
        that would be an orphan."""
        table = self.model.schema.tables[made.name]
        out = np.zeros(made.rows, dtype=np.bool_)
        for e in plan.order[: plan.order.index(i)]:
            if not set(plan.keys[e].columns) & set(plan.keys[i].columns):
                continue
            complete = made.parents[e] < 0
            for c in plan.keys[e].columns:
                if c not in plan.keys[i].columns and table.column(c).nullable:
                    complete = complete & _present(self._given(made, plan, i, c))
            out |= complete
        return out

    def _given(self, made: GeneratedTable, plan: KeyPlan, i: int, column: str) -> pa.Array:
        """The values of a column as the keys before key i (or the row itself) settled them."""
        earlier = plan.order[: plan.order.index(i)]
        if column not in made.columns:
            return self._value(made, plan, column, earlier)
        if any(plan.deferred[j] and column in plan.keys[j].columns for j in earlier):
            return pc.coalesce(self._value(made, plan, column, earlier), made.columns[column])
        return made.columns[column]

    # -- unique combinations -------------------------------------------------------------------------------------------------

    def part_duplicates(self, table: TableModel, made: GeneratedTable) -> None:
        """Where key columns together are unique (a bridge's pair), no combination may come twice."""
        schema, plan = self.model.schema.tables[made.name], self._plan(made.name)
        for unique in (schema.primary_key, *schema.unique):
            if not unique or not set(unique) <= plan.columns or any(set(plan.keys[i].columns) == set(unique) for i in plan.live):
                continue
            movable = [i for i in plan.order if i in table.reference_keys and self._own_part(table, plan, i, unique)]
            if movable:
                self._swap_duplicates(table, made, plan, movable[-1], unique)
            self._refuse_duplicates(made, plan, unique)

    def _swap_duplicates(self, table: TableModel, made: GeneratedTable, plan: KeyPlan, i: int, unique: Sequence[str]) -> None:
        """Swap parents along key i, with those of the keys that it implies, between rows that agree in what it shares."""
        together = self._implied(table, plan, i)
        own = self._own_part(table, plan, i, unique)
        shared = [c for c in plan.keys[i].columns if any(c in plan.keys[j].columns for j in plan.live if j not in together)]
        value, value_of_parent = self._codes_of_both(made, plan, i, own)
        group, group_of_parent = self._codes_of_both(made, plan, i, shared)
        others = self._codes(made, plan, [c for c in unique if c not in own])
        moving = np.where((made.parents[i] >= 0) & (value >= 0), np.arange(made.rows), -1)
        spare = self._open(made.name, plan, i) & (together == [i]) & (value_of_parent >= 0)
        choice = np.r_[np.where(moving >= 0, group, -1), np.where(spare, group_of_parent, -1)]  # a row's parent, or any parent
        rng = generator(self.seed, "unique", made.name, *unique)
        label = f"{made.name}({', '.join(unique)})"
        values = np.maximum(np.r_[value, value_of_parent], 0)
        moved = without_duplicates(others, moving, values, group, rng, label, None if table.keys[i].degrees.unique else choice)
        for j in together:
            chosen = np.r_[made.parents[j], np.arange(len(spare))] if j == i else made.parents[j]
            made.parents[j] = np.where(moved >= 0, chosen[moved], made.parents[j])

    def _codes_of_both(self, made: GeneratedTable, plan: KeyPlan, i: int, columns: Sequence[str]) -> tuple[Rows, Rows]:
        """Equal numbers for rows, and for parents along key i, that agree in these columns of the key."""
        parent = plan.keys[i].parent
        if not columns:
            return np.zeros(made.rows, np.int64), np.zeros(self.tables[parent].rows, np.int64)
        mine, theirs = joint_codes([[self._value(made, plan, c, plan.live), self._of_parent(parent, _refers(plan, i, c))] for c in columns])
        return mine, theirs

    def _codes(self, made: GeneratedTable, plan: KeyPlan, columns: Sequence[str]) -> Rows:
        """Equal numbers for rows that agree in these columns of live keys."""
        if not columns:
            return np.zeros(made.rows, np.int64)
        return joint_codes([[self._value(made, plan, c, plan.live)] for c in columns])[0]

    def _refuse_duplicates(self, made: GeneratedTable, plan: KeyPlan, unique: Sequence[str]) -> None:
        code = self._codes(made, plan, unique)
        code = code[code >= 0]
        if len(np.unique(code)) < len(code):
            raise Terminal(
                f"The combination of columns in {made.name}({', '.join(unique)}) must be unique",
                value=f"{len(code) - len(np.unique(code))} rows repeat one, and the keys leave no other",
                advice="ask for fewer rows of this table or more of its parents",
            )

    def _implied(self, table: TableModel, plan: KeyPlan, i: int) -> list[int]:
        """Key i and the references all of whose columns are its own too: where it moves, they move along."""
        return [j for j in table.reference_keys if set(plan.keys[j].columns) <= set(plan.keys[i].columns)]

    def _own_part(self, table: TableModel, plan: KeyPlan, i: int, unique: Sequence[str]) -> list[str]:
        """Columns of the unique key that only key i, with the keys that it implies, gives a value to."""
        others = [j for j in plan.live if j not in self._implied(table, plan, i)]
        return [c for c in unique if c in plan.keys[i].columns and not any(c in plan.keys[j].columns for j in others)]

    def in_time(self, table: TableModel, made: GeneratedTable, sequence: Rows) -> None:
        """Siblings were learned in the order of a moment. Where that is told from a moment of another parent than their
        owner, each sequence's links are put in the order of the latter, so that the two go together."""
        for told in table.references.values():
            first = told[0]
            if first.source == "previous" or first.key == table.owner or all(r.source != "previous" for r in told):
                continue
            moment = take_or_nan(self.tables[table.keys[first.key].key.parent].values[first.column], made.parents[first.key])
            rows = np.flatnonzero(np.isfinite(moment))
            sorted_rows = rows[np.lexsort((moment[rows], sequence[rows]))]
            for i in table.reference_keys:
                made.parents[i][rows] = made.parents[i][sorted_rows]

    # -- keys that close a cycle -----------------------------------------------------------------------------------------------

    def assign_deferred(self) -> None:
        """Assign them last, when all rows are there: those first that refer to no column that another of them gives a value to."""
        waiting = [
            (table, self.tables[name], i)
            for name, table in self.model.tables.items()
            for i in self._plan(name).order
            if table.keys[i].deferred and name not in self.model.skeletons
        ]
        for name in self.model.skeletons:  # their links are all there
            self._keep_referred(self.tables[name], [])
        while waiting:
            ready = [
                at
                for at, (table, made, i) in enumerate(waiting)
                if set(table.keys[i].key.parent_columns) <= self.tables[table.keys[i].key.parent].columns.keys()
                and not any(other is made for _, other, _ in waiting[:at])
            ]
            table, made, i = waiting.pop(ready[0] if ready else 0)
            self._assign_deferred(table, made, i)
            self._part_late_duplicates(made, self._plan(made.name), i)
            self._keep_referred(made, [j for _, other, j in waiting if other is made])

    def _keep_referred(self, made: GeneratedTable, waiting: Sequence[int]) -> None:
        """Columns that others refer to are kept once no key that is still waiting can change them."""
        plan = self._plan(made.name)
        done = [i for i in plan.order if i not in waiting]
        referred = {c for _, key in self.model.schema.children_of(made.name) for c in key.parent_columns}
        changing = {c for i in waiting for c in plan.keys[i].columns}
        for c in sorted((referred & plan.columns) - changing - made.columns.keys()):
            made.columns[c] = self._value(made, plan, c, done)

    def _assign_deferred(self, table: TableModel, made: GeneratedTable, i: int) -> None:
        """Exact degrees, and within one table no cycle."""
        plan, key = self._plan(made.name), table.keys[i]
        parent = self.tables[key.key.parent]
        total = self._total(made, table, i)
        if key.key.parent == made.name and total == made.rows and total > 0:
            total -= 1  # somebody has to be at the top: the last key is null, or itself if it may not be
        made.degrees[i] = key.degrees.draw(
            degree_features(parent.tokens, parent.context, []),
            None,
            total,
            stream(self.seed, "degrees", made.name, i),
            key.key.label(made.name),
            self.temperature,
        )
        if key.key.parent == made.name and all(_refers(plan, i, c) == c for c in plan.settled[i]):
            made.parents[i] = self._forest(made, plan, key, i)
        else:
            made.parents[i] = self._assigned(made, plan, key, i, self._of_its_type(made, plan, i), np.zeros(parent.rows, np.int64))

    def _part_late_duplicates(self, made: GeneratedTable, plan: KeyPlan, i: int) -> None:
        """Where a key of one column that closes a cycle has completed unique combinations of key columns, none may come twice."""
        schema, key, label = self.model.schema.tables[made.name], plan.keys[i], plan.keys[i].label(made.name)
        done = {c for j in plan.order[: plan.order.index(i)] for c in plan.keys[j].columns}
        for unique in (schema.primary_key, *schema.unique):
            rest = set(unique) - set(key.columns)
            if len(key.columns) == 1 and rest and rest < set(unique) and rest <= done:
                (others,) = joint_codes([[self._given(made, plan, i, c)] for c in sorted(rest)])
                rng, within = generator(self.seed, "late", made.name, *unique), key.parent == made.name
                made.parents[i] = without_late_duplicates(made.parents[i], others, self.tables[key.parent].rows, within, rng, label)

    def _forest(self, made: GeneratedTable, plan: KeyPlan, key: KeyModel, i: int) -> Rows:
        """Parents of a reference to the own table. Roots refer to nobody, or to themselves as in the source."""
        rng = generator(self.seed, "deferred", made.name, i)
        settled = {c: self._given(made, plan, i, c) for c in plan.settled[i]}
        _, group = self._groups(made, plan, i, settled, made.rows)
        group = np.where(self._completes_a_null(made, plan, i), -1, group)
        sizes = np.bincount(group[group >= 0], minlength=1)
        roots = roots_of_groups(sizes, int(sizes.sum()) - int(made.degrees[i].sum()))
        degrees = fit_to_groups(made.degrees[i], group, sizes - roots, key.degrees.unique, rng)
        at = forest(degrees, group, roots, np.array(key.depths or (1.0,)), rng)
        taken = self._taken(made, plan, i)
        if type_of(self.model.schema.tables[made.name], plan.keys[i]) is not None:
            likely = np.where(taken, -2.0, self._of_its_type(made, plan, i)) + 0.5 * rng.random(made.rows)
            at = with_roots(at, np.argsort(likely, kind="stable")[: int((at < 0).sum())])
        loops = at < 0
        if not required(self.model.schema.tables[made.name], key.key):
            loops &= (rng.random(made.rows) < key.loop_share) & (group >= 0) & ~taken
        return np.where(loops, np.arange(made.rows), at)

    # -- values of key columns -------------------------------------------------------------------------------------------------

    def key_columns(self, made: GeneratedTable, deferred: bool) -> dict[str, pa.Array]:
        """The columns that come from parents, null where no key with the column refers to anybody; those of `deferred` keys
        only when they are assigned."""
        plan = self._plan(made.name)
        keys = [i for i in plan.order if deferred or not plan.deferred[i]]
        columns = {c for i in keys for c in plan.keys[i].columns} & plan.columns
        return {c: self._value(made, plan, c, keys) for c in sorted(columns)}

    def some_values(self, made: GeneratedTable, column: str, deferred: bool) -> pa.Array:
        """For every row a value of the column that some parent has: of a key that refers to nobody, a part may have a value,
        and a real one must not come out."""
        plan, target = self._plan(made.name), to_arrow(self.model.schema.tables[made.name].column(column).data_type)
        key = next(i for i in plan.order if column in plan.keys[i].columns and (deferred or not plan.deferred[i]))
        values = self._of_parent(plan.keys[key].parent, _refers(plan, key, column)).drop_null()
        if not len(values):
            return pa.nulls(made.rows, target)
        drawn = uniforms(stream(self.seed, "some value", made.name, column), np.arange(made.rows))
        return values.take(pa.array((drawn * len(values)).astype(np.int64))).cast(target)

    def _value(self, made: GeneratedTable, plan: KeyPlan, column: str, keys: Sequence[int]) -> pa.Array:
        """Values of a column from the first of the keys that has a parent in the row."""
        target = to_arrow(self.model.schema.tables[made.name].column(column).data_type)
        out = pa.nulls(made.rows, target)
        for i in reversed([i for i in keys if column in plan.keys[i].columns]):
            values, at = self._of_parent(plan.keys[i].parent, _refers(plan, i, column)), made.parents[i]
            if len(values):
                taken = values.take(pa.array(np.maximum(at, 0), mask=at < 0)).cast(target)
                out = pc.coalesce(taken, out)
        return out

    def _of_parent(self, name: str, column: str) -> pa.Array:
        return self.tables[name].columns[column]

    def _plan(self, name: str) -> KeyPlan:
        return plan_keys(self.model.schema, self.model.schema.tables[name])


def _chosen(wishes: Marks, must: Marks, may: Marks, wanted: int, rng: np.random.Generator) -> Marks:
    """Which rows refer to a parent: all that must, none that may not, `wanted` in all if that can be, by their wish."""
    rank = np.where(must, 3.0, np.where(may, 1.0 + wishes, -1.0)) + 0.5 * rng.random(len(wishes))
    count = int(np.clip(wanted, must.sum(), may.sum()))
    out = np.zeros(len(wishes), dtype=np.bool_)
    out[np.argsort(-rank, kind="stable")[:count]] = True
    return out


def _present(values: pa.Array) -> Marks:
    return np.asarray(values.is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_)


def _refers(plan: KeyPlan, i: int, column: str) -> str:
    """The parent's column that a column of key i refers to."""
    return plan.keys[i].parent_columns[plan.keys[i].columns.index(column)]


def _no_parent(name: str, key: KeyModel, rows: int) -> Terminal:
    return Terminal(
        f"Key {key.key.label(name)} must find a parent that agrees with the row's other keys",
        value=f"{rows} rows without one",
        advice=f"ask for more rows of {key.key.parent} or fewer of {name}, or let the key be nullable",
    )
