"""One column for every kind of encoder, and how each is fitted and taken both ways."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pyarrow as pa

from synth_engine.encode.base import Draw, EncodingSettings
from synth_engine.encode.moment import unit_of
from synth_engine.encode.relative import Reference, RelativeEncoder
from synth_engine.encode.table import TableEncoder
from synth_engine.encode.values import from_floats, to_floats
from synth_engine.randomness import uniforms
from synth_engine.schema import Column, Kind
from synth_engine.schema.types import to_arrow

SETTINGS = EncodingSettings(rare_entities=5, extreme_entities=5, bins=16)
ROWS = 400
BEFORE = Reference("parent", 0, "began")


def draw_of(rows: np.ndarray, table_rows: int, key: int = 7) -> Draw:
    """The randomness of these rows of a table, as generation hands it out."""
    return Draw(rows, table_rows, lambda lane: uniforms(key, rows, lane))


def array(values: list[object], data_type: str) -> pa.Array:
    return pa.array(values, to_arrow(data_type))


@dataclass(frozen=True)
class Subject:
    """A column of some kind and type; `value` makes the value of a row. A column with `relative` is told as steps from
    a moment or a number of its parent."""

    name: str
    kind: Kind
    data_type: str
    value: Callable[[np.random.Generator], object]
    relative: bool = False

    def column(self, rows: int = ROWS, nulls: float = 0.1, seed: int = 1) -> pa.Array:
        rng = np.random.default_rng(seed)
        return array([None if rng.random() < nulls else self.value(rng) for _ in range(rows)], self.data_type)

    def references(self, column: pa.Array) -> np.ndarray:
        """A moment some days before the column's, or a number a little below it, missing in every ninth row."""
        values = to_floats(column, self.data_type)
        day = unit_of(self.data_type) if self.kind in (Kind.DATE, Kind.TIMESTAMP) else 0.25
        base = np.where(np.isfinite(values), values, 0.0) - np.arange(len(values)) % 11 * day
        return np.where(np.arange(len(values)) % 9 == 8, np.nan, base)

    def fit(self, column: pa.Array, entity: np.ndarray | None = None, settings: EncodingSettings = SETTINGS) -> Fitted:
        entity = np.arange(len(column)) if entity is None else entity
        base = [self.references(column)] if self.relative else []
        references = {"x": [(BEFORE, base[0])]} if self.relative else {}
        encoder = TableEncoder.fit([Column("x", self.kind, self.data_type)], {"x": column}, references, entity, settings, 3)
        return Fitted(self, encoder, {"x": base})


@dataclass(frozen=True)
class Fitted:
    """A fitted column. The methods take the row numbers they stand for, so that a batch can be cut anywhere."""

    subject: Subject
    encoder: TableEncoder
    base: dict[str, list[np.ndarray]]

    def encode(self, column: pa.Array) -> np.ndarray:
        return self.encoder.encode({"x": column}, self.base)[0]

    def decode(self, tokens: np.ndarray, rows: np.ndarray | None = None, table_rows: int | None = None) -> pa.Array:
        rows = np.arange(len(tokens)) if rows is None else rows
        draw = draw_of(rows, len(tokens) if table_rows is None else table_rows)
        encoder = self.encoder.columns[0].encoder
        if not isinstance(encoder, RelativeEncoder):
            return self.encoder.decode(tokens, {}, {"x": draw})["x"]
        which, base = encoder.choose([self.base["x"][0][rows]], len(rows))
        return from_floats(encoder.decode(tokens, which, base, draw), self.subject.data_type)

    def any_tokens(self, rows: int) -> np.ndarray:
        """Tokens nobody learned, each within its slot (and, for steps, allowed to its row)."""
        rng = np.random.default_rng(5)
        tokens = np.stack([rng.integers(0, size, rows) for size in self.encoder.sizes], axis=1).astype(np.int32)
        encoder = self.encoder.columns[0].encoder
        if isinstance(encoder, RelativeEncoder):
            which, base = encoder.choose([self.base["x"][0][:rows]], rows)
            tokens[:, 0] = [rng.choice(np.flatnonzero(allowed)) for allowed in encoder.allowed(which, base)]
        return tokens


def _day(rng: np.random.Generator) -> datetime.date:
    return datetime.date(2021, 1, 1) + datetime.timedelta(days=int(rng.integers(0, 900)))


def _instant(rng: np.random.Generator) -> datetime.datetime:
    return datetime.datetime(2021, 1, 1) + datetime.timedelta(seconds=int(rng.integers(0, 9e7)))


def _zoned(rng: np.random.Generator) -> datetime.datetime:
    return _instant(rng).replace(tzinfo=datetime.UTC)


def _colour(rng: np.random.Generator) -> str:
    return ["red", "green", "blue", "grey"][int(rng.integers(0, 4))]


def _name(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list("abcdeé "), size=int(rng.integers(1, 14))))


SUBJECTS = [
    Subject("category of strings", Kind.CATEGORY, "string", _colour),
    Subject("category of booleans", Kind.BOOLEAN, "boolean", lambda rng: bool(rng.random() < 0.3)),
    Subject("category of integers", Kind.CATEGORY, "int32", lambda rng: int(rng.integers(0, 5))),
    Subject("category of floats", Kind.CATEGORY, "float64", lambda rng: float(rng.integers(0, 5)) / 3),
    Subject("category of decimals", Kind.CATEGORY, "decimal(6,2)", lambda rng: Decimal(int(rng.integers(0, 5))) / 4),
    Subject("category of dates", Kind.CATEGORY, "date", lambda rng: datetime.date(2020, 1, 1 + int(rng.integers(0, 5)))),
    Subject(
        "category of instants",
        Kind.CATEGORY,
        "timestamptz",
        lambda rng: datetime.datetime(2020, 1, int(rng.integers(1, 5)), tzinfo=datetime.UTC),
    ),
    Subject("category of times", Kind.CATEGORY, "time", lambda rng: datetime.time(int(rng.integers(8, 12)))),
    Subject("category of bytes", Kind.CATEGORY, "binary", lambda rng: bytes([0, 200 + int(rng.integers(0, 5))])),
    Subject("uuids", Kind.IDENTIFIER, "uuid", lambda rng: str(uuid.UUID(bytes=rng.bytes(16), version=4))),
    Subject("small integers", Kind.INTEGER, "int16", lambda rng: int(rng.integers(-50, 300))),
    Subject("large integers", Kind.INTEGER, "int64", lambda rng: int(rng.integers(0, 10**9))),
    Subject("floats", Kind.DECIMAL, "float64", lambda rng: float(rng.normal())),
    Subject("short floats", Kind.DECIMAL, "float32", lambda rng: float(np.float32(rng.normal()))),
    Subject("decimals", Kind.DECIMAL, "decimal(10,2)", lambda rng: Decimal(int(rng.integers(0, 10**6))) / 100),
    Subject("wide decimals", Kind.DECIMAL, "decimal(45,3)", lambda rng: Decimal(int(rng.integers(0, 10**6))) / 1000),
    Subject("times of day", Kind.TIME, "time", lambda rng: _instant(rng).time()),
    Subject("dates", Kind.DATE, "date", _day),
    Subject("timestamps", Kind.TIMESTAMP, "timestamp", _instant),
    Subject("instants", Kind.TIMESTAMP, "timestamptz", _zoned),
    Subject("dates in integers", Kind.DATE, "date(int64 as %Y%m%d)", lambda rng: int(f"{_day(rng):%Y%m%d}")),
    Subject("dates in short integers", Kind.DATE, "date(int32 as %Y%m%d)", lambda rng: int(f"{_day(rng):%Y%m%d}")),
    Subject("dates in text", Kind.DATE, "date(string(10) as %Y-%m-%d)", lambda rng: _day(rng).isoformat()),
    Subject("timestamps in text", Kind.TIMESTAMP, "timestamp(string as %Y-%m-%dT%H:%M:%S)", lambda rng: _instant(rng).isoformat()),
    Subject("times in text", Kind.TIME, "time(string as %H:%M)", lambda rng: f"{_instant(rng):%H:%M}"),
    Subject("codes", Kind.TEXT, "string(12)", lambda rng: f"AB-{rng.integers(0, 10**6):06d}"),
    Subject("bytes written anew", Kind.TEXT, "binary", lambda rng: rng.bytes(int(rng.integers(1, 9)))),
    Subject("names", Kind.TEXT, "string", _name),
    Subject("dates after a parent's", Kind.DATE, "date", _day, relative=True),
    Subject(
        "dates in integers after a parent's", Kind.DATE, "date(int64 as %Y%m%d)", lambda rng: int(f"{_day(rng):%Y%m%d}"), relative=True
    ),
    Subject("instants after a parent's", Kind.TIMESTAMP, "timestamptz", _zoned, relative=True),
    Subject("numbers above a parent's", Kind.DECIMAL, "float64", lambda rng: round(float(rng.normal(100, 20)), 2), relative=True),
    Subject("whole numbers above a parent's", Kind.INTEGER, "int64", lambda rng: int(rng.integers(0, 60)), relative=True),
]
