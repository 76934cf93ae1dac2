"""What dates and times say in numbers: parts of the calendar, and the time between two of them. Moments are seconds since 1970."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth_engine.encode.base import Floats
from synth_engine.encode.values import to_floats
from synth_engine.schema.types import base_type

DAY = 86_400.0
SPANS = {"seconds": 1.0, "minutes": 60.0, "hours": 3_600.0, "days": DAY, "weeks": 7 * DAY}
MICROSECONDS = 6
"""Decimal places of seconds that a moment is known to."""

MONDAY = 4
"""Days from the 1st of January 1970 to the first Monday."""


def seconds_of(column: pa.Array, data_type: str) -> Floats:
    """Dates and times as seconds since 1970, NaN where they are null."""
    return to_floats(column, data_type) * (DAY if base_type(data_type) == "date" else 1.0)


def _of_known(part: Callable[[NDArray[np.datetime64]], NDArray[np.int64]]) -> Callable[[Floats], Floats]:
    """The part of every day that is known, as numbers."""

    def of(seconds: Floats) -> Floats:
        found, known = np.full(len(seconds), np.nan), np.isfinite(seconds)
        found[known] = part(np.floor(seconds[known] / DAY).astype("datetime64[D]"))
        return found

    return of


def _year(days: NDArray[np.datetime64]) -> NDArray[np.int64]:
    return days.astype("datetime64[Y]").astype(np.int64) + 1970


def _month(days: NDArray[np.datetime64]) -> NDArray[np.int64]:
    return days.astype("datetime64[M]").astype(np.int64) % 12 + 1


def _day(days: NDArray[np.datetime64]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = (days - days.astype("datetime64[M]")).astype(np.int64) + 1
    return found


def _weekday(days: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """0 on Mondays."""
    return (days.astype(np.int64) - MONDAY) % 7


def _week(days: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """The number of the week by ISO 8601: that of its Thursday in its year."""
    thursday = days + (3 - _weekday(days))
    return _day_of_year(thursday) // 7 + 1


def _day_of_year(days: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """0 on the 1st of January."""
    found: NDArray[np.int64] = (days - days.astype("datetime64[Y]")).astype(np.int64)
    return found


PARTS: dict[str, Callable[[Floats], Floats]] = {
    "year of a": _of_known(_year),
    "quarter of a": _of_known(lambda days: (_month(days) + 2) // 3),
    "month of a": _of_known(_month),
    "year and month of a": _of_known(lambda days: 100 * _year(days) + _month(days)),
    "date of a": _of_known(lambda days: 10_000 * _year(days) + 100 * _month(days) + _day(days)),
    "week of a": _of_known(_week),
    "day of a": _of_known(_day),
    "day of the year of a": _of_known(lambda days: _day_of_year(days) + 1),
    "weekday of a, Monday 0": _of_known(_weekday),
    "weekday of a, Monday 1": _of_known(lambda days: _weekday(days) + 1),
    "weekday of a, Sunday 0": _of_known(lambda days: (_weekday(days) + 1) % 7),
    "weekday of a, Sunday 1": _of_known(lambda days: (_weekday(days) + 1) % 7 + 1),
    "hour of a": lambda seconds: np.floor(seconds % DAY / 3_600),
    "minute of a": lambda seconds: np.floor(seconds % 3_600 / 60),
    "second of a": lambda seconds: np.floor(seconds % 60),
}


NAMED = ("quarter of a", "weekday of a, Monday 0", "month of a", "year of a", "hour of a", "week of a", "year and month of a")
"""Parts that have names in other columns (Q1, a weekend, a season), those with few values first."""


def _between(unit: float) -> Callable[[Floats, Floats], Floats]:
    return lambda a, b: np.round(b - a, MICROSECONDS) / unit


def _whole_between(unit: float) -> Callable[[Floats, Floats], Floats]:
    return lambda a, b: np.trunc(np.round(b - a, MICROSECONDS) / unit)


BETWEEN: dict[str, Callable[[Floats, Floats], Floats]] = {
    **{f"{name} from a to b": _between(unit) for name, unit in SPANS.items()},
    **{f"whole {name} from a to b": _whole_between(unit) for name, unit in SPANS.items() if name != "seconds"},
    "days from the date of a to that of b": lambda a, b: np.floor(b / DAY) - np.floor(a / DAY),
}
"""In the order of preference: what rounding tells is not told as cut off."""
