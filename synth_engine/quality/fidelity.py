"""How closely a synthetic schema follows the real one: shapes, pairs, relations, and a classifier's verdict.

Scores lie in [0, 1] and 1 is best, except the accuracies of `detection`, where 0.5 is best. A copy of the real data
would score 1 everywhere: read them beside the figures of `privacy.attacks`, always.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synth_engine.progress import Advance, Listener, ignore
from synth_engine.quality.columns import is_continuous, numbers, scored_columns, texts
from synth_engine.quality.contingency import Discretiser, bins_for, overlap
from synth_engine.quality.detection import Detection, child_features, detect, row_features
from synth_engine.quality.relations import children_per_parent, parent_positions, sibling_pairs
from synth_engine.schema import Column, ForeignKey, Schema

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Frames = Mapping[str, pd.DataFrame]
    Coders = Mapping[str, Mapping[str, Discretiser]]

SAMPLED_ROWS = 20_000
"""Rows that pairs, hops and siblings are estimated from; shapes and degrees use all rows."""

FEWEST_SIBLING_PAIRS = 100


@dataclass(frozen=True)
class TableFidelity:
    """`shapes` by column; `pairs` as (column, column, score); `detection` on the table's own columns and
    `detection_with_children` with aggregates of its children added. None where there is too little to judge."""

    rows_real: int
    rows_synthetic: int
    shapes: dict[str, float]
    pairs: tuple[tuple[str, str, float], ...]
    detection: Detection | None
    detection_with_children: Detection | None


@dataclass(frozen=True)
class RelationFidelity:
    """Scores along one foreign key: `cardinality` of children per parent, `parent_child` association of their columns,
    `siblings`' association among themselves. None where there are no columns or too few pairs."""

    child: str
    parent: str
    cardinality: float
    parent_child: float | None
    siblings: float | None


@dataclass(frozen=True)
class Fidelity:
    """All scores: per table, per relation (by the key's label), and their means."""

    tables: dict[str, TableFidelity]
    relations: dict[str, RelationFidelity]
    summary: dict[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; holds scores and counts, no value of a row."""
        return asdict(self)


def score(schema: Schema, real: Frames, synthetic: Frames, *, seed: int = 0, listener: Listener = ignore) -> Fidelity:
    """Compare two sets of tables, one DataFrame a table with the columns of `schema`.

    Raises `KeyError` if a table or column is missing on either side: validation comes before scoring.
    """
    coders = {name: _fit(real[name], scored_columns(schema, name)) for name in schema.tables}
    tables, advance = {}, Advance("report", "scores of tables", listener)
    rows = {name: len(frame) for name, frame in synthetic.items()}
    for name in schema.tables:
        tables[name] = _table(schema, real, synthetic, name, coders[name], seed)
        advance(rows[name], sum(rows.values()))
    relations: dict[str, RelationFidelity] = {}
    hops: list[float] = []
    siblings: list[float] = []
    for child, table in schema.tables.items():
        for key in table.foreign_keys:
            cardinality, key_hops, key_siblings = _relation(child, key, real, synthetic, coders, seed)
            hops += key_hops
            siblings += key_siblings
            relations[key.label(child)] = RelationFidelity(child, key.parent, round(cardinality, 4), _mean(key_hops), _mean(key_siblings))
    summary = {
        "shapes": _mean(s for t in tables.values() for s in t.shapes.values()),
        "pairs": _mean(p[2] for t in tables.values() for p in t.pairs),
        "cardinality": _mean(r.cardinality for r in relations.values()),
        "parent_child": _mean(hops),
        "siblings": _mean(siblings),
        "detection": _mean(t.detection.accuracy for t in tables.values() if t.detection),
        "detection_with_children": _mean(t.detection_with_children.accuracy for t in tables.values() if t.detection_with_children),
    }
    return Fidelity(tables, relations, summary)


def _table(schema: Schema, real: Frames, synthetic: Frames, name: str, coders: Mapping[str, Discretiser], seed: int) -> TableFidelity:
    columns = scored_columns(schema, name)
    ours, theirs = row_features(real[name], synthetic[name], columns)
    with_children = None
    if schema.children_of(name):
        with_children = detect({**ours, **child_features(schema, real, name)}, {**theirs, **child_features(schema, synthetic, name)}, seed)
    return TableFidelity(
        rows_real=len(real[name]),
        rows_synthetic=len(synthetic[name]),
        shapes={c.name: round(shape(real[name][c.name], synthetic[name][c.name], c), 4) for c in columns},
        pairs=_pairs(real[name], synthetic[name], coders, seed),
        detection=detect(ours, theirs, seed),
        detection_with_children=with_children,
    )


def shape(real: pd.Series, synthetic: pd.Series, column: Column) -> float:
    """How alike one column is by itself: the Kolmogorov-Smirnov complement of continuous values times the agreement
    of the shares missing; the total variation complement of discrete values, missing counted as one of them."""
    import pandas as pd
    from sdmetrics.single_column import KSComplement, TVComplement

    if not len(real) or not len(synthetic):
        return float(len(real) == len(synthetic))
    if not is_continuous(column):
        first, second = (pd.Series(texts(side).fill_null("\0missing").to_numpy(zero_copy_only=False)) for side in (real, synthetic))
        return float(TVComplement.compute(first, second))
    ours, theirs = numbers(real, column), numbers(synthetic, column)
    missing = 1 - abs(float(np.isnan(ours).mean()) - float(np.isnan(theirs).mean()))
    if np.isnan(ours).all() or np.isnan(theirs).all():
        return missing
    return float(KSComplement.compute(pd.Series(ours), pd.Series(theirs))) * missing


def _fit(frame: pd.DataFrame, columns: Iterable[Column]) -> dict[str, Discretiser]:
    return {c.name: Discretiser.fit(frame[c.name], c, bins_for(len(frame))) for c in columns}


def _pairs(real: pd.DataFrame, synthetic: pd.DataFrame, coders: Mapping[str, Discretiser], seed: int) -> tuple[tuple[str, str, float], ...]:
    ours, theirs = (_sample(frame, seed) for frame in (real, synthetic))
    left = {name: coder.codes(ours[name]) for name, coder in coders.items()}
    right = {name: coder.codes(theirs[name]) for name, coder in coders.items()}
    return tuple(
        (a, b, round(overlap([left[a], left[b]], [right[a], right[b]], [coders[a].size, coders[b].size]), 4))
        for a, b in itertools.combinations(coders, 2)
    )


def _relation(
    child: str, key: ForeignKey, real: Frames, synthetic: Frames, coders: Coders, seed: int
) -> tuple[float, list[float], list[float]]:
    """Cardinality, and one score for each pair of a parent's and a child's column, and for each child's column."""
    sides = [(frames[child], frames[key.parent], parent_positions(frames[child], frames[key.parent], key)) for frames in (real, synthetic)]
    degrees = [children_per_parent(positions, len(parents)) for _, parents, positions in sides]
    hops = _hops([_hop_codes(*side, coders[child], coders[key.parent], seed) for side in sides], coders[child], coders[key.parent])
    pairs = [_paired_codes(children, positions, coders[child], seed) for children, _, positions in sides]
    return _degree_overlap(degrees[0], degrees[1]), hops, _sibling_scores(pairs, coders[child])


def _degree_overlap(real: NDArray[np.int64], synthetic: NDArray[np.int64]) -> float:
    import pandas as pd
    from sdmetrics.single_column import KSComplement

    if not len(real) or not len(synthetic):
        return float(len(real) == len(synthetic))
    return float(KSComplement.compute(pd.Series(real), pd.Series(synthetic)))


def _hop_codes(
    children: pd.DataFrame,
    parents: pd.DataFrame,
    positions: NDArray[np.int64],
    child: Mapping[str, Discretiser],
    parent: Mapping[str, Discretiser],
    seed: int,
) -> dict[tuple[str, str], NDArray[np.int64]]:
    rows = _some(np.flatnonzero(positions >= 0), seed)
    codes = {("child", name): coder.codes(children[name].iloc[rows]) for name, coder in child.items()}
    return codes | {("parent", name): coder.codes(parents[name])[positions[rows]] for name, coder in parent.items()}


def _hops(
    sides: list[dict[tuple[str, str], NDArray[np.int64]]], child: Mapping[str, Discretiser], parent: Mapping[str, Discretiser]
) -> list[float]:
    real, synthetic = sides
    return [
        overlap(
            [real["parent", above], real["child", below]],
            [synthetic["parent", above], synthetic["child", below]],
            [parent[above].size, child[below].size],
        )
        for above in parent
        for below in child
    ]


def _paired_codes(
    children: pd.DataFrame, positions: NDArray[np.int64], coders: Mapping[str, Discretiser], seed: int
) -> dict[str, list[NDArray[np.int64]]]:
    first, second = sibling_pairs(positions, np.random.default_rng(seed))
    kept = _some(np.arange(len(first)), seed)
    return {name: [coder.codes(children[name].iloc[rows[kept]]) for rows in (first, second)] for name, coder in coders.items()}


def _sibling_scores(sides: list[dict[str, list[NDArray[np.int64]]]], coders: Mapping[str, Discretiser]) -> list[float]:
    real, synthetic = sides
    if not coders or len(next(iter(real.values()))[0]) < FEWEST_SIBLING_PAIRS:
        return []
    return [overlap(real[name], synthetic[name], [coder.size, coder.size]) for name, coder in coders.items()]


def _sample(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    return frame.iloc[_some(np.arange(len(frame)), seed)]


def _some(rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    return rows if len(rows) <= SAMPLED_ROWS else np.random.default_rng(seed).permutation(rows)[:SAMPLED_ROWS]


def _mean(scores: Iterable[float]) -> float | None:
    listed = list(scores)
    return round(float(np.mean(listed)), 4) if listed else None
