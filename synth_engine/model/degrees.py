"""How many children each parent has: a LightGBM distribution given the parent, calibrated so that the counts of the
whole table come out as in the source, childless parents included.

One booster tells of a parent that is in a class of degrees or a higher one whether it is in a higher one (continuation ratios, as in
Fienberg, "The Analysis of Cross-Classified Categorical Data", 1980): parents of few children are not what the classes of hubs, however
rare these are, are learned from, and all classes learn from each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from synth_engine.encode.base import Floats
from synth_engine.errors import Terminal
from synth_engine.randomness import generator

MOST_CLASSES = 24
TREES, FEWEST_TREES, PARENTS_A_TREE = 100, 20, 10
"""Trees of the booster: of few parents many would learn each by heart."""
MOST_AT_STEP = 100_000
"""Parents that tell who of those with so many children has more: what bounds the time of learning."""
BLOCK = 1 << 18
"""Parents that the booster is asked about at a time: what bounds the memory."""
TREES_AT_ONCE = 10
"""Trees that are asked at a time which leaf each parent is in: what bounds the memory."""
ENOUGH_PARENTS = 60
REFERENCE_TABLE = 128
"""A table of which at most so many rows have children is a reference table (airlines, districts): its degrees are no
secret of a row."""


@dataclass
class DegreeModel:
    """`lower` are the lowest degrees of the classes; `values`, `counts` the protected histogram of all real degrees;
    `by_code` the mean degree of each summary code where so few parents have children that a code is nearly a parent; `standing` of
    parents that are kept where each stands among them, in groups of as many as protect a degree."""

    lower: NDArray[np.int64]
    booster: lightgbm.Booster | None
    values: NDArray[np.int64]
    counts: NDArray[np.int64]
    unique: bool
    by_code: NDArray[np.float64]
    standing: NDArray[np.int64]

    @classmethod
    def fit(
        cls,
        degrees: NDArray[np.int64],
        features: NDArray[np.int32],
        code: NDArray[np.int32] | None,
        unique: bool,
        protect: int,
        seed: int,
        kept: bool = False,
    ) -> DegreeModel:
        """Learn from the exact degree of every parent and what is known of it: `features` (parents, any) and the
        parents' summary `code` along this key (0 is childless). What fewer parents than `protect` have in common tells nothing.
        Parents that are `kept` will be these very ones."""
        protected = _protected(degrees, protect)
        values, counts = np.unique(protected, return_counts=True)
        lower = _classes(degrees, protect)
        classes = np.searchsorted(lower, degrees, side="right") - 1
        by_code = np.zeros(0)
        if code is not None and 0 < np.count_nonzero(degrees) <= REFERENCE_TABLE:
            by_code = np.bincount(code, degrees) / np.maximum(np.bincount(code), 1)
        booster = (
            _booster(features, classes, protect, seed)
            if len(lower) > 1 and len(degrees) >= ENOUGH_PARENTS and features.shape[1] and not len(by_code) and not kept
            else None
        )
        standing = _standing(degrees, protect) if kept else np.zeros(0, np.int64)
        return cls(lower, booster, values.astype(np.int64), counts.astype(np.int64), unique, by_code, standing)

    @property
    def parents(self) -> int:
        return int(self.counts.sum())

    @property
    def referred_share(self) -> float:
        """Share of the parents that have children."""
        return float(self.counts[self.values > 0].sum() / max(self.parents, 1))

    def draw(
        self,
        features: NDArray[np.int32],
        code: NDArray[np.int32] | None,
        total: int,
        seed: int,
        label: str,
        temperature: float = 1.0,
    ) -> NDArray[np.int64]:
        """A degree for each parent; they sum to `total`. Below 1 a `temperature` makes them less even than the source's,
        above 1 more so. Raises `Terminal` naming the key `label` if there are no such degrees."""
        parents = len(features)
        if self.unique and total > parents:
            raise Terminal(
                f"Key {label} is unique, so there can be at most as many rows as parents",
                value=f"{total} rows for {parents} parents",
                advice="ask for fewer rows of the child or more of the parent",
            )
        if total > 0 and parents == 0:
            raise Terminal(
                f"Key {label} needs parents to refer to",
                value=f"{total} rows but no parent",
                advice="ask for at least one row of the parent table",
            )
        wanted = self._quantiles(parents)
        wanted = adjusted(wanted, total, 1) if self.unique else adjusted(tempered(wanted, total, temperature), total, None)
        rng = generator(seed, "degrees", label)
        order = np.argsort(self._likely(features, code, rng), kind="stable")
        degrees = np.zeros(parents, dtype=np.int64)
        degrees[order] = wanted
        return degrees

    def _quantiles(self, parents: int) -> NDArray[np.int64]:
        """The real degrees in order, stretched or thinned to so many parents."""
        if not parents or not self.parents:
            return np.zeros(parents, dtype=np.int64)
        at = (np.arange(parents) + 0.5) / parents * self.parents
        return self.values[np.minimum(np.searchsorted(np.cumsum(self.counts), at, side="right"), len(self.values) - 1)]

    def _likely(self, features: NDArray[np.int32], code: NDArray[np.int32] | None, rng: np.random.Generator) -> Floats:
        """A number for each parent that orders them as one draw from their distributions would; those whose code is
        childless come first of all."""
        parents = len(features)
        childless = -1e9 * (code == 0) if code is not None else np.zeros(parents)
        if len(self.by_code) and code is not None:
            return childless + self.by_code[code] * (1 + 0.01 * rng.random(parents)) + 1e-6 * rng.random(parents)
        if len(self.standing) == parents:
            return childless + self.standing + rng.random(parents)
        if self.booster is None:
            return childless + rng.random(parents)
        likely: Floats = childless + self._drawn_classes(self.booster, features, rng) + rng.random(parents)
        return likely

    def _drawn_classes(self, booster: lightgbm.Booster, features: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int64]:
        parents = len(features)
        # systematic sampling: one point in each of equal parts of [0, 1), dealt out at random
        points = (rng.permutation(parents) + rng.random(parents)) / max(parents, 1)
        drawn, chance, left = np.zeros(parents, dtype=np.int64), np.ones(parents), np.arange(parents)
        for step in range(len(self.lower) - 1):
            for part in _blocks(left):
                chance[part] *= np.asarray(booster.predict(_at_step(features, part, step)))
            left = left[chance[left] > points[left]]
            drawn[left] = step + 1
        return drawn

    def to_json(self) -> dict[str, Any]:
        return {
            "lower": self.lower.tolist(),
            "values": self.values.tolist(),
            "counts": self.counts.tolist(),
            "unique": self.unique,
            "by_code": self.by_code.tolist(),
            "standing": self.standing.tolist(),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], booster: str | None) -> DegreeModel:
        loaded = lightgbm.Booster(model_str=booster) if booster else None
        lower, values, counts, standing = (np.array(raw[k], dtype=np.int64) for k in ("lower", "values", "counts", "standing"))
        return cls(lower, loaded, values, counts, raw["unique"], np.array(raw["by_code"]), standing)


def tempered(degrees: NDArray[np.int64], total: int, temperature: float) -> NDArray[np.int64]:
    """The sorted degrees made less even by a temperature below 1, more even by one above, with sum `total`; at 1 they stay.

    Above 1 the childless get a share, too. The share of a parent at the higher of two temperatures, relative to that at the
    lower, falls with his degree: so the Gini coefficient can only fall, up to rounding.
    """
    if temperature == 1.0 or not degrees.any():
        return degrees
    shifted = degrees + max(1 - 1 / temperature, 0.0)
    return _apportioned((shifted / shifted.max()) ** (1 / temperature), total)


def adjusted(degrees: NDArray[np.int64], total: int, most: int | None) -> NDArray[np.int64]:
    """The sorted degrees changed as little as possible so that they sum to `total` and none exceeds `most`."""
    have = int(degrees.sum())
    if have == total:
        return degrees
    if most is not None or have == 0:
        out = np.zeros(len(degrees), dtype=np.int64)
        out += total // max(len(degrees), 1)
        out[len(out) - total % max(len(degrees), 1) :] += 1
        return out
    return _apportioned(degrees, total)


def _apportioned(shares: NDArray[np.int64] | Floats, total: int) -> NDArray[np.int64]:
    """The sorted shares scaled to whole numbers, rounding the running total: exact in sum, and nobody moves by more than one
    from his share."""
    running = np.floor(np.cumsum(shares * (total / shares.sum())) + 0.5).astype(np.int64)
    running[-1] = total
    return np.sort(np.diff(np.r_[0, running]))


def _protected(degrees: NDArray[np.int64], entities: int) -> NDArray[np.int64]:
    """Degrees in order, the highest of so many parents replaced by their mean: the sum stays."""
    out = np.sort(degrees)
    if entities > 1 and np.count_nonzero(out) > REFERENCE_TABLE:
        top = int(out[-entities:].sum())
        out[-entities:] = top // entities
        out[len(out) - top % entities :] += 1
    return out


def _standing(degrees: NDArray[np.int64], entities: int) -> NDArray[np.int64]:
    """The place of each parent among all by its degree, the same for so many in a row that no one's is told."""
    standing = np.empty(len(degrees), dtype=np.int64)
    standing[np.argsort(-degrees, kind="stable")] = np.arange(len(degrees)) // entities
    most = max(len(degrees) // entities - 1, 0)
    return most - np.minimum(standing, most)


def _classes(degrees: NDArray[np.int64], fewest: int) -> NDArray[np.int64]:
    """Lowest degree of each class: small counts by themselves, larger ones in geometric bins, as far as these are of enough parents."""
    exact = 8
    edges = list(range(exact))
    edge = exact
    while edge <= degrees.max(initial=0) and len(edges) < MOST_CLASSES:
        edges.append(edge)
        edge = max(edge + 1, int(edge * 1.5))
    parents = np.bincount(np.searchsorted(edges, degrees, side="right") - 1, minlength=len(edges))
    lower, left, here = [0], int(parents.sum()), 0
    for edge, there in zip(edges, parents.tolist(), strict=True):
        if min(here, left) >= fewest:
            lower.append(edge)
            here = 0
        here += there
        left -= there
    return np.array(lower, dtype=np.int64)


def _booster(features: NDArray[np.int32], classes: NDArray[np.int64], fewest: int, seed: int) -> lightgbm.Booster:
    """Tells of a parent in class `step` or a higher one, by that number and its features, how likely a higher one is. No leaf is of fewer
    parents than `fewest`."""
    rng = generator(seed, "parents of a step")
    by_step = [_some(np.flatnonzero(classes >= step), rng) for step in range(int(classes.max()))]
    parent, steps = np.concatenate(by_step), np.repeat(np.arange(len(by_step)), [len(there) for there in by_step])
    seen = _at_step(features, parent, steps)
    settings = {
        "objective": "binary",
        "learning_rate": 0.2,
        "num_leaves": 15,
        "min_data_in_leaf": fewest,
        "lambda_l2": 1.0,
        "max_delta_step": 2.0,  # where few of many go on, the first leaf would go far beyond
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed % (1 << 31),
        "verbose": -1,
    }
    trees = int(np.clip(len(features) // PARENTS_A_TREE, FEWEST_TREES, TREES))
    booster = lightgbm.train(settings, lightgbm.Dataset(seen, label=classes[parent] > steps), num_boost_round=trees)
    _forget_few(booster, seen, parent, len(by_step), fewest)
    return booster


def _some(parents: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """All, or of too many some, by chance: rows stand by their owners, so that every k-th may be of one kind."""
    return parents if len(parents) <= MOST_AT_STEP else np.sort(rng.choice(parents, MOST_AT_STEP, replace=False))


def _at_step(features: NDArray[np.int32], parents: NDArray[np.int64], step: int | NDArray[np.int64]) -> NDArray[np.float32]:
    """What the booster reads of these parents, each at its step."""
    seen = np.empty((len(parents), features.shape[1] + 1), np.float32)
    seen[:, 0] = step
    seen[:, 1:] = features[parents]
    return seen


def _blocks(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))


def _forget_few(booster: lightgbm.Booster, seen: NDArray[np.float32], parent: NDArray[np.int64], steps: int, fewest: int) -> None:
    """Let leaves of fewer parents than `fewest` say what the branch says that has so many. LightGBM counts rows, of which a parent has
    one at each step it has reached, and those by their hessians."""
    for number, tree in enumerate(booster.dump_model()["tree_info"]):
        if number % TREES_AT_ONCE == 0:
            found = booster.predict(seen, start_iteration=number, num_iteration=TREES_AT_ONCE, pred_leaf=True)
            leaves = np.asarray(found, dtype=np.int32).reshape(len(seen), -1)
        leaf = leaves[:, number % TREES_AT_ONCE]
        rows = np.bincount(leaf, minlength=tree["num_leaves"])
        there: dict[int, set[int]] = {at: set() for at in np.flatnonzero(rows < fewest * steps).tolist()}
        for row in np.flatnonzero((rows < fewest * steps)[leaf]):
            there[int(leaf[row])].add(int(parent[row]))
        _merge(tree["tree_structure"], there, fewest, partial(booster.set_leaf_output, number))


def _merge(node: Mapping[str, Any], there: Mapping[int, set[int]], fewest: int, say: Callable[[int, float], object]) -> set[int] | None:
    """The parents of a node of a tree, None if they are enough: then the leaves of a branch that has fewer `say` what the node does. Leaves
    that are not `there` have enough."""
    if "leaf_value" in node:
        few = there.get(node.get("leaf_index", 0))
    else:
        branches = node["left_child"], node["right_child"]
        found = [_merge(branch, there, fewest, say) for branch in branches]
        few = None if None in found else set().union(*(one for one in found if one is not None))
    if few is not None and len(few) < fewest:
        return few
    if "leaf_value" not in node:
        for branch, one in zip(branches, found, strict=True):
            for leaf in _leaves(branch) if one is not None else ():
                say(leaf, node["internal_value"])
    return None


def _leaves(node: Mapping[str, Any]) -> list[int]:
    return [node["leaf_index"]] if "leaf_value" in node else _leaves(node["left_child"]) + _leaves(node["right_child"])
