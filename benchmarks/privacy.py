"""Was anything memorised? Figures of all tables that were split, taken together, against limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from synth_engine.privacy.attacks import MOST_ROWS, closest_records, membership
from synth_engine.quality.detection import child_features
from synth_engine.schema import Column, Kind, Schema

CLOSER_LIMIT = 0.52
MEMBERSHIP_LIMIT = 0.53
STANDARD_ERRORS = 2.0
"""A figure above its limit is red only if it is above chance by so many standard errors."""

COARSE = 0.5
"""Tables of whose held-out rows so many repeat training rows (a few columns of few values) say nothing about memory."""

Frames = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Privacy:
    """`copies`: share of rows equal to a training row in all columns but keys; `copies_held_out`: the same of real rows not
    learned from. `closer`: share of rows closer to a training row than to a held-out one. `membership`: area under the
    ROC curve of an attacker who tells by its distance to the closest synthetic row whether a real row was learned from.

    None where there is no held-out half. `red` says which of them exceed what real rows not learned from, or chance, give.
    """

    copies: float | None
    copies_held_out: float | None
    closer: float | None
    membership: float | None
    red: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(schema: Schema, training: Frames, held_out: Frames, synthetic: Frames, tables: Collection[str], seed: int) -> Privacy:
    """Figures of these tables but the coarse ones, each weighted by the rows compared. `held_out` may be empty frames."""
    copies: list[tuple[float, int]] = []
    baselines: list[tuple[float, int]] = []
    closer: list[tuple[float, int]] = []
    attacks: list[tuple[float, int]] = []
    for name in tables:
        table = schema.tables[name]
        columns = [c for c in table.columns if c.name not in table.key_columns and c.kind is not Kind.IDENTIFIER]
        sides = training[name], held_out[name], synthetic[name]
        if not columns or not len(synthetic[name]):
            continue
        figures = closest_records(*sides, columns, seed=seed)
        if (figures.copies_held_out or 0.0) >= COARSE:
            continue
        copies.append((figures.copies_synthetic, len(synthetic[name])))
        if figures.copies_held_out is not None:
            baselines.append((figures.copies_held_out, len(held_out[name])))
        if figures.closer_to_training is not None:
            closer.append((figures.closer_to_training, figures.rows_compared))
        if (attack := _attack(schema, training, held_out, synthetic, name, columns, seed)) is not None:
            attacks.append((attack, min(MOST_ROWS, len(training[name]), len(held_out[name]))))
    return _judged(copies, baselines, closer, attacks)


def _attack(
    schema: Schema, training: Frames, held_out: Frames, synthetic: Frames, name: str, columns: list[Column], seed: int
) -> float | None:
    """By a table's rows alone and, where it has children, with aggregates of these: whatever tells more."""
    alone = membership(training[name], held_out[name], synthetic[name], columns, seed=seed)
    if not schema.children_of(name):
        return alone
    sides, more = [], columns
    for frames in (training, held_out, synthetic):
        features = pd.DataFrame(child_features(schema, frames, name))
        more = columns + [Column(str(feature), Kind.DECIMAL, "float64") for feature in features]
        sides.append(pd.concat([frames[name].reset_index(drop=True), features], axis=1))
    joined = membership(sides[0], sides[1], sides[2], more, seed=seed)
    return max((found for found in (alone, joined) if found is not None), default=None)


def _judged(
    copies: list[tuple[float, int]], baselines: list[tuple[float, int]], closer: list[tuple[float, int]], attacks: list[tuple[float, int]]
) -> Privacy:
    found = Privacy(_pooled(copies), _pooled(baselines), _pooled(closer), _pooled(attacks), ())
    red = []
    if found.copies is not None and found.copies_held_out is not None:
        rows = min(_rows(copies), _rows(baselines))
        # the difference of two shares, each of so many rows; where nothing is repeated one row by chance is none
        share = max(found.copies_held_out, 1 / rows)
        error = float(np.sqrt(2 * share * (1 - share) / rows))
        if found.copies > found.copies_held_out + STANDARD_ERRORS * error:
            red.append("copies")
    if found.closer is not None and found.closer > max(CLOSER_LIMIT, 0.5 + STANDARD_ERRORS * 0.5 / np.sqrt(_rows(closer))):
        red.append("closer")
    # standard error of an AUC of 0.5 over n rows of either kind: sqrt((2 n + 1) / (12 n^2)), about 1 / sqrt(6 n)
    if found.membership is not None and found.membership > max(MEMBERSHIP_LIMIT, 0.5 + STANDARD_ERRORS / np.sqrt(6 * _rows(attacks))):
        red.append("membership")
    return Privacy(found.copies, found.copies_held_out, found.closer, found.membership, tuple(red))


def _rows(figures: list[tuple[float, int]]) -> int:
    return sum(rows for _, rows in figures)


def _pooled(figures: list[tuple[float, int]]) -> float | None:
    rows = _rows(figures)
    return round(sum(figure * weight for figure, weight in figures) / rows, 5) if rows else None
