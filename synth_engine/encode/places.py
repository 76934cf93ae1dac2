"""Places: two numbers that together say where (the latitude and longitude of a path), as one of the places that enough entities know.

Each number by itself follows its own steps well, and both together lead anywhere. Where paths share their ways, a place is a category:
a point that enough entities have been at, else the smallest square of a grid, of halving width, in which enough have been who were at no
smaller place. Where that would be a wide one, a row is at none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_engine.encode.base import Draw, EncodingSettings, Floats, entity_count_of_values
from synth_engine.encode.bins import are_too_few, protected_bounds
from synth_engine.schema import Column, Kind

POINT = -1
"""Stands for no square."""
FINEST = 12
"""Halvings of the range of both numbers that the smallest squares come to."""
WIDEST = 4.0
"""Steps that a place may be wide: in a wider one paths would jump about."""
MOST_PLACES = 2_048
"""Places at most: of the points, and of the squares of each size, those of most rows."""


@dataclass
class Places:
    """The places of two `columns`, the smallest first: `halvings` says of each how often the `width` of the grid, shape (2,), was halved to
    come to its square (`POINT`: it is one), `cells` has the numbers of that square, counted from the grid's `origin`, or the point itself,
    shape (places, 2). `step` is how far rows usually are from the one before, in each column. `name` is that of the category that stands
    for both columns."""

    columns: tuple[str, str]
    name: str
    cells: Floats
    halvings: NDArray[np.int64]
    origin: Floats
    width: Floats
    step: Floats

    @property
    def column(self) -> Column:
        """The category that stands for both: the number of a place."""
        return Column(self.name, Kind.CATEGORY, "int64", True)

    @cached_property
    def low(self) -> Floats:
        """Lower corners, shape (places, 2)."""
        return np.where(self.are_points[:, None], self.cells, self.origin + self.cells * self._sizes)

    @cached_property
    def high(self) -> Floats:
        """Upper corners, of points the same."""
        return self.low + np.where(self.are_points[:, None], 0.0, self._sizes)

    @cached_property
    def are_points(self) -> NDArray[np.bool_]:
        """Which places are points, shape (places,)."""
        return np.asarray(self.halvings == POINT, dtype=np.bool_)

    @property
    def _sizes(self) -> Floats:
        return self.width / 2.0 ** self.halvings[:, None]

    @classmethod
    def fit(
        cls,
        columns: tuple[str, str],
        name: str,
        values: Floats,
        step: Floats,
        entity: NDArray[np.int64],
        settings: EncodingSettings,
    ) -> Places:
        """The places, none wider than `WIDEST` times the `step` in either column. `values` are of shape (rows, 2), NaN where there is
        none; what lies beyond the protected bounds of either column is at none."""
        known = np.isfinite(values).all(axis=1)
        values, entity, found, many = values[known], entity[known], [(np.zeros((0, 2)), POINT)], 0
        if not len(values) or are_too_few(entity, settings.extreme_entities):
            return cls(columns, name, *found[0][:1], np.zeros(0, np.int64), np.zeros(2), np.ones(2), step)
        bounds = np.array([protected_bounds(column, entity, settings.extreme_entities) for column in values.T])
        origin, width = bounds[:, 0], np.maximum(bounds[:, 1] - bounds[:, 0], 1e-12)
        inside = _inside(values, origin, width)
        values, entity = values[inside], entity[inside]
        for halvings in (POINT, *range(FINEST, -1, -1)):
            wide = halvings != POINT and bool((width / 2.0**halvings > WIDEST * step).any())
            if not len(values) or wide or many == MOST_PLACES:
                break
            cells = _cells(values, halvings, origin, width)
            first, of_row, rows = _distinct(cells)
            enough = np.flatnonzero(entity_count_of_values(of_row, entity, len(first)) >= settings.rare_entities)
            chosen = enough[np.argsort(-rows[enough], kind="stable")][: MOST_PLACES - many]
            found.append((cells[first[chosen]], halvings))
            many += len(chosen)
            left = ~np.isin(of_row, chosen)
            values, entity = values[left], entity[left]
        of_each = np.concatenate([np.full(len(cells), halvings) for cells, halvings in found])
        return cls(columns, name, np.concatenate([cells for cells, _ in found]), of_each, origin, width, step)

    def numbers(self, values: Floats) -> NDArray[np.int64]:
        """The smallest place that each row of these values, shape (rows, 2), is at; -1 for none."""
        at = np.full(len(values), -1)
        left = np.flatnonzero(np.isfinite(values).all(axis=1) & _inside(values, self.origin, self.width))
        for halvings in dict.fromkeys(self.halvings.tolist()):
            places = np.flatnonzero(self.halvings == halvings)
            found = _matched(_cells(values[left], halvings, self.origin, self.width), self.cells[places])
            at[left[found >= 0]] = places[found[found >= 0]]
            left = left[found < 0]
        return at

    def values(self, place: NDArray[np.int64], draw: Draw) -> Floats:
        """Two numbers for each row, shape (rows, 2), anywhere in its place; NaN where that is -1."""
        found = np.full((len(place), 2), np.nan)
        there = np.flatnonzero(place >= 0)
        for k in (0, 1):
            low, high = self.low[place[there], k], self.high[place[there], k]
            found[there, k] = low + (high - low) * draw.uniform(k)[there]
        return found

    def to_json(self) -> dict[str, Any]:
        arrays = {name: getattr(self, name).tolist() for name in ("cells", "halvings", "origin", "width", "step")}
        return {"columns": list(self.columns), "name": self.name, **arrays}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Places:
        first, second = raw["columns"]
        origin, width, step = (np.array(raw[name], dtype=np.float64) for name in ("origin", "width", "step"))
        cells, halvings = np.array(raw["cells"], dtype=np.float64).reshape(-1, 2), np.array(raw["halvings"], dtype=np.int64)
        return cls((first, second), raw["name"], cells, halvings, origin, width, step)


def _inside(values: Floats, origin: Floats, width: Floats) -> NDArray[np.bool_]:
    """Which rows lie in the grid."""
    return np.asarray(((values >= origin) & (values <= origin + width)).all(axis=1), dtype=np.bool_)


def _cells(values: Floats, halvings: int, origin: Floats, width: Floats) -> Floats:
    """Which square of a grid rows are in, shape (rows, 2), or the points themselves."""
    if halvings == POINT:
        return values
    return np.minimum(np.floor((values - origin) / (width / 2.0**halvings)), 2.0**halvings - 1)


def _distinct(pairs: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of pairs of numbers the first row of each different one, which one each row has, and how many rows have it."""
    codes = [np.unique(column, return_inverse=True)[1].reshape(-1) for column in pairs.T]
    both = codes[0].astype(np.int64) * (int(codes[1].max(initial=0)) + 1) + codes[1]
    _, first, of_row, rows = np.unique(both, return_index=True, return_inverse=True, return_counts=True)
    return first, of_row.reshape(-1), rows


def _matched(pairs: Floats, known: Floats) -> NDArray[np.int64]:
    """The row of `known`, which are different, that each of the pairs of numbers is equal to; -1 for none."""
    same, key_of_pair, key_of_known = np.ones(len(pairs), np.bool_), np.zeros(len(pairs), np.int64), np.zeros(len(known), np.int64)
    for k in (0, 1):
        levels, number = np.unique(known[:, k], return_inverse=True)
        place = np.minimum(np.searchsorted(levels, pairs[:, k]), len(levels) - 1)
        same &= levels[place] == pairs[:, k]
        key_of_pair, key_of_known = key_of_pair * len(levels) + place, key_of_known * len(levels) + number.reshape(-1)
    order = np.argsort(key_of_known)
    place = np.minimum(np.searchsorted(key_of_known[order], key_of_pair), len(known) - 1)
    return np.where(same & (key_of_known[order][place] == key_of_pair), order[place], -1)
