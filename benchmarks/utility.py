"""Is synthetic data of use? Models trained on synthetic joined rows are tested on real ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import lightgbm
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from synth_engine.quality.columns import is_continuous, numbers, scored_columns, texts
from synth_engine.quality.detection import child_features, row_features
from synth_engine.quality.relations import parent_positions
from synth_engine.schema import Column, Schema

MOST_ROWS = 10_000
FEWEST_ROWS = 100
TREES = 80
RAREST = 0.02
"""A question whose answer is the same for all but this share of the rows is not asked."""

Frames = Mapping[str, pd.DataFrame]
Matrix = NDArray[np.float64]


def utility(schema: Schema, training: Frames, test: Frames, tables: Collection[str], seed: int) -> dict[str, float]:
    """For each column of these tables: how well a model trained on `training` tells, for rows of `test`, whether a number lies
    above its median or a category is the commonest (area under the ROC curve).

    It sees the row's other columns, those of its parents, and aggregates of its children. (Train on synthetic, test on
    real: Esteban et al., 2017.)
    """
    found: dict[str, float] = {}
    for name in tables:
        targets = scored_columns(schema, name)
        if is_lacking(len(test[name]), len(training[name])):
            found |= {f"{name}.{column.name}": 0.5 for column in targets}
            continue
        if min(len(training[name]), len(test[name])) < FEWEST_ROWS or not targets:
            continue
        rows = [_some(len(frames[name]), seed) for frames in (training, test)]
        columns, first, second = _joined(schema, training, test, name)
        design = [np.column_stack([features[c] for c in columns])[some] for features, some in zip((first, second), rows, strict=True)]
        for column in targets:
            answers = _answers(training[name][column.name], test[name][column.name], column)
            keep = [i for i, c in enumerate(columns) if c != column.name]
            auc = _auc(design[0][:, keep], answers[0][rows[0]], design[1][:, keep], answers[1][rows[1]], seed)
            if keep and auc is not None:
                found[f"{name}.{column.name}"] = round(auc, 4)
    return found


def is_lacking(real: int, synthetic: int) -> bool:
    """Whether a table has so few synthetic rows, though enough real ones, that there is nothing to judge: it must not be better
    than a bad one for that."""
    return real >= FEWEST_ROWS and synthetic < FEWEST_ROWS / 2


def _joined(schema: Schema, training: Frames, test: Frames, name: str) -> tuple[list[str], Mapping[str, Matrix], Mapping[str, Matrix]]:
    """Features of a table's rows on both sides."""
    columns = list(scored_columns(schema, name))
    sides = [frames[name][[c.name for c in columns]].reset_index(drop=True) for frames in (training, test)]
    for key in schema.tables[name].foreign_keys:
        above = scored_columns(schema, key.parent)
        columns += [replace(c, name=f"{key.label(name)}: {c.name}") for c in above]
        for i, frames in enumerate((training, test)):
            positions = parent_positions(frames[name], frames[key.parent], key)
            parents = frames[key.parent].reset_index(drop=True)[[c.name for c in above]].reindex(positions).reset_index(drop=True)
            sides[i] = pd.concat([sides[i], parents.set_axis([f"{key.label(name)}: {c.name}" for c in above], axis=1)], axis=1)
    first, second = row_features(sides[0], sides[1], columns)
    ours, theirs = ({**side, **child_features(schema, frames, name)} for side, frames in ((first, training), (second, test)))
    return list(ours), ours, theirs


def _answers(training: pd.Series, test: pd.Series, column: Column) -> tuple[Matrix, Matrix]:
    """1, 0, or NaN where the value is missing; what is asked is decided on the test side."""
    if is_continuous(column):
        sides = numbers(training, column), numbers(test, column)
        middle = np.nanmedian(sides[1]) if not np.isnan(sides[1]).all() else np.nan
        first, second = (np.where(np.isnan(side), np.nan, side > middle) for side in sides)
        return first, second
    named = [pd.Series(texts(side).to_numpy(zero_copy_only=False), dtype=object) for side in (training, test)]
    counted = named[1].value_counts()
    commonest = counted.index[0] if len(counted) else None
    first, second = (np.where(side.isna(), np.nan, side == commonest) for side in named)
    return first, second


def _auc(design: Matrix, label: Matrix, test: Matrix, truth: Matrix, seed: int) -> float | None:
    """None where there is nothing to tell; 0.5 where the training side has but one answer."""
    known, asked = ~np.isnan(label), ~np.isnan(truth)
    design, label, test, truth = design[known], label[known], test[asked], truth[asked]
    if len(truth) < FEWEST_ROWS or not RAREST < truth.mean() < 1 - RAREST:
        return None
    if len(label) < FEWEST_ROWS or len(np.unique(label)) < 2:
        return 0.5
    settings = {
        "objective": "binary",
        "learning_rate": 0.1,
        "verbosity": -1,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
    }
    model = lightgbm.train(settings, lightgbm.Dataset(design, label), num_boost_round=TREES)
    return float(roc_auc_score(truth, np.asarray(model.predict(test))))


def _some(rows: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(rows)[:MOST_ROWS]
