"""Which parents the rows of a table refer to: degrees drawn, the owner's rows laid out, all other keys assigned in turn
so that keys that share columns agree in every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth_engine.errors import Terminal
from synth_engine.model.combinations import Combinations
from synth_engine.model.constants import first_along
from synth_engine.model.generated import GeneratedTable
from synth_engine.model.keyplan import KeyPlan, optional_columns, required
from synth_engine.model.keyvalues import KeyValues, Marks, Rows, groups, present
from synth_engine.model.learning import degree_features, link_codes, own_code
from synth_engine.model.links import NONE, assign, assign_groups, capped, fit_to_groups, forest, roots_of_groups, spread, with_roots
from synth_engine.model.openings import Openings
from synth_engine.model.prepared import take_or_nan
from synth_engine.model.state import KeyModel, Model, TableModel
from synth_engine.polymorphic import alternatives, is_of_type, type_of
from synth_engine.randomness import generator, stream


@dataclass(frozen=True)
class _Choice:
    """What some rows can choose from along a key: candidates, each of a `parent`; a row of a group gets one of that group (-1:
    none may). Of some, each candidate serves `once`."""

    parent: Rows
    of_candidate: Rows
    of_row: Rows
    once: bool

    def of_those(self, rows: Marks) -> _Choice:
        return replace(self, of_row=self.of_row[rows])


class Linking:
    """Links of the tables generated so far, `tables`; they are changed in place."""

    def __init__(self, model: Model, tables: Mapping[str, GeneratedTable], seed: int, temperature: float = 1.0) -> None:
        self.model, self.tables, self.seed, self.temperature = model, tables, seed, temperature
        self.values = KeyValues(model.schema, tables, seed)
        self.openings = Openings(self.values)

    # -- degrees and owner -----------------------------------------------------------------------------------------------

    def draw_degrees(self, table: TableModel, made: GeneratedTable) -> None:
        """Draw the degrees of all live keys; parents that no row can refer to get none."""
        plan = self.values.plan(made.name)
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
            most = self.openings.most(made.name, plan, i)
            made.degrees[i] = drawn if most is None else capped(drawn, np.where(self.openings.open(made.name, plan, i), most, 0))

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
        open_ = self.openings.open(name, plan, i)
        if not (degrees[~open_] > 0).any():
            return degrees
        if not open_.any():
            raise _no_parent(name, key, int(degrees.sum()))
        wanted, rng = np.array([degrees.sum()]), generator(self.seed, "open", name, i)
        closed, free = np.flatnonzero(~open_ & (degrees > 0)), rng.permutation(np.flatnonzero(open_ & (degrees == 0)))
        closed, free = closed[: len(free)], free[: len(closed)]
        degrees = degrees.copy()  # childless parents take over whole, so that as many have children as before
        degrees[free], degrees[closed] = degrees[closed], 0
        fitted = fit_to_groups(degrees, np.where(open_, 0, -1), wanted, key.degrees.unique, rng)
        lacking = int(degrees.sum() - fitted.sum())
        if lacking and required(self.model.schema.tables[name], key.key):
            raise _no_parent(name, key, lacking)
        return fitted

    # -- references --------------------------------------------------------------------------------------------------------

    def assign_references(self, table: TableModel, made: GeneratedTable, wished: NDArray[np.int32] | None) -> None:
        """Assign the live keys other than the owner; `wished` holds the link tokens of each of `table.reference_keys`. Keys that lead where
        others do follow them."""
        plan = self.values.plan(made.name)
        ends = np.cumsum([len(table.keys[i].link_sizes) for i in table.reference_keys])
        drawn = {} if wished is None else dict(zip(table.reference_keys, np.split(wished, ends[:-1], axis=1), strict=True))
        for i in plan.order:
            if i in table.reference_keys and not table.keys[i].settled_by:
                codes, wishes = self._wishes(made, table.keys[i], i, drawn.get(i))
                made.parents[i] = self._assigned(made, plan, table.keys[i], i, wishes, codes)
        for i, by in table.settled_keys.items():
            codes, wishes = self._wishes(made, table.keys[i], i, drawn.get(i))
            made.parents[i] = self._settled(made, table.keys[i], i, by, wishes, codes)
        self._follow_paths(table, made)

    def _follow_paths(self, table: TableModel, made: GeneratedTable) -> None:
        """Keys that lead where others do lead there."""
        for path in (path for path in self.model.paths if path.child == made.name):
            at = made.parents[path.by]
            there = self.tables[table.keys[path.by].key.parent].parents[path.onward]
            made.parents[path.direct] = np.where(at >= 0, there[np.maximum(at, 0)] if len(there) else -1, made.parents[path.direct])

    def _settled(self, made: GeneratedTable, key: KeyModel, i: int, by: Sequence[int], wishes: Rows, codes: Rows) -> Rows:
        """Parents of all rows along key i, the same for all rows of one parent along the first of the keys `by` that leads anywhere."""
        leads, group, sizes = np.unique(first_along(made.parents, by), return_inverse=True, return_counts=True)
        found = assign_groups(wishes[leads], sizes, codes, made.degrees[i], generator(self.seed, "assign", made.name, i))
        lacking = int(sizes[found < 0].sum())
        if lacking and required(self.model.schema.tables[made.name], key.key):
            raise _no_parent(made.name, key, lacking)
        return found[group.reshape(-1)]

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
        closing = () if key.degrees.unique else plan.closing[i]
        settled = sorted(plan.settled[i].union(*(plan.keys[j].columns for j in closing)) - (set(key.key.columns) - plan.settled[i]))
        known = {c: self.values.settled(made, plan, i, c) for c in settled}
        there = np.stack([present(known[c]) for c in settled]) if settled else np.ones((0, made.rows), np.bool_)
        pattern = (1 << np.arange(len(settled))) @ there.astype(np.int64)  # which of them are there, as bits
        choices: dict[int, _Choice] = {}
        has_parent = np.ones(made.rows, dtype=np.bool_)
        open_ = self.openings.open(made.name, plan, i)
        for p in sorted(np.unique(pattern).tolist(), key=lambda p: -bin(p).count("1")):
            rows = np.flatnonzero(pattern == p)
            columns = {c for at, c in enumerate(settled) if there[at, rows[0]]}
            rings = [j for j in closing if columns.issuperset(set(plan.keys[j].columns).intersection(settled))]
            columns &= plan.settled[i].union(*(plan.keys[j].columns for j in rings))
            found = self.openings.candidates(made.name, plan, i, rings)
            mine = {c: known[c].take(pa.array(rows)) for c in sorted(columns)}
            of_candidate, of_row = groups(found.columns, mine, len(found.parent), len(rows))
            of_candidate = np.where(open_[found.parent], of_candidate, -1)
            whole = rings and any(columns.union(key.key.columns) == set(u) for u in (table.primary_key, *table.unique))
            choices[p] = _Choice(found.parent, of_candidate, of_row, bool(whole))
            has_parent[rows] = np.isin(of_row, of_candidate[of_candidate >= 0])
        optional = optional_columns(table, key.key)
        must = np.full(made.rows, optional <= plan.settled[i])
        for at, column in enumerate(settled):
            if column in optional:
                must = must & there[at]
        if (must & ~has_parent).any():
            raise _no_parent(made.name, key, int((must & ~has_parent).sum()))
        may: Marks = must | (has_parent & ~self.values.completes_a_null(made, plan, i) & ~self._taken(made, plan, i))
        refers = _chosen(wishes != NONE, must, may, int(made.degrees[i].sum()), rng)
        parents, left = np.full(made.rows, -1, dtype=np.int64), made.degrees[i]
        for p, choice in choices.items():
            rows = np.flatnonzero(pattern == p)
            chosen = choice.of_those(refers[rows])
            rows = rows[refers[rows]]
            if key.degrees.unique:
                free = ~np.isin(choice.parent, parents)  # each serves once
                chosen = replace(chosen, of_candidate=np.where(free, chosen.of_candidate, -1))
                rows, of_row = self._within_capacity(made.name, key, rows, chosen.of_row, chosen.of_candidate, must, rng)
                chosen = replace(chosen, of_row=of_row)
            parents[rows], used = self._dealt(key, chosen, left, wishes[rows], codes, rng)
            if (parents[rows] < 0).any():
                raise _no_parent(made.name, key, int((parents[rows] < 0).sum()))
            left = np.maximum(left - used, 0)
        return parents

    def _dealt(self, key: KeyModel, choice: _Choice, left: Rows, wishes: Rows, codes: Rows, rng: np.random.Generator) -> tuple[Rows, Rows]:
        """The parents of rows that agree in which columns are settled, and how many of them each parent got."""
        wanted = np.bincount(choice.of_row, minlength=int(choice.of_candidate.max(initial=-1)) + 1)
        several = len(np.unique(choice.parent)) < len(choice.parent)
        have = spread(left, choice.parent, choice.of_candidate, wanted) if several else left[choice.parent]
        quota = fit_to_groups(have, choice.of_candidate, wanted, key.degrees.unique or choice.once, rng)
        size = int(max(codes.max(initial=0), wishes.max(initial=0))) + 2
        wish = choice.of_row * size + np.where(wishes >= 0, wishes + 1, 0)
        at = assign(wish, np.maximum(choice.of_candidate, 0) * size + codes[choice.parent] + 1, quota, rng)
        parents = np.where(at >= 0, choice.parent[at], -1) if len(choice.parent) else at
        return parents, np.bincount(choice.parent, quota, minlength=len(left)).astype(np.int64)

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

    def part_duplicates(self, table: TableModel, made: GeneratedTable) -> None:
        """Where key columns together are unique (a bridge's pair), no combination may come twice."""
        Combinations(self.values, self.openings).part_duplicates(table, made)
        for i, by in table.settled_keys.items():  # rows may have changed places along the key that settles it, or that a path goes by
            made.parents[i] = made.parents[i][first_along(made.parents, by)]
        self._follow_paths(table, made)

    def in_time(self, table: TableModel, made: GeneratedTable, sequence: Rows) -> None:
        """Siblings were learned in the order of a moment. Where that is told from a moment of another parent than their
        owner, each sequence's links are put in the order of the latter, so that the two go together."""
        for told in table.references.values():
            if not told or told[0].source != "parent" or told[0].key == table.owner or all(r.source != "previous" for r in told):
                continue
            first = told[0]
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
            for i in self.values.plan(name).order
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
            Combinations(self.values, self.openings).part_late_duplicates(made, i)
            self._keep_referred(made, [j for _, other, j in waiting if other is made])

    def _keep_referred(self, made: GeneratedTable, waiting: Sequence[int]) -> None:
        """Columns that others refer to are kept once no key that is still waiting can change them."""
        plan = self.values.plan(made.name)
        done = [i for i in plan.order if i not in waiting]
        referred = {c for _, key in self.model.schema.children_of(made.name) for c in key.parent_columns}
        changing = {c for i in waiting for c in plan.keys[i].columns}
        for c in sorted((referred & plan.columns) - changing - made.columns.keys()):
            made.columns[c] = self.values.of_row(made, plan, c, done)

    def _assign_deferred(self, table: TableModel, made: GeneratedTable, i: int) -> None:
        """Exact degrees, and within one table no cycle."""
        plan, key = self.values.plan(made.name), table.keys[i]
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
        if key.key.parent == made.name and all(plan.refers_to(i, c) == c for c in plan.settled[i]):
            made.parents[i] = self._forest(made, plan, key, i)
        else:
            made.parents[i] = self._assigned(made, plan, key, i, self._of_its_type(made, plan, i), np.zeros(parent.rows, np.int64))

    def _forest(self, made: GeneratedTable, plan: KeyPlan, key: KeyModel, i: int) -> Rows:
        """Parents of a reference to the own table. Roots refer to nobody, or to themselves as in the source."""
        rng = generator(self.seed, "deferred", made.name, i)
        settled = {c: self.values.settled(made, plan, i, c) for c in sorted(plan.settled[i])}
        _, group = groups(settled, settled, made.rows, made.rows)
        group = np.where(self.values.completes_a_null(made, plan, i), -1, group)
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
            if key.degrees.unique:  # whom another row refers to cannot refer to himself as well
                loops &= np.bincount(at[at >= 0], minlength=made.rows) == 0
        return np.where(loops, np.arange(made.rows), at)


def _chosen(wishes: Marks, must: Marks, may: Marks, wanted: int, rng: np.random.Generator) -> Marks:
    """Which rows refer to a parent: all that must, none that may not, `wanted` in all if that can be, by their wish."""
    rank = np.where(must, 3.0, np.where(may, 1.0 + wishes, -1.0)) + 0.5 * rng.random(len(wishes))
    count = int(np.clip(wanted, must.sum(), may.sum()))
    out = np.zeros(len(wishes), dtype=np.bool_)
    out[np.argsort(-rank, kind="stable")[:count]] = True
    return out


def _no_parent(name: str, key: KeyModel, rows: int) -> Terminal:
    return Terminal(
        f"Key {key.key.label(name)} must find a parent that agrees with the row's other keys",
        value=f"{rows} rows without one",
        advice=f"ask for more rows of {key.key.parent} or fewer of {name}, or let the key be nullable",
    )
