"""What is settled by something else in every row: categories by another of their row (a city's country, a code's name), columns in which
the rows of one parent do not differ by the first of these."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_engine.codes import joint_codes
from synth_engine.encode.base import Tokens, entity_count_of_values
from synth_engine.encode.category import RARE, CategoryEncoder
from synth_engine.encode.table import TableEncoder
from synth_engine.model.derivations import CHANCE, sample_of
from synth_engine.model.prepared import PreparedTable
from synth_engine.schema.model import MODELLED_KINDS

FIRST = RARE + 1
"""The first token of a category that may be written."""


@dataclass(frozen=True)
class Dependency:
    """The tokens of slot `of` settle those of `slot` (both counted among the slots of columns): `tokens` has for each token the other's, -1
    where it settles nothing."""

    slot: int
    of: int
    tokens: NDArray[np.int32]

    def settle(self, tokens: Tokens, hidden: int) -> None:
        """Give the rows, in place, what is settled; but for values that nothing settles (a country none of whose cities may be written):
        they would be lost. `hidden` is the number of tokens before those of columns."""
        given, found = self.tokens[tokens[:, hidden + self.of]], tokens[:, hidden + self.slot]
        unsettled = (found >= FIRST) & ~np.isin(found, self.tokens)
        tokens[:, hidden + self.slot] = np.where((given >= 0) & ~unsettled, given, found)

    def to_json(self) -> dict[str, Any]:
        return {"slot": self.slot, "of": self.of, "tokens": self.tokens.tolist()}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Dependency:
        return cls(raw["slot"], raw["of"], np.array(raw["tokens"], dtype=np.int32))


def find_dependencies(encoder: TableEncoder, tokens: Tokens, entity: NDArray[np.int64], fixed: Collection[str]) -> list[Dependency]:
    """What every category of one column has one of another for, each column settled once and after what it is settled by; `tokens` are
    those of all rows before rare values have a place, and `fixed` the columns that must stay as they are drawn.

    A column is settled by the one of fewest values that does so, so that what follows by way of a third does so in two steps."""
    slots = {c.slots[0]: c.column.name for c in encoder.columns if isinstance(c.encoder, CategoryEncoder) and len(c.encoder.values) > 1}
    some = sample_of(len(tokens))
    levels = {slot: int((np.bincount(tokens[:, slot])[FIRST:] > 0).sum()) if len(tokens) else 0 for slot in slots}
    coarse_last = sorted((slot for slot in slots if levels[slot] > 1), key=lambda slot: (-levels[slot], slot))
    found = []
    for place, slot in enumerate(coarse_last):
        if slots[slot] in fixed:
            continue
        for of in reversed(coarse_last[:place]):
            settled = _settled(tokens[some, of], tokens[some, slot])
            if settled is None or (settled := _settled(tokens[:, of], tokens[:, slot])) is None:
                continue
            if not _is_chance(tokens[:, of], tokens[:, slot], entity):
                found.append(Dependency(slot, of, settled))
                break
    return found


def settle(tokens: Tokens, hidden: int, dependencies: Sequence[Dependency]) -> None:
    """Give rows what their categories settle, in place."""
    for dependency in dependencies:
        dependency.settle(tokens, hidden)


def _settled(of: NDArray[np.int32], token: NDArray[np.int32]) -> NDArray[np.int32] | None:
    """For each token of the one column that of the other, -1 where there is none; None if it is not always the same."""
    known = of >= FIRST
    of, token = of[known], token[known]
    found = np.full(int(of.max(initial=0)) + 1, -1, np.int32)
    found[of] = token
    return found if len(of) and bool((found[of] == token).all()) else None


def _is_chance(of: NDArray[np.int32], token: NDArray[np.int32], entity: NDArray[np.int64]) -> bool:
    """Whether the entities of each value of the one column could well have the same of the other though that is none of their business."""
    known = of >= FIRST
    entities = entity_count_of_values(of[known].astype(np.int64), entity[known] - entity[known].min(), int(of.max()) + 1)
    commonest = np.bincount(token[known]).max() / known.sum()
    return bool(np.maximum(entities - 1, 0).sum() * np.log(commonest) > np.log(CHANCE))


@dataclass(frozen=True)
class Constant:
    """All rows of one parent along key number `key` have the same in `column`."""

    column: str
    key: int

    def to_json(self) -> list[Any]:
        return [self.column, self.key]

    @classmethod
    def from_json(cls, raw: list[Any]) -> Constant:
        return cls(*raw)


def find_constants(one: PreparedTable, fixed: Collection[str]) -> list[Constant]:
    """The columns that no parent's rows differ in, with the key of most parents for which that is so; not those `fixed`, nor what follows
    from others, is told from them, or tells them."""
    telling = {name for derivation in one.derived if not derivation.is_restated for name in derivation.operands}
    others = telling.union(fixed, one.loose, one.references)
    found: list[Constant] = []
    keys = sorted(one.plan.live, key=lambda i: -len(np.unique(one.parents[i])))
    for column in (c for c in one.own_columns if c.name not in others and c.kind in MODELLED_KINDS):
        code = joint_codes([[one.data[column.name]]])[0] if one.rows else np.zeros(0, np.int64)
        key = next((i for i in keys if _is_constant(code, one.parents[i])), None)
        if key is not None:
            found.append(Constant(column.name, key))
    return found


def first_of_parent(parents: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row the first that has the same parent; itself where there is none."""
    rows = np.arange(len(parents))
    first = np.full(int(parents.max(initial=-1)) + 2, len(parents))
    np.minimum.at(first, parents, rows)  # of those without a parent the last place
    return np.where(parents >= 0, first[parents], rows)


def _is_constant(code: NDArray[np.int64], parents: NDArray[np.int64]) -> bool:
    """Whether rows of one parent have one value, and would not by chance."""
    some = sample_of(len(code))
    first = first_of_parent(parents)
    if not len(some) or not np.array_equal(code[first[some]], code[some]) or not np.array_equal(code[first], code):
        return False
    others = int((first != np.arange(len(first))).sum())
    commonest = np.unique(code, return_counts=True)[1].max() / len(code)
    return bool(commonest < 1 and others * np.log(commonest) < np.log(CHANCE))
