"""Numbers: spikes stay themselves, bins keep the distribution and the precision, extremes are drawn in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_engine.encode import number
from synth_engine.encode.base import EncodingSettings, entity_count_of_values
from synth_engine.encode.bins import KNOTS, protected_bounds
from synth_engine.encode.number import NumberCoder, NumberEncoder, decimal_places
from synth_engine.randomness import uniforms
from tests.encode.subjects import array, draw_of

numbers = st.lists(st.floats(-1e9, 1e9, allow_nan=False, width=32), min_size=1, max_size=300)
whole = st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=300)
fully = settings(max_examples=60, deadline=None, derandomize=True)


def there_and_back(values: np.ndarray, coder: NumberCoder, key: int = 3) -> np.ndarray:
    return coder.decode(coder.encode(values), uniforms(key, np.arange(len(values))))


@pytest.mark.parametrize("end", [2**63 - 1, -(2**63)])
def test_the_ends_of_the_type_come_out_as_they_are(end):
    """The largest number often stands for no end."""
    column = array([end, 5] * 40, "int64")
    encoder = NumberEncoder.fit(column, "int64", np.arange(80), EncodingSettings())
    assert encoder.decode(encoder.encode(column), draw_of(np.arange(80), 80)).to_pylist() == [end, 5] * 40


@fully
@given(numbers, st.integers(1, 6), st.integers(1, 64))
def test_what_comes_out_lies_between_the_means_of_the_outermost_entities(values, entities, bins):
    values = np.array(values)
    entity = np.arange(len(values))
    coder = NumberCoder.fit(values, entity, EncodingSettings(1, entities, bins), None)
    low, high = protected_bounds(values, entity, entities)
    assert coder.size > 0
    for token in range(coder.size):
        out = coder.decode(np.full(20, token, np.int32), np.linspace(0, 1 - 1e-12, 20))
        tolerance = 1e-9 * max(abs(low), abs(high), 1)
        assert (out >= low - tolerance).all()
        assert (out <= high + tolerance).all()


@fully
@given(whole)
def test_whole_numbers_stay_whole_and_within_their_type(values):
    column = array(values, "int32")
    encoder = NumberEncoder.fit(column, "int32", np.arange(len(values)), EncodingSettings())
    out = encoder.decode(encoder.encode(column), draw_of(np.arange(len(values)), len(values)))
    assert out.null_count == 0
    assert encoder.coder.places == 0


@fully
@given(numbers, st.integers(1, 64))
def test_a_larger_draw_of_the_same_bin_never_gives_a_smaller_number(values, bins):
    coder = NumberCoder.fit(np.array(values), np.arange(len(values)), EncodingSettings(bins=bins), None)
    for token in range(coder.size):
        assert (np.diff(coder.decode(np.full(9, token, np.int32), np.linspace(0, 0.999, 9))) >= 0).all()


@fully
@given(numbers, st.integers(1, 64))
def test_bins_do_not_overlap_and_follow_each_other_in_order(values, bins):
    knots = NumberCoder.fit(np.array(values), np.arange(len(values)), EncodingSettings(bins=bins), None).knots
    assert knots.shape[1] == KNOTS
    assert (np.diff(knots.reshape(-1)) >= 0).all()


def test_a_value_that_many_entities_have_comes_out_exactly_and_as_often():
    rng = np.random.default_rng(0)
    values = np.where(rng.random(5000) < 0.4, 0.0, rng.exponential(10, 5000))
    out = there_and_back(values, NumberCoder.fit(values, np.arange(5000), EncodingSettings(), None))
    assert np.mean(out == 0) == pytest.approx(np.mean(values == 0), abs=1e-12)
    assert np.quantile(out, [0.5, 0.75, 0.9, 0.99]) == pytest.approx(np.quantile(values, [0.5, 0.75, 0.9, 0.99]), rel=0.05)


def test_the_precision_of_a_column_is_kept():
    prices = np.round(np.random.default_rng(1).uniform(0, 500, 3000), 2)
    out = there_and_back(prices, NumberCoder.fit(prices, np.arange(3000), EncodingSettings(), decimal_places(prices)))
    assert np.allclose(out, np.round(out, 2))


@pytest.mark.parametrize(
    ("values", "places"), [([1.0, 2.0], 0), ([1.5, 2.0], 1), ([0.25], 2), ([1 / 3] * 5, None), ([1e9 + 0.5], 1), ([2_500_000.25, 1.0], 2)]
)
def test_decimal_places_are_the_fewest_that_hold_the_values(values, places):
    assert decimal_places(np.array(values)) == places


def test_one_entity_with_many_rows_does_not_set_the_extremes():
    values, entity = np.r_[np.arange(1000.0), np.full(300, 1e6)], np.r_[np.arange(1000), np.full(300, 5000)]
    _, high = protected_bounds(values, entity, 5)
    assert high == pytest.approx((1e6 + 999 + 998 + 997 + 996) / 5)
    coder = NumberCoder.fit(values, entity, EncodingSettings(), None)
    assert there_and_back(values, coder).max() <= high * (1 + 1e-12)


def test_infinite_and_missing_numbers_are_null():
    column = array([1.0, float("nan"), float("inf"), -float("inf"), None] * 10, "float64")
    encoder = NumberEncoder.fit(column, "float64", np.arange(50), EncodingSettings())
    out = encoder.decode(encoder.encode(column), draw_of(np.arange(50), 50))
    assert out.to_pylist() == [1.0, None, None, None, None] * 10


@pytest.mark.parametrize(
    ("data_type", "values"), [("int16", [-(2**15), 2**15 - 1]), ("int32", [-(2**31), 2**31 - 1]), ("decimal(4,2)", [-99.99, 99.99])]
)
def test_the_ends_of_a_type_are_never_left(data_type, values):
    from synth_engine.encode.values import from_floats

    out = from_floats(np.array([values[0] - 1e9, values[1] + 1e9]), data_type).to_pylist()
    assert [float(v) for v in out] == values


def test_large_amounts_keep_their_cents():
    amounts = np.round(np.random.default_rng(2).uniform(1e6, 9e6, 2000), 2)
    out = there_and_back(amounts, NumberCoder.fit(amounts, np.arange(2000), EncodingSettings(), decimal_places(amounts)))
    assert np.mean(out != np.round(out)) > 0.9


@fully
@given(st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 2**40)), max_size=200))
def test_entities_are_counted_once_for_each_value(pairs):
    codes, entity = (np.array([p[i] for p in pairs], dtype=np.int64) for i in (0, 1))
    expected = [len({e for c, e in pairs if c == code}) for code in range(5)]
    assert entity_count_of_values(codes, entity, 5).tolist() == expected


def test_a_column_of_many_rows_is_learned_from_some_of_them_whatever_their_rhythm(monkeypatch):
    monkeypatch.setattr(number, "MOST_FITTED", 2_000)
    values = np.tile([0.0, 1.0, 2.0, 3.0, 4.0], 4_000)  # every fifth row is alike
    coder = NumberCoder.fit(values, np.arange(len(values)), EncodingSettings(), 0)
    assert sorted(coder.spikes) == [0, 1, 2, 3, 4]
    rng = np.random.default_rng(0)
    smooth = rng.normal(size=20_000)
    out = there_and_back(smooth, NumberCoder.fit(smooth, np.arange(20_000), EncodingSettings(), None))
    shares = np.linspace(0.02, 0.98, 25)
    assert np.abs(np.quantile(out, shares) - np.quantile(smooth, shares)).max() < 0.1


@fully
@given(st.integers(1, 5_000), st.integers(1, 1_000))
def test_rows_to_learn_from_are_different_ones_from_everywhere(rows, most):
    chosen = np.arange(rows)[number._spread_sample(rows, most)]
    assert len(chosen) == min(rows, most) and (np.diff(chosen) > 0).all()
    assert np.diff(np.r_[0, chosen, rows]).max() <= 2 * -(-rows // most)
