"""PostgreSQL. Read as Arrow through ADBC inside one exported snapshot, written with COPY, published in one transaction."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import adbc_driver_manager
import adbc_driver_postgresql.dbapi  # type: ignore[import-untyped]
import psycopg
import psycopg.sql
import pyarrow as pa
import pyarrow.csv
import sqlalchemy as sa

from synth_engine.errors import ConfigurationError, WarehouseError
from synth_engine.schema import Schema, Table
from synth_engine.warehouse import naming, sql
from synth_engine.warehouse import postgres_catalogue as catalogue
from synth_engine.warehouse.batches import conformed, declared_schema, reader
from synth_engine.warehouse.postgres_errors import translated, unreadable
from synth_engine.warehouse.postgres_publication import fill, types_on
from synth_engine.warehouse.postgres_types import readable_type

_LONGEST_NAME = 63  # bytes; the server cuts longer names silently


class PostgresWarehouse:
    """A `Warehouse` in a PostgreSQL database. The URL's driver does not matter: this product brings its own."""

    dialect = "postgresql"

    def __init__(self, url: sa.URL) -> None:
        # the server would otherwise take what is sent for its own encoding
        self._url = url.set(drivername="postgresql+psycopg").update_query_dict({"client_encoding": "UTF8"})
        self._engine = sa.create_engine(self._url, poolclass=sa.pool.NullPool, connect_args={"connect_timeout": 10})

    @cached_property
    def location(self) -> str:
        """The server's own identity and the database, so that `localhost`, `127.0.0.1` and a socket are the same."""
        with self._begin() as connection:
            database = connection.execute(sa.text("SELECT current_database()::text")).scalar_one()
            allowed = sa.text("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')")
            if connection.execute(allowed).scalar():
                server = connection.execute(sa.text("SELECT system_identifier::text FROM pg_control_system()")).scalar_one()
            else:
                address, port = connection.execute(sa.text("SELECT host(inet_server_addr()), current_setting('port')")).one()
                local = address is None or ipaddress.ip_address(address).is_loopback
                server = f"{'local' if local else address}:{port}"
        return f"postgresql:{server}/{database}"

    # -- reading -----------------------------------------------------------------------------------------------------

    def reflect(self, schema: str | None, tables: Sequence[str] | None = None) -> Schema:
        """See `Warehouse.reflect`."""
        with self._begin() as connection:
            name = schema or catalogue.default_schema(connection)
            naming.require_known("Schema", "the database", [name], catalogue.schemas(connection))
            found = catalogue.reflect(connection, name)
        if tables is None:
            return found
        naming.require_known("Table", f"schema {name!r}", tables, list(found.tables))
        return found.select(tables)

    @contextmanager
    def snapshot(self, schema: str | None) -> Iterator[PostgresSnapshot]:
        """See `Warehouse.snapshot`. One transaction holds the snapshot; each read joins it."""
        with self._translated(), self._engine.connect() as connection:
            holder = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with holder.begin():
                name = schema or catalogue.default_schema(holder)
                exported = holder.execute(sa.text("SELECT pg_export_snapshot()")).scalar_one()
                yield PostgresSnapshot(self._url, name, exported)

    # -- staging -----------------------------------------------------------------------------------------------------

    def create_staging(self, staging: str, schema: Schema) -> None:
        """See `Warehouse.create_staging`. The staging area is a schema of the same database."""
        naming.require_staging_name(staging)
        _require_short_names(staging, schema)
        with self._begin() as connection:
            connection.execute(sa.schema.DropSchema(sql.quoted(staging), cascade=True, if_exists=True))
            connection.execute(sa.schema.CreateSchema(sql.quoted(staging)))
            for table in sql.relations(schema, staging, types_on(connection, schema), deferred=None).values():
                connection.execute(sa.schema.CreateTable(table))

    def load(self, staging: str, table: Table, batches: Iterable[pa.RecordBatch]) -> int:
        """See `Warehouse.load`. COPY in its text form, because the server then casts to any type by itself."""
        naming.require_staging_name(staging)
        shape = declared_schema(table)
        target = psycopg.sql.Identifier(staging, table.name)
        names = psycopg.sql.SQL(", ").join(psycopg.sql.Identifier(c.name) for c in table.columns)
        written = 0
        with self._begin() as connection:
            cursor = _driver(connection).cursor()
            if cursor.execute(psycopg.sql.SQL("SELECT 1 FROM {} LIMIT 1").format(target)).fetchone():
                raise WarehouseError(
                    "A staged table must be empty before it is loaded",
                    value=f"{table.name!r} has rows",
                    advice="create the staging area again",
                )
            with cursor.copy(psycopg.sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT csv)").format(target, names)) as copy:
                for batch in conformed(table, batches, shape):
                    copy.write(_csv(batch))
                    written += batch.num_rows
        return written

    @contextmanager
    def validation_engine(self, staging: str) -> Iterator[sa.Engine]:
        """See `Warehouse.validation_engine`."""
        naming.require_staging_name(staging)
        engine = sa.create_engine(self._url, connect_args={"connect_timeout": 10})
        try:
            yield engine
        finally:
            engine.dispose()

    def drop_staging(self, staging: str) -> None:
        """See `Warehouse.drop_staging`."""
        naming.require_staging_name(staging)
        with self._begin() as connection:
            connection.execute(sa.schema.DropSchema(sql.quoted(staging), cascade=True, if_exists=True))

    # -- publishing --------------------------------------------------------------------------------------------------

    def check_target(
        self, target: str | None, schema: Schema, *, source: tuple[str, str | None] | None, replace_foreign_tables: bool
    ) -> None:
        """See `Warehouse.check_target`."""
        with self._begin() as connection:
            default = None if target and (not source or source[1]) else catalogue.default_schema(connection)
            into = target or str(default)
            if source and source[0] == self.location and (source[1] or default) == into:
                raise naming.refuse_source(f"schema {into!r} of {self.location}")
            _require_short_names(into, schema)
            sql.require_publishable(schema)
            catalogue.refuse_obstacles(connection, into, list(schema.tables), replace_foreign_tables)

    def publish(
        self, staging: str, target: str | None, schema: Schema, *, replace_foreign_tables: bool, lock_timeout_seconds: float
    ) -> None:
        """See `Warehouse.publish`. Tables of ours with the same structure are emptied and refilled, so that views and
        grants on them stay; others are dropped and made anew."""
        naming.require_staging_name(staging)
        sql.require_publishable(schema)
        with self._begin() as connection:
            _wait_at_most(connection, lock_timeout_seconds)
            into = target or catalogue.default_schema(connection)
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"{naming.MARKER} {into}"})
            if staging not in catalogue.schemas(connection):
                comments = catalogue.comments(connection, into)
                if any(naming.publication_of(comments.get(name)) != staging for name in schema.tables):
                    raise naming.staging_missing(staging, "the database")
                return
            catalogue.refuse_obstacles(connection, into, list(schema.tables), replace_foreign_tables)
            fill(connection, staging, into, schema)
            connection.execute(sa.schema.DropSchema(sql.quoted(staging), cascade=True))

    def has_tables(self, target: str | None, schema: Schema) -> bool:
        """See `Warehouse.has_tables`."""
        with self._begin() as connection:
            return catalogue.comments(connection, target or catalogue.default_schema(connection)).keys() >= schema.tables.keys()

    def close(self) -> None:
        """See `Warehouse.close`."""
        self._engine.dispose()

    # -- connections -------------------------------------------------------------------------------------------------

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        """A connection in a transaction that is committed at the end."""
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise translated(error.orig, self._url) from None
        except psycopg.Error as error:
            raise translated(error, self._url) from None


class PostgresSnapshot:
    """The tables of one schema as an exported snapshot shows them."""

    def __init__(self, url: sa.URL, schema: str, exported: str) -> None:
        self.identifier = f"postgresql snapshot {exported}"
        self._url, self._schema, self._exported = url, schema, exported

    def read(self, table: Table) -> pa.RecordBatchReader:
        """See `Snapshot.read`. Rows come in the order they are stored, so two reads of an unchanged table agree."""
        return reader(table, self._batches(table))

    def _batches(self, table: Table) -> Iterator[pa.RecordBatch]:
        source = sql.source(table, self._schema)
        columns = [sql.cast_through(source.columns[c.name], readable_type(c.data_type)) for c in table.columns]
        exported = sql.text_literal(self._exported)
        uri = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        try:
            with adbc_driver_postgresql.dbapi.connect(uri) as connection, connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                cursor.execute(" ".join(["SET TRANSACTION SNAPSHOT", exported]))
                # both would change the order of rows from one read to the next
                cursor.execute("SET LOCAL synchronize_seqscans = off")
                cursor.execute("SET LOCAL max_parallel_workers_per_gather = 0")
                cursor.execute(sql.text_of(sa.select(*columns)))
                yield from cursor.fetch_record_batch()
        except adbc_driver_manager.Error as error:  # its message may repeat a value
            raise unreadable(table.name, error.sqlstate) from None


def _driver(connection: sa.Connection) -> psycopg.Connection[Any]:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver


def _wait_at_most(connection: sa.Connection, seconds: float) -> None:
    connection.execute(sa.text("SELECT set_config('lock_timeout', :limit, true)"), {"limit": f"{max(1, round(seconds * 1000))}ms"})


def _require_short_names(schema_name: str, schema: Schema) -> None:
    names = [("Schema", schema_name)] + [("Table", name) for name in schema.tables]
    names += [(f"Column of {t.name!r}", column) for t in schema.tables.values() for column in t.column_names]
    faults = [
        f"{what} must have a name of at most {_LONGEST_NAME} bytes, because PostgreSQL cuts longer ones. Found: {name!r}"
        for what, name in names
        if len(name.encode()) > _LONGEST_NAME
    ]
    if faults:
        raise ConfigurationError(faults)


def _csv(batch: pa.RecordBatch) -> memoryview:
    """CSV as COPY reads it: strings quoted, nulls empty, bytes in hexadecimal."""
    for position, field in enumerate(batch.schema):
        if pa.types.is_binary(field.type):
            spelled = pa.array([None if v is None else "\\x" + v.hex() for v in batch.column(position).to_pylist()], pa.string())
            batch = batch.set_column(position, field.name, spelled)
    sink = pa.BufferOutputStream()
    pa.csv.write_csv(batch, sink, pa.csv.WriteOptions(include_header=False))
    return memoryview(sink.getvalue())
