"""Which rows of a table with children are repeated in training."""

import numpy as np

from synth_engine.model.context import Context
from synth_engine.model.learning import MOST_COPIES, ROWS_PER_CODE, with_rare_hubs
from synth_engine.model.training import Examples


def examples(code: np.ndarray) -> Examples:
    tokens = np.stack([code, np.arange(len(code)) % 7], axis=1).astype(np.int32)
    return Examples(tokens, None, Context(len(code)), None, np.arange(len(code)) % 10 == 9)


def test_a_hub_that_most_children_refer_to_is_repeated_and_its_code_learned_once():
    code = np.where(np.arange(1_000) == 100, 2, 1)
    found = with_rare_hubs(examples(code), np.where(code == 2, 5_000, 5))
    assert found.copies == MOST_COPIES - 1
    assert (found.tokens[1_000:, 0] == 2).all()
    assert found.learn is not None
    assert not found.learn[1_000:, 0].any() and found.learn[1_000:, 1:].all() and found.learn[:1_000].all()


def test_rows_of_a_rare_code_with_no_more_children_than_others_are_not():
    code = np.arange(1_000) % 40
    assert with_rare_hubs(examples(code), np.full(1_000, 5)).copies == 0


def test_a_code_of_many_rows_is_not_whatever_its_children():
    code = (np.arange(1_000) < 2 * ROWS_PER_CODE).astype(np.int64)
    assert with_rare_hubs(examples(code), code * 100).copies == 0


def test_a_table_without_children_is_left_as_it_is():
    assert with_rare_hubs(examples(np.zeros(50, np.int64)), np.zeros(50, np.int64)).copies == 0
