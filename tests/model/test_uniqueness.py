"""Unique columns that the row model writes: repeated values move to the nearest free one."""

from __future__ import annotations

import decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_engine.errors import Terminal
from synth_engine.model.uniqueness import _moved, make_unique
from synth_engine.schema import Column, Kind, Table
from synth_engine.schema.types import to_arrow


def unique(columns: list[Column], values: list[list[object]]) -> list[tuple[object, ...]]:
    names = [c.name for c in columns]
    data = {c.name: pa.array(v, to_arrow(c.data_type)) for c, v in zip(columns, values, strict=True)}
    table = Table("readings", tuple(columns), unique=(tuple(names),))
    make_unique(data, names, columns, table, len(values[0]))
    assert [data[c.name].type for c in columns] == [to_arrow(c.data_type) for c in columns]
    return list(zip(*(data[n].to_pylist() for n in names), strict=True))


def test_what_is_unique_already_is_left_as_it_is():
    assert unique([Column("n", Kind.INTEGER, "int32")], [[3, 1, None, None]]) == [(3,), (1,), (None,), (None,)]


@pytest.mark.parametrize(
    ("data_type", "kind", "value"),
    [
        ("int32", Kind.INTEGER, 7),
        ("string", Kind.TEXT, "name"),
        ("string(5)", Kind.TEXT, "name!"),
        ("decimal(6,2)", Kind.DECIMAL, 1),
        ("timestamp", Kind.TIMESTAMP, 0),
    ],
)
def test_repeated_values_become_different_ones_and_nulls_stay(data_type, kind, value):
    made = unique([Column("x", kind, data_type)], [[value] * 30 + [None, None]])
    assert len(set(made)) == 31
    assert made[30:] == [(None,), (None,)]


def test_moments_move_by_their_own_grain():
    hours = [0, 0, 7_200_000_000]
    made = unique([Column("at", Kind.TIMESTAMP, "timestamp")], [hours])
    assert sorted(at.hour for (at,) in made) == [0, 1, 2]


def test_only_the_combination_has_to_be_unique():
    columns = [Column("sensor", Kind.CATEGORY, "string"), Column("at", Kind.DATE, "date")]
    made = unique(columns, [["a", "b", "a", "a"], [5, 5, 5, 9]])
    assert len(set(made)) == 4
    assert made[1] == ("b", made[0][1])


def test_strings_stay_within_their_length():
    made = unique([Column("x", Kind.TEXT, "string(3)")], [["abc"] * 200])
    assert len(set(made)) == 200
    assert max(len(text) for (text,) in made) <= 3


def test_categories_exchange_their_values_until_no_combination_repeats():
    columns = [Column("tenant", Kind.CATEGORY, "string"), Column("sku", Kind.CATEGORY, "int32")]
    made = unique(columns, [["a"] * 6 + ["b"] * 6, [1, 1, 1, 2, 3, 4, 4, 4, 4, 4, 5, 6]])
    assert len(set(made)) == 12
    assert {sku for _, sku in made} == {1, 2, 3, 4, 5, 6}


def test_more_rows_than_categories_get_new_ones():
    made = unique([Column("colour", Kind.CATEGORY, "string")], [["red", "red", "blue"]])
    assert len(set(made)) == 3
    assert {("red",), ("blue",)} < set(made)


def test_more_rows_than_a_boolean_bears_are_refused_and_the_key_is_named():
    with pytest.raises(Terminal, match=r"readings\(on\) must be unique"):
        unique([Column("on", Kind.BOOLEAN, "boolean")], [[True, False, True]])


def test_dense_integers_go_on_beyond_the_source_s():
    made = unique([Column("n", Kind.INTEGER, "int32")], [list(range(1, 1001)) * 3])
    assert sorted(n for (n,) in made) == list(range(1, 3001))
    assert [n for (n,) in made[:1000]] == list(range(1, 1001))


def test_numbers_fill_the_gaps_first():
    made = unique([Column("n", Kind.INTEGER, "int32")], [[1, 1, 1, 5, 5, 20]])
    assert [n for (n,) in made] == [1, 2, 3, 5, 6, 20]


def test_where_the_type_ends_numbers_go_on_below():
    made = unique([Column("n", Kind.INTEGER, "int16")], [[32_766, 32_767] * 50])
    assert sorted(n for (n,) in made) == list(range(32_668, 32_768))


def test_large_numbers_keep_their_last_digit():
    made = unique([Column("n", Kind.INTEGER, "int64")], [[2**60 + 1] * 3])
    assert [n for (n,) in made] == [2**60 + 1, 2**60 + 2, 2**60 + 3]


@pytest.mark.parametrize(
    ("column", "values", "found"),
    [
        (Column("share", Kind.DECIMAL, "decimal(2,1)"), [decimal.Decimal("0.5")] * 300, "300 rows, room for 199 values of share"),
        (Column("code", Kind.TEXT, "string(1)"), ["a"] * 40, "40 rows, room for 36 values of code"),
    ],
)
def test_more_rows_than_a_type_holds_are_refused_with_both_numbers(column, values, found):
    with pytest.raises(Terminal, match=found):
        unique([column], [values])


def test_of_a_combination_the_rows_that_agree_in_the_rest_are_counted():
    columns = [Column("shop", Kind.CATEGORY, "boolean"), Column("open", Kind.BOOLEAN, "boolean")]
    with pytest.raises(Terminal, match=r"5 rows that agree in shop, room for 2 values of open|5 rows that agree in open, .*of shop"):
        unique(columns, [[True] * 5, [True, True, False, True, True]])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-6, 6)), min_size=1, max_size=40), st.integers(6, 10))
def test_nothing_repeats_the_first_of_each_stays_and_the_range_is_kept(rows, high):
    group, values = (np.array(side, dtype=np.int64) for side in zip(*rows, strict=True))
    low = high - 49
    moved = _moved(values, group, low, high)
    assert len(set(zip(group.tolist(), moved.tolist(), strict=True))) == len(rows)
    assert moved.min() >= low
    assert moved.max() <= high
    first = [rows.index(row) for row in dict.fromkeys(rows)]
    assert moved[first].tolist() == values[first].tolist()
