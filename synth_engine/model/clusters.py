"""Clusters of rows that behave alike, none too small to disclose one of them (k-means)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_CODES = 32
PARENTS_PER_CODE = 40
CHILDREN_INSTEAD = 100
"""A code stands for at least five parents, or for parents with this many children together: then its statistics are
those of many rows and disclose nobody."""


Features = NDArray[np.floating[Any]]
"""Shape (rows, statistics); those of many rows in single precision."""


def clustered(
    features: Features, most: int, weight: NDArray[np.int64], fewest: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], Features]:
    """Cluster numbers 0 … k-1, neighbours numbered next to each other, and the centres, none too small to disclose.
    `weight` holds the children of every row, `fewest` how many rows a cluster needs."""
    centres = _kmeans(features, most, rng)
    while len(centres) > 1:
        codes = nearest(features, centres)
        members = np.bincount(codes, minlength=len(centres))
        children = np.bincount(codes, weight, minlength=len(centres))
        safe = (members >= fewest) | (children >= CHILDREN_INSTEAD)
        if safe.all():
            break
        centres = centres[safe] if safe.any() else centres[[int(members.argmax())]]
    spread = centres - centres.mean(axis=0)
    axis = np.linalg.svd(spread, full_matrices=False)[2][0] if len(centres) > 2 else np.ones(features.shape[1])
    centres = centres[np.argsort(spread @ axis, kind="stable")]
    return nearest(features, centres), centres


def _kmeans(features: Features, k: int, rng: np.random.Generator, rounds: int = 12) -> Features:
    """Lloyd's algorithm from k distant rows (k-means++ on a sample)."""
    sample = features[rng.permutation(len(features))[:20_000]].astype(np.float64)  # or else what is left of like rows is noise
    centres = sample[:1]
    distance = ((sample - centres[0]) ** 2).sum(axis=1)
    while len(centres) < k and distance.sum() > 1e-9:
        chosen = sample[np.searchsorted(np.cumsum(distance), rng.random() * distance.sum()).clip(max=len(sample) - 1)]
        centres = np.vstack([centres, chosen])
        distance = np.minimum(distance, ((sample - chosen) ** 2).sum(axis=1))
    for _ in range(rounds):
        codes = nearest(sample, centres)
        filled = np.flatnonzero(np.bincount(codes, minlength=len(centres)))
        centres = np.stack([sample[codes == c].mean(axis=0) for c in filled])
    return centres.astype(features.dtype)


def nearest(features: Features, centres: Features) -> NDArray[np.int64]:
    """Number of the centre nearest to each row."""
    out = np.empty(len(features), dtype=np.int64)
    norms = (centres**2).sum(axis=1)
    for start in range(0, len(features), 16_384):
        part = features[start : start + 16_384]
        out[start : start + len(part)] = (norms - 2 * part @ centres.T).argmin(axis=1)
    return out
