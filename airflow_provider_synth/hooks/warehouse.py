"""The hook that turns a DuckDB or Postgres connection of Airflow into a warehouse of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from sqlalchemy import Engine

    from synth_engine.errors import ConfigurationError
    from synth_engine.warehouse.base import Warehouse

TOKEN_LOGINS = ("iam", "azure_conn_id")
"""Extras by which Airflow's Postgres hook logs in with a token that only it can fetch."""

CLIENT_EXTRAS = frozenset({"cursor", "enable_log_db_messages", "sqlalchemy_query", "sqlalchemy_scheme"})
"""Extras that address Airflow's Postgres hook. All others are options of the connection itself, for example `sslmode`."""


class SynthWarehouseHook(BaseHook):
    """A warehouse behind an Airflow connection.

    `duckdb` connections (host: path of the database file) and `postgres` connections need no other provider. Any
    other connection type is asked for its own hook, which must offer `get_sqlalchemy_engine`: it names a warehouse if
    the engine's URL is one of DuckDB or Postgres, all others are refused with advice. Only the URL is taken from that
    engine; its `connect_args` are not used.
    """

    conn_name_attr = "conn_id"
    default_conn_name = "synth_default"
    hook_name = "Synth warehouse"

    def __init__(self, conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id

    def get_warehouse(self) -> Warehouse:
        """Open the warehouse; the caller closes it.

        Raises `ConfigurationError` if the connection names no DuckDB or Postgres warehouse, and `AirflowNotFoundException` if
        there is no such connection. The warehouse itself is reached when it is first used.
        """
        from synth_engine.warehouse import open_warehouse

        return open_warehouse(_place(self.get_connection(self.conn_id)))

    def get_conn(self) -> Warehouse:
        """The same as `get_warehouse`, under the name Airflow's hooks share."""
        return self.get_warehouse()

    @contextmanager
    def warehouse(self) -> Iterator[Warehouse]:
        """A warehouse that is closed at the end of the `with` block."""
        opened = self.get_warehouse()
        try:
            yield opened
        finally:
            opened.close()

    def test_connection(self) -> tuple[bool, str]:
        """Whether the warehouse answers, and a sentence for the person who asked."""
        from synth_engine.errors import SynthError

        try:
            with self.warehouse() as opened, opened.snapshot(None):
                return True, f"Connection {self.conn_id!r} reaches a {opened.dialect} warehouse."
        except SynthError as error:
            return False, str(error)


def _place(connection: Connection) -> str | Engine:
    if connection.conn_type == "duckdb":
        return _duckdb_url(connection)
    if connection.conn_type in ("postgres", "postgresql"):
        return _postgres_url(connection)
    return _engine_of_own_hook(connection)


def _duckdb_url(connection: Connection) -> str:
    from sqlalchemy import URL

    path = connection.host or connection.schema
    if not path:
        raise _fault(connection, "A DuckDB connection must name its database file", "no host", "set its host to the path of the file")
    return URL.create("duckdb", database=path).render_as_string(hide_password=False)


def _postgres_url(connection: Connection) -> str:
    from sqlalchemy import URL

    extra = connection.extra_dejson
    for name in TOKEN_LOGINS:
        if extra.get(name):
            rule = "A Postgres connection must log in by password, certificate or service file"
            raise _fault(connection, rule, f"extra {name!r}", "give the synthesis a role of its own")
    options = {name: value for name, value in extra.items() if name not in CLIENT_EXTRAS.union(TOKEN_LOGINS)}
    url = URL.create(
        "postgresql",
        username=connection.login,
        password=connection.password,
        host=connection.host,
        port=connection.port,
        database=connection.schema,
        query={name: str(value) for name, value in (options | extra.get("sqlalchemy_query", {})).items()},
    )
    return url.render_as_string(hide_password=False)


def _engine_of_own_hook(connection: Connection) -> Engine:
    hook = connection.get_hook()  # type: ignore[no-untyped-call]
    if not hasattr(hook, "get_sqlalchemy_engine"):
        advice = "choose a connection whose hook offers a SQLAlchemy engine"
        raise _fault(connection, "A warehouse must be a SQL connection", f"type {connection.conn_type!r}", advice)
    engine: Engine = hook.get_sqlalchemy_engine()
    return engine


def _fault(connection: Connection, rule: str, value: str, advice: str) -> ConfigurationError:
    from synth_engine.errors import ConfigurationError, Terminal

    return ConfigurationError([Terminal(rule, value=f"{value} in connection {connection.conn_id!r}", advice=advice)])
