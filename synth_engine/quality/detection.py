"""Can a classifier tell synthetic rows from real ones? The classifier two-sample test (C2ST) with LightGBM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synth_engine.quality.columns import is_continuous, numbers, scored_columns, texts
from synth_engine.quality.relations import children_per_parent, parent_positions
from synth_engine.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Features = Mapping[str, NDArray[np.float64]]
    Frames = Mapping[str, pd.DataFrame]

MOST_ROWS = 10_000
FEWEST_ROWS = 50
TREES = 80


@dataclass(frozen=True)
class Detection:
    """`accuracy` of the classifier on rows it has not seen; 0.5 is a coin toss, 1.0 means every row is recognised.

    `giveaways` are the columns it used most, with their share of its total gain.
    """

    accuracy: float
    giveaways: tuple[tuple[str, float], ...]


def detect(real: Features, synthetic: Features, seed: int) -> Detection | None:
    """Train on one half of equally many real and synthetic rows, test on the other, and the reverse.

    None where there are no features, or fewer than `FEWEST_ROWS` rows on a side: the figure would be noise.
    """
    import lightgbm

    rows = min(MOST_ROWS, *(len(next(iter(side.values()))) if side else 0 for side in (real, synthetic)))
    if rows < FEWEST_ROWS:
        return None
    generator = np.random.default_rng(seed)
    names = list(real)
    sides = [_matrix(side, names)[generator.permutation(len(side[names[0]]))[:rows]] for side in (real, synthetic)]
    design, label = np.concatenate(sides), np.repeat([1, 0], rows)
    fold = np.concatenate([generator.permutation(rows) % 2, generator.permutation(rows) % 2])
    settings = {
        "objective": "binary",
        "num_leaves": 31,
        "learning_rate": 0.1,
        "verbosity": -1,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,  # so few rows gain nothing from threads, and lose much on a busy machine
    }
    right, gain = 0, np.zeros(len(names))
    for held_out in (0, 1):
        train = fold != held_out
        model = lightgbm.train(settings, lightgbm.Dataset(design[train], label[train]), num_boost_round=TREES)
        right += int(((np.asarray(model.predict(design[~train])) > 0.5) == label[~train]).sum())
        gain += model.feature_importance("gain")
    shares = gain / gain.sum() if gain.sum() else gain
    first = np.argsort(-shares, kind="stable")[:3]
    return Detection(right / (2 * rows), tuple((names[i], round(float(shares[i]), 4)) for i in first if shares[i] > 0))


def row_features(real: pd.DataFrame, synthetic: pd.DataFrame, columns: Sequence[Column]) -> tuple[Features, Features]:
    """Each column as one feature of both sides: continuous as numbers, discrete as codes, commonest first."""
    pairs = {c.name: _comparable(real[c.name], synthetic[c.name], c) for c in columns}
    return {name: pair[0] for name, pair in pairs.items()}, {name: pair[1] for name, pair in pairs.items()}


def child_features(schema: Schema, frames: Frames, table: str) -> Features:
    """For every row of `table`, along every key that refers to it: the number of children, the mean and spread of
    their continuous columns, the number of different values of their discrete ones."""
    found: dict[str, NDArray[np.float64]] = {}
    for child, key in schema.children_of(table):
        positions = parent_positions(frames[child], frames[table], key)
        label, rows = key.label(child), len(frames[table])
        found[f"{label}: number"] = children_per_parent(positions, rows).astype(np.float64)
        for column in scored_columns(schema, child):
            values = frames[child][column.name]
            if is_continuous(column):
                found[f"{label}: mean of {column.name}"], found[f"{label}: spread of {column.name}"] = _mean_and_spread(
                    numbers(values, column), positions, rows
                )
            else:
                found[f"{label}: different {column.name}"] = _distinct(texts(values), positions, rows)
    return found


def _matrix(features: Features, names: Sequence[str]) -> NDArray[np.float64]:
    return np.column_stack([features[name] for name in names])


def _comparable(real: pd.Series, synthetic: pd.Series, column: Column) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if is_continuous(column):
        return numbers(real, column), numbers(synthetic, column)
    sides = texts(real), texts(synthetic)
    counted = pc.value_counts(pa.concat_arrays(sides).drop_null()).to_pylist()
    order = pa.array([v["values"] for v in sorted(counted, key=lambda v: (-v["counts"], v["values"]))], pa.string())
    first, second = (
        np.asarray(pc.index_in(side, value_set=order, skip_nulls=True).to_numpy(zero_copy_only=False), dtype=np.float64) for side in sides
    )
    return first, second


def _mean_and_spread(
    values: NDArray[np.float64], positions: NDArray[np.int64], rows: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    used = (positions >= 0) & ~np.isnan(values)
    where, what = positions[used], values[used]
    count = np.bincount(where, minlength=rows).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):  # childless parents become NaN, which the trees read as missing
        mean = np.bincount(where, what, minlength=rows) / count
        spread = np.sqrt(np.bincount(where, (what - mean[where]) ** 2, minlength=rows) / count)
    return mean, spread


def _distinct(names: pa.Array, positions: NDArray[np.int64], rows: int) -> NDArray[np.float64]:
    codes = np.asarray(pc.fill_null(names.dictionary_encode().indices, -1).to_numpy(zero_copy_only=False), dtype=np.int64)
    used = (positions >= 0) & (codes >= 0)
    pairs = np.unique(np.stack([positions[used], codes[used]]), axis=1)
    return np.bincount(pairs[0], minlength=rows).astype(np.float64)
