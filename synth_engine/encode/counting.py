"""Whole numbers that count rows: as dense as the source's, with gaps like the source's, exact at any size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_engine.errors import Terminal
from synth_engine.randomness import generator, stream, uniforms

LARGEST_SUM = 1 << 61
"""Gaps are added up in 64 bits; numbers that lie further apart are spread evenly instead."""


@dataclass(frozen=True)
class Numbering:
    """`count` numbers from `first` to `last`, none beyond `low` and `high`.

    `gaps` are those between neighbours that enough of them share, each with its share; `wide` tells of all others how many
    binary digits they have: (digits, share).
    """

    first: int
    last: int
    count: int
    low: int
    high: int
    gaps: tuple[tuple[int, float], ...] = ()
    wide: tuple[tuple[int, float], ...] = ()

    @classmethod
    def fit(cls, values: NDArray[Any], entities: int, low: int, high: int) -> Numbering:
        """Learn from different numbers, of 64 bits or Python's own; a gap that comes up fewer than `entities` times is kept by its
        magnitude only."""
        if not len(values):
            return cls(1, 0, 0, low, high)
        numbers = np.sort(values)
        first, last, total = int(numbers[0]), int(numbers[-1]), max(len(numbers) - 1, 1)
        if last - first >= LARGEST_SUM:  # differences might not fit 64 bits
            numbers = numbers.astype(object)
        sizes, counts = np.unique(np.diff(numbers), return_counts=True)
        often = counts >= max(entities, 2)
        magnitude = Counter({0: 0})
        for gap, times in zip(sizes[~often].tolist(), counts[~often].tolist(), strict=True):
            magnitude[gap.bit_length()] += times
        gaps = tuple((gap, times / total) for gap, times in zip(sizes[often].tolist(), counts[often].tolist(), strict=True))
        wide = tuple((digits, times / total) for digits, times in sorted(magnitude.items()) if times)
        return cls(first, last, len(numbers), low, high, gaps, wide)

    @property
    def dense(self) -> float:
        """Share of the numbers that follow right upon another."""
        return dict(self.gaps).get(1, 0.0)

    def draw(self, rows: int, seed: int, start: int | None = None) -> list[int]:
        """`rows` different numbers, ascending. From `start` on without gaps, if it is given."""
        first = self.first if start is None else start
        if start is not None and start + rows - 1 > self.high:
            raise Terminal(
                "Keys that start at a given number must fit their type",
                value=f"{rows} rows from {start} on, where {self.high} is the largest",
                advice="set key_start lower, ask for fewer rows, or widen the column",
            )
        offsets = self._offsets(rows, seed) if start is None else list(range(rows))
        if offsets is None or (offsets and first + offsets[-1] > self.high):
            return self._spread(rows, seed)
        return [first + offset for offset in offsets]

    def _offsets(self, rows: int, seed: int) -> list[int] | None:
        """Distances from the first number by drawn gaps, None if they are too wide for that."""
        if rows == 0 or self.count < 2:
            return list(range(rows))
        if (self.last - self.first) * max(rows, self.count) >= LARGEST_SUM * (self.count - 1):
            return None
        return [0, *np.cumsum(self._drawn_gaps(rows - 1, seed)).tolist()]

    def _drawn_gaps(self, number: int, seed: int) -> NDArray[np.int64]:
        """So many gaps in the shares of the source's; those known by magnitude are stretched to the source's range."""
        shares = np.cumsum([share for _, share in (*self.gaps, *self.wide)])
        even = (generator(seed, "gaps").permutation(number) + 0.5) / max(number, 1)
        chosen = np.minimum(np.searchsorted(shares, even * shares[-1], side="right"), len(shares) - 1)
        base = np.array([gap for gap, _ in self.gaps] + [1 << (digits - 1) for digits, _ in self.wide], dtype=np.int64)
        made: NDArray[np.int64] = base[chosen]
        loose = chosen >= len(self.gaps)
        if loose.any():
            grown = made[loose] * (1 + uniforms(stream(seed, "wide gaps"), np.flatnonzero(loose)))
            wanted = (self.last - self.first) * number / (self.count - 1) - int(made[~loose].sum())
            made[loose] = np.maximum(np.rint(grown * max(wanted, 0) / grown.sum()), 1).astype(np.int64)
        return made

    def _spread(self, rows: int, seed: int) -> list[int]:
        """Each number from a stratum of its own, at least one wide: as dense as the source, never twice the same."""
        first, count = self.first, max(self.count, 1)
        span, room_above = max(self.last - first + 1, count), self.high - self.first + 1
        if rows * span > room_above * count:  # more than fit above the first: closer together, then from the type's lowest on
            first = first if room_above >= rows else self.low
            span, count = self.high - first + 1, rows
        if span < count:
            raise Terminal(
                "A key must have a value for each row",
                value=f"{rows} rows, {span} values",
                advice="ask for fewer rows of its table, or widen the column",
            )
        edges = [row * span // count for row in range(rows + 1)]
        chance = uniforms(stream(seed, "numbers"), np.arange(rows)).tolist()
        return [
            first + edge + min(int(u * (after - edge)), max(after - edge, 1) - 1)
            for edge, after, u in zip(edges, edges[1:], chance, strict=False)
        ]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Numbering:
        gaps, wide = (tuple((size, share) for size, share in raw[name]) for name in ("gaps", "wide"))
        return cls(raw["first"], raw["last"], raw["count"], raw["low"], raw["high"], gaps, wide)
