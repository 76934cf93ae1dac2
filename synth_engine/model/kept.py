"""Tables that are delivered as they are: what a model needs of them to write their children, made anew from their rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synth_engine.encode.rare import place_rare_values
from synth_engine.encode.written import with_written_moments
from synth_engine.errors import ConfigurationError
from synth_engine.model.context import Context
from synth_engine.model.generated import GeneratedTable
from synth_engine.model.preparation import prepare, traits_of_parents
from synth_engine.model.prepared import PreparedTable
from synth_engine.model.state import Model
from synth_engine.polymorphic import expanded_tables, is_of_type
from synth_engine.randomness import stream
from synth_engine.schema import Schema
from synth_engine.schema.kept import emptied_columns, emptied_types
from synth_engine.schema.types import arrow_schema

HASHED_ROWS = 65_536


def as_delivered(schema: Schema, kept: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """The kept tables without references to rows that are synthesised."""
    delivered = {}
    for name, data in kept.items():
        for columns in emptied_columns(schema.tables[name], kept).values():
            for column in columns:
                place = data.schema.get_field_index(column)
                data = data.set_column(place, data.schema.field(place), pa.nulls(data.num_rows, data.schema.field(place).type))
        for reference, types in emptied_types(schema.tables[name], kept).items():
            for of in types:
                ids = pc.if_else(is_of_type(data[reference.type_column], of), None, data[reference.id_column])
                data = data.set_column(data.schema.get_field_index(reference.id_column), reference.id_column, ids)
        delivered[name] = data
    return delivered


def digest(data: pa.Table) -> str:
    """sha256 of a table's values in their order: by it a model knows again what it was trained on."""
    found = hashlib.sha256()
    for batch in data.combine_chunks().to_batches(max_chunksize=HASHED_ROWS):
        found.update(repr([column.to_pylist() for column in batch.columns]).encode())
    return found.hexdigest()


def check_kept(model: Model, kept: Mapping[str, pa.Table]) -> None:
    """Raise `ConfigurationError` with every table that must be there and is not, or is not the one trained on."""
    faults = [
        f"kept.{name}: this table is delivered as it is, and a model holds no rows. Next step: pass it as it was in training"
        for name in model.kept
        if name not in kept
    ]
    faults += [
        f"kept.{name}: the model was not trained to keep such a table. Next step: leave it out, or train with keep: [{name}]"
        for name in kept
        if name not in model.kept
    ]
    faults += [
        f"kept.{name}: it must be as it was when the model was trained, its rows in the same order. Found: other rows. "
        "Next step: pass that table, or train again"
        for name, expected in model.kept.items()
        if name in kept and digest(kept[name]) != expected
    ]
    if faults:
        raise ConfigurationError(faults)


def prepare_kept(model: Model, delivered: Mapping[str, pa.Table]) -> dict[str, PreparedTable]:
    """The kept tables as they were prepared for training: nothing of that depends on the others, which are empty here."""
    tables = {name: delivered.get(name, arrow_schema(table).empty_table()) for name, table in model.twin.tables.items()}
    tables = expanded_tables(model.twin, tables)
    schema = with_written_moments(model.schema, lambda name, columns: tables[name].select(columns).to_batches())
    return prepare(schema, tables, model.seed)


def kept_rows(model: Model, name: str, prepared: Mapping[str, PreparedTable]) -> GeneratedTable:
    """A kept table as its children see it: the tokens of the real rows, hidden ones included, and all values. Its context is
    left to the caller."""
    one, skeleton = prepared[name], model.skeletons[name]
    encoder = model.tables[name].encoder
    tokens = np.zeros((one.rows, 0), np.int32)
    if encoder.columns:
        data = {**one.data, **one.loose}
        tokens, _ = encoder.encode(data, one.reference_values(prepared), one.later)
        place_rare_values(tokens, encoder, data, traits_of_parents(one, {}), stream(model.seed, "rare", name))
    made = GeneratedTable(name, one.rows, np.concatenate([skeleton.hidden, tokens], axis=1), Context(one.rows), skeleton.parents)
    made.columns, made.values = dict(one.data), dict(one.moments)
    return made
