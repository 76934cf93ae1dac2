"""Check digits by their rules: values known to be right are, a changed digit is found, and chance is not taken for a rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_engine.config import ColumnSettings
from synth_engine.schema.check_digits import CHECK_DIGITS, body, complete, find_rule, holds

RIGHT = [
    ("luhn", "4539578763621486"),
    ("luhn", "490154203237518"),
    ("ean13", "4006381333931"),
    ("ean13", "978-3-16-148410-0"),
    ("isbn10", "080442957X"),
    ("isbn10", "0-306-40615-2"),
    ("mod97", "DE89370400440532013000"),
    ("mod97", "GB82 WEST 1234 5698 7654 32"),
]
BODIES = {"mod97": "DE{:018d}"}


def test_the_settings_name_the_rules_there_are():
    for rule in CHECK_DIGITS:
        assert ColumnSettings(check_digit=rule).check_digit == rule


@pytest.mark.parametrize(("rule", "value"), RIGHT)
def test_numbers_that_are_known_to_be_right_are(rule, value):
    assert holds(rule, value)
    assert complete(rule, body(rule, value)) == value


@pytest.mark.parametrize(("rule", "value"), RIGHT)
def test_one_wrong_digit_is_found(rule, value):
    wrong = value[:6] + str((int(value[6]) + 1) % 10) + value[7:] if value[6].isdecimal() else value[:-1] + str((int(value[-1]) + 1) % 10)
    assert not holds(rule, wrong)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(CHECK_DIGITS), st.sets(st.integers(0, 10**9 - 1), min_size=40, max_size=80))
def test_a_rule_is_found_by_the_values_that_obey_it(rule, numbers):
    values = [complete(rule, BODIES.get(rule, "{:09d}").format(number)) for number in numbers]
    assert all(holds(rule, value) for value in values)
    assert find_rule(values) == rule


@pytest.mark.parametrize(
    "values",
    [
        [f"{i:08d}" for i in range(2000)],
        [str(n) for n in np.random.default_rng(3).integers(10**9, 10**10, 500)],
        [complete("luhn", f"{i:06d}") for i in range(20)],
        ["red", "green"] * 40,
        [""] * 40,
    ],
    ids=["a counter", "random numbers", "too few", "words", "nothing"],
)
def test_chance_is_not_taken_for_a_rule(values):
    assert find_rule(values) is None


def test_a_rule_may_be_broken_by_one_value_in_a_thousand():
    values = [complete("luhn", f"{i:08d}") for i in range(2000)]
    assert find_rule([*values[2:], "000000001", "000000002"]) == "luhn"
    assert find_rule([*values[20:], *["000000001"] * 20]) is None
