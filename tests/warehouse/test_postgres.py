"""What only PostgreSQL does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pyarrow as pa
import pytest
import sqlalchemy as sa

from synth_engine.errors import (
    ConfigurationError,
    PublicationRefused,
    SourceDataError,
    SynthError,
    WarehouseError,
    WarehouseUnavailable,
)
from synth_engine.schema import Column, Kind, Schema, Table
from synth_engine.warehouse import open_warehouse, staging_name
from synth_engine.warehouse.postgres_types import native_type, neutral_type
from tests.warehouse import shop
from tests.warehouse.shop import SOURCE, Shop, read_all

pytestmark = pytest.mark.postgres


def _run(shop: Shop, *statements: str) -> list[tuple[object, ...]]:
    """Run statements, return the rows of the last."""
    with psycopg.connect(shop.place, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def cyclic_shop(empty_postgres: str) -> Iterator[Shop]:
    made = shop.build_postgres(empty_postgres, cycle=True)
    yield made
    made.warehouse.close()


def _publish(shop: Shop, run: str = "a run", rows: dict[str, pa.Table] | None = None) -> None:
    schema = shop.schema
    shop.publish(shop.stage(run, schema, rows or shop.rows(), "twin"), schema, "twin")


@pytest.mark.parametrize(
    ("native", "neutral"),
    [
        ("numeric(10,2)", "decimal(10,2)"),
        ("numeric(3,-2)", "decimal(5,0)"),
        ("numeric(2,4)", "decimal(4,4)"),
        ("numeric", "decimal(38,9)"),
        ("character varying(20)", "string(20)"),
        ("character(3)", "string(3)"),
        ("timestamp(3) with time zone", "timestamptz"),
        ("time with time zone", "other"),
        ("integer[]", "other"),
        ("inet", "other"),
    ],
)
def test_types_have_neutral_names_and_unknown_ones_are_other(native: str, neutral: str) -> None:
    assert neutral_type(native) == neutral


def test_a_native_spelling_is_kept_only_where_postgres_reads_it_as_the_same_type() -> None:
    def used(data_type: str, spelling: str) -> str:
        return native_type(Column("c", Kind.OTHER, data_type, True, spelling), frozenset({"inet"}))

    assert used("timestamp", "timestamp(3) without time zone") == "timestamp(3) without time zone"
    assert used("int32", "INTEGER") == "integer"
    assert used("other", "inet") == "inet"
    assert used("other", "text); DROP TABLE x; --") == "text"
    assert used("string(5)", "VARCHAR") == "character varying(5)"


def test_a_snapshot_does_not_see_what_is_written_after_it_began(postgres_shop: Shop) -> None:
    schema = postgres_shop.schema
    with postgres_shop.warehouse.snapshot(SOURCE) as snapshot:
        _run(postgres_shop, 'DELETE FROM "real Data".orders', 'INSERT INTO "real Data".empty VALUES (1, NULL)')
        assert snapshot.read(schema.tables["orders"]).read_all().num_rows == 3
        assert snapshot.read(schema.tables["empty"]).read_all().num_rows == 0


def test_two_spellings_of_one_server_are_one_location(postgres_shop: Shop) -> None:
    url = sa.make_url(postgres_shop.place)
    if url.host not in ("127.0.0.1", "localhost"):
        pytest.skip("COULD NOT RUN: the server is not local")
    other = url.set(host="localhost" if url.host == "127.0.0.1" else "127.0.0.1").render_as_string(hide_password=False)
    assert open_warehouse(other).location == postgres_shop.warehouse.location
    with pytest.raises(PublicationRefused):
        open_warehouse(other).check_target(
            "public", postgres_shop.schema, source=(postgres_shop.warehouse.location, None), replace_foreign_tables=True
        )


def test_a_cycle_of_tables_is_published_with_all_its_keys_again_and_again(cyclic_shop: Shop) -> None:
    schema, rows = cyclic_shop.schema, cyclic_shop.rows()
    for run in ("made", "refilled"):
        _publish(cyclic_shop, run)
        assert cyclic_shop.warehouse.reflect("twin").fingerprint() == schema.fingerprint()
        assert cyclic_shop.rows("twin") == rows


def test_refilling_keeps_views_grants_and_sequences(postgres_shop: Shop) -> None:
    _publish(postgres_shop, "first")
    _run(
        postgres_shop,
        "CREATE VIEW public.buyers AS SELECT buyer FROM twin.orders",
        "GRANT SELECT ON twin.orders TO PUBLIC",
        "CREATE SEQUENCE twin.numbers OWNED BY twin.orders.number",
    )
    _publish(postgres_shop, "second")
    assert _run(postgres_shop, "SELECT count(*) FROM public.buyers") == [(3,)]
    assert _run(postgres_shop, "SELECT has_table_privilege('pg_monitor', 'twin.orders', 'SELECT')") == [(True,)]
    assert _run(postgres_shop, "SELECT nextval('twin.numbers')") == [(3,)]


def test_another_structure_is_refused_by_what_depends_on_the_old_one(postgres_shop: Shop) -> None:
    _publish(postgres_shop, "first")
    _run(
        postgres_shop,
        "CREATE VIEW public.buyers AS SELECT buyer FROM twin.orders",
        'ALTER TABLE "real Data".orders ADD COLUMN extra integer',
    )
    before = postgres_shop.rows("twin")
    with pytest.raises(WarehouseError, match="depend"):
        _publish(postgres_shop, "second")
    assert postgres_shop.rows("twin") == before


def test_a_lock_that_is_not_given_in_time_is_transient_and_leaves_the_target(postgres_shop: Shop) -> None:
    _publish(postgres_shop, "first")
    schema, rows = postgres_shop.schema, postgres_shop.rows()
    staging = postgres_shop.stage("second", schema, rows, "twin")
    with psycopg.connect(postgres_shop.place) as reader:
        reader.execute("SELECT * FROM twin.orders")
        with pytest.raises(WarehouseUnavailable, match="lock timeout"):
            postgres_shop.warehouse.publish(staging, "twin", schema, replace_foreign_tables=False, lock_timeout_seconds=0.1)
    postgres_shop.publish(staging, schema, "twin")
    assert postgres_shop.rows("twin") == rows


def test_two_runs_do_not_publish_to_one_target_at_once(postgres_shop: Shop) -> None:
    schema = postgres_shop.schema
    staging = postgres_shop.stage("a run", schema, postgres_shop.rows(), "twin")
    with psycopg.connect(postgres_shop.place) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtextextended('synthetic data by airflow-provider-synth twin', 0))")
        with pytest.raises(WarehouseUnavailable):
            postgres_shop.warehouse.publish(staging, "twin", schema, replace_foreign_tables=False, lock_timeout_seconds=0.1)


def test_names_the_server_would_cut_are_refused_before_anything_is_written(postgres_shop: Shop) -> None:
    long = Schema.of([Table("t" * 64, (Column("c" * 64, Kind.INTEGER, "int64"),))])
    with pytest.raises(ConfigurationError) as raised:
        postgres_shop.warehouse.check_target("s" * 64, long, source=None, replace_foreign_tables=False)
    assert len(raised.value.faults) == 3


def test_a_table_outside_that_refers_to_one_inside_is_refused(postgres_shop: Shop) -> None:
    _publish(postgres_shop)
    _run(postgres_shop, 'CREATE TABLE public.mine (id bigint REFERENCES twin."Cust omers" (id))')
    with pytest.raises(PublicationRefused, match="public.mine"):
        postgres_shop.warehouse.check_target("twin", postgres_shop.schema, source=None, replace_foreign_tables=False)


def test_what_the_twin_does_not_keep_is_said_in_the_notes(postgres_shop: Shop) -> None:
    _run(
        postgres_shop,
        "CREATE TABLE public.t (id serial PRIMARY KEY, n integer, twice integer GENERATED ALWAYS AS (n * 2) STORED, "
        'who bigint REFERENCES "real Data"."Cust omers" (id))',
    )
    notes = " ".join(postgres_shop.warehouse.reflect("public").tables["t"].notes)
    assert "'id' is numbered" in notes
    assert "'twice' is computed" in notes
    assert "t.who->Cust omers is dropped" in notes


def test_domains_enums_arrays_and_partitions_are_reflected_without_surprises(postgres_shop: Shop) -> None:
    _run(
        postgres_shop,
        "CREATE TYPE public.mood AS ENUM ('secret')",
        "CREATE DOMAIN public.price AS numeric(6,2) NOT NULL",
        "CREATE TABLE public.t (m public.mood, p public.price, l integer[], i inet, d date) PARTITION BY RANGE (d)",
        "CREATE TABLE public.t_2020 PARTITION OF public.t FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
        "INSERT INTO public.t VALUES ('secret', 1.5, '{1}', '10.0.0.1', '2020-05-05')",
    )
    schema = postgres_shop.warehouse.reflect("public")
    assert list(schema.tables) == ["t"]
    assert {c.name: (c.data_type, c.nullable) for c in schema.tables["t"].columns} == {
        "m": ("string", True),
        "p": ("decimal(6,2)", False),
        "l": ("other", True),
        "i": ("other", True),
        "d": ("date", True),
    }
    assert "secret" not in str(schema.to_dict())
    assert read_all(postgres_shop.warehouse, "public")["t"].to_pylist()[0]["l"] == "{1}"


@pytest.mark.parametrize(
    "value, error",
    [
        ("DATE 'infinity'", SourceDataError),
        ("TIMESTAMP '-infinity'", SourceDataError),
        ("DATE '0044-03-15 BC'", SourceDataError),
        ("'nan'::numeric", WarehouseError),
    ],
)
def test_a_value_no_arrow_type_holds_is_refused_by_column_without_the_value(
    postgres_shop: Shop, value: str, error: type[SynthError]
) -> None:
    _run(postgres_shop, " ".join(["CREATE TABLE public.t AS SELECT", value, "AS odd"]))
    with pytest.raises(error, match="'odd' of table 't'"):
        read_all(postgres_shop.warehouse, "public")


def test_a_database_of_another_encoding_keeps_what_it_can_hold(empty_postgres: str) -> None:
    latin = sa.make_url(empty_postgres).set(database="synth_test_latin").render_as_string(hide_password=False)
    with psycopg.connect(empty_postgres, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS synth_test_latin")
        connection.execute("CREATE DATABASE synth_test_latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
        try:
            warehouse = open_warehouse(latin)
            schema = Schema.of([Table("t", (Column("s", Kind.TEXT, "string"),))])
            staging = staging_name("twin", "a run")
            rows = pa.table({"s": ["é"]})
            warehouse.create_staging(staging, schema)
            warehouse.load(staging, schema.tables["t"], rows.to_batches())
            warehouse.publish(staging, "twin", schema, replace_foreign_tables=False, lock_timeout_seconds=5)
            assert read_all(warehouse, "twin") == {"t": rows}
        finally:
            connection.execute("DROP DATABASE synth_test_latin WITH (FORCE)")


def test_a_table_that_is_gone_is_named_with_the_servers_code(postgres_shop: Shop) -> None:
    table = replace(postgres_shop.schema.tables["orders"], name="no such table")
    with postgres_shop.warehouse.snapshot(SOURCE) as snapshot, pytest.raises(WarehouseError, match="42P01"):
        snapshot.read(table).read_all()


def test_a_lost_connection_is_transient(postgres_shop: Shop) -> None:
    def killing() -> Iterator[pa.RecordBatch]:
        _run(
            postgres_shop,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()",
        )
        yield from postgres_shop.rows()["orders"].to_batches()

    schema = postgres_shop.schema
    staging = staging_name("twin", "a run")
    postgres_shop.warehouse.create_staging(staging, schema)
    with pytest.raises(WarehouseUnavailable):
        postgres_shop.warehouse.load(staging, schema.tables["orders"], killing())
