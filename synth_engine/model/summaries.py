"""Child summaries: what the children of a parent have in common, as two hidden tokens of the parent's row.

They are drawn with the parent row and condition everything below it, so that siblings, sibling tables and co-parents
agree. A code is a cluster of child statistics (k-means, then k-means of what is left: residual quantisation, as in
Gray, "Vector quantization", IEEE ASSP 1984).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_engine.encode.base import Floats
from synth_engine.encode.values import to_floats
from synth_engine.model.clusters import CHILDREN_INSTEAD, MOST_CODES, PARENTS_PER_CODE, clustered
from synth_engine.model.coarse import GROUPS, is_ordered
from synth_engine.model.prepared import PreparedTable
from synth_engine.randomness import generator

CHUNK = 1_000_000
"""Children whose ranks are taken at a time."""

SMALL_PARENT = 64
"""A parent table of so few rows is a category of its children: its rows' shares are statistics of theirs."""


@dataclass
class Summary:
    """Codes of one key's parents: `tokens` (parents, 2); 0 is childless. `sizes` are the vocabulary sizes; `features`
    (parents, statistics) what the codes were made of, 0 for the childless."""

    tokens: NDArray[np.int32]
    sizes: tuple[int, int]
    features: NDArray[np.float32]
    counts: NDArray[np.int64]


def summarise(child: PreparedTable, key: int, parent_rows: int, seed: int, fewest: int) -> Summary:
    """Summarise the children along `child.keys[key]` for each of the parent's rows."""
    parent = child.parents[key]
    counts = np.bincount(parent[parent >= 0], minlength=parent_rows)
    active = np.flatnonzero(counts)
    tokens = np.zeros((parent_rows, 2), dtype=np.int32)
    if not len(active):
        return Summary(tokens, (1, 1), np.zeros((parent_rows, 1), np.float32), counts)
    place = np.full(parent_rows, -1, dtype=np.int64)
    place[active] = np.arange(len(active))
    features = _features(child, key, place, counts[active])
    rng = generator(seed, "summary", child.table.name, key)
    coarse, centres = clustered(features, _most_codes(len(active), int(counts.sum())), counts[active], fewest, rng)
    tokens[active, 0] = 1 + coarse
    residual = features - centres[coarse]
    fine_codes = int(np.clip(len(active) // (2 * PARENTS_PER_CODE), 1, MOST_CODES))
    fine, fine_centres = clustered(residual, fine_codes, counts[active], fewest, rng)
    tokens[active, 1] = 1 + fine
    whole = np.zeros((parent_rows, features.shape[1]), np.float32)
    whole[active] = features
    return Summary(tokens, (1 + len(centres), 1 + len(fine_centres)), whole, counts)


def summarise_jointly(summaries: Sequence[Summary], seed: int, table: str, fewest: int) -> tuple[NDArray[np.int32], int]:
    """One code for the children along all keys together, (parents,) and the vocabulary size: what makes a row that is
    a hub of one key a hub of the others. Code 0 has no children at all."""
    counts = np.sum([s.counts for s in summaries], axis=0)
    active = np.flatnonzero(counts)
    tokens = np.zeros(len(counts), dtype=np.int32)
    if not len(active):
        return tokens, 1
    blocks = [
        np.concatenate([s.features, 2.0 * (s.counts > 0)[:, None].astype(np.float32)], axis=1)[active]
        / float(np.sqrt(s.features.shape[1] + 1))
        for s in summaries
    ]
    rng = generator(seed, "joint summary", table)
    codes, centres = clustered(np.concatenate(blocks, axis=1), _most_codes(len(active), int(counts.sum())), counts[active], fewest, rng)
    tokens[active] = 1 + codes
    return tokens, 1 + len(centres)


def _most_codes(parents: int, children: int) -> int:
    """How many codes so many parents bear; few parents of many children may each be one."""
    by_children = min(parents, children // CHILDREN_INSTEAD, 2 * MOST_CODES) if parents <= 2 * SMALL_PARENT else 1
    return max(by_children, int(np.clip(parents // PARENTS_PER_CODE, 1, MOST_CODES)))


def _features(child: PreparedTable, key: int, place: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Standardised statistics, shape (parents with children, statistics); each child column weighs the same."""
    has = child.parents[key] >= 0
    group, n = place[child.parents[key][has]], len(counts)
    blocks = [1.5 * _standardised(np.log1p(counts)[:, None])]
    for column in child.value_columns:
        if column.name not in child.coarse:
            continue
        codes = child.coarse[column.name][has]
        if is_ordered(column):
            blocks.append(_ordered(to_floats(child.data[column.name], column.data_type)[has], group, n))
        else:
            blocks.append(_shares(codes, group, n, counts))
    for i, other in enumerate(child.parents):
        if i != key and 1 < other.max(initial=-1) + 1 <= SMALL_PARENT:
            blocks.append(1.5 * _shares(1 + other[has], group, n, counts))
    return np.concatenate([b / float(np.sqrt(b.shape[1])) for b in blocks], axis=1)


def _ordered(values: Floats, group: NDArray[np.int64], n: int) -> NDArray[np.float32]:
    """Mean and deviation of the ranks, and the share of nulls."""
    ordered = np.sort(values[np.isfinite(values)])
    filled, mean, square = np.zeros(n), np.zeros(n), np.zeros(n)
    for start in range(0, len(values), CHUNK):
        part, at = values[start : start + CHUNK], group[start : start + CHUNK]
        part, at = part[np.isfinite(part)], at[np.isfinite(part)]
        rank = (np.searchsorted(ordered, part, side="left") + np.searchsorted(ordered, part, side="right")) / (2 * max(len(ordered), 1))
        for total, weight in ((filled, None), (mean, rank), (square, rank**2)):
            total += np.bincount(at, weight, minlength=n)
    mean, square = mean / np.maximum(filled, 1), square / np.maximum(filled, 1)
    mean = np.where(filled > 0, mean, 0.5)
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    nulls = 1 - filled / np.maximum(np.bincount(group, minlength=n), 1)
    return _standardised(np.stack([mean, deviation, nulls], axis=1))


def _shares(codes: NDArray[np.integer[Any]], group: NDArray[np.int64], n: int, counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Shares of the most frequent codes among a parent's children."""
    frequent = np.argsort(-np.bincount(codes), kind="stable")[: 2 * GROUPS]
    shares = [np.bincount(group[codes == code], minlength=n) / np.maximum(counts, 1) for code in frequent]
    return _standardised(np.stack(shares, axis=1))


def _standardised(block: Floats) -> NDArray[np.float32]:
    result: NDArray[np.float32] = np.clip((block - block.mean(axis=0)) / np.maximum(block.std(axis=0), 1e-6), -4, 4).astype(np.float32)
    return result
