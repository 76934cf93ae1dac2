"""Random small warehouses in which much holds in every row, and a look at whether what a model says holds does."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa

from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table

Frames = Mapping[str, pd.DataFrame]

NAMES = ("regions", "customers", "orders")
"""Each refers to the one before by `above`; orders may refer to regions, too, where their customers do (`region`)."""


def warehouse(seed: int) -> tuple[Schema, dict[str, pa.Table]]:
    """Three tables with numbers, formulas, dates and their parts, cities in countries, copies of parents' columns, sums of children."""
    rng = np.random.default_rng(seed)
    rows = [int(rng.integers(*bounds)) for bounds in ((25, 100), (60, 250), (100, 400))]
    frames = {name: _table(rng, n, above) for name, n, above in zip(NAMES, rows, (0, *rows), strict=False)}
    for parent, child in zip(NAMES, NAMES[1:], strict=False):
        for column in [c for c in frames[parent] if c not in ("id", "above")][:3]:
            if rng.random() < 0.4:
                frames[child][f"of_{column}"] = frames[parent][column].to_numpy()[frames[child]["above"]]
    if rng.random() < 0.5:
        frames["orders"]["region"] = frames["customers"]["above"].to_numpy()[frames["orders"]["above"]]
    for parent, child in (("customers", "orders"), ("regions", "customers")):
        groups, every = frames[child].groupby("above"), range(len(frames[parent]))
        for column in [c for c in frames[child] if c in ("first", "second", "result") and rng.random() < 0.5]:
            frames[parent][f"sum_{column}"] = groups[column].sum().reindex(every).fillna(0).round(2)
        if rng.random() < 0.5:
            frames[parent]["children"] = groups.size().reindex(every).fillna(0).astype(int)
    return _schema(frames), {name: pa.Table.from_pandas(frame, preserve_index=False) for name, frame in frames.items()}


def broken(rules: list[str], twin: Frames) -> list[str]:
    """The rules that do not hold in every row of the twin; sums and products are looked at to the cent."""
    return [rule for rule in rules if (found := re.match(r"(\w+)\.(\w+): (.*)", rule)) and not _holds(*found.groups(), twin)]


def _table(rng: np.random.Generator, rows: int, above: int) -> pd.DataFrame:
    frame = pd.DataFrame({"id": np.arange(rows)})
    if above:
        frame["above"] = rng.integers(0, above, rows)
    frame["first"], frame["second"] = rng.gamma(2, 20, rows).round(2), rng.gamma(3, 9, rows).round(2)
    if rng.random() < 0.3:
        frame.loc[rng.random(rows) < 0.2, "first"] = np.nan
    a, b = frame["first"], frame["second"]
    if (formula := int(rng.integers(0, 6))) < 5:
        frame["result"] = (a + b, a * b, a - b, a / b, 1.19 * a)[formula].round(2)
    if rng.random() < 0.5:
        frame["day"] = (pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.integers(0, 700, rows), unit="D")).astype("datetime64[us]")
        frame["month"], frame["weekend"] = frame["day"].dt.month.astype(int), frame["day"].dt.dayofweek > 4
    if rng.random() < 0.5:
        frame["city"] = rng.choice([f"town {k}" for k in range(9)], rows)
        frame["country"] = [f"land {int(city[5:]) % 3}" for city in frame["city"]]
    return frame


def _schema(frames: Frames) -> Schema:
    kinds = {
        "f": (Kind.DECIMAL, "float64"),
        "i": (Kind.INTEGER, "int64"),
        "b": (Kind.BOOLEAN, "boolean"),
        "M": (Kind.TIMESTAMP, "timestamp"),
    }
    tables = []
    for place, (name, frame) in enumerate(frames.items()):
        keys = {"above": NAMES[place - 1], "region": "regions"}
        columns = []
        for column, values in frame.items():
            kind, data_type = kinds.get(values.dtype.kind, (Kind.CATEGORY, "string"))
            is_key = column in ("id", *keys)
            columns.append(Column(str(column), Kind.IDENTIFIER if is_key else kind, data_type, nullable=not is_key))
        to = tuple(ForeignKey((column,), parent, ("id",)) for column, parent in keys.items() if column in frame)
        tables.append(Table(name, tuple(columns), ("id",), foreign_keys=to))
    return Schema.of(tables)


def _holds(table: str, column: str, says: str, twin: Frames) -> bool:
    frame = twin[table]
    values, parents = frame[column], {"customers": "regions", "orders": "customers"}
    if found := re.fullmatch(r"computed as (.*)", says):
        return _equal(values, frame.eval(found[1]).replace([np.inf, -np.inf], np.nan))
    if found := re.fullmatch(r"the same as (\w+) of its row of (\w+)", says):
        key = "above" if parents[table] == found[2] else "region"
        return _equal(values, frame[key].map(twin[found[2]].set_index("id")[found[1]]))
    if found := re.fullmatch(r"the same as (\w+)", says):
        return _equal(values, frame[found[1]])
    if found := re.fullmatch(r"the month of (\w+)", says):
        return _equal(values, frame[found[1]].dt.month)
    if found := re.fullmatch(r"settled by the weekday of (\w+), Monday 0", says):
        return _equal(values, frame[found[1]].dt.dayofweek > 4)
    if found := re.fullmatch(r"settled by (\w+)", says):
        return bool((frame.groupby(found[1])[column].nunique() <= 1).all())
    if found := re.fullmatch(r"(sum|count)\(([\w*]+)\) of its rows of (\w+)", says):
        groups = twin[found[3]].groupby("above" if parents[found[3]] == table else "region")
        total = groups.size() if found[1] == "count" else groups[found[2]].sum()
        return _equal(values, frame["id"].map(total).fillna(0))
    found = re.fullmatch(r"the same in all rows of one row of (\w+)", says)
    assert found, says
    return bool((frame.groupby("above" if parents[table] == found[1] else "region")[column].nunique() <= 1).all())


def _equal(values: pd.Series, expected: pd.Series) -> bool:
    if values.dtype.kind not in "fi":
        return bool(((values == expected) | (values.isna() & expected.isna())).all())
    return np.allclose(values.astype(float), expected.astype(float), atol=0.0051, equal_nan=True)
