"""Bins of numbers: what their knots tell, and what they do not."""

from __future__ import annotations

import numpy as np
import pytest

from synth_engine.encode.bins import (
    APART,
    EVEN,
    KNOTS,
    ROWS_PER_KNOT,
    TAIL,
    _known,
    drawn_from,
    protected_bounds,
    quantile_bins,
)


@pytest.mark.parametrize("at", [EVEN, TAIL, (1 - TAIL)[::-1]], ids=["even", "tail", "tail below"])
@pytest.mark.parametrize("apart", [APART, ROWS_PER_KNOT])
@pytest.mark.parametrize("rows", [1, 4, 23, 40, 300, 5_000])
def test_knots_are_so_many_values_apart_that_none_can_be_had_back(at, apart, rows):
    known = _known(at, rows, apart)
    assert known[0] == 0 and known[-1] == 1 and set(known) <= set(at)
    assert len(known) == 2 or (np.diff(known) * rows >= apart).all()


def test_nothing_is_drawn_where_there_are_no_values():
    rng = np.random.default_rng(0)
    values = np.sort(np.r_[rng.uniform(0, 10, 600), rng.uniform(90, 100, 600)])
    knots = quantile_bins(values, np.arange(1_200), 32, 5)
    drawn = drawn_from(knots, rng.integers(0, len(knots), 5_000), rng.random(5_000))
    assert not ((drawn > 10.5) & (drawn < 89.5)).any()
    assert knots.shape[1] == KNOTS and (np.diff(knots.reshape(-1)) >= 0).all()


def test_what_is_drawn_is_hardly_nearer_to_the_values_learned_from_than_to_others_of_the_column():
    rng, shares = np.random.default_rng(0), []
    for _ in range(20):
        learned, others = np.sort(rng.gamma(3, 10, 1_200)), np.sort(rng.gamma(3, 10, 1_200))
        knots = quantile_bins(learned, np.arange(1_200), 64, 5)
        drawn = drawn_from(knots, rng.integers(0, len(knots), 3_000), rng.random(3_000))
        shares.append(np.mean(distance(drawn, learned) < distance(drawn, others)))
    assert np.mean(shares) < 0.525


def distance(values, among):
    at = np.clip(np.searchsorted(among, values), 1, len(among) - 1)
    return np.minimum(np.abs(values - among[at - 1]), np.abs(values - among[at]))


def test_no_values_have_no_bins():
    assert quantile_bins(np.zeros(0), np.zeros(0, np.int64), 8, 5).shape == (0, KNOTS)


@pytest.mark.parametrize(("values", "bins"), [(10, 1), (30, 3), (60, 3), (200, 8), (320, 8), (2_000, 50), (100_000, 64)])
def test_small_columns_have_bins_enough_to_go_with_others(values, bins):
    assert len(quantile_bins(np.linspace(0, 1, values), np.arange(values), 64, 5)) == bins


@pytest.mark.parametrize(("value", "told"), [(123456.78, 100_000), (-0.0472, -0.04), (7.0, 7.0), (0.3, 0.3), (0.0, 0.0), (9.99, 9.0)])
def test_of_fewer_entities_than_are_protected_only_the_first_digit_is_told(value, told):
    assert protected_bounds(np.full(14, value), np.zeros(14, np.int64), 5) == pytest.approx((told, told))
    assert protected_bounds(np.full(14, value), np.zeros(14, np.int64), 1) == (value, value)


def test_many_rows_of_few_entities_are_few_and_the_last_rows_may_make_them_many():
    values, entity = np.linspace(5, 15, 30_000), np.zeros(30_000, np.int64)
    assert protected_bounds(values, entity, 5) == (10.0, 10.0)
    entity[-4:] = 1 + np.arange(4)
    low, high = protected_bounds(values, entity, 5)
    assert 5 < low < high < 15
