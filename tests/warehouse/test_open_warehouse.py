"""Addresses of warehouses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from synth_engine.errors import ConfigurationError, SynthError, WarehouseError, WarehouseUnavailable
from synth_engine.warehouse import open_warehouse, staging_name
from synth_engine.warehouse.postgres_errors import translated


@pytest.mark.parametrize(
    ("place", "dialect"),
    [
        ("duckdb:///shop.db", "duckdb"),
        ("postgresql://somebody@nowhere/shop", "postgresql"),
        ("postgresql+psycopg2://somebody@nowhere/shop", "postgresql"),
        ("postgres://somebody@nowhere/shop", "postgresql"),
        ("some/folder", "folder"),
        ("file:///some/folder", "folder"),
    ],
)
def test_the_address_decides_the_warehouse(place: str, dialect: str) -> None:
    assert open_warehouse(place).dialect == dialect


def test_an_engine_is_an_address_too(tmp_path: Path) -> None:
    engine = sa.create_engine(f"duckdb:///{tmp_path}/shop.db")
    assert open_warehouse(engine).location == open_warehouse(f"duckdb:///{tmp_path}/./shop.db").location


def test_a_duckdb_location_is_the_file_whatever_link_leads_to_it(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "shop.db")
    assert open_warehouse(f"duckdb:///{tmp_path}/link.db").location == str(tmp_path / "shop.db")


@pytest.mark.parametrize(
    "place",
    ["", "duckdb:///:memory:", "duckdb://", "mysql://somebody:s3cret@nowhere/shop", "://s3cret@", "postgresql:/me:s3cret@nowhere/shop"],
)
def test_an_address_nobody_can_open_is_a_configuration_error_without_its_password(place: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        open_warehouse(place)
    assert "s3cret" not in str(raised.value)


def test_a_folder_may_have_a_colon_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop:2024").mkdir()
    monkeypatch.chdir(tmp_path)
    assert open_warehouse("shop:2024").location == str(tmp_path / "shop:2024")


def test_an_unreachable_server_is_transient_and_its_password_stays_secret() -> None:
    with pytest.raises(WarehouseUnavailable) as raised:
        open_warehouse("postgresql://somebody:s3cret%40@127.0.0.1:9/shop").reflect(None)
    message = str(raised.value)
    assert "s3cret" not in message and "127.0.0.1" in message and "refused" in message
    assert raised.value.__cause__ is None


def test_a_password_is_taken_out_of_whatever_the_driver_says() -> None:
    url = sa.make_url("postgresql://somebody:s3cret@nowhere/shop")
    assert "s3cret" not in str(translated(RuntimeError("bad connection string with s3cret in it"), url))


def test_a_missing_source_is_a_configuration_error(tmp_path: Path) -> None:
    for place in (f"duckdb:///{tmp_path}/none.db", f"{tmp_path}/none"):
        with pytest.raises(ConfigurationError, match="must exist"):
            open_warehouse(place).reflect(None)


def test_opening_loads_no_driver_but_the_one_needed() -> None:
    program = (
        "import sys; from synth_engine.warehouse import open_warehouse; "
        "heavy = {'duckdb', 'psycopg', 'adbc_driver_postgresql', 'pyarrow', 'pandas', 'torch'}; "
        "print(heavy & set(sys.modules)); open_warehouse('duckdb:///a.db'); print({'psycopg', 'pandas', 'torch'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["set()", "set()"]


@pytest.mark.parametrize(
    ("place", "missing", "extra"),
    [
        ("some/folder", "duckdb", "duckdb"),
        ("file:///some/folder", "duckdb", "duckdb"),
        ("duckdb:///shop.db", "duckdb", "duckdb"),
        ("postgres://nowhere/shop", "psycopg", "postgres"),
        ("postgresql://nowhere/shop", "psycopg", "postgres"),
    ],
)
def test_a_driver_that_is_not_installed_is_named_with_the_extra_that_brings_it(place: str, missing: str, extra: str) -> None:
    program = (
        "import sys; sys.modules[sys.argv[2]] = None\n"
        "from synth_engine.errors import ConfigurationError\n"
        "from synth_engine.warehouse import open_warehouse\n"
        "try: open_warehouse(sys.argv[1])\n"
        "except ConfigurationError as error: print(error)"
    )
    printed = subprocess.run([sys.executable, "-c", program, place, missing], capture_output=True, text=True, check=True).stdout
    assert f"{missing} is missing" in printed
    assert f"install airflow-provider-synth[{extra}]" in printed


def test_staging_names_are_short_readable_and_differ_between_runs_and_targets() -> None:
    names = {staging_name(target, run) for target in (None, "synth", "a" * 200, "é" * 100) for run in ("one", "two")}
    assert len(names) == 8
    assert all(len(name.encode()) <= 63 for name in names)
    assert staging_name("synth", "one").startswith("synth__synth_stg_")
    assert staging_name("synth", "one") == staging_name("synth", "one")


def test_errors_tell_transient_from_terminal() -> None:
    assert issubclass(WarehouseUnavailable, SynthError)
    assert not issubclass(WarehouseError, WarehouseUnavailable)
