"""Which slots of a wide table tell anything of each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synth_engine.encode.base import Floats

GROUPS = 6
"""Groups that the tokens of a slot are put into."""

SAMPLED_ROWS = 50_000
"""Rows, evenly spread, that decide."""

DOUBT = 3.0
"""Standard deviations by which the likelihood ratio of two slots must exceed that of independent ones."""


def related_slots(tokens: NDArray[np.int32], columns: Sequence[int], positions: Sequence[Floats | None]) -> NDArray[np.bool_]:
    """For tokens of shape (rows, slots) which slots depend on each other, shape (slots, slots); those of one column always do.

    Pair by pair a likelihood-ratio test of independence (Wilks, 1938) on tokens in groups: neighbours in their natural order, or the
    most frequent ones and the rest.
    """
    sample = tokens[:: max(1, len(tokens) // SAMPLED_ROWS)]
    slots, rows = tokens.shape[1], len(sample)
    group = np.stack([_groups(sample[:, s], positions[s] if positions else None) for s in range(slots)], axis=1)
    of_one = np.zeros((rows, slots * GROUPS), dtype=np.float32)
    of_one[np.arange(rows)[:, None], np.arange(slots) * GROUPS + group] = 1.0
    joint = (of_one.T @ of_one).astype(np.float64).reshape(slots, GROUPS, slots, GROUPS)
    share = of_one.sum(axis=0, dtype=np.float64).reshape(slots, GROUPS)
    expected = share[:, :, None, None] * share[None, None, :, :] / max(rows, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 2 * np.where(joint > 0, joint * np.log(joint / expected), 0.0).sum(axis=(1, 3))
    filled = (share > 0).sum(axis=1) - 1
    freedom = np.maximum(np.outer(filled, filled), 1)
    column = np.array(columns)
    related: NDArray[np.bool_] = (ratio - freedom > DOUBT * np.sqrt(2 * freedom)) | (column[:, None] == column[None, :])
    return related


def _groups(tokens: NDArray[np.int32], positions: Floats | None) -> NDArray[np.int64]:
    """Group of each row's token, below GROUPS."""
    counts = np.bincount(tokens)
    if positions is None:
        rank = np.empty(len(counts), dtype=np.int64)
        rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
        return np.minimum(rank, GROUPS - 1)[tokens]
    place = positions[: len(counts)]
    outside = np.isnan(place)
    order = np.argsort(np.where(outside, np.inf, place), kind="stable")
    below = np.cumsum(np.where(outside, 0, counts)[order]) - np.where(outside, 0, counts)[order] / 2
    group = np.empty(len(counts), dtype=np.int64)
    group[order] = 1 + np.minimum((below / max(below[-1] if len(below) else 0.0, 1.0) * (GROUPS - 1)).astype(np.int64), GROUPS - 2)
    return np.where(outside, 0, group)[tokens]
