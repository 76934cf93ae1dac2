"""Numbers: spikes keep their own token, the rest falls into quantile bins drawn from at the column's own precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth_engine.encode.base import Draw, Encoder, EncodingSettings, Floats, Tokens, entity_count_of_values, pair_codes
from synth_engine.encode.bins import (
    KNOTS,
    ROWS_PER_BIN,
    are_too_few,
    drawn_from,
    first_digit,
    protected_bounds,
    quantile_bins,
    rows_per_bin,
)
from synth_engine.encode.endings import Endings, Room
from synth_engine.encode.values import from_floats, to_floats

SPIKE_SHARE = 0.005
"""A value this frequent is drawn as itself, not from a bin."""

NEIGHBOURS = 8
"""So is one that has at least as many rows as so many next values on either side: a code among amounts."""

FEWEST_MULTIPLES = 20
"""Fewer values than this have a common divisor by chance."""

MOST_FITTED = 1_000_000
"""Values that a column's bins, spikes and endings are learned from: more would cost memory and tell little more."""

GOLDEN = 0.6180339887498949
"""Multiples of it spread evenly over [0, 1) (their fractional parts)."""

EXACT = 2.0**46
"""Floats beyond this are too coarse to tell their last digit."""


def decimal_places(values: Floats, most: int = 12) -> int | None:
    """Fewest decimal places that hold 99.9 % of the values exactly, or None if `most` do not suffice."""
    sample = values[:: max(1, len(values) // 20_000)]
    size = np.abs(sample[sample != 0])
    typical = float(np.median(size)) if len(size) else 0.0
    for places in range(most + 1):
        scaled = sample * 10.0**places
        # error of floats, never so much that cents of a million go, nor that numbers of a billionth count as zero
        inexact = np.minimum(1e-6 * np.maximum(min(1.0, typical * 10.0**places), np.abs(scaled)), 0.01)
        held = (np.abs(scaled - np.rint(scaled)) <= inexact) & ((np.abs(scaled) < EXACT) | (places == 0))
        if np.mean(held) >= 0.999:
            return places
    return None


def common_step(values: Floats, places: int | None) -> int:
    """What all values are multiples of, in units of the last of so many decimal places: 60 for whole minutes in seconds."""
    if places is None or not (np.abs(values) * 10.0**places < EXACT).all():
        return 1
    whole = np.unique(np.rint(values * 10.0**places).astype(np.int64))
    return max(int(np.gcd.reduce(whole)), 1) if len(whole) >= FEWEST_MULTIPLES else 1


@dataclass
class NumberCoder:
    """Tokens for finite numbers: first the spikes, then the bins. `knots` has shape (bins, KNOTS). Values are multiples of `step` in
    the last of `places` decimals, and outside of the spikes have these `endings`. Of those of too few entities nothing is told but
    about where they lie: `is_rough`."""

    spikes: Floats
    knots: Floats
    places: int | None
    step: int = 1
    endings: Endings | None = None
    is_rough: bool = False

    @property
    def size(self) -> int:
        return len(self.spikes) + len(self.knots)

    @classmethod
    def fit(
        cls,
        values: Floats,
        entity: NDArray[np.int64],
        settings: EncodingSettings,
        places: int | None,
        rough: Callable[[float], float] = first_digit,
    ) -> NumberCoder:
        """Learn spikes and bins from finite `values`, each belonging to an `entity`; `rough` says what may be told of those of too few."""
        if not len(values):
            return cls(np.zeros(0), np.zeros((0, KNOTS)), places)
        low, high = protected_bounds(values, entity, settings.extreme_entities, rough)
        is_rough = are_too_few(entity, settings.extreme_entities)
        chosen = _spread_sample(len(values), MOST_FITTED)
        values, entity = values[chosen], entity[chosen]
        step = common_step(values, places)
        if step > 1:
            unit = step / 10.0 ** (places or 0)
            low, high = np.ceil(low / unit - 1e-9) * unit, np.floor(high / unit + 1e-9) * unit
        values = _rounded(np.clip(values, low, high), places, step)
        distinct, codes = np.unique(values, return_inverse=True)
        codes = codes.reshape(-1).astype(np.int64)
        counts = np.bincount(codes, minlength=len(distinct))
        bins = int(np.clip(len(values) // rows_per_bin(len(values)), 4, settings.bins))
        share = 0.0 if len(distinct) <= bins else SPIKE_SHARE
        enough = entity_count_of_values(codes, entity, len(distinct)) >= settings.rare_entities
        spike = enough & (counts >= max(share * len(values), 2 if share == 0.0 else ROWS_PER_BIN / 2))
        if spike.sum() > 2 * bins:  # more frequent values than tokens: keep the most frequent
            spike &= counts >= np.sort(counts[spike])[-2 * bins]
        spike |= _most_frequent(enough & ~spike & _stands_out(counts), counts, bins // 2)
        once = _one_per_entity(codes, entity, ~spike[codes])  # or else many rows of one entity would make a knot of its value
        rest = once[np.argsort(values[once], kind="stable")]
        knots = quantile_bins(values[rest], entity[rest], bins, settings.extreme_entities)
        coder = cls(distinct[spike], knots, places, step, is_rough=is_rough)
        coder._fit_endings(values[rest], entity[rest], settings.rare_entities)
        return coder

    def _fit_endings(self, rest: Floats, entity: NDArray[np.int64], fewest: int) -> None:
        """Learn last digits from sorted values outside of the spikes, if the bins alone do not give them."""
        if self.places is None or len(rest) < 2 * ROWS_PER_BIN or not (np.abs(rest) * 10.0**self.places < EXACT).all():
            return
        bins = self._bin_of(rest)
        within: Floats = np.mod(np.arange(len(rest), dtype=np.float64) * GOLDEN, 1.0)
        smooth, room = self._whole(drawn_from(self.knots, bins, within)), self._room
        smooth = smooth[~np.isin(smooth, room.taken)]
        self.endings = Endings.fit(self._whole(rest).astype(np.int64), bins, entity, smooth.astype(np.int64), room, fewest)

    def _whole(self, values: Floats) -> Floats:
        """Values counted in steps."""
        whole: Floats = np.rint(values * 10.0 ** (self.places or 0) / self.step)
        return whole

    @cached_property
    def _room(self) -> Room:
        return Room(self._whole(self.knots[:, 0]), self._whole(self.knots[:, -1]), self._whole(self.spikes))

    def _bin_of(self, values: Floats) -> NDArray[np.int64]:
        found = np.searchsorted(self.knots[:, 0], values, side="right") - 1
        return np.clip(found, 0, len(self.knots) - 1).astype(np.int64)

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
        return _rounded(values, self.places, self.step)

    def encode(self, values: Floats) -> NDArray[np.int32]:
        """Token of each finite value."""
        tokens = np.zeros(len(values), dtype=np.int32)
        values = self.rounded(values)
        if len(self.knots):
            tokens[:] = len(self.spikes) + self._bin_of(values)
        if len(self.spikes):
            nearest = self._nearest(values)
            exact = np.abs(self.spikes[nearest] - values) <= 1e-9 * np.maximum(1.0, np.abs(values))
            tokens = np.where(exact | (len(self.knots) == 0), nearest, tokens).astype(np.int32)
        return tokens

    def nearest_spikes(self, values: Floats) -> Floats:
        """The spike nearest to each value; there must be one."""
        return self.spikes[self._nearest(values)]

    def _nearest(self, values: Floats) -> NDArray[np.int64]:
        near = np.clip(np.searchsorted(self.spikes, values), 0, len(self.spikes) - 1)
        below = np.clip(near - 1, 0, None)
        return np.where(np.abs(self.spikes[below] - values) < np.abs(self.spikes[near] - values), below, near)

    def decode(self, tokens: NDArray[np.int32], uniform: Floats) -> Floats:
        """A value for each token: a spike is itself, a bin is drawn from by its quantile function."""
        values = np.zeros(len(tokens))
        is_spike = tokens < len(self.spikes)
        if len(self.spikes):
            values[is_spike] = self.spikes[tokens[is_spike]]
        if len(self.knots):
            values[~is_spike] = self._drawn(tokens[~is_spike].astype(np.int64) - len(self.spikes), uniform[~is_spike])
        return self.rounded(values)

    def _drawn(self, bins: NDArray[np.int64], uniform: Floats) -> Floats:
        values = drawn_from(self.knots, bins, uniform)
        if self.endings is None:
            return values
        finer = (uniform * 2.0**20) % 1.0  # the place in the bin is told by the first digits of the draw, the ending by the others
        whole = self.endings.chosen(self._whole(values), bins, self._room, finer)
        return whole * self.step / 10.0 ** (self.places or 0)

    def to_json(self) -> dict[str, Any]:
        endings = self.endings.to_json() if self.endings else None
        facts = {"places": self.places, "step": self.step, "endings": endings, "is_rough": self.is_rough}
        return {"spikes": self.spikes.tolist(), "knots": self.knots.tolist(), **facts}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> NumberCoder:
        spikes, knots = np.array(raw["spikes"], dtype=np.float64), np.array(raw["knots"], dtype=np.float64).reshape(-1, KNOTS)
        endings = Endings.from_json(raw["endings"]) if raw["endings"] else None
        return cls(spikes, knots, raw["places"], raw["step"], endings, raw["is_rough"])


def _stands_out(counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which values, in order, have as many rows as all their neighbours on either side."""
    total = np.r_[0, np.cumsum(counts)]
    at = np.arange(len(counts))
    below = total[at] - total[np.maximum(at - NEIGHBOURS, 0)]
    above = total[np.minimum(at + 1 + NEIGHBOURS, len(counts))] - total[at + 1]
    found: NDArray[np.bool_] = (counts >= ROWS_PER_BIN / 2) & (counts >= np.maximum(below, above))
    return found


def _spread_sample(rows: int, most: int) -> NDArray[np.int64] | slice:
    """About evenly spread row numbers, at most so many: each from a stretch of its own, so that no rhythm of the rows is met."""
    if rows <= most:
        return slice(None)
    edges = np.arange(most + 1) * rows // most
    found: NDArray[np.int64] = edges[:-1] + (np.random.default_rng(0).random(most) * np.diff(edges)).astype(np.int64)
    return found


def _most_frequent(among: NDArray[np.bool_], counts: NDArray[np.int64], most: int) -> NDArray[np.bool_]:
    """The `most` values of `among` that have most rows, the lower first where they are as many."""
    chosen = np.flatnonzero(among)
    kept = np.zeros(len(among), dtype=np.bool_)
    kept[chosen[np.argsort(-counts[chosen], kind="stable")][:most]] = True
    return kept


def _one_per_entity(codes: NDArray[np.int64], entity: NDArray[np.int64], among: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rows of `among`, each value of an entity once."""
    rows = np.flatnonzero(among)
    _, first = np.unique(pair_codes(codes[rows], entity[rows])[0], return_index=True)
    result: NDArray[np.int64] = rows[np.sort(first)]
    return result


def _rounded(values: Floats, places: int | None, step: int) -> Floats:
    if places is None:
        return values
    return (np.round(values, places) if step == 1 else np.rint(values * 10.0**places / step) * step / 10.0**places) + 0.0


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

    def tells_values(self) -> bool:
        return not self.coder.is_rough

    def protections(self) -> list[str]:
        if self.coder.is_rough:
            return ["of the numbers of so few entities nothing told but the first digit"]
        return ["extremes drawn in to the mean of the outermost entities"]
