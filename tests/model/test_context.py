"""The context of rows: parents' tokens, then what those know of theirs, put together for the rows asked for."""

from __future__ import annotations

import numpy as np
import torch

from synth_engine.model.context import MOST_CONTEXT, Context, ResidentContext
from synth_engine.model.devices import HOST

REGIONS = np.array([[7], [8]], dtype=np.int32)
STORES = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.int32)
OF_STORE = np.array([0, 1, -1])
SALES = np.array([2, 0, -1, 1])


def sales() -> Context:
    stores = Context(3, (OF_STORE,), (REGIONS,), (Context(2),))
    return Context(4, (SALES,), (STORES,), (stores,))


def test_a_row_knows_its_parent_and_what_that_knows_and_a_missing_one_is_zero():
    assert sales().nearest(MOST_CONTEXT).tolist() == [[6, 7, 0], [2, 3, 8], [0, 0, 0], [4, 5, 9]]


def test_rows_can_be_asked_for_alone_and_chosen_as_links():
    chosen = np.array([3, 3, 0])
    assert ResidentContext.of(sales(), HOST)[torch.from_numpy(chosen)].tolist() == [[4, 5, 9], [4, 5, 9], [6, 7, 0]]
    assert sales().of(chosen).nearest(MOST_CONTEXT).tolist() == [[4, 5, 9], [4, 5, 9], [6, 7, 0]]


def test_what_is_reached_by_two_ways_lies_there_once():
    stores = Context(3, (OF_STORE,), (REGIONS,), (Context(2),))
    both = ResidentContext.of(Context(4, (SALES, SALES), (STORES, STORES), (stores, stores)), HOST)
    assert both.tokens[0] is both.tokens[1]
    assert both.above[0].links[0] is both.above[1].links[0]


def test_rows_without_parents_know_nothing():
    assert Context(5).nearest(MOST_CONTEXT).shape == (5, 0)
    nobody = Context(2, (np.array([-1, -1]),), (np.zeros((0, 3), np.int32),), (Context(0),))
    assert nobody.nearest(MOST_CONTEXT).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_what_lies_furthest_is_left_out_first():
    wide = Context(
        1, (np.array([0]),), (np.full((1, MOST_CONTEXT), 5, np.int32),), (Context(1, (np.array([0]),), (REGIONS,), (Context(2),)),)
    )
    assert wide.width == MOST_CONTEXT
    assert wide.nearest(MOST_CONTEXT).tolist() == [[6] * MOST_CONTEXT]
