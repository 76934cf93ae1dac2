"""What is asked of a table's row network: which columns are told as steps and from what, what is given, and what cannot be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from synth_engine.encode.base import Floats
from synth_engine.encode.category import CategoryEncoder
from synth_engine.encode.relative import Reference, RelativeEncoder
from synth_engine.model.context import Context
from synth_engine.model.prepared import in_units_of
from synth_engine.model.sampling import PlacedColumns, RelativeColumn, Request, SameRow
from synth_engine.model.state import Model

OfParent = Callable[[Reference], Floats]
"""What the parent of every row has in the column that a reference along a key names, in the parent's units; NaN where there is none."""


def row_request(
    model: Model,
    name: str,
    context: Context,
    sequences: tuple[NDArray[np.int64], NDArray[np.int64]] | None,
    of_parent: OfParent,
    given: NDArray[np.int32] | None,
    seed: int,
) -> Request:
    """The rows of a table, one for each of the `context`. `sequences` are the first rows and lengths of those of one owner, as far as
    they are told of each other; `given` the hidden tokens that are not drawn."""
    table = model.tables[name]
    hidden = len(model.hidden_sizes(name))
    relative = [
        RelativeColumn(
            c.column.name,
            [hidden + slot for slot in c.slots],
            c.encoder,
            [_reference(model, name, c.column.name, reference, of_parent) for reference in table.references[c.column.name]],
        )
        for c in table.encoder.columns
        if isinstance(c.encoder, RelativeEncoder)
    ]
    by_name = {column.name: column for column in relative}
    placed = [
        PlacedColumns(places, hidden + c.slots[0], c.encoder, [by_name[name] for name in places.columns])
        for places in table.places
        for c in table.encoder.columns
        if c.column.name == places.column.name and isinstance(c.encoder, CategoryEncoder)
    ]
    starts, lengths = sequences if sequences is not None and table.sequential else (None, None)  # without siblings to learn from: none
    return Request(
        context.rows,
        context,
        starts,
        lengths,
        relative,
        seed,
        spread_first=not table.live_keys,
        given=given,
        never_null=frozenset(hidden + slot for slot in table.encoder.never_null),
        placed=placed,
        empty_after={hidden + slot: hidden + first for slot, first in table.encoder.empty_after.items()},
    )


def _reference(model: Model, name: str, column: str, reference: Reference, of_parent: OfParent) -> Floats | SameRow | None:
    table = model.tables[name]
    target = table.encoder.column(column)
    if reference.source == "previous":
        return None
    if reference.source == "row":
        source = table.encoder.column(reference.column)
        return SameRow(reference.column, lambda values: in_units_of(values, source, target))
    parent = model.tables[table.keys[reference.key].key.parent]
    return in_units_of(of_parent(reference), parent.encoder.column(reference.column), target)
