"""What a dbt project knows of keys: contracts and tests are facts, unless something lets rows break them.

`dbt_manifest.json` was written by `dbt parse` (dbt 1.11, DuckDB) for a shop whose models stand in schema `main` and whose sources
in `landing`; only what is of no concern here was cut out of it.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from synth_engine.errors import ConfigurationError
from synth_engine.schema import Column, ForeignKey, Kind, Provenance, Schema, Table
from synth_engine.schema.dbt import facts_of_manifest
from synth_engine.schema.files import apply_schema_file
from synth_engine.schema.sources import read_schema_source
from synth_engine.schema.types import default_kind

MANIFEST = Path(__file__).with_name("dbt_manifest.json")


def table(called: str, /, **types: str) -> Table:
    return Table(called, tuple(Column(column, default_kind(data_type), data_type) for column, data_type in types.items()))


def shop() -> Schema:
    """The models' tables as a warehouse without constraints gives them, one of them in another case than dbt's."""
    return Schema.of(
        [
            table("customers", id="int32", email="string", country="string", segment="string"),
            table("orders", ORDER_ID="int32", customer_id="int32", placed_at="timestamp", voucher="string"),
            table("order_lines", order_id="int32", line="int32", customer_id="int32", product="string", quantity="int32"),
            table("countries", code="string", name="string"),
            table("loose", id="int32"),
            table("customers_history", id="int32", dbt_scd_id="string"),
        ]
    )


def raw() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(MANIFEST.read_text())
    return content


def read(schema: Schema, source_schema: str | None = "main", manifest: dict[str, Any] | None = None) -> dict[str, Table]:
    return dict(apply_schema_file(schema, facts_of_manifest("manifest.json", manifest or raw(), schema, source_schema)).tables)


def faults_of(schema: Schema, source_schema: str | None, manifest: dict[str, Any] | None = None) -> str:
    with pytest.raises(ConfigurationError) as raised:
        read(schema, source_schema, manifest)
    return "\n".join(raised.value.faults)


def node(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    """The model, seed, snapshot, test or source of that name."""
    [found] = [n for n in (*manifest["nodes"].values(), *manifest["sources"].values()) if n["name"] == name]
    assert isinstance(found, dict)
    return found


# -- facts ---------------------------------------------------------------------------------------------------------------


def test_a_manifest_is_told_by_its_content() -> None:
    written = read_schema_source(MANIFEST, shop(), "main")
    assert written.tables["customers"].primary_key == ("id",)


def test_constraints_of_enforced_contracts_are_keys() -> None:
    tables = read(shop())
    customers, lines = tables["customers"], tables["order_lines"]
    assert (customers.primary_key, customers.provenance(("id",))) == (("id",), Provenance.CONTRACT)
    assert (customers.unique, customers.provenance(("email",))) == ((("email",),), Provenance.CONTRACT)
    assert customers.foreign_keys == (ForeignKey(("country",), "countries", ("code",), Provenance.CONTRACT),)
    assert lines.primary_key == ("order_id", "line")
    assert not lines.column("line").nullable


def test_a_foreign_key_may_be_written_as_a_reference_or_as_sql() -> None:
    assert read(shop())["order_lines"].foreign_keys == (
        ForeignKey(("order_id",), "orders", ("ORDER_ID",), Provenance.CONTRACT),
        ForeignKey(("customer_id",), "customers", ("id",), Provenance.CONTRACT),
    )


def test_a_compiled_manifest_says_the_same() -> None:
    """`dbt compile` and `dbt run` put the relation in the place of `ref('x')`."""
    compiled = raw()
    node(compiled, "order_lines")["constraints"][1]["to"] = '"shop"."main"."ORDERS"'
    assert read(shop(), manifest=compiled) == read(shop())


def test_tests_are_keys() -> None:
    orders = read(shop())["orders"]
    assert (orders.primary_key, orders.provenance(("ORDER_ID",))) == (("ORDER_ID",), Provenance.DBT_TEST)
    assert orders.unique == (("customer_id", "placed_at"),)
    assert orders.provenance(("customer_id", "placed_at")) is Provenance.DBT_TEST
    assert orders.foreign_keys == (ForeignKey(("customer_id",), "customers", ("id",), Provenance.DBT_TEST),)
    assert [c.name for c in orders.columns if not c.nullable] == ["ORDER_ID", "customer_id"]


def test_seeds_and_snapshots_have_keys_too() -> None:
    tables = read(shop())
    assert (tables["countries"].primary_key, tables["customers_history"].primary_key) == (("code",), ("dbt_scd_id",))


def test_sources_are_read_where_the_source_schema_is_theirs() -> None:
    landing = Schema.of([table("CustomerRows", id="int32"), table("order_rows", customer="int32")])
    tables = read(landing, "LANDING")
    assert tables["CustomerRows"].primary_key == ("id",)
    assert tables["order_rows"].foreign_keys == (ForeignKey(("customer",), "CustomerRows", ("id",), Provenance.DBT_TEST),)


def test_accepted_values_make_a_category_whatever_the_data_looks_like() -> None:
    written = facts_of_manifest("manifest.json", raw(), shop(), "main")
    assert written.written_kinds == {("customers", "segment")}
    assert read(shop())["customers"].column("segment").kind is Kind.CATEGORY


def test_of_several_unique_columns_the_one_that_others_refer_to_is_the_primary_key() -> None:
    manifest = raw()
    for name in ("unique_customers_id", "not_null_customers_id"):
        other = copy.deepcopy(node(manifest, name))
        other["unique_id"] += ".email"
        other["test_metadata"]["kwargs"]["column_name"] = "email"
        manifest["nodes"] = {other["unique_id"]: other, **manifest["nodes"]}
    node(manifest, "customers")["constraints"] = []
    customers = read(shop(), manifest=manifest)["customers"]
    assert (customers.primary_key, customers.unique) == (("id",), (("email",),))


def test_a_versioned_model_is_referred_to_by_its_latest_version_or_by_the_one_named() -> None:
    manifest = raw()
    model = node(manifest, "customers")
    old = {**copy.deepcopy(model), "unique_id": "model.shop.customers.v1", "version": 1, "latest_version": 2, "alias": "customers_v1"}
    model.update(version=2, latest_version=2)
    manifest["nodes"]["model.shop.customers.v1"] = old
    tables = Schema.of([*shop().tables.values(), table("customers_v1", id="int32", email="string", country="string")])
    assert read(tables, manifest=manifest)["orders"].foreign_keys[0].parent == "customers"
    node(manifest, "relationships_orders_customer_id__id__ref_customers_")["test_metadata"]["kwargs"]["to"] = (
        "ref('shop', 'customers', v=1)"
    )
    assert read(tables, manifest=manifest)["orders"].foreign_keys[0].parent == "customers_v1"


# -- what is declared stays ----------------------------------------------------------------------------------------------


def test_what_the_warehouse_declares_keeps_its_place_and_provenance() -> None:
    tables = dict(shop().tables)
    email = ("email",)
    tables["customers"] = Table("customers", tables["customers"].columns, primary_key=email)
    declared = ForeignKey(("customer_id",), "customers_history", ("id",))
    tables["orders"] = Table("orders", tables["orders"].columns, foreign_keys=(declared,))
    found = read(Schema(tables))
    assert (found["customers"].primary_key, found["customers"].provenance(email)) == (email, Provenance.DECLARED)
    assert (found["customers"].unique, found["customers"].provenance(("id",))) == ((("id",),), Provenance.CONTRACT)
    assert found["orders"].foreign_keys == (declared,)
    assert "(customer_id) is a key to customers_history already" in "; ".join(found["orders"].notes)


def test_a_contract_is_a_stronger_claim_than_a_test() -> None:
    manifest = raw()
    column = node(manifest, "customers")["columns"]["id"]
    column["constraints"].append({"type": "unique"})
    node(manifest, "customers")["constraints"] = []
    customers = read(shop(), manifest=manifest)["customers"]
    assert (customers.primary_key, customers.provenance(("id",))) == (("id",), Provenance.CONTRACT)


def test_the_provenance_survives_the_workspace() -> None:
    schema = apply_schema_file(shop(), facts_of_manifest("manifest.json", raw(), shop(), "main"))
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


# -- no facts ------------------------------------------------------------------------------------------------------------


def test_tests_that_let_rows_break_them_are_notes() -> None:
    notes = read(shop())["orders"].notes
    assert notes == (
        "dbt test not_null_orders_voucher is not used: its `where` leaves rows out",
        "dbt test unique_orders_voucher is not used: its severity is warn",
        "dbt test relationships_orders_voucher__id__ref_customers_ is not used: it is disabled",
    )


def test_a_test_that_may_fail_for_some_rows_is_a_note() -> None:
    manifest = raw()
    node(manifest, "unique_orders_order_id")["config"]["error_if"] = ">10"
    orders = read(shop(), manifest=manifest)["orders"]
    assert orders.primary_key == ()
    assert "dbt test unique_orders_order_id is not used: its `error_if` lets rows fail" in orders.notes


def test_the_guess_of_dbt_at_a_primary_key_is_not_believed() -> None:
    assert node(raw(), "orders")["primary_key"] == ["customer_id", "order_id", "voucher"]
    assert read(shop())["orders"].primary_key == ("ORDER_ID",)


def test_a_contract_that_is_not_enforced_is_a_note() -> None:
    loose = read(shop())["loose"]
    assert loose.primary_key == ()
    assert loose.notes == ("dbt constraint primary_key (id) is not used: the model's contract is not enforced",)


def test_keys_to_what_is_not_there_or_not_unique_are_notes() -> None:
    manifest = raw()
    node(manifest, "relationships_orders_customer_id__id__ref_customers_")["test_metadata"]["kwargs"]["field"] = "segment"
    without_countries = Schema.of(t for name, t in shop().tables.items() if name != "countries")
    tables = read(without_countries, manifest=manifest)
    assert "the table it refers to (seed.shop.countries) is not among the source's tables" in "; ".join(tables["customers"].notes)
    assert "(segment) of customers is not known to be unique" in "; ".join(tables["orders"].notes)
    assert tables["customers"].foreign_keys == tables["orders"].foreign_keys == ()


def test_a_test_of_a_column_that_the_table_does_not_have_is_a_note() -> None:
    narrow = Schema.of([*shop().tables.values(), table("orders", customer_id="int32", placed_at="timestamp")])
    assert "dbt test unique_orders_order_id is not used: the table does not have the columns (order_id)" in read(narrow)["orders"].notes


# -- faults --------------------------------------------------------------------------------------------------------------


def test_a_name_that_could_be_several_tables_is_told() -> None:
    twice = Schema.of([*shop().tables.values(), table("Orders", order_id="int32")])
    assert "model.shop.orders: its table must be one of the source's. Found: 'ORDERS' could be 'orders' or 'Orders'" in faults_of(
        twice, "main"
    )


def test_a_table_of_that_very_name_is_preferred_to_one_in_another_case() -> None:
    twice = Schema.of([*shop().tables.values(), table("ORDERS", order_id="int32")])
    assert read(twice)["ORDERS"].primary_key == ("order_id",)


def test_a_table_that_could_belong_to_two_schemas_asks_for_the_source_schema() -> None:
    manifest = raw()
    node(manifest, "order_rows").update(identifier="customers")
    told = faults_of(shop(), None, manifest)
    assert "table 'customers' must be the table of one relation of the dbt manifest" in told
    assert "Next step: set source_schema" in told


def test_a_manifest_of_other_tables_is_told_with_the_schemas_it_knows() -> None:
    assert "schemas 'landing', 'main', none with a table in 'analytics'" in faults_of(shop(), "analytics")
    assert "must be of the source's tables" in faults_of(Schema.of([table("other", id="int32")]), None)


@pytest.mark.parametrize("version", ["catalog/v1", "manifest/v4"])
def test_another_artefact_or_too_old_a_manifest_is_told(version: str) -> None:
    manifest = raw()
    manifest["metadata"]["dbt_schema_version"] = f"https://schemas.getdbt.com/dbt/{version}.json"
    assert "must be a manifest of version 9" in faults_of(shop(), "main", manifest)


def test_a_manifest_of_another_form_is_told_with_the_path() -> None:
    manifest = raw()
    del node(manifest, "orders")["resource_type"]
    assert "nodes.model.shop.orders.resource_type" in faults_of(shop(), "main", manifest)
