"""Numbers spread evenly over rows: each column by itself, any two columns of a block together, and rows independent of each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth_engine.model.strata import spread_by_size, spread_evenly


@given(rows=st.integers(0, 300), columns=st.integers(0, 40), seed=st.integers(0, 2**62))
def test_every_column_has_one_number_in_each_part(rows: int, columns: int, seed: int) -> None:
    found = spread_evenly(rows, columns, seed)
    assert found.shape == (columns, rows)
    assert ((found >= 0) & (found < 1)).all()
    parts = np.floor(found * rows + 1e-9)
    assert (np.sort(parts, axis=1) == np.arange(rows)).all()


@given(seed=st.integers(0, 2**62), levels=st.sampled_from([5, 7, 11, 13]))
def test_any_two_columns_of_a_block_fill_the_cells_of_a_grid_alike(seed: int, levels: int) -> None:
    rows = levels**2
    level = np.floor(spread_evenly(rows, 2 * (levels + 1), seed) * levels).astype(int)
    for first in (0, levels + 1):
        for one in range(first, first + levels + 1):
            for other in range(first, one):
                assert (np.bincount(level[one] * levels + level[other], minlength=levels**2) == 1).all()


@pytest.mark.parametrize("rows", [40, 77, 100, 200, 1000])
def test_of_any_number_of_rows_pairs_of_columns_vary_less_than_by_chance(rows: int) -> None:
    def error(columns: np.ndarray) -> float:
        """Mean distance of the shares in a cell of four from a quarter."""
        high = columns >= 0.5
        return float(np.mean([abs((high[a] & high[b]).mean() - 0.25) for a in range(6) for b in range(a)]))

    chance = np.random.default_rng(0)
    spread = np.mean([error(spread_evenly(rows, 6, seed)) for seed in range(50)])
    assert spread < 0.6 * np.mean([error(chance.random((6, rows))) for _ in range(50)])


def test_more_columns_change_no_number_of_the_first() -> None:
    assert (spread_evenly(100, 30, 7)[:5] == spread_evenly(100, 5, 7)).all()


def test_another_seed_gives_other_numbers() -> None:
    for one, other in zip(spread_evenly(100, 3, 1), spread_evenly(100, 3, 2), strict=True):
        assert not np.allclose(one, other)


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


@given(sizes=st.lists(st.integers(1, 50), max_size=60), seed=st.integers(0, 2**62), share=st.floats(0, 1))
def test_groups_below_any_number_have_that_share_of_the_rows_to_within_two_of_them(sizes: list[int], seed: int, share: float) -> None:
    found = spread_by_size(np.array(sizes, dtype=np.int64), seed)
    assert found.shape == (len(sizes),) and ((found >= 0) & (found < 1)).all()
    below = np.array(sizes)[found < share].sum()
    assert abs(below - share * sum(sizes)) <= 2 * max(sizes, default=0)  # one at either end


def test_what_a_group_gets_does_not_depend_on_its_size() -> None:
    found = np.stack([spread_by_size(np.array([60, 1, 5, 5]), seed) for seed in range(4_000)])
    assert np.abs((found < 0.5).mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(4_000)
    assert np.abs((found < 0.1).mean(axis=0) - 0.1).max() < 5 * 0.3 / np.sqrt(4_000)
