"""The last digits of numbers where people choose them: prices that end in .99, amounts rounded to thousands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_engine.encode.base import Floats, entity_count_of_values

BASES = (10, 100, 1000)
"""One, two or three last digits."""

TELLING = 0.05
"""Total variation distance, beyond that of chance, between the endings there are and those that bins alone would give."""

GROUPS = 8
"""Stretches of neighbouring bins that have shares of their own: what is dear ends otherwise than what is cheap."""


@dataclass
class Endings:
    """Shares of the last digits, shape (groups, base), of whole numbers in `base` residues."""

    shares: Floats

    @classmethod
    def fit(
        cls,
        whole: NDArray[np.int64],
        bins: NDArray[np.int64],
        entity: NDArray[np.int64],
        smooth: NDArray[np.int64],
        fewest: int,
    ) -> Endings | None:
        """Learn from whole numbers in their `bins`; None where the bins alone tell as much, which `smooth` shows: as many numbers drawn
        from them. Endings that fewer than `fewest` entities have share what they have with all others that so few have."""
        base, told = 0, 0.0
        for longer in BASES:
            apart = _distance(whole % longer, smooth % longer, longer)
            if apart > told + TELLING:
                base, told = longer, apart
        if not base:
            return None
        ending = whole % base
        group = _group(bins, int(bins.max()) + 1)
        rare = entity_count_of_values(ending, entity, base) < fewest
        shares = np.zeros((int(group.max()) + 1, base))
        for number in range(len(shares)):
            counts = np.bincount(ending[group == number], minlength=base).astype(np.float64)
            own = rare | (entity_count_of_values(np.where(group == number, ending, -1), entity, base) < fewest)
            counts[own] = counts[own].sum() / max(int(own.sum()), 1)
            shares[number] = (counts / max(counts.sum(), 1.0)).round(6)
        return cls(shares)

    def chosen(self, whole: Floats, lowest: Floats, highest: Floats, bins: NDArray[np.int64], uniform: Floats) -> Floats:
        """The nearest whole numbers with endings drawn for them, none of them outside of what its bin has as `lowest` and `highest`."""
        base = self.shares.shape[1]
        chosen = whole.copy()
        for number in np.unique(bins):
            rows = np.flatnonzero(bins == number)
            low, high = float(lowest[number]), float(highest[number])
            share = self.shares[_group(np.array([number]), len(lowest))[0]].copy()
            if high - low < base - 1:  # only some endings fit in between
                within = np.zeros(base, dtype=np.bool_)
                within[np.mod(np.arange(low, high + 1), base).astype(np.int64)] = True
                share[~within] = 0.0
            total = np.cumsum(share)
            if not total[-1]:
                continue
            ending = np.minimum(np.searchsorted(total, uniform[rows] * total[-1], side="right"), base - 1)
            nearest = base * np.rint((whole[rows] - ending) / base) + ending
            nearest = np.where(nearest < low, nearest + base * np.ceil((low - nearest) / base), nearest)
            chosen[rows] = np.where(nearest > high, nearest - base * np.ceil((nearest - high) / base), nearest)
        return chosen

    def to_json(self) -> list[dict[str, Any]]:
        """Group by group the endings that have a share."""
        found = []
        for share in self.shares:
            has = np.flatnonzero(share)
            found.append({"base": len(share), "endings": has.tolist(), "shares": share[has].tolist()})
        return found

    @classmethod
    def from_json(cls, raw: list[Mapping[str, Any]]) -> Endings:
        shares = np.zeros((len(raw), raw[0]["base"]))
        for number, group in enumerate(raw):
            shares[number, group["endings"]] = group["shares"]
        return cls(shares)


def _group(bins: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return bins * min(GROUPS, count) // max(count, 1)


def _distance(one: NDArray[np.int64], other: NDArray[np.int64], base: int) -> float:
    """Total variation distance of two samples, less what chance alone would show."""
    shares = np.bincount(one, minlength=base) / len(one), np.bincount(other, minlength=base) / len(other)
    chance = 0.4 * float(np.sqrt((shares[0] + shares[1]) / len(one)).sum())
    return 0.5 * float(np.abs(shares[0] - shares[1]).sum()) - chance
