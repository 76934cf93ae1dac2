"""A pattern that a person gives spells a numbered set of strings, each once; what cannot be numbered is refused by name."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_engine.schema.patterns import UnreadablePattern, read_pattern

items = st.sampled_from(["A", "b", "[0-9]", "[a-cX]", r"\d", r"\.", "-", "é"])
counted = st.tuples(items, st.sampled_from(["", "?", "{2}", "{0,2}", "{1,3}"])).map("".join)
sequences = st.lists(counted, min_size=1, max_size=4).map("".join)
groups = st.lists(sequences, min_size=1, max_size=3).map(lambda parts: "(" + "|".join(parts) + ")")
patterns = st.lists(st.one_of(counted, st.tuples(groups, st.sampled_from(["", "?", "{1,2}"])).map("".join)), min_size=1, max_size=3)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(patterns.map("".join), st.data())
def test_every_number_has_a_string_of_its_own_that_the_expression_matches(pattern, data):
    language = read_pattern(pattern)
    numbers = data.draw(st.sets(st.integers(0, language.capacity - 1), max_size=30))
    made = [language.nth(number) for number in numbers]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(pattern, text) and len(text) <= language.longest for text in made)


@pytest.mark.parametrize(
    ("pattern", "spelled"),
    [
        ("A?A?", ["", "A", "AA"]),
        ("(AB|A(B|C))", ["AB", "AC"]),
        ("[A-]{1}", ["-", "A"]),
        (r"\[[ab]\]", ["[a]", "[b]"]),
        ("(?:x|yy){0,2}z", ["xxz", "xyyz", "xz", "yyxz", "yyyyz", "yyz", "z"]),
    ],
)
def test_a_string_that_is_spelled_in_two_ways_counts_once(pattern, spelled):
    language = read_pattern(pattern)
    assert sorted(language.nth(number) for number in range(language.capacity)) == spelled


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("a*", "'*' at character 2"),
        ("a+", "'+' at character 2"),
        (".", "'.' at character 1"),
        ("^a", "'^' at character 1"),
        ("[^a]", "'[^' at character 1"),
        ("(?=a)", "'(?=' at character 1"),
        (r"\w", r"'\w' at character 1"),
        (r"(a)\1", r"'\1' at character 4"),
        ("(a", "'(' at character 1 is not closed"),
        ("a)", "')' at character 2 closes nothing"),
        ("[a", "'[' at character 1 is not closed"),
        ("a{2,}", "the count at character 2"),
        ("a{3,2}", "the count at character 2"),
        ("[b-a]", "a range that runs backwards"),
        ("[]", "the class at character 1 is empty"),
        ("(a{200}){2}", "more than 256 characters"),
        ("[ab]{0,40}a[ab]{40}", "too many ways"),
    ],
)
def test_what_is_not_supported_is_named(pattern, named):
    with pytest.raises(UnreadablePattern, match=re.escape(named)):
        read_pattern(pattern)


def test_before_are_the_strings_that_any_ending_completes():
    assert read_pattern("A[0-9]{3}").before("0123456789").capacity == 100
    assert read_pattern("A[0-9]{2}[0-8]").before("0123456789").capacity == 0
