"""A connection of Airflow becomes a warehouse, whatever kind of SQL connection it is."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import make_url

from airflow_provider_synth.hooks.warehouse import SynthWarehouseHook, _place
from synth_engine.errors import ConfigurationError

PASSWORD = "p@ss:/%w?rd"  # every character that breaks a URL put together by hand


def connect(monkeypatch: pytest.MonkeyPatch, **fields: object) -> str:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(fields))
    return "warehouse"


def place(conn_id: str) -> str:
    found = _place(SynthWarehouseHook.get_connection(conn_id))
    assert isinstance(found, str)
    return found


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY)")
    return path


def test_the_host_of_a_duckdb_connection_is_the_path_of_its_file(monkeypatch: pytest.MonkeyPatch, database: Path) -> None:
    conn_id = connect(monkeypatch, conn_type="duckdb", host=str(database))
    with SynthWarehouseHook(conn_id).warehouse() as warehouse:
        assert warehouse.dialect == "duckdb"
        assert list(warehouse.reflect(None).tables) == ["customers"]


def test_a_connection_given_as_a_url_works_too(monkeypatch: pytest.MonkeyPatch, database: Path) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", f"duckdb:///{database}")
    with SynthWarehouseHook("warehouse").warehouse() as warehouse:
        assert list(warehouse.reflect(None).tables) == ["customers"]


def test_a_duckdb_connection_without_a_file_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="set its host to the path"):
        SynthWarehouseHook(connect(monkeypatch, conn_type="duckdb")).get_warehouse()


def test_a_postgres_connection_keeps_its_login_whatever_characters_are_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    conn_id = connect(
        monkeypatch,
        conn_type="postgres",
        host="db.example.org",
        port=5433,
        login="me@home",
        password=PASSWORD,
        schema="shop",
        extra={"sslmode": "verify-full", "cursor": "dictcursor"},
    )
    url = make_url(place(conn_id))
    assert (url.host, url.port, url.username, url.password, url.database) == ("db.example.org", 5433, "me@home", PASSWORD, "shop")
    assert dict(url.query) == {"sslmode": "verify-full"}


def test_a_login_by_token_is_refused_instead_of_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    conn_id = connect(monkeypatch, conn_type="postgres", host="db.example.org", password=PASSWORD, extra={"iam": True})
    with pytest.raises(ConfigurationError, match="'iam'") as caught:
        SynthWarehouseHook(conn_id).get_warehouse()
    assert PASSWORD not in str(caught.value)


def test_a_connection_that_is_no_warehouse_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="must be a SQL connection.*'fs'"):
        SynthWarehouseHook(connect(monkeypatch, conn_type="fs", extra={"path": "/"})).get_warehouse()


@pytest.mark.postgres
def test_a_postgres_connection_reaches_its_server(monkeypatch: pytest.MonkeyPatch, postgres_url: str) -> None:
    url = make_url(postgres_url)
    fields = {"host": url.host, "port": url.port, "login": url.username, "password": url.password, "schema": url.database}
    conn_id = connect(monkeypatch, conn_type="postgres", **fields)
    assert SynthWarehouseHook(conn_id).test_connection() == (True, "Connection 'warehouse' reaches a postgresql warehouse.")


def test_testing_a_connection_says_that_it_works(monkeypatch: pytest.MonkeyPatch, database: Path) -> None:
    conn_id = connect(monkeypatch, conn_type="duckdb", host=str(database))
    assert SynthWarehouseHook(conn_id).test_connection() == (True, "Connection 'warehouse' reaches a duckdb warehouse.")


def test_testing_a_connection_that_does_not_work_says_why_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    conn_id = connect(monkeypatch, conn_type="postgres", host="127.0.0.1", port=1, login="me", password=PASSWORD, schema="shop")
    works, message = SynthWarehouseHook(conn_id).test_connection()
    assert not works
    assert message
    assert PASSWORD not in message
