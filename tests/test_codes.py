"""Values of keys as numbers: equal ones are equal in all tables, whatever the tables' types."""

from __future__ import annotations

import pyarrow as pa
import pytest

from synth_engine import train
from synth_engine.codes import joint_codes
from synth_engine.errors import SourceDataError

PARENTS = pa.array([1, 2, 3])


def found(*others: pa.Array | pa.ChunkedArray) -> list[list[int]]:
    return [codes.tolist() for codes in joint_codes([[PARENTS, *others]])]


def test_values_of_another_type_are_compared_as_those_of_the_first_table():
    assert found(pa.array([3.0, 1.0, None]), pa.array(["2", None]))[1:] == [[2, 0, -1], [1, -1]]


def test_text_among_numbers_and_fractions_among_integers_are_equal_to_none_of_them():
    assert found(pa.array([1.5, 2.0, None, 1.5]))[1] == [3, 1, -1, 3]
    assert found(pa.chunked_array([["2"], ["xyz", None, "abc", "xyz"]]))[1] == [1, 3, -1, 4, 3]


def test_what_no_parent_can_be_is_equal_in_all_other_tables():
    _, first, second = found(pa.array(["x"]), pa.array(["y", "x", "1"]))
    assert second == [first[0] + 1, first[0], 0]


@pytest.mark.parametrize("strange", ["x", 1.5])
def test_a_reference_that_no_parent_can_be_is_an_orphan(strange, tmp_path):
    (tmp_path / "schema.yaml").write_text(
        "tables: {shop: {primary_key: [id]}, sale: {foreign_keys: [{columns: [shop_id], references: {table: shop, columns: [id]}}]}}"
    )
    sales = pa.table({"shop_id": [type(strange)(1), type(strange)(2), strange]})
    with pytest.raises(SourceDataError, match="orphan"):
        train({"shop": pa.table({"id": [1, 2, 3]}), "sale": sales}, tmp_path / "schema.yaml")
