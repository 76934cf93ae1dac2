"""Codes of parents that go together: told from the parent's row, and only where it tells something."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from synth_engine.model.clusters import CHILDREN_INSTEAD
from synth_engine.model.partners import Partners
from synth_engine.model.preparation import prepare
from tests.model.test_planted import SCHEMA, planted

SHOP = 1
"""Number of the key from orders to shops."""


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    return planted(0)


def regions(tables: dict[str, pa.Table]) -> np.ndarray:
    """The region of every shop as a token, beside one that means nothing."""
    region = tables["shops"]["region"].combine_chunks().dictionary_encode().indices.to_numpy()
    return np.stack([region, np.random.default_rng(0).integers(0, 8, len(region))], axis=1).astype(np.int32)


def fitted(tables: dict[str, pa.Table], features: np.ndarray, fewest: int = 5) -> Partners | None:
    prepared = prepare(SCHEMA, dict(tables), 0)
    order = np.argsort(prepared["shops"].source_row)
    assert (order == np.arange(len(order))).all()  # shops are as they came
    return Partners.fit(prepared["orders"], SHOP, prepared, features, fewest, 0)


def test_parents_that_attract_the_same_share_a_code_and_others_do_not(tables):
    features = regions(tables)
    codes = fitted(tables, features).codes(features)
    for region in range(4):
        ours = codes[features[:, 0] == region]
        assert not set(ours) & set(codes[features[:, 0] != region])


def test_where_who_goes_with_whom_is_chance_there_are_no_codes(tables):
    orders = tables["orders"]
    anywhere = pa.array(np.random.default_rng(1).permutation(orders["shop"].to_numpy()))
    shuffled = {**tables, "orders": orders.set_column(orders.column_names.index("shop"), "shop", anywhere)}
    assert fitted(shuffled, regions(shuffled)) is None


def test_a_row_that_tells_nothing_gives_no_codes(tables):
    features = np.random.default_rng(2).integers(0, 6, (tables["shops"].num_rows, 3)).astype(np.int32)
    assert fitted(tables, features) is None


def test_codes_survive_being_written(tables):
    features = regions(tables)
    made = fitted(tables, features)
    read = Partners.from_json(json.loads(json.dumps(made.to_json())))
    assert (read.codes(features) == made.codes(features)).all()
    assert read.size == made.size


def test_no_code_stands_for_fewer_parents_than_asked_for_or_for_few_children(tables):
    features = regions(tables)
    codes = fitted(tables, features, fewest=40).codes(features)
    children = np.bincount(tables["orders"]["shop"].to_numpy() - 1, minlength=len(codes))
    assert ((np.bincount(codes) >= 40) | (np.bincount(codes, children) >= CHILDREN_INSTEAD)).all()
