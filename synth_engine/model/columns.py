"""The columns of a table's rows: keys, what other rows depend on, what must not repeat; the rest is decoded when it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth_engine.encode.base import Draw, Floats
from synth_engine.encode.calendar import seconds_of
from synth_engine.encode.category import CategoryEncoder
from synth_engine.encode.derived import Derivation
from synth_engine.encode.relative import RelativeEncoder
from synth_engine.encode.text import TextEncoder
from synth_engine.encode.values import from_floats, to_floats
from synth_engine.errors import Terminal
from synth_engine.model.aggregates import Aggregate, over_children, values_of
from synth_engine.model.computed import compute, compute_again
from synth_engine.model.generated import GeneratedTable
from synth_engine.model.keyplan import plan_keys
from synth_engine.model.keyvalues import KeyValues
from synth_engine.model.prepared import in_units_of, is_moment
from synth_engine.model.state import Model, TableModel
from synth_engine.model.uniqueness import make_unique
from synth_engine.polymorphic import collapsed
from synth_engine.randomness import generator, stream, uniforms
from synth_engine.schema import Column, PolymorphicKey
from synth_engine.schema.types import to_arrow


class Columns:
    """Columns of the tables generated so far, `tables`; they are changed in place. `values` are those that keys take, `counts` the rows
    of every table, `key_start` the first number of keys that count."""

    def __init__(
        self,
        model: Model,
        tables: Mapping[str, GeneratedTable],
        values: KeyValues,
        counts: Mapping[str, int],
        seed: int,
        key_start: Mapping[str, int],
    ) -> None:
        self.model, self.tables, self.values, self.counts, self.seed, self.key_start = model, tables, values, counts, seed, key_start

    def materialise(self, table: TableModel, made: GeneratedTable) -> None:
        """Decode what other rows depend on: keys, moments that children count from, unique columns."""
        schema = self.model.schema.tables[made.name]
        referred = {c for t in self.model.tables.values() for k in t.keys if k.key.parent == made.name for c in k.key.parent_columns}
        uniques = [u for u in (schema.primary_key, *schema.unique) if u and any(c.column.name in u for c in table.encoder.columns)]
        needed = referred | {c for u in (schema.primary_key, *uniques) for c in u} | self._settled_by_the_row(made.name)
        needed |= {reference.type_column for reference in schema.polymorphic}
        given = self._given_by_keys(table, made, deferred=False)
        for c in table.encoder.columns:
            name = c.column.name
            if name in given:
                continue
            if is_moment(c.column) and name not in made.values:
                made.values[name] = to_floats(self.decode(table, made, name, np.arange(made.rows)), c.column.data_type)
                made.columns[name] = from_floats(made.values[name], c.column.data_type)
            elif name in needed:
                made.columns[name] = self.decode(table, made, name, np.arange(made.rows))
        self._generated_keys(table, made)
        made.columns.update({column: values for column, values in given.items() if column in needed})
        if table.ordinal is not None:
            within = [given[c] for c in table.ordinal.within]
            made.columns[table.ordinal.column] = table.ordinal.numbers(within, made.rows, schema.column(table.ordinal.column).data_type)
        self._make_referable(table, made, set(given))
        self._make_unique(table, made, [u for u in uniques if set(u) <= made.columns.keys()], given)
        compute(table, made, schema, len(self.model.hidden_sizes(made.name)), partial(self.decode, table, made))

    def make_unique_at_last(self, table: TableModel, made: GeneratedTable) -> None:
        """Unique keys with a column of a key that closes a cycle, now that it is there."""
        schema = self.model.schema.tables[made.name]
        waiting = [u for u in (schema.primary_key, *schema.unique) if u and not set(u) <= made.columns.keys()]
        if waiting:
            given = self._given_by_keys(table, made, deferred=True)
            self._make_unique(table, made, [u for u in waiting if not set(u) <= given.keys()], given)

    def sum_up(self) -> None:
        """Give parents what their children come to, and compute again what hangs on it, in their own rows and in those that repeat it; once
        more as long as that changes what children come to."""
        written = self.model.written
        summed = [name for name in reversed(list(written)) if written[name].aggregates]  # children before their parents
        repeating = [name for name, table in written.items() if any(one.key is not None for one in table.derived)] if summed else []
        for _ in range(1 + len(repeating)):
            changed = False
            for name in summed:
                for aggregate in written[name].aggregates:
                    changed |= self._sum_up(written[name], self.tables[name], aggregate)
                self._compute_again(name)
            if not changed:
                break
            for name in repeating:
                self._compute_again(name)

    def _compute_again(self, name: str) -> None:
        table, made = self.model.tables[name], self.tables[name]
        compute_again(table, made, self.model.schema.tables[name], len(self.model.hidden_sizes(name)), partial(self.decode, table, made))

    def _sum_up(self, table: TableModel, made: GeneratedTable, aggregate: Aggregate) -> bool:
        """Give the rows what their children come to; whether that changed anything."""
        theirs, children = self.model.tables[aggregate.child], self.tables[aggregate.child]

        def values(rows: NDArray[np.int64]) -> Floats:
            assert aggregate.of is not None
            return values_of(self._there(theirs, children, aggregate.of, rows), self._column(theirs, aggregate.of))

        target = self._column(table, aggregate.column)
        found = over_children(aggregate.function, values if aggregate.of else None, children.parents[aggregate.key], made.rows)
        drawn = partial(self._there, table, made, target.name, np.arange(made.rows))
        before, made.columns[target.name] = made.columns.get(target.name), aggregate.column_of(found, drawn, target.data_type)
        if target.name in made.values:
            made.values[target.name] = to_floats(made.columns[target.name], target.data_type)
            self._keep_sides(table, made, target.name)
        return before is None or not before.equals(made.columns[target.name])

    def _keep_sides(self, table: TableModel, made: GeneratedTable, moved: str) -> None:
        """What is never above a column of its row, or never below it, is drawn in to it where that has moved past it."""
        for c in table.encoder.columns:
            references = table.references.get(c.column.name, ())
            if isinstance(c.encoder, RelativeEncoder) and references and (references[0].source, references[0].column) == ("row", moved):
                name, limit = c.column.name, made.values[moved]
                past = (made.values[name] - limit) * c.encoder.sides[0] < 0
                made.values[name] = np.where(past, limit, made.values[name])
                if name in made.columns:
                    made.columns[name] = from_floats(made.values[name], c.column.data_type)

    def _column(self, table: TableModel, name: str) -> Column:
        """A column in the type that it is read in: that of what it repeats."""
        for copy in (one for one in table.derived if one.is_copy and one.column == name):
            of = table if copy.key is None else self.model.tables[table.keys[copy.key].key.parent]
            return self._column(of, copy.operands[0])
        drawn = (c.column for c in table.encoder.columns if c.column.name == name)
        return next(drawn, self.model.schema.tables[table.name].column(name))

    def whole(self, table: TableModel, made: GeneratedTable) -> dict[str, pa.Array]:
        """The columns that are there for all rows once all tables are: the others are for `decode`. Raises `Terminal` if a polymorphic
        reference cannot lead anywhere in rows where it has to."""
        given = self._given_by_keys(table, made, deferred=True)
        for reference in self.model.twin.tables[made.name].polymorphic:
            given |= self._collapsed(table, made, reference, given)
        return {**made.columns, **given}

    def _collapsed(
        self, table: TableModel, made: GeneratedTable, reference: PolymorphicKey, foreign: Mapping[str, pa.Array]
    ) -> dict[str, pa.Array]:
        """Type and id of a polymorphic reference. Raises `Terminal` if the id must not be null and would be."""
        column, schema = reference.type_column, self.model.twin.tables[made.name]
        encoder = next(c.encoder for c in table.encoder.columns if c.column.name == column)
        others = encoder.values if isinstance(encoder, CategoryEncoder) else pa.array([], pa.string())
        found = collapsed(schema, reference, foreign, made.columns[column], table.types_alone[column], others)
        lacking = found[reference.id_column].null_count
        if lacking and not schema.column(reference.id_column).nullable:
            raise Terminal(
                f"Every row must refer to somebody along {reference.label(made.name)}",
                value=f"{lacking} rows do not",
                advice=f"ask for more rows of {', '.join(reference.tables)}, or fewer of {made.name}",
            )
        return found

    def _given_by_keys(self, table: TableModel, made: GeneratedTable, deferred: bool) -> dict[str, pa.Array]:
        """The columns of keys: the parents' values, or some where the row refers to nobody but has one."""
        given = self.values.key_columns(made, deferred)
        schema = self.model.schema.tables[made.name]
        broken = {k.key.columns[0]: i for i, k in enumerate(table.keys) if k.orphans is not None and k.key.columns[0] in given}
        names = [c.column.name for c in table.encoder.columns if c.column.name in given and c.column.name not in broken]
        loose = [schema.column(name) for name in names]
        for column in loose:
            some = self.values.some_values(made, column.name, deferred)
            there = self._has_value(table, made, column)
            given[column.name] = pc.if_else(there, pc.coalesce(given[column.name], some), given[column.name])
        for key, at in zip(table.keys, made.parents, strict=True):
            columns = [c for c in loose if c.name in key.key.columns and c.nullable]
            if columns and len(key.key.columns) > 1 and not key.deferred:
                complete = np.all([given[c].is_valid().to_numpy(zero_copy_only=False) for c in key.key.columns], axis=0) & (at < 0)
                chosen = min(reversed(columns), key=lambda c: sum(c.name in other.key.columns for other in table.keys)).name
                given[chosen] = pc.if_else(pa.array(complete), pa.scalar(None, given[chosen].type), given[chosen])
        present = self.model.skeletons[made.name].present if made.name in self.model.skeletons else {}
        given |= {column: self._with_orphans(table, made, i, given[column]) for column, i in broken.items()}
        for name, rows in ((name, rows) for name, rows in present.items() if name in given and name not in broken):
            given[name] = pc.if_else(pa.array(rows), _filled(given[name], False), pa.scalar(None, given[name].type))
        return given

    def decode(self, table: TableModel, made: GeneratedTable, name: str, rows: NDArray[np.int64]) -> pa.Array:
        """The values of a column that keys do not give, in these rows."""
        for one in (one for one in table.derived if one.is_restated and one.column == name):
            return self._repeated(table, made, one, rows) if one.is_copy else self._of_moments(table, made, one, rows)
        c = next(c for c in table.encoder.columns if c.column.name == name)
        if name in made.values:
            return from_floats(made.values[name][rows], c.column.data_type)
        if c.encoder is None or isinstance(c.encoder, RelativeEncoder):
            return pa.nulls(len(rows), to_arrow(c.column.data_type))
        hidden, rows = len(self.model.hidden_sizes(made.name)), made.taken[name][rows] if name in made.taken else rows
        key = stream(self.seed, "column", made.name, name)
        draw = Draw(rows, made.rows, lambda lane: uniforms(key, rows, lane))
        return c.encoder.decode(made.tokens[rows][:, [hidden + s for s in c.slots]], draw)

    def _there(self, table: TableModel, made: GeneratedTable, name: str, rows: NDArray[np.int64]) -> pa.Array:
        """The values of a column in these rows, whether they are there already or not."""
        return made.columns[name].take(pa.array(rows)) if name in made.columns else self.decode(table, made, name, rows)

    def _repeated(self, table: TableModel, made: GeneratedTable, copy: Derivation, rows: NDArray[np.int64]) -> pa.Array:
        """The values of a column that repeats another of the row, or of a parent."""
        if copy.key is None:
            return self._there(table, made, copy.operands[0], rows)
        at, parent = made.parents[copy.key][rows], table.keys[copy.key].key.parent
        if (at < 0).all():
            return pa.nulls(len(at), to_arrow(self.model.schema.tables[parent].column(copy.operands[0]).data_type))
        values = self._there(self.model.tables[parent], self.tables[parent], copy.operands[0], np.maximum(at, 0))
        return pc.if_else(pa.array(at >= 0), values, pa.scalar(None, values.type))

    def _of_moments(self, table: TableModel, made: GeneratedTable, one: Derivation, rows: NDArray[np.int64]) -> pa.Array:
        """The values of a column that is told of moments of the row."""
        operands = [seconds_of(self._there(table, made, name, rows), self._column(table, name).data_type) for name in one.operands]
        return one.column_of(operands, self.model.schema.tables[made.name].column(one.column).data_type)

    def order(self, made: GeneratedTable) -> NDArray[np.int64] | None:
        """The order in which the rows are numbered and written; None where it is the one they were drawn in. Rows that stand for
        the source's must not be told by their place."""
        if made.name not in self.model.skeletons:
            return None
        return generator(self.seed, "order", made.name).permutation(made.rows)

    def _make_unique(
        self, table: TableModel, made: GeneratedTable, uniques: Sequence[tuple[str, ...]], given: Mapping[str, pa.Array]
    ) -> None:
        """Change modelled columns of unique keys until nothing repeats; what keys have `given` stays."""
        schema = self.model.schema.tables[made.name]
        for unique in uniques:
            modelled = [
                c.column
                for c in table.encoder.columns
                if c.column.name in unique and c.column.name not in given and not (isinstance(c.encoder, TextEncoder) and c.encoder.exact)
            ]
            columns = {c: given[c] if c in given else made.columns[c] for c in unique}
            make_unique(columns, unique, modelled, schema, made.rows)
            for changed in modelled:
                made.columns[changed.name] = columns[changed.name]
                if changed.name in made.values:
                    before = made.values[changed.name]
                    made.values[changed.name] = to_floats(made.columns[changed.name], changed.data_type)
                    self._move_along(table, made, changed, before, frozenset(c for u in (schema.primary_key, *schema.unique) for c in u))

    def _move_along(self, table: TableModel, made: GeneratedTable, moved: Column, before: Floats, fixed: frozenset[str]) -> None:
        """Columns told from one of their row that has moved move as far, and those that it was told from as far as their order takes,
        but for those that are `fixed`: what ends later must not end earlier for it."""
        now, fixed = made.values[moved.name], fixed | {moved.name}
        for name, references in table.references.items():
            if name not in fixed and any(r.source == "row" and r.column == moved.name for r in references):
                target = table.encoder.column(name)
                by = in_units_of(now, moved, target) - in_units_of(before, moved, target)
                self._move(table, made, target, made.values[name] + np.nan_to_num(by), fixed)
        encoder = next(c.encoder for c in table.encoder.columns if c.column.name == moved.name)
        if isinstance(encoder, RelativeEncoder):
            for side, reference in zip(encoder.sides, table.references[moved.name], strict=True):
                if side and reference.source == "row" and reference.column not in fixed:
                    source = table.encoder.column(reference.column)
                    values, least = made.values[source.name], in_units_of(now, moved, source)
                    self._move(table, made, source, np.where((least - values) * side < 0, least, values), fixed)

    def _move(self, table: TableModel, made: GeneratedTable, column: Column, values: Floats, fixed: frozenset[str]) -> None:
        """Give a column these values, and take along those of its row that are told from it."""
        before = made.values[column.name]
        if not np.array_equal(before, values, equal_nan=True):
            made.values[column.name] = values
            if column.name in made.columns:
                made.columns[column.name] = from_floats(values, column.data_type)
            self._move_along(table, made, column, before, fixed)

    def _make_referable(self, table: TableModel, made: GeneratedTable, given: set[str]) -> None:
        """Where a key that others refer to may be null, at least as many rows must have one as the others need; with the
        source's links, those rows."""
        own = [c.column.name for c in table.encoder.columns if c.column.name in made.columns and c.column.name not in given]
        for columns, needed in self._needed_parents(made.name).items():
            if not set(columns) <= made.columns.keys():
                continue  # a key that closes a cycle gives the rest
            there = {c: np.asarray(made.columns[c].is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_) for c in columns}
            complete = np.all(list(there.values()), axis=0)
            lacking = np.flatnonzero(~complete & np.all([there[c] for c in columns if c not in own] or [~complete], axis=0))
            filled = np.zeros(made.rows, dtype=np.bool_)
            if made.name in self.model.skeletons:  # those that the source's links lead to, no others
                filled[np.intersect1d(lacking, self._referred(made.name, columns))] = True
            else:
                filled[lacking[: max(needed - int(complete.sum()), 0)]] = True
            for c in set(columns) & set(own) if filled.any() else ():
                values = pc.if_else(pa.array(filled), _filled(made.columns[c], nullable=False), made.columns[c])
                made.columns[c] = values
                if c in made.values:
                    made.values[c] = to_floats(values, self.model.schema.tables[made.name].column(c).data_type)

    def _referred(self, name: str, columns: tuple[str, ...]) -> NDArray[np.int64]:
        """The rows of a table that the source's links lead to by these columns."""
        found = [
            links
            for child, skeleton in self.model.skeletons.items()
            for key, links in zip(self.model.tables[child].keys, skeleton.parents, strict=True)
            if key.key.parent == name and key.key.parent_columns == columns
        ]
        return np.unique(np.concatenate([*found, np.zeros(0, np.int64)]))

    def _needed_parents(self, name: str) -> dict[tuple[str, ...], int]:
        """How many rows of a table have to be complete in each of the keys that others refer to."""
        needed: dict[tuple[str, ...], int] = {}
        for child, table in self.model.tables.items():
            for key in table.keys:
                if key.key.parent == name:
                    rows, columns = round(self.counts[child] * (1 - key.null_share)), key.key.parent_columns
                    referred = min(rows, max(1, round(key.degrees.referred_share * self.counts[name])))
                    needed[columns] = max(needed.get(columns, 0), rows if key.degrees.unique else referred)
        return needed

    def _settled_by_the_row(self, name: str) -> set[str]:
        """Columns that keys assigned later have to agree with."""
        plan = plan_keys(self.model.schema, self.model.schema.tables[name])
        return {c for settled in plan.settled for c in settled}

    def _with_orphans(self, table: TableModel, made: GeneratedTable, i: int, given: pa.Array) -> pa.Array:
        """The values along key i, with those of orphans in as many of the rows that refer to nobody as should be, or in all of them if
        none may be null. Which, the model has drawn with the row, or the source's graph says."""
        key, orphans, twin = table.keys[i].key, table.keys[i].orphans, self.model.twin.tables[made.name]
        assert orphans is not None
        column, rng = key.columns[0], generator(self.seed, "orphans", made.name, i)
        free = made.parents[i] < 0
        if made.name in self.model.skeletons:
            chosen = np.flatnonzero(free & self.model.skeletons[made.name].present.get(column, np.False_))
        else:
            drawn = any(c.column.name == column for c in table.encoder.columns)
            wish = pc.fill_null(self.decode(table, made, column, np.arange(made.rows)), False) if drawn else pa.array(free)
            rank = np.where(free, -1.0 * wish.to_numpy(zero_copy_only=False), 1.0) + 0.5 * rng.random(made.rows)
            required = not twin.column(column).nullable
            wanted = int(free.sum()) if required else min(round(made.rows * orphans.share), int(free.sum()))
            chosen = np.sort(np.argsort(rank, kind="stable")[:wanted])
        unique = any(column in key for key in (twin.primary_key, *twin.unique))
        taken = self.tables[key.parent].columns[key.parent_columns[0]]
        seed, start = stream(self.seed, "orphan keys", made.name, i), self.key_start.get(key.parent)
        values = orphans.values(len(chosen), unique, taken, seed, start, key.label(made.name)).cast(given.type)
        place = np.full(made.rows, -1, np.int64)
        place[chosen] = np.arange(len(chosen))
        return pc.coalesce(given, values.take(pa.array(np.maximum(place, 0), mask=place < 0)))

    def _has_value(self, table: TableModel, made: GeneratedTable, column: Column) -> pa.Array:
        """Whether a column of a key has a value in the rows that refer to nobody along it."""
        if not column.nullable:
            return pa.array(np.ones(made.rows, np.bool_))
        drawn = self.decode(table, made, column.name, np.arange(made.rows))
        encoder = next(c.encoder for c in table.encoder.columns if c.column.name == column.name)
        usual = bool(encoder.values[0].as_py()) if isinstance(encoder, CategoryEncoder) and len(encoder.values) else True
        return pc.fill_null(drawn, usual)

    def _generated_keys(self, table: TableModel, made: GeneratedTable) -> None:
        for column, keys in table.key_generators.items():
            values = keys.generate(made.rows, stream(self.seed, "key", made.name, column), self.key_start.get(made.name))
            order = self.order(made)
            if table.keys_follow is not None and made.rows:
                order = np.argsort(np.nan_to_num(made.values[table.keys_follow], nan=np.inf), kind="stable")
            if order is not None:
                place = np.empty(made.rows, dtype=np.int64)
                place[order] = np.arange(made.rows)
                values = values.take(pa.array(place))
            made.columns[column] = values


def _filled(values: pa.Array, nullable: bool) -> pa.Array:
    """The values; where none may be missing, those that are are filled with others of the column."""
    if nullable or not values.null_count or values.null_count == len(values):
        return values
    known, missing = values.drop_null(), np.cumsum(values.is_null().to_numpy(zero_copy_only=False)) - 1
    return pc.if_else(values.is_valid(), values, known.take(pa.array(np.maximum(missing, 0) % len(known))))
