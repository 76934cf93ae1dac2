"""Places: only where enough entities have been, exactly where they all were, and nowhere wide."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_engine.encode.base import EncodingSettings
from synth_engine.encode.places import WIDEST, Places
from tests.encode.subjects import draw_of

ANYWHERE = np.array([np.inf, np.inf])


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.integers(0, 999), st.integers(0, 300), st.integers(1, 8), st.sampled_from([0, 1, 5]), st.floats(0.001, 1))
def test_every_place_is_of_enough_entities_and_its_rows_lie_in_it(seed, rows, fewest, decimals, step):
    rng = np.random.default_rng(seed)
    values, entity = rng.normal(0, 1, (rows, 2)).round(decimals), rng.integers(0, 30, rows)
    values[rng.random(rows) < 0.1, rng.integers(0, 2)] = np.nan
    known = np.isfinite(values).all(axis=1)
    asked = EncodingSettings(rare_entities=fewest, extreme_entities=1)
    places = Places.fit(("x", "y"), values, np.array([step, step]), entity, asked)
    at = places.numbers(values)
    assert (at[~known] == -1).all() and at.max(initial=-1) < len(places.low)
    for place in range(len(places.low)):
        assert len(set(entity[at == place])) >= fewest
    there = at >= 0
    low, high = places.low[at[there]], places.high[at[there]]
    assert (values[there] >= low - 1e-9).all() and (values[there] <= high + 1e-9).all()
    assert (places.high - places.low <= WIDEST * step).all()


def test_a_point_that_enough_have_been_at_is_a_place_and_comes_out_exactly():
    rng = np.random.default_rng(0)
    values = np.concatenate([np.tile([[52.123457, 13.654321]], (6, 1)), rng.uniform(0, 90, (40, 2)).round(6)])
    places = Places.fit(("lat", "lon"), values, ANYWHERE, np.arange(46), EncodingSettings())
    at = places.numbers(values)
    assert (at[:6] == 0).all() and (at[6:] != 0).all()
    assert (places.values(at[:6], draw_of(np.arange(6), 46)) == values[:6]).all()


def test_what_fewer_have_been_at_does_not_come_out():
    rng = np.random.default_rng(1)
    values, entity = rng.uniform(0, 1, (400, 2)).round(9), np.arange(400) // 4
    places = Places.fit(("lat", "lon"), values, ANYWHERE, entity, EncodingSettings())
    at = places.numbers(values)
    out = places.values(at, draw_of(np.arange(400), 400))
    assert not set(map(tuple, out.tolist())) & set(map(tuple, values.tolist()))
    assert not any(str(number) in json.dumps(places.to_json()) for number in values.reshape(-1).tolist())


def test_rows_at_no_place_have_none():
    places = Places.fit(("x", "y"), np.full((9, 2), np.nan), ANYWHERE, np.arange(9), EncodingSettings())
    at = places.numbers(np.full((9, 2), np.nan))
    assert (at == -1).all() and len(places.low) == 0
    assert np.isnan(places.values(at, draw_of(np.arange(9), 9))).all()


def test_a_place_has_the_decimals_of_its_columns():
    values = np.random.default_rng(2).uniform(0, 1, (500, 2)) * [1, 1_000]
    values = np.stack([values[:, 0].round(3), values[:, 1].round(0)], axis=1)
    places = Places.fit(("x", "y"), values, ANYWHERE, np.arange(500), EncodingSettings())
    at = places.numbers(values)
    out = places.values(at, draw_of(np.arange(500), 500))
    assert np.array_equal(out, np.stack([out[:, 0].round(3), out[:, 1].round(0)], axis=1), equal_nan=True)


def test_json_has_all_there_is_to_know():
    values = np.random.default_rng(3).uniform(0, 1, (300, 2))
    places = Places.fit(("x", "y"), values, ANYWHERE, np.arange(300), EncodingSettings())
    at = places.numbers(values)
    read = Places.from_json(json.loads(json.dumps(places.to_json())))
    draw = draw_of(np.arange(300), 300)
    assert np.array_equal(read.values(at, draw), places.values(at, draw), equal_nan=True) and read.column == places.column


def test_distances_are_told_in_steps_from_the_edge_of_a_place():
    values = np.concatenate([np.tile([[1.0, 2.0]], (6, 1)), np.tile([[1.0, 5.0]], (6, 1))])
    places = Places.fit(("x", "y"), values, np.array([0.5, 1.5]), np.arange(12), EncodingSettings())
    here = np.array([[1.0, 2.0], [2.0, 2.0], [1.0, np.nan], [2.5, 6.5]])
    assert places.distances(here).tolist() == [[0, 2], [2, np.sqrt(8)], [0, 0], [np.sqrt(18), np.sqrt(10)]]
