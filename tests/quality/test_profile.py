"""A profile describes the source well enough to validate against, and holds nothing of a single row."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta

import pyarrow as pa
import pytest

from synth_engine.config import Privacy
from synth_engine.quality.profile import ColumnProfile, Profile, profile
from synth_engine.schema import Column, Kind, Schema, Table
from synth_engine.schema.types import to_arrow


def of(values: list[object], kind: Kind, data_type: str, *, batch_rows: int = 7, privacy: Privacy | None = None) -> ColumnProfile:
    """The profile of one column, read in small batches."""
    schema = Schema.of([Table("t", (Column("x", kind, data_type),))])
    table = pa.table({"x": pa.array(values, to_arrow(data_type))})
    return profile(schema, {"t": lambda: table.to_batches(batch_rows)}, privacy or Privacy()).columns["t"]["x"]


@pytest.mark.parametrize(
    ("values", "kind", "data_type"),
    [
        (list(range(13, 977)), Kind.INTEGER, "int64"),
        ([v / 7 for v in range(-300, 300)], Kind.DECIMAL, "float64"),
        ([datetime(2024, 1, 2 + v % 27, v % 24) for v in range(100)], Kind.TIMESTAMP, "timestamp"),
        ([date(1990 + v % 30, 5, 17) for v in range(100)], Kind.DATE, "date"),
        ([time(7 + v % 9, 13) for v in range(100)], Kind.TIME, "time"),
    ],
    ids=["integer", "decimal", "timestamp", "date", "time"],
)
def test_bounds_lie_beyond_the_extremes_and_hold_all_values(values, kind, data_type):
    found = of(values, kind, data_type)
    seconds = {
        "timestamp": lambda v: (v - datetime(1970, 1, 1)).total_seconds(),
        "date": lambda v: (v - date(1970, 1, 1)).days * 86_400,
        "time": lambda v: v.hour * 3600 + v.minute * 60,
    }.get(data_type, float)
    extremes = seconds(min(values)), seconds(max(values))
    assert found.low < extremes[0] and found.high > extremes[1]
    assert list(found.edges) == sorted(found.edges) and not {*found.edges} & {*extremes}
    assert sum(found.weights) == pytest.approx(1, abs=1e-4)


def test_a_column_that_is_never_negative_stays_so():
    assert of([0, 0, 3, 5, 9] * 20, Kind.INTEGER, "int32").low == 0


def test_bounds_of_a_few_whole_numbers_do_not_tell_the_largest():
    assert of([1, 2, 3, 4, 5, 6] * 20 + [17], Kind.INTEGER, "int32").high == 20


def test_bounds_of_many_years_are_told_by_the_year():
    days = [datetime(1899, 9, 9).date(), *(datetime(1950, 1, 1).date() + timedelta(days=40 * d) for d in range(400))]
    found = of(days, Kind.DATE, "date")
    assert [(datetime(1970, 1, 1) + timedelta(seconds=b)).date().isoformat() for b in (found.low, found.high)] == [
        "1899-01-01",
        "1994-01-01",
    ]


def test_every_bin_holds_enough_rows():
    values = [1] * 500 + [1000, 2000, 3000]
    found = of(values, Kind.INTEGER, "int64")
    assert all(weight == 0 or weight * len(values) >= 5 for weight in found.weights)


def test_integers_that_are_dates_are_profiled_by_the_calendar():
    days = [int(f"{datetime(2024, 1, 17) + timedelta(days=d % 90):%Y%m%d}") for d in range(900)]
    found = of(days, Kind.DATE, "int64")
    assert found.cells == "bins"
    assert [datetime.fromtimestamp(bound, UTC).date().isoformat() for bound in (found.low, found.high)] == ["2024-01-01", "2024-05-01"]


def test_only_frequent_categories_are_kept():
    found = of(["a"] * 50 + ["b"] * 5 + ["secret"] * 4 + [None] * 10, Kind.CATEGORY, "string")
    assert found.categories == ("a", "b")
    assert found.weights == pytest.approx((50 / 65, 5 / 65, 0, 10 / 65), abs=1e-5)


def test_categories_that_protection_does_not_let_through_are_spread_over_those_it_does():
    found = of(["a"] * 40 + ["b"] * 20 + ["c"] * 30 + [None] * 10, Kind.CATEGORY, "string").showing_only({"a", "b"})
    assert found.categories == ("a", "b")
    assert found.weights == pytest.approx((0.6, 0.3, 0, 0.1), abs=1e-5)


def test_a_column_that_protection_lets_nothing_through_of_is_known_by_presence():
    found = of(["a"] * 45 + ["b"] * 45 + [None] * 10, Kind.CATEGORY, "string").showing_only(set())
    assert (found.cells, found.weights) == ("presence", (0.9, 0.1))


def test_columns_that_training_says_nothing_of_keep_their_profile():
    known = Profile({"t": 9}, {"t": {"x": of(["a"] * 9, Kind.CATEGORY, "string")}})
    assert known.showing_only({"t": {}}) == known.showing_only({}) == known


def test_nothing_is_said_of_columns_that_another_table_answers_for():
    known = Profile({"t": 9}, {"t": {"x": of(["a"] * 9, Kind.CATEGORY, "string"), "y": of(["a"] * 9, Kind.CATEGORY, "string")}})
    assert list(known.showing_only({"t": {"x": None}}).columns["t"]) == ["y"]


def test_protection_can_be_switched_off():
    off = Privacy(rare_category_entities=1, extreme_value_entities=1)
    assert of(["a"] * 50 + ["rare"], Kind.CATEGORY, "string", privacy=off).categories == ("a", "rare")


def test_texts_are_known_by_presence_and_rough_length_only():
    found = of(["anna@example.org", "bo@example.org", None], Kind.TEXT, "string")
    assert found == ColumnProfile("presence", (0.666667, 0.333333), lengths=(10, 20))


@pytest.mark.parametrize("values", [[], [None, None]], ids=["no rows", "all missing"])
@pytest.mark.parametrize(("kind", "data_type"), [(Kind.INTEGER, "int64"), (Kind.CATEGORY, "string"), (Kind.DATE, "date")])
def test_nothing_to_profile_is_presence(values, kind, data_type):
    assert of(values, kind, data_type).cells == "presence"


def test_constants_and_booleans():
    assert of([7] * 30, Kind.INTEGER, "int64").low < 7 < of([7] * 30, Kind.INTEGER, "int64").high
    assert of([True] * 20 + [False] * 10, Kind.BOOLEAN, "boolean").categories == (True, False)


def test_batch_size_does_not_change_the_profile():
    values = [v * v % 1013 / 10 for v in range(2000)]
    assert of(values, Kind.DECIMAL, "float64", batch_rows=11) == of(values, Kind.DECIMAL, "float64", batch_rows=2000)


def test_nothing_is_said_of_tables_that_are_left_out():
    column = of(["a"] * 9, Kind.CATEGORY, "string")
    assert Profile({"t": 9, "u": 9}, {"t": {"x": column}, "u": {"x": column}}).without(["u"]).columns == {"t": {"x": column}, "u": {}}


def test_a_profile_survives_json():
    made = Profile({"t": 3}, {"t": {"x": of(["a"] * 9, Kind.CATEGORY, "string"), "y": of([1.5] * 9, Kind.DECIMAL, "float64")}})
    assert Profile.from_dict(json.loads(json.dumps(made.to_dict()))) == made
