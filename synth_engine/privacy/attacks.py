"""Does the twin give away rows of the source? Exact copies, the distance to the closest real record, and whether the
distance to the closest synthetic one tells who was learned from.

All figures are read against rows of the source that the model has not seen: what is no closer to the training rows
than to held-out ones, and copies no more often than held-out rows repeat training rows, was not memorised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synth_engine.encode.values import hex_digits, to_floats
from synth_engine.schema import Column, Kind
from synth_engine.schema.types import base_type, to_arrow

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

MOST_ROWS = 3_000
"""Rows whose distances are measured; exact copies are counted over all rows."""

MOST_COMPARED = 30_000
"""Rows of each side among which the closest is sought: a small sample would lack most of the rows that are repeated."""

FEWEST_ROWS = 50
"""Below this many held-out rows the distances are noise and are not judged."""

COMMONEST_CATEGORIES = 20
PERCENTILES = (5, 25, 50, 75, 95)
TOLERATED_STANDARD_ERRORS = 3.0
TOLERATED_EXCESS = 0.02
"""A share may exceed its baseline by this much, plus three standard errors, before it is called a warning."""

_CONTINUOUS = frozenset({Kind.INTEGER, Kind.DECIMAL, Kind.DATE, Kind.TIME, Kind.TIMESTAMP})
_DISCRETE = frozenset({Kind.CATEGORY, Kind.BOOLEAN})
_NUMERIC_TYPES = frozenset({"int16", "int32", "int64", "float32", "float64", "decimal", "date", "time", "timestamp", "timestamptz"})


@dataclass(frozen=True)
class ClosestRecords:
    """Privacy figures of one table. Shares lie in [0, 1]; distances are in units where 1 is one whole differing column.

    `copies_synthetic` is the share of synthetic rows equal to some training row in every compared column,
    `copies_held_out` the same for held-out rows: the baseline. `closer_to_training` is the share of synthetic rows
    nearer to a training row than to any of equally many held-out rows (ties count half); 0.5 is ideal.
    `distance_synthetic` and `distance_held_out` give percentiles of the distance to the closest training row.
    `verdict` is `warn` if a share exceeds what chance explains, and `unknown` if there is too little to judge.
    """

    columns: int
    rows_compared: int
    copies_synthetic: float
    copies_held_out: float | None
    closer_to_training: float | None
    distance_synthetic: dict[str, float]
    distance_held_out: dict[str, float]
    verdict: Literal["ok", "warn", "unknown"]
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; holds no value of a row."""
        return asdict(self)


def closest_records(
    training: pd.DataFrame,
    held_out: pd.DataFrame,
    synthetic: pd.DataFrame,
    columns: Sequence[Column],
    *,
    alike: pd.DataFrame | None = None,
    seed: int = 0,
) -> ClosestRecords:
    """Measure one table. `columns` are those to compare: leave out keys, whose values are mere names.

    `training` and `held_out` are disjoint samples of the real table, by entity. Columns that are neither continuous
    nor discrete take part in the search for exact copies only. `alike` are training rows that were sampled as the
    held-out ones were (whole stretches of a time series, say); without them any training rows serve.
    """
    import pandas as pd

    generator = np.random.default_rng(seed)
    if not columns or not len(training) or not len(synthetic):
        return ClosestRecords(len(columns), 0, 0.0, None, None, {}, {}, "unknown", ("there is nothing to compare",))
    known = set(_rows(training, columns))
    copies = _share_known(_rows(synthetic, columns), known)
    baseline = _share_known(_rows(held_out, columns), known) if len(held_out) else None
    measured = [c for c in columns if c.kind in _CONTINUOUS | _DISCRETE]
    comparable = training if alike is None or not len(alike) else alike
    size = min(MOST_COMPARED, len(comparable), len(held_out))
    if size < FEWEST_ROWS or not measured:
        why = "no column has a distance" if not measured else f"fewer than {FEWEST_ROWS} held-out rows"
        verdict, reasons = _judge(copies, baseline, len(synthetic), None, 0)
        return ClosestRecords(len(columns), 0, copies, baseline, None, {}, {}, "warn" if verdict == "warn" else "unknown", (*reasons, why))
    seen, unseen = (_some(frame, size, generator) for frame in (comparable, held_out))
    made, others = (_some(frame, min(MOST_ROWS, size), generator) for frame in (synthetic, unseen))
    # by the ranks among rows of one side alone, rows of the other would fall together between two of them, and be closer
    encode = _Encoding.fit(pd.concat([seen, unseen], ignore_index=True), measured)
    to_seen, to_unseen = _nearest(encode(made), encode(seen)), _nearest(encode(made), encode(unseen))
    closer = float(np.mean((to_seen < to_unseen) + 0.5 * (to_seen == to_unseen)))
    verdict, reasons = _judge(copies, baseline, len(synthetic), closer, len(made))
    return ClosestRecords(
        columns=len(columns),
        rows_compared=len(made),
        copies_synthetic=round(copies, 5),
        copies_held_out=None if baseline is None else round(baseline, 5),
        closer_to_training=round(closer, 4),
        distance_synthetic=_percentiles(to_seen),
        distance_held_out=_percentiles(_nearest(encode(others), encode(seen))),
        verdict=verdict,
        reasons=reasons,
    )


def membership(
    training: pd.DataFrame, held_out: pd.DataFrame, synthetic: pd.DataFrame, columns: Sequence[Column], *, seed: int = 0
) -> float | None:
    """How well an attacker who has a real row and the twin can tell whether the row was learned from, by its distance to
    the closest synthetic row: the area under the ROC curve over equally many training and held-out rows, 0.5 is a coin toss.

    None where no column has a distance, or with too few rows. (Distance-based membership inference; Chen et al., GAN-Leaks,
    2020, its black-box attack.)
    """
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(seed)
    measured = [c for c in columns if c.kind in _CONTINUOUS | _DISCRETE]
    size = min(MOST_ROWS, len(training), len(held_out))
    if size < FEWEST_ROWS or not measured or not len(synthetic):
        return None
    members, others = (_some(frame, size, generator) for frame in (training, held_out))
    made = _some(synthetic, MOST_COMPARED, generator)
    encode = _Encoding.fit(made, measured)
    points = encode(made)
    distances = np.concatenate([_nearest(encode(members), points), _nearest(encode(others), points)])
    return round(float(roc_auc_score(np.repeat([1, 0], size), -distances)), 4)


def _judge(
    copies: float, baseline: float | None, rows: int, closer: float | None, compared: int
) -> tuple[Literal["ok", "warn"], tuple[str, ...]]:
    reasons = []
    if baseline is not None and copies > _tolerated(baseline, rows):
        reasons.append(f"{copies:.2%} of the synthetic rows repeat a training row, against {baseline:.2%} of the held-out rows")
    if closer is not None and closer > _tolerated(0.5, compared):
        reasons.append(f"{closer:.1%} of the synthetic rows are closer to training rows than to held-out ones; chance gives 50 %")
    return ("warn" if reasons else "ok"), tuple(reasons)


def _tolerated(expected: float, rows: int) -> float:
    return expected + TOLERATED_EXCESS + TOLERATED_STANDARD_ERRORS * float(np.sqrt(expected * (1 - expected) / rows))


def _share_known(rows: list[bytes], known: set[bytes]) -> float:
    return sum(row in known for row in rows) / len(rows)


def _rows(frame: pd.DataFrame, columns: Sequence[Column]) -> list[bytes]:
    """Each row as one digest, equal for equal values; missing equals missing."""
    import pandas as pd

    low, high = (np.zeros(len(frame), dtype=np.uint64) for _ in range(2))
    for index, column in enumerate(columns):
        values = pd.Series(_canonical(frame[column.name], column).to_numpy(zero_copy_only=False))
        # Two independent 64-bit hashes make a chance collision among millions of rows negligible.
        low = low * np.uint64(0x9E3779B97F4A7C15) + pd.util.hash_array(values.to_numpy(), hash_key="0123456789abcdef") + np.uint64(index)
        high = high * np.uint64(0xC2B2AE3D27D4EB4F) + pd.util.hash_array(values.to_numpy(), hash_key="fedcba9876543210") + np.uint64(index)
    packed = np.stack([low, high], axis=1).tobytes()
    return [packed[i : i + 16] for i in range(0, len(packed), 16)]


def _canonical(values: pd.Series, column: Column) -> pa.Array:
    """As text in the column's own type, so that both sides spell one value alike."""
    array = _arrow(values)
    if base_type(column.data_type) in _NUMERIC_TYPES:
        array = pa.array(to_floats(array.cast(to_arrow(column.data_type), safe=False), column.data_type), from_pandas=True)
    text = hex_digits(array) if pa.types.is_binary(array.type) else array.cast(pa.string())
    return text.fill_null("\0missing")


def _arrow(values: pd.Series) -> pa.Array:
    array = pa.Array.from_pandas(values)
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _some(frame: pd.DataFrame, size: int, generator: np.random.Generator) -> pd.DataFrame:
    return frame if len(frame) <= size else frame.iloc[generator.permutation(len(frame))[:size]]


def _nearest(rows: Matrix, among: Matrix) -> NDArray[np.float64]:
    from sklearn.neighbors import NearestNeighbors

    found, _ = NearestNeighbors(n_neighbors=1, metric="manhattan").fit(among).kneighbors(rows)
    return np.asarray(found[:, 0], dtype=np.float64).round(9)


def _percentiles(distances: NDArray[np.float64]) -> dict[str, float]:
    return {f"p{p}": round(float(np.percentile(distances, p)), 4) for p in PERCENTILES}


@dataclass(frozen=True)
class _Encoding:
    """Rows as points such that the Manhattan distance of two rows counts differing columns.

    A continuous column becomes its rank among the rows it was fitted to, in [0, 1], so that no outlier dominates; a discrete
    one is one-hot with weight 1/2 (two differing categories are 1 apart); missing is a category of its own.
    """

    columns: tuple[Column, ...]
    ranks: dict[str, NDArray[np.float64]]
    categories: dict[str, pa.Array]

    @classmethod
    def fit(cls, frame: pd.DataFrame, columns: Sequence[Column]) -> _Encoding:
        ranks, categories = {}, {}
        for column in columns:
            if _has_distance(column):
                values = _values(frame[column.name], column)
                ranks[column.name] = np.sort(values[~np.isnan(values)])
            else:
                counted = pc.value_counts(_canonical(frame[column.name], column)).to_pylist()
                common = sorted(counted, key=lambda v: (-v["counts"], v["values"]))[:COMMONEST_CATEGORIES]
                categories[column.name] = pa.array([v["values"] for v in common], pa.string())
        return cls(tuple(columns), ranks, categories)

    def __call__(self, frame: pd.DataFrame) -> Matrix:
        parts = [self._ranked(frame, c) if c.name in self.ranks else self._one_hot(frame, c) for c in self.columns]
        return np.concatenate(parts, axis=1)

    def _ranked(self, frame: pd.DataFrame, column: Column) -> Matrix:
        known = self.ranks[column.name]
        values = _values(frame[column.name], column)
        rank = 0.5 * (np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")) / max(len(known), 1)
        missing = np.isnan(values)
        # Missing against present is 1 apart, whatever the value: half for the flag, half for the rank's middle.
        return np.column_stack([np.where(missing, 0.5, rank), missing * 0.5])

    def _one_hot(self, frame: pd.DataFrame, column: Column) -> Matrix:
        known = self.categories[column.name]
        code = pc.fill_null(pc.index_in(_canonical(frame[column.name], column), value_set=known), len(known))
        return np.eye(len(known) + 1)[np.asarray(code.to_numpy(zero_copy_only=False), dtype=np.int64)] * 0.5


def _has_distance(column: Column) -> bool:
    return column.kind in _CONTINUOUS and base_type(column.data_type) in _NUMERIC_TYPES


def _values(values: pd.Series, column: Column) -> NDArray[np.float64]:
    return to_floats(_arrow(values).cast(to_arrow(column.data_type), safe=False), column.data_type)
