"""Between Arrow columns and the floats that number-like encoders compute with.

Numbers are themselves; dates are days since 1970, times seconds since midnight, timestamps seconds since 1970 (UTC
for instants), each with a fraction down to microseconds. Null is NaN.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth_engine.encode.base import Floats
from synth_engine.encode.written import read, write
from synth_engine.schema.types import base_type, decimal_digits, to_arrow, written_form

MICROSECONDS = 1_000_000

FOUR_DIGIT_YEARS = (-354285, 2932896)
"""First and last day of the years 1000 to 9999: a written year has four digits."""


def hex_digits(column: pa.Array) -> pa.Array:
    """Bytes as text, two digits each."""
    return pa.array([None if value is None else value.hex() for value in column.to_pylist()], pa.string())


def to_floats(column: pa.Array, data_type: str) -> Floats:
    """The column as float64, NaN where it is null."""
    kind = base_type(data_type)
    if written := written_form(data_type):
        return to_floats(read(column, written[1]), kind)
    if kind == "date":
        column = column.cast(pa.int32())
    elif kind in ("time", "timestamp", "timestamptz"):
        micros = column.cast(pa.int64())
        return np.asarray(pc.cast(micros, pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64) / MICROSECONDS
    return np.array(pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)


def from_floats(values: Floats, data_type: str) -> pa.Array:
    """The inverse of `to_floats`. Values beyond the type's range are drawn in to it."""
    kind, target = base_type(data_type), to_arrow(data_type)
    if written := written_form(data_type):
        day = 1 if kind == "date" else 86_400
        within = values if kind == "time" else np.clip(values, FOUR_DIGIT_YEARS[0] * day, (FOUR_DIGIT_YEARS[1] + 1) * day - 1)
        return write(from_floats(within, kind), written[1], written[0])
    missing = np.isnan(values)
    filled = np.where(missing, 0.0, values)
    if kind in ("float32", "float64"):
        return pa.array(filled, mask=missing).cast(target)
    if kind == "decimal":
        return _decimals(filled, missing, data_type)
    scale = MICROSECONDS if kind in ("time", "timestamp", "timestamptz") else 1
    low, high = {
        "int16": (-(2**15), 2**15 - 1),
        "int32": (-(2**31), 2**31 - 1),
        "date": (-719162, 2932896),
        "time": (0, 86_400 * scale - 1),
    }.get(kind, (-(2**62), 2**62) if scale > 1 else (-(2**63), 2**63 - 1))
    integers = pa.array(_whole(filled * scale, low, high), mask=missing)
    return integers.cast(pa.int32()).cast(target) if kind == "date" else integers.cast(target)


def _whole(values: Floats, low: int, high: int) -> NDArray[np.int64]:
    """The nearest whole numbers from `low` to `high`, exactly so at the ends of the type, which floats only come near to."""
    rounded = np.rint(values)
    above, below = rounded >= high, rounded <= low
    return np.select([above, below], [np.int64(high), np.int64(low)], np.where(above | below, 0, rounded).astype(np.int64))


def _decimals(filled: Floats, missing: np.ndarray, data_type: str) -> pa.Array:
    precision, scale = decimal_digits(data_type) or (38, 9)
    limit = 10.0 ** (precision - scale) - 10.0**-scale
    clipped = np.clip(filled, -limit, limit)
    if precision <= 15:  # such a number is exact enough as a float to be cast by way of its text-free rounding
        return pa.array(np.round(clipped, scale), mask=missing).cast(to_arrow(data_type), safe=False)
    text = [None if gone else f"{value:.{scale}f}" for value, gone in zip(clipped.tolist(), missing.tolist(), strict=True)]
    return pa.array(text, pa.string()).cast(to_arrow(data_type))
