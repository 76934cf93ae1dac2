"""Rare values of categories: each takes the token of a less frequent value that goes with the same others.

A value that too few entities have must not be written. Left out of the model it would come out as any value whatever, and a city in
another country. So before anything is learned its rows are given the token of a row that is like one of them, a donor (a hot deck:
Andridge and Little, "A review of hot deck imputation for survey non-response", International Statistical Review 2010).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

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
MOST_ALIKE, CANDIDATES = 3, 8
"""Traits that a donor is alike in, and those by themselves most telling that the further ones are chosen from."""
GAIN = 1.02
"""By how much a trait must raise the chance that a donor has the same value."""
RUN, RUNS, RARE_ROWS = 200, 40, 2_000
"""Rows that decide what donors are alike in: so many runs of rows, since siblings stand together, and rows of rare values."""
DONORS = 2_000_000
"""Rows that donors are taken from."""

Codes = NDArray[np.int64]
Trait = Callable[[Codes], Codes]
"""What rows with these numbers have of something that they may be alike in, as a number each."""


def place_rare_values(tokens: Tokens, encoder: TableEncoder, data: Mapping[str, pa.Array], others: Sequence[Trait], seed: int) -> None:
    """Replace, in tokens of shape (rows, slots), those of rare values by such as may be written, the same in all rows of a value.
    Rows may be alike in their other columns and in `others`. `data` are the columns. Randomness is that of `seed`."""
    categories = [c for c in encoder.columns if isinstance(c.encoder, CategoryEncoder) and (tokens[:, c.slots[0]] == RARE).any()]
    if not categories:
        return
    rare = {c.slots[0]: np.flatnonzero(tokens[:, c.slots[0]] == RARE) for c in categories}
    traits = [*(_of_slot(tokens, slot, places, slot in rare) for slot, places in enumerate(encoder.positions())), *others]
    compared = _sample(len(tokens), rare.values())
    company = {i: _numbered(trait(compared)) for i, trait in enumerate(traits)}
    for column in sorted(categories, key=lambda c: int(pc.count_distinct(data[c.column.name]).as_py())):  # coarse ones first
        slot, rows = column.slots[0], rare[column.slots[0]]
        frequent = np.flatnonzero(tokens[:, slot] > RARE)
        if not len(frequent):
            continue
        values = pc.take(data[column.column.name], pa.array(rows)).dictionary_encode().indices.to_numpy()
        _, first, of_row, many = np.unique(values, return_index=True, return_inverse=True, return_counts=True)
        alike = _most_alike(tokens[compared, slot].astype(np.int64), {i: found for i, found in company.items() if i != slot})
        donors = frequent[:: -(-len(frequent) // DONORS)]
        both = np.r_[donors, rows[first]]
        found = _donated(
            tokens[donors, slot].astype(np.int64),
            [traits[i](both) for i in alike],
            many * len(donors) / len(frequent),
            generator(seed, column.column.name),
        )
        tokens[rows, slot] = found[of_row.reshape(-1)]
        company[slot] = _numbered(traits[slot](compared))  # finer columns are told from where this one was placed


def _of_slot(tokens: Tokens, slot: int, places: Floats | None, category: bool) -> Trait:
    """The tokens of a column, in groups where they have a natural order. What is rare is like nothing else."""

    def of(rows: Codes) -> Codes:
        found = tokens[rows, slot]
        if places is not None:
            return token_groups(found, places, ORDERED_GROUPS)
        return np.where(category & (found == RARE), -2 - rows, found.astype(np.int64))

    return of


def _sample(rows: int, rare: Collection[Codes]) -> Codes:
    """Runs of rows evenly spread, and of each column some rows of rare values."""
    starts = np.linspace(0, max(rows - RUN, 0), RUNS).astype(np.int64)
    runs = np.arange(rows) if rows <= RUN * RUNS else (starts[:, None] + np.arange(RUN)).reshape(-1)
    of_each = max(RARE_ROWS // len(rare), 1)
    return np.unique(np.concatenate([runs, *(found[:: max(1, len(found) // of_each)] for found in rare)]))


def _most_alike(token: Codes, company: Mapping[int, Codes]) -> list[int]:
    """Which traits donors have to share, the most telling first: one by one what raises the chance most that another row that is alike
    has the same token, as far as there are donors for the rows of rare values."""
    frequent, rare = token > RARE, token == RARE
    if not frequent.any():
        return []
    token = token[frequent]
    chosen: list[int] = []
    cell = np.zeros(len(frequent), np.int64)
    matched = _matched(token, cell[frequent], np.zeros(len(token)))
    candidates = list(company)
    while len(chosen) < MOST_ALIKE and candidates:
        finer = {i: _numbered(cell * (company[i].max() + 1) + company[i]) for i in candidates}
        chances = {i: _matched(token, cells[frequent], matched) for i, cells in finer.items()}
        gains = {i: _covered(finer[i], frequent, rare) * float(chances[i].mean() - matched.mean()) for i in candidates}
        best, *others = sorted(candidates, key=lambda i: -gains[i])
        if gains[best] <= (GAIN - 1) * matched.mean():
            break
        chosen.append(best)
        cell, matched, candidates = finer[best], chances[best], others[: CANDIDATES - len(chosen)]
    return chosen


def _matched(token: Codes, cell: Codes, otherwise: Floats) -> Floats:
    """For each row the chance that another row of its cell has the same token; `otherwise` where it is alone there."""
    there, both = np.bincount(cell)[cell], _numbered(cell * (token.max(initial=0) + 1) + token)
    same = np.bincount(both)[both]
    return np.where(there > 1, (same - 1) / np.maximum(there - 1, 1), otherwise)


def _covered(cell: Codes, frequent: NDArray[np.bool_], rare: NDArray[np.bool_]) -> float:
    """The share of the rare rows whose cell has a donor."""
    donors = np.bincount(cell[frequent], minlength=int(cell.max(initial=0)) + 1) > 0
    return float(donors[cell[rare]].mean())


def _donated(token: Codes, traits: Sequence[Codes], many: Floats, rng: np.random.Generator) -> Codes:
    """A token for each rare value that has so many rows: of a donor who shares all traits with a row of it; else of one who shares less.
    `token` are those of the donors, `traits` those of the donors and then of a row of each value."""
    rank = np.empty(int(token.max()) + 1, np.int64)
    rank[np.argsort(np.bincount(token), kind="stable")] = np.arange(len(rank))
    found = np.full(len(many), -1, np.int64)
    cells = [np.zeros(len(token) + len(many), np.int64)]
    for trait in traits:
        codes = _numbered(trait)
        cells.append(_numbered(cells[-1] * (codes.max() + 1) + codes))
    for cell in reversed(cells):
        open_ = np.flatnonzero(found < 0)
        wanted = cell[len(token) + open_]
        able = np.flatnonzero(np.isin(cell[: len(token)], wanted))
        if len(able):
            at = _drawn(cell[able], rank[token[able]], wanted, many[open_], rng)
            found[open_[at >= 0]] = token[able[at[at >= 0]]]
    return found


def _drawn(cells: Codes, rank: Codes, wanted: Codes, many: Floats, rng: np.random.Generator) -> Codes:
    """For each wanted cell the place of a donor in it, -1 if there is none: of those with the less frequent tokens, by `rank`, as many
    as there are rows of rare values in the cell, each as often as the others. So where there are enough no token more than doubles, but by
    a value of many rows, which stay together."""
    order = np.lexsort((rng.random(len(cells)), rank, cells))
    start, stop = np.searchsorted(cells[order], wanted), np.searchsorted(cells[order], wanted, "right")
    turn = np.lexsort((rng.random(len(wanted)), wanted))
    _, group = np.unique(wanted[turn], return_inverse=True)
    total = np.bincount(group, many[turn])
    before = np.cumsum(many[turn]) - many[turn]
    place, needed = np.empty(len(wanted)), np.empty(len(wanted))
    place[turn] = (before - (np.cumsum(total) - total)[group] + many[turn] * rng.random(len(turn))) / total[group]
    needed[turn] = total[group]
    at = start + (place.clip(0, 1 - 1e-9) * np.minimum(np.ceil(needed), stop - start)).astype(np.int64)
    return np.where(stop > start, order[np.minimum(at, len(order) - 1)], -1)


def _numbered(codes: Codes) -> Codes:
    """The same codes, numbered from 0."""
    return np.unique(codes, return_inverse=True)[1].reshape(-1).astype(np.int64)
