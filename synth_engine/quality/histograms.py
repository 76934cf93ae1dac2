"""What the report draws: distributions, degrees and associations, real beside synthetic, never a single real row.

Every bar stands for at least `FEWEST_ROWS` real rows or for none of its own: smaller ones are joined with a neighbour
or with the other values. Edges are round numbers, not values somebody has. Only categories that are synthetic too have
a name: many rows of a real one may be one owner's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synth_engine.quality.columns import SECONDS_PER_DAY, is_continuous, is_discrete, is_moment, key_columns, numbers, scored_columns, texts
from synth_engine.quality.contingency import Discretiser, bins_for
from synth_engine.quality.relations import children_per_parent, parent_positions
from synth_engine.schema import Column, ForeignKey, Kind, Schema

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Frames = Mapping[str, pd.DataFrame]

FEWEST_ROWS = 5
MOST_BINS = 30
MOST_CATEGORIES = 10
MOST_ASSOCIATED = 16
SAMPLED_ROWS = 20_000
OTHER, OUTSIDE = "other values", (0.005, 0.995)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Bin:
    """`label` in words; `start` and `end` on the axis (for categories their number); shares of real and synthetic rows."""

    label: str
    start: float
    end: float
    real: float
    synthetic: float


@dataclass(frozen=True)
class Histogram:
    """One distribution. `scale` says whether widths mean something; `low` and `high` label the ends of the axis.

    Shares of the bins are among present values; `missing_real` and `missing_synthetic` are shares of all rows.
    """

    title: str
    kind: str
    scale: bool
    bins: tuple[Bin, ...]
    missing_real: float
    missing_synthetic: float
    low: str = ""
    high: str = ""


@dataclass(frozen=True)
class Associations:
    """Matrices over `columns`: rank correlation in [-1, 1] of two continuous columns, otherwise Cramér's V in [0, 1]."""

    columns: tuple[str, ...]
    real: tuple[tuple[float, ...], ...]
    synthetic: tuple[tuple[float, ...], ...]

    @property
    def difference(self) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(round(b - a, 3) for a, b in zip(x, y, strict=True)) for x, y in zip(self.real, self.synthetic, strict=True))


def distributions(schema: Schema, table: str, real: pd.DataFrame, synthetic: pd.DataFrame) -> tuple[Histogram, ...]:
    """One histogram for every column that is no key; of texts and identifiers the lengths."""
    keys = key_columns(schema, table)
    drawn = [c for c in schema.tables[table].columns if c.name not in keys and c.kind not in (Kind.JSON, Kind.BINARY, Kind.GEO, Kind.OTHER)]
    return tuple(_distribution(c, real[c.name], synthetic[c.name]) for c in drawn)


def degrees(child: str, key: ForeignKey, real: Frames, synthetic: Frames) -> Histogram:
    """Children per parent along one key, childless parents included; bins double in width from 4 on."""
    counts = [children_per_parent(parent_positions(f[child], f[key.parent], key), len(f[key.parent])) for f in (real, synthetic)]
    most = int(max((c.max() for c in counts if len(c)), default=0))
    edges = [0, 1, 2, 3, *(4 * 2**i + 1 for i in range(max(0, math.ceil(math.log2(max(most, 4) / 4)) + 1)))]
    edges = [e for e in edges if e <= max(most, 1)]
    bounds = np.array([*edges, max(most, edges[-1]) + 1], dtype=np.float64)
    starts, ours, theirs = _merge(bounds, *(np.histogram(c, bounds)[0] for c in counts))
    labels = [_range_label(int(a), int(b) - 1, last=i == len(ours) - 1) for i, (a, b) in enumerate(itertools.pairwise(starts))]
    return Histogram(key.label(child), "degree", False, _bins(labels, ours, theirs), 0.0, 0.0)


def associations(schema: Schema, table: str, real: pd.DataFrame, synthetic: pd.DataFrame, *, seed: int = 0) -> Associations | None:
    """Association matrices of the scored columns, from at most `SAMPLED_ROWS` rows; None for fewer than two columns."""
    columns = scored_columns(schema, table)[:MOST_ASSOCIATED]
    if len(columns) < 2 or not len(real) or not len(synthetic):
        return None
    coders = {c.name: Discretiser.fit(real[c.name], c, bins_for(len(real))) for c in columns}
    matrices = [_matrix(frame.sample(min(len(frame), SAMPLED_ROWS), random_state=seed), columns, coders) for frame in (real, synthetic)]
    return Associations(tuple(c.name for c in columns), *matrices)


def _distribution(column: Column, real: pd.Series, synthetic: pd.Series) -> Histogram:
    missing = _share_missing(real), _share_missing(synthetic)
    if is_discrete(column):
        return Histogram(column.name, column.kind.value, False, _category_bins(texts(real), texts(synthetic)), missing[0], missing[1])
    if is_continuous(column):
        values = [numbers(side, column) for side in (real, synthetic)]
        return _continuous(column.name, column.kind.value, column, [v[np.isfinite(v)] for v in values], missing)
    lengths = [pc.utf8_length(texts(side).drop_null()).to_numpy(zero_copy_only=False).astype(np.float64) for side in (real, synthetic)]
    whole = Column(column.name, Kind.INTEGER, "int64")
    return _continuous(column.name, f"{column.kind.value}, length in characters", whole, lengths, missing)


def _share_missing(values: pd.Series) -> float:
    return float(values.isna().mean()) if len(values) else 0.0


def _counts(values: pa.Array) -> dict[str, int]:
    return {str(v["values"]): int(v["counts"]) for v in pc.value_counts(values.drop_null()).to_pylist()}


def _category_bins(real: pa.Array, synthetic: pa.Array) -> tuple[Bin, ...]:
    ours, theirs = _counts(real), _counts(synthetic)
    named = [(name, count) for name, count in ours.items() if count >= FEWEST_ROWS and name in theirs]
    shown = [name for name, _ in sorted(named, key=lambda p: (-p[1], p[0]))[:MOST_CATEGORIES]]
    first, second = [ours[name] for name in shown], [theirs[name] for name in shown]
    rest = sum(ours.values()) - sum(first), sum(theirs.values()) - sum(second)
    if any(rest):
        shown, first, second = [*shown, OTHER], [*first, rest[0]], [*second, rest[1]]
    return _bins(shown, first, second)


def _continuous(title: str, kind: str, column: Column, values: Sequence[NDArray[np.float64]], missing: tuple[float, float]) -> Histogram:
    real, synthetic = values
    if len(real) < FEWEST_ROWS:
        return Histogram(title, kind, True, (), missing[0], missing[1])
    low, high = (float(q) for q in np.quantile(real, OUTSIDE))
    step = max(_round_step((high - low) / MOST_BINS, column), 2 * np.spacing(max(abs(low), abs(high))))  # or bins would have no width
    edges = np.arange(math.floor(low / step), math.floor(high / step) + 2, dtype=np.float64) * step
    counts = [np.histogram(np.clip(side, edges[0], np.nextafter(edges[-1], -np.inf)), edges)[0] for side in (real, synthetic)]
    bounds, ours, theirs = _merge(edges, *counts)
    labels = [f"{_text(a, column)} to {_text(b, column)}" for a, b in itertools.pairwise(bounds)]
    bins = _bins(labels, ours, theirs, bounds)
    return Histogram(title, kind, True, bins, missing[0], missing[1], _text(bounds[0], column), _text(bounds[-1], column))


def _bins(labels: Sequence[str], real: Sequence[int], synthetic: Sequence[int], edges: Sequence[float] | None = None) -> tuple[Bin, ...]:
    bounds = list(range(len(labels) + 1)) if edges is None else edges
    totals = max(sum(real), 1), max(sum(synthetic), 1)
    rows = zip(labels, itertools.pairwise(bounds), real, synthetic, strict=True)
    return tuple(Bin(label, float(a), float(b), int(r) / totals[0], int(s) / totals[1]) for label, (a, b), r, s in rows)


def _merge(edges: NDArray[np.floating], real: NDArray[np.int64], synthetic: NDArray[np.int64]) -> tuple[list[float], list[int], list[int]]:
    """Join bins that hold some but fewer than `FEWEST_ROWS` real rows with the smaller of their neighbours."""
    bounds, ours, theirs = edges.tolist(), real.tolist(), synthetic.tolist()
    while len(ours) > 1 and any(0 < count < FEWEST_ROWS for count in ours):
        small = min((i for i, count in enumerate(ours) if 0 < count < FEWEST_ROWS), key=lambda i: ours[i])
        left = small - 1 if small == len(ours) - 1 or (small and ours[small - 1] <= ours[small + 1]) else small
        for counts in (ours, theirs):
            counts[left : left + 2] = [counts[left] + counts[left + 1]]
        del bounds[left + 1]
    return bounds, ours, theirs


def _round_step(raw: float, column: Column) -> float:
    if is_moment(column):
        steps = [60.0, 300.0, 900.0, 3600.0, *(d * SECONDS_PER_DAY for d in (1, 2, 7, 14, 30, 90, 365, 1825))]
        steps = [s for s in steps if s >= SECONDS_PER_DAY] if column.kind is Kind.DATE else steps
        return next((s for s in steps if s >= raw), math.ceil(raw / steps[-1]) * steps[-1])
    if raw <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    return max(step, 1.0) if column.kind is Kind.INTEGER else step


def _text(value: float, column: Column) -> str:
    if not is_moment(column):
        return f"{value:,.6g}"
    if column.kind is Kind.TIME:
        return f"{int(value // 3600):02d}:{int(value % 3600 // 60):02d}"
    return (_EPOCH + timedelta(seconds=value)).strftime("%Y-%m-%d")


def _range_label(low: int, high: int, *, last: bool) -> str:
    if last and high > low:
        return f"{low} or more"
    return str(low) if low >= high else f"{low}–{high}"


def _matrix(frame: pd.DataFrame, columns: Sequence[Column], coders: Mapping[str, Discretiser]) -> tuple[tuple[float, ...], ...]:
    codes = {c.name: coders[c.name].codes(frame[c.name]) for c in columns}
    ranks = {c.name: _ranks(numbers(frame[c.name], c)) for c in columns if is_continuous(c)}
    found = np.eye(len(columns))
    for (i, a), (j, b) in itertools.combinations(enumerate(columns), 2):
        if a.name in ranks and b.name in ranks:
            found[i, j] = found[j, i] = _correlation(ranks[a.name], ranks[b.name])
        else:
            found[i, j] = found[j, i] = _cramer(codes[a.name], codes[b.name], coders[a.name].size, coders[b.name].size)
    return tuple(tuple(round(float(v), 3) for v in row) for row in found)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    ordered = np.sort(values[~np.isnan(values)])
    rank = 0.5 * (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right"))
    return np.where(np.isnan(values), np.nan, rank)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    both = ~np.isnan(a) & ~np.isnan(b)
    if both.sum() < FEWEST_ROWS or np.ptp(a[both]) == 0 or np.ptp(b[both]) == 0:
        return 0.0
    return float(np.corrcoef(a[both], b[both])[0, 1])


def _cramer(a: NDArray[np.int64], b: NDArray[np.int64], rows: int, columns: int) -> float:
    """Cramér's V with the correction for chance (Bergsma 2013)."""
    table = np.bincount(a * columns + b, minlength=rows * columns).reshape(rows, columns).astype(np.float64)
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    n, (r, c) = table.sum(), table.shape
    if min(r, c) < 2 or n < 2:
        return 0.0
    expected = np.outer(table.sum(1), table.sum(0)) / n
    phi = max(0.0, float(((table - expected) ** 2 / expected).sum()) / n - (r - 1) * (c - 1) / (n - 1))
    smallest = min(r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)) - 1
    return float(min(1.0, np.sqrt(phi / smallest))) if smallest > 0 else 0.0
