"""What tokens occur with, which is where the weights of a category start from that few rows have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import nlargest

import numpy as np
from numpy.typing import NDArray

from synth_engine.encode.base import Floats
from synth_engine.encode.groups import token_groups

MANY_TOKENS = 16
"""Slots with fewer tokens have enough rows of each."""
GROUPS = 8
"""Groups that the tokens of the other slots are counted in."""
PRIOR = 2.0
"""So many rows of all tokens are added to those of each, so that what one or two rows tell is not believed."""
MOST_TELLING = 16
"""Other slots that count, the most telling ones, so that neither memory nor mixtures grow with the width of tables."""


def occurring_with(
    tokens: NDArray[np.int32], sizes: Sequence[int], positions: Sequence[Floats | None], related: NDArray[np.bool_]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """For each slot of many tokens without a natural order: the slot, and what each of its tokens occurs with, shape (tokens,
    features), in the units of a standard normal variable over all tokens.

    `tokens` have shape (rows, slots); only `related` slots, shape (slots, slots), count. A feature is by how much more often than all
    rows those with the token are in a group of another slot, in units of what is to be expected of one row (Pearson's residual).
    """
    ordered = [bool(positions) and positions[slot] is not None for slot in range(len(sizes))]
    groups: dict[int, NDArray[np.int8]] = {}
    for slot, size in enumerate(sizes):
        others = [other for other in np.flatnonzero(related[slot]).tolist() if other != slot]
        if size < MANY_TOKENS or ordered[slot] or not others or not len(tokens):
            continue
        for other in others:
            if other not in groups:
                groups[other] = token_groups(tokens[:, other], positions[other] if ordered[other] else None, GROUPS).astype(np.int8)
        found = nlargest(MOST_TELLING, (_residuals(tokens[:, slot], size, groups[other]) for other in others), key=_telling)
        features = np.concatenate(found, axis=1)
        spread = float(np.sqrt(np.mean(features**2)))
        if spread > 0:
            yield slot, features / spread


def _residuals(token: NDArray[np.int32], size: int, group: NDArray[np.int8]) -> NDArray[np.float32]:
    """For each token by how much more often than all its rows are in each group."""
    groups = int(group.max()) + 1
    met = np.bincount(token.astype(np.int64) * groups + group, minlength=size * groups).reshape(size, groups)
    share, count = met.sum(axis=0) / len(token), met.sum(axis=1, keepdims=True)
    there = share > 0
    residuals: NDArray[np.float32] = ((met[:, there] - count * share[there]) / (count + PRIOR) / np.sqrt(share[there])).astype(np.float32)
    return residuals


def _telling(residuals: NDArray[np.float32]) -> float:
    return float((residuals**2).sum())
