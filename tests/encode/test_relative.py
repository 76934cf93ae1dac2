"""Numbers told as steps in long sequences: how fast they come to where the last sibling is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from synth_engine.encode.base import EncodingSettings, Floats
from synth_engine.encode.relative import NEAR, Goals, Reference, RelativeEncoder
from tests.encode.subjects import draw_of

OWNERS, ROWS = 60, 50
ENTITY = np.repeat(np.arange(OWNERS), ROWS)
LATER = np.tile(np.arange(ROWS)[::-1], OWNERS)


def rising(places: int) -> Floats:
    """Levels by owner and row, which rise or fall all the way, each at a rate of its own."""
    rng = np.random.default_rng(0)
    rate = rng.uniform(-0.2, 0.2, (OWNERS, 1))
    return (rng.normal(0, 30, (OWNERS, 1)) + np.cumsum(rate + rng.normal(0, 0.1, (OWNERS, ROWS)), axis=1)).round(places)


def before(height: Floats) -> Floats:
    return np.concatenate([np.full((OWNERS, 1), np.nan), height[:, :-1]], axis=1).reshape(-1)


def fitted(height: Floats, later: np.ndarray | None = LATER) -> RelativeEncoder:
    references = [(Reference("previous"), before(height))]
    return RelativeEncoder.fit(height.reshape(-1), references, ENTITY, EncodingSettings(), "float64", later)


def encoded(encoder: RelativeEncoder, height: Floats) -> tuple[np.ndarray, np.ndarray]:
    return encoder.encode(height.reshape(-1), [before(height)], LATER, Goals.of(height.reshape(-1), LATER))


@pytest.mark.parametrize("places", [0, 1, 4])
def test_the_pace_of_the_first_sibling_leads_about_to_the_last_one_however_coarse_the_steps_are(places):
    height = rising(places)
    encoder = fitted(height)
    paces = encoded(encoder, height)[0][::ROWS, 0]
    goals = encoder.goals(height[:, 0], paces, LATER[::ROWS], draw_of(np.arange(OWNERS), OWNERS))
    way = height[:, -1] - height[:, 0]
    assert np.abs(goals - height[:, -1]).mean() < 0.25 * np.abs(way).mean()
    assert (goals - height[:, 0]).std() == pytest.approx(way.std(), rel=0.2)


def test_siblings_are_told_by_which_steps_they_come_to_the_goal_until_it_is_near():
    height = rising(4)
    encoder, (last,) = fitted(height), height[:1, -1]
    tokens, learn = encoded(encoder, height)
    told = tokens[:, 0].reshape(OWNERS, ROWS)
    assert (told[:, : ROWS - NEAR] > 0).all() and not told[:, ROWS - NEAR :].any()
    base = before(height)
    drawn = encoder.pace_to(np.full(ROWS - 1, last), base[1:ROWS], LATER[1:ROWS])
    assert (drawn == told[0, 1:]).all()  # in drawing as in learning
    assert (learn[:, 0].reshape(OWNERS, ROWS) == (np.arange(ROWS) == 0)).all()


def test_the_goal_is_the_last_value_that_is_known_and_a_gap_on_the_way_does_not_change_it():
    height = rising(4)
    height[0, -3:], height[1, 10] = np.nan, np.nan
    goals = Goals.of(height.reshape(-1), LATER).values.reshape(OWNERS, ROWS)
    assert (goals[0] == height[0, -4]).all() and (goals[1] == height[1, -1]).all()
    told = encoded(fitted(height), height)[0][:, 0].reshape(OWNERS, ROWS)
    assert told[1, 11] == 0 and (told[1, 12 : ROWS - NEAR] > 0).all()


def test_who_begins_without_a_value_or_is_alone_has_no_goal():
    height = rising(4)
    height[0, 0] = np.nan
    told = encoded(fitted(height), height)[0][:, 0].reshape(OWNERS, ROWS)
    assert not told[0].any() and told[1, 0] > 0
    alone = Goals.of(np.array([5.0, 1.0, 2.0]), np.array([0, 1, 0]))
    assert alone.values.tolist() == [5, 2, 2] and alone.first.tolist() == [True, True, False]
    assert not len(Goals.of(np.zeros(0), np.zeros(0, np.int64)).values)


@pytest.mark.parametrize("gaps", [False, True])
def test_a_first_sibling_draws_an_unknown_pace_only_if_its_value_may_be_missing_or_few_come_after_it(gaps):
    height = rising(4)
    if gaps:
        height[0, 0] = np.nan
    few, many = fitted(height).allowed_pace(np.array([NEAR - 1, NEAR]))
    assert few[0] and not few[1:].any()
    assert many[0] == gaps and many[1:].all()


def test_goals_stay_within_the_columns_range_and_are_unknown_where_the_pace_or_the_value_is():
    height = rising(4)
    encoder, draw, later = fitted(height), draw_of(np.arange(2), 2), np.array([10_000, 10_000])
    low, high = encoder.absolute.bounds()
    first, last = 1, encoder.slots[0] - 1
    assert encoder.goals(height[:2, 0], np.array([first, last], np.int32), later, draw).tolist() == [low, high]
    assert np.isnan(encoder.goals(np.array([np.nan, 1.0]), np.array([first, 0], np.int32), later, draw)).all()


def test_short_sequences_and_numbers_told_from_others_of_their_row_have_no_goals():
    height = rising(4)
    assert fitted(height).pacer and not fitted(height, LATER // 2).pacer and not fitted(height, None).pacer
    references = [(Reference("row", column="ground"), height.reshape(-1) - 1), (Reference("previous"), before(height))]
    assert not RelativeEncoder.fit(height.reshape(-1), references, ENTITY, EncodingSettings(), "float64", LATER).pacer


def test_what_was_written_is_read_again():
    height = rising(1)
    encoder = fitted(height)
    restored = RelativeEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
    assert restored.slots == encoder.slots and len(restored.positions()[0]) == restored.slots[0]
    assert all((one == other).all() for one, other in zip(encoded(encoder, height), encoded(restored, height), strict=True))
