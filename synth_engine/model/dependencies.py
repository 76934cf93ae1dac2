"""Categories that another of their row settles: a city's country, a code's name. Found where it is so in every row."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_engine.encode.base import Tokens, entity_count_of_values
from synth_engine.encode.category import FIRST_VALUE, RARE, CategoryEncoder
from synth_engine.encode.table import TableEncoder
from synth_engine.model.evidence import is_chance, sample_of

FIRST = FIRST_VALUE
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
    those of all rows before rare values have a place, and `fixed` the columns that something else has a say in.

    A column is settled by the one of fewest values that does so, so that what follows by way of a third does so in two steps."""
    slots = {c.slots[0]: c.column.name for c in encoder.columns if isinstance(c.encoder, CategoryEncoder) and len(c.encoder.values) > 1}
    some = sample_of(len(tokens))
    levels = {slot: int((np.bincount(tokens[:, slot])[FIRST:] > 0).sum()) if len(tokens) else 0 for slot in slots}
    free = (slot for slot in slots if levels[slot] > 1 and slots[slot] not in fixed)
    coarse_last = sorted(free, key=lambda slot: (-levels[slot], slot))
    found = []
    for place, slot in enumerate(coarse_last):
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
    """For each token of the one column that of the other, -1 where there is none; None if it is not always the same, or one that may not be
    written."""
    known = of >= FIRST
    of, token = of[known], token[known]
    if (token == RARE).any():
        return None
    found = np.full(int(of.max(initial=0)) + 1, -1, np.int32)
    found[of] = token
    return found if len(of) and bool((found[of] == token).all()) else None


def _is_chance(of: NDArray[np.int32], token: NDArray[np.int32], entity: NDArray[np.int64]) -> bool:
    """Whether the entities of each value of the one column could well have the same of the other though that is none of their business."""
    known = of >= FIRST
    entities = entity_count_of_values(of[known].astype(np.int64), entity[known] - entity[known].min(), int(of.max()) + 1)
    commonest = np.bincount(token[known]).max() / known.sum()
    return is_chance(int(np.maximum(entities - 1, 0).sum()), float(commonest))
