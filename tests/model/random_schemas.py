"""Random relational schemas with valid data: every shape of key a database can declare, small enough to learn in a moment.

Hypothesis draws the structure; the rows follow from it and one drawn seed. `faults` says what in some tables breaks the
schema; the strategy's own rows have none.
"""

from __future__ import annotations

import datetime
import itertools
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from synth_engine.schema import Column, ForeignKey, Schema, Table
from synth_engine.schema.types import default_kind, to_arrow
from synth_engine.statistics import refine_schema

Row = dict[str, Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]
Rng = np.random.Generator

MOST_COLUMNS = 3
"""Columns of a key at most."""
SELDOM = 0.25
"""Share of the rows whose key is null where it may be."""
RING = (("x", "y"), ("y", "z"), ("z", "x"))
"""Columns of the three keys of a ring: each overlaps both others."""
KEY_TYPES = ("int32", "int64", "string", "uuid", "date")


@dataclass(frozen=True)
class Source:
    schema: Schema
    tables: Mapping[str, pa.Table]


@dataclass
class Draft:
    """A table that is being made. `domain` names, for each column, the place its values come from first: two keys may
    share a column only where they have the same domain. `pairs` are unique, too, but nobody refers to them: they belong to keys
    that close a cycle."""

    name: str
    columns: dict[str, Column] = field(default_factory=dict)
    domain: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    primary: tuple[str, ...] = ()
    unique: list[tuple[str, ...]] = field(default_factory=list)
    pairs: list[tuple[str, ...]] = field(default_factory=list)
    keys: list[ForeignKey] = field(default_factory=list)

    def add(self, name: str, data_type: str, nullable: bool = False, domain: str | None = None) -> str:
        name = name if name not in self.columns else f"{name}_{len(self.columns)}"
        self.columns[name] = Column(name, default_kind(data_type), data_type, nullable)
        self.domain[name] = domain or f"{self.name}.{name}"
        return name

    def require(self, columns: Sequence[str]) -> None:
        for name in columns:
            c = self.columns[name]
            self.columns[name] = Column(name, c.kind, c.data_type, False)

    @property
    def candidates(self) -> list[tuple[str, ...]]:
        """Keys that others may refer to."""
        return [key for key in (self.primary, *self.unique) if key]

    def table(self) -> Table:
        return Table(self.name, tuple(self.columns.values()), self.primary, (*self.unique, *self.pairs), tuple(self.keys))


@st.composite
def sources(draw: Draw, most_tables: int = 8) -> Source:
    """A schema of up to so many tables, and rows that keep it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    drafts: list[Draft] = []
    for number in range(draw(st.integers(2, most_tables))):
        drafts.append(_drawn_table(draw, rng, f"t{number}", drafts))
    if len(drafts) + len(RING) + 2 <= most_tables and draw(st.booleans()):
        drafts += _ring(draw, rng)
    if draw(st.booleans()):
        _close_a_cycle(draw, rng, drafts)
    if draw(st.integers(0, 5)) == 0:
        _pair_up(draw, rng, drafts)
    schema = Schema.of(d.table() for d in draw(st.permutations(drafts)))
    tables = {
        d.name: pa.table({c.name: pa.array([r[c.name] for r in d.rows], to_arrow(c.data_type)) for c in d.columns.values()}) for d in drafts
    }
    refined, _ = refine_schema(schema, lambda table: tables[table.name].to_batches(), frozenset(), with_keys=False)
    source = Source(refined, tables)
    assert not faults(source.schema, source.tables)
    return source


def _drawn_table(draw: Draw, rng: Rng, name: str, earlier: list[Draft]) -> Draft:
    draft = Draft(name)
    referable = [d for d in earlier if d.candidates]
    for _ in range(draw(st.sampled_from([1, 2, 2, 3, 1, 0])) if referable else 0):
        _refer(draw, draft, draw(st.sampled_from(referable)))
    making = _identity(draw, rng, draft)
    if draw(st.booleans()):
        making |= _more_unique(draw, rng, draft)
    for number in range(draw(st.integers(0, 1 if draft.columns else 2)) or not draft.columns):
        making |= _value_column(draw, rng, draft, number)
    wanted = draw(st.sampled_from([40, 20, 90, 150, 60, 30, 50, 20, 40, 70, 1, 0]))
    _fill(draft, {d.name: d for d in earlier}, making, wanted, rng)
    if draft.candidates and draw(st.integers(0, 2)) == 0:
        _refer_to_itself(draw, rng, draft)
    return draft


# -- keys ----------------------------------------------------------------------------------------------------------------


def _refer(draw: Draw, draft: Draft, parent: Draft) -> None:
    """A foreign key to one of the parent's keys. Columns of the same domain as one that is there may be shared with it."""
    target = draw(st.sampled_from(parent.candidates))
    nullable = draw(st.sampled_from(["none", "none", "all", "last"]))
    shares = draw(st.integers(0, 3)) > 0
    chosen: list[str] = []
    for at, p in enumerate(target):
        same = [c for c in draft.columns if draft.domain[c] == parent.domain[p] and c not in chosen] if shares else []
        if same:
            chosen.append(draw(st.sampled_from(same)))
            continue
        may = nullable == "all" or (nullable == "last" and at == len(target) - 1)
        chosen.append(draft.add(f"{parent.name}_{p}", parent.columns[p].data_type, may, parent.domain[p]))
    key = ForeignKey(tuple(chosen), parent.name, target)
    if key not in draft.keys:
        draft.keys.append(key)


Making = dict[str, Callable[[Row, int], Any]]
"""How columns that no key gives a value to are made: from the row so far and its number."""


def _identity(draw: Draw, rng: Rng, draft: Draft) -> Making:
    """The primary key, in one of the shapes it can have, and how to make its own columns."""
    foreign = list(dict.fromkeys(c for key in draft.keys for c in key.columns))
    first = list(draft.keys[0].columns) if draft.keys else []
    shapes = ["surrogate", "surrogate", "values", "none"]
    if first:
        shapes += ["is a key"]
        shapes += ["numbered", "dated", "local"] if len(first) < MOST_COLUMNS else []
        shapes += ["pair", "pair"] if len(draft.keys) > 1 and len(foreign) <= MOST_COLUMNS else []
    shape = draw(st.sampled_from(shapes))
    if shape == "none":
        return {}
    if shape == "surrogate":
        return _own_key(draw, rng, draft, "id")
    if shape == "values":
        code, day = draft.add("code", draw(st.sampled_from(["string", "int32", "int64"]))), draft.add("day", "date")
        draft.primary = (code, day)
        few, start = int(rng.integers(4, 12)), _day(int(rng.integers(0, 9000)))
        make = _maker(draft.columns[code].data_type, rng)
        codes = [make(i) for i in range(few)]
        return {
            code: lambda row, i: codes[int(rng.integers(0, few))],
            day: lambda row, i: start + datetime.timedelta(days=int(rng.integers(0, 60))),
        }
    if shape in ("is a key", "pair"):
        draft.primary = tuple(first if shape == "is a key" else foreign)
        draft.require(draft.primary)
        return {}
    draft.require(first)
    if shape == "local":
        making = _own_key(draw, rng, draft, "id")
        draft.primary = (*first, *draft.primary)
        return making
    if shape == "dated":
        day = draft.add("day", "date")
        draft.primary = (*first, day)
        return {day: lambda row, i: _day(int(rng.integers(8000, 8400)))}
    line = draft.add("line", draw(st.sampled_from(["int32", "int64"])))
    draft.primary = (*first, line)
    counts: dict[tuple[Any, ...], int] = {}

    def number(row: Row, i: int) -> int:
        within = tuple(row[c] for c in first)
        counts[within] = counts.get(within, 0) + 1
        return counts[within]

    return {line: number}


def _own_key(draw: Draw, rng: Rng, draft: Draft, name: str) -> Making:
    column = draft.add(name, draw(st.sampled_from(KEY_TYPES)))
    draft.primary = (column,)
    make = _maker(draft.columns[column].data_type, rng)
    return {column: lambda row, i: make(i)}


def _more_unique(draw: Draw, rng: Rng, draft: Draft) -> Making:
    """Another unique key: a code of its own, the columns of a foreign key, or these with a day."""
    shape = draw(st.sampled_from(["code", "code or null", "key", "key and day"] if draft.keys else ["code", "code or null"]))
    if shape.startswith("code"):
        code = draft.add("tag", draw(st.sampled_from(KEY_TYPES)), nullable=shape != "code")
        draft.unique.append((code,))
        make, seldom = _maker(draft.columns[code].data_type, rng), SELDOM if shape != "code" else 0.0
        return {code: lambda row, i: None if rng.random() < seldom else make(i)}
    columns = draft.keys[-1].columns
    if shape == "key" or len(columns) == MOST_COLUMNS:
        if columns != draft.primary:
            draft.unique.append(columns)
        return {}
    day = draft.add("on", "date", nullable=draw(st.booleans()))
    draft.unique.append((*columns, day))
    seldom = SELDOM if draft.columns[day].nullable else 0.0
    return {day: lambda row, i: None if rng.random() < seldom else _day(int(rng.integers(8000, 8400)))}


def _value_column(draw: Draw, rng: Rng, draft: Draft, number: int) -> Making:
    data_type = draw(st.sampled_from(["string", "int32", "date"]))
    column = draft.add(f"v{number}", data_type, nullable=draw(st.booleans()))
    make, seldom = _maker(data_type, rng), SELDOM if draft.columns[column].nullable else 0.0
    few = [make(i) for i in range(4)]
    return {column: lambda row, i: None if rng.random() < seldom else few[int(rng.integers(0, 4))]}


def _maker(data_type: str, rng: Rng) -> Callable[[int], Any]:
    """Different values for 0, 1, 2, …"""
    first, step = int(rng.integers(1, 1000)), int(rng.integers(1, 4))
    make: dict[str, Callable[[int], Any]] = {
        "int32": lambda i: first + step * i,
        "int64": lambda i: 10**10 + first + step * i,
        "string": lambda i: f"K-{first + step * i:05d}",
        "uuid": lambda i: str(uuid.UUID(int=(first << 96) + (i * 7919 << 8), version=4)),
        "date": lambda i: _day(first + step * i),
    }
    return make[data_type]


def _day(number: int) -> datetime.date:
    return datetime.date(1990, 1, 1) + datetime.timedelta(days=number)


# -- rows ----------------------------------------------------------------------------------------------------------------


def _fill(draft: Draft, parents: Mapping[str, Draft], making: Making, wanted: int, rng: Rng) -> None:
    """Rows up to the number wanted; those for which no parents agree, or that repeat something unique, are left out. Where
    keys together are unique, some combinations stay free."""
    seen: list[set[tuple[Any, ...]]] = [set() for _ in draft.candidates]
    of_one_key = {frozenset(key.columns) for key in draft.keys}
    repeated = 0
    for i in range(3 * wanted):
        if len(draft.rows) == wanted or repeated > 4 + wanted // 8:
            return
        row: Row = {}
        if not all(_find(draft, key, parents[key.parent].rows, row, rng) for key in draft.keys):
            continue
        again = [key for key, s in zip(draft.candidates, seen, strict=True) if set(key) <= row.keys() and tuple(row[c] for c in key) in s]
        repeated += any(frozenset(key) not in of_one_key for key in again)
        if again:
            continue  # before anything is numbered
        row.update({c: make(row, i) for c, make in making.items()})
        made = [tuple(row[c] for c in key) for key in draft.candidates]
        if any(None not in values and values in s for values, s in zip(made, seen, strict=True)):
            continue
        for values, s in zip(made, seen, strict=True):
            s.add(values)
        draft.rows.append(row)


def _find(draft: Draft, key: ForeignKey, parents: Sequence[Row], row: Row, rng: Rng) -> bool:
    """Choose a parent that agrees with what the row holds already, or leave the key null; False if neither can be."""
    known = {c: row[c] for c in key.columns if c in row}
    unknown = [c for c in key.columns if c not in row]
    may = [c for c in unknown if draft.columns[c].nullable]
    pairs = list(zip(key.columns, key.parent_columns, strict=True))
    fitting = [p for p in parents if all(p[q] is not None and (c in unknown or p[q] == known[c]) for c, q in pairs)]
    if None not in known.values() and fitting and not (may and rng.random() < SELDOM):
        chosen = fitting[int(rng.integers(0, len(fitting)))]
        row.update({c: chosen[q] for c, q in pairs})
        return True
    if None not in known.values() and not may:
        return False
    empty = set(may if rng.random() < 0.5 else may[-1:])  # all that may be null, or one of them
    for c, q in pairs:
        if c in unknown:
            loose = [p[q] for p in parents if p[q] is not None] if c not in empty else []
            row[c] = loose[int(rng.integers(0, len(loose)))] if loose else None
            if row[c] is None and c not in may:
                return False
    return True


def _refer_to_itself(draw: Draw, rng: Rng, draft: Draft) -> None:
    """A reference to the table's own rows, without a cycle; of a composite key some columns may be the row's own."""
    target = draw(st.sampled_from(draft.candidates))
    shared = list(target[:-1]) if len(target) > 1 and draw(st.booleans()) else []
    keyed = all(None not in [r[c] for c in target] for r in draft.rows)
    nullable = not keyed or draw(st.booleans())
    columns = [c if c in shared else draft.add(f"up_{c}", draft.columns[c].data_type, nullable, draft.domain[c]) for c in target]
    share = draw(st.sampled_from([0.7, 0.1, 1.0]))
    once = nullable and draw(st.integers(0, 2)) == 0  # a chain: each row follows another that no other follows
    if once:
        draft.pairs.append(tuple(columns))
    followed: set[int] = set()
    for i, row in enumerate(draft.rows):
        above = [
            n
            for n, r in enumerate(draft.rows[:i])
            if None not in [r[c] for c in target] and all(r[c] == row[c] for c in shared) and n not in followed
        ]
        if above and rng.random() < share:
            chosen = above[int(rng.integers(0, len(above)))]
            followed |= {chosen} if once else set()
            found = draft.rows[chosen]
            row.update({c: found[t] for c, t in zip(columns, target, strict=True)})
        else:
            row.update({c: None if nullable else row[t] for c, t in zip(columns, target, strict=True) if c not in shared})
    draft.keys.append(ForeignKey(tuple(columns), draft.name, target))


def _close_a_cycle(draw: Draw, rng: Rng, drafts: list[Draft]) -> None:
    """A reference from a parent back to one of its children."""
    by_name = {d.name: d for d in drafts}
    edges = [(child, key) for child in drafts for key in child.keys if child.candidates and key.parent != child.name]
    if not edges:
        return
    child, forth = draw(st.sampled_from(edges))
    parent = by_name[forth.parent]
    target = draw(st.sampled_from(child.candidates))
    shares = draw(st.booleans())
    shared = {p: c for p in target for c in parent.columns if shares and child.domain[p] == parent.domain[c]}
    if len(set(shared.values())) < len(shared) or len(shared) == len(target):
        shared = {}
    fitting = [
        [r for r in child.rows if all(r[p] is not None and (p not in shared or r[p] == row[shared[p]]) for p in target)]
        for row in parent.rows
    ]
    back_is_null = any(child.columns[c].nullable for c in forth.columns)
    nullable = not all(fitting) or not back_is_null or draw(st.booleans())
    columns = [shared.get(p) or parent.add(f"{child.name}_{p}", child.columns[p].data_type, nullable, child.domain[p]) for p in target]
    for row, found in zip(parent.rows, fitting, strict=True):
        chosen = found[int(rng.integers(0, len(found)))] if found and not (nullable and rng.random() < SELDOM) else None
        row.update({c: chosen[p] if chosen else None for c, p in zip(columns, target, strict=True) if p not in shared})
    parent.keys.append(ForeignKey(tuple(columns), child.name, target))


def _pair_up(draw: Draw, rng: Rng, drafts: list[Draft]) -> None:
    """Two tables each of whose rows refers to at most one of the other, and is referred to by at most one."""
    named = [d for d in drafts if d.candidates]
    if len(named) < 2:
        return
    first, second = draw(st.permutations(named))[:2]
    required = draw(st.booleans())
    targets = [draw(st.sampled_from(parent.candidates)) for parent in (second, first)]
    for (child, parent), target in zip(((first, second), (second, first)), targets, strict=True):
        whole = [r for r in parent.rows if None not in [r[p] for p in target]]
        nullable = not required or len(whole) < len(child.rows) or child is second
        columns = [child.add(f"{parent.name}_{p}", parent.columns[p].data_type, nullable, parent.domain[p]) for p in target]
        taken = iter(rng.permutation(len(whole)).tolist())
        for row in child.rows:
            at = next(taken, None) if not (nullable and rng.random() < SELDOM) else None
            row.update({c: None if at is None else whole[at][p] for c, p in zip(columns, target, strict=True)})
        child.keys.append(ForeignKey(tuple(columns), parent.name, target))
        child.pairs.append(tuple(columns))


def _ring(draw: Draw, rng: Rng) -> list[Draft]:
    """Three tables of pairs, and one with a key to each of them: every two of its keys share a column."""
    base, ring = Draft("base"), Draft("ring")
    make = _own_key(draw, rng, base, "id")["id"]
    base.rows = [{"id": make({}, i)} for i in range(draw(st.integers(6, 9)))]
    values, density = [r["id"] for r in base.rows], draw(st.sampled_from([0.6, 0.75, 0.9]))
    nullable = {c: draw(st.integers(0, 4)) == 0 for c in "xyz"}
    pairs = []
    for c in "xyz":
        ring.add(c, base.columns["id"].data_type, nullable[c], base.domain["id"])
    for a, b in RING:
        pair = Draft(f"pair_{a}{b}", primary=(a, b))
        for c in pair.primary:
            pair.add(c, base.columns["id"].data_type, False, base.domain["id"])
            pair.keys.append(ForeignKey((c,), "base", ("id",)))
        pair.rows = [{a: v, b: w} for v, w in itertools.product(values, values) if rng.random() < density]
        pairs.append(pair)
        ring.keys.append(ForeignKey((a, b), pair.name, (a, b)))
    there = [{(r[a], r[b]) for r in p.rows} for p, (a, b) in zip(pairs, RING, strict=True)]
    triples = [dict(zip("xyz", v, strict=True)) for v in itertools.product(values, values, values)]
    whole = [r for r in triples if all((r[a], r[b]) in known for known, (a, b) in zip(there, RING, strict=True))]
    if draw(st.booleans()):
        ring.primary = tuple("xyz")
        ring.require(ring.primary)
        ring.rows = [whole[i] for i in rng.permutation(len(whole))[: len(whole) // 3]]
    else:
        ring.rows = [dict(whole[i]) for i in rng.integers(0, len(whole), 40)] if whole else []
        for row in ring.rows:
            row.update({c: None for c in "xyz" if nullable[c] and rng.random() < SELDOM})
    return [base, *pairs, ring]


# -- what must hold ------------------------------------------------------------------------------------------------------


def faults(schema: Schema, tables: Mapping[str, pa.Table]) -> list[str]:
    """What breaks the schema: types, nulls, repeated keys, orphans, and rows that are their own ancestors."""
    rows = {name: tables[name].to_pylist() for name in schema.tables}
    found: list[str] = []
    for name, table in schema.tables.items():
        if tables[name].schema.names != list(table.column_names):
            found.append(f"{name}: columns {tables[name].schema.names}")
        for c in table.columns:
            if tables[name].schema.field(c.name).type != to_arrow(c.data_type):
                found.append(f"{name}.{c.name}: type {tables[name].schema.field(c.name).type}")
            if (not c.nullable or c.name in table.primary_key) and tables[name][c.name].null_count:
                found.append(f"{name}.{c.name}: null")
        for unique in (table.primary_key, *table.unique):
            values = [v for r in rows[name] if None not in (v := tuple(r[c] for c in unique))] if unique else []
            if len(set(values)) < len(values):
                found.append(f"{name}{unique}: {len(values) - len(set(values))} repeated")
        for key in table.foreign_keys:
            there = {tuple(r[p] for p in key.parent_columns) for r in rows[key.parent]}
            orphans = [v for r in rows[name] if None not in (v := tuple(r[c] for c in key.columns)) and v not in there]
            if orphans:
                found.append(f"{key.label(name)}: {len(orphans)} orphans")
            elif key.parent == name and has_cycle(rows[name], key):
                found.append(f"{key.label(name)}: a row is its own ancestor")
    return found


def has_cycle(rows: Sequence[Row], key: ForeignKey) -> bool:
    """Whether a row is above itself along a reference to the own table, other than as its own parent."""
    above = {tuple(r[p] for p in key.parent_columns): tuple(r[c] for c in key.columns) for r in rows}
    for start in above:
        at, steps = start, 0
        while at in above and above[at] != at and None not in above[at]:
            at, steps = above[at], steps + 1
            if steps > len(above):
                return True
    return False
