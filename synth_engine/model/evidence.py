"""When something is believed to hold in every row: which rows are looked at first, and how often chance would agree."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth_engine.encode.base import Floats
from synth_engine.encode.values import to_floats
from synth_engine.randomness import uniforms
from synth_engine.schema import Column, Kind
from synth_engine.schema.types import NUMBER_TYPES, base_type

MOST_COMPARED = 2_000
"""Rows on which something is tried before it is on all."""

FEWEST_ROWS = 20
"""Rows that must have values for anything to be believed: what holds in fewer may do so by chance."""

CHANCE = 1e-9
"""Probability below which nothing agrees by chance."""

CHUNK = 500_000
"""Rows something is tried on at a time."""


def sample_of(rows: int) -> NDArray[np.int64]:
    """Rows to try on what is to hold in all of so many; at no regular distance: what repeats itself would be met at the same place."""
    if rows <= MOST_COMPARED:
        return np.arange(rows)
    return np.unique((uniforms(0, np.arange(MOST_COMPARED)) * rows).astype(np.int64))


def is_chance(times: int, likely: float) -> bool:
    """Whether something so `likely` could well happen so many times by chance."""
    return bool(times * np.log(likely) >= np.log(CHANCE))


def is_no_chance(values: pa.Array, times: int) -> bool:
    """Whether others of the same shares would not be equal to these so many times by chance."""
    known = values.drop_null()
    if len(known) < FEWEST_ROWS:
        return False
    shares = np.r_[known.value_counts().field("counts").to_numpy(), values.null_count] / len(values)
    return not is_chance(times, float(np.square(shares).sum()))


def is_number(column: Column) -> bool:
    """Whether its values can be computed with; numbers that are categories can, too."""
    return base_type(column.data_type) in NUMBER_TYPES and column.kind in (Kind.INTEGER, Kind.DECIMAL, Kind.CATEGORY)


def numbers_of(values: pa.Array, column: Column) -> Floats:
    """The numbers, NaN where there is none."""
    found = to_floats(values, column.data_type)
    found[~np.isfinite(found)] = np.nan
    return found
