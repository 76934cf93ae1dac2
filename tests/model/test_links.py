"""Links: exact quotas, wishes as far as they allow, no repeated pairs, no cycles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_engine.model.links import (
    NONE,
    assign,
    assign_groups,
    fit_to_groups,
    forest,
    with_others,
    with_roots,
    without_duplicates,
    without_late_duplicates,
)

fully = settings(max_examples=100, deadline=None, derandomize=True)


@st.composite
def quotas(draw):
    """Degrees and codes of parents, and wishes of at least as many rows."""
    degrees = draw(st.lists(st.integers(0, 6), min_size=1, max_size=30))
    codes = draw(st.lists(st.integers(0, 4), min_size=len(degrees), max_size=len(degrees)))
    rows = sum(degrees) + draw(st.integers(0, 20))
    wishes = draw(st.lists(st.integers(NONE, 5), min_size=rows, max_size=rows))
    return np.array(wishes, dtype=np.int64), np.array(codes, dtype=np.int64), np.array(degrees, dtype=np.int64)


@fully
@given(quotas(), st.integers(0, 9))
def test_every_parent_gets_exactly_the_children_of_its_degree(case, seed):
    wishes, codes, degrees = case
    parent = assign(wishes, codes, degrees, np.random.default_rng(seed))
    assert np.bincount(parent[parent >= 0], minlength=len(degrees)).tolist() == degrees.tolist()
    assert np.count_nonzero(parent < 0) == len(wishes) - degrees.sum()


@fully
@given(quotas(), st.integers(0, 9))
def test_wishes_that_fit_the_quotas_are_all_met(case, seed):
    _, codes, degrees = case
    wishes = np.random.default_rng(seed).permutation(np.r_[np.repeat(codes, degrees), np.full(7, NONE)])
    parent = assign(wishes, codes, degrees, np.random.default_rng(seed))
    assert (parent[wishes == NONE] == -1).all()
    assert (codes[parent[wishes != NONE]] == wishes[wishes != NONE]).all()


def test_wishes_beyond_the_quota_go_to_the_code_next_in_number():
    codes, degrees = np.array([0, 1, 2, 3]), np.array([10, 10, 10, 10])
    wishes = np.repeat([0, 1, 3], [10, 20, 10])
    parent = assign(wishes, codes, degrees, np.random.default_rng(0))
    assert set(codes[parent[wishes == 1]]) == {1, 2}
    assert (codes[parent[wishes != 1]] == wishes[wishes != 1]).all()


def test_the_same_randomness_gives_the_same_links():
    case = np.random.default_rng(1).integers(-1, 3, 60), np.arange(12) % 3, np.full(12, 4)
    assert (assign(*case, np.random.default_rng(5)) == assign(*case, np.random.default_rng(5))).all()


# -- groups of rows that have one parent ---------------------------------------------------------------------------------


@fully
@given(st.lists(st.integers(0, 40), min_size=1, max_size=30), st.lists(st.integers(1, 6), max_size=60), st.integers(0, 9))
def test_parents_of_groups_get_the_children_of_their_degrees_to_within_two_groups(degrees, sizes, seed):
    rng = np.random.default_rng(seed)
    sizes, degrees = np.array(sizes, dtype=np.int64), np.array(degrees, dtype=np.int64)
    degrees = degrees[: np.searchsorted(np.cumsum(degrees), sizes.sum(), side="right")]
    codes = np.zeros(len(degrees), np.int64)
    parent = assign_groups(np.zeros(len(sizes), np.int64), sizes, codes, degrees, rng)
    assert parent.min(initial=NONE) >= NONE and parent.max(initial=NONE) < len(degrees)
    got = np.bincount(parent[parent >= 0], sizes[parent >= 0], minlength=len(degrees))
    assert np.abs(got - degrees).max(initial=0) <= 2 * sizes.max(initial=0)


@fully
@given(quotas(), st.integers(0, 9))
def test_groups_of_one_row_whose_wishes_fit_all_get_who_they_wish_for(case, seed):
    _, codes, degrees = case
    wishes = np.random.default_rng(seed).permutation(np.r_[np.repeat(codes, degrees), np.full(7, NONE)])
    parent = assign_groups(wishes, np.ones(len(wishes), np.int64), codes, degrees, np.random.default_rng(seed))
    assert np.bincount(parent[parent >= 0], minlength=len(degrees)).tolist() == degrees.tolist()
    assert (parent[wishes == NONE] == -1).all()
    assert (codes[parent[wishes != NONE]] == wishes[wishes != NONE]).all()


def test_groups_that_find_no_room_at_their_code_go_to_the_code_next_in_number():
    codes, degrees = np.array([0, 1, 2, 3]), np.array([30, 30, 30, 30])
    wishes, sizes = np.repeat([0, 1, 3], [10, 20, 10]), np.full(40, 3)
    parent = assign_groups(wishes, sizes, codes, degrees, np.random.default_rng(0))
    assert set(codes[parent[wishes == 1]]) == {1, 2}
    assert (codes[parent[wishes != 1]] == wishes[wishes != 1]).all()


def test_groups_have_nobody_where_there_is_nobody():
    none = np.zeros(0, np.int64)
    parent = assign_groups(np.array([0, NONE, 2]), np.array([4, 1, 2]), none, none, np.random.default_rng(0))
    assert parent.tolist() == [NONE] * 3
    assert len(assign_groups(none, none, np.array([0]), np.array([0]), np.random.default_rng(0))) == 0


def swapped(left, right, rng, group=None):
    """The right side of a bridge without repeated pairs; within groups of rows, if there are any."""
    value = np.arange(int(right.max(initial=0)) + 1)
    group = np.zeros(len(left), np.int64) if group is None else group
    return without_duplicates(left, right, value, group, rng)


# -- unique pairs --------------------------------------------------------------------------------------------------------


@fully
@given(st.integers(0, 9), st.integers(20, 200), st.integers(0, 10))
def test_repeated_pairs_are_swapped_away_and_degrees_stay(seed, rows, nulls):
    rng = np.random.default_rng(seed)
    left, right = rng.integers(0, 40, rows), rng.integers(0, 40, rows)
    left[:nulls] = -1
    moved = swapped(left, right, rng)
    full = left >= 0
    assert len(set(zip(left[full], moved[full], strict=True))) == full.sum()
    assert np.bincount(moved).tolist() == np.bincount(right).tolist()
    assert (moved[~full] == right[~full]).all()


@pytest.mark.parametrize(("lefts", "rights"), [(3, 2), (12, 10), (60, 50)])
def test_a_bridge_that_holds_every_pair_is_arranged(lefts, rights):
    left = np.repeat(np.arange(lefts), rights)
    right = np.random.default_rng(0).permutation(np.tile(np.arange(rights), lefts))
    moved = swapped(left, right, np.random.default_rng(1))
    assert len(set(zip(left, moved, strict=True))) == lefts * rights


def test_a_key_of_three_columns_may_repeat_in_any_two_of_them():
    rng = np.random.default_rng(0)
    columns = [rng.integers(0, 5, 40) for _ in range(3)]
    moved = swapped(columns[0] * 5 + columns[1], columns[2], rng)
    assert len(set(zip(columns[0], columns[1], moved, strict=True))) == 40


def test_of_more_rows_than_pairs_only_the_surplus_repeats():
    left, right = np.repeat([0, 1], 6), np.arange(12) % 3
    moved = swapped(left, right, np.random.default_rng(0))
    assert len(set(zip(left, moved, strict=True))) == 6


def test_where_no_swap_helps_a_row_gets_a_parent_it_was_not_dealt():
    left, right = np.repeat([0, 1], 3), np.array([0, 0, 1, 0, 1, 1])
    group_of_parent = np.array([0, 0, 0, 1, -1])
    moved = with_others(left, right, np.arange(5), np.zeros(6, np.int64), group_of_parent, np.random.default_rng(0))
    assert len(set(zip(left, moved, strict=True))) == 6
    assert set(moved) == {0, 1, 2}


def test_a_table_without_rows_has_no_repeated_pairs():
    nothing = np.zeros(0, np.int64)
    assert len(swapped(nothing, nothing, np.random.default_rng(0))) == 0


def test_swaps_stay_within_their_group():
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 60)
    left, right = rng.integers(0, 20, 120), rng.integers(0, 20, 120) + 20 * group
    moved = swapped(left, right, rng, group)
    assert (moved // 20 == group).all()
    assert len(set(zip(left, moved, strict=True))) == 120


# -- forests -------------------------------------------------------------------------------------------------------------


@st.composite
def families(draw):
    """Degrees of the rows of some groups, and how many roots each group has."""
    degrees, group, roots = [], [], []
    for g in range(draw(st.integers(1, 3))):
        shape = draw(st.lists(st.integers(0, 5), min_size=1, max_size=30))
        roots.append(draw(st.integers(1, 20)))
        rows = sum(shape) + roots[-1]
        own = (shape + [0] * rows)[:rows]
        own[0] += rows - roots[-1] - sum(own)  # where the shape did not fit, one row takes the rest
        degrees += own
        group += [g] * rows
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(len(degrees))
    return np.array(degrees)[order], np.array(group)[order], np.array(roots)


def depths(parent):
    """How many ancestors each row has; fails on a cycle."""
    at, depth = parent, np.zeros(len(parent), int)
    while (at >= 0).any():
        depth += at >= 0
        at = np.where(at >= 0, parent[at], -1)
        assert depth.max() <= len(parent)
    return depth


@fully
@given(families(), st.lists(st.floats(0.01, 1), min_size=1, max_size=6), st.integers(0, 9))
def test_a_forest_has_its_roots_its_degrees_and_no_cycle(family, levels, seed):
    degrees, group, roots = family
    parent = forest(degrees, group, roots, np.array(levels) / sum(levels), np.random.default_rng(seed))
    assert np.bincount(group[parent < 0], minlength=len(roots)).tolist() == roots.tolist()
    assert np.bincount(parent[parent >= 0], minlength=len(degrees)).tolist() == degrees.tolist()
    assert (group[parent[parent >= 0]] == group[parent >= 0]).all()
    depths(parent)


def test_a_forest_is_as_deep_as_it_should_be():
    degrees = np.random.default_rng(0).permutation(np.r_[np.full(300, 3), np.zeros(700, int)])
    wanted = np.array([0.1, 0.15, 0.25, 0.25, 0.15, 0.1])
    parent = forest(degrees, np.zeros(1000, np.int64), np.array([100]), wanted, np.random.default_rng(0))
    shares = np.bincount(depths(parent)) / 1000
    assert len(shares) == len(wanted)
    assert np.abs(shares - wanted).max() < 0.03


@fully
@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 4), st.booleans(), st.integers(0, 9))
def test_degrees_are_fitted_to_what_each_group_is_to_have(degrees, groups, unique, seed):
    rng = np.random.default_rng(seed)
    group = rng.integers(-1, groups, len(degrees))
    wanted = np.where(np.bincount(group[group >= 0], minlength=groups) > 0, rng.integers(0, 30, groups), 0)
    fitted = fit_to_groups(np.minimum(degrees, 1) if unique else np.array(degrees), group, wanted, unique, rng)
    members = np.bincount(group[group >= 0], minlength=groups)
    got = np.bincount(group[group >= 0], fitted[group >= 0], minlength=groups)
    assert got.tolist() == (np.minimum(wanted, members) if unique else wanted).tolist()
    assert (fitted[group < 0] == 0).all()


def test_degrees_that_fit_their_groups_stay_as_they_are():
    degrees, group = np.array([3, 0, 5, 2, 4]), np.array([0, 0, 1, 1, 1])
    assert fit_to_groups(degrees, group, np.array([3, 11]), False, np.random.default_rng(0)).tolist() == degrees.tolist()


def test_a_forest_keeps_its_degrees_with_other_rows_at_its_roots() -> None:
    rng = np.random.default_rng(1)
    degrees = np.r_[np.full(10, 3), np.zeros(40, np.int64)]
    parent = forest(degrees, np.zeros(50, np.int64), np.array([20]), np.array([0.4, 0.4, 0.2]), rng)
    wanted = np.arange(30, 50)
    moved = with_roots(parent, wanted)
    assert set(np.flatnonzero(moved < 0)) == set(wanted)
    assert sorted(np.bincount(moved[moved >= 0], minlength=50)) == sorted(degrees)


@pytest.mark.parametrize("seed", range(5))
def test_combinations_with_a_forest_are_parted_without_a_change_of_degrees_and_depths(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parent = np.array([-1 if i < 4 else int(rng.integers(i // 2)) for i in range(80)])
    parent[3], others = 3, rng.integers(0, 30, 80)  # a row that refers to itself stays
    parted = without_late_duplicates(parent, others, 80, True, rng)
    refers = (parted >= 0) & (parted != np.arange(80))
    assert len(set(zip(parted[refers], others[refers], strict=True))) == refers.sum()
    assert parted[3] == 3 and (np.bincount(parted[refers]) == np.bincount(parent[refers])).all()
    roots = [np.where(at == np.arange(80), NONE, at) for at in (parted, parent)]
    assert (depths(roots[0]) == depths(roots[1])).all()
