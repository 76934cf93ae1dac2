"""What validation may know of the source without holding a real row: counts, coarse ranges, frequent categories, shares.

Ranges are rounded outward beyond the true extremes, bins and categories hold at least as many rows as the privacy
settings ask for, but for the types of polymorphic references, which settings name. Many rows may still be one owner's, so a
profile stays in the protected part of a workspace: what leaves it names only categories that the synthetic tables hold, see
`ColumnProfile.naming_only`.
"""

from __future__ import annotations

import calendar
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synth_engine.config import Privacy
from synth_engine.quality.columns import (
    MOMENT_TYPES,
    NUMBER_TYPES,
    SECONDS_PER_DAY,
    is_continuous,
    is_discrete,
    key_columns,
    moment_type,
    numbers,
)
from synth_engine.schema import Column, Schema, Table
from synth_engine.schema.types import base_type

if TYPE_CHECKING:
    from numpy.typing import NDArray

Batches = Callable[[], Iterable[pa.RecordBatch]]
"""Opens a table's stream of record batches; may be called more than once."""

Category = str | int | bool

MOST_BINS = 10
MOST_CATEGORY_CELLS = 30
MOST_CATEGORIES = 1_000
SAMPLED_ROWS = 20_000
HOUR, DAY = 3_600.0, SECONDS_PER_DAY
YEARLY = 10 * 366 * DAY
"""Seconds from which on bounds of moments are told by the year."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CATEGORY_TYPES = frozenset({"string", "boolean", "int16", "int32", "int64"})


@dataclass(frozen=True)
class ColumnProfile:
    """One column as cells with weights.

    `cells` says what they are: `bins` of numbers or moments (in seconds) inside [`low`, `high`], cut at `edges`;
    `categories`, the first `len(weights) - 2` of them in a cell of their own and all other known ones in one more; or
    mere `presence`. The last weight is the share of missing values; weights sum to 1. `lengths` are the shortest and
    longest strings in characters, rounded outward.
    """

    cells: Literal["bins", "categories", "presence"]
    weights: tuple[float, ...]
    low: float | None = None
    high: float | None = None
    edges: tuple[float, ...] = ()
    categories: tuple[Category, ...] = ()
    lengths: tuple[int, int] | None = None

    @property
    def own_categories(self) -> tuple[Category, ...]:
        """The categories that have a cell of their own."""
        return self.categories[: len(self.weights) - 2]

    @property
    def joint_categories(self) -> tuple[Category, ...]:
        """The known categories that share one cell."""
        return self.categories[len(self.weights) - 2 :]

    def naming_only(self, written: Set[object]) -> ColumnProfile:
        """The same profile without the names of categories that are not `written`: their share goes to the joint cell."""
        if self.cells != "categories":
            return self
        own = [(name, weight) for name, weight in zip(self.own_categories, self.weights, strict=False) if name in written]
        nameless = sum(weight for name, weight in zip(self.own_categories, self.weights, strict=False) if name not in written)
        return replace(
            self,
            weights=(*(weight for _, weight in own), self.weights[-2] + nameless, self.weights[-1]),
            categories=(*(name for name, _ in own), *(name for name in self.joint_categories if name in written)),
        )

    def showing_only(self, shown: Set[Category]) -> ColumnProfile:
        """The same profile as protection changes it: rows of categories that are not `shown` are spread over those that are,
        and a column that shows none, be it of numbers, is only present or missing."""
        if self.cells == "bins" and not shown:
            return ColumnProfile("presence", (round(1 - self.weights[-1], 6), self.weights[-1]), lengths=self.lengths)
        if self.cells != "categories":
            return self
        missing = self.weights[-1]
        own = [(name, weight) for name, weight in zip(self.own_categories, self.weights, strict=False) if name in shown]
        joint = tuple(name for name in self.joint_categories if name in shown)
        if not own and not joint:
            return ColumnProfile("presence", (round(1 - missing, 6), missing), lengths=self.lengths)
        kept = [*(weight for _, weight in own), self.weights[-2] if joint else 0.0]
        scale = (1 - missing) / max(sum(kept), 1e-9)
        weights = (*(round(weight * scale, 6) for weight in kept), missing)
        return replace(self, weights=weights, categories=(*(name for name, _ in own), *joint))


@dataclass(frozen=True)
class Profile:
    """Rows and column profiles by table; of a table that is delivered as it is, no profile is of use."""

    rows: dict[str, int]
    columns: dict[str, dict[str, ColumnProfile]]

    def showing_only(self, shown: Mapping[str, Mapping[str, Iterable[Category] | None]]) -> Profile:
        """The profile with only those categories, by table and column, that protection lets through; columns that are not
        named stay as they are, and of those where None is named nothing is said. Rarity is a matter of entities, which only training
        knows."""
        found: dict[str, dict[str, ColumnProfile]] = {}
        for table, columns in self.columns.items():
            known, found[table] = shown.get(table, {}), {}
            for name, column in columns.items():
                if name not in known:
                    found[table][name] = column
                elif (let_through := known[name]) is not None:
                    found[table][name] = column.showing_only(frozenset(let_through))
        return Profile(self.rows, found)

    def without(self, tables: Collection[str]) -> Profile:
        """The same with nothing said about the values in these tables."""
        return Profile(self.rows, {name: {} if name in tables else columns for name, columns in self.columns.items()})

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, the inverse of `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Profile:
        return cls(dict(raw["rows"]), {t: {c: _column_from_dict(p) for c, p in columns.items()} for t, columns in raw["columns"].items()})


def profile(schema: Schema, real: Mapping[str, Batches], privacy: Privacy, *, seed: int = 0) -> Profile:
    """Profile every table in two streamed passes with bounded memory.

    Raises `KeyError` for a table that `real` does not hold.
    """
    rows: dict[str, int] = {}
    columns: dict[str, dict[str, ColumnProfile]] = {}
    for name, table in schema.tables.items():
        first = _first_pass(schema, table, real[name], seed)
        rows[name] = first.rows
        columns[name] = _second_pass(table, real[name], first, privacy)
    return Profile(rows, columns)


def role(schema: Schema, table: str, column: Column) -> Literal["bins", "categories", "presence"]:
    """How a column is profiled: keys, texts and types without an order are only present or missing."""
    stored = base_type(column.data_type)
    if column.name in key_columns(schema, table) or any(column.name in unique for unique in schema.tables[table].unique):
        return "presence"
    if is_continuous(column) and stored in NUMBER_TYPES | MOMENT_TYPES:
        return "bins"
    if is_discrete(column) and stored in _CATEGORY_TYPES:
        return "categories"
    return "presence"


@dataclass
class _Seen:
    """What the first pass gathers of one column. `declared` are values that the settings name, however rare."""

    role: Literal["bins", "categories", "presence"]
    missing: int = 0
    low: float = np.inf
    high: float = -np.inf
    counts: Counter[Category] = field(default_factory=Counter)
    priorities: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    sample: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    shortest: int | None = None
    longest: int | None = None
    declared: frozenset[str] = frozenset()

    def add(self, values: pa.Array, column: Column, generator: np.random.Generator) -> None:
        if self.role == "bins":
            self._add_numbers(numbers(values, column), generator)
            return
        self.missing += values.null_count
        if self.role == "categories":
            self.counts.update({v["values"]: v["counts"] for v in pc.value_counts(values.drop_null()).to_pylist()})
        if pa.types.is_string(values.type) and len(values) > values.null_count:
            lengths = pc.min_max(pc.utf8_length(values))
            low = lengths["min"].as_py()
            self.shortest = low if self.shortest is None else min(self.shortest, low)
            self.longest = max(lengths["max"].as_py(), self.longest or 0)

    def _add_numbers(self, found: NDArray[np.float64], generator: np.random.Generator) -> None:
        present = found[np.isfinite(found)]
        self.missing += int(np.isnan(found).sum())
        if not len(present):
            return
        self.low, self.high = min(self.low, present.min()), max(self.high, present.max())
        # A uniform sample of a stream: every value draws a priority and the smallest ones stay.
        priorities = np.concatenate([self.priorities, generator.random(len(present))])
        sample = np.concatenate([self.sample, present])
        kept = np.argsort(priorities)[:SAMPLED_ROWS]
        self.priorities, self.sample = priorities[kept], sample[kept]


@dataclass(frozen=True)
class _FirstPass:
    rows: int
    columns: dict[str, _Seen]


def _first_pass(schema: Schema, table: Table, batches: Batches, seed: int) -> _FirstPass:
    generator = np.random.default_rng(seed)
    types = {key.type_column: frozenset(key.types) for key in table.polymorphic}
    seen = {c.name: _Seen(role(schema, table.name, c), declared=types.get(c.name, frozenset())) for c in table.columns}
    rows = 0
    for batch in batches():
        rows += batch.num_rows
        for column in table.columns:
            seen[column.name].add(batch.column(column.name), column, generator)
    return _FirstPass(rows, seen)


def _second_pass(table: Table, batches: Batches, first: _FirstPass, privacy: Privacy) -> dict[str, ColumnProfile]:
    """Count the bins over all rows; categories and presence need no second look."""
    binned = {c: _edges(first.columns[c.name].sample, c) for c in table.columns if first.columns[c.name].role == "bins"}
    counts = {c.name: np.zeros(len(edges) + 1, dtype=np.int64) for c, edges in binned.items()}
    for batch in batches() if binned else ():
        for column, edges in binned.items():
            found = numbers(batch.column(column.name), column)
            places = np.searchsorted(edges, found[np.isfinite(found)], side="right")
            counts[column.name] += np.bincount(places, minlength=len(edges) + 1)
    fewest = max(privacy.rare_category_entities, privacy.extreme_value_entities)
    bins = {c.name: _bins(c, first.columns[c.name], edges, counts[c.name], first.rows, fewest) for c, edges in binned.items()}
    return {
        c.name: bins[c.name] if c.name in bins else _cells(first.columns[c.name], first.rows, privacy.rare_category_entities)
        for c in table.columns
    }


def _bins(column: Column, seen: _Seen, edges: NDArray[np.float64], counts: NDArray[np.int64], rows: int, fewest: int) -> ColumnProfile:
    if not len(seen.sample):
        return _presence(seen, rows)
    low, high = _outward(seen.low, seen.high, column)
    kept, merged = _merge_small(edges, counts, fewest)
    return ColumnProfile("bins", _weights([*merged, seen.missing]), low, high, tuple(kept))


def _cells(seen: _Seen, rows: int, fewest: int) -> ColumnProfile:
    ranked = sorted(seen.counts.items(), key=lambda p: (-p[1], str(p[0])))
    known = [(value, count) for value, count in ranked if count >= fewest or str(value) in seen.declared]
    if not known or len(known) > MOST_CATEGORIES:
        return _presence(seen, rows)
    own = [count for _, count in known[:MOST_CATEGORY_CELLS]]
    rest = sum(count for _, count in known[MOST_CATEGORY_CELLS:])
    return ColumnProfile(
        "categories", _weights([*own, rest, seen.missing]), categories=tuple(value for value, _ in known), lengths=_lengths(seen)
    )


def _presence(seen: _Seen, rows: int) -> ColumnProfile:
    return ColumnProfile("presence", _weights([rows - seen.missing, seen.missing]), lengths=_lengths(seen))


def _weights(counts: Iterable[int]) -> tuple[float, ...]:
    listed = [int(c) for c in counts]
    return tuple(round(c / max(sum(listed), 1), 6) for c in listed)


def _lengths(seen: _Seen) -> tuple[int, int] | None:
    if seen.shortest is None or seen.longest is None:
        return None
    return max(seen.shortest - 1, 0) // 5 * 5, -(-(seen.longest + 1) // 5) * 5


def _edges(sample: NDArray[np.float64], column: Column) -> NDArray[np.float64]:
    """Inner edges near the quantiles, moved to round values so that none is a value somebody has."""
    if not len(sample):
        return np.empty(0)
    bins = int(np.clip(len(sample) // 20, 1, MOST_BINS))
    cuts = np.quantile(sample, np.linspace(0, 1, bins + 1))
    bulk = np.quantile(sample, [0.05, 0.95])
    step = _step(float(bulk[1] - bulk[0]) or float(sample.max() - sample.min()), column)
    rounded = np.unique(np.round(cuts[1:-1] / step) * step + 0.0)  # + 0.0 makes -0.0 plain zero
    return np.asarray(rounded[(rounded > sample.min()) & (rounded < sample.max())], dtype=np.float64)


def _step(spread: float, column: Column) -> float:
    """A round number near a twentieth of the spread: 1, 2 or 5 times a power of ten, or a round number of seconds."""
    if moment := moment_type(column):
        fine = [DAY, 7 * DAY, 30 * DAY] if moment == "date" else [60.0, 600.0, HOUR, DAY, 7 * DAY, 30 * DAY]
        return max([step for step in fine if step <= spread / 20], default=fine[0])
    raw = spread / 20 if spread > 0 else 1.0
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    return max(step, 1.0) if base_type(column.data_type).startswith("int") else float(step)


def _outward(low: float, high: float, column: Column) -> tuple[float, float]:
    """Round bounds strictly beyond the extremes, which are of one row each: numbers to a twentieth of the spread, whole ones to fives at
    least, moments to whole hours, months, or years where they span ten.

    A column that is never negative stays so: that says nothing about one row.
    """
    moment = moment_type(column)
    if moment == "time":
        return np.floor(low / HOUR) * HOUR, min((np.floor(high / HOUR) + 1) * HOUR, DAY)
    if moment:
        yearly = high - low >= YEARLY
        return _month(low, after=False, yearly=yearly), _month(high, after=True, yearly=yearly)
    step = _step(high - low if high > low else abs(high), column)
    step = max(step, 5.0) if base_type(column.data_type).startswith("int") else step
    below, above = (np.ceil(low / step) - 1) * step, (np.floor(high / step) + 1) * step
    return (max(below, 0.0) if low >= 0 else float(below)), (min(above, 0.0) if high <= 0 else float(above))


def _month(seconds: float, *, after: bool, yearly: bool) -> float:
    """The first second of the month, or `yearly` of the year, or of the one `after` it."""
    moment = _EPOCH + timedelta(seconds=seconds)
    first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if yearly:
        first = first.replace(month=12 if after else 1)
    if after:
        first += timedelta(days=calendar.monthrange(first.year, first.month)[1])
    return (first - _EPOCH).total_seconds()


def _merge_small(edges: NDArray[np.float64], counts: NDArray[np.int64], fewest: int) -> tuple[list[float], list[int]]:
    """Join every bin of fewer than `fewest` rows with its neighbour."""
    kept, merged = list(map(float, edges)), [int(c) for c in counts]
    while len(merged) > 1 and min(merged) < fewest:
        smallest = int(np.argmin(merged))
        left = smallest - 1 if smallest else 0
        merged[left : left + 2] = [merged[left] + merged[left + 1]]
        del kept[left]
    return kept, merged


def _column_from_dict(raw: Mapping[str, Any]) -> ColumnProfile:
    lengths = raw["lengths"]
    return ColumnProfile(
        cells=raw["cells"],
        weights=tuple(raw["weights"]),
        low=raw["low"],
        high=raw["high"],
        edges=tuple(raw["edges"]),
        categories=tuple(raw["categories"]),
        lengths=None if lengths is None else (lengths[0], lengths[1]),
    )
