"""Places: only where enough entities have been, exactly where they all were, and nowhere wide."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_engine.encode.base import EncodingSettings
from synth_engine.encode.bins import protected_bounds
from synth_engine.encode.places import WIDEST, Places
from tests.encode.subjects import draw_of

ANYWHERE = np.array([np.inf, np.inf])


def fitted(values, entity, step=ANYWHERE, **settings_):
    return Places.fit(("x", "y"), "x and y", values, step, entity, EncodingSettings(**settings_))


def drawn(places, at):
    return places.values(at, draw_of(np.arange(len(at)), len(at)))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.integers(0, 999), st.integers(0, 300), st.integers(1, 8), st.integers(1, 8), st.sampled_from([0, 1, 5]), st.floats(0.001, 1))
def test_every_place_is_of_enough_entities_and_its_rows_and_what_is_drawn_lie_in_it(seed, rows, fewest, extreme, decimals, step):
    rng = np.random.default_rng(seed)
    values, entity = rng.normal(0, 1, (rows, 2)).round(decimals), rng.integers(0, 30, rows)
    values[rng.random(rows) < 0.1, rng.integers(0, 2)] = np.nan
    known = np.isfinite(values).all(axis=1)
    places = fitted(values, entity, np.array([step, step]), rare_entities=fewest, extreme_entities=extreme)
    at = places.numbers(values)
    assert (at[~known] == -1).all() and at.max(initial=-1) < len(places.low)
    for place in range(len(places.low)):
        assert len(set(entity[at == place])) >= fewest
    assert (places.high - places.low <= WIDEST * step).all()
    there = np.flatnonzero(at >= 0)
    for found in (values[there], drawn(places, at)[there]):
        assert (found >= places.low[at[there]] - 1e-9).all() and (found <= places.high[at[there]] + 1e-9).all()
    for k in (0, 1) if len(there) else ():
        low, high = protected_bounds(values[known][:, k], entity[known], extreme)
        assert places.low[:, k].min() >= low - 1e-9 and places.high[:, k].max() <= high + 1e-9


def test_a_point_that_enough_have_been_at_is_a_place_and_comes_out_exactly():
    rng = np.random.default_rng(0)
    values = np.concatenate([np.tile([[52.123457, 13.654321]], (6, 1)), rng.uniform(0, 90, (40, 2)).round(6)])
    places = fitted(values, np.arange(46))
    at = places.numbers(values)
    assert (at[:6] == 0).all() and (at[6:] != 0).all() and places.are_points[0] and not places.are_points[1:].any()
    assert (drawn(places, at[:6]) == values[:6]).all()


def test_what_fewer_have_been_at_does_not_come_out():
    rng = np.random.default_rng(1)
    values, entity = rng.uniform(0, 1, (400, 2)).round(9), np.arange(400) // 4
    places = fitted(values, entity)
    out = drawn(places, places.numbers(values))
    assert not set(map(tuple, out.tolist())) & set(map(tuple, values.tolist()))
    assert not any(str(number) in json.dumps(places.to_json()) for number in values.reshape(-1).tolist())


def test_a_point_beyond_what_may_be_written_is_none_however_many_have_been_there():
    values = np.concatenate([np.random.default_rng(0).uniform(0, 99, (200, 2)), np.full((6, 2), 1_000.0)])
    places = fitted(values, np.arange(206), extreme_entities=50)
    assert (places.numbers(values)[200:] == -1).all() and places.high.max() < 1_000


def test_the_upper_edge_lies_in_the_last_square():
    values = np.random.default_rng(0).integers(0, 100, (4_000, 2)).astype(float)
    places = fitted(values, np.arange(4_000), rare_entities=30, extreme_entities=1)
    assert places.high.max() <= 99 and (places.numbers(values) >= 0).all()


def test_of_fewer_entities_than_protect_an_extreme_there_are_no_places():
    assert len(fitted(np.ones((50, 2)), np.arange(50) % 4, rare_entities=2, extreme_entities=5).low) == 0


def test_rows_at_no_place_have_none():
    places = fitted(np.full((9, 2), np.nan), np.arange(9))
    at = places.numbers(np.full((9, 2), np.nan))
    assert (at == -1).all() and len(places.low) == 0
    assert np.isnan(drawn(places, at)).all()


def test_json_has_all_there_is_to_know():
    values = np.random.default_rng(3).uniform(0, 1, (300, 2))
    places = fitted(values, np.arange(300), np.array([1.0, 2.0]))
    read, at = Places.from_json(json.loads(json.dumps(places.to_json()))), places.numbers(values)
    assert (read.numbers(values) == at).all() and read.column == places.column and (read.step == places.step).all()
    assert np.array_equal(drawn(read, at), drawn(places, at), equal_nan=True)
