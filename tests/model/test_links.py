"""Links: exact quotas, wishes as far as they allow, no repeated pairs, no cycles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_engine.errors import Terminal
from synth_engine.model.links import NONE, assign, forest, without_duplicates

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


# -- unique pairs --------------------------------------------------------------------------------------------------------


@fully
@given(st.integers(0, 9), st.integers(20, 200), st.integers(0, 10))
def test_repeated_pairs_are_swapped_away_and_degrees_stay(seed, rows, nulls):
    rng = np.random.default_rng(seed)
    left, right = rng.integers(0, 40, rows), rng.integers(0, 40, rows)
    left[:nulls] = -1
    moved = without_duplicates([left, right], 1, rng, "bridge(left, right)")
    full = left >= 0
    assert len(set(zip(left[full], moved[full], strict=True))) == full.sum()
    assert np.bincount(moved).tolist() == np.bincount(right).tolist()
    assert (moved[~full] == right[~full]).all()


@pytest.mark.parametrize(("lefts", "rights"), [(3, 2), (12, 10), (60, 50)])
def test_a_bridge_that_holds_every_pair_is_arranged(lefts, rights):
    left = np.repeat(np.arange(lefts), rights)
    right = np.random.default_rng(0).permutation(np.tile(np.arange(rights), lefts))
    moved = without_duplicates([left, right], 1, np.random.default_rng(1), "bridge(left, right)")
    assert len(set(zip(left, moved, strict=True))) == lefts * rights


def test_a_key_of_three_columns_may_repeat_in_any_two_of_them():
    rng = np.random.default_rng(0)
    columns = [rng.integers(0, 5, 40) for _ in range(3)]
    moved = without_duplicates(columns, 2, rng, "b")
    assert len(set(zip(columns[0], columns[1], moved, strict=True))) == 40


def test_more_rows_than_pairs_are_refused_by_name():
    left, right = np.zeros(9, np.int64), np.arange(9) % 3
    with pytest.raises(Terminal, match=r"bridge\(left, right\) must be unique"):
        without_duplicates([left, right], 1, np.random.default_rng(0), "bridge(left, right)")


def test_a_table_without_rows_has_no_repeated_pairs():
    assert len(without_duplicates([np.zeros(0, np.int64)] * 2, 0, np.random.default_rng(0), "b")) == 0


# -- forests -------------------------------------------------------------------------------------------------------------


@fully
@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 60), st.integers(0, 9))
def test_a_forest_has_its_roots_its_degrees_and_no_cycle(shape, roots, seed):
    rows = sum(shape) + roots
    degrees = np.random.default_rng(seed).permutation(np.r_[shape, np.zeros(max(rows - len(shape), 0), int)][:rows])
    degrees[0] += rows - roots - degrees.sum()  # where the shape did not fit, one row takes the rest
    parent = forest(degrees, roots, np.random.default_rng(seed))
    assert np.count_nonzero(parent < 0) == roots
    assert np.bincount(parent[parent >= 0], minlength=rows).tolist() == degrees.tolist()
    at = np.arange(rows)
    for _ in range(rows):
        at = np.where(at >= 0, parent[at], -1)
    assert (at < 0).all()
