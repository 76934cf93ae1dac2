"""Which parents go together: what the other parents of a parent's children are like, told from the parent's own row.

A customer of the north buys in shops of the north: the rows of the two tables agree, and the links must. The traits of
the other parents (means of ordered columns, shares of frequent values) are regressed on the parent's tokens; parents
for which the same is expected share a code. Being a function of the row, the code of a synthetic parent needs no token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from synth_engine.encode.base import Floats
from synth_engine.encode.values import to_floats
from synth_engine.model.clusters import MOST_CODES, PARENTS_PER_CODE, Features, clustered, nearest
from synth_engine.model.coarse import GROUPS, is_ordered
from synth_engine.model.prepared import PreparedTable
from synth_engine.randomness import generator

ENOUGH_PARENTS = 100
FEW_PARENTS = 64
"""A parent table of so few rows is a category: which of its rows it is, is a trait."""
MOST_TRAITS, MOST_INPUTS, SAMPLE = 24, 12, 10_000
"""What bounds the time of learning: traits, tokens they are told from, and parents."""
TELLING = 0.01
"""Share of the variance of a trait (over children) that the parent's row must explain."""


@dataclass
class Partners:
    """`inputs` are the tokens of the parent that `boosters` read, one booster a trait; `centres` (codes, traits)."""

    inputs: list[int]
    boosters: list[lightgbm.Booster]
    centres: Features

    @classmethod
    def fit(
        cls, child: PreparedTable, key: int, prepared: Mapping[str, PreparedTable], features: NDArray[np.int32], fewest: int, seed: int
    ) -> Partners | None:
        """Learn from the children along `child.keys[key]`; `features` (parents, tokens) is what is known of each parent. None where the
        parent's row tells nothing of its children's other parents."""
        parent = child.parents[key]
        counts = np.bincount(parent[parent >= 0], minlength=len(features))
        active = np.flatnonzero(counts)
        if len(active) < ENOUGH_PARENTS or not features.shape[1]:
            return None
        rng = generator(seed, "partners", child.table.name, key)
        chosen = np.sort(rng.permutation(active)[:SAMPLE])
        profile = np.array(
            [np.bincount(parent[parent >= 0], trait, minlength=len(features))[chosen] for trait in _traits(child, key, prepared)]
        )
        if not len(profile):
            return None
        profile, weight = profile.T / counts[chosen][:, None], counts[chosen].astype(np.float64)
        told = _told(profile, weight, features[chosen])
        traits = np.argsort(-told.max(axis=1), kind="stable")[:MOST_TRAITS]
        traits = traits[told[traits].max(axis=1) >= TELLING]
        if not len(traits):
            return None
        inputs = np.sort(np.argsort(-told[traits].max(axis=0), kind="stable")[:MOST_INPUTS]).tolist()
        boosters = [_booster(features[chosen][:, inputs], profile[:, t], weight, seed) for t in traits]
        expected = _expected(boosters, features[active][:, inputs])
        codes = int(np.clip(len(active) // PARENTS_PER_CODE, 1, MOST_CODES))
        _, centres = clustered(expected, codes, counts[active], fewest, rng)
        return cls(inputs, boosters, centres) if len(centres) > 1 else None

    @property
    def size(self) -> int:
        """Number of codes."""
        return len(self.centres)

    def codes(self, features: NDArray[np.int32]) -> NDArray[np.int64]:
        """The code of each parent, 0 … size-1."""
        return nearest(_expected(self.boosters, features[:, self.inputs]), self.centres)

    def to_json(self) -> dict[str, Any]:
        return {"inputs": self.inputs, "boosters": [b.model_to_string() for b in self.boosters], "centres": self.centres.tolist()}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Partners:
        return cls(raw["inputs"], [lightgbm.Booster(model_str=b) for b in raw["boosters"]], np.array(raw["centres"]))


def _traits(child: PreparedTable, key: int, prepared: Mapping[str, PreparedTable]) -> Iterator[Floats]:
    """Standardised traits of the other parents of each row that has a parent along `key`."""
    has = child.parents[key] >= 0
    for i in child.plan.live:
        if i == key:
            continue
        other, at = prepared[child.keys[i].parent], child.parents[i][has]
        there = at >= 0
        for column in other.value_columns:
            if column.name not in other.coarse:
                continue
            if is_ordered(column):
                yield from _rank(to_floats(other.data[column.name], column.data_type), at, there)
            else:
                yield from _indicators(other.coarse[column.name], at, there)
        if other.rows <= FEW_PARENTS:
            yield from _indicators(1 + np.arange(other.rows), at, there)
        for up in other.plan.live:
            if prepared[other.keys[up].parent].rows <= FEW_PARENTS:
                yield from _indicators(1 + other.parents[up], at, there)


def _rank(values: Floats, at: NDArray[np.int64], there: NDArray[np.bool_]) -> Iterator[Floats]:
    """Rank of the parent's value; parents without one, and rows without a parent, are in the middle."""
    known = np.isfinite(values)
    if known.any():
        ordered = np.sort(values[known])
        rank = np.full(len(values), 0.5)
        rank[known] = np.searchsorted(ordered, values[known]) / len(ordered)
        yield from _standardised(np.where(there, rank[np.maximum(at, 0)], 0.5))


def _indicators(codes: NDArray[np.integer[Any]], at: NDArray[np.int64], there: NDArray[np.bool_]) -> Iterator[Floats]:
    """Whether the parent has each of the values that are most frequent among the rows."""
    of_row = np.where(there, codes[np.maximum(at, 0)], 0)
    for code in np.argsort(-np.bincount(of_row), kind="stable")[: 2 * GROUPS]:
        yield from _standardised((of_row == code).astype(np.float64))


def _standardised(trait: Floats) -> Iterator[Floats]:
    spread = float(trait.std())
    if spread > 1e-6:
        yield (trait - trait.mean()) / spread


def _told(profile: Floats, weight: Floats, features: NDArray[np.int32]) -> Floats:
    """For each trait and input the share of the rows' variance between the input's tokens, beyond what chance would show; 0
    where it could be chance. Shape (traits, inputs). One-way analysis of variance."""
    told = np.zeros((profile.shape[1], features.shape[1]))
    centred = (profile - np.average(profile, axis=0, weights=weight)) * np.sqrt(weight)[:, None]
    total = (centred**2).sum(axis=0)
    for at in range(features.shape[1]):
        _, group = np.unique(features[:, at], return_inverse=True)
        groups = int(group.max()) + 1
        if not 1 < groups < len(group) / 2:
            continue
        mass = np.bincount(group, weight)
        sums = np.stack([np.bincount(group, column * np.sqrt(weight)) for column in centred.T], axis=1)
        between = (sums**2 / mass[:, None]).sum(axis=0)
        within = np.maximum(total - between, 1e-12) / (len(group) - groups)
        ratio = between / (groups - 1) / within
        sure = ratio > 1 + 5 * np.sqrt(2 / (groups - 1))
        told[:, at] = np.where(sure, (between - (groups - 1) * within) / weight.sum(), 0.0)
    return told


def _booster(features: NDArray[np.int32], trait: Floats, weight: Floats, seed: int) -> lightgbm.Booster:
    settings = {
        "objective": "regression",
        "learning_rate": 0.2,
        "num_leaves": 7,
        "min_data_in_leaf": 20,
        "lambda_l2": 5.0,
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed % (1 << 31),
        "verbose": -1,
    }
    return lightgbm.train(settings, lightgbm.Dataset(features.astype(np.float64), label=trait, weight=weight), num_boost_round=16)


def _expected(boosters: list[lightgbm.Booster], features: NDArray[np.int32]) -> Floats:
    """What each booster expects of each parent, (parents, traits)."""
    if not len(features):
        return np.zeros((0, len(boosters)))
    numbers = features.astype(np.float64)
    return np.stack([np.asarray(b.predict(numbers), dtype=np.float64) for b in boosters], axis=1)
