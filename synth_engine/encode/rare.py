"""Rare values of categories: each takes the token of a less frequent value that goes with the same others.

A value that too few entities have must not be written. Left out of the model it would come out as any value whatever, and a city in
another country. So before anything is learned its rows are given the token of a row that is like one of them, a donor (a hot deck:
Andridge and Little, "A review of hot deck imputation for survey non-response", International Statistical Review 2010).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synth_engine.encode.base import Floats, Tokens
from synth_engine.encode.category import RARE, CategoryEncoder
from synth_engine.encode.groups import token_groups
from synth_engine.encode.table import TableEncoder
from synth_engine.randomness import generator

ORDERED_GROUPS = 8
"""Groups that tokens with a natural order are compared in."""
MOST_ALIKE = 3
"""Slots, or references, in which a donor is alike."""
GAIN = 1.02
"""By how much a further one must raise the chance that a donor has the same value."""
CANDIDATES = 8
"""Slots and references that by themselves are the most telling, which the further ones are chosen from."""
COMPARED_ROWS, DONORS = 10_000, 500_000
"""Rows that decide in what donors are alike, and rows that donors are taken from."""

Codes = NDArray[np.int64]


def place_rare_values(tokens: Tokens, encoder: TableEncoder, data: Mapping[str, pa.Array], parents: Sequence[Codes], seed: int) -> None:
    """Replace, in tokens of shape (rows, slots), those of rare values by such as may be written, the same in all rows of a value.
    `parents` are the rows that each key refers to, `data` the columns. Randomness is that of `seed`."""
    placed = {}
    for column in encoder.columns:
        if not isinstance(column.encoder, CategoryEncoder) or not len(column.encoder.values):
            continue
        name, slot = column.column.name, column.slots[0]
        rare = np.flatnonzero(tokens[:, slot] == RARE)
        frequent = np.flatnonzero(tokens[:, slot] > RARE)
        if len(rare) and len(frequent):
            values = pc.take(data[name], pa.array(rare)).dictionary_encode().indices.to_numpy()
            _, first, of_row = np.unique(values, return_index=True, return_inverse=True)
            donors, share = _spread(frequent, DONORS), len(rare) / len(frequent)
            company = list(_company(tokens, slot, encoder, parents, np.r_[donors, rare[first]]))
            found = _donated(tokens[donors, slot].astype(np.int64), share, company, len(first), generator(seed, name))
            placed[slot] = rare, found[of_row.reshape(-1)]
    for slot, (rows, found) in placed.items():  # none is placed by how another was
        tokens[rows, slot] = found


def _company(tokens: Tokens, slot: int, encoder: TableEncoder, parents: Sequence[Codes], rows: Codes) -> Iterator[Codes]:
    """What else rows have, one code a row each: their other columns, those with an order in groups, and their parents."""
    for other, places in enumerate(encoder.positions()):
        if other != slot:
            token = tokens[rows, other]
            yield token.astype(np.int64) if places is None else token_groups(token, places, ORDERED_GROUPS)
    for parent in parents:
        yield parent[rows]


def _donated(token: Codes, share: float, company: Sequence[Codes], values: int, rng: np.random.Generator) -> Codes:
    """A token for each of so many values: of the less frequent ones, those that together are this share of all, where a row of
    theirs is like a row of the value; else of one like it; else of one like it in less. `company` is that of the donors, who have
    the tokens, and then of a row of each value."""
    counts = np.bincount(token)
    rising = np.argsort(counts, kind="stable")
    less_frequent = np.zeros(len(counts), np.bool_)
    less_frequent[rising[np.cumsum(counts[rising]) - counts[rising] < share * len(token)]] = True
    found = np.full(values, -1, np.int64)
    alike = _most_alike(token, [codes[: len(token)] for codes in company])
    for used in range(len(alike), -1, -1):
        cell = _cells([company[i] for i in alike[:used]], len(token) + values)
        for able in (less_frequent[token], np.ones(len(token), np.bool_)):
            open_ = np.flatnonzero(found < 0)
            at = _drawn(cell[: len(token)][able], token[able], cell[len(token) :][open_], rng)
            found[open_[at >= 0]] = token[able][at[at >= 0]]
    return found


def _most_alike(token: Codes, company: Sequence[Codes]) -> list[int]:
    """In what donors have to be alike, the most telling first: one by one what raises the chance most that another row that is alike
    has the same token."""
    some = _spread(np.arange(len(token)), COMPARED_ROWS)
    token, company = token[some], [codes[some] for codes in company]
    chosen: list[int] = []
    cell = np.zeros(len(token), np.int64)
    matched = _matched(token, cell, np.zeros(len(token)))
    candidates = list(range(len(company)))
    while len(chosen) < MOST_ALIKE and candidates:
        finer = {i: _cells([cell, company[i]], len(token)) for i in candidates}
        chances = {i: _matched(token, cells, matched) for i, cells in finer.items()}
        best, *others = sorted(candidates, key=lambda i: -float(chances[i].mean()))
        if chances[best].mean() <= GAIN * matched.mean():
            break
        chosen.append(best)
        cell, matched, candidates = finer[best], chances[best], others[: CANDIDATES - len(chosen)]
    return chosen


def _matched(token: Codes, cell: Codes, otherwise: Floats) -> Floats:
    """For each row the chance that another row of its cell has the same token; `otherwise` where it is alone there."""
    there, both = np.bincount(cell)[cell], _cells([cell, token], len(cell))
    same = np.bincount(both)[both]
    return np.where(there > 1, (same - 1) / np.maximum(there - 1, 1), otherwise)


def _cells(codes: Sequence[Codes], rows: int) -> Codes:
    """One number for each combination of codes."""
    cell = np.zeros(rows, np.int64)
    for code in codes:
        _, found = np.unique(code, return_inverse=True)
        cell = cell * (int(found.max(initial=0)) + 1) + found.reshape(-1)
        cell = np.unique(cell, return_inverse=True)[1].reshape(-1)
    return cell


def _drawn(cells: Codes, kind: Codes, wanted: Codes, rng: np.random.Generator) -> Codes:
    """For each wanted cell the place of a row that stands in it, -1 if none does: at random, but of each kind as many as its share of
    the cell, rounded."""
    order = np.lexsort((rng.random(len(cells)), kind, cells))
    start, stop = np.searchsorted(cells[order], wanted), np.searchsorted(cells[order], wanted, "right")
    turn = np.lexsort((rng.random(len(wanted)), wanted))
    first = np.flatnonzero(np.r_[True, np.diff(wanted[turn]) != 0][: len(wanted)])
    many = np.diff(np.r_[first, len(wanted)])
    place = np.empty(len(wanted))
    place[turn] = (np.arange(len(wanted)) - np.repeat(first, many) + np.repeat(rng.random(len(first)), many)) / np.repeat(many, many)
    at = start + (place * (stop - start)).astype(np.int64)
    return np.where(stop > start, order[np.minimum(at, len(order) - 1)] if len(order) else -1, -1)


def _spread(rows: Codes, most: int) -> Codes:
    """About so many of the rows at most, evenly spread."""
    return rows[:: max(1, -(-len(rows) // most))]
