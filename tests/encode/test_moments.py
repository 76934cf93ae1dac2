"""Moments: dates and times of day by themselves, or as steps from another moment whose order never breaks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_engine.encode.base import EncodingSettings
from synth_engine.encode.bins import protected_bounds
from synth_engine.encode.moment import DAY, MomentEncoder, first_of_january, unit_of
from synth_engine.encode.relative import ABSOLUTE, FIRST_STEP, NULL, Reference, RelativeEncoder
from synth_engine.encode.values import from_floats, to_floats
from tests.encode.subjects import draw_of

fully = settings(max_examples=80, deadline=None, derandomize=True)
FAR = 60 * 365
"""Days, some of them before 1970."""

days = st.lists(st.integers(-FAR, FAR), min_size=1, max_size=150)
steps = st.lists(st.tuples(st.integers(-FAR, FAR), st.none() | st.integers(0, 4000), st.booleans()), min_size=1, max_size=150)
data_types = st.sampled_from(["date", "timestamp", "timestamptz"])


def moments(day: np.ndarray, data_type: str, seed: int = 0) -> np.ndarray:
    """Days as the floats of the type, timestamps with a time of day."""
    unit = unit_of(data_type)
    second = np.random.default_rng(seed).integers(0, 86_400, len(day)) if unit > 1 else 0
    return day * unit + second


@fully
@given(days, data_types)
def test_a_moment_comes_out_on_a_day_that_is_at_most_a_weekday_outside_of_the_protected_range(values, data_type):
    column = from_floats(moments(np.array(values), data_type), data_type)
    entity = np.arange(len(column))
    encoder = MomentEncoder.fit(column, data_type, entity, EncodingSettings())
    out = encoder.decode(encoder.encode(column), draw_of(entity, len(entity)))
    day = np.floor(to_floats(out, data_type) / unit_of(data_type))
    low, high = protected_bounds(np.array(values, dtype=np.float64), entity, 5, first_of_january)
    assert out.null_count == 0
    assert day.min() >= np.floor(low) - 3
    assert day.max() <= np.ceil(high) + 3


@pytest.mark.parametrize("data_type", ["date", "timestamp"])
@pytest.mark.parametrize("rows", [1, 4])
def test_of_moments_of_fewer_entities_than_are_protected_the_year_is_told(data_type, rows):
    moment = float(np.datetime64("1971-02-03T15:30:07").astype(np.int64)) / (DAY if data_type == "date" else 1)
    column = from_floats(np.full(rows, moment), data_type)
    encoder = MomentEncoder.fit(column, data_type, np.arange(rows), EncodingSettings())
    out = encoder.decode(encoder.encode(column), draw_of(np.arange(rows), rows))
    assert {str(value) for value in out.to_pylist()} == {"1971-01-01" if data_type == "date" else "1971-01-01 00:00:00"}
    assert encoder.protections() == ["of the dates of so few entities nothing told but the year"]


def test_whole_hours_stay_whole_and_working_days_stay_working_days():
    rng = np.random.default_rng(0)
    day = rng.integers(0, 1500, 6000)
    working = day[(day + 3) % 7 < 5]  # day 0 was a Thursday
    column = from_floats(working * DAY + rng.integers(8, 18, len(working)) * 3600, "timestamp")
    encoder = MomentEncoder.fit(column, "timestamp", np.arange(len(working)), EncodingSettings())
    out = to_floats(encoder.decode(encoder.encode(column), draw_of(np.arange(len(working)), len(working))), "timestamp")
    assert not np.any(out % 3600)
    assert set(np.unique(out % DAY // 3600)) == set(range(8, 18))
    assert ((np.floor(out / DAY) + 3) % 7 < 5).all()


def test_dates_without_time_of_day_have_no_slots_for_it():
    column = from_floats(np.arange(700) * DAY, "timestamp")
    assert len(MomentEncoder.fit(column, "timestamp", np.arange(700), EncodingSettings()).slots) == 2


@fully
@given(steps, data_types, st.integers(0, 5))
def test_what_never_was_before_its_reference_never_comes_out_before_it(rows, data_type, seed):
    """Whatever the tokens are, and whatever reference values generation meets."""
    unit = unit_of(data_type)
    base = moments(np.array([day for day, _, _ in rows]), data_type, seed)
    step = np.array([np.nan if s is None else s for _, s, _ in rows], dtype=np.float64)
    values = base + step * unit
    known = np.where([gone for *_, gone in rows], np.nan, base)
    entity = np.arange(len(rows))
    encoder = RelativeEncoder.fit(values, [(Reference("parent", 0, "began"), known)], entity, EncodingSettings(), data_type)
    assert all(s.side for s in encoder.steppers if s.coder.size)

    rng = np.random.default_rng(seed)
    met = np.where(rng.random(300) < 0.1, np.nan, moments(rng.integers(-2 * FAR, 2 * FAR, 300), data_type, seed))
    which, start = encoder.choose([met], len(met))
    tokens = np.stack([rng.integers(0, size, 300) for size in encoder.slots], axis=1).astype(np.int32)
    tokens[:, 0] = [rng.choice(np.flatnonzero(allowed)) for allowed in encoder.allowed(which, start)]
    out = encoder.decode(tokens, which, start, draw_of(np.arange(300), 300))
    stepped = tokens[:, 0] >= FIRST_STEP
    assert (out[stepped] >= start[stepped]).all()
    written, reference = to_floats(from_floats(out, data_type), data_type), to_floats(from_floats(start, data_type), data_type)
    assert (written[stepped] >= reference[stepped]).all()
    assert np.isnan(out[tokens[:, 0] == NULL]).all()


@fully
@given(steps, data_types)
def test_rows_without_a_reference_are_absolute_and_all_others_are_steps(rows, data_type):
    unit = unit_of(data_type)
    base = np.array([np.nan if gone else float(day) * unit for day, _, gone in rows])
    values = np.array([np.nan if s is None else (day + s) * unit for day, s, _ in rows], dtype=np.float64)
    encoder = RelativeEncoder.fit(values, [(Reference("previous"), base)], np.arange(len(rows)), EncodingSettings(), data_type)
    tokens, learn = encoder.encode(values, [base])
    first = tokens[:, 0]
    missing = np.isnan(values)
    assert (first[missing] == NULL).all()
    assert (first[~missing & np.isnan(base)] == ABSOLUTE).all()
    assert (first[~missing & np.isfinite(base)] >= FIRST_STEP).all()
    assert learn[:, 0].all()
    assert not learn[missing, 1:].any()
    which, start = encoder.choose([base], len(base))
    allowed = encoder.allowed(which, start)
    assert allowed.any(axis=1).all()


def test_the_first_reference_that_is_there_is_the_one_that_counts():
    values = np.arange(100.0) + 500
    first, second = np.where(np.arange(100) < 50, values - 1, np.nan), values - 10
    references = [(Reference("previous"), first), (Reference("parent", 0, "began"), second)]
    encoder = RelativeEncoder.fit(values, references, np.arange(100), EncodingSettings(), "date")
    which, base = encoder.choose([first, second], 100)
    assert which.tolist() == [0] * 50 + [1] * 50
    assert (values - base).tolist() == [1.0] * 50 + [10.0] * 50
    tokens, _ = encoder.encode(values, [first, second])
    out = encoder.decode(tokens, which, base, draw_of(np.arange(100), 100))
    assert (out == np.clip(values, 502, 597)).all()  # the means of the outermost entities


def test_slots_that_follow_from_a_step_are_filled_in_from_its_value():
    values = np.arange(200.0) * 3 + 100
    base = values - np.arange(200) % 5
    encoder = RelativeEncoder.fit(values, [(Reference("previous"), base)], np.arange(200), EncodingSettings(), "date")
    tokens, learn = encoder.encode(values, [base])
    blank = tokens.copy()
    blank[:, 1:] = 0
    which, _ = encoder.choose([base], len(base))
    encoder.follow(blank, which, values)
    assert (blank == tokens).all()
    assert not learn[:, 1:].any()


def test_a_sequence_starts_only_where_a_real_one_did():
    day = np.tile(np.arange(40.0), 6) * 10 + 500
    base = np.where(day > 500, day - 10, np.nan)
    encoder = RelativeEncoder.fit(day, [(Reference("previous"), base)], np.arange(len(day)), EncodingSettings(), "date")
    restored = RelativeEncoder.from_json(encoder.to_json())
    which = np.array([-1, 0])
    for one in (encoder, restored):
        allowed = one.allowed_start(0, which)
        assert np.flatnonzero(allowed[0]).tolist() == [one.absolute.encode(np.array([500.0]))[0, 0]]
        assert allowed[1].all()


@pytest.mark.parametrize("data_type", ["date", "timestamp"])
def test_a_long_walk_of_steps_stays_within_the_range_of_the_column(data_type):
    unit = unit_of(data_type)
    values = np.sort(moments(np.random.default_rng(0).integers(0, 1000, 500), data_type))
    base = np.r_[np.nan, values[:-1]]
    encoder = RelativeEncoder.fit(values, [(Reference("previous"), base)], np.arange(500), EncodingSettings(), data_type)
    at = values[:1]
    for row in range(1500):
        which, start = encoder.choose([at], 1)
        tokens = np.array([[np.flatnonzero(encoder.allowed(which, start)[0])[-1], *[0] * (len(encoder.slots) - 1)]], dtype=np.int32)
        at = encoder.decode(tokens, which, start, draw_of(np.array([row]), 1500))
    _, last = encoder.absolute.days.bounds()
    assert np.floor(at[0] / unit) <= last


def in_sequences(day, owners):
    """An encoder of these days, shape (owners, rows), each told from the one before."""
    base = np.concatenate([np.full((owners, 1), np.nan), day[:, :-1]], axis=1)
    later = np.tile(np.arange(day.shape[1])[::-1], owners)
    entity = np.repeat(np.arange(owners), day.shape[1])
    references = [(Reference("previous"), base.reshape(-1))]
    return RelativeEncoder.fit(day.reshape(-1), references, entity, EncodingSettings(), "date", later)


def test_a_row_in_a_sequence_is_told_how_much_time_each_sibling_to_come_has():
    day = 1_000 + np.cumsum(np.random.default_rng(0).integers(2, 30, (250, 40)), axis=1).astype(np.float64)
    encoder = in_sequences(day, 250)
    end = encoder.absolute.days.bounds()[1]
    pace = encoder.pace(np.array([end - 400, end - 200, end - 200, np.nan]), np.array([9, 4, 9, 9]))
    assert pace[0] == pace[1] > pace[2] > 0
    assert pace[3] == 0  # it comes after nobody
    assert encoder.slots[0] > pace[0]
    restored = RelativeEncoder.from_json(encoder.to_json())
    assert restored.slots == encoder.slots and (restored.pace(day[0], np.arange(40)) == encoder.pace(day[0], np.arange(40))).all()


def test_the_pace_is_no_matter_of_learning_nor_does_it_change_what_follows():
    day = 1_000 + np.cumsum(np.random.default_rng(0).integers(2, 30, (250, 40)), axis=1).astype(np.float64)
    base = np.concatenate([np.full((250, 1), np.nan), day[:, :-1]], axis=1).reshape(-1)
    later, entity, values = np.tile(np.arange(40)[::-1], 250), np.repeat(np.arange(250), 40), day.reshape(-1)
    alone = RelativeEncoder.fit(values, [(Reference("previous"), base)], entity, EncodingSettings(), "date")
    paced = in_sequences(day, 250)
    tokens, learn = paced.encode(values, [base], later)
    as_alone, learn_alone = alone.encode(values, [base])
    assert not learn[:, 0].any() and (tokens[:, 0] == paced.pace(base, later)).all()
    assert (tokens[:, 1:] == as_alone).all() and (learn[:, 1:] == learn_alone).all()
    which, start = paced.choose([base], len(base))
    draw = draw_of(np.arange(len(values)), len(values))
    assert (paced.decode(tokens, which, start, draw, later) == alone.decode(as_alone, which, start, draw, later)).all()
    paced.follow(tokens, which, values)
    assert (tokens[:, 1:] == as_alone).all()


def test_the_range_of_paces_is_that_of_no_single_entity():
    day = np.tile(np.arange(5.0) * 1_000, (50, 1))
    day[7, 1:] = 4_000 - np.arange(4)[::-1] / 1_000  # one that hurries at the end
    encoder = in_sequences(day, 50)
    assert encoder.paces == in_sequences(day[np.arange(50) != 7], 49).paces


def test_siblings_to_come_are_left_their_shortest_steps():
    encoder = in_sequences(np.arange(6.0)[None, :] * 50 + np.arange(300)[:, None] % 20, 300)
    longest = encoder._feasible(encoder.steppers[0], np.full(3, 150.0), np.arange(3))[1]
    assert longest.tolist() == [encoder.absolute.days.bounds()[1] - 150 - 50 * later for later in range(3)]


def test_a_number_never_below_another_stays_one_that_its_column_can_have():
    rng = np.random.default_rng(0)
    price = rng.uniform(0, 100_000, 3_000).round(2)
    for grid, snaps in ((10.0, False), (5_000.0, True)):
        rounded = np.ceil(price / grid) * grid
        encoder = RelativeEncoder.fit(rounded, [(Reference("row", column="price"), price)], np.arange(3_000), EncodingSettings(), "int64")
        assert encoder.sides == [1] and encoder.absolute.snaps == snaps
        met = rng.uniform(0, 95_000, 3_000).round(2)
        which, start = encoder.choose([met], len(met))
        tokens = np.stack([rng.integers(0, size, 3_000) for size in encoder.slots], axis=1).astype(np.int32)
        tokens[:, 0] = [rng.choice(np.flatnonzero(allowed)[1:]) for allowed in encoder.allowed(which, start)]
        out = encoder.in_order(encoder.decode(tokens, which, start, draw_of(np.arange(3_000), 3_000)), [met])
        assert (out >= met).all()
        assert (np.mod(out, grid) == 0).all()


def test_what_a_few_rows_without_a_reference_are_is_not_told():
    values = np.arange(500.0)
    base = np.where(np.arange(500) < 3, np.nan, values - 2)
    few = RelativeEncoder.fit(values, [(Reference("row", column="began"), base)], np.arange(500), EncodingSettings(), "date")
    assert all(start.all() for start in few.starts)
    base[:100] = np.nan
    many = RelativeEncoder.fit(values, [(Reference("row", column="began"), base)], np.arange(500), EncodingSettings(), "date")
    assert not all(start.all() for start in many.starts)
