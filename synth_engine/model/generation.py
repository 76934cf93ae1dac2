"""Generating a schema from a model: parents first; for each table the number of rows, their degrees and links, then their columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth_engine.encode.base import Floats
from synth_engine.encode.relative import Reference
from synth_engine.errors import ConfigurationError, Terminal
from synth_engine.model.capacity import require_parents
from synth_engine.model.columns import Columns
from synth_engine.model.constants import first_of_parent
from synth_engine.model.context import Context
from synth_engine.model.dependencies import settle
from synth_engine.model.devices import device_of
from synth_engine.model.generated import GeneratedTable
from synth_engine.model.kept import as_delivered, check_kept, kept_rows, prepare_kept
from synth_engine.model.learning import owner_context
from synth_engine.model.linking import Linking
from synth_engine.model.prepared import take_or_nan
from synth_engine.model.requests import row_request
from synth_engine.model.sampling import Request, sample
from synth_engine.model.state import Model, TableModel, context_of
from synth_engine.progress import Advance, Listener, ignore
from synth_engine.randomness import generator, stream
from synth_engine.schema.checks import links_that_are_given, require_memory, rows_that_are_given
from synth_engine.schema.types import arrow_schema


def row_counts(model: Model, requested: Mapping[str, int]) -> dict[str, int]:
    """Rows of every table: as requested, else the source's number scaled as its owner (or its parents) are.

    Raises `ConfigurationError` for unknown tables and for those whose rows cannot be chosen, all at once.
    """
    if not isinstance(requested, Mapping):
        raise ConfigurationError([f"rows: must be given by name. Found: {type(requested).__name__}. Next step: pass {{table: rows, …}}"])
    unknown = [
        f"rows.{name}: there is no such table. Next step: name one of {', '.join(model.tables)}"
        for name in requested
        if name not in model.tables
    ]
    unknown += [
        f"rows.{name}: a number of rows must be an integer of 0 or more. Found: {rows!r}"
        for name, rows in requested.items()
        if not _is_whole(rows) or rows < 0
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


def _is_whole(number: object) -> bool:
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


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
        f"key_start.{name}: a key must start at an integer. Found: {start!r}" for name, start in key_start.items() if not _is_whole(start)
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
        require_memory(model.schema, self.counts)
        if faults := links_that_are_given(temperature, model.structure):
            raise ConfigurationError(faults)
        check_kept(model, kept or {})
        self.delivered = as_delivered(model.twin, kept or {})
        self.prepared = prepare_kept(model, self.delivered) if self.delivered else {}
        self.tables: dict[str, GeneratedTable] = {}
        self.linking = Linking(model, self.tables, seed, temperature)
        start = {name: int(number) for name, number in (key_start or {}).items()}
        self.columns = Columns(model, self.tables, self.linking.values, self.counts, seed, start)

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
                    self.columns.make_unique_at_last(table, self.tables[name])
            self.columns.sum_up()
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
        self.columns.materialise(table, made)

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
        if not table.sequential:
            starts = lengths = None  # without siblings to learn from, rows are independent
        request = Request(made.rows, context, starts, lengths, (), stream(self.seed, "links", made.name), spread_first=not context.width)
        return sample(table.link_network, request, self.device, self._advance(f"{made.name} links"))

    def _rows(self, table: TableModel, made: GeneratedTable, starts: NDArray[np.int64] | None, lengths: NDArray[np.int64] | None) -> None:
        if table.row_network is None:
            made.tokens = np.zeros((made.rows, len(self.model.slot_sizes(made.name))), np.int32)
            return
        hidden = len(self.model.hidden_sizes(made.name))
        sequences = None if starts is None or lengths is None else (starts, lengths)

        def of_parent(reference: Reference) -> Floats:
            parent = table.keys[reference.key].key.parent
            return take_or_nan(self.tables[parent].values[reference.column], made.parents[reference.key])

        request = row_request(
            self.model, made.name, made.context, sequences, of_parent, self._dealt(table, made), stream(self.seed, "rows", made.name)
        )
        request.shared = self._shared(table, made, hidden)
        made.tokens = sample(table.row_network, request, self.device, self._advance(made.name))
        for slot, first in request.shared.items():
            made.tokens[:, slot] = made.tokens[first, slot]
        settle(made.tokens, hidden, table.dependencies)
        made.values = {c.name: c.values for c in request.relative}

    def _shared(self, table: TableModel, made: GeneratedTable, hidden: int) -> dict[int, NDArray[np.int64]]:
        """For the slots of columns that the rows of one parent do not differ in, the first of the rows of each one's parent: they have what
        it has."""
        first = {key: first_of_parent(made.parents[key]) for key in {constant.key for constant in table.constants}}
        made.taken |= {constant.column: first[constant.key] for constant in table.constants}
        return {hidden + slot: made.taken[c.column.name] for c in table.encoder.columns if c.column.name in made.taken for slot in c.slots}

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

    # -- writing -------------------------------------------------------------------------------------------------------

    def batches(self, name: str, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """The table in batches, columns in schema order; the batches' size does not change a value."""
        table, made, schema = self.model.tables[name], self.tables[name], self.model.twin.tables[name]
        arrow = arrow_schema(schema)
        if name in self.delivered:
            yield from self.delivered[name].combine_chunks().to_batches(max_chunksize=batch_rows) or [pa.RecordBatch.from_pylist([], arrow)]
            return
        whole, order = self.columns.whole(table, made), self.columns.order(made)
        for start in range(0, max(made.rows, 1), batch_rows):
            rows = np.arange(start, min(start + batch_rows, made.rows))
            rows = rows if order is None else order[rows]
            columns = [
                whole[c.name].take(pa.array(rows)) if c.name in whole else self.columns.decode(table, made, c.name, rows)
                for c in schema.columns
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=arrow)

    def _tokens(self) -> dict[str, NDArray[np.int32]]:
        return {name: made.tokens for name, made in self.tables.items()}

    def _contexts(self) -> dict[str, Context]:
        return {name: made.context for name, made in self.tables.items()}

    def _advance(self, label: str) -> Advance:
        return Advance("generate", label, self.listener)
