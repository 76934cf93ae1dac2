"""Scores are 1 for an equal, near 1 for a faithful and low for a careless twin, and each sees what it should see."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from synth_engine.quality.columns import numbers, scored_columns, texts
from synth_engine.quality.fidelity import Fidelity, score, shape
from synth_engine.quality.scores import DETECTION, SCORES
from synth_engine.schema import Column, Kind


@pytest.fixture(scope="module")
def faithful(shop) -> Fidelity:
    return score(shop.schema, shop.real, shop.frames(7))


def test_a_copy_scores_one_everywhere_and_fools_the_classifier(shop):
    copy = score(shop.schema, shop.real, {name: frame.copy() for name, frame in shop.real.items()})
    assert {name: copy.summary[name] for name in SCORES} == dict.fromkeys(SCORES, 1.0)
    assert copy.summary["detection"] < 0.55


def test_another_draw_of_the_same_shop_scores_high(faithful):
    assert all(faithful.summary[name] > 0.9 for name in SCORES)
    assert faithful.summary["detection"] < 0.6


def test_every_score_has_a_name_for_people(faithful):
    assert list(faithful.summary) == [*SCORES, *DETECTION]


def test_keys_and_texts_are_not_scored(shop, faithful):
    assert [c.name for c in scored_columns(shop.schema, "customers")] == ["country", "born", "active"]
    assert set(faithful.tables["items"].shapes) == {"quantity"}
    assert set(faithful.relations) == {"orders.customer_id->customers", "items.order_id->orders", "returns.order_id+line->items"}


def test_shuffled_parents_lower_parent_child_and_siblings_but_not_shapes(shop, faithful):
    careless = shop.frames(7)
    orders = careless["orders"]
    orders["total"] = orders["total"].sample(frac=1, random_state=0).to_numpy()
    found = score(shop.schema, shop.real, careless)
    label = "orders.customer_id->customers"
    assert found.tables["orders"].shapes == faithful.tables["orders"].shapes
    assert found.relations[label].parent_child < faithful.relations[label].parent_child - 0.01
    assert found.relations[label].siblings < faithful.relations[label].siblings - 0.03
    assert found.tables["customers"].detection_with_children.accuracy > faithful.tables["customers"].detection_with_children.accuracy


def test_lost_childless_parents_lower_cardinality(shop, faithful):
    even = shop.frames(7)
    even["orders"]["customer_id"] = pd.Series(np.arange(len(even["orders"])) % len(even["customers"]) + 1, dtype="Int64")
    label = "orders.customer_id->customers"
    assert score(shop.schema, shop.real, even).relations[label].cardinality < faithful.relations[label].cardinality - 0.2


def test_a_shifted_column_is_named_as_the_giveaway(shop):
    shifted = shop.frames(7)
    shifted["orders"]["total"] += 1000
    found = score(shop.schema, shop.real, shifted).tables["orders"]
    assert found.shapes["total"] < 0.1
    assert found.detection.accuracy > 0.95
    assert found.detection.giveaways[0][0] == "total"


def test_the_same_seed_gives_the_same_scores(shop, faithful):
    assert score(shop.schema, shop.real, shop.frames(7)) == faithful


def test_scores_are_json_and_hold_no_value_of_a_row(shop, faithful):
    text = json.dumps(faithful.to_dict())
    assert "user0-" not in text and "broken" not in text


@pytest.mark.parametrize(
    ("synthetic", "expected"),
    [([None, None, None, None], 0.0), ([1.0, 2.0, 3.0, 4.0], 1.0), ([1.0, 2.0, None, None], 0.5 * 0.5)],
    ids=["all missing", "equal", "upper half missing"],
)
def test_missing_values_count(synthetic, expected):
    column = Column("x", Kind.DECIMAL, "float64")
    assert shape(pd.Series([1.0, 2.0, 3.0, 4.0]), pd.Series(synthetic, dtype=float), column) == pytest.approx(expected)


def test_two_columns_that_are_all_missing_are_alike():
    empty = pd.Series([None, None], dtype=object)
    assert shape(empty, empty, Column("x", Kind.DECIMAL, "float64")) == 1.0
    assert shape(empty, empty, Column("x", Kind.CATEGORY, "string")) == 1.0


def test_integers_with_missing_values_read_the_same_as_plain_ones():
    assert texts(pd.Series([1, 2])).to_pylist() == texts(pd.Series([1.0, 2.0])).to_pylist() == ["1", "2"]
    assert texts(pd.Series([True, None], dtype=object)).to_pylist() == ["true", None]


def test_moments_are_seconds_whatever_type_holds_them():
    column = Column("day", Kind.DATE, "date")
    day = pd.Timestamp("2024-02-29")
    for values in (pd.Series([day]), pd.Series([day.date()]), pd.Series(["2024-02-29"]), pd.Series([day.tz_localize("UTC")])):
        assert numbers(values, column).tolist() == [day.timestamp()]
