"""From tables to training material: parents found, sequences formed, entities numbered, references chosen, columns encoded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth_engine.config import ColumnSettings
from synth_engine.encode.base import EncodingSettings, Floats
from synth_engine.encode.category import CategoryEncoder
from synth_engine.encode.places import Places
from synth_engine.encode.rare import Trait, place_rare_values
from synth_engine.encode.table import TableEncoder
from synth_engine.encode.values import to_floats
from synth_engine.model.coarse import coarse_codes
from synth_engine.model.constants import find_settled_keys
from synth_engine.model.dependencies import Dependency, find_dependencies
from synth_engine.model.keyplan import KeyPlan, plan_keys, value_columns
from synth_engine.model.ordinals import find_ordinal
from synth_engine.model.owners import choose_owner, in_sequence, key_to_entity, windows
from synth_engine.model.paths import Path, led
from synth_engine.model.prepared import PreparedTable, find_parents, is_moment
from synth_engine.model.rules import find_rules, tell_by_steps
from synth_engine.randomness import stream, uniforms
from synth_engine.schema import ForeignKey, Kind, Schema, Table
from synth_engine.schema.types import base_type

DEEPEST = 200
"""Depth of a self-reference beyond which rows are taken to be on a cycle."""

HELD_OUT = 0.1
"""Share of the entities that decide about learning rate and stopping, and are the yardstick of privacy."""


def prepare(
    schema: Schema,
    tables: dict[str, pa.Table],
    seed: int,
    entity_tables: Collection[str] = (),
    given: Mapping[str, Collection[str]] | None = None,
    paths: Collection[Path] = (),
) -> dict[str, PreparedTable]:
    """Prepare all tables, parents first; the result is in that order. Each is taken out of `tables`: it would need its memory twice.
    Each row of the `entity_tables` is an entity, whomever it refers to, with all that refers to it. `given` are by table the columns whose
    values settings ask for, which follow from nothing else. Along keys that lead where others do, by `paths`, rows form no sequences."""
    prepared: dict[str, PreparedTable] = {}
    next_entity = 0
    belonging = set(entity_tables)
    for name in schema.parents_first():
        table = schema.tables[name]
        source, data = tables.pop(name), {}
        for column in table.columns:  # one after the other: whole, the chunks would be there twice
            data[column.name] = _one_chunk(source.column(column.name))
            source = source.drop_columns([column.name])
        del source
        plan = plan_keys(schema, table)
        to_entities = [i for i in sorted(plan.heads) if plan.keys[i].parent in belonging and not plan.deferred[i]]
        belonging |= {name} if to_entities else set()
        said = [] if name in entity_tables else to_entities or None
        own = [path for path in paths if path.child == name]
        one = _prepare_table(table, plan, data, prepared, next_entity, seed, said, (given or {}).get(name, ()), own)
        del data
        next_entity += one.rows
        prepared[name] = one
    for one in prepared.values():  # keys that close a cycle refer to tables that are prepared only now
        for i, late in enumerate(one.plan.deferred):
            if late:
                one.parents[i] = find_parents(one.keys[i], one.data, prepared[one.keys[i].parent].data)
        one.loose.update(_loose_values(one))  # a row that refers to itself refers to somebody
        for i, key in enumerate(one.keys):
            if key.parent == one.table.name:
                one.parents[i], one.loop_share[i] = _without_loops(one.parents[i])
    return prepared


def _prepare_table(
    table: Table,
    plan: KeyPlan,
    data: dict[str, pa.Array],
    prepared: Mapping[str, PreparedTable],
    next_entity: int,
    seed: int,
    to_entities: Sequence[int] | None,
    given: Collection[str],
    paths: Collection[Path],
) -> PreparedTable:
    """`to_entities` are the keys to what is said to be entities, none of those of entities; without it the data decides. Rows form no
    sequences along keys that others settle, by the table's `paths` or because no parent's rows differ in them."""
    rows = len(data[table.columns[0].name])
    parents = [
        np.full(rows, -1, dtype=np.int64) if late else find_parents(key, data, prepared[key.parent].data)
        for key, late in zip(plan.keys, plan.deferred, strict=True)
    ]
    settled_by = find_settled_keys(table, plan, parents, paths)
    ordinal = find_ordinal(table, plan, data)
    columns = [c for c in value_columns(plan, table) if ordinal is None or c.name != ordinal.column]
    derived = find_rules(columns, table, plan, data, parents, prepared, given)
    columns = [c for c in columns if not any(one.is_copy and one.column == c.name for one in derived)]
    moments = {c.name: to_floats(data[c.name], c.data_type) for c in columns if is_moment(c)}
    coarse = {c.name: coarse_codes(data[c.name], c) for c in columns if c.kind is not Kind.TEXT}
    order_column = _order_column(moments)
    number = ordinal.column if ordinal else table.primary_key[0] if len(table.primary_key) == 1 else None
    natural = _natural_order(table, number, data, moments.get(order_column) if order_column else None)
    telling = {c: codes for c, codes in coarse.items() if c != order_column}  # rows sorted by a column agree in it, related or not
    chosen_among = partial(
        choose_owner, parents=parents, natural=natural, coarse=telling, moment=moments.get(order_column) if order_column else None
    )
    ways = sorted(plan.heads - led(paths, table.name))
    owner = whose = chosen_among(ways)
    if owner in settled_by and (parents[owner] < 0).any():
        del settled_by[owner]  # rows of one sequence would be of no entity in common
    if owner in settled_by:  # it is settled only when the other is drawn
        owner = chosen_among([i for i in ways if i not in settled_by])
    order, sequence = in_sequence(natural, parents[owner]) if owner is not None else (np.arange(rows), None)
    entity = next_entity + np.arange(rows)
    if owner is not None:
        taken = pa.array(order)
        for name in list(data):
            data[name] = data[name].take(taken)
        parents = [p[order] for p in parents]
        entity = entity[order]
        coarse = {name: codes[order] for name, codes in coarse.items()}
        moments = {name: values[order] for name, values in moments.items()}
    part_of = key_to_entity(to_entities, whose, parents)
    apart = entity if sequence is None or part_of is not None else next_entity + windows(sequence)
    chance = uniforms(stream(seed, "held out"), apart)
    held_out, alike = chance < HELD_OUT, (chance >= HELD_OUT) & (chance < 2 * HELD_OUT)
    if part_of is not None:
        whole, there = prepared[plan.keys[part_of].parent], parents[part_of] >= 0
        for own, theirs in ((entity, whole.entity), (held_out, whole.held_out), (alike, whole.alike)):
            own[there] = theirs[parents[part_of][there]]
    one = PreparedTable(table, data, plan, parents, owner, sequence, order, entity, held_out, alike, coarse, moments)
    one.part_of, one.order_column, one.ordinal = part_of, order_column, ordinal
    one.derived, one.settled_by = derived, settled_by
    tell_by_steps(one, prepared)
    return one


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


def _without_loops(parent: NDArray[np.int64]) -> tuple[NDArray[np.int64], float]:
    """Rows that refer to themselves are roots; and the share of the roots that do."""
    loops = parent == np.arange(len(parent))
    roots = loops | (parent < 0)
    return np.where(loops, -1, parent), float(loops.sum() / max(int(roots.sum()), 1))


def depths_of(parent: NDArray[np.int64]) -> tuple[float, ...]:
    """Share of the rows at each depth of a forest given by each row's parent (-1: root); rows on a cycle are left out."""
    depth, at = np.zeros(len(parent), dtype=np.int64), parent
    for level in range(1, len(parent) + 1):
        deeper = at >= 0
        if not deeper.any() or level > DEEPEST:
            break
        depth[deeper] = level
        at = np.where(deeper, parent[np.maximum(at, 0)], -1)
    counts = np.bincount(depth[at < 0])
    return tuple((counts / max(int(counts.sum()), 1)).round(6).tolist())


def _loose_values(one: PreparedTable) -> dict[str, pa.Array]:
    """Whether columns of keys hold a value in the rows where no key with the column refers to anybody (null in all other
    rows): of a key of several columns, one may be null and the others not. Columns without such values are left out."""
    found: dict[str, pa.Array] = {}
    for column in (name for name in one.table.column_names if name in one.plan.columns):
        given = [i for i, key in enumerate(one.keys) if column in key.columns and column not in one.plan.settled[i] | _single(key)]
        if not given:
            continue
        covered = np.any([one.parents[i] >= 0 for i, key in enumerate(one.keys) if column in key.columns], axis=0)
        present = one.data[column].is_valid()
        if pc.any(pc.and_(present, pa.array(~covered))).as_py():
            found[column] = pc.if_else(pa.array(covered), pa.scalar(None, pa.bool_()), present)
    return found


def _single(key: ForeignKey) -> frozenset[str]:
    """The column of a key of one column: null where the key is, unless there are orphans."""
    return frozenset(key.columns) if len(key.columns) == 1 and not key.orphan_share else frozenset()


def _order_column(moments: Mapping[str, Floats]) -> str | None:
    """The moment that orders siblings: the one most rows have, and of those the finest."""
    best, best_score = None, 0.0
    for name, values in moments.items():
        known = values[np.isfinite(values)]
        score = len(known) + len(np.unique(known)) / max(len(values), 1)
        if len(known) >= 0.5 * len(values) and score > best_score:
            best, best_score = name, score
    return best


def _natural_order(table: Table, number: str | None, data: Mapping[str, pa.Array], moment: Floats | None) -> NDArray[np.int64]:
    """Rows by their moment, then by the column that numbers them (if it does), then as they came."""
    keys: list[NDArray[np.float64]] = []
    if number is not None and base_type(table.column(number).data_type).startswith("int"):
        keys.append(to_floats(data[number], table.column(number).data_type))
    if moment is not None:
        keys.append(moment)
    rows = len(next(iter(data.values())))
    return np.lexsort(keys) if keys else np.arange(rows)


def encode_table(
    one: PreparedTable,
    prepared: Mapping[str, PreparedTable],
    settings: EncodingSettings,
    seed: int,
    wanted: Mapping[str, ColumnSettings],
    encoded: Mapping[str, tuple[TableEncoder, NDArray[np.int32]]],
    fixed: Collection[str] = (),
    placed: Sequence[tuple[Places, NDArray[np.int64]]] = (),
) -> tuple[TableEncoder, NDArray[np.int32], NDArray[np.bool_], list[Dependency]]:
    """Fit the table's encoders, with the formats that are `wanted`, and encode it: (encoder, tokens, which tokens to learn, which settle
    others). `encoded` are the encoders and tokens of parents, as far as rare values are placed by what parents have, `fixed` the columns
    that neither settle others nor are settled by them, `placed` the places of some, and which each row is at."""
    references = one.reference_values(prepared)
    pairs = {name: list(zip(one.references[name], references[name], strict=True)) for name in one.references}
    columns = [*one.drawn_columns, *(places.column for places, _ in placed)]
    data = {**one.data, **one.loose, **{places.column.name: pa.array(at, mask=at < 0) for places, at in placed}}
    unique = {key[0] for key in (one.table.primary_key, *one.table.unique) if len(key) == 1}
    later = one.later
    encoder = TableEncoder.fit(columns, data, pairs, one.entity, settings, stream(seed, "encode", one.table.name), wanted, unique, later)
    tokens, learn = encoder.encode(data, references, later)
    dependencies = find_dependencies(encoder, tokens, one.entity, {*fixed, *one.loose, *(places.column.name for places, _ in placed)})
    place_rare_values(tokens, encoder, data, traits_of_parents(one, encoded), stream(seed, "rare", one.table.name))
    return (
        encoder,
        (tokens if len(columns) else np.zeros((one.rows, 0), np.int32)),
        (learn if len(columns) else np.zeros((one.rows, 0), np.bool_)),
        dependencies,
    )


def traits_of_parents(one: PreparedTable, encoded: Mapping[str, tuple[TableEncoder, NDArray[np.int32]]]) -> list[Trait]:
    """What rows may be alike in beside their columns: whom they refer to, and the categories of those in `encoded`, as a table that
    repeats a column of its parent's has the same value there."""
    traits: list[Trait] = []
    for key, parents in zip(one.keys, one.parents, strict=True):
        traits.append(partial(_taken, parents, None))
        if key.parent in encoded and len(encoded[key.parent][1]):
            encoder, tokens = encoded[key.parent]
            categories = [c.slots[0] for c in encoder.columns if isinstance(c.encoder, CategoryEncoder)]
            traits += [partial(_taken, parents, tokens[:, slot]) for slot in categories]
    return traits


def _taken(parents: NDArray[np.int64], token: NDArray[np.int32] | None, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The parent of each of these rows, or its token; -1 where there is none."""
    at = parents[rows]
    return at if token is None else np.where(at >= 0, token[np.maximum(at, 0)], -1)
