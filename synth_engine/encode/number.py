"""Numbers: spikes keep their own token, the rest falls into quantile bins drawn from at the column's own precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth_engine.encode.base import Draw, Encoder, EncodingSettings, Floats, Tokens, entity_count_of_values
from synth_engine.encode.values import from_floats, to_floats

KNOTS = 9
"""Points of the quantile function inside a bin, its ends included."""

ROWS_PER_BIN = 40
"""A bin that held fewer rows would disclose single values and teach the model nothing."""

SPIKE_SHARE = 0.005
"""A value this frequent is drawn as itself, not from a bin."""


def protected_bounds(values: Floats, entity: NDArray[np.int64], entities: int) -> tuple[float, float]:
    """Lowest and highest value that may be written: the mean over the `entities` outermost entities at each end."""
    if entities <= 1:
        return float(values.min()), float(values.max())
    low = _outermost(values, entity, entities)
    high = -_outermost(-values, entity, entities)
    return low, max(low, high)


def _outermost(values: Floats, entity: NDArray[np.int64], entities: int) -> float:
    order = np.argsort(values, kind="stable")
    take = 4 * entities
    while True:
        head = order[:take]
        _, first = np.unique(entity[head], return_index=True)
        if len(first) >= entities or take >= len(order):
            lowest = np.sort(values[head][np.sort(first)])[:entities]
            return float(lowest.mean())
        take *= 4


def decimal_places(values: Floats, most: int = 6) -> int | None:
    """Fewest decimal places that hold 99.9 % of the values exactly, or None if `most` do not suffice."""
    sample = values[:: max(1, len(values) // 20_000)]
    for places in range(most + 1):
        scaled = sample * 10.0**places
        inexact = np.minimum(1e-6 * np.maximum(1.0, np.abs(scaled)), 0.01)  # of floats, but never so much that cents of a million go
        if np.mean(np.abs(scaled - np.rint(scaled)) < inexact) >= 0.999:
            return places
    return None


@dataclass
class NumberCoder:
    """Tokens for finite numbers: first the spikes, then the bins. `knots` has shape (bins, KNOTS)."""

    spikes: Floats
    knots: Floats
    places: int | None

    @property
    def size(self) -> int:
        return len(self.spikes) + len(self.knots)

    @classmethod
    def fit(cls, values: Floats, entity: NDArray[np.int64], settings: EncodingSettings, places: int | None) -> NumberCoder:
        """Learn spikes and bins from finite `values`, each belonging to an `entity`."""
        if not len(values):
            return cls(np.zeros(0), np.zeros((0, KNOTS)), places)
        low, high = protected_bounds(values, entity, settings.extreme_entities)
        values = _rounded(np.clip(values, low, high), places)
        distinct, codes = np.unique(values, return_inverse=True)
        codes = codes.reshape(-1).astype(np.int64)
        counts = np.bincount(codes, minlength=len(distinct))
        bins = int(np.clip(len(values) // ROWS_PER_BIN, 4, settings.bins))
        share = 0.0 if len(distinct) <= bins else SPIKE_SHARE
        enough = entity_count_of_values(codes, entity, len(distinct)) >= settings.rare_entities
        spike = enough & (counts >= max(share * len(values), 2 if share == 0.0 else ROWS_PER_BIN / 2))
        if spike.sum() > 2 * bins:  # more frequent values than tokens: keep the most frequent
            spike &= counts >= np.sort(counts[spike])[-2 * bins]
        once = _one_per_entity(codes, entity, ~spike[codes])  # or else many rows of one entity would make a knot of its value
        rest = np.sort(values[once])
        return cls(distinct[spike], _bins(rest, bins), places)

    def positions(self) -> Floats:
        """Where each token stands in the order of values, in [0, 1]."""
        middle = np.r_[self.spikes, self.knots[:, KNOTS // 2]]
        rank = np.empty(len(middle))
        rank[np.argsort(middle, kind="stable")] = np.arange(len(middle))
        return rank / max(len(middle) - 1, 1)

    def extents(self) -> tuple[Floats, Floats]:
        """Lowest and highest value of each token."""
        return self.rounded(np.r_[self.spikes, self.knots[:, 0]]), self.rounded(np.r_[self.spikes, self.knots[:, -1]])

    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value of all tokens; everything where there are none."""
        lowest, highest = self.extents()
        return float(lowest.min(initial=np.inf)), float(highest.max(initial=-np.inf))

    def rounded(self, values: Floats) -> Floats:
        """Values at the column's own precision."""
        return _rounded(values, self.places)

    def encode(self, values: Floats) -> NDArray[np.int32]:
        """Token of each finite value."""
        tokens = np.zeros(len(values), dtype=np.int32)
        values = _rounded(values, self.places)
        if len(self.knots):
            tokens[:] = len(self.spikes) + np.clip(np.searchsorted(self.knots[:, 0], values, side="right") - 1, 0, len(self.knots) - 1)
        if len(self.spikes):
            near = np.clip(np.searchsorted(self.spikes, values), 0, len(self.spikes) - 1)
            below = np.clip(near - 1, 0, None)
            nearest = np.where(np.abs(self.spikes[below] - values) < np.abs(self.spikes[near] - values), below, near)
            exact = np.abs(self.spikes[nearest] - values) <= 1e-9 * np.maximum(1.0, np.abs(values))
            tokens = np.where(exact | (len(self.knots) == 0), nearest, tokens).astype(np.int32)
        return tokens

    def decode(self, tokens: NDArray[np.int32], uniform: Floats) -> Floats:
        """A value for each token: a spike is itself, a bin is drawn from by its quantile function."""
        values = np.zeros(len(tokens))
        is_spike = tokens < len(self.spikes)
        if len(self.spikes):
            values[is_spike] = self.spikes[tokens[is_spike]]
        if len(self.knots):
            knots = self.knots[tokens[~is_spike] - len(self.spikes)]
            at = uniform[~is_spike] * (KNOTS - 1)
            left = np.minimum(at.astype(np.int64), KNOTS - 2)
            row = np.arange(len(left))
            values[~is_spike] = knots[row, left] + (at - left) * (knots[row, left + 1] - knots[row, left])
        return _rounded(values, self.places)

    def to_json(self) -> dict[str, Any]:
        return {"spikes": self.spikes.tolist(), "knots": self.knots.tolist(), "places": self.places}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> NumberCoder:
        return cls(np.array(raw["spikes"], dtype=np.float64), np.array(raw["knots"], dtype=np.float64).reshape(-1, KNOTS), raw["places"])


def _one_per_entity(codes: NDArray[np.int64], entity: NDArray[np.int64], among: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rows of `among`, each value of an entity once."""
    rows = np.flatnonzero(among)
    _, first = np.unique(np.stack([codes[rows], entity[rows]]), axis=1, return_index=True)
    result: NDArray[np.int64] = rows[np.sort(first)]
    return result


def _rounded(values: Floats, places: int | None) -> Floats:
    return values if places is None else np.round(values, places) + 0.0


def _bins(rest: Floats, most: int) -> Floats:
    """Quantile functions of equally filled bins of sorted values, shape (bins, KNOTS)."""
    if not len(rest):
        return np.zeros((0, KNOTS))
    # a knot is the mean of five neighbours, so that no order statistic is kept as it was
    smooth = np.convolve(np.pad(rest, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    edges = np.unique(np.linspace(0, len(rest), int(np.clip(len(rest) // ROWS_PER_BIN, 1, most)) + 1).astype(np.int64))
    functions = []
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        last = stop if stop < len(rest) else stop - 1
        functions.append(np.interp(np.linspace(start, last, KNOTS), np.arange(len(rest)), smooth))
    return np.maximum.accumulate(np.array(functions), axis=1)


class NumberEncoder(Encoder):
    """An integer or decimal column, or a time of day. One slot: token 0 is null, then the coder's."""

    tag = "number"

    def __init__(self, coder: NumberCoder, data_type: str) -> None:
        self.coder, self.data_type = coder, data_type
        self.slots = [1 + coder.size]

    @classmethod
    def fit(cls, column: pa.Array, data_type: str, entity: NDArray[np.int64], settings: EncodingSettings) -> NumberEncoder:
        values = to_floats(column, data_type)
        finite = np.isfinite(values)
        places = decimal_places(values[finite]) if finite.any() else 0
        return cls(NumberCoder.fit(values[finite], entity[finite], settings, places), data_type)

    def positions(self) -> list[Floats | None]:
        return [np.r_[np.nan, self.coder.positions()]]

    def encode(self, column: pa.Array) -> Tokens:
        values = to_floats(column, self.data_type)
        finite = np.isfinite(values)
        tokens = np.zeros((len(values), 1), dtype=np.int32)
        if self.coder.size:
            tokens[finite, 0] = 1 + self.coder.encode(values[finite])
        return tokens

    def decode(self, tokens: Tokens, draw: Draw) -> pa.Array:
        return from_floats(self.decode_floats(tokens, draw), self.data_type)

    def decode_floats(self, tokens: Tokens, draw: Draw) -> Floats:
        """As `decode`, before the Arrow type is applied: NaN is null."""
        values = np.full(len(tokens), np.nan)
        known = tokens[:, 0] > 0
        if known.any():
            values[known] = self.coder.decode(tokens[known, 0] - 1, draw.uniform(0)[known])
        return values

    def to_json(self) -> dict[str, Any]:
        return {"coder": self.coder.to_json(), "data_type": self.data_type}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> NumberEncoder:
        return cls(NumberCoder.from_json(raw["coder"]), raw["data_type"])

    def protections(self) -> list[str]:
        return ["extremes drawn in to the mean of the outermost entities"]
