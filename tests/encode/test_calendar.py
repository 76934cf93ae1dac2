"""Parts of the calendar, and the time between two moments."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from synth_engine.encode.calendar import BETWEEN, NAMED, PARTS, seconds_of

PYTHONS = {
    "year of a": lambda at: at.year,
    "quarter of a": lambda at: (at.month + 2) // 3,
    "month of a": lambda at: at.month,
    "year and month of a": lambda at: at.year * 100 + at.month,
    "date of a": lambda at: int(f"{at:%Y%m%d}"),
    "week of a": lambda at: at.isocalendar().week,
    "day of a": lambda at: at.day,
    "day of the year of a": lambda at: at.timetuple().tm_yday,
    "weekday of a, Monday 0": lambda at: at.weekday(),
    "weekday of a, Monday 1": lambda at: at.isoweekday(),
    "weekday of a, Sunday 0": lambda at: at.isoweekday() % 7,
    "weekday of a, Sunday 1": lambda at: at.isoweekday() % 7 + 1,
    "hour of a": lambda at: at.hour,
    "minute of a": lambda at: at.minute,
    "second of a": lambda at: at.second,
}


@given(at=st.datetimes(datetime(1700, 1, 1), datetime(2200, 12, 31)))
@example(datetime(1969, 12, 31, 23, 59, 59))
@example(datetime(2000, 2, 29))
@example(datetime(2020, 12, 31))
@example(datetime(2021, 1, 3))
def test_every_part_is_what_python_says(at: datetime):
    whole = at.replace(microsecond=0, tzinfo=UTC)
    seconds = np.array([whole.timestamp(), np.nan])
    for name, part in PARTS.items():
        assert part(seconds)[0] == PYTHONS[name](whole), name
        assert np.isnan(part(seconds)[1]), name


def test_parts_with_names_are_parts():
    assert set(NAMED) < set(PARTS) == set(PYTHONS)


@pytest.mark.parametrize(
    ("formula", "found"),
    [
        ("seconds from a to b", 93_784.5),
        ("minutes from a to b", 93_784.5 / 60),
        ("hours from a to b", 93_784.5 / 3_600),
        ("days from a to b", 93_784.5 / 86_400),
        ("weeks from a to b", 93_784.5 / 604_800),
        ("whole minutes from a to b", 1_563),
        ("whole hours from a to b", 26),
        ("whole days from a to b", 1),
        ("whole weeks from a to b", 0),
        ("days from the date of a to that of b", 2),
    ],
)
def test_time_between_two_moments(formula: str, found: float):
    a = datetime(2024, 2, 28, 23, 30, tzinfo=UTC).timestamp()
    assert BETWEEN[formula](np.array([a]), np.array([a + 93_784.5]))[0] == pytest.approx(found, rel=1e-12)


def test_whole_units_are_counted_though_floats_are_not_exact():
    a = np.array([1_700_000_000.1])
    assert BETWEEN["whole minutes from a to b"](a, a + 60)[0] == 1
    assert BETWEEN["whole minutes from a to b"](a, a - 60)[0] == -1


def test_dates_and_times_are_told_in_the_same_unit():
    assert seconds_of(pa.array([1, None], pa.date32()), "date").tolist()[0] == 86_400
    assert seconds_of(pa.array([86_400_000_000], pa.timestamp("us")), "timestamp").tolist() == [86_400]
