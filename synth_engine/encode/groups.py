"""Tokens of a slot in a few groups, to compare them with others by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synth_engine.encode.base import Floats


def token_groups(tokens: NDArray[np.int32], positions: Floats | None, groups: int) -> NDArray[np.int64]:
    """Group of each token, below `groups`: of those with a natural order equal numbers, in their order, and first those outside it; of
    others the most frequent, and last all the rest."""
    counts = np.bincount(tokens)
    if positions is None:
        rank = np.empty(len(counts), dtype=np.int64)
        rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
        return np.minimum(rank, groups - 1)[tokens]
    place = positions[: len(counts)]
    outside = np.isnan(place)
    order = np.argsort(np.where(outside, np.inf, place), kind="stable")
    below = np.cumsum(np.where(outside, 0, counts)[order]) - np.where(outside, 0, counts)[order] / 2
    group = np.empty(len(counts), dtype=np.int64)
    group[order] = 1 + np.minimum((below / max(below[-1] if len(below) else 0.0, 1.0) * (groups - 1)).astype(np.int64), groups - 2)
    return np.where(outside, 0, group)[tokens]
