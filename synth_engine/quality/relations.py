"""Rows that belong together along a foreign key: parents of children, children per parent, siblings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from synth_engine.schema import ForeignKey

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Positions = NDArray[np.int64]


def parent_positions(child: pd.DataFrame, parent: pd.DataFrame, key: ForeignKey) -> Positions:
    """For every child row the position of its parent row, -1 where the key is null or points nowhere."""
    known = parent.loc[:, list(key.parent_columns)].copy()
    known["__parent"] = np.arange(len(parent))
    known = known.dropna().drop_duplicates(list(key.parent_columns))
    wanted = child.loc[:, list(key.columns)].set_axis(list(key.parent_columns), axis=1)
    wanted["__child"] = np.arange(len(child))
    joined = wanted.dropna().merge(known, on=list(key.parent_columns))
    positions = np.full(len(child), -1, dtype=np.int64)
    positions[joined["__child"].to_numpy()] = joined["__parent"].to_numpy()
    return positions


def children_per_parent(positions: Positions, parents: int) -> Positions:
    """The degree of each of `parents` rows, childless ones included, from `parent_positions`."""
    return np.bincount(positions[positions >= 0], minlength=parents).astype(np.int64)


def sibling_pairs(positions: Positions, generator: np.random.Generator) -> tuple[Positions, Positions]:
    """Positions of random pairs of children of one parent: rows are shuffled and neighbours within a parent paired."""
    rows = np.flatnonzero(positions >= 0)
    rows = generator.permutation(rows)
    rows = rows[np.argsort(positions[rows], kind="stable")]
    same = positions[rows][1:] == positions[rows][:-1]
    return rows[:-1][same], rows[1:][same]
