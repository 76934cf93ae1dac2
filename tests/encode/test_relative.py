"""Numbers told as steps in sequences: how fast they come to where the last sibling is."""

from __future__ import annotations

import numpy as np
import pytest

from synth_engine.encode.base import Draw, EncodingSettings
from synth_engine.encode.relative import Reference, RelativeEncoder
from tests.encode.subjects import draw_of

OWNERS, ROWS = 60, 50
LATER = np.tile(np.arange(ROWS)[::-1], OWNERS)


@pytest.fixture(scope="module")
def height() -> np.ndarray:
    """Levels by owner and row, which rise or fall all the way."""
    rng = np.random.default_rng(0)
    rate = rng.uniform(-0.2, 0.2, (OWNERS, 1))
    return (rng.normal(0, 30, (OWNERS, 1)) + np.cumsum(rate + rng.normal(0, 0.1, (OWNERS, ROWS)), axis=1)).round(4)


@pytest.fixture(scope="module")
def before(height: np.ndarray) -> np.ndarray:
    return np.concatenate([np.full((OWNERS, 1), np.nan), height[:, :-1]], axis=1).reshape(-1)


@pytest.fixture(scope="module")
def encoder(height: np.ndarray, before: np.ndarray) -> RelativeEncoder:
    return fitted(height, before, LATER)


def fitted(height: np.ndarray, before: np.ndarray, later: np.ndarray | None) -> RelativeEncoder:
    entity = np.repeat(np.arange(OWNERS), ROWS)
    return RelativeEncoder.fit(height.reshape(-1), [(Reference("previous"), before)], entity, EncodingSettings(), "float64", later)


def goals_of(height: np.ndarray) -> np.ndarray:
    return np.repeat(height[:, -1], ROWS)


def test_the_pace_is_the_step_that_would_lead_all_siblings_to_come_to_the_last_ones_value(encoder, height, before):
    tokens, _ = encoder.encode(height.reshape(-1), [before], LATER, goals_of(height))
    of_steps = encoder.steppers[0].coder
    first = (height[:, -1] - height[:, 0]) / (ROWS - 1)
    assert (tokens[::ROWS, 0] == 1 + of_steps.encode(first)).all()
    second = (height[:, -1] - height[:, 0]) / (ROWS - 1)  # from where the first is
    assert (tokens[1::ROWS, 0] == 1 + of_steps.encode(second)).all()
    assert (tokens[ROWS - 1 :: ROWS, 0] == 1 + of_steps.encode(height[:, -1] - height[:, -2])).all()


def test_only_those_who_come_after_nobody_draw_it(encoder, height, before):
    _, learn = encoder.encode(height.reshape(-1), [before], LATER, goals_of(height))
    assert (learn[:, 0] == ~np.isfinite(before)).all()
    assert encoder.slots[0] == 1 + encoder.steppers[0].coder.size
    assert len(encoder.positions()[0]) == encoder.slots[0]


def test_it_is_unknown_without_a_goal_or_a_value_and_for_those_who_are_alone(encoder, height, before):
    values, goals, later = height.reshape(-1).copy(), goals_of(height), LATER.copy()
    values[0], goals[ROWS : 2 * ROWS], later[2 * ROWS] = np.nan, np.nan, 0
    tokens, learn = encoder.encode(values, [before], later, goals)
    assert tokens[0, 0] == 0 and not tokens[ROWS : 2 * ROWS, 0].any() and tokens[2 * ROWS, 0] == 0
    assert learn[[0, ROWS, 2 * ROWS], 0].all()


def test_a_goal_is_as_far_as_all_siblings_to_come_get_at_the_pace_that_was_drawn_and_within_the_columns_range(encoder, height):
    start, later = height[:, 0], np.full(OWNERS, ROWS - 1)
    draw: Draw = draw_of(np.arange(OWNERS), OWNERS)
    tokens = (1 + encoder.steppers[0].coder.encode((height[:, -1] - start) / later)).astype(np.int32)
    goals = encoder.goals(start, tokens, later, draw)
    low, high = encoder.absolute.bounds()
    assert (goals >= low).all() and (goals <= high).all()
    assert np.abs(goals - np.clip(height[:, -1], low, high)).mean() < 0.25 * np.abs(height[:, -1] - start).mean()
    assert np.isnan(encoder.goals(start, np.zeros(OWNERS, np.int32), later, draw)).all()
    assert np.isnan(encoder.goals(np.full(OWNERS, np.nan), tokens, later, draw)).all()


def test_short_sequences_have_no_goals(height, before):
    assert not fitted(height, before, LATER // 2).has_goals


def test_numbers_out_of_sequences_and_those_told_from_others_of_their_row_have_no_goals(height, before):
    assert not fitted(height, before, None).has_goals
    values, entity = height.reshape(-1), np.repeat(np.arange(OWNERS), ROWS)
    references = [(Reference("row", column="ground"), values - 1), (Reference("previous"), before)]
    assert not RelativeEncoder.fit(values, references, entity, EncodingSettings(), "float64", LATER).has_goals


def test_what_was_written_is_read_again(encoder, height, before):
    restored = RelativeEncoder.from_json(encoder.to_json())
    assert restored.has_goals and restored.slots == encoder.slots
    for one, other in zip(
        encoder.encode(height.reshape(-1), [before], LATER, goals_of(height)),
        restored.encode(height.reshape(-1), [before], LATER, goals_of(height)),
        strict=True,
    ):
        assert (one == other).all()
