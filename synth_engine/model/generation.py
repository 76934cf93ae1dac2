"""Generating a schema from a model: parents first; for each table the number of rows, their degrees and links, then their columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth_engine.encode.base import Draw, Floats
from synth_engine.encode.category import CategoryEncoder
from synth_engine.encode.relative import RelativeEncoder
from synth_engine.encode.text import TextEncoder
from synth_engine.encode.values import from_floats, to_floats
from synth_engine.errors import ConfigurationError, Terminal
from synth_engine.model.capacity import require_parents
from synth_engine.model.context import Context
from synth_engine.model.devices import device_of
from synth_engine.model.generated import GeneratedTable
from synth_engine.model.kept import as_delivered, check_kept, kept_rows, prepare_kept
from synth_engine.model.keyplan import plan_keys
from synth_engine.model.learning import owner_context
from synth_engine.model.linking import Linking
from synth_engine.model.preparation import _is_moment, in_units_of, take_or_nan
from synth_engine.model.sampling import RelativeColumn, Request, SameRow, sample
from synth_engine.model.state import Model, TableModel, context_of
from synth_engine.model.uniqueness import make_unique
from synth_engine.polymorphic import collapsed
from synth_engine.progress import Advance, Listener, ignore
from synth_engine.randomness import generator, stream, uniforms
from synth_engine.schema import Column, PolymorphicKey
from synth_engine.schema.checks import links_that_are_given, require_memory, rows_that_are_given
from synth_engine.schema.types import arrow_schema, to_arrow


def row_counts(model: Model, requested: Mapping[str, int]) -> dict[str, int]:
    """Rows of every table: as requested, else the source's number scaled as its owner (or its parents) are.

    Raises `ConfigurationError` for unknown tables and for those whose rows cannot be chosen, all at once.
    """
    unknown = [
        f"rows.{name}: there is no such table. Next step: name one of {', '.join(model.tables)}"
        for name in requested
        if name not in model.tables
    ]
    unknown += [
        f"rows.{name}: a number of rows must be an integer of 0 or more. Found: {rows!r}"
        for name, rows in requested.items()
        if not isinstance(rows, int | np.integer) or rows < 0
    ]
    unknown += rows_that_are_given(requested, model.kept, model.structure)
    if unknown:
        raise ConfigurationError(unknown)
    counts: dict[str, int] = {}
    for name, table in model.tables.items():
        if name in model.skeletons:
            counts[name] = table.rows
            continue
        deciding = [table.owner] if table.owner is not None else table.live_keys
        ratios = [counts[p] / model.tables[p].rows for i in deciding if model.tables[p := table.keys[i].key.parent].rows]
        counts[name] = requested.get(name, round(table.rows * float(np.mean(ratios)) if ratios else table.rows))
    return counts


def require_counting_keys(model: Model, key_start: Mapping[str, int]) -> None:
    """Raise `ConfigurationError` with every table that is to start at a number and whose key does not count."""
    unknown = [
        f"key_start.{name}: there is no such table. Next step: name one of {', '.join(model.tables)}"
        for name in key_start
        if name not in model.tables
    ]
    others = [
        f"key_start.{name}: only a key of whole numbers, or of strings that number the rows, can start at a number. Next step: remove it; "
        "keys of other forms differ from those of another run if the seed does"
        for name in key_start
        if name in model.tables and not any(keys.counts for keys in model.tables[name].key_generators.values())
    ]
    unreadable = [
        f"key_start.{name}: a key must start at an integer. Found: {start!r}"
        for name, start in key_start.items()
        if not isinstance(start, int | np.integer)
    ]
    if unknown or others or unreadable:
        raise ConfigurationError([*unknown, *others, *unreadable])


class Generation:
    """Draws all tables of a model. `run` does the structure and the rows; `batches` then writes a table out.

    `kept` are the real rows of the tables that are to be delivered as they are; `temperature` says how unevenly children are
    spread (see `config.Links`).
    """

    def __init__(
        self,
        model: Model,
        rows: Mapping[str, int],
        seed: int,
        device: str = "auto",
        listener: Listener = ignore,
        *,
        key_start: Mapping[str, int] | None = None,
        kept: Mapping[str, pa.Table] | None = None,
        temperature: float = 1.0,
    ) -> None:
        self.model, self.seed, self.listener = model, seed, listener
        self.device = device_of("cpu" if device == "cpu" else "auto")  # a model that took a GPU to train is drawn from anywhere
        self.counts = row_counts(model, rows)
        require_parents(model, self.counts)
        require_counting_keys(model, key_start or {})
        self.key_start = {name: int(start) for name, start in (key_start or {}).items()}
        require_memory(model.schema, self.counts)
        if faults := links_that_are_given(temperature, model.structure):
            raise ConfigurationError(faults)
        check_kept(model, kept or {})
        self.delivered = as_delivered(model.twin, kept or {})
        self.prepared = prepare_kept(model, self.delivered) if self.delivered else {}
        self.tables: dict[str, GeneratedTable] = {}
        self.linking = Linking(model, self.tables, seed, temperature)

    def run(self) -> Generation:
        """Generate all tables in memory as tokens. Raises `ConfigurationError` if a column's type cannot hold so many rows."""
        self.model.require_room(self.counts)
        try:
            for name in self.model.tables:
                if name in self.model.kept:
                    self._keep(name)
                else:
                    self._table(name)
            self.linking.assign_deferred()
            for name, table in self.model.tables.items():
                if name not in self.model.kept:
                    self._make_unique_at_last(table, self.tables[name])
        except MemoryError:
            raise Terminal(
                "All tables must fit in memory while they are generated",
                value=f"it did not suffice for {', '.join(f'{rows:,} rows of {name}' for name, rows in self.counts.items())}",
                advice="ask for fewer rows, or generate on a machine with more memory",
            ) from None
        return self

    # -- one table ---------------------------------------------------------------------------------------------------

    def _keep(self, name: str) -> None:
        made = kept_rows(self.model, name, self.prepared)
        self.tables[name] = made
        made.context = self._context(self.model.tables[name], made)

    def _table(self, name: str) -> None:
        table, rows = self.model.tables[name], self.counts[name]
        made = GeneratedTable(name, rows, np.zeros((rows, 0), np.int32), Context(rows), [np.full(rows, -1, np.int64) for _ in table.keys])
        self.tables[name] = made
        starts, lengths = self._linked(table, made)
        made.context = self._context(table, made)
        self._rows(table, made, starts, lengths)
        self._materialise(table, made)

    def _linked(self, table: TableModel, made: GeneratedTable) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
        """Link the rows, as the source's are or by drawing; returns the sequences' first rows and lengths."""
        if made.name in self.model.skeletons:
            made.parents = self.model.skeletons[made.name].parents
            return (None, None) if table.owner is None else self.model.skeletons[made.name].sequences(table.owner)
        self.linking.draw_degrees(table, made)
        starts, lengths = self.linking.lay_out(table, made)
        self.linking.assign_references(table, made, self._wished(table, made, starts, lengths))
        if starts is not None and lengths is not None:
            self.linking.in_time(table, made, np.repeat(starts, lengths))
        self.linking.part_duplicates(table, made)
        return starts, lengths

    def _context(self, table: TableModel, made: GeneratedTable) -> Context:
        parents = {i: made.parents[i] for i in table.live_keys}
        return context_of(self.model, made.name, parents, self._tokens(), self._contexts(), made.rows)

    def _wished(
        self, table: TableModel, made: GeneratedTable, starts: NDArray[np.int64] | None, lengths: NDArray[np.int64] | None
    ) -> NDArray[np.int32] | None:
        """For each row the codes of the parents that the link network has it wish for."""
        if table.link_network is None:
            return None
        owner_parents = np.full(made.rows, -1, np.int64) if table.owner is None else made.parents[table.owner]
        context = owner_context(self.model, made.name, owner_parents, self._tokens())
        request = Request(made.rows, context, starts, lengths, (), stream(self.seed, "links", made.name), spread_first=not context.width)
        return sample(table.link_network, self._shaped(table.sequential, request), self.device, self._advance(f"{made.name} links"))

    def _rows(self, table: TableModel, made: GeneratedTable, starts: NDArray[np.int64] | None, lengths: NDArray[np.int64] | None) -> None:
        if table.row_network is None:
            made.tokens = np.zeros((made.rows, len(self.model.slot_sizes(made.name))), np.int32)
            return
        hidden = len(self.model.hidden_sizes(made.name))
        relative = [
            RelativeColumn(
                c.column.name,
                [hidden + s for s in c.slots],
                c.encoder,
                [self._reference(table, made, c.column.name, j) for j in range(len(table.references[c.column.name]))],
            )
            for c in table.encoder.columns
            if isinstance(c.encoder, RelativeEncoder)
        ]
        request = Request(
            made.rows, made.context, starts, lengths, relative, stream(self.seed, "rows", made.name), spread_first=not table.live_keys
        )
        request.given = self._dealt(table, made)
        request.never_null = frozenset(hidden + slot for slot in table.encoder.never_null)
        request.empty_after = {hidden + slot: hidden + first for slot, first in table.encoder.empty_after.items()}
        made.tokens = sample(table.row_network, self._shaped(table.sequential, request), self.device, self._advance(made.name))
        made.values = {c.name: c.values for c in relative}

    def _shaped(self, sequential: bool, request: Request) -> Request:
        """Without siblings to learn from, rows are independent."""
        if sequential:
            return request
        return replace(request, starts=None, lengths=None)

    def _dealt(self, table: TableModel, made: GeneratedTable) -> NDArray[np.int32] | None:
        """The hidden tokens that rows have because of their place in the source's graph; else a reference table's in random
        order, evenly thinned or repeated to the rows asked for."""
        if made.name in self.model.skeletons:
            return self.model.skeletons[made.name].hidden
        if table.hidden_rows is None or not len(table.hidden_rows):
            return None
        real = table.hidden_rows[np.lexsort(table.hidden_rows.T[::-1])]
        chosen = real[((np.arange(made.rows) + 0.5) * len(real) / max(made.rows, 1)).astype(np.int64)]
        return chosen[generator(self.seed, "dealt", made.name).permutation(made.rows)]

    def _reference(self, table: TableModel, made: GeneratedTable, column: str, number: int) -> Floats | SameRow | None:
        reference, target = table.references[column][number], table.encoder.column(column)
        if reference.source == "previous":
            return None
        if reference.source == "row":
            source = table.encoder.column(reference.column)
            return SameRow(reference.column, lambda values: in_units_of(values, source, target))
        key = table.keys[reference.key].key
        source = self.model.tables[key.parent].encoder.column(reference.column)
        return in_units_of(take_or_nan(self.tables[key.parent].values[reference.column], made.parents[reference.key]), source, target)

    # -- columns -------------------------------------------------------------------------------------------------------

    def _materialise(self, table: TableModel, made: GeneratedTable) -> None:
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
            if _is_moment(c.column) and name not in made.values:
                made.values[name] = to_floats(self._decode(table, made, name, np.arange(made.rows)), c.column.data_type)
                made.columns[name] = from_floats(made.values[name], c.column.data_type)
            elif name in needed:
                made.columns[name] = self._decode(table, made, name, np.arange(made.rows))
        self._generated_keys(table, made)
        made.columns.update({column: values for column, values in given.items() if column in needed})
        if table.ordinal is not None:
            within = [given[c] for c in table.ordinal.within]
            made.columns[table.ordinal.column] = table.ordinal.numbers(within, made.rows, schema.column(table.ordinal.column).data_type)
        self._make_referable(table, made, set(given))
        self._make_unique(table, made, [u for u in uniques if set(u) <= made.columns.keys()], given)

    def _make_unique_at_last(self, table: TableModel, made: GeneratedTable) -> None:
        """Unique keys with a column of a key that closes a cycle, now that it is there."""
        schema = self.model.schema.tables[made.name]
        waiting = [u for u in (schema.primary_key, *schema.unique) if u and not set(u) <= made.columns.keys()]
        if waiting:
            given = self._given_by_keys(table, made, deferred=True)
            self._make_unique(table, made, [u for u in waiting if not set(u) <= given.keys()], given)

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

    def _given_by_keys(self, table: TableModel, made: GeneratedTable, deferred: bool) -> dict[str, pa.Array]:
        """The columns of keys: the parents' values, or some where the row refers to nobody but has one."""
        given = self.linking.values.key_columns(made, deferred)
        schema = self.model.schema.tables[made.name]
        broken = {k.key.columns[0]: i for i, k in enumerate(table.keys) if k.orphans is not None and k.key.columns[0] in given}
        names = [c.column.name for c in table.encoder.columns if c.column.name in given and c.column.name not in broken]
        loose = [schema.column(name) for name in names]
        for column in loose:
            some = self.linking.values.some_values(made, column.name, deferred)
            there = self._has_value(table, made, column)
            given[column.name] = pc.if_else(there, pc.coalesce(given[column.name], some), given[column.name])
        for key, at in zip(table.keys, made.parents, strict=True):
            columns = [c for c in loose if c.name in key.key.columns and c.nullable]
            if columns and len(key.key.columns) > 1 and not key.deferred:
                complete = np.all([given[c].is_valid().to_numpy(zero_copy_only=False) for c in key.key.columns], axis=0) & (at < 0)
                chosen = columns[-1].name
                given[chosen] = pc.if_else(pa.array(complete), pa.scalar(None, given[chosen].type), given[chosen])
        present = self.model.skeletons[made.name].present if made.name in self.model.skeletons else {}
        given |= {column: self._with_orphans(table, made, i, given[column]) for column, i in broken.items()}
        for name, rows in ((name, rows) for name, rows in present.items() if name in given and name not in broken):
            given[name] = pc.if_else(pa.array(rows), _filled(given[name], False), pa.scalar(None, given[name].type))
        return given

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
            wish = pc.fill_null(self._decode(table, made, column, np.arange(made.rows)), False) if drawn else pa.array(free)
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
        drawn = self._decode(table, made, column.name, np.arange(made.rows))
        encoder = next(c.encoder for c in table.encoder.columns if c.column.name == column.name)
        usual = bool(encoder.values[0].as_py()) if isinstance(encoder, CategoryEncoder) and len(encoder.values) else True
        return pc.fill_null(drawn, usual)

    def _generated_keys(self, table: TableModel, made: GeneratedTable) -> None:
        for column, keys in table.key_generators.items():
            values = keys.generate(made.rows, stream(self.seed, "key", made.name, column), self.key_start.get(made.name))
            order = self._order(made)
            if table.keys_follow is not None and made.rows:
                order = np.argsort(np.nan_to_num(made.values[table.keys_follow], nan=np.inf), kind="stable")
            if order is not None:
                place = np.empty(made.rows, dtype=np.int64)
                place[order] = np.arange(made.rows)
                values = values.take(pa.array(place))
            made.columns[column] = values

    def _decode(self, table: TableModel, made: GeneratedTable, name: str, rows: NDArray[np.int64]) -> pa.Array:
        c = next(c for c in table.encoder.columns if c.column.name == name)
        if name in made.values:
            return from_floats(made.values[name][rows], c.column.data_type)
        if c.encoder is None or isinstance(c.encoder, RelativeEncoder):
            return pa.nulls(len(rows), to_arrow(c.column.data_type))
        hidden = len(self.model.hidden_sizes(made.name))
        key = stream(self.seed, "column", made.name, name)
        draw = Draw(rows, made.rows, lambda lane: uniforms(key, rows, lane))
        return c.encoder.decode(made.tokens[rows][:, [hidden + s for s in c.slots]], draw)

    # -- writing -------------------------------------------------------------------------------------------------------

    def batches(self, name: str, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """The table in batches, columns in schema order; the batches' size does not change a value."""
        table, made, schema = self.model.tables[name], self.tables[name], self.model.twin.tables[name]
        arrow = arrow_schema(schema)
        if name in self.delivered:
            yield from self.delivered[name].combine_chunks().to_batches(max_chunksize=batch_rows) or [pa.RecordBatch.from_pylist([], arrow)]
            return
        foreign = self._given_by_keys(table, made, deferred=True)
        for reference in schema.polymorphic:
            foreign |= self._collapsed(table, made, reference, foreign)
        order = self._order(made)
        for start in range(0, max(made.rows, 1), batch_rows):
            rows = np.arange(start, min(start + batch_rows, made.rows))
            rows = rows if order is None else order[rows]
            columns = []
            for c in schema.columns:
                whole = foreign.get(c.name, made.columns.get(c.name))
                columns.append(self._decode(table, made, c.name, rows) if whole is None else whole.take(pa.array(rows)))
            yield pa.RecordBatch.from_arrays(columns, schema=arrow)

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

    def _order(self, made: GeneratedTable) -> NDArray[np.int64] | None:
        """The order in which the rows are numbered and written; None where it is the one they were drawn in. Rows that stand for
        the source's must not be told by their place."""
        if made.name not in self.model.skeletons:
            return None
        return generator(self.seed, "order", made.name).permutation(made.rows)

    def _tokens(self) -> dict[str, NDArray[np.int32]]:
        return {name: made.tokens for name, made in self.tables.items()}

    def _contexts(self) -> dict[str, Context]:
        return {name: made.context for name, made in self.tables.items()}

    def _advance(self, label: str) -> Advance:
        return Advance("generate", label, self.listener)


def _filled(values: pa.Array, nullable: bool) -> pa.Array:
    """The values; where none may be missing, those that are are filled with others of the column."""
    if nullable or not values.null_count or values.null_count == len(values):
        return values
    known, missing = values.drop_null(), np.cumsum(values.is_null().to_numpy(zero_copy_only=False)) - 1
    return pc.if_else(values.is_valid(), values, known.take(pa.array(np.maximum(missing, 0) % len(known))))
