"""What a column means is decided from its type, its keys and counts of its values; what cannot be modelled is said."""

from __future__ import annotations

import pyarrow as pa
import pytest

from synth_engine.errors import ConfigurationError
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.schema.kinds import MAX_CATEGORIES, MAX_CATEGORY_LENGTH, ColumnStatistics, refine_kinds
from synth_engine.schema.types import default_kind, to_arrow
from synth_engine.statistics import column_statistics


def one_column(data_type: str, statistics: ColumnStatistics, **table: object) -> Table:
    column = Column("x", default_kind(data_type), data_type)
    schema = Schema.of([Table("t", (column,), **table)])  # type: ignore[arg-type]
    return refine_kinds(schema, {"t": {"x": statistics}}).tables["t"]


def kind_of(data_type: str, statistics: ColumnStatistics) -> Kind:
    return one_column(data_type, statistics).column("x").kind


@pytest.mark.parametrize(
    ("rows", "nulls", "distinct", "length", "kind"),
    [
        (1000, 0, 12, 20, Kind.CATEGORY),
        (1000, 0, 500, 20, Kind.CATEGORY),
        (1000, 0, 501, 20, Kind.TEXT),
        (1000, 900, 60, 20, Kind.TEXT),
        (1, 0, 1, 3, Kind.TEXT),
        (1000, 0, 1, 3, Kind.CATEGORY),
        (10 * MAX_CATEGORIES, 0, MAX_CATEGORIES + 1, 20, Kind.TEXT),
        (1000, 0, 12, MAX_CATEGORY_LENGTH + 1, Kind.TEXT),
    ],
)
def test_strings_are_categories_if_their_values_repeat(rows: int, nulls: int, distinct: int, length: int, kind: Kind) -> None:
    assert kind_of("string", ColumnStatistics(rows, nulls, distinct, max_length=length)) is kind


def test_numbers_that_are_all_whole_are_integers_whatever_their_type() -> None:
    assert kind_of("float64", ColumnStatistics(100, 0, 40, all_integral=True)) is Kind.INTEGER
    assert kind_of("decimal(10,2)", ColumnStatistics(100, 0, 40, all_integral=True)) is Kind.INTEGER
    assert kind_of("float64", ColumnStatistics(100, 0, 40, all_integral=False)) is Kind.DECIMAL


def test_a_column_of_nulls_keeps_the_kind_of_its_type_and_is_noted() -> None:
    table = one_column("float64", ColumnStatistics(100, 100, 0))
    assert table.column("x").kind is Kind.DECIMAL
    assert table.notes == ("column x holds nothing but nulls as far as was looked",)


def test_numbers_that_are_not_finite_are_noted() -> None:
    values = pa.table({"x": pa.array([1.0, float("inf"), float("nan"), None])})
    found = column_statistics(Table("t", (Column("x", Kind.DECIMAL, "float64"),)), values)["x"]
    assert (found.nulls, found.not_finite) == (1, 2)
    (note,) = one_column("float64", found).notes
    assert note == "column x holds 2 numbers that are infinite or NaN, as far as was looked: they are taken for nulls"


@pytest.mark.parametrize("data_type", ["int64", "decimal(38,2)"])
def test_numbers_of_more_digits_than_are_kept_are_noted(data_type: str) -> None:
    column = Column("x", default_kind(data_type), data_type)
    values = pa.table({"x": pa.array([7, 10**17 + 1, None], pa.int64()).cast(to_arrow(data_type))})
    found = column_statistics(Table("t", (column,)), values)["x"]
    assert found.long == 1
    (note,) = one_column(data_type, found).notes
    assert note == "column x holds 1 numbers of more than 15 digits, as far as was looked: those beyond are not kept"


def test_an_empty_table_is_no_column_of_nulls() -> None:
    (note,) = one_column("string", ColumnStatistics(0, 0, 0)).notes
    assert note.startswith("the table has no rows")


def test_keys_are_identifiers_even_if_their_values_repeat() -> None:
    parent = Table(
        "p",
        (Column("code", Kind.TEXT, "string", False), Column("mail", Kind.TEXT, "string"), Column("day", Kind.DATE, "date")),
        ("code",),
        (("mail",), ("day",)),
    )
    child = Table("c", (Column("parent", Kind.TEXT, "string"),), foreign_keys=(ForeignKey(("parent",), "p", ("code",)),))
    repeated = ColumnStatistics(1000, 0, 3, max_length=2)
    refined = refine_kinds(Schema.of([parent, child]), {"p": {"code": repeated, "mail": repeated}, "c": {"parent": repeated}})
    assert refined.tables["p"].column("code").kind is Kind.IDENTIFIER
    assert refined.tables["p"].column("mail").kind is Kind.IDENTIFIER
    assert refined.tables["p"].column("day").kind is Kind.DATE
    assert refined.tables["c"].column("parent").kind is Kind.IDENTIFIER


def test_columns_of_a_composite_foreign_key_keep_the_kind_of_their_values() -> None:
    parent = Table("p", (Column("a", Kind.INTEGER, "int64"), Column("b", Kind.TEXT, "string")), unique=(("a", "b"),))
    child = Table(
        "c", (Column("a", Kind.INTEGER, "int64"), Column("b", Kind.TEXT, "string")), foreign_keys=(ForeignKey(("a", "b"), "p", ("a", "b")),)
    )
    refined = refine_kinds(Schema.of([parent, child]), {"c": {"b": ColumnStatistics(100, 0, 5, 2)}}).tables["c"]
    assert [c.kind for c in refined.columns] == [Kind.INTEGER, Kind.CATEGORY]
    assert refined.foreign_keys == child.foreign_keys


def test_a_kind_a_person_wrote_is_left_alone() -> None:
    schema = Schema.of([Table("t", (Column("x", Kind.TEXT, "string"),))])
    refined = refine_kinds(schema, {"t": {"x": ColumnStatistics(100, 0, 2, 5)}}, written={("t", "x")})
    assert refined.tables["t"].column("x").kind is Kind.TEXT


def test_what_is_not_modelled_is_noted_once() -> None:
    schema = Schema.of([Table("t", (Column("x", Kind.JSON, "json", native_type="jsonb"),))])
    once = refine_kinds(schema, {})
    assert once.tables["t"].notes == ("column x (jsonb) is of kind json, which is not modelled: it is written as null",)
    assert refine_kinds(once, {}) == once


def test_columns_for_which_no_value_can_be_written_are_refused_all_at_once() -> None:
    columns = (
        Column("id", Kind.IDENTIFIER, "binary", False, "BYTEA"),
        Column("x", Kind.JSON, "json", False),
        Column("y", Kind.OTHER, "other", False, "INET"),
    )
    with pytest.raises(ConfigurationError) as raised:
        refine_kinds(Schema.of([Table("t", columns, primary_key=("id",))]), {})
    assert [fault.partition(": ")[0] for fault in raised.value.faults] == ["t.id", "t.x", "t.y"]
    assert "Next step: give it kind 'category' in the schema file" in raised.value.faults[1]


def test_nothing_is_lost_of_a_table_that_is_kept() -> None:
    schema = Schema.of([Table("t", (Column("id", Kind.IDENTIFIER, "json", False), Column("doc", Kind.JSON, "json", False)), ("id",))])
    assert refine_kinds(schema, {}, kept=["t"]).tables["t"].notes == ()
    with pytest.raises(ConfigurationError):
        refine_kinds(schema, {})
