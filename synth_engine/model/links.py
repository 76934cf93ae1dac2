"""Which parent a row refers to, under exact quotas: every parent gets exactly the children its degree says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synth_engine.errors import Terminal

ANY = -2
"""Wish of a row that has to refer to some parent, whichever."""
NONE = -1
"""Wish of a row for no parent (null)."""
TRIALS = 4096
"""Swaps that are tried at least in a round, so that the last few repeated rows find the few places left."""


def assign(wishes: NDArray[np.int64], codes: NDArray[np.int64], degrees: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Give each row a parent, or -1.

    `wishes` holds for each row the code of the parent it wishes for, or NONE; `codes` and `degrees` each parent's code
    and number of children, which is kept exactly. Wishes are met as far as the quotas allow: first within the code,
    then at the code next in number. Near linear: two sorts.
    """
    wishes = _with_nulls(wishes, int(degrees.sum()), rng)
    rows = np.flatnonzero(wishes != NONE)
    rows = rows[np.lexsort((rng.random(len(rows)), wishes[rows]))]
    slots = np.repeat(np.arange(len(degrees)), degrees)
    slots = slots[np.lexsort((rng.random(len(slots)), codes[slots]))]
    row_code, slot_code = wishes[rows], codes[slots]
    room = np.searchsorted(slot_code, row_code, side="right") - np.searchsorted(slot_code, row_code, side="left")
    wanted = np.searchsorted(row_code, slot_code, side="right") - np.searchsorted(row_code, slot_code, side="left")
    row_met = _rank(row_code) < room
    slot_met = _rank(slot_code) < wanted
    parent = np.full(len(wishes), -1, dtype=np.int64)
    parent[rows[row_met]] = slots[slot_met]
    parent[rows[~row_met]] = slots[~slot_met]  # both in order of their code: what is left goes to the nearest
    return parent


def _rank(sorted_codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each element among its equals."""
    return np.arange(len(sorted_codes)) - np.searchsorted(sorted_codes, sorted_codes, side="left")


def _with_nulls(wishes: NDArray[np.int64], wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """As many rows with a wish as there are places: surplus wishes or nulls are taken back at random."""
    wishes = wishes.copy()
    have = np.flatnonzero(wishes != NONE)
    if len(have) > wanted:
        wishes[rng.permutation(have)[: len(have) - wanted]] = NONE
    elif len(have) < wanted:
        without = np.flatnonzero(wishes == NONE)
        wishes[rng.permutation(without)[: wanted - len(have)]] = ANY
    return wishes


def without_duplicates(columns: list[NDArray[np.int64]], movable: int, rng: np.random.Generator, label: str) -> NDArray[np.int64]:
    """`columns[movable]` with values swapped between rows until no two rows agree in all columns; degrees stay.

    Rows with a -1 (null) anywhere may repeat. Raises `Terminal` naming the key `label` if no arrangement is found.
    """
    moving = columns[movable].copy()
    full = np.flatnonzero(np.all([c >= 0 for c in columns], axis=0))
    fixed = np.stack([c[full] for i, c in enumerate(columns) if i != movable])
    others = np.unique(fixed, axis=1, return_inverse=True)[1].reshape(-1) * (moving.max(initial=0) + 1)
    for _ in range(400):
        taken = others + moving[full]
        repeated = np.flatnonzero(_repeated([taken]))
        if not len(repeated):
            return moving
        # only swaps that free the repeated row, those first that repeat no other: where nearly all combinations are
        # taken, swaps at random undo each other
        ours = np.tile(repeated, 1 + TRIALS // len(repeated))
        theirs = rng.integers(0, len(full), len(ours))
        new, back = others[ours] + moving[full[theirs]], others[theirs] + moving[full[ours]]
        pairs = np.stack([ours, theirs, new])[:, np.argsort(np.isin(back, taken), kind="stable")]
        pairs = pairs[:, ~np.isin(pairs[2], taken)]
        for place in range(3):  # each row on either side once, and no two to the same combination
            pairs = pairs[:, np.sort(np.unique(pairs[place], return_index=True)[1])]
        ours, theirs = full[pairs[:2, ~np.isin(pairs[1], pairs[0])]]
        moving[ours], moving[theirs] = moving[theirs], moving[ours]
    raise Terminal(
        f"The combination of columns in {label} must be unique",
        value=f"{len(repeated)} rows still repeat one after 400 rounds of swaps",
        advice="ask for fewer rows of this table or more of its parents",
    )


def _repeated(columns: list[NDArray[np.int64]]) -> NDArray[np.bool_]:
    """Rows that repeat an earlier row."""
    order = np.lexsort(columns)
    same = np.ones(max(len(order) - 1, 0), dtype=np.bool_)
    for column in columns:
        same &= column[order][1:] == column[order][:-1]
    out = np.zeros(len(order), dtype=np.bool_)
    out[order[1:]] = same
    return out


def forest(degrees: NDArray[np.int64], roots: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Parents within one table without a cycle: `roots` rows have none (-1), every row its degree of children.

    Rows stand in line, roots first, then by falling degree; the next row in line takes the next free place of those
    before it, so an ancestor always stands earlier. There must be a root, and the degrees must sum to the other rows.
    """
    n = len(degrees)
    order = np.lexsort((rng.random(n), -degrees))
    # as roots serve rows of every size, but enough places must be among them
    chosen = np.zeros(n, dtype=np.bool_)
    chosen[order[:: max(n // max(roots, 1), 1)][:roots]] = True
    line = np.r_[order[chosen[order]], order[~chosen[order]]]
    places = np.repeat(line, degrees[line])
    parent = np.full(n, -1, dtype=np.int64)
    below = line[chosen.sum() :]
    parent[below] = places[: len(below)]
    return parent
