"""The contract of a column encoder: a column becomes one or few discrete tokens, and tokens become a column again.

An encoder holds statistics only, protected at `fit`: a value that fewer entities have than the settings ask for can
neither be found in its JSON nor come out of `decode`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth_engine.config import ColumnSettings

Tokens = NDArray[np.int32]
"""Shape (rows, slots)."""

Floats = NDArray[np.float64]


AS_FOUND = ColumnSettings()
"""Nothing is wanted of a column: its format is found in its values."""


@dataclass(frozen=True)
class EncodingSettings:
    """Protection thresholds (entities) and resolution (most quantile bins of a number)."""

    rare_entities: int = 5
    extreme_entities: int = 5
    bins: int = 64


ROOM = "its type must have room for new values beside the real ones"
REMEDY = "widen the column in the source, ask for fewer rows, leave the table out, or let the column be a category"


class Encoder(ABC):
    """One column, both directions. `slots` are the vocabulary sizes of its tokens, in the order they are drawn.

    `room` and `remedy` are what is told where there is a `lack`.
    """

    tag: ClassVar[str]
    slots: list[int]
    room: str = ROOM
    remedy: str = REMEDY

    @abstractmethod
    def encode(self, column: pa.Array) -> Tokens:
        """Tokens of a column, shape (rows, slots)."""

    @abstractmethod
    def decode(self, tokens: Tokens, draw: Draw) -> pa.Array:
        """A column of the encoder's Arrow type. What a token leaves open is filled from `draw`."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Statistics in plain JSON; the inverse is `from_json` of the class that `tag` names."""

    @classmethod
    @abstractmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Encoder: ...

    def positions(self) -> list[Floats | None]:
        """For each slot, where its tokens stand in their natural order, in [0, 1] (NaN for tokens outside of it), or
        None if there is no order. Neighbours start out alike in the model."""
        return [None] * len(self.slots)

    def changes(self, rows: int) -> list[str]:
        """What of the source's format cannot be kept in a table of so many rows, in plain words without values."""
        return []

    def lack(self, rows: int) -> str | None:
        """Why the column's type cannot hold new values in so many rows, in plain words; None if it can."""
        return None

    def tells_values(self) -> bool:
        """Whether what it writes is comparable with the source's values: not so where too few entities have any."""
        return True

    def protections(self) -> list[str]:
        """What was protected, in plain words without values."""
        return []


@dataclass(frozen=True)
class Draw:
    """Source of the randomness that decoding needs: `uniform(lane)` gives one number in [0, 1) for each row, `rows`
    their indices in a table of `table_rows`."""

    rows: NDArray[np.int64]
    table_rows: int
    uniform: Callable[[int], Floats]

    def of(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Draw:
        """The same draw for some of the rows."""
        return Draw(self.rows[chosen], self.table_rows, lambda lane: self.uniform(lane)[chosen])


def entity_count_of_values(codes: NDArray[np.int64], entity: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """For each code below `size`, the number of distinct entities that have it; negative codes are ignored."""
    known = codes >= 0
    pairs, span = pair_codes(codes[known], entity[known])
    return np.bincount(np.unique(pairs) // span, minlength=size).astype(np.int64)


def pair_codes(codes: NDArray[np.int64], entity: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """One number for each pair of a code and an entity (both from 0 on), and what it is to be divided by for the code."""
    span = int(entity.max(initial=0)) + 1
    return codes * span + entity, span
