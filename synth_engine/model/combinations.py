"""Columns of several keys that are unique together (the pair of a bridge): parents swapped until no combination comes twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synth_engine.codes import joint_codes
from synth_engine.errors import Terminal
from synth_engine.model.generated import GeneratedTable
from synth_engine.model.keyplan import KeyPlan
from synth_engine.model.keyvalues import KeyValues
from synth_engine.model.links import with_others, without_duplicates, without_late_duplicates
from synth_engine.model.openings import Openings
from synth_engine.model.state import TableModel
from synth_engine.randomness import generator


class Combinations:
    """Parts the repeated combinations of a table whose links are there."""

    def __init__(self, values: KeyValues, openings: Openings) -> None:
        self.values, self.openings = values, openings

    def part_duplicates(self, table: TableModel, made: GeneratedTable) -> None:
        """Where columns of live keys together are unique, no combination may come twice: the parents of one key, or of several
        that overlap, are swapped between rows. Only where no swap helps does a row get a parent it was not dealt.

        Raises `Terminal` naming the unique key if the keys leave too few combinations.
        """
        schema, plan = self.values.schema.tables[made.name], self.values.plan(made.name)
        for unique in (schema.primary_key, *schema.unique):
            if not unique or not set(unique) <= plan.columns or any(set(plan.keys[i].columns) == set(unique) for i in plan.live):
                continue
            for together in _movable(table, plan, unique):
                self._swap(made, plan, together, unique)
            for i in (i for i in reversed(plan.order) if i in table.reference_keys and not table.keys[i].degrees.unique):
                self._replace(made, plan, i, unique)
            _refuse(made, plan, plan.live, unique, self._repeated(made, plan, unique))

    def part_late_duplicates(self, made: GeneratedTable, i: int) -> None:
        """The same where key i closes a cycle and completes a unique combination of key columns. A key of several columns is not
        swapped: its repeated combinations are refused."""
        schema, plan = self.values.schema.tables[made.name], self.values.plan(made.name)
        key, earlier = plan.keys[i], plan.order[: plan.order.index(i)]
        done = {c for j in earlier for c in plan.keys[j].columns}
        for unique in (schema.primary_key, *schema.unique):
            own, rest = sorted(set(unique) & set(key.columns)), sorted(set(unique) - set(key.columns))
            if not rest or not set(rest) <= done or set(own) <= plan.settled[i]:
                continue
            (others,) = joint_codes([[self.values.settled(made, plan, i, c)] for c in rest])
            if len(key.columns) == 1:
                rng, parents = generator(self.values.seed, "late", made.name, *unique), self.values.tables[key.parent].rows
                made.parents[i] = without_late_duplicates(made.parents[i], others, parents, key.parent == made.name, rng)
            (mine,) = joint_codes([[self.values.of_row(made, plan, c, [i])] for c in own])
            pairs = np.stack([others, mine])[:, (others >= 0) & (mine >= 0)]
            repeated = pairs.shape[1] - np.unique(pairs, axis=1).shape[1]
            _refuse(made, plan, [j for j in plan.order if j == i or j in plan.live], unique, repeated)

    def _repeated(self, made: GeneratedTable, plan: KeyPlan, unique: Sequence[str]) -> int:
        code = self.values.codes(made, plan, unique)
        code = code[code >= 0]
        return len(code) - len(np.unique(code))

    def _swap(self, made: GeneratedTable, plan: KeyPlan, together: Sequence[int], unique: Sequence[str]) -> None:
        """Swap the parents along some keys, null or not, between rows that agree in what these keys share with others."""
        own = _own_part(plan, together, unique)
        if not own or not self._repeated(made, plan, unique):
            return
        value = self.values.codes(made, plan, own)
        group = self.values.codes_with_nulls(made, plan, _shared(plan, together))
        others = self.values.codes(made, plan, [c for c in unique if c not in own])
        moving = np.where(value >= 0, np.arange(made.rows), -1)
        moved = without_duplicates(others, moving, np.maximum(value, 0), group, self._rng(made, unique))
        for j in together:
            made.parents[j] = np.where(moved >= 0, made.parents[j][moved], made.parents[j])

    def _replace(self, made: GeneratedTable, plan: KeyPlan, i: int, unique: Sequence[str]) -> None:
        """Give repeated rows another parent along key i, one it was not dealt, that agrees in what the key shares with others."""
        own = _own_part(plan, [i], unique)
        if not own or not self._repeated(made, plan, unique):
            return
        value, value_of_parent = self.values.codes_of_both(made, plan, i, own)
        group, group_of_parent = self.values.codes_of_both(made, plan, i, _shared(plan, [i]))
        others = self.values.codes(made, plan, [c for c in unique if c not in own])
        moving = np.where((value >= 0) & (group >= 0), made.parents[i], -1)
        spare = np.where(self.openings.open(made.name, plan, i) & (value_of_parent >= 0), group_of_parent, -1)
        made.parents[i] = np.where(
            moving >= 0,
            with_others(others, moving, np.maximum(value_of_parent, 0), np.maximum(group, 0), spare, self._rng(made, unique)),
            made.parents[i],
        )

    def _rng(self, made: GeneratedTable, unique: Sequence[str]) -> np.random.Generator:
        return generator(self.values.seed, "unique", made.name, *unique)


def _refuse(made: GeneratedTable, plan: KeyPlan, keys: Sequence[int], unique: Sequence[str], repeated: int) -> None:
    if repeated:
        parents = " or of ".join(sorted({plan.keys[i].parent for i in keys if set(unique) & set(plan.keys[i].columns)}))
        raise Terminal(
            f"The combination of columns in {made.name}({', '.join(unique)}) must be unique",
            value=f"{repeated} of {made.rows} rows repeat one, and the keys leave no other",
            advice=f"ask for fewer rows of {made.name} or more of {parents}",
        )


def _movable(table: TableModel, plan: KeyPlan, unique: Sequence[str]) -> list[list[int]]:
    """Sets of references that can move as one: a key with those that it implies, keys that overlap, and all of them, where the
    owner has a part of the unique key, too. The smallest change comes first."""
    references = [i for i in reversed(plan.order) if i in table.reference_keys]
    implied = [[i, *(j for j in references if j != i and set(plan.keys[j].columns) <= set(plan.keys[i].columns))] for i in references]
    found: list[list[int]] = []
    for together in (*implied, *(_overlapping(plan, references, i) for i in references), references):
        if set(together) not in [set(f) for f in found] and set(unique) & {c for i in together for c in plan.keys[i].columns}:
            found.append(list(together))
    return found


def _overlapping(plan: KeyPlan, among: Sequence[int], first: int) -> list[int]:
    """The keys that share a column with the first, or with one that does."""
    together = [first]
    for i in together:
        together += [j for j in among if j not in together and set(plan.keys[i].columns) & set(plan.keys[j].columns)]
    return together


def _own_part(plan: KeyPlan, together: Sequence[int], unique: Sequence[str]) -> list[str]:
    """Columns of the unique key that only these live keys give a value to."""
    own = {c for i in together for c in plan.keys[i].columns} - {c for i in plan.live if i not in together for c in plan.keys[i].columns}
    return [c for c in unique if c in own]


def _shared(plan: KeyPlan, together: Sequence[int]) -> list[str]:
    """Columns that these keys share with other live ones."""
    others = {c for i in plan.live if i not in together for c in plan.keys[i].columns}
    return sorted({c for i in together for c in plan.keys[i].columns} & others)
