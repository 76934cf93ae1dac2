"""Columns that are hard to make synthetic: how they are made, and how far a twin is from them.

Every measure is a distance to the real rows: 0 is best. Sizes are for the caller to choose.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table

Floats = NDArray[np.float64]
DAY, HOUR = 86_400, 3_600
START = 1_577_836_800
"""1 January 2020 in seconds."""
CODES = (-1.0, 999_999.0)
ENDINGS = (99, 0, 95)
"""The cents that most prices end in."""


def of_one_table(*columns: Column) -> Schema:
    return Schema.of([Table("t", columns)])


def number(name: str) -> Column:
    return Column(name, Kind.DECIMAL, "float64", False)


def category(name: str) -> Column:
    return Column(name, Kind.CATEGORY, "string", False)


def moment(name: str) -> Column:
    return Column(name, Kind.TIMESTAMP, "timestamp", False)


def owned(*columns: Column) -> Schema:
    """Owners, and rows of theirs with these columns."""
    id_ = Column("id", Kind.IDENTIFIER, "int64", False)
    owner = Column("owner", Kind.IDENTIFIER, "int64", False)
    key = ForeignKey(("owner",), "owners", ("id",))
    return Schema.of([Table("owners", (id_,), ("id",)), Table("rows", (id_, owner, *columns), ("id",), foreign_keys=(key,))])


def as_moments(seconds: Floats) -> pa.Array:
    return pa.array((np.rint(seconds) * 1_000_000).astype(np.int64)).cast(pa.timestamp("us"))


def as_seconds(column: pa.ChunkedArray) -> Floats:
    return column.cast(pa.int64()).to_numpy().astype(np.float64) / 1_000_000


# -- distances -----------------------------------------------------------------------------------------------------------


def ks(one: Floats, other: Floats) -> float:
    """Kolmogorov-Smirnov distance: the largest difference of the two distribution functions."""
    both = np.sort(np.r_[one, other])
    sides = (np.searchsorted(np.sort(x), both, side="right") / len(x) for x in (one, other))
    return float(np.abs(next(sides) - next(sides)).max())


def noise(rows: int) -> float:
    """The Kolmogorov-Smirnov distance from their distribution that one sample in a hundred of so many rows exceeds."""
    return float(1.63 / np.sqrt(rows))


def variation(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Total variation distance of two columns of codes."""
    size = int(max(one.max(), other.max())) + 1
    shares = (np.bincount(x, minlength=size) / len(x) for x in (one, other))
    return float(0.5 * np.abs(next(shares) - next(shares)).sum())


# -- numbers -------------------------------------------------------------------------------------------------------------

HEAVY = of_one_table(number("pareto"), number("lognormal"), number("tiny"))


def heavy(rows: int, seed: int) -> pa.Table:
    """A Pareto and a lognormal tail to eight decimals, and numbers of a billionth."""
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "pareto": np.round(rng.pareto(1.2, rows) + 1, 8),
            "lognormal": np.round(rng.lognormal(0, 2, rows), 8),
            "tiny": rng.lognormal(0, 1, rows) * 1e-9,
        }
    )


SPIKED = of_one_table(number("paid"))


def spiked(rows: int, seed: int) -> pa.Table:
    """A third of the rows paid nothing."""
    rng = np.random.default_rng(seed)
    return pa.table({"paid": np.where(rng.random(rows) < 0.35, 0.0, rng.gamma(2, 30, rows))})


CODED = of_one_table(number("amount"))


def coded(rows: int, seed: int, rare: float) -> pa.Table:
    """Amounts to the cent, among them 3 % of -1 and a share of `rare` of 999999."""
    rng = np.random.default_rng(seed)
    amount, chance = np.round(rng.lognormal(4, 1, rows), 2), rng.random(rows)
    return pa.table({"amount": np.select([chance < 0.03, chance < 0.03 + rare], CODES, amount)})


PRICED = of_one_table(
    number("price"), Column("list_price", Kind.DECIMAL, "decimal(10,2)", False), Column("salary", Kind.INTEGER, "int64", False)
)


def priced(rows: int, seed: int) -> pa.Table:
    """Prices half of which end in .99, a fifth in .00, a tenth in .95; and salaries, two in three of which are whole thousands."""
    rng = np.random.default_rng(seed)

    def prices() -> Floats:
        cents = np.where(rng.random(rows) < 0.2, rng.integers(0, 100, rows), rng.choice(ENDINGS, rows, p=[0.625, 0.25, 0.125]))
        return np.round(np.floor(rng.lognormal(4, 1, rows)) + cents / 100, 2)

    salary = rng.lognormal(10.8, 0.4, rows)
    return pa.table(
        {
            "price": prices(),
            "list_price": pa.array(prices()).cast(pa.decimal128(10, 2)),
            "salary": np.where(rng.random(rows) < 0.67, np.rint(salary / 1000) * 1000, np.rint(salary)).astype(np.int64),
        }
    )


# -- categories ----------------------------------------------------------------------------------------------------------

ZIPF = of_one_table(category("product"), number("weight"), category("shelf"))
SHELVES = 6


def zipf(rows: int, values: int, seed: int) -> pa.Table:
    """Products by Zipf's law; each has its own mean weight (of standard deviation 1 over products, 0.5 within) and its own
    shelf, on which 80 % of it stand."""
    rng, of_product = np.random.default_rng(seed), np.random.default_rng(0)
    share = 1 / np.arange(1, values + 1)
    product = rng.choice(values, rows, p=share / share.sum())
    mean, own = of_product.normal(size=values), of_product.integers(0, SHELVES, values)
    shelf = np.where(rng.random(rows) < 0.8, own[product], rng.integers(0, SHELVES, rows))
    return pa.table(
        {
            "product": products(values)[product].tolist(),
            "weight": mean[product] + 0.5 * rng.normal(size=rows),
            "shelf": np.char.add("s", shelf.astype(str)).tolist(),
        }
    )


def products(values: int) -> NDArray[np.str_]:
    """Names of all products, the most frequent first."""
    return np.char.add("p", np.arange(values).astype(str))


# -- moments -------------------------------------------------------------------------------------------------------------

SEASONAL = of_one_table(moment("at"))


def seasonal(rows: int, seed: int, years: int = 4) -> pa.Table:
    """Busy summers; working days busy at nine and at four, weekends in the evening. All days of a week are equally busy, so only
    the hours tell them apart."""
    rng = np.random.default_rng(seed)
    day = np.arange(years * 365)
    busy = 1 + 0.6 * np.sin(2 * np.pi * (day - 110) / 365)
    chosen = rng.choice(day, rows, p=busy / busy.sum())
    weekend = (START // DAY + chosen + 3) % 7 >= 5
    work = np.where(rng.random(rows) < 0.5, rng.normal(9, 1.5, rows), rng.normal(16, 2, rows))
    hour = np.where(weekend, rng.normal(20, 2, rows), work)
    return pa.table({"at": as_moments(START + chosen * DAY + np.clip(hour, 0, 23.999) * HOUR)})


def calendar(column: pa.ChunkedArray) -> dict[str, NDArray[np.int64]]:
    """Hour, weekday, hour and weekday, and month of each moment, as codes."""
    at = pd.DatetimeIndex(column.to_pandas())
    hour, weekday = at.hour.to_numpy().astype(np.int64), at.dayofweek.to_numpy().astype(np.int64)
    return {"hour": hour, "weekday": weekday, "hour x weekday": weekday * 24 + hour, "month": at.month.to_numpy().astype(np.int64)}


EVENTS = owned(moment("at"))


def events(owners: int, seed: int) -> dict[str, pa.Table]:
    """Visits of a few clicks, seconds to minutes apart, with days between them."""
    rng = np.random.default_rng(seed)
    length = 2 + rng.poisson(8, owners)
    owner = np.repeat(np.arange(owners), length)
    rows = len(owner)
    gap = np.where(rng.random(rows) < 0.6, rng.lognormal(4, 1, rows), rng.lognormal(12, 0.8, rows))
    first = np.r_[True, np.diff(owner) > 0]
    gap[first] = rng.uniform(0, 200 * DAY, owners)
    total = np.cumsum(np.rint(gap))
    at = START + total - (total - gap)[first][owner]
    return {
        "owners": pa.table({"id": np.arange(owners) + 1}),
        "rows": pa.table({"id": np.arange(rows) + 1, "owner": owner + 1, "at": as_moments(at)}),
    }


def gaps(rows: pa.Table) -> Floats:
    """Seconds between the rows of an owner, in the order of their keys."""
    order = np.lexsort((rows["id"].to_numpy(), rows["owner"].to_numpy()))
    owner, at = rows["owner"].to_numpy()[order], as_seconds(rows["at"])[order]
    return np.diff(at)[np.diff(owner) == 0]


# -- places --------------------------------------------------------------------------------------------------------------

PLACES = of_one_table(number("latitude"), number("longitude"))


def places(shape: str, rows: int, seed: int) -> pa.Table:
    """Coordinates to six decimals: on a ring, in five towns, or in an L."""
    rng = np.random.default_rng(seed)
    if shape == "ring":
        angle, radius = rng.uniform(0, 2 * np.pi, rows), rng.uniform(0.8, 1.0, rows)
        points = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    elif shape == "towns":
        centres = np.array([[0, 0], [0.9, 0.2], [-0.7, 0.8], [0.5, -0.9], [-0.8, -0.6]])
        points = centres[rng.integers(0, 5, rows)] + np.clip(rng.normal(0, 0.06, (rows, 2)), -0.15, 0.15)
    else:
        upright = rng.random(rows) < 0.5
        points = np.stack([np.where(upright, rng.uniform(-1, 1, rows), rng.uniform(-1, -0.7, rows)), rng.uniform(-1, 1, rows)], axis=1)
        points[upright, 1] = rng.uniform(-1, -0.7, upright.sum())
    return pa.table({"latitude": np.round(52 + points[:, 0], 6), "longitude": np.round(5 + 2 * points[:, 1], 6)})


def off_land(real: pa.Table, points: pa.Table, cells: int) -> float:
    """Share of the points in cells of a square grid in which there is no real one."""

    def cell(table: pa.Table) -> NDArray[np.int64]:
        at = [np.floor((table["latitude"].to_numpy() - 50.9) / 2.2 * cells), np.floor((table["longitude"].to_numpy() - 2.8) / 4.4 * cells)]
        return (np.clip(at[0], 0, cells - 1) * cells + np.clip(at[1], 0, cells - 1)).astype(np.int64)

    return float((~np.isin(cell(points), np.unique(cell(real)))).mean())


# -- long sequences ------------------------------------------------------------------------------------------------------

READINGS = owned(moment("at"), number("value"), category("state"))


def readings(owners: int, length: int, seed: int, regular: bool) -> dict[str, pa.Table]:
    """Half to one and a half times `length` readings an owner, each near the one before it, every hour or at any time; the state
    follows the reading."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(length // 2, length * 3 // 2 + 1, owners)
    owner = np.repeat(np.arange(owners), lengths)
    rows = len(owner)
    value, shock = np.empty(rows), rng.normal(size=rows) * np.sqrt(1 - 0.95**2)
    first = np.r_[True, np.diff(owner) > 0]
    for row in range(rows):
        value[row] = rng.normal() if first[row] else 0.95 * value[row - 1] + shock[row]
    index = np.arange(rows) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    gap = np.rint(rng.exponential(HOUR, rows)) + 1
    total = np.cumsum(gap)
    at = index * HOUR if regular else total - (total[first] - rng.uniform(0, 30 * DAY, owners))[owner]
    return {
        "owners": pa.table({"id": np.arange(owners) + 1}),
        "rows": pa.table(
            {
                "id": np.arange(rows) + 1,
                "owner": owner + 1,
                "at": as_moments(START + at),
                "value": value,
                "state": np.array(["low", "normal", "high"])[np.digitize(value, [-1, 1])].tolist(),
            }
        ),
    }


def echo(rows: pa.Table, lag: int, at_border_of: int | None = None) -> float:
    """Correlation of an owner's value with its value `lag` rows before; of pairs across a border of windows of so many rows alone, if
    that is asked for."""
    order = np.lexsort((rows["id"].to_numpy(), as_seconds(rows["at"]), rows["owner"].to_numpy()))
    owner, value = rows["owner"].to_numpy()[order], rows["value"].to_numpy()[order]
    starts = np.r_[True, np.diff(owner) != 0]
    index = np.arange(len(owner)) - np.maximum.accumulate(np.where(starts, np.arange(len(owner)), 0))
    pairs = index[lag:] >= lag
    if at_border_of is not None:
        pairs &= index[lag:] % at_border_of < lag
    return float(np.corrcoef(value[lag:][pairs], value[:-lag][pairs])[0, 1])


def lengths(rows: pa.Table) -> Floats:
    return np.unique(rows["owner"].to_numpy(), return_counts=True)[1].astype(np.float64)


# -- wide tables ---------------------------------------------------------------------------------------------------------


def wide_schema(columns: int) -> Schema:
    return of_one_table(*(number(f"n{i}") if i % 2 else category(f"c{i}") for i in range(columns)))


def wide(rows: int, columns: int, seed: int) -> pa.Table:
    """Numbers and categories by turns. Every tenth column and the fifth after it follow one of two hidden factors, the rest are noise."""
    rng = np.random.default_rng(seed)
    factors, made = rng.normal(size=(2, rows)), {}
    for i in range(columns):
        values = rng.normal(size=rows)
        if i % 5 == 0:
            values = 0.9 * factors[(i // 10) % 2] + np.sqrt(1 - 0.9**2) * values
        made[f"n{i}" if i % 2 else f"c{i}"] = values if i % 2 else np.array(list("abcd"))[np.digitize(values, [-0.7, 0, 0.7])].tolist()
    return pa.table(made)


def planted_correlations(table: pa.Table) -> Floats:
    """Rank correlations between all columns that follow a factor."""
    chosen = [c for c in table.column_names if int(c[1:]) % 5 == 0]
    ranks = [pd.Series(table[c].to_pandas()).rank().to_numpy() for c in chosen]
    return np.corrcoef(ranks)[np.triu_indices(len(chosen), 1)]


# -- one column bound by another, or by the row before -------------------------------------------------------------------------------

JOURNEYS = owned(
    number("east"),
    number("north"),
    number("arrival"),
    number("departure"),
    moment("opened"),
    Column("closed", Kind.TIMESTAMP, "timestamp", True),
)


def journeys(owners: int, stops: int, seed: int) -> dict[str, pa.Table]:
    """Trips that move step by step and in time, from stop to stop; most depart as they arrive. What is closed was opened before; a third is
    not closed yet."""
    rng = np.random.default_rng(seed)
    rows, shape = owners * stops, (owners, stops)
    heading = rng.uniform(0, 2 * np.pi, (owners, 1)) + np.cumsum(rng.normal(0, 0.2, shape), axis=1)
    east, north = (np.cumsum(0.01 * side(heading), axis=1) + rng.normal(0, 2, (owners, 1)) for side in (np.cos, np.sin))
    arrival = rng.integers(0, 60_000, (owners, 1)) + np.cumsum(rng.integers(1, 5, shape) * 60, axis=1)
    departure = arrival + np.where(rng.random(shape) < 0.1, 30, 0)
    opened = START + (rng.integers(0, 300, (owners, 1)) * 86_400 + arrival).reshape(-1)
    closed = opened + rng.gamma(2, 2 * 86_400, rows).astype(np.int64)
    numbers = {"east": east.round(5), "north": north.round(5), "arrival": arrival * 1.0, "departure": departure * 1.0}
    return {
        "owners": pa.table({"id": pa.array(np.arange(owners))}),
        "rows": pa.table(
            {
                "id": pa.array(np.arange(rows)),
                "owner": pa.array(np.repeat(np.arange(owners), stops)),
                **{name: pa.array(values.reshape(-1)) for name, values in numbers.items()},
                "opened": as_moments(opened),
                "closed": pc.if_else(pa.array(rng.random(rows) < 1 / 3), None, as_moments(closed)),
            }
        ),
    }


DRIFTS = owned(number("height"))


def drifts(owners: int, rows: int, seed: int, places: int) -> dict[str, pa.Table]:
    """Levels that rise or fall in the long run, each at a rate of its own, by steps that are chance for the most part."""
    rng = np.random.default_rng(seed)
    rate = rng.choice([-1, 1], (owners, 1)) * rng.uniform(0.02, 0.03, (owners, 1))
    height = rng.normal(0, 3, (owners, 1)) + np.cumsum(rate + rng.normal(0, 0.05, (owners, rows)), axis=1)
    return {
        "owners": pa.table({"id": pa.array(np.arange(owners))}),
        "rows": pa.table(
            {
                "id": pa.array(np.arange(owners * rows)),
                "owner": pa.array(np.repeat(np.arange(owners), rows)),
                "height": height.round(places).reshape(-1),
            }
        ),
    }


METERS = owned(Column("reading", Kind.INTEGER, "int64", True))


def meters(owners: int, rows: int, seed: int) -> dict[str, pa.Table]:
    """Readings that rise, a tenth of which is missing."""
    rng = np.random.default_rng(seed)
    reading = rng.integers(0, 50_000, (owners, 1)) + np.cumsum(rng.integers(1, 33, (owners, rows)), axis=1)
    return {
        "owners": pa.table({"id": pa.array(np.arange(owners))}),
        "rows": pa.table(
            {
                "id": pa.array(np.arange(owners * rows)),
                "owner": pa.array(np.repeat(np.arange(owners), rows)),
                "reading": pa.array(reading.reshape(-1), mask=rng.random(owners * rows) < 0.1),
            }
        ),
    }


def distances(rows: pa.Table, column: str) -> Floats:
    """By how much a column moves from the first row of each owner to the last."""
    owners = rows.select(["id", "owner", column]).to_pandas().sort_values(["owner", "id"]).groupby("owner")[column]
    return (owners.last() - owners.first()).to_numpy()


def steps(rows: pa.Table, column: str, over_gaps: bool = False) -> Floats:
    """By how much a column moves from one row of an owner to the next, or to the next that has a value."""
    frame = rows.select(["id", "owner", column]).to_pandas().sort_values(["owner", "id"])
    frame = frame.dropna(subset=[column]) if over_gaps else frame
    moved = frame.groupby("owner")[column].diff().dropna()
    return np.asarray(moved, dtype=np.float64)


# -- missing values ------------------------------------------------------------------------------------------------------

MISSING = of_one_table(
    category("kind"),
    *(Column(name, Kind.DECIMAL, "float64", True) for name in ("height", "width", "depth")),
    Column("seen", Kind.DATE, "date", True),
)


def missing(rows: int, seed: int) -> pa.Table:
    """Height and width are there together or not at all; depth is missing for most of one kind, and where it is low; the date wherever
    the depth is."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(3, rows, p=[0.5, 0.3, 0.2])
    height, width, depth = rng.normal(size=(3, rows))
    unmeasured = rng.random(rows) < np.array([0.1, 0.3, 0.5])[kind]
    shallow = rng.random(rows) < np.where(kind == 2, 0.9, np.where(height < 0, 0.3, 0.05))
    day = 18_000 + rng.integers(0, 700, rows)
    return pa.table(
        {
            "kind": np.array(list("abc"))[kind].tolist(),
            "height": pa.array(height, mask=unmeasured),
            "width": pa.array(width, mask=unmeasured),
            "depth": pa.array(depth, mask=shallow),
            "seen": pa.array(day.astype(np.int32), mask=shallow).cast(pa.date32()),
        }
    )


def patterns(table: pa.Table) -> NDArray[np.int64]:
    """Kind, sign of the height, and which columns are null, as one code."""
    code = np.array([ord(kind) - ord("a") for kind in table["kind"].to_pylist()], dtype=np.int64)
    height = table["height"].to_pandas().to_numpy()
    code = code * 3 + np.where(np.isnan(height), 2, height < 0).astype(np.int64)
    for name in ("width", "depth", "seen"):
        code = code * 2 + table[name].is_null().to_numpy().astype(np.int64)
    return code
