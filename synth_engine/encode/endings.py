"""The last digits of numbers where people choose them: prices that end in .99, amounts rounded to thousands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_engine.encode.base import Floats, entity_count_of_values

BASES = (10, 100, 1000)
"""One, two or three last digits."""

TELLING = 0.02
"""Nats a row that endings have to tell, beyond what bins alone make of them; a digit more has to add as much."""

GROUPS = 8
"""Stretches of neighbouring bins that have shares of their own: what is dear ends otherwise than what is cheap."""

FITTINGS = 20
"""Rounds in which shares are fitted to what the bins have room for."""


@dataclass(frozen=True)
class Room:
    """The whole numbers there are in bins: from `lowest` to `highest` of each, without those `taken` by tokens of their own."""

    lowest: Floats
    highest: Floats
    taken: Floats
    _reached: dict[int, NDArray[np.bool_]] = field(default_factory=dict, repr=False, compare=False)

    def reach(self, base: int) -> NDArray[np.bool_]:
        """Which endings there are in which bin, shape (bins, base); found once, for sequences ask at every step."""
        if base not in self._reached:
            found = np.ones((len(self.lowest), base), dtype=np.bool_)
            for number in np.flatnonzero(self.highest - self.lowest < base - 1):
                inside = np.arange(self.lowest[number], self.highest[number] + 1)
                found[number] = np.isin(np.arange(base), np.mod(inside[~np.isin(inside, self.taken)], base))
            self._reached[base] = found
        return self._reached[base]


@dataclass
class Endings:
    """Odds of the last digits of whole numbers, by groups of bins, shape (groups, base): what share each would have where there is room for
    all."""

    odds: Floats

    @classmethod
    def fit(
        cls,
        whole: NDArray[np.int64],
        bins: NDArray[np.int64],
        entity: NDArray[np.int64],
        smooth: NDArray[np.int64],
        room: Room,
        fewest: int,
    ) -> Endings | None:
        """Learn from whole numbers in their `bins`; None where the bins alone tell as much, which `smooth` shows: numbers drawn from
        them. Endings that fewer than `fewest` entities have share what they have with all others that so few have."""
        if not len(smooth):
            return None
        base, told = 0, 0.0
        for longer in BASES:
            tells = _told(whole, smooth, longer)
            if tells > told + TELLING:
                base, told = longer, tells
        if not base:
            return None
        count, reach = len(room.lowest), room.reach(base)
        ending, group = whole % base, _groups(count)
        odds = np.zeros((int(group.max()) + 1, base))
        for number in range(len(odds)):
            rows = group[bins] == number
            counts = np.bincount(ending[rows], minlength=base).astype(np.float64)
            rare = entity_count_of_values(np.where(rows, ending, -1), entity, base) < fewest
            counts[rare] = counts[rare].sum() / max(int(rare.sum()), 1)
            held = np.bincount(bins[rows], minlength=count).astype(np.float64)
            odds[number] = _fitted(counts, held, reach).round(6)
        return cls(odds)

    def chosen(self, whole: Floats, bins: NDArray[np.int64], room: Room, uniform: Floats) -> Floats:
        """The nearest whole numbers with endings drawn for them, none of them outside of its bin."""
        base = self.odds.shape[1]
        reach, group = room.reach(base), _groups(len(room.lowest))
        chosen = whole.copy()
        for number in np.unique(bins):
            rows, low, high = np.flatnonzero(bins == number), room.lowest[number], room.highest[number]
            total = np.cumsum(self.odds[group[number]] * reach[number])
            if not total[-1]:
                continue
            ending = np.minimum(np.searchsorted(total, uniform[rows] * total[-1], side="right"), base - 1)
            nearest = base * np.rint((whole[rows] - ending) / base) + ending
            nearest = np.where(nearest < low, nearest + base * np.ceil((low - nearest) / base), nearest)
            chosen[rows] = np.where(nearest > high, nearest - base * np.ceil((nearest - high) / base), nearest)
        return chosen

    def to_json(self) -> list[dict[str, Any]]:
        """Group by group the endings that may come out."""
        found = []
        for share in self.odds:
            has = np.flatnonzero(share)
            found.append({"base": len(share), "endings": has.tolist(), "odds": share[has].tolist()})
        return found

    @classmethod
    def from_json(cls, raw: list[Mapping[str, Any]]) -> Endings:
        odds = np.zeros((len(raw), raw[0]["base"]))
        for number, group in enumerate(raw):
            odds[number, group["endings"]] = group["odds"]
        return cls(odds)


def _groups(bins: int) -> NDArray[np.int64]:
    """The group of each bin."""
    groups: NDArray[np.int64] = np.arange(bins) * min(GROUPS, bins) // max(bins, 1)
    return groups


def _fitted(counts: Floats, held: Floats, reach: NDArray[np.bool_]) -> Floats:
    """Odds with which bins of so many rows, drawing among the endings in their reach, get these counts of each (Bradley and Terry, 1952,
    fitted by Hunter's algorithm, Annals of Statistics 2004); shape (base,), of sum 1."""
    odds: Floats = counts / max(counts.sum(), 1.0)
    for _ in range(FITTINGS):
        total = reach @ odds
        exposure = (held / np.where(total > 0, total, np.inf)) @ reach
        odds = np.where(exposure > 0, counts / np.maximum(exposure, 1e-300), 0.0)
        odds /= max(odds.sum(), 1e-300)
    return odds


def _told(whole: NDArray[np.int64], smooth: NDArray[np.int64], base: int) -> float:
    """What endings tell, in nats a row: relative entropy to those of smooth numbers, of the endings that are more frequent by more than
    three standard deviations of chance."""
    share, usual = np.bincount(whole % base, minlength=base) / len(whole), np.bincount(smooth % base, minlength=base) / len(smooth)
    usual += 1 / len(smooth)
    chosen = share - usual > 3 * np.sqrt(usual * (1 / len(whole) + 1 / len(smooth)))
    more, less = share[chosen], usual[chosen]
    return float((more * np.log(more / less) - (more - less)).sum())
