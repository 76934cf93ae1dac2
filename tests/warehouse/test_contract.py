"""What every warehouse promises the pipeline, held against the same shop in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
import pytest
import sqlalchemy as sa

from synth_engine.errors import ConfigurationError, PublicationRefused, SynthError, WarehouseError
from synth_engine.schema import Kind, Schema
from synth_engine.schema.types import arrow_schema
from synth_engine.warehouse import open_warehouse, staging_name
from synth_engine.warehouse.batches import BATCH_ROWS
from synth_engine.warehouse.sql import quoted
from tests.warehouse.shop import KEYS, REGION, SOURCE, TARGET, TYPES, Shop

# -- reading -----------------------------------------------------------------------------------------------------------


def test_reflection_finds_hostile_names_and_neutral_types(any_shop: Shop) -> None:
    found = any_shop.warehouse.reflect(SOURCE)
    assert set(found.tables) == set(KEYS)
    types = {c.name: c.data_type for c in found.tables["Cust omers"].columns}
    lost_in_files = {"key🔑": "string", "doc": "string"} if any_shop.warehouse.dialect == "folder" else {}
    assert types == TYPES | lost_in_files


def test_reflection_finds_every_declared_key(any_shop: Shop) -> None:
    if any_shop.warehouse.dialect == "folder":
        assert not any(t.primary_key or t.unique or t.foreign_keys for t in any_shop.warehouse.reflect(SOURCE).tables.values())
        return
    for name, table in any_shop.warehouse.reflect(SOURCE).tables.items():
        assert (table.primary_key, table.unique) == (KEYS[name]["primary_key"], KEYS[name]["unique"])
        assert set(table.foreign_keys) == set(KEYS[name]["foreign_keys"])
    customers = any_shop.schema.tables["Cust omers"]
    assert not customers.column("Mixed Case").nullable
    assert customers.column("boss").nullable
    assert customers.column("boss").kind is Kind.IDENTIFIER
    assert customers.column("a.b").kind is Kind.INTEGER, "a column of a composite key keeps the kind of its type"


def test_unknown_tables_are_named_all_at_once_with_what_looks_like_them(any_shop: Shop) -> None:
    with pytest.raises(ConfigurationError) as raised:
        any_shop.warehouse.reflect(SOURCE, ["order", "orders", "emty"])
    assert len(raised.value.faults) == 2
    assert "'orders'" in raised.value.faults[0]
    assert "'empty'" in raised.value.faults[1]


def test_an_unknown_schema_is_named_with_what_looks_like_it(any_shop: Shop) -> None:
    with pytest.raises(ConfigurationError, match="real Data"):
        any_shop.warehouse.reflect("real Date")


def test_keys_to_tables_that_are_not_selected_are_dropped_and_noted(duckdb_shop: Shop) -> None:
    chosen = duckdb_shop.warehouse.reflect(SOURCE, ["orders"])
    assert chosen.tables["orders"].foreign_keys == ()
    assert len(chosen.tables["orders"].notes) == 2


def test_a_snapshot_streams_bounded_batches_of_the_promised_types(any_shop: Shop) -> None:
    table = any_shop.warehouse.reflect(SOURCE).tables["large"]
    with any_shop.warehouse.snapshot(SOURCE) as snapshot:
        batches = list(snapshot.read(table))
        assert snapshot.identifier
    assert sum(b.num_rows for b in batches) == 70_000
    assert max(b.num_rows for b in batches) <= BATCH_ROWS
    assert all(b.schema.types == arrow_schema(table).types for b in batches)


def test_a_snapshot_keeps_nulls_empty_strings_and_every_value(any_shop: Shop) -> None:
    customers = any_shop.rows()["Cust omers"].to_pylist()
    assert [row["Mixed Case"] for row in customers] == ["Ann", "", 'line\n        break, "quoted" 🦉 \\N']
    assert [str(row["price"]) for row in customers] == ["12.50", "-0.01", "99999999.99"]
    assert customers[0]["paid"].isoformat() == "2019-12-31T22:00:00+00:00"
    assert customers[0]["key🔑"] == "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    assert customers[2]["raw"] == b""
    assert [row["note"] for row in any_shop.rows()["orders"].to_pylist()] == ["first", None, ""]


# -- staging -----------------------------------------------------------------------------------------------------------


def test_staged_tables_can_be_read_even_after_the_connection_is_given_back(any_shop: Shop) -> None:
    staging = any_shop.stage("a run", any_shop.schema, any_shop.rows())
    with any_shop.warehouse.validation_engine(staging) as engine:
        for name, rows in any_shop.rows().items():
            table = sa.table(quoted(name), schema=quoted(staging))
            with engine.connect() as connection:
                answer = connection.execute(sa.select(sa.func.count()).select_from(table))
            assert answer.scalar_one() == rows.num_rows


def test_a_staging_area_is_replaced_and_dropped(any_shop: Shop) -> None:
    schema, rows = any_shop.schema, any_shop.rows()
    any_shop.stage("a run", schema, rows)
    staging = any_shop.stage("a run", schema, rows)
    any_shop.warehouse.drop_staging(staging)
    any_shop.warehouse.drop_staging(staging)
    with pytest.raises(SynthError):
        any_shop.warehouse.load(staging, schema.tables["orders"], rows["orders"].to_batches())


def test_a_table_is_loaded_once(any_shop: Shop) -> None:
    schema, rows = any_shop.schema, any_shop.rows()
    staging = any_shop.stage("a run", schema, rows)
    with pytest.raises(WarehouseError, match="must be empty"):
        any_shop.warehouse.load(staging, schema.tables["orders"], rows["orders"].to_batches())


def test_a_stream_that_breaks_leaves_the_staged_table_empty(any_shop: Shop) -> None:
    schema, rows = any_shop.schema, any_shop.rows()
    staging = staging_name(TARGET, "a run")
    any_shop.warehouse.create_staging(staging, schema)

    def breaking() -> Iterator[pa.RecordBatch]:
        yield from rows["orders"].to_batches()
        raise RuntimeError("the generator broke")

    with pytest.raises(RuntimeError, match="the generator broke"):
        any_shop.warehouse.load(staging, schema.tables["orders"], breaking())
    assert any_shop.warehouse.load(staging, schema.tables["orders"], rows["orders"].to_batches()) == 3


def test_a_null_where_none_may_be_is_refused_when_it_is_loaded(any_shop: Shop) -> None:
    large = any_shop.warehouse.reflect(SOURCE).tables["large"]
    table = replace(large, columns=tuple(replace(c, nullable=False) for c in large.columns))
    staging = staging_name(TARGET, "a run")
    any_shop.warehouse.create_staging(staging, Schema.of([table]))
    with pytest.raises(WarehouseError, match="'half' of table 'large' must not be null"):
        any_shop.warehouse.load(staging, table, pa.table({"id": pa.array([1], pa.int32()), "half": pa.nulls(1, pa.float64())}).to_batches())


def test_nothing_but_a_staging_area_is_taken_for_one(any_shop: Shop) -> None:
    for operation in (
        lambda: any_shop.warehouse.drop_staging(SOURCE),
        lambda: any_shop.warehouse.create_staging(SOURCE, any_shop.schema),
        lambda: any_shop.publish(SOURCE, any_shop.schema),
    ):
        with pytest.raises(WarehouseError, match="staging_name"):
            operation()
    assert any_shop.rows()["orders"].num_rows == 3


# -- publishing --------------------------------------------------------------------------------------------------------


def test_a_publication_has_the_tables_types_keys_and_rows_of_its_source(any_shop: Shop) -> None:
    schema, rows = any_shop.schema, any_shop.rows()
    any_shop.publish(any_shop.stage("a run", schema, rows), schema)
    twin = any_shop.warehouse.reflect(TARGET)
    if any_shop.warehouse.dialect != "folder":
        assert twin.fingerprint() == schema.fingerprint()
        assert {t.name: [c.native_type for c in t.columns] for t in twin.tables.values()} == {
            t.name: [c.native_type for c in t.columns] for t in schema.tables.values()
        }
    assert any_shop.rows(TARGET) == rows
    assert any_shop.rows(SOURCE) == rows


def test_publishing_again_changes_nothing(any_shop: Shop) -> None:
    schema, rows = any_shop.schema, any_shop.rows()
    staging = any_shop.stage("a run", schema, rows)
    any_shop.publish(staging, schema)
    any_shop.publish(staging, schema)
    assert any_shop.rows(TARGET) == rows


def test_the_next_publication_replaces_the_one_before(any_shop: Shop) -> None:
    schema, rows = any_shop.schema, any_shop.rows()
    any_shop.publish(any_shop.stage("first", schema, rows), schema)
    fewer = rows | {"orders": rows["orders"].slice(0, 1)}
    any_shop.publish(any_shop.stage("second", schema, fewer), schema)
    assert any_shop.rows(TARGET) == fewer


def test_a_publication_may_have_another_structure_than_the_one_before(any_shop: Shop) -> None:
    schema, rows = any_shop.schema, any_shop.rows()
    any_shop.publish(any_shop.stage("first", schema, rows), schema)
    orders = schema.tables["orders"]
    narrower = Schema.of((dict(schema.tables) | {"orders": replace(orders, columns=orders.columns[:3])}).values())
    fewer = rows | {"orders": rows["orders"].drop_columns(["note"])}
    any_shop.publish(any_shop.stage("second", narrower, fewer), narrower)
    assert any_shop.rows(TARGET)["orders"].column_names == ["buyer", "payer", "number"]


def test_it_is_known_whether_the_target_has_all_tables(any_shop: Shop) -> None:
    schema, rows = any_shop.schema, any_shop.rows()
    assert not any_shop.warehouse.has_tables(TARGET, schema)
    any_shop.publish(any_shop.stage("a run", schema, rows), schema)
    assert any_shop.warehouse.has_tables(TARGET, schema)
    more = Schema.of([*schema.tables.values(), replace(schema.tables["empty"], name="dropped")])
    assert not any_shop.warehouse.has_tables(TARGET, more)


def test_publishing_what_was_never_loaded_is_an_error(any_shop: Shop) -> None:
    with pytest.raises(WarehouseError, match="load step"):
        any_shop.publish(staging_name(TARGET, "never"), any_shop.schema)


def test_the_source_is_refused_as_target_however_it_is_spelled(any_shop: Shop) -> None:
    again = open_warehouse(any_shop.place)
    with pytest.raises(PublicationRefused, match="must not be the source"):
        any_shop.warehouse.check_target(SOURCE, any_shop.schema, source=(again.location, SOURCE), replace_foreign_tables=True)


def test_tables_of_others_are_refused_unless_told(any_shop: Shop) -> None:
    schema, rows = any_shop.schema, any_shop.rows()
    staging = any_shop.stage("a run", schema, rows, SOURCE)
    for attempt in (
        lambda: any_shop.warehouse.check_target(SOURCE, schema, source=None, replace_foreign_tables=False),
        lambda: any_shop.publish(staging, schema, SOURCE),
    ):
        with pytest.raises(PublicationRefused, match="replace_foreign_tables"):
            attempt()
    any_shop.warehouse.check_target(SOURCE, schema, source=None, replace_foreign_tables=True)
    any_shop.publish(staging, schema, SOURCE, replace_foreign_tables=True)
    any_shop.warehouse.check_target(SOURCE, schema, source=None, replace_foreign_tables=False)
    assert any_shop.rows(SOURCE) == rows


def test_tables_of_others_beside_ours_are_left_alone(any_shop: Shop) -> None:
    schema, rows = any_shop.schema, any_shop.rows()
    alone = Schema.of([replace(schema.tables["empty"], name="new one")])
    staging = any_shop.stage("a run", alone, {"new one": rows["empty"]}, SOURCE)
    any_shop.warehouse.check_target(SOURCE, alone, source=None, replace_foreign_tables=False)
    any_shop.publish(staging, alone, SOURCE)
    assert any_shop.rows(SOURCE) == rows | {"new one": rows["empty"]}


@pytest.mark.parametrize("name", [REGION, "Cust omers"])
def test_a_broken_key_is_refused_and_the_target_stays(declaring_shop: Shop, name: str) -> None:
    schema, rows = declaring_shop.schema, declaring_shop.rows()
    declaring_shop.publish(declaring_shop.stage("first", schema, rows), schema)
    staging = declaring_shop.stage("second", schema, rows | {name: rows[name].slice(0, 1)})
    with pytest.raises(WarehouseError):
        declaring_shop.publish(staging, schema)
    assert declaring_shop.rows(TARGET) == rows


def test_a_key_to_columns_that_are_not_unique_is_refused_before_anything_is_written(declaring_shop: Shop) -> None:
    schema = declaring_shop.schema
    loose = Schema.of((dict(schema.tables) | {REGION: replace(schema.tables[REGION], primary_key=())}).values())
    with pytest.raises(ConfigurationError, match="primary or unique key"):
        declaring_shop.warehouse.check_target(TARGET, loose, source=None, replace_foreign_tables=False)
