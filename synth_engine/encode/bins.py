"""Bins of equally many values, each with its quantile function: where values crowd, where there are none, and how tails run out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from synth_engine.encode.base import Floats

KNOTS = 9
"""Points of the quantile function inside a bin, its ends included."""

ROWS_PER_BIN, FEWER_PER_BIN, FEWEST_PER_BIN = 40, 20, 10
"""Rows of a bin at least; where that leaves fewer than `MANY_BINS`, half as many, and for `FEW_BINS` a quarter: one of fewer would disclose
single values and teach the model nothing, but a column of one bin would go with no other."""

ROWS_PER_KNOT = 20
"""Values between two knots; the knots between such lie on a line. Closer ones would repeat what is chance in the values learned from:
what is drawn would be nearer to them than to others of the same column."""

APART = 5
"""Values between two knots at least, where few bins have to tell the shape of a column or a tail its end: each knot is a mean of so
many, and of means that overlap the values could be had back."""

FEW_BINS, MANY_BINS = 3, 8
"""With so many bins in a column its shape is told by these, not by their knots."""

MOST_LOOKED_AT = 10_000
"""Rows among which there are entities enough as a rule; else all are counted."""

WIDE = 8
"""Steps between neighbouring values that an empty stretch measures at least."""

EVEN = np.linspace(0, 1, KNOTS)
"""Shares of a bin's values at its knots."""

TAIL = np.r_[1 - 0.5 ** np.arange(KNOTS - 1), 1.0]
"""The same in the highest bin, halving towards the end: between knots set evenly, a heavy tail would be drawn as far out as its
end. In the lowest bin it is mirrored."""


def rows_per_bin(values: int) -> int:
    """How many rows each bin of so many values holds at least."""
    fewest = min(max(values // FEW_BINS, FEWEST_PER_BIN), FEWER_PER_BIN)
    return min(max(values // MANY_BINS, fewest), ROWS_PER_BIN)


def quantile_bins(rest: Floats, entity: NDArray[np.int64], most: int, extreme_entities: int) -> Floats:
    """Quantile functions of sorted values, each belonging to an `entity`, in about `most` bins; shape (bins, KNOTS).

    No bin reaches across a stretch without values, so none are drawn there. The edges of such a stretch are drawn in to the mean of the
    outermost entities, as the ends of the column are.
    """
    if not len(rest):
        return np.zeros((0, KNOTS))
    cuts = np.r_[0, _cuts(rest, entity, most // 4, extreme_entities), len(rest)]
    parts = []
    for start, stop in zip(cuts[:-1], cuts[1:], strict=True):
        values = rest[start:stop]
        if len(cuts) > 2:
            values = np.clip(values, *protected_bounds(values, entity[start:stop], extreme_entities))
        share = max(round(most * len(values) / len(rest)), 1)
        parts.append((values, int(np.clip(len(values) // rows_per_bin(len(rest)), 1, share))))
    bins = sum(count for _, count in parts)
    at, found = 0, []
    for values, count in parts:
        found.append(_functions(values, fractions(bins)[at : at + count], bins >= MANY_BINS))
        at += count
    return np.maximum.accumulate(np.concatenate(found).reshape(-1)).reshape(-1, KNOTS)


def fractions(bins: int) -> Floats:
    """Shares of each bin's values at its knots, shape (bins, KNOTS)."""
    shares = np.tile(EVEN, (bins, 1))
    if bins > 1:
        shares[0], shares[-1] = (1 - TAIL)[::-1], TAIL
    return shares


def drawn_from(knots: Floats, bins: NDArray[np.int64], uniform: Floats) -> Floats:
    """A value for each row's bin, at the share `uniform` of its quantile function."""
    shares = fractions(len(knots))
    left = np.zeros(len(bins), dtype=np.int64)
    for knot in range(1, KNOTS - 1):
        left += uniform >= shares[bins, knot]
    low, high = shares[bins, left], shares[bins, left + 1]
    first, last = knots[bins, left], knots[bins, left + 1]
    drawn: Floats = first + (uniform - low) / (high - low) * (last - first)
    return drawn


def first_digit(value: float) -> float:
    """A number without all digits but its first."""
    digit = 10.0 ** np.floor(np.log10(abs(value))) if value else 1.0
    return float(np.trunc(value / digit * (1 + 1e-12)) * digit)  # .3 / .1 is less than 3


def are_too_few(entity: NDArray[np.int64], entities: int) -> bool:
    """Whether values are of fewer than `entities` entities."""
    return len(np.unique(entity[:MOST_LOOKED_AT])) < entities and len(np.unique(entity)) < entities


def protected_bounds(
    values: Floats, entity: NDArray[np.int64], entities: int, rough: Callable[[float], float] = first_digit
) -> tuple[float, float]:
    """Lowest and highest value that may be written: the mean over the `entities` outermost entities at each end. Of fewer entities than
    that nothing is told but the `rough` of their mean: the mean of one is its value."""
    if entities <= 1:
        return float(values.min()), float(values.max())
    if are_too_few(entity, entities):
        told = rough(float(values.mean()))
        return told, told
    low = _outermost(values, entity, entities)
    high = -_outermost(-values, entity, entities)
    return low, max(low, high)


def _outermost(values: Floats, entity: NDArray[np.int64], entities: int) -> float:
    """Mean over the lowest value of each of so many entities, of which there must be as many."""
    order = np.argsort(values, kind="stable")
    take = 4 * entities
    while True:
        head = order[:take]
        _, first = np.unique(entity[head], return_index=True)
        if len(first) >= entities:
            lowest = np.sort(values[head][np.sort(first)])[:entities]
            return float(lowest.mean())
        take *= 4


def _functions(values: Floats, shares: Floats, coarse: bool) -> Floats:
    # a knot is the mean of five neighbours, so that no order statistic is kept as it was
    smooth = np.convolve(np.pad(values, 2, mode="edge"), np.full(APART, 1 / APART), mode="valid")
    edges = np.linspace(0, len(values), len(shares) + 1).astype(np.int64)
    functions = []
    for start, stop, at in zip(edges[:-1], edges[1:], shares, strict=True):
        last = stop if stop < len(values) else stop - 1
        known = _known(at, last - start, ROWS_PER_KNOT if coarse and np.array_equal(at, EVEN) else APART)  # a tail is no line
        functions.append(np.interp(at, known, np.interp(start + known * (last - start), np.arange(len(values)), smooth)))
    return np.array(functions)


def _known(at: Floats, rows: int, apart: int) -> Floats:
    """Those shares of a bin of so many values that are told: its ends, and between them what is so many values apart."""
    known = [0.0]
    for share in at[1:-1].tolist():
        if (share - known[-1]) * rows >= apart and (1 - share) * rows >= apart:
            known.append(share)
    return np.array([*known, 1.0])


def _cuts(rest: Floats, entity: NDArray[np.int64], most: int, extreme_entities: int) -> NDArray[np.int64]:
    """Where stretches without values end, `most` at most: wider than what the nearest values of a bin cover on either side, and than
    `WIDE` steps between neighbours; with enough entities on both sides for neither to disclose one."""
    places = np.arange(ROWS_PER_BIN, len(rest) - ROWS_PER_BIN + 1)
    if not len(places):
        return places
    covered = np.maximum(rest[places - 1] - rest[places - ROWS_PER_BIN], rest[places + ROWS_PER_BIN - 1] - rest[places])
    places = places[rest[places] - rest[places - 1] > covered]
    distinct = np.unique(rest)
    steps = np.diff(distinct)
    at = np.searchsorted(distinct, rest[places]) - 1
    wide = np.array([steps[i] / max(_usual(steps, i), np.finfo(np.float64).tiny) for i in at.tolist()])
    places = np.sort(places[np.argsort(-wide, kind="stable")][: min(most, int((wide > WIDE).sum()))])
    kept, start = [], 0
    for place in places.tolist():
        if min(len(np.unique(side)) for side in (entity[start:place], entity[place:])) >= 2 * extreme_entities:
            kept.append(place)
            start = place
    return np.array(kept, dtype=np.int64)


def _usual(steps: Floats, at: int) -> float:
    """Median of the four steps on either side of one; 0 where there is no other."""
    around = np.r_[steps[max(at - 4, 0) : at], steps[at + 1 : at + 5]]
    return float(np.median(around)) if len(around) else 0.0
