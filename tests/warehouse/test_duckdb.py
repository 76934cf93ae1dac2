"""What only DuckDB does."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from synth_engine.errors import ConfigurationError, PublicationRefused, WarehouseError, WarehouseUnavailable
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.warehouse import open_warehouse, staging_name
from synth_engine.warehouse.duckdb import DuckDBWarehouse
from synth_engine.warehouse.duckdb_types import native_type, neutral_type
from tests.warehouse.shop import SOURCE, TARGET, Shop, read_all


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., DuckDBWarehouse]:
    """Make a database from statements."""

    def make(*statements: str) -> DuckDBWarehouse:
        with duckdb.connect(str(tmp_path / "made.db")) as connection:
            for statement in statements:
                connection.execute(statement).fetchall()
        warehouse = open_warehouse(f"duckdb:///{tmp_path}/made.db")
        assert isinstance(warehouse, DuckDBWarehouse)
        return warehouse

    return make


def _numbers(name: str, *columns: str, key: str | None = "id", keys: tuple[ForeignKey, ...] = ()) -> Table:
    return Table(name, tuple(Column(c, Kind.INTEGER, "int64", c != key) for c in columns), (key,) if key else (), (), keys)


def _publish(warehouse: DuckDBWarehouse, schema: Schema, rows: dict[str, pa.Table]) -> None:
    staging = staging_name("twin", "a run")
    warehouse.create_staging(staging, schema)
    for name, table in schema.tables.items():
        warehouse.load(staging, table, rows[name].to_batches())
    warehouse.publish(staging, "twin", schema, replace_foreign_tables=False, lock_timeout_seconds=5)


@pytest.mark.parametrize(
    ("native", "neutral"),
    [
        ("DECIMAL(18,3)", "decimal(18,3)"),
        ("DECIMAL(18,3)[]", "other"),
        ("UTINYINT", "int16"),
        ("UINTEGER", "int64"),
        ("UBIGINT", "decimal(20,0)"),
        ("TIMESTAMP_NS", "timestamp"),
        ("TIME WITH TIME ZONE", "other"),
        ("INTERVAL", "other"),
        ('STRUCT("a b" INTEGER)', "other"),
        ("ENUM('x')", "string"),
    ],
)
def test_types_have_neutral_names_and_unknown_ones_are_other(native: str, neutral: str) -> None:
    assert neutral_type(native) == neutral


@pytest.mark.parametrize(
    ("neutral", "native", "used"),
    [
        ("int32", "integer", "integer"),
        ("string(20)", "character varying(20)", "VARCHAR"),
        ("other", "INTEGER[]", "INTEGER[]"),
        ("other", "inet", "VARCHAR"),
        ("other", "INTEGER); DROP TABLE x; --", "VARCHAR"),
        ("json", "jsonb", "JSON"),
    ],
)
def test_a_native_spelling_is_kept_only_where_duckdb_reads_it_as_the_same_type(neutral: str, native: str, used: str) -> None:
    assert native_type(Column("c", Kind.OTHER, neutral, True, native)) == used


def test_a_decimal_wider_than_duckdb_holds_is_refused() -> None:
    with pytest.raises(WarehouseError, match="38 digits"):
        native_type(Column("c", Kind.DECIMAL, "decimal(50,2)"))


def test_types_without_a_neutral_name_are_read_as_text(made: Callable[..., DuckDBWarehouse]) -> None:
    warehouse = made(
        "CREATE TABLE t (l INTEGER[], s STRUCT(a INTEGER), v INTERVAL, h HUGEINT)",
        "INSERT INTO t VALUES ([1, 2], {a: 1}, INTERVAL 1 DAY, 5)",
    )
    assert read_all(warehouse, None)["t"].to_pylist() == [{"l": "[1, 2]", "s": "{'a': 1}", "v": "1 day", "h": 5}]


def test_the_values_of_an_enum_stay_out_of_the_schema(made: Callable[..., DuckDBWarehouse]) -> None:
    warehouse = made("CREATE TYPE mood AS ENUM ('secret')", "CREATE TABLE t (m mood)", "INSERT INTO t VALUES ('secret')")
    schema = warehouse.reflect(None)
    assert "secret" not in str(schema.to_dict())
    assert read_all(warehouse, None)["t"].to_pylist() == [{"m": "secret"}]


def test_views_are_no_tables(made: Callable[..., DuckDBWarehouse]) -> None:
    warehouse = made("CREATE TABLE t (i INTEGER)", "CREATE VIEW v AS SELECT * FROM t")
    assert list(warehouse.reflect(None).tables) == ["t"]


def test_a_view_in_the_way_is_refused_even_if_tables_may_be_replaced(made: Callable[..., DuckDBWarehouse]) -> None:
    warehouse = made("CREATE SCHEMA twin", "CREATE VIEW twin.t AS SELECT 1 AS id")
    with pytest.raises(PublicationRefused, match="view"):
        warehouse.check_target("twin", Schema.of([_numbers("t", "id")]), source=None, replace_foreign_tables=True)


def test_a_table_outside_that_refers_to_one_inside_is_refused(duckdb_shop: Shop) -> None:
    customers = duckdb_shop.warehouse.reflect(SOURCE, ["Cust omers"])
    with pytest.raises(PublicationRefused, match="orders"):
        duckdb_shop.warehouse.check_target(SOURCE, customers, source=None, replace_foreign_tables=True)


def test_the_default_schema_is_main_whatever_its_case(duckdb_shop: Shop) -> None:
    with pytest.raises(PublicationRefused):
        duckdb_shop.warehouse.check_target(
            "MAIN", duckdb_shop.schema, source=(duckdb_shop.warehouse.location, None), replace_foreign_tables=True
        )


def test_names_that_differ_only_by_case_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    warehouse = open_warehouse(f"duckdb:///{tmp_path}/new.db")
    schema = Schema.of([_numbers("t", "id", "ID"), _numbers("T", "id")])
    with pytest.raises(ConfigurationError) as raised:
        warehouse.check_target(None, schema, source=None, replace_foreign_tables=False)
    assert len(raised.value.faults) == 2
    assert not (tmp_path / "new.db").exists()


def test_a_self_reference_is_filled_level_by_level_in_any_order_of_rows(tmp_path: Path) -> None:
    warehouse = open_warehouse(f"duckdb:///{tmp_path}/new.db")
    assert isinstance(warehouse, DuckDBWarehouse)
    schema = Schema.of([_numbers("t", "id", "boss", keys=(ForeignKey(("boss",), "t", ("id",)),))])
    rows = pa.table({"id": [4, 3, 2, 1], "boss": [3, 2, 1, None]})
    _publish(warehouse, schema, {"t": rows})
    assert read_all(warehouse, "twin")["t"] == rows.sort_by("id").combine_chunks()


def test_rows_that_refer_to_themselves_in_a_circle_are_refused_with_their_number(tmp_path: Path) -> None:
    warehouse = open_warehouse(f"duckdb:///{tmp_path}/new.db")
    assert isinstance(warehouse, DuckDBWarehouse)
    schema = Schema.of([_numbers("t", "id", "boss", keys=(ForeignKey(("boss",), "t", ("id",)),))])
    with pytest.raises(WarehouseError, match="circle.*2 rows"):
        _publish(warehouse, schema, {"t": pa.table({"id": [1, 2, 3], "boss": [2, 1, None]})})
    assert "twin" not in str(warehouse.reflect("main").tables)


def test_a_cycle_of_tables_is_published_without_the_key_that_closes_it_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    warehouse = open_warehouse(f"duckdb:///{tmp_path}/new.db")
    assert isinstance(warehouse, DuckDBWarehouse)
    schema = Schema.of(
        [
            _numbers("teams", "id", "captain", keys=(ForeignKey(("captain",), "players", ("id",)),)),
            _numbers("players", "id", "team", keys=(ForeignKey(("team",), "teams", ("id",)),)),
        ]
    )
    rows = {"teams": pa.table({"id": [1], "captain": [7]}), "players": pa.table({"id": [7], "team": [1]})}
    with caplog.at_level(logging.WARNING):
        _publish(warehouse, schema, rows)
    assert "not declared" in caplog.text
    assert read_all(warehouse, "twin") == rows
    assert sum(len(t.foreign_keys) for t in warehouse.reflect("twin").tables.values()) == 1
    warehouse.check_target("twin", schema, source=None, replace_foreign_tables=False)


def test_a_file_another_process_writes_to_is_unavailable(duckdb_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DuckDBWarehouse, "wait_seconds", 0.0)
    program = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    arguments = [sys.executable, "-c", program, duckdb_shop.warehouse.location]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(WarehouseUnavailable):
            duckdb_shop.warehouse.reflect(SOURCE)
        with pytest.raises(WarehouseUnavailable):
            duckdb_shop.warehouse.publish(
                staging_name(None, "x"), TARGET, Schema.of([_numbers("t", "id")]), replace_foreign_tables=False, lock_timeout_seconds=0.1
            )
        writer.communicate()


def test_a_read_only_file_can_be_a_source(duckdb_shop: Shop) -> None:
    Path(duckdb_shop.warehouse.location).chmod(0o444)
    assert duckdb_shop.rows()["orders"].num_rows == 3


def test_a_conversion_that_fails_does_not_repeat_the_value(made: Callable[..., DuckDBWarehouse]) -> None:
    warehouse = made("CREATE TABLE t (i VARCHAR)", "INSERT INTO t VALUES ('secret')")
    table = Table("t", (Column("i", Kind.INTEGER, "int64"),))
    with pytest.raises(WarehouseError) as raised, warehouse.snapshot(None) as snapshot:
        snapshot.read(table).read_all()
    assert "secret" not in str(raised.value)
