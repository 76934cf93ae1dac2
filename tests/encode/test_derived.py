"""Formulas of columns that follow from others."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth_engine.encode.calendar import DAY
from synth_engine.encode.derived import FORMS, SAME, Derivation, Name, agree, tolerance

NAMES = ("price", "rate", "rest")


def derivation(formula: str, **others: object) -> Derivation:
    return Derivation("result", formula, NAMES[: FORMS[formula].operands], **others)


def computed(formula: str, *operands: float, **others: object) -> float:
    return float(derivation(formula, **others).compute([np.array([value], dtype=np.float64) for value in operands])[0])


def test_halves_are_rounded_away_from_zero_as_in_sql():
    assert computed("a * b", 0.5, 0.25, places=2) == 0.13
    assert computed("a * b", -0.5, 0.25, places=2) == -0.13
    assert computed("a * b", 2.5, 1.0, places=0) == 3.0


def test_products_that_floats_miss_by_a_hair_are_rounded_as_decimals_are():
    assert computed("a * b", 1.005, 100, places=1) == 100.5
    assert computed("a * (1 - b)", 1.15, 0.5, places=2) == 0.58


@pytest.mark.parametrize("formula", FORMS)
def test_what_is_computed_from_a_null_is_null(formula: str):
    operands = [
        np.array([np.nan if i == missing else 2.0 for missing in range(FORMS[formula].operands)]) for i in range(FORMS[formula].operands)
    ]
    assert np.isnan(derivation(formula).compute(operands)).all()


def test_what_would_be_divided_by_zero_is_null():
    assert np.isnan(computed("a / b", 1.0, 0.0)) and np.isnan(computed("100 * a / b", 1.0, 0.0))


@pytest.mark.parametrize("formula", FORMS)
def test_a_column_that_is_idle_changes_nothing(formula: str):
    """By it a search sees which columns make a difference: with all but one idle the result is that one, up to its sign or reciprocal."""
    form = FORMS[formula]
    for place, idle in enumerate(form.idle):
        if np.isfinite(idle):
            twice = [
                [np.array([value if i == place else float(other)]) for i, other in enumerate(form.idle)] for value in (float(idle), 0.25)
            ]
            still, moved = (form.compute(*operands) for operands in twice)
            assert still in (0.0, 1.0, 100.0) and moved != still


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (Derivation("total", "a * b * (1 - c)", ("quantity", "price", "discount")), "computed as quantity * price * (1 - discount)"),
        (Derivation("cents", "k * a", ("euros",), 100.0), "computed as 100 * euros"),
        (Derivation("share", "100 * a / b", ("a", "k")), "computed as 100 * a / k"),
        (Derivation("login", SAME, ("email",)), "the same as email"),
        (Derivation("dow", "weekday of a, Monday 0", ("placed",)), "the weekday of placed, Monday 0"),
        (Derivation("wait", "whole hours from a to b", ("placed", "sent")), "the whole hours from placed to sent"),
        (Derivation("late", "hour of a", ("placed",), names=((0, True),)), "settled by the hour of placed"),
        (Derivation("city", SAME, ("town",), key=0), "the same as town of its row of a parent"),
    ],
)
def test_a_formula_is_told_in_the_columns_names(one: Derivation, words: str):
    assert one.says() == words


@given(
    formula=st.sampled_from([SAME, *FORMS]),
    factor=st.floats(-1e6, 1e6),
    places=st.none() | st.integers(0, 12),
    bounds=st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)),
    key=st.none() | st.integers(0, 9),
    names=st.lists(st.tuples(st.integers(0, 60), st.text() | st.booleans() | st.integers(-9, 9))),
)
def test_a_derivation_survives_json(
    formula: str, factor: float, places: int | None, bounds: tuple[float, float], key: int | None, names: list[tuple[int, Name]]
):
    low, high = bounds
    bounds = -np.inf if np.isinf(low) else low, np.inf if np.isinf(high) else high
    one = Derivation("column", formula, NAMES, factor, places, bounds, key, tuple(names))
    assert Derivation.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_missing_values_agree_with_missing_ones_only():
    values = np.array([1.0, np.nan, 1.0, np.nan])
    assert agree(np.array([1.0, np.nan, np.nan, 1.0]), values, 0.0).tolist() == [True, True, False, False]


def test_numbers_may_be_off_by_half_a_unit_of_their_last_decimal_or_as_floats_are():
    value = np.array([1234.56])
    within = tolerance(value, 2, False)
    assert agree(value + 0.005, value, within).all() and not agree(value + 0.0051, value, within).any()
    exact = tolerance(value, None, False)
    assert agree(value * (1 + 1e-12), value, exact).all() and not agree(value * (1 + 1e-7), value, exact).any()
    assert agree(value * (1 + 1e-7), value, tolerance(value, None, True)).all()


def test_a_name_stands_for_its_number_or_the_next_before_that_has_one():
    season = Derivation("season", "month of a", ("placed",), places=0, names=((1, "winter"), (4, "spring"), (7, "summer")))
    days = np.array(["2024-01-31", "2024-02-29", "2024-06-01", "2024-12-24"], "datetime64[D]").astype(float) * DAY
    assert season.column_of([np.r_[days, np.nan]], "string").to_pylist() == ["winter", "winter", "spring", "summer", None]
