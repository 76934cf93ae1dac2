"""A schema written by a person: what is written wins, what does not fit is told all at once."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from synth_engine.errors import ConfigurationError
from synth_engine.schema import Column, ForeignKey, Kind, Provenance, Schema, Table
from synth_engine.schema.files import SchemaFile, apply_schema_file, read_schema_file


def found() -> Schema:
    """A shop as a folder of CSV files gives it (no keys), but for one key its warehouse declares."""
    return Schema.of(
        [
            Table(
                "customer",
                (
                    Column("id", Kind.INTEGER, "int64"),
                    Column("email", Kind.TEXT, "string"),
                    Column("born", Kind.DATE, "date"),
                    Column("city", Kind.TEXT, "string"),
                ),
            ),
            Table(
                "order",
                (
                    Column("id", Kind.INTEGER, "int64"),
                    Column("customer", Kind.INTEGER, "int64"),
                    Column("placed", Kind.TIMESTAMP, "timestamp"),
                    Column("price", Kind.DECIMAL, "decimal(10,2)"),
                    Column("pieces", Kind.INTEGER, "int32"),
                    Column("document", Kind.JSON, "json"),
                ),
            ),
        ]
    )


def read(folder: Path, text: str) -> SchemaFile:
    path = folder / "schema.yaml"
    path.write_text(dedent(text), encoding="utf-8")
    return read_schema_file(path)


def read_sdv(folder: Path, metadata: dict[str, Any]) -> SchemaFile:
    path = folder / "metadata.json"
    path.write_text(json.dumps(metadata), encoding="utf-8")
    return read_schema_file(path)


def faults_of(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as raised:
        apply_schema_file(found(), read(folder, text))
    return raised.value.faults


KEYS = """
    tables:
      customer:
        primary_key: [id]
      order:
        primary_key: [id]
        foreign_keys:
          - {columns: [customer], references: {table: customer, columns: [id]}}
"""


def test_keys_are_added_to_what_was_found(tmp_path: Path) -> None:
    schema = apply_schema_file(found(), read(tmp_path, KEYS))
    assert schema.tables["order"].primary_key == ("id",)
    assert schema.tables["order"].foreign_keys == (ForeignKey(("customer",), "customer", ("id",), Provenance.USER),)
    assert schema.tables["customer"].column_names == found().tables["customer"].column_names


def test_columns_that_are_keys_become_identifiers_and_primary_keys_are_never_null(tmp_path: Path) -> None:
    order = apply_schema_file(found(), read(tmp_path, KEYS)).tables["order"]
    assert order.column("id") == Column("id", Kind.IDENTIFIER, "int64", nullable=False)
    assert order.column("customer") == Column("customer", Kind.IDENTIFIER, "int64", nullable=True)


def test_a_written_kind_wins(tmp_path: Path) -> None:
    file = read(tmp_path, "tables: {customer: {columns: {city: {kind: category}, email: {}}}}")
    customer = apply_schema_file(found(), file).tables["customer"]
    assert customer.column("city").kind is Kind.CATEGORY
    assert customer.column("email").kind is Kind.TEXT
    assert file.written_kinds == {("customer", "city")}


def test_a_written_primary_key_leaves_the_declared_one_unique(tmp_path: Path) -> None:
    declared = Schema.of([Table("t", (Column("a", Kind.IDENTIFIER, "int64"), Column("b", Kind.TEXT, "string")), primary_key=("a",))])
    table = apply_schema_file(declared, read(tmp_path, "tables: {t: {primary_key: [b]}}")).tables["t"]
    assert table.primary_key == ("b",)
    assert table.unique == (("a",),)


def test_a_key_that_is_declared_as_well_stays_declared_and_a_different_one_replaces_it(tmp_path: Path) -> None:
    columns = (Column("id", Kind.IDENTIFIER, "int64"), Column("up", Kind.IDENTIFIER, "int64"))
    key = ForeignKey(("up",), "a", ("id",))
    declared = Schema.of([Table("a", columns, ("id",), foreign_keys=(key,)), Table("b", columns, ("id",))])
    same = read(tmp_path, "tables: {a: {foreign_keys: [{columns: [up], references: {table: a, columns: [id]}}]}}")
    assert apply_schema_file(declared, same).tables["a"].foreign_keys == (key,)
    other = read(tmp_path, "tables: {a: {foreign_keys: [{columns: [up], references: {table: b, columns: [id]}}]}}")
    assert apply_schema_file(declared, other).tables["a"].foreign_keys == (ForeignKey(("up",), "b", ("id",), Provenance.USER),)


def test_a_foreign_key_may_refer_to_a_unique_key_and_name_its_columns_in_any_order(tmp_path: Path) -> None:
    text = """
        tables:
          customer: {unique: [[email, city]]}
          order: {foreign_keys: [{columns: [id, pieces], references: {table: customer, columns: [city, email]}}]}
    """
    assert len(apply_schema_file(found(), read(tmp_path, text)).tables["order"].foreign_keys) == 1


def test_a_key_on_an_expression_is_not_kept_and_the_table_says_so(tmp_path: Path) -> None:
    text = """
        tables:
          order:
            foreign_keys:
              - {columns: [customer, hour(placed)], references: {table: customer, columns: [id, born]}}
    """
    order = apply_schema_file(found(), read(tmp_path, text)).tables["order"]
    assert order.foreign_keys == ()
    assert order.notes == ("key order.customer+hour(placed)->customer is not kept because hour(placed) is an expression, not a column",)


def test_every_fault_is_told_at_once_with_its_path(tmp_path: Path) -> None:
    faults = faults_of(
        tmp_path,
        """
        tables:
          customers: {primary_key: [id]}
          customer:
            primary_key: [idd]
            columns: {emial: {kind: text}}
          order:
            unique: [[id], [plced]]
            foreign_keys:
              - {columns: [customer], references: {table: custmer, columns: [id]}}
              - {columns: [custommer], references: {table: customer, columns: [nr]}}
              - {columns: [customer, id], references: {table: customer, columns: [id]}}
              - {columns: [customer], references: {table: customer, columns: [id]}}
        """,
    )
    paths = [fault.partition(": ")[0] for fault in faults]
    assert paths == [
        "tables.customers",
        "tables.customer.primary_key",
        "tables.customer.columns",
        "tables.order.unique[1]",
        "tables.order.foreign_keys[0]",
        "tables.order.foreign_keys[1]",
        "tables.order.foreign_keys[1]",
        "tables.order.foreign_keys[2]",
        "tables.order.foreign_keys[3]",
    ]
    assert "did you mean 'customer'?" in faults[0]
    assert "did you mean 'email'?" in faults[2]
    assert "2 columns refer to 1" in faults[7]
    assert "(id) of table 'customer' is neither" in faults[8]


def test_faults_of_form_are_told_at_once_with_their_paths(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read(
            tmp_path,
            """
            tables:
              order:
                primary_keys: [id]
                unique: [id]
                columns: {price: {kind: decimals}}
                foreign_keys:
                  - {columns: [], references: {table: customer, columns: [id]}}
                  - {columns: [customer], references: {table: customer}}
            """,
        )
    text = str(raised.value)
    assert len(raised.value.faults) == 5
    assert "tables.order.primary_keys: there is no such entry" in text
    assert "tables.order.unique[0]" in text
    assert (
        "tables.order.columns.price.kind: a kind must be one this product knows. Found: 'decimals'. Next step: did you mean 'decimal'?"
        in text
    )
    assert "tables.order.foreign_keys[0].columns" in text
    assert "tables.order.foreign_keys[1].references.columns: this entry must be there" in text


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("schema.yaml", "tables: [", "must be readable YAML or JSON"),
        ("schema.json", "{", "must be readable YAML or JSON"),
        ("schema.yaml", "tables:\n  a: {}\n  b: {}\n  a: {}", "'a' is written twice"),
        ("schema.yaml", "- tables", "must hold a mapping"),
        ("metadata.json", '{"METADATA_SPEC_VERSION": "SINGLE_TABLE_V1", "columns": {}}', "must be of version MULTI_TABLE_V1"),
    ],
)
def test_what_is_no_schema_file_is_refused(tmp_path: Path, name: str, text: str, rule: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=rule):
        read_schema_file(tmp_path / name)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml"):
        read_schema_file(tmp_path / "nowhere.yaml")


def sdv_metadata() -> dict[str, Any]:
    return {
        "METADATA_SPEC_VERSION": "MULTI_TABLE_V1",
        "tables": {
            "customer": {
                "primary_key": "id",
                "alternate_keys": ["email"],
                "columns": {
                    "id": {"sdtype": "id", "regex_format": "[0-9]+"},
                    "email": {"sdtype": "email", "pii": True},
                    "born": {"sdtype": "datetime", "datetime_format": "%Y-%m-%d"},
                    "city": {"sdtype": "categorical"},
                },
            },
            "order": {
                "primary_key": "id",
                "columns": {
                    "id": {"sdtype": "id"},
                    "customer": {"sdtype": "id"},
                    "placed": {"sdtype": "datetime", "datetime_format": "%Y-%m-%d %H:%M:%S"},
                    "price": {"sdtype": "numerical"},
                    "pieces": {"sdtype": "numerical"},
                    "document": {"sdtype": "unknown"},
                },
            },
        },
        "relationships": [
            {"parent_table_name": "customer", "parent_primary_key": "id", "child_table_name": "order", "child_foreign_key": "customer"}
        ],
    }


def test_sdv_metadata_gives_keys_and_kinds(tmp_path: Path) -> None:
    schema = apply_schema_file(found(), read_sdv(tmp_path, sdv_metadata()))
    customer, order = schema.tables["customer"], schema.tables["order"]
    assert customer.primary_key == ("id",)
    assert customer.unique == (("email",),)
    assert [c.kind for c in customer.columns] == [Kind.IDENTIFIER, Kind.TEXT, Kind.DATE, Kind.CATEGORY]
    assert order.foreign_keys == (ForeignKey(("customer",), "customer", ("id",), Provenance.USER),)
    assert [c.kind for c in order.columns] == [Kind.IDENTIFIER, Kind.IDENTIFIER, Kind.TIMESTAMP, Kind.DECIMAL, Kind.INTEGER, Kind.JSON]


def test_sdv_numbers_in_a_float_column_are_whole_if_the_metadata_says_so(tmp_path: Path) -> None:
    metadata = {"tables": {"t": {"columns": {"x": {"sdtype": "numerical", "computer_representation": "Int64"}}}}, "relationships": []}
    schema = Schema.of([Table("t", (Column("x", Kind.DECIMAL, "float64"),))])
    assert apply_schema_file(schema, read_sdv(tmp_path, metadata)).tables["t"].column("x").kind is Kind.INTEGER


def test_sdv_relationships_that_point_nowhere_are_told(tmp_path: Path) -> None:
    metadata = sdv_metadata()
    metadata["relationships"][0]["child_table_name"] = "orders"
    with pytest.raises(ConfigurationError, match=r"relationships\[0\]\.child_table_name.*'orders'.*did you mean 'order'"):
        read_sdv(tmp_path, metadata)
