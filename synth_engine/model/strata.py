"""Random numbers spread evenly over the rows of a table, so that in a small one chance adds less to what the model gets wrong."""

from __future__ import annotations

from math import isqrt

import numpy as np
from numpy.typing import NDArray

from synth_engine.encode.base import Floats
from synth_engine.randomness import generator, stream, uniforms

FEWEST_ROWS = 25
"""Arrays of fewer rows would have two or three levels, and any three columns repeat few combinations."""


def spread_evenly(rows: int, columns: int, seed: int) -> Floats:
    """Numbers in [0, 1), shape (columns, rows), each by itself uniform and independent of the rows' order.

    Every column has one number in each of `rows` equal parts, so what has the same share of the unit interval in all rows comes out
    that often, to within a row. Columns are taken in blocks of `levels` + 1, about the root of `rows`: any two of a block have as many
    numbers, to within one, in every cell of a grid of `levels` by `levels`. Columns of different blocks are independent. Three of a
    block are not: shares of combinations of three vary more than by chance (at a hundred rows by a third, at five thousand by a
    tenth). The same seed gives the same numbers, of the first columns whatever their number, unless it is one.

    Latin hypercubes from orthogonal arrays: B. Tang, "Orthogonal array-based Latin hypercubes", JASA 88 (1993), on the
    arrays of R. C. Bose (1938), of a prime number of levels and one column more.
    """
    levels = _largest_prime(isqrt(rows)) if rows >= FEWEST_ROWS and columns > 1 else 1
    spread = np.empty((columns, rows))
    for column in range(columns):
        group, place = divmod(column, levels + 1)
        if place == 0:
            high, low = np.divmod(_cells(rows, levels, generator(seed, "cells", group)), levels)
        level = low if place == levels else (high + place * low) % levels
        spread[column] = _one_in_each_part(level, levels, stream(seed, "part", column))
    return spread


def spread_by_size(sizes: NDArray[np.int64], seed: int) -> Floats:
    """Numbers in [0, 1) for groups of rows of these sizes, each by itself uniform: of any part of the interval the groups in it have
    that share of all rows, to within the largest group at either end. Each has a part of the interval as wide as its share, all of them
    in random order from a random point on, and a number within it (systematic sampling with chances in proportion to size)."""
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(sizes))
    ends = np.cumsum(sizes[order])
    found = np.empty(len(sizes))
    found[order] = (ends - sizes[order] * draw.random(len(sizes))) / max(int(sizes.sum()), 1) + draw.random()
    return found % 1.0


def _cells(rows: int, levels: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """A cell of the grid for each row: all of them as often as there are rows for, and for what is left over some."""
    whole, rest = divmod(rows, levels**2)
    cells = np.concatenate([np.tile(np.arange(levels**2), whole), draw.permutation(levels**2)[:rest]])
    return draw.permutation(cells)


def _one_in_each_part(level: NDArray[np.int64], levels: int, seed: int) -> Floats:
    """Rows of one level get the parts of the unit interval that are its share, in random order, as do the levels."""
    rows, draw = len(level), np.random.default_rng(seed)
    shuffled = draw.permutation(rows)
    renamed = draw.permutation(levels).astype(np.uint16)[level[shuffled]]  # of a small type: sorted by counting
    part = np.empty(rows)
    part[shuffled[np.argsort(renamed, kind="stable")]] = np.arange(rows)
    return np.minimum((part + uniforms(seed, np.arange(rows))) / max(rows, 1), np.nextafter(1.0, 0.0))


def _largest_prime(most: int) -> int:
    """The largest prime up to `most`, 1 if there is none."""
    return next((n for n in range(most, 1, -1) if all(n % d for d in range(2, isqrt(n) + 1))), 1)
