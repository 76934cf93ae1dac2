"""Which numbers together are places: two that move by steps from sibling to sibling, along ways that many entities share."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from synth_engine.encode.base import EncodingSettings, Floats
from synth_engine.encode.number import MOST_FITTED
from synth_engine.encode.places import Places
from synth_engine.encode.relative import Reference
from synth_engine.encode.values import to_floats
from synth_engine.model.prepared import PreparedTable, previous_values

USUAL = 0.75
"""Quantile of the steps from row to row, those that lead anywhere, that is the usual one: ways are told more closely where they bend."""
SHARED = 0.5
"""Share of the rows that must be at places."""
BY_CHANCE = 0.5
"""Of the share near them that which would be if the two numbers had nothing to do with each other, at most."""


def find_places(one: PreparedTable, settings: EncodingSettings, rng: np.random.Generator) -> list[tuple[Places, NDArray[np.int64]]]:
    """The places of pairs of columns that nothing else is told from, with the place of each row; each column in one pair at most."""
    by_steps = [name for name, told in one.references.items() if told[:1] == [Reference("previous")] and name not in one.moments]
    found: list[tuple[Places, NDArray[np.int64]]] = []
    for pair in combinations(by_steps, 2):
        telling = {told.column for name, references in one.references.items() for told in references if name not in pair}
        if telling.intersection(pair) or any(set(pair) & set(places.columns) for places, _ in found):
            continue
        values = np.stack([to_floats(one.data[name], one.table.column(name).data_type) for name in pair], axis=1)
        steps = np.stack([np.abs(column - previous_values(column, one.sequence)) for column in values.T], axis=1)
        if not (steps > 0).any(axis=0).all():
            continue
        step = np.array([np.quantile(moved[moved > 0], USUAL) for moved in steps.T])
        places = Places.fit(pair, values[:MOST_FITTED], step, (one.entity - one.entity.min())[:MOST_FITTED], settings)
        at = places.numbers(values)
        if float((at >= 0).mean()) >= SHARED and _are_ways(places, values, step, rng):
            found.append((places, at))
    return found


def _are_ways(places: Places, values: Floats, step: Floats, rng: np.random.Generator) -> bool:
    """Whether rows would hardly be within a step of places if the two numbers were each other's by chance."""
    known = values[np.isfinite(values).all(axis=1)]
    mixed = np.stack([known[:, 0], rng.permutation(known[:, 1])], axis=1)
    return _share_near(places.low, step, mixed) <= BY_CHANCE * _share_near(places.low, step, known)


def _share_near(corners: Floats, width: Floats, values: Floats) -> float:
    """Share of the values in squares, of this width, that one of the corners is in."""
    across = int(np.ceil(np.ptp(values[:, 1]) / width[1])) + 2
    square, known = (np.floor((side - values.min(axis=0)) / width).astype(np.int64) @ np.array([across, 1]) for side in (values, corners))
    return float(np.isin(square, known).mean())
