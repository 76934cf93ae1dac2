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
"""Of that the share that would be if the two numbers had nothing to do with each other, at most."""
MOST_COMPARED = 50_000
"""Rows, of whole sequences, by which it is decided what are places: of fewer too few have been at any."""

Placed = tuple[Places, NDArray[np.int64]]
"""Places, and which of them each row is at (-1: none)."""


def find_places(one: PreparedTable, settings: EncodingSettings, rng: np.random.Generator) -> list[Placed]:
    """The places of pairs of columns that nothing else is told from, each column in one pair at most: of several the one in which most
    rows are at places. Places are known to so many entities, and to as many owners of sequences where each row is an entity."""
    if one.sequence is None:
        return []
    entity = one.sequence if one.part_of is None else one.entity
    entity = entity - entity.min(initial=0)
    values = {name: numbers for name in _by_steps(one) if _goes_both_ways(numbers := _floats(one, name), one.sequence)}
    order = _sequences_in_random_order(one.sequence, rng)
    some, more = np.sort(order[:MOST_COMPARED]), np.sort(order[:MOST_FITTED])
    shares = {
        pair: _share_at(_places(one, pair, values, some, entity, settings), values, some, rng)
        for pair in combinations(values, 2)
        if not _tells_others(one, pair)
    }
    found: list[Placed] = []
    for pair in sorted((pair for pair, share in shares.items() if share >= SHARED), key=lambda pair: -shares[pair]):
        if not any(set(pair) & set(places.columns) for places, _ in found):
            places = _places(one, pair, values, more, entity, settings)
            found.append((places, places.numbers(_both(values, pair))))
    return found


def _by_steps(one: PreparedTable) -> list[str]:
    """The numbers that are told by their steps from the sibling before."""
    return [name for name, references in one.references.items() if references[:1] == [Reference("previous")] and name not in one.moments]


def _tells_others(one: PreparedTable, pair: tuple[str, str]) -> bool:
    """Whether a third column is told from one of the pair: it would not be moved along."""
    return any(reference.column in pair for name, references in one.references.items() if name not in pair for reference in references)


def _floats(one: PreparedTable, name: str) -> Floats:
    return to_floats(one.data[name], one.table.column(name).data_type)


def _goes_both_ways(values: Floats, sequence: NDArray[np.int64]) -> bool:
    """What only rises, or only falls, would not any more if it were moved to places."""
    steps = values - previous_values(values, sequence)
    return bool((steps > 0).any() and (steps < 0).any())


def _both(values: dict[str, Floats], pair: tuple[str, str]) -> Floats:
    return np.stack([values[name] for name in pair], axis=1)


def _sequences_in_random_order(sequence: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """The rows, those of a sequence together."""
    number = np.cumsum(np.r_[False, sequence[1:] != sequence[:-1]])
    return np.argsort(rng.permutation(int(number[-1]) + 1)[number], kind="stable") if len(sequence) else np.zeros(0, np.int64)


def _places(
    one: PreparedTable,
    pair: tuple[str, str],
    values: dict[str, Floats],
    rows: NDArray[np.int64],
    entity: NDArray[np.int64],
    settings: EncodingSettings,
) -> Places:
    assert one.sequence is not None
    both = _both(values, pair)[rows]
    steps = [np.abs(column - previous_values(column, one.sequence[rows])) for column in both.T]
    step = [float(np.quantile(moved[moved > 0], USUAL)) if (moved > 0).any() else 0.0 for moved in steps]
    rounded = np.array([float(f"{usual:.1e}") for usual in step])  # of one row it would tell its very step
    name = f"{pair[0]} and {pair[1]}"
    while name in one.table.column_names:
        name += " "
    return Places.fit(pair, name, both, rounded, entity[rows], settings)


def _share_at(places: Places, values: dict[str, Floats], rows: NDArray[np.int64], rng: np.random.Generator) -> float:
    """The share of the rows that is at places; 0 where as many would be, nearly, if the two numbers were each other's by chance."""
    both = _both(values, places.columns)[rows]
    share = float((places.numbers(both) >= 0).mean()) if len(rows) else 0.0
    mixed = np.stack([both[:, 0], rng.permutation(both[:, 1])], axis=1)
    return share if share and float((places.numbers(mixed) >= 0).mean()) <= BY_CHANCE * share else 0.0
