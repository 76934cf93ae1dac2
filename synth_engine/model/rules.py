"""What holds in every row of a table, put together: what follows from parents, from the row, and from children."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth_engine.encode.derived import Derivation
from synth_engine.model.aggregates import Aggregate, find_aggregates
from synth_engine.model.derivations import find_derivations, find_repeated, without
from synth_engine.model.evidence import numbers_of, sample_of
from synth_engine.model.keyplan import KeyPlan
from synth_engine.model.prepared import PreparedTable, is_moment
from synth_engine.model.references import choose_references
from synth_engine.schema import Column, Table

RELATED = 0.3
"""Correlation of ranks from which on two columns go together."""


def find_rules(
    columns: Sequence[Column],
    table: Table,
    plan: KeyPlan,
    data: Mapping[str, pa.Array],
    parents: Sequence[NDArray[np.int64]],
    prepared: Mapping[str, PreparedTable],
    given: Collection[str] = (),
    summed: Collection[str] = (),
) -> list[Derivation]:
    """What of the `columns` follows from parents, then what follows from the row; nothing that is `given` otherwise, or `summed` up from
    children."""
    unique = settled_otherwise(table).union(given)
    above = {i: (parents[i], prepared[plan.keys[i].parent]) for i in plan.live if plan.keys[i].parent in prepared}
    told = {
        i: (at, [other.table.column(c.name) for c in other.value_columns if c.name not in other.loose], other.data)
        for i, (at, other) in above.items()
    }
    repeated = find_repeated(columns, unique.union(summed), data, told)
    return repeated + find_derivations(columns, unique, data, {one.column for one in repeated}, summed)


def settled_otherwise(table: Table) -> frozenset[str]:
    """Columns whose values something else than their row has a say in: keys, what must not repeat, the types of polymorphic references."""
    types = (reference.type_column for reference in table.polymorphic)
    return table.key_columns.union(types, *table.unique)


def tell_by_steps(one: PreparedTable, prepared: Mapping[str, PreparedTable]) -> None:
    """Choose what columns are told from as steps. Where that are siblings or parents, nothing is computed from them: in a row whose result
    would lie outside of what may be written they could not be drawn again."""
    while True:
        one.references = choose_references(one, prepared)
        steps = {name for name, found in one.references.items() if any(r.source != "row" for r in found)}
        while more := {name for name, found in one.references.items() if any(r.column in steps for r in found)} - steps:
            steps |= more
        left = without(one.derived, steps)
        if len(left) == len(one.derived):
            return
        one.derived = left


def add_up(
    prepared: Mapping[str, PreparedTable], given: Mapping[str, Collection[str]], kept: Collection[str]
) -> dict[str, list[Aggregate]]:
    """Table -> its columns that sum up children. Where one was to be computed from others of its row (an order's net as its total less the
    discount), that is told anew without it: what the children come to goes first. What would be computed from a sum and something that goes
    with it (a share paid of it) is not: the one moves, the other stays. Nothing of this in tables to be kept, which are prepared once more
    without the others."""
    found: dict[str, list[Aggregate]] = {name: [] for name in prepared}
    moved: dict[str, set[str]] = {name: set() for name in prepared}
    circular: dict[str, set[str]] = {name: set() for name in prepared}
    for name, one in prepared.items():
        if name in kept:
            continue
        sums = find_aggregates(one, prepared, settled_otherwise(one.table).union(given.get(name, ())))
        found[name] = [aggregate for aggregate in sums if not _tells_others(aggregate, sums, one, prepared)]
        summed = {aggregate.column for aggregate in found[name]}
        if summed:
            columns = [one.table.column(c.name) for c in one.value_columns if c.name not in one.loose]
            fixed = circular[name].union(given.get(name, ()))
            one.derived = find_rules(columns, one.table, one.plan, one.data, one.parents, prepared, fixed, summed)
            tell_by_steps(one, prepared)
        copies = ((copy, one.keys[copy.key].parent) for copy in one.derived if copy.key is not None)
        moved[name] = summed | {copy.column for copy, parent in copies if copy.operands[0] in moved[parent]}
        one.derived = _untorn(one, moved[name])
        for aggregate in found[name]:
            circular[aggregate.child] |= _in_circle(aggregate, prepared[aggregate.child], moved[name])
    return found


def _in_circle(aggregate: Aggregate, child: PreparedTable, moved: Collection[str]) -> set[str]:
    """The columns of children by which what is summed up hangs on the sum itself, once it is repeated there; they are drawn from now on."""
    hanging = {copy.column for copy in child.derived if copy.key == aggregate.key and copy.operands[0] in moved}
    computed: set[str] = set()
    for one in child.derived:
        if one.key is None and (hanging | computed).intersection(one.operands):
            computed.add(one.column)
    if aggregate.of not in computed:
        return set()
    child.derived = [one for one in child.derived if one.column not in computed]
    return computed


def _tells_others(aggregate: Aggregate, found: Sequence[Aggregate], one: PreparedTable, prepared: Mapping[str, PreparedTable]) -> bool:
    """Whether it is a moment that others than those of the children it sums up are told from: they would be left behind when it moves."""
    if not is_moment(one.table.column(aggregate.column)):
        return False
    name, summed = aggregate.column, {other.column for other in found if (other.child, other.key) == (aggregate.child, aggregate.key)}
    own = any(r.source == "row" and r.column == name for told, rs in one.references.items() if told not in summed for r in rs)
    return own or any(
        r.source == "parent" and r.column == name and other.keys[r.key].parent == one.table.name
        for child, other in prepared.items()
        for references in other.references.values()
        for r in references
        if (child, r.key) != (aggregate.child, aggregate.key)
    )


def _untorn(one: PreparedTable, moved: set[str]) -> list[Derivation]:
    """The derived columns without those that hang on columns that are `moved` and on others that go with them; what hangs on moved ones is
    moved, too."""
    left: list[Derivation] = []
    gone: set[str] = set()
    for derivation in one.derived:
        operands = set(derivation.operands)
        if derivation.key is None and not derivation.is_restated and operands & gone:
            gone.add(derivation.column)
        elif derivation.key is None and not derivation.is_restated and operands & moved:
            torn = any(_go_together(one, a, b) for a in operands & moved for b in operands - moved)
            (gone if torn else moved).add(derivation.column)
        if derivation.column not in gone:
            left.append(derivation)
    return left


def _go_together(one: PreparedTable, *names: str) -> bool:
    """Whether the ranks of two numbers are correlated."""
    rows = sample_of(one.rows)
    first, second = (numbers_of(one.data[name].take(pa.array(rows)), one.table.column(name)) for name in names)
    known = np.isfinite(first) & np.isfinite(second)
    ranks = [np.argsort(np.argsort(values[known], kind="stable"), kind="stable").astype(np.float64) for values in (first, second)]
    return bool(known.sum() > 2 and abs(np.corrcoef(ranks[0], ranks[1])[0, 1]) > RELATED)
