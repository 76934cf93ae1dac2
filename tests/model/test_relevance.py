"""Slots that tell of each other."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from synth_engine.model.relevance import expected, related_slots


def independent(rows: int, slots: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 8, (rows, slots)).astype(np.int32)


def test_slots_that_depend_on_each_other_are_found_and_hardly_any_others():
    tokens = independent(3_000, 30)
    tokens[:, 7] = np.where(np.random.default_rng(1).random(3_000) < 0.3, tokens[:, 3], tokens[:, 7])
    related = related_slots(tokens, range(30), [])
    assert related[3, 7] and related[7, 3]
    others = related & ~np.eye(30, dtype=bool)
    others[3, 7] = others[7, 3] = False
    assert others.mean() < 0.05


def test_slots_of_one_column_are_related_whatever_they_say():
    related = related_slots(independent(500, 4), [0, 0, 1, 2], [])
    assert related[0, 1] and related.diagonal().all()


def test_neighbours_in_their_natural_order_are_one_group():
    rng = np.random.default_rng(2)
    value = rng.random(4_000)
    tokens = np.stack([(value * 60).astype(np.int32), ((value + rng.normal(0, 0.2, 4_000)).clip(0, 0.999) * 60).astype(np.int32)], axis=1)
    positions = [np.linspace(0, 1, 60), np.linspace(0, 1, 60)]
    assert related_slots(tokens, [0, 1], positions)[0, 1]


def test_what_many_rare_categories_tell_is_found_though_none_of_them_is_frequent():
    rng = np.random.default_rng(3)
    category = rng.integers(0, 500, 5_000)
    amount = (rng.permutation(500)[category] / 500 * 20 + rng.integers(0, 12, 5_000)).astype(np.int32)
    tokens = np.stack([category.astype(np.int32), amount], axis=1)
    assert related_slots(tokens, [0, 1], [None, np.linspace(0, 1, amount.max() + 1)])[0, 1]


def test_many_rare_categories_that_tell_nothing_seem_to_in_few_cases():
    found = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        skewed = np.minimum(rng.geometric(0.4, 600), 9)
        tokens = np.stack([rng.zipf(1.3, 600).clip(max=400), skewed], axis=1).astype(np.int32)
        found += int(related_slots(tokens, [0, 1], [None, None])[0, 1])
    assert found <= 5


def test_a_slot_that_is_always_the_same_tells_nothing_however_many_rows_there_are():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        tokens = np.stack([np.zeros(49_999, np.int32), *rng.integers(0, [[2], [3]], (2, 49_999), dtype=np.int32)])
        assert not related_slots(tokens.T, range(3), [])[0, 1:].any()


def test_chance_is_what_all_permutations_give():
    first, second = np.array([0, 0, 0, 1, 1, 2, 3]), np.array([0, 0, 1, 1, 1, 0, 2])
    rows = len(first)
    counts = [np.bincount(side)[:, None].astype(np.float64) for side in (first, second)]
    found = [
        rows * (np.histogram2d(first, mixed, bins=(range(5), range(4)))[0] ** 2 / (counts[0] @ counts[1].T)).sum() - rows
        for mixed in (second[list(order)] for order in permutations(range(rows)))
    ]
    mean, variance = expected(*counts, rows)
    assert mean[0] == pytest.approx(np.mean(found))
    assert variance[0] == pytest.approx(np.var(found))


def test_summaries_inform_all_slots():
    related = related_slots(independent(500, 5), range(5), [], summaries=2)
    assert related[:2].all() and not related[3, 4]


def test_few_rows_relate_nothing():
    assert related_slots(np.zeros((0, 3), np.int32), [0, 1, 2], []).tolist() == np.eye(3, dtype=bool).tolist()
    assert related_slots(independent(3, 3), [0, 1, 2], []).tolist() == np.eye(3, dtype=bool).tolist()
