"""Generating a schema from a model: parents first; for each table the number of rows, their degrees and links, then their columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from synth_engine.encode.base import Draw, Floats
from synth_engine.encode.relative import RelativeEncoder
from synth_engine.encode.values import from_floats, to_floats
from synth_engine.errors import ConfigurationError, Terminal
from synth_engine.model.learning import degree_features, own_code, owner_context, summary_slots
from synth_engine.model.links import NONE, assign, forest, without_duplicates
from synth_engine.model.preparation import _is_moment, in_units_of, take_or_nan
from synth_engine.model.sampling import RelativeColumn, Request, sample
from synth_engine.model.state import Model, TableModel, context_tokens
from synth_engine.model.uniqueness import make_unique
from synth_engine.progress import Advance, Listener, ignore
from synth_engine.randomness import generator, stream, uniforms
from synth_engine.schema import Table
from synth_engine.schema.checks import require_memory
from synth_engine.schema.types import arrow_schema, to_arrow


@dataclass
class GeneratedTable:
    """One synthetic table before it is written: tokens, the parent row of each key, and the columns that had to be
    materialised because other rows depend on them."""

    name: str
    rows: int
    tokens: NDArray[np.int32]
    context: NDArray[np.int32]
    parents: list[NDArray[np.int64]]
    degrees: list[NDArray[np.int64]]
    columns: dict[str, pa.Array] = field(default_factory=dict)
    values: dict[str, Floats] = field(default_factory=dict)


def row_counts(model: Model, requested: Mapping[str, int]) -> dict[str, int]:
    """Rows of every table: as requested, else the source's number scaled as its owner (or its parents) are.

    Raises `ConfigurationError` for unknown tables, all at once.
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
    if unknown:
        raise ConfigurationError(unknown)
    counts: dict[str, int] = {}
    for name, table in model.tables.items():
        deciding = [table.owner] if table.owner is not None else table.live_keys
        ratios = [counts[p] / model.tables[p].rows for i in deciding if model.tables[p := table.keys[i].key.parent].rows]
        counts[name] = requested.get(name, round(table.rows * float(np.mean(ratios)) if ratios else table.rows))
    return counts


class Generation:
    """Draws all tables of a model. `run` does the structure and the rows; `batches` then writes a table out."""

    def __init__(
        self, model: Model, rows: Mapping[str, int], seed: int, device: torch.device | None = None, listener: Listener = ignore
    ) -> None:
        self.model, self.seed, self.listener = model, seed, listener
        self.device = device or torch.device("cpu")
        self.counts = row_counts(model, rows)
        require_memory(model.schema, self.counts)
        self.tables: dict[str, GeneratedTable] = {}

    def run(self) -> Generation:
        """Generate all tables in memory as tokens. Raises `ConfigurationError` if a column's type cannot hold so many rows."""
        self.model.require_room(self.counts)
        try:
            for name in self.model.tables:
                self._table(name)
            for name in self.model.tables:
                self._deferred(name)
        except MemoryError:
            raise Terminal(
                "All tables must fit in memory while they are generated",
                value=f"it did not suffice for {', '.join(f'{rows:,} rows of {name}' for name, rows in self.counts.items())}",
                advice="ask for fewer rows, or generate on a machine with more memory",
            ) from None
        return self

    # -- one table ---------------------------------------------------------------------------------------------------

    def _table(self, name: str) -> None:
        table, rows = self.model.tables[name], self.counts[name]
        made = GeneratedTable(
            name, rows, np.zeros((rows, 0), np.int32), np.zeros((rows, 0), np.int32), [np.full(rows, -1, np.int64) for _ in table.keys], []
        )
        self.tables[name] = made
        self._draw_degrees(table, made)
        starts, lengths = self._owner(table, made)
        self._links(table, made, starts, lengths)
        parents = {i: made.parents[i] for i in table.live_keys}
        made.context = context_tokens(self.model, name, parents, self._tokens(), self._contexts(), rows)
        self._rows(table, made, starts, lengths)
        self._materialise(table, made)

    def _draw_degrees(self, table: TableModel, made: GeneratedTable) -> None:
        for i, key in enumerate(table.keys):
            if key.deferred:
                made.degrees.append(np.zeros(0, np.int64))
                continue
            parent = self.tables[key.key.parent]
            before = [made.degrees[j] for j in range(i) if table.keys[j].key.parent == key.key.parent and not table.keys[j].deferred]
            total = round(made.rows * (1 - key.null_share))
            features = degree_features(parent.tokens, parent.context, before)
            code = own_code(self.model, made.name, i, parent.tokens)
            made.degrees.append(
                key.degrees.draw(features, code, total, stream(self.seed, "degrees", made.name, i), key.key.label(made.name))
            )

    def _owner(self, table: TableModel, made: GeneratedTable) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
        """Rows of one owner stand together; rows without an owner follow, each by itself."""
        if table.owner is None:
            return None, None
        degrees = made.degrees[table.owner]
        owned = int(degrees.sum())
        made.parents[table.owner][:owned] = np.repeat(np.arange(len(degrees)), degrees)
        lengths = np.r_[degrees[degrees > 0], np.ones(made.rows - owned, np.int64)]
        return np.r_[0, np.cumsum(lengths)[:-1]].astype(np.int64) if len(lengths) else np.zeros(0, np.int64), lengths

    def _links(self, table: TableModel, made: GeneratedTable, starts: NDArray[np.int64] | None, lengths: NDArray[np.int64] | None) -> None:
        references = table.reference_keys
        if not references or table.link_network is None:
            return
        owner_parents = np.full(made.rows, -1, np.int64) if table.owner is None else made.parents[table.owner]
        context = owner_context(self.model, made.name, owner_parents, self._tokens())
        request = Request(
            made.rows, context, starts, lengths, (), stream(self.seed, "links", made.name), stratify_first=not context.shape[1]
        )
        wished = sample(table.link_network, self._shaped(table.sequential, request), self.device, self._advance(f"{made.name} links"))
        for place, i in enumerate(references):
            parent = self.tables[table.keys[i].key.parent]
            first, second = summary_slots(self.model, made.name, i)
            size = (table.keys[i].summary or (1, 1))[1]
            codes = parent.tokens[:, first].astype(np.int64) * size + parent.tokens[:, second]
            drawn = wished[:, 2 * place].astype(np.int64) * size + wished[:, 2 * place + 1]
            wishes = np.where(wished[:, 2 * place] == 0, NONE, drawn)
            made.parents[i] = assign(wishes, codes, made.degrees[i], generator(self.seed, "assign", made.name, i))
        if starts is not None and lengths is not None:
            self._in_time(table, made, np.repeat(starts, lengths))
        self._unique_links(self.model.schema.tables[made.name], table, made)

    def _in_time(self, table: TableModel, made: GeneratedTable, sequence: NDArray[np.int64]) -> None:
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

    def _unique_links(self, table: Table, model: TableModel, made: GeneratedTable) -> None:
        """Where keys together are unique (a bridge's pair), no combination may come twice."""
        number = {k.key.columns[0]: i for i, k in enumerate(model.keys) if not k.deferred}
        for unique in (table.primary_key, *table.unique):
            if len(unique) > 1 and all(column in number for column in unique):
                keys = [number[column] for column in unique]
                movable = next(place for place, i in enumerate(keys) if i != model.owner)
                rng = generator(self.seed, "unique", made.name, *unique)
                label = f"{made.name}({', '.join(unique)})"
                made.parents[keys[movable]] = without_duplicates([made.parents[i] for i in keys], movable, rng, label)

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
            made.rows, made.context, starts, lengths, relative, stream(self.seed, "rows", made.name), stratify_first=not table.live_keys
        )
        request.given = self._dealt(table, made)
        request.never_null = frozenset(hidden + slot for slot in table.encoder.never_null)
        made.tokens = sample(table.row_network, self._shaped(table.sequential, request), self.device, self._advance(made.name))
        made.values = {c.name: c.values for c in relative}

    def _shaped(self, sequential: bool, request: Request) -> Request:
        """Without siblings to learn from, rows are independent."""
        if sequential:
            return request
        return replace(request, starts=None, lengths=None)

    def _dealt(self, table: TableModel, made: GeneratedTable) -> NDArray[np.int32] | None:
        """A reference table's hidden tokens in random order, evenly thinned or repeated to the rows asked for."""
        if table.hidden_rows is None or not len(table.hidden_rows):
            return None
        real = table.hidden_rows[np.lexsort(table.hidden_rows.T[::-1])]
        chosen = real[((np.arange(made.rows) + 0.5) * len(real) / max(made.rows, 1)).astype(np.int64)]
        return chosen[generator(self.seed, "dealt", made.name).permutation(made.rows)]

    def _reference(self, table: TableModel, made: GeneratedTable, column: str, number: int) -> Floats | None:
        reference = table.references[column][number]
        if reference.source == "previous":
            return None
        key = table.keys[reference.key].key
        source, target = self.model.tables[key.parent].encoder.column(reference.column), table.encoder.column(column)
        return in_units_of(take_or_nan(self.tables[key.parent].values[reference.column], made.parents[reference.key]), source, target)

    # -- columns -------------------------------------------------------------------------------------------------------

    def _materialise(self, table: TableModel, made: GeneratedTable) -> None:
        """Decode what other rows depend on: keys, moments that children count from, unique columns."""
        schema = self.model.schema.tables[made.name]
        referred = {k.key.parent_columns[0] for t in self.model.tables.values() for k in t.keys if k.key.parent == made.name}
        uniques = [u for u in (schema.primary_key, *schema.unique) if u and any(c.column.name in u for c in table.encoder.columns)]
        needed = referred | {c for u in uniques for c in u}
        for c in table.encoder.columns:
            name = c.column.name
            if _is_moment(c.column) and name not in made.values:
                made.values[name] = to_floats(self._decode(table, made, name, np.arange(made.rows)), c.column.data_type)
                made.columns[name] = from_floats(made.values[name], c.column.data_type)
            elif name in needed:
                made.columns[name] = self._decode(table, made, name, np.arange(made.rows))
        self._generated_keys(table, made)
        for i in table.live_keys:
            column = table.keys[i].key.columns[0]
            if column in needed or column in schema.primary_key:
                made.columns[column] = self._key_column(table, made, i)
        for unique in uniques:
            modelled = [c.column for c in table.encoder.columns if c.column.name in unique]
            make_unique(made.columns, unique, modelled, self.model.schema.tables[made.name], made.rows)
            for changed in modelled:
                if changed.name in made.values:
                    made.values[changed.name] = to_floats(made.columns[changed.name], changed.data_type)

    def _generated_keys(self, table: TableModel, made: GeneratedTable) -> None:
        for column, keys in table.key_generators.items():
            values = keys.generate(made.rows, stream(self.seed, "key", made.name, column))
            if table.keys_follow is not None and made.rows:
                order = np.argsort(np.nan_to_num(made.values[table.keys_follow], nan=np.inf), kind="stable")
                place = np.empty(made.rows, dtype=np.int64)
                place[order] = np.arange(made.rows)
                values = values.take(pa.array(place))
            made.columns[column] = values

    def _key_column(self, table: TableModel, made: GeneratedTable, i: int) -> pa.Array:
        key = table.keys[i].key
        values = self.tables[key.parent].columns[key.parent_columns[0]]
        at = made.parents[i]
        column = values.take(pa.array(np.maximum(at, 0), mask=at < 0)) if len(values) else pa.nulls(made.rows, values.type)
        target = self.model.schema.tables[made.name].column(key.columns[0])
        return column.cast(to_arrow(target.data_type))

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

    # -- keys that close a cycle ----------------------------------------------------------------------------------------

    def _deferred(self, name: str) -> None:
        """Assign them last, when all rows are there: exact degrees, and within one table no cycle."""
        table, made = self.model.tables[name], self.tables[name]
        for i, key in enumerate(table.keys):
            if not key.deferred:
                continue
            parent, label = self.tables[key.key.parent], key.key.label(name)
            features = degree_features(parent.tokens, parent.context, [])
            rng = generator(self.seed, "deferred", name, i)
            total = round(made.rows * (1 - key.null_share))
            if key.key.parent == name and total == made.rows and total > 0:
                total -= 1  # somebody has to be at the top: the last key is null, or itself if it may not be
            degrees = key.degrees.draw(features, None, total, stream(self.seed, "degrees", name, i), label)
            if key.key.parent == name:
                at = forest(degrees, made.rows - total, rng)
                if not self.model.schema.tables[name].column(key.key.columns[0]).nullable:
                    at = np.where(at < 0, np.arange(made.rows), at)
            else:
                wishes = np.full(made.rows, NONE)
                at = assign(wishes, np.zeros(parent.rows, np.int64), degrees, rng)
            made.parents[i] = at

    # -- writing -------------------------------------------------------------------------------------------------------

    def batches(self, name: str, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """The table in batches, columns in schema order; the batches' size does not change a value."""
        table, made, schema = self.model.tables[name], self.tables[name], self.model.schema.tables[name]
        keys = {k.key.columns[0]: i for i, k in enumerate(table.keys)}
        arrow = arrow_schema(schema)
        foreign = {column: self._key_column(table, made, i) for column, i in keys.items()}
        for start in range(0, max(made.rows, 1), batch_rows):
            rows = np.arange(start, min(start + batch_rows, made.rows))
            columns = []
            for c in schema.columns:
                whole = foreign.get(c.name, made.columns.get(c.name))
                columns.append(self._decode(table, made, c.name, rows) if whole is None else whole.slice(start, len(rows)))
            yield pa.RecordBatch.from_arrays(columns, schema=arrow)

    def _tokens(self) -> dict[str, NDArray[np.int32]]:
        return {name: made.tokens for name, made in self.tables.items()}

    def _contexts(self) -> dict[str, NDArray[np.int32]]:
        return {name: made.context for name, made in self.tables.items()}

    def _advance(self, label: str) -> Advance:
        return Advance("generate", label, self.listener)
