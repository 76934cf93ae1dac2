"""Whose rows a table's are: the parent whose rows are learned as a sequence, and the entity that each row is part of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from synth_engine.encode.base import Floats

LONGEST_SEQUENCE = 400
"""Mean length (over rows) above which a key's rows are no sequence worth learning, unless they are a time series or there are
many owners, of whose rows the neighbours tell beyond those of others at the same time and their siblings at large."""

LONGEST_TELLING_SEQUENCE = 10_000
"""Mean length (over rows) above which only a time series is a sequence: its rows are drawn one after the other."""

OWN_TELLING = 0.1
"""Dependence between neighbours of one owner, beyond that between neighbours of different owners and between siblings at large, that
makes so long a sequence worth learning."""

SHORT_SEQUENCE = 20
"""Mean length (over rows) up to which a key's rows are a sequence even if siblings tell little."""

REGULAR = 0.5
"""Share of the steps of a time series that are the commonest one."""

TELLING = 0.05
"""Dependence between siblings (see `_sibling_dependence`) that makes a longer sequence worth learning."""

SERIES_WINDOW = 8
"""Rows of a series that are held out together: enough to be more than a copy of their neighbours, too few to take all
of a day or season out of the training."""

FEWEST_OWNERS, MANY_ROWS = 20, 10
"""Fewer owners than this, of more rows each, are no entities (stores, stations, sales people): each of their rows is one.
Of so few none can be held out, and everything they have would be rare or extreme."""


def in_sequence(natural: NDArray[np.int64], parent: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Order that puts siblings together, and the sequence number of each row; rows without an owner stand alone at the end."""
    owner = parent[natural].copy()
    alone = owner < 0
    owner[alone] = parent.max(initial=-1) + 1 + np.arange(alone.sum())
    within = np.argsort(owner, kind="stable")
    return natural[within], owner[within]


def choose_owner(
    candidates: Sequence[int],
    parents: Sequence[NDArray[np.int64]],
    natural: NDArray[np.int64],
    coarse: Mapping[str, NDArray[np.uint8]],
    moment: Floats | None,
) -> int | None:
    """The key along which neighbouring rows tell most about each other, or None where no key has such sequences.

    Long sequences have to earn it: by what siblings tell, or by being a time series.
    """
    best, best_score = None, 0.0
    for i in candidates:
        if not (parents[i] >= 0).any():
            continue
        mean_length = _row_mean_length(parents[i])
        series = mean_length > SHORT_SEQUENCE and _is_time_series(parents[i], moment)
        told = _sibling_dependence(*in_sequence(natural, parents[i]), parents[i], coarse)
        if mean_length > LONGEST_SEQUENCE:
            own = told - _strangers_dependence(natural, parents[i], coarse) - _family_dependence(natural, parents[i], coarse)
            many = len(np.unique(parents[i][parents[i] >= 0])) >= FEWEST_OWNERS
            worth = many and mean_length <= LONGEST_TELLING_SEQUENCE and own >= OWN_TELLING
        else:
            worth = mean_length <= SHORT_SEQUENCE or told >= TELLING
        if not (series or worth):
            continue
        score = 1e-3 + told + series
        if score > best_score:
            best, best_score = i, score
    return best


def key_to_entity(to_entities: Sequence[int] | None, owner: int | None, parents: Sequence[NDArray[np.int64]]) -> int | None:
    """The key to the entity that rows are part of, None where each is one: as is said, else the owner's unless that is none."""
    if to_entities is None:
        return owner if owner is not None and _owners_are_entities(parents[owner]) else None
    return owner if owner in to_entities else next(iter(to_entities), None)


def _owners_are_entities(parent: NDArray[np.int64]) -> bool:
    """Whether a parent with its rows is one entity, rather than each row by itself."""
    few = len(np.unique(parent[parent >= 0])) < FEWEST_OWNERS
    return _row_mean_length(parent) <= (MANY_ROWS if few else LONGEST_SEQUENCE)


def _row_mean_length(parent: NDArray[np.int64]) -> float:
    """Mean over rows of how many rows their parent has."""
    counts = np.bincount(parent[parent >= 0]).astype(np.float64)
    return float((counts**2).sum() / counts.sum()) if counts.sum() else 0.0


def windows(sequence: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of the window each row of a long sequence stands in: a series has too few entities to hold some out."""
    starts = np.r_[True, sequence[1:] != sequence[:-1]]
    index = np.arange(len(sequence)) - np.maximum.accumulate(np.where(starts, np.arange(len(sequence)), 0))
    return np.cumsum(index % SERIES_WINDOW == 0) - 1


def _is_time_series(parent: NDArray[np.int64], moment: Floats | None) -> bool:
    """Whether a parent's rows are readings at mostly regular distances, no two at the same moment: then their order must
    not break, however long it is. (Events of many entities rarely share a second either, but keep no beat.)"""
    if moment is None or not np.isfinite(moment).all() or (parent < 0).any():
        return False
    order = np.lexsort((moment, parent))
    step = np.diff(moment[order])[np.diff(parent[order]) == 0]
    if not len(step) or (step <= 0).any():
        return False
    _, counts = np.unique(step, return_counts=True)
    return bool(counts.max() >= REGULAR * len(step))


def _sibling_dependence(
    order: NDArray[np.int64], sequence: NDArray[np.int64], parent: NDArray[np.int64], coarse: Mapping[str, NDArray[np.uint8]]
) -> float:
    """How much neighbours in a sequence tell of each other (see `_dependence`), times the share of rows that have a neighbour."""
    same = sequence[1:] == sequence[:-1]
    return _dependence(order, same, coarse) * int(same.sum()) / len(parent)


def _strangers_dependence(natural: NDArray[np.int64], parent: NDArray[np.int64], coarse: Mapping[str, NDArray[np.uint8]]) -> float:
    """How much rows of different owners that follow each other tell of each other: what the time tells, not the owner."""
    owner = parent[natural]
    return _dependence(natural, owner[1:] != owner[:-1], coarse)


def _family_dependence(natural: NDArray[np.int64], parent: NDArray[np.int64], coarse: Mapping[str, NDArray[np.uint8]]) -> float:
    """How much siblings tell of each other wherever they stand: what the owner tells, not the order."""
    order, sequence = in_sequence(natural, parent)
    anyhow = np.lexsort((np.random.default_rng(0).random(len(order)), sequence))
    return _sibling_dependence(order[anyhow], sequence, parent, coarse)


def _dependence(order: NDArray[np.int64], paired: NDArray[np.bool_], coarse: Mapping[str, NDArray[np.uint8]]) -> float:
    """Total variation distance between neighbours' joint distribution and that of independent rows, less what chance
    alone would show, averaged over columns. `paired` says which rows, in `order`, count as neighbours of the one after them."""
    pairs = int(paired.sum())
    if not pairs or not coarse:
        return 0.0
    gains = []
    for codes in coarse.values():
        size = int(codes.max()) + 1
        ordered = codes[order].astype(np.int64)
        first, second = ordered[:-1][paired], ordered[1:][paired]
        joint = np.bincount(first * size + second, minlength=size * size) / pairs
        share = (np.bincount(first, minlength=size) + np.bincount(second, minlength=size)) / (2 * pairs)
        apart = np.outer(share, share).reshape(-1)
        noise = 0.4 * float(np.sqrt(apart / pairs).sum())
        gains.append(max(0.5 * float(np.abs(joint - apart).sum()) - noise, 0.0))
    return float(np.mean(gains))
