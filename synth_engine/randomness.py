"""Randomness as a pure function of (seed, names, index): no generator is carried along, so neither the order of
work nor the batch size nor the number of workers can change a draw."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def stream(seed: int, *names: object) -> int:
    """A 63-bit seed for the purpose that `names` spell, independent of every other purpose."""
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: object) -> np.random.Generator:
    """A numpy generator for the purpose that `names` spell."""
    return np.random.default_rng(stream(seed, *names))


def uniforms(key: int, index: NDArray[np.int64], lane: int = 0) -> NDArray[np.float64]:
    """One number in [0, 1) for each index: splitmix64 over (key, lane, index), as a counter-based generator."""
    with np.errstate(over="ignore"):
        base = np.uint64(stream(key, lane))
        z = base + (index.astype(np.uint64) + np.uint64(1)) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * (1.0 / (1 << 53))
