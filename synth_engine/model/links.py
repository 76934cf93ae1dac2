"""Which parent a row refers to, under exact quotas: every parent gets exactly the children its degree says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ANY = -2
"""Wish of a row that has to refer to some parent, whichever."""
NONE = -1
"""Wish of a row for no parent (null)."""
TRIALS = 4096
"""Swaps that are tried at least in a round, so that the last few repeated rows find the few places left."""

ROUNDS = 20
"""Rounds of proportional fitting."""


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


def assign_groups(
    wishes: NDArray[np.int64],
    sizes: NDArray[np.int64],
    codes: NDArray[np.int64],
    degrees: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Give each group of rows, of `sizes`, a parent for all of them, or -1.

    As `assign`, but degrees are kept only as nearly as whole groups allow: parents of a code in random order have room for their children
    one after the other, groups that wish for it follow each other in the same way, and each gets who has room at its middle. Groups
    that find none there are given what is left, at the code next in number.
    """
    room = np.r_[degrees, max(int(sizes.sum() - degrees.sum()), 0)].astype(np.float64)  # the last place is nobody's
    codes = np.r_[codes, NONE]
    at, order = np.full(len(wishes), -1, dtype=np.int64), rng.permutation(len(wishes))
    for exact in (True, False):
        left = order[at[order] < 0]
        left = left[np.argsort(wishes[left], kind="stable")]
        slots = rng.permutation(np.flatnonzero(room > 0))
        slots = slots[np.argsort(codes[slots], kind="stable")]
        if not len(left) or not len(slots):
            break
        ends = np.cumsum(room[slots])
        middle = np.cumsum(sizes[left]) - 0.5 * sizes[left]
        if exact:  # from where the room for its code begins
            first = np.searchsorted(codes[slots], wishes[left], side="left")
            before = np.searchsorted(wishes[left], wishes[left], side="left")
            middle += np.r_[0.0, ends][first] - np.r_[0, np.cumsum(sizes[left])][before]
        else:
            middle *= ends[-1] / sizes[left].sum()
        place = np.searchsorted(ends, middle, side="right")
        found = slots[np.minimum(place, len(slots) - 1)]
        kept = (place < len(slots)) & (codes[found] == wishes[left]) if exact else np.ones(len(left), np.bool_)
        at[left[kept]] = found[kept]
        room = np.maximum(room - np.bincount(found[kept], sizes[left[kept]], minlength=len(room)), 0)
    return np.where(at == len(degrees), NONE, at)


def fit_to_groups(
    degrees: NDArray[np.int64] | NDArray[np.float64],
    group: NDArray[np.int64],
    wanted: NDArray[np.int64],
    unique: bool,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """The degrees changed as little as can be so that those of group g sum to `wanted[g]`; parents of group -1 get none.

    A group whose parents had no children shares them out evenly. Of a `unique` key no parent gets more than one child, so
    a group wanted more than it has parents gets less.
    """
    group = np.where(group < len(wanted), group, -1)
    order = np.lexsort((rng.random(len(group)), -degrees if unique else degrees, group))
    order = order[np.searchsorted(group[order], 0, side="left") :]
    of = group[order]
    out = np.zeros(len(degrees), dtype=np.int64)
    if unique:
        out[order] = _rank(of) < wanted[of]
        return out
    have = np.bincount(of, degrees[order], minlength=len(wanted))
    weight = np.where(have[of] > 0, degrees[order], 1.0)
    share = wanted / np.maximum(np.bincount(of, weight, minlength=len(wanted)), 1.0)
    # rounding the running total: exact in every group, and nobody moves by more than one from his share
    running = np.floor(np.cumsum(weight * share[of]) + 0.5).astype(np.int64)
    out[order] = np.diff(np.r_[0, running])
    return out


def spread(
    degrees: NDArray[np.int64], parent: NDArray[np.int64], group: NDArray[np.int64], wanted: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How many children each of several candidates of a parent should have: `parent[c]` and `group[c]` are whose candidate it
    is, and for which rows. Groups are met in sum, parents as nearly as may be (iterative proportional fitting)."""
    share = np.where((group >= 0) & (group < len(wanted)), 1.0, 0.0)
    safe = np.clip(group, 0, len(wanted) - 1)
    for _ in range(ROUNDS):
        share *= (degrees / np.maximum(np.bincount(parent, share, minlength=len(degrees)), 1e-9))[parent]
        share *= (wanted / np.maximum(np.bincount(safe, share, minlength=len(wanted)), 1e-9))[safe]
    return share


def capped(degrees: NDArray[np.int64], most: NDArray[np.int64]) -> NDArray[np.int64]:
    """The degrees, none above its `most`: what exceeds it is shared out over the room of the others. As they are if there is
    not enough room."""
    excess = int(np.maximum(degrees - most, 0).sum())
    within = np.minimum(degrees, most)
    room = most - within
    if not 0 < excess <= int(room.sum()):
        return degrees
    running = np.floor(np.cumsum(room * (excess / room.sum())) + 0.5).astype(np.int64)
    more: NDArray[np.int64] = within + np.diff(np.r_[0, running])
    return more


def without_duplicates(
    others: NDArray[np.int64],
    moving: NDArray[np.int64],
    value: NDArray[np.int64],
    group: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """The parents `moving` swapped between rows of the same `group` until no two rows agree in `others` and in their
    parent's `value`, or no more swaps are found that help; degrees stay. Rows with a -1 (null) may repeat."""
    moving = moving.copy()
    full = np.flatnonzero((others >= 0) & (moving >= 0))
    full = full[np.argsort(group[full], kind="stable")]
    first = np.searchsorted(group[full], group[full], side="left")
    size = np.searchsorted(group[full], group[full], side="right") - first
    fixed = others[full] * (value.max(initial=0) + 1)
    for _ in range(400):
        taken = fixed + value[moving[full]]
        repeated = np.flatnonzero(_repeated([taken]))
        if not len(repeated):
            break
        # only swaps that free the repeated row; where all combinations but a few are taken, none may be left that
        # repeats no other: then a single one, since several at random undo each other
        ours = np.tile(repeated, 1 + TRIALS // len(repeated))
        theirs = first[ours] + (rng.random(len(ours)) * size[ours]).astype(np.int64)
        new, back = fixed[ours] + value[moving[full[theirs]]], fixed[theirs] + value[moving[full[ours]]]
        frees, harms = ~np.isin(new, taken), np.isin(back, taken)
        useful = np.flatnonzero(frees & ~harms)
        useful = useful if len(useful) else rng.permutation(np.flatnonzero(frees))[:1]
        useful = useful[_first_of_both(new[useful], back[useful])]  # no two rows to the same combination, no row twice
        useful = useful[_first_of_both(ours[useful], theirs[useful])]
        ours, theirs = full[ours[useful]], full[theirs[useful]]
        moving[ours], moving[theirs] = moving[theirs], moving[ours]
    return moving


def without_late_duplicates(
    parent: NDArray[np.int64], others: NDArray[np.int64], parents: int, within: bool, rng: np.random.Generator
) -> NDArray[np.int64]:
    """`without_duplicates` of a finished key to one of so many `parents`. `within` one table rows change places with rows of their depth:
    the forest keeps its degrees and depths, and closes no cycle."""
    rows = np.arange(len(parent))
    moving = np.where(parent == rows, NONE, parent) if within else parent
    depth, at = np.zeros(len(parent), dtype=np.int64), moving
    while within and (at >= 0).any():
        depth += at >= 0
        at = np.where(at >= 0, moving[np.maximum(at, 0)], NONE)
    return np.where(moving >= 0, without_duplicates(others, moving, np.arange(parents), depth, rng), parent)


def with_others(
    others: NDArray[np.int64],
    moving: NDArray[np.int64],
    value: NDArray[np.int64],
    group: NDArray[np.int64],
    spare_group: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """The parents `moving`, where rows that repeat others get a parent of their group that has not been dealt to them, so
    that they repeat no more: `spare_group` holds the group of every parent (-1: none may refer to it). Degrees change. Rows
    for which there is no such parent stay as they are.

    What a row can get depends on no row with other `others`, so one pass finds what there is.
    """
    moving = moving.copy()
    full = np.flatnonzero((others >= 0) & (moving >= 0))
    width = int(value.max(initial=0)) + 1
    combinations = others[full] * width + value[moving[full]]
    taken = np.sort(combinations)
    spare = np.argsort(spare_group, kind="stable")
    for row in full[_repeated([combinations])].tolist():
        first = others[row] * width
        low, high = np.searchsorted(taken, [first, first + width])
        start, stop = np.searchsorted(spare_group[spare], [group[row], group[row] + 1])
        free = spare[start:stop][~np.isin(value[spare[start:stop]], taken[low:high] - first)]
        if len(free):
            moving[row] = rng.choice(free)
            taken = np.insert(taken, low + np.searchsorted(taken[low:high], first + value[moving[row]]), first + value[moving[row]])
    return moving


def _first_of_both(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The pairs neither of whose sides stands in an earlier pair, on whichever side."""
    _, first, inverse = np.unique(np.stack([left, right], axis=1).reshape(-1), return_index=True, return_inverse=True)
    earliest = (first[inverse.reshape(-1)] // 2).reshape(-1, 2)
    own = np.arange(len(left))
    alone: NDArray[np.bool_] = (earliest[:, 0] == own) & (earliest[:, 1] == own) & (left != right)
    return alone


def _repeated(columns: list[NDArray[np.int64]]) -> NDArray[np.bool_]:
    """Rows that repeat an earlier row."""
    order = np.lexsort(columns)
    same = np.ones(max(len(order) - 1, 0), dtype=np.bool_)
    for column in columns:
        same &= column[order][1:] == column[order][:-1]
    out = np.zeros(len(order), dtype=np.bool_)
    out[order[1:]] = same
    return out


def roots_of_groups(sizes: NDArray[np.int64], roots: int) -> NDArray[np.int64]:
    """How many rows of each group have no parent: about `roots` in all, at least one in each group that has rows."""
    least = (sizes > 0).astype(np.int64)
    more = max(roots - int(least.sum()), 0)
    room = np.maximum(sizes - 1, 0)
    running = np.floor(np.cumsum(room * (more / max(int(room.sum()), 1))) + 0.5).astype(np.int64)
    roots_of: NDArray[np.int64] = least + np.diff(np.r_[0, running])
    return roots_of


def forest(
    degrees: NDArray[np.int64], group: NDArray[np.int64], roots: NDArray[np.int64], depths: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Parents within one table without a cycle: in group g `roots[g]` rows have none (-1), every row its degree of
    children, and children are in the group of their parent. Rows of group -1 have no parents.

    Rows stand in line, level by level; the next row in line takes the next free place of those before it, so an
    ancestor always stands earlier. `depths` are the shares of the rows at each depth, followed as nearly as the degrees
    allow. Each group must have a root, and its degrees must sum to its other rows.
    """
    parent = np.full(len(degrees), -1, dtype=np.int64)
    order = np.lexsort((rng.random(len(degrees)), -degrees, group))
    order = order[np.searchsorted(group[order], 0, side="left") :]
    ends = np.cumsum(np.bincount(group[order], minlength=len(roots)))
    for g in np.flatnonzero(np.diff(np.r_[0, ends])):
        members = order[ends[g - 1] if g else 0 : ends[g]]
        line = _by_level(members, degrees[members], int(roots[g]), depths)
        parent[line[roots[g] :]] = np.repeat(line, degrees[line])
    return parent


def with_roots(parent: NDArray[np.int64], roots: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same forest over the same rows with other rows at its roots, as many as it has: rows of most children take the places
    of most children."""
    degree = np.bincount(parent[parent >= 0], minlength=len(parent))
    chosen = np.zeros(len(parent), dtype=np.bool_)
    chosen[roots] = True
    places = np.lexsort((-degree, parent >= 0))
    rows = np.lexsort((-degree, ~chosen))
    row_at = np.empty(len(parent), dtype=np.int64)
    row_at[places] = rows
    out = np.full(len(parent), -1, dtype=np.int64)
    child = np.flatnonzero(parent >= 0)
    out[row_at[child]] = row_at[parent[child]]
    return out


def _by_level(members: NDArray[np.int64], degrees: NDArray[np.int64], roots: int, depths: NDArray[np.float64]) -> NDArray[np.int64]:
    """The members, by falling degree, in line: each level has as many rows as the one before has children."""
    line, level, wanted = [], roots, depths * len(members)
    depth = 0
    while len(members):
        below = float(wanted[depth + 1]) if depth + 1 < len(wanted) else 0.0
        # rows spread evenly over the first so many: the more these are, the fewer children
        low, high = level, len(members)
        while low < high:
            middle = (low + high + 1) // 2
            children = degrees[_spread(level, middle)].sum()
            low, high = (middle, high) if children >= max(below, 1.0) else (low, middle - 1)
        chosen = _spread(level, low)
        line.append(members[chosen])
        level = int(degrees[chosen].sum())
        left = np.ones(len(members), dtype=np.bool_)
        left[chosen] = False
        members, degrees = members[left], degrees[left]
        depth += 1
    return np.concatenate(line) if line else members


def _spread(count: int, among: int) -> NDArray[np.int64]:
    """`count` places spread evenly over the first `among`."""
    return (np.arange(count) * among) // max(count, 1)
