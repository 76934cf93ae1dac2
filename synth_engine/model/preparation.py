"""From tables to training material: parents found, sequences formed, entities numbered, references chosen, columns encoded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth_engine.codes import joint_codes
from synth_engine.config import ColumnSettings
from synth_engine.encode.base import EncodingSettings, Floats
from synth_engine.encode.relative import Reference
from synth_engine.encode.table import TableEncoder
from synth_engine.encode.values import to_floats
from synth_engine.model.coarse import coarse_codes, is_ordered
from synth_engine.model.keyplan import KeyPlan, plan_keys, value_columns
from synth_engine.model.ordinals import Ordinal, find_ordinal
from synth_engine.randomness import stream, uniforms
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.schema.types import MOMENT_TYPES, base_type

LONGEST_SEQUENCE = 400
"""Mean length (over rows) above which a key's rows are no sequence worth learning, unless they are a time series or there are
many owners, of whose rows the neighbours tell beyond those of others at the same time and their siblings at large."""

LONGEST_TELLING_SEQUENCE = 10_000
"""Mean length (over rows) above which only a time series is a sequence: its rows are drawn one after the other."""

OWN_TELLING = 0.1
"""Dependence between neighbours of one owner, beyond that between neighbours of different owners and between siblings at large, that
makes so long a sequence worth learning."""

SHORT_SEQUENCE = 20
"""Mean length (over rows) up to which a key's rows are a sequence even if siblings tell little."""

REGULAR = 0.5
"""Share of the steps of a time series that are the commonest one."""

TELLING = 0.05
"""Dependence between siblings (see `_sibling_dependence`) that makes a longer sequence worth learning."""

SERIES_WINDOW = 8
"""Rows of a series that are held out together: enough to be more than a copy of their neighbours, too few to take all
of a day or season out of the training."""

DEEPEST = 200
"""Depth of a self-reference beyond which rows are taken to be on a cycle."""

FEWEST_LEVELS = 100
"""Different values from which on a number may be told as steps: steps between fewer could come to one that there is not."""

FINER_THAN_BINS = 0.03
"""Relative spread of the steps between siblings up to which a number is told by them: larger ones its bins tell as well, and a sum of
steps wanders."""

ALL_BUT, MOST_COMPARED = 0.1, 2_000
"""Relative spread of the difference of two numbers of a row up to which one is told from the other, and rows by which that is found."""

FEWEST_OWNERS, MANY_ROWS = 20, 10
"""Fewer owners than this, of more rows each, are no entities (stores, stations, sales people): each of their rows is one.
Of so few none can be held out, and everything they have would be rare or extreme."""

HELD_OUT = 0.1
"""Share of the entities that decide about learning rate and stopping, and are the yardstick of privacy."""


@dataclass
class PreparedTable:
    """A table ready to learn from. Rows are sorted so that those of one owner stand together in order.

    `parents[i]` is the row number, in the prepared parent, that key `keys[i]` refers to (-1: none). `source_row` is
    each row's place in the source. `entity` numbers the root row a row descends from. `alike` marks as many training
    entities as are held out, chosen in the same way: what the held-out ones may fairly be compared with.
    """

    table: Table
    data: dict[str, pa.Array]
    plan: KeyPlan
    parents: list[NDArray[np.int64]]
    owner: int | None
    sequence: NDArray[np.int64] | None
    source_row: NDArray[np.int64]
    entity: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    alike: NDArray[np.bool_]
    coarse: dict[str, NDArray[np.uint8]]
    moments: dict[str, Floats]
    loose: dict[str, pa.Array] = field(default_factory=dict)
    loop_share: dict[int, float] = field(default_factory=dict)
    order_column: str | None = None
    ordinal: Ordinal | None = None
    references: dict[str, list[Reference]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return len(self.source_row)

    @property
    def keys(self) -> tuple[ForeignKey, ...]:
        return self.plan.keys

    @property
    def later(self) -> NDArray[np.int64] | None:
        """How many siblings come after each row; None where rows are in no sequence."""
        return None if self.sequence is None else siblings_to_come(self.sequence)

    @property
    def value_columns(self) -> list[Column]:
        """Columns whose values the row model writes: neither given by a key, nor made for one, nor counted. Columns of keys
        that hold a value where the key refers to nobody are among them: whether they do, not which."""
        counted = self.ordinal.column if self.ordinal else None
        return [c for c in value_columns(self.plan, self.table) if c.name != counted] + [
            _presence(self.table.column(c)) for c in self.loose
        ]

    def forget_encoded(self, referred: Collection[str]) -> None:
        """Give back the memory of columns that are told by tokens and coarse codes alone from here on: neither keys nor `referred` to
        by any, nor summarised by their order."""
        keys = {*self.table.key_columns, *referred}
        for column in self.table.columns:
            if column.name not in keys and not is_ordered(column):
                self.data.pop(column.name, None)

    def forget_values(self) -> None:
        """Give back the memory of the columns: keys, sequences and marks of rows remain."""
        for values in (self.data, self.coarse, self.moments):
            values.clear()

    def reference_values(self, prepared: Mapping[str, PreparedTable]) -> dict[str, list[Floats]]:
        """For each column told as steps, the value of each of its references in every row (NaN where missing)."""
        return {name: [self._reference(name, r, prepared) for r in found] for name, found in self.references.items()}

    def _reference(self, column: str, reference: Reference, prepared: Mapping[str, PreparedTable]) -> Floats:
        if reference.source == "previous":
            return previous_values(self._floats(column), self.sequence)
        if reference.source == "row":
            return in_units_of(self._floats(reference.column), self.table.column(reference.column), self.table.column(column))
        parent = prepared[self.keys[reference.key].parent]
        return in_units_of(
            take_or_nan(parent.moments[reference.column], self.parents[reference.key]),
            parent.table.column(reference.column),
            self.table.column(column),
        )

    def _floats(self, column: str) -> Floats:
        """The values of a moment or a number."""
        return self.moments[column] if column in self.moments else to_floats(self.data[column], self.table.column(column).data_type)


def in_units_of(values: Floats, source: Column, target: Column) -> Floats:
    """Days turned into seconds or back, so that a reference can be subtracted."""
    from_date, to_date = base_type(source.data_type) == "date", base_type(target.data_type) == "date"
    if from_date == to_date:
        return values
    return values * 86_400.0 if from_date else np.floor(values / 86_400.0)


def take_or_nan(values: Floats, rows: NDArray[np.int64]) -> Floats:
    """`values[rows]`, NaN where the row is -1."""
    if not len(values):
        return np.full(len(rows), np.nan)
    return np.where(rows >= 0, values[np.maximum(rows, 0)], np.nan)


def previous_values(values: Floats, sequence: NDArray[np.int64] | None) -> Floats:
    """The value of the row before in the same sequence, NaN at its start."""
    if sequence is None or not len(values):
        return np.full(len(values), np.nan)
    before: Floats = np.r_[np.nan, values[:-1]]
    before[np.r_[True, sequence[1:] != sequence[:-1]]] = np.nan
    return before


def prepare(schema: Schema, tables: dict[str, pa.Table], seed: int, entity_tables: Collection[str] = ()) -> dict[str, PreparedTable]:
    """Prepare all tables, parents first; the result is in that order. Each is taken out of `tables`: it would need its memory twice.
    Each row of the `entity_tables` is an entity, whomever it refers to, with all that refers to it."""
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
        one = _prepare_table(table, plan, data, prepared, next_entity, seed, said)
        del data
        next_entity += one.rows
        prepared[name] = one
    for one in prepared.values():  # keys that close a cycle refer to tables that are prepared only now
        for i, late in enumerate(one.plan.deferred):
            if late:
                one.parents[i] = _find_parents(one.keys[i], one.data, prepared[one.keys[i].parent].data)
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
) -> PreparedTable:
    """`to_entities` are the keys to what is said to be entities, none of those of entities; without it the data decides."""
    rows = len(data[table.columns[0].name])
    parents = [
        np.full(rows, -1, dtype=np.int64) if late else _find_parents(key, data, prepared[key.parent].data)
        for key, late in zip(plan.keys, plan.deferred, strict=True)
    ]
    ordinal = find_ordinal(table, plan, data)
    columns = [c for c in value_columns(plan, table) if ordinal is None or c.name != ordinal.column]
    moments = {c.name: to_floats(data[c.name], c.data_type) for c in columns if _is_moment(c)}
    coarse = {c.name: coarse_codes(data[c.name], c) for c in columns if c.kind is not Kind.TEXT}
    order_column = _order_column(moments)
    number = ordinal.column if ordinal else table.primary_key[0] if len(table.primary_key) == 1 else None
    natural = _natural_order(table, number, data, moments.get(order_column) if order_column else None)
    telling = {c: codes for c, codes in coarse.items() if c != order_column}  # rows sorted by a column agree in it, related or not
    owner = _choose_owner(sorted(plan.heads), parents, natural, telling, moments.get(order_column) if order_column else None)
    order, sequence = _in_sequence(natural, parents[owner]) if owner is not None else (np.arange(rows), None)
    entity = next_entity + np.arange(rows)
    if owner is not None:
        taken = pa.array(order)
        for name in list(data):
            data[name] = data[name].take(taken)
        parents = [p[order] for p in parents]
        entity = entity[order]
        coarse = {name: codes[order] for name, codes in coarse.items()}
        moments = {name: values[order] for name, values in moments.items()}
    part_of = _key_to_entity(to_entities, owner, parents)
    in_windows = owner is not None and part_of is None
    chance = uniforms(stream(seed, "held out"), next_entity + _windows(sequence) if in_windows else entity)
    held_out, alike = chance < HELD_OUT, (chance >= HELD_OUT) & (chance < 2 * HELD_OUT)
    if part_of is not None:
        whole, there = prepared[plan.keys[part_of].parent], parents[part_of] >= 0
        for own, theirs in ((entity, whole.entity), (held_out, whole.held_out), (alike, whole.alike)):
            own[there] = theirs[parents[part_of][there]]
    one = PreparedTable(table, data, plan, parents, owner, sequence, order, entity, held_out, alike, coarse, moments)
    one.order_column, one.ordinal = order_column, ordinal
    one.references = _choose_references(one, prepared)
    return one


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


def _is_moment(column: Column) -> bool:
    return base_type(column.data_type) in MOMENT_TYPES and column.kind in (Kind.DATE, Kind.TIMESTAMP)


def _find_parents(key: ForeignKey, child: Mapping[str, pa.Array], parent: Mapping[str, pa.Array]) -> NDArray[np.int64]:
    """Row number of the parent each row refers to, -1 for a null in the key and for orphans."""
    sides = [[parent[p], child[c]] for c, p in zip(key.columns, key.parent_columns, strict=True)]
    known, wanted = joint_codes(sides)
    order = np.argsort(known, kind="stable")
    place = np.minimum(np.searchsorted(known[order], wanted), max(len(known) - 1, 0))
    if not len(known):
        return np.full(len(wanted), -1, dtype=np.int64)
    found: NDArray[np.int64] = np.where((wanted >= 0) & (known[order][place] == wanted), order[place], -1)
    return found


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
    for column in one.plan.columns:
        given = [i for i, key in enumerate(one.keys) if column in key.columns and column not in one.plan.settled[i] | _single(key)]
        if not given:
            continue
        covered = np.any([one.parents[i] >= 0 for i, key in enumerate(one.keys) if column in key.columns], axis=0)
        present = one.data[column].is_valid()
        if pc.any(pc.and_(present, pa.array(~covered))).as_py():
            found[column] = pc.if_else(pa.array(covered), pa.scalar(None, pa.bool_()), present)
    return found


def _presence(column: Column) -> Column:
    return replace(column, kind=Kind.BOOLEAN, data_type="boolean", nullable=True, native_type=None)


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


def _in_sequence(natural: NDArray[np.int64], parent: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Order that puts siblings together, and the sequence number of each row; rows without an owner stand alone at the end."""
    owner = parent[natural].copy()
    alone = owner < 0
    owner[alone] = parent.max(initial=-1) + 1 + np.arange(alone.sum())
    within = np.argsort(owner, kind="stable")
    return natural[within], owner[within]


def _choose_owner(
    candidates: Sequence[int],
    parents: Sequence[NDArray[np.int64]],
    natural: NDArray[np.int64],
    coarse: Mapping[str, NDArray[np.uint8]],
    moment: Floats | None,
) -> int | None:
    """The key along which neighbouring rows tell most about each other, or None where no key has such sequences.

    Long sequences have to earn it: by what siblings tell, or by being a time series.
    """
    best, best_score = None, 0.0
    for i in candidates:
        if not (parents[i] >= 0).any():
            continue
        mean_length = _row_mean_length(parents[i])
        series = mean_length > SHORT_SEQUENCE and _is_time_series(parents[i], moment)
        told = _sibling_dependence(*_in_sequence(natural, parents[i]), parents[i], coarse)
        if mean_length > LONGEST_SEQUENCE:
            own = told - _strangers_dependence(natural, parents[i], coarse) - _family_dependence(natural, parents[i], coarse)
            many = len(np.unique(parents[i][parents[i] >= 0])) >= FEWEST_OWNERS
            worth = many and mean_length <= LONGEST_TELLING_SEQUENCE and own >= OWN_TELLING
        else:
            worth = mean_length <= SHORT_SEQUENCE or told >= TELLING
        if not (series or worth):
            continue
        score = 1e-3 + told + series
        if score > best_score:
            best, best_score = i, score
    return best


def _key_to_entity(to_entities: Sequence[int] | None, owner: int | None, parents: Sequence[NDArray[np.int64]]) -> int | None:
    """The key to the entity that rows are part of, None where each is one: as is said, else the owner's unless that is none."""
    if to_entities is None:
        return owner if owner is not None and _owners_are_entities(parents[owner]) else None
    return owner if owner in to_entities else next(iter(to_entities), None)


def _owners_are_entities(parent: NDArray[np.int64]) -> bool:
    """Whether a parent with its rows is one entity, rather than each row by itself."""
    few = len(np.unique(parent[parent >= 0])) < FEWEST_OWNERS
    return _row_mean_length(parent) <= (MANY_ROWS if few else LONGEST_SEQUENCE)


def _row_mean_length(parent: NDArray[np.int64]) -> float:
    """Mean over rows of how many rows their parent has."""
    counts = np.bincount(parent[parent >= 0]).astype(np.float64)
    return float((counts**2).sum() / counts.sum()) if counts.sum() else 0.0


def _windows(sequence: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Number of the window each row of a long sequence stands in: a series has too few entities to hold some out."""
    assert sequence is not None
    starts = np.r_[True, sequence[1:] != sequence[:-1]]
    index = np.arange(len(sequence)) - np.maximum.accumulate(np.where(starts, np.arange(len(sequence)), 0))
    return np.cumsum(index % SERIES_WINDOW == 0) - 1


def _is_time_series(parent: NDArray[np.int64], moment: Floats | None) -> bool:
    """Whether a parent's rows are readings at mostly regular distances, no two at the same moment: then their order must
    not break, however long it is. (Events of many entities rarely share a second either, but keep no beat.)"""
    if moment is None or not np.isfinite(moment).all() or (parent < 0).any():
        return False
    order = np.lexsort((moment, parent))
    step = np.diff(moment[order])[np.diff(parent[order]) == 0]
    if not len(step) or (step <= 0).any():
        return False
    _, counts = np.unique(step, return_counts=True)
    return bool(counts.max() >= REGULAR * len(step))


def _sibling_dependence(
    order: NDArray[np.int64], sequence: NDArray[np.int64], parent: NDArray[np.int64], coarse: Mapping[str, NDArray[np.uint8]]
) -> float:
    """How much neighbours in a sequence tell of each other (see `_dependence`), times the share of rows that have a neighbour."""
    same = sequence[1:] == sequence[:-1]
    return _dependence(order, same, coarse) * int(same.sum()) / len(parent)


def _strangers_dependence(natural: NDArray[np.int64], parent: NDArray[np.int64], coarse: Mapping[str, NDArray[np.uint8]]) -> float:
    """How much rows of different owners that follow each other tell of each other: what the time tells, not the owner."""
    owner = parent[natural]
    return _dependence(natural, owner[1:] != owner[:-1], coarse)


def _family_dependence(natural: NDArray[np.int64], parent: NDArray[np.int64], coarse: Mapping[str, NDArray[np.uint8]]) -> float:
    """How much siblings tell of each other wherever they stand: what the owner tells, not the order."""
    order, sequence = _in_sequence(natural, parent)
    anyhow = np.lexsort((np.random.default_rng(0).random(len(order)), sequence))
    return _sibling_dependence(order[anyhow], sequence, parent, coarse)


def _dependence(order: NDArray[np.int64], paired: NDArray[np.bool_], coarse: Mapping[str, NDArray[np.uint8]]) -> float:
    """Total variation distance between neighbours' joint distribution and that of independent rows, less what chance
    alone would show, averaged over columns. `paired` says which rows, in `order`, count as neighbours of the one after them."""
    pairs = int(paired.sum())
    if not pairs or not coarse:
        return 0.0
    gains = []
    for codes in coarse.values():
        size = int(codes.max()) + 1
        ordered = codes[order].astype(np.int64)
        first, second = ordered[:-1][paired], ordered[1:][paired]
        joint = np.bincount(first * size + second, minlength=size * size) / pairs
        share = (np.bincount(first, minlength=size) + np.bincount(second, minlength=size)) / (2 * pairs)
        apart = np.outer(share, share).reshape(-1)
        noise = 0.4 * float(np.sqrt(apart / pairs).sum())
        gains.append(max(0.5 * float(np.abs(joint - apart).sum()) - noise, 0.0))
    return float(np.mean(gains))


def _choose_references(one: PreparedTable, prepared: Mapping[str, PreparedTable]) -> dict[str, list[Reference]]:
    """For every column told as steps its references, nearest first: for moments those that are nearer than chance (parents' moments, the
    previous sibling's, another of the row). A column comes after those of its row that it is told from; one without references is
    told as it is, for others to be told from."""
    chosen: dict[str, list[Reference]] = {}
    known: list[str] = []
    for name in sorted(one.moments, key=lambda name: name != one.order_column):
        ranked: list[tuple[float, bool, Reference]] = []
        candidates = [Reference("parent", i, c) for i in one.plan.live for c in prepared[one.keys[i].parent].moments]
        if one.sequence is not None and name == one.order_column:
            candidates.append(Reference("previous"))
        for reference in [*candidates, *(Reference("row", column=c) for c in known)]:
            base = one._reference(name, reference, prepared)
            spread = _relative_spread(one.moments[name], base)
            if spread is not None:
                ranked.append((round(spread, 3), reference.source == "previous", reference))
        _choose(chosen, name, [reference for *_, reference in sorted(ranked, key=lambda item: item[:2])[:3]])
        known.append(name)
    for name, references in _numbers_told_as_steps(one):
        _choose(chosen, name, references)
    return chosen


def _choose(chosen: dict[str, list[Reference]], name: str, references: list[Reference]) -> None:
    if references:
        for reference in references:
            if reference.source == "row":
                chosen.setdefault(reference.column, [])
        chosen[name] = references


def _numbers_told_as_steps(one: PreparedTable) -> Iterator[tuple[str, list[Reference]]]:
    """Numbers that move little from sibling to sibling, or in one direction only (a path's coordinates, a mileage), and those that are
    all but another of their row (an arrival and a departure), or never below it."""
    numbers = _many_levels(one)
    smooth = {name for name, (values, before) in numbers.items() if _relative_spread(values, before, FINER_THAN_BINS) is not None}
    spreads: dict[str, float] = {}
    for name in sorted(numbers, key=lambda name: name not in smooth):
        values, found = numbers[name][0], []
        spread = _spread(values)
        for other, of_other in spreads.items():
            if 0 < of_other <= 2 * spread <= 4 * of_other:
                ratio = _relative_spread(values, numbers[other][0], ALL_BUT)
                found += [(ratio, other)] if ratio is not None else []
        spreads[name] = spread
        previous = [Reference("previous")] if name in smooth else []
        yield name, [*(Reference("row", column=other) for _, other in sorted(found)[:1]), *previous]


def _many_levels(one: PreparedTable) -> dict[str, tuple[Floats, Floats]]:
    """The numbers that steps may lead anywhere in, not unique and of many different values: those of some rows, and of the siblings before
    them."""
    unique = {key[0] for key in (one.table.primary_key, *one.table.unique) if len(key) == 1}
    rows = np.arange(0, one.rows, max(one.rows // MOST_COMPARED, 1))
    follows = np.zeros(len(rows), np.bool_) if one.sequence is None else (rows > 0) & (one.sequence[rows] == one.sequence[rows - 1])
    found = {}
    for column in one.value_columns:
        if column.kind in (Kind.INTEGER, Kind.DECIMAL) and column.name not in unique:
            values, before = (
                to_floats(one.data[column.name].take(pa.array(at)), column.data_type) for at in (rows, np.maximum(rows - 1, 0))
            )
            if len(np.unique(values[np.isfinite(values)])) >= FEWEST_LEVELS:
                found[column.name] = values, np.where(follows, before, np.nan)
    return found


def _relative_spread(values: Floats, base: Floats, nearest: float = 0.5) -> float | None:
    """Spread of the steps relative to the values' own, or None where the reference is not worth using: rarely there,
    neither close by (`nearest`) nor always on one side."""
    both = np.isfinite(values) & np.isfinite(base)
    if both.sum() < 20 or both.sum() < 0.05 * len(values):
        return None
    step = values[both] - base[both]
    own = _spread(values[both])
    ratio = _spread(step) / own if own > 0 else 1.0
    ordered = bool((step >= 0).all() or (step <= 0).all())
    return ratio if ratio < nearest or (ordered and ratio < 1.5) else None


def _spread(values: Floats) -> float:
    low, first, third, high = np.quantile(values[np.isfinite(values)], [0.05, 0.25, 0.75, 0.95])
    return float((high - low) + (third - first))


def siblings_to_come(sequence: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many rows of the same sequence come after each row; rows of one stand together."""
    first = np.flatnonzero(np.r_[True, sequence[1:] != sequence[:-1]][: len(sequence)])
    length = np.diff(np.r_[first, len(sequence)])
    return np.repeat(first + length, length) - 1 - np.arange(len(sequence))


def encode_table(
    one: PreparedTable,
    prepared: Mapping[str, PreparedTable],
    settings: EncodingSettings,
    seed: int,
    wanted: Mapping[str, ColumnSettings],
) -> tuple[TableEncoder, NDArray[np.int32], NDArray[np.bool_]]:
    """Fit the table's encoders, with the formats that are `wanted`, and encode it: (encoder, tokens, which tokens to learn)."""
    references = one.reference_values(prepared)
    pairs = {name: list(zip(one.references[name], references[name], strict=True)) for name in one.references}
    columns, data = one.value_columns, {**one.data, **one.loose}
    unique = {key[0] for key in (one.table.primary_key, *one.table.unique) if len(key) == 1}
    later = one.later
    encoder = TableEncoder.fit(columns, data, pairs, one.entity, settings, stream(seed, "encode", one.table.name), wanted, unique, later)
    tokens, learn = encoder.encode(data, references, later)
    return (
        encoder,
        (tokens if len(columns) else np.zeros((one.rows, 0), np.int32)),
        (learn if len(columns) else np.zeros((one.rows, 0), np.bool_)),
    )
