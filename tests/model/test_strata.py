"""Numbers spread evenly over rows: each column exactly, columns near each other together, and nothing beside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth_engine.model.strata import spread_evenly


@given(rows=st.integers(0, 300), columns=st.integers(0, 40), seed=st.integers(0, 2**62))
def test_every_column_has_one_number_in_each_part(rows: int, columns: int, seed: int) -> None:
    found = spread_evenly(rows, columns, seed)
    assert found.shape == (columns, rows)
    assert ((found >= 0) & (found < 1)).all()
    parts = np.floor(found * rows + 1e-9)
    assert (np.sort(parts, axis=1) == np.arange(rows)).all()


@given(seed=st.integers(0, 2**62), levels=st.sampled_from([2, 3, 5, 7, 11]))
def test_any_two_columns_of_an_array_fill_the_cells_of_a_grid_alike(seed: int, levels: int) -> None:
    rows = levels**2
    found = spread_evenly(rows, levels + 1, seed)
    level = np.floor(found * levels).astype(int)
    for one in range(levels + 1):
        for other in range(one):
            assert (np.bincount(level[one] * levels + level[other], minlength=levels**2) == rows / levels**2).all()


def test_more_columns_change_no_number_of_the_first() -> None:
    assert (spread_evenly(100, 30, 7)[:5] == spread_evenly(100, 5, 7)).all()


def test_another_seed_gives_other_numbers() -> None:
    assert not np.isclose(spread_evenly(100, 3, 1), spread_evenly(100, 3, 2)).any(axis=1).all()


@pytest.mark.parametrize("rows", [30, 77, 500])
def test_neither_do_rows_near_each_other_go_together_nor_columns_with_the_order_of_rows(rows: int) -> None:
    """Siblings stand next to each other: were their numbers bound to each other, they would be more, or less, alike than they should."""
    with_next, with_order, between = [], [], []
    for seed in range(200):
        found = spread_evenly(rows, 40, seed)
        with_next.append([np.corrcoef(column[:-1], column[1:])[0, 1] for column in found])
        with_order.append([np.corrcoef(column, np.arange(rows))[0, 1] for column in found])
        between.append(np.corrcoef(found)[np.triu_indices(40, 1)])
    chance = 1 / np.sqrt(200 * rows)  # of a mean over the seeds
    assert np.abs(np.mean(with_next, axis=0) + 1 / rows).max() < 5 * chance
    assert np.abs(np.mean(with_order, axis=0)).max() < 5 * chance
    assert np.abs(np.mean(between, axis=0)).max() < 5 * chance
    assert np.std(between) < 1.05 / np.sqrt(rows)
