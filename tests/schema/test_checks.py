"""Settings are held against the schema before any work is done: every wrong name and kind is told, all at once."""

from __future__ import annotations

from typing import Any

import pytest

from synth_engine.config import Config
from synth_engine.errors import ConfigurationError
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.schema.checks import check_settings

SHOP = Schema.of(
    [
        Table("customer", (Column("id", Kind.IDENTIFIER, "int64", False), Column("town", Kind.TEXT, "string")), primary_key=("id",)),
        Table(
            "purchase",
            (Column("customer", Kind.IDENTIFIER, "int64"), Column("price", Kind.DECIMAL, "decimal(8,2)")),
            foreign_keys=(ForeignKey(("customer",), "customer", ("id",)),),
        ),
    ]
)


def faults(**settings: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        check_settings(SHOP, Config.build(settings))
    return caught.value.faults


def test_without_settings_the_schema_stays_as_it_is() -> None:
    assert check_settings(SHOP, Config()) == SHOP


def test_a_kind_that_the_settings_name_is_given() -> None:
    checked = check_settings(SHOP, Config.build({"columns": {"customer": {"town": {"kind": "category"}}}}))
    assert checked.tables["customer"].column("town").kind is Kind.CATEGORY
    assert checked.tables["purchase"] == SHOP.tables["purchase"]
    assert checked.fingerprint() == SHOP.fingerprint()


def test_only_the_tables_that_the_settings_select_remain() -> None:
    checked = check_settings(SHOP, Config.build({"tables": ["purchase"]}))
    assert list(checked.tables) == ["purchase"]
    assert checked.tables["purchase"].foreign_keys == ()
    assert "purchase.customer->customer is dropped" in checked.tables["purchase"].notes[0]


@pytest.mark.parametrize(
    ("settings", "where", "next_step"),
    [
        ({"tables": ["custmer"]}, "tables: there is no such table as 'custmer'", "did you mean 'customer'"),
        ({"rows": {"purchases": 5}}, "rows.purchases: there is no such table", "did you mean 'purchase'"),
        ({"columns": {"nothing": {}}}, "columns.nothing: there is no such table", "name one of 'customer', 'purchase'"),
        (
            {"columns": {"customer": {"twon": {"kind": "text"}}}},
            "columns.customer.twon: there is no such column in table 'customer'",
            "did you mean 'town'",
        ),
        ({"keep": ["custmer"]}, "keep: there is no such table as 'custmer'", "did you mean 'customer'"),
        ({"tables": ["purchase"], "keep": ["customer"]}, "keep: there is no such table as 'customer'", "name one of 'purchase'"),
        ({"tables": ["customer"], "rows": {"purchase": 5}}, "rows.purchase: there is no such table", "name one of 'customer'"),
    ],
)
def test_an_unknown_table_or_column_is_told_with_its_path_and_the_nearest_name(settings: Any, where: str, next_step: str) -> None:
    (fault,) = faults(**settings)
    assert fault.startswith(where)
    assert f"Next step: {next_step}" in fault


def test_a_table_cannot_have_fewer_than_no_rows() -> None:
    (fault,) = faults(rows={"customer": -1})
    assert fault == "rows.customer: a table cannot have -1 rows. Next step: ask for 0 or more"
    assert check_settings(SHOP, Config.build({"rows": {"customer": 0}})) == SHOP


def test_rows_of_a_kept_table_cannot_be_chosen() -> None:
    (fault,) = faults(keep=["customer"], rows={"customer": 5, "purchase": 7})
    assert fault == (
        "rows.customer: the table is kept, so its rows are the source's. Found: 5. Next step: remove it, or do not keep customer"
    )


def test_neither_rows_nor_temperature_can_be_chosen_where_the_graph_is_the_source_s() -> None:
    found = faults(structure="original", rows={"customer": 5}, links={"temperature": 2})
    assert [fault.partition(":")[0] for fault in found] == ["rows.customer", "links.temperature"]
    assert all("set structure: sampled" in fault for fault in found)
    assert check_settings(SHOP, Config.build({"structure": "original", "links": {"temperature": 1}})) == SHOP


def test_an_unknown_kind_is_told_with_those_that_exist() -> None:
    (fault,) = faults(columns={"customer": {"town": {"kind": "place"}}})
    assert "columns.customer.town.kind: there is no kind 'place'" in fault
    assert all(kind in fault for kind in Kind)


def test_a_kind_must_be_readable_from_the_type_of_the_column() -> None:
    (fault,) = faults(columns={"customer": {"town": {"kind": "integer"}}})
    assert fault.startswith("columns.customer.town: kind integer cannot be read from type string")
    assert "Next step: name another kind" in fault


def test_integers_and_strings_may_be_moments() -> None:
    kinds = {"customer": {"town": {"kind": "date"}}, "purchase": {"customer": {"kind": "date"}}}
    assert check_settings(SHOP, Config.build({"columns": kinds})).tables["customer"].column("town").kind is Kind.DATE


def test_decimals_are_no_moments() -> None:
    (fault,) = faults(columns={"purchase": {"price": {"kind": "date"}}})
    assert fault.startswith("columns.purchase.price: kind date cannot be read from type decimal(8,2)")


def test_all_faults_are_told_at_once() -> None:
    found = faults(
        tables=["custmer"],
        rows={"orders": 1, "customer": -2},
        columns={"purchase": {"prise": {}, "price": {"kind": "money"}}},
    )
    assert len(found) == 5


FORMATS = Schema.of(
    [
        Table(
            "book",
            (
                Column("isbn", Kind.IDENTIFIER, "string(13)", False),
                Column("number", Kind.TEXT, "string", False),
                Column("title", Kind.TEXT, "string"),
                Column("card", Kind.IDENTIFIER, "int64"),
            ),
            primary_key=("isbn",),
            unique=(("number",),),
        ),
        Table(
            "copy",
            (
                Column("id", Kind.IDENTIFIER, "int16", False),
                Column("book", Kind.IDENTIFIER, "string(13)"),
                Column("day", Kind.DATE, "date"),
            ),
            primary_key=("id",),
            foreign_keys=(ForeignKey(("book",), "book", ("isbn",)),),
        ),
        Table("year", (Column("since", Kind.DATE, "date", False),), primary_key=("since",)),
    ]
)


def format_faults(columns: Any = None, **settings: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        check_settings(FORMATS, Config.build({"columns": columns or {}, **settings}))
    return caught.value.faults


def test_formats_that_keys_can_have_are_taken() -> None:
    columns = {
        "book": {"isbn": {"pattern": "97[89][0-9]{10}", "check_digit": "ean13"}, "number": {"pattern": "N[0-9]{6}"}},
        "copy": {"id": {"check_digit": "luhn"}},
        "year": {"since": {"keep_values": True}},
    }
    assert check_settings(FORMATS, Config.build({"columns": columns, "key_start": {"copy": 5000, "book": 3}})) == FORMATS


@pytest.mark.parametrize(
    ("table", "column", "settings", "told"),
    [
        ("book", "isbn", {"pattern": "A+"}, "pattern: '+' at character 2 is not supported. Found: 'A+'"),
        ("book", "isbn", {"pattern": "[0-9]{14}"}, "pattern: its strings must fit type string(13). Found: 14 characters"),
        ("book", "isbn", {"pattern": "[0-9]{12}X", "check_digit": "ean13"}, "pattern: its last character must be any of 0123456789"),
        ("book", "isbn", {"pattern": "DE[0-9]{9}", "check_digit": "mod97"}, "pattern: the check digits of an IBAN"),
        ("book", "title", {"pattern": "A"}, "pattern: only a column of a primary or unique key, or of kind identifier"),
        ("book", "title", {"check_digit": "luhn"}, "check_digit: only a column of a primary or unique key, or of kind identifier"),
        ("book", "number", {"pattern": "A", "kind": "category"}, "pattern: a column of kind category has no such format"),
        ("book", "card", {"pattern": "[0-9]"}, "pattern: only strings have a pattern, and its type is int64"),
        ("book", "card", {"check_digit": "luhn"}, "check_digit: of whole numbers only a primary key of one column has one"),
        ("copy", "id", {"check_digit": "isbn10"}, "check_digit: rule isbn10 is for strings"),
        ("copy", "book", {"pattern": "A"}, "pattern: the values of a foreign key are its parent's"),
        ("year", "since", {"check_digit": "luhn"}, "check_digit: type date has none"),
        ("book", "number", {"keep_values": True}, "keep_values: only the values of a primary key of one column can be kept"),
        ("book", "isbn", {"keep_values": True, "pattern": "[0-9]{9}"}, "keep_values: values that are kept have the format they have"),
    ],
)
def test_a_format_that_a_column_cannot_have_is_told_with_its_path(table: str, column: str, settings: Any, told: str) -> None:
    (fault,) = format_faults({table: {column: settings}})
    assert fault.startswith(f"columns.{table}.{column}.{told}")
    assert "Next step: " in fault


@pytest.mark.parametrize(
    ("start", "told"),
    [
        ({"copies": 1}, "key_start.copies: there is no such table. Next step: did you mean 'copy'"),
        ({"copy": 40_000}, "key_start.copy: it must fit type int16. Found: 40000"),
        ({"year": 1}, "key_start.year: a key of type date does not count"),
        ({"book": -1}, "key_start.book: a number in a string cannot be negative"),
    ],
)
def test_a_number_that_keys_cannot_start_at_is_told(start: Any, told: str) -> None:
    (fault,) = format_faults(key_start=start)
    assert fault.startswith(told)


def test_all_faults_of_formats_are_told_at_once() -> None:
    columns = {"book": {"isbn": {"pattern": "x*"}, "title": {"check_digit": "luhn"}}, "copy": {"id": {"keep_values": True, "pattern": "y"}}}
    assert len(format_faults(columns, key_start={"year": 1})) == 5
