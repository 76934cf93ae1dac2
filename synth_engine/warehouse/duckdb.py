"""DuckDB database files.

A file has one writer at a time, and no reader in another process beside it. So connections are short.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import duckdb
import pyarrow as pa
import sqlalchemy as sa

from synth_engine.errors import ConfigurationError, WarehouseError
from synth_engine.schema import Schema, Table
from synth_engine.warehouse import duckdb_catalogue as catalogue
from synth_engine.warehouse import naming, sql
from synth_engine.warehouse.batches import BATCH_ROWS, conformed, declared_schema, reader
from synth_engine.warehouse.duckdb_publication import replace_tables
from synth_engine.warehouse.duckdb_session import run, transaction, translated
from synth_engine.warehouse.duckdb_types import native_type, readable_type


class DuckDBWarehouse:
    """A `Warehouse` in a DuckDB file. Connections are opened for one operation at a time, so that the file is free
    for others between steps."""

    dialect = "duckdb"
    wait_seconds = 10.0
    """How long to wait for a file that another process has open."""

    def __init__(self, url: sa.URL) -> None:
        if url.database in (None, "", ":memory:"):
            raise ConfigurationError(["A DuckDB warehouse must be a file, because each step opens it anew. Found: a database in memory"])
        self.location = os.path.realpath(str(url.database))

    # -- reading -----------------------------------------------------------------------------------------------------

    def reflect(self, schema: str | None, tables: Sequence[str] | None = None) -> Schema:
        """See `Warehouse.reflect`."""
        with self._reading() as connection:
            name = schema or "main"
            naming.require_known("Schema", self.location, [name], catalogue.schemas(connection))
            found = catalogue.reflected(connection, name)
        if tables is None:
            return found
        naming.require_known("Table", f"schema {name!r} of {self.location}", tables, list(found.tables))
        return found.select(tables)

    @contextmanager
    def snapshot(self, schema: str | None) -> Iterator[DuckDBSnapshot]:
        """See `Warehouse.snapshot`. All tables are read in one transaction, one table at a time."""
        with self._reading() as connection:
            run(connection, "BEGIN TRANSACTION")
            transaction = run(connection, "SELECT txid_current()")[0][0]
            yield DuckDBSnapshot(connection, schema or "main", f"duckdb transaction {transaction}")

    # -- staging -----------------------------------------------------------------------------------------------------

    def create_staging(self, staging: str, schema: Schema) -> None:
        """See `Warehouse.create_staging`. The staging area is a schema of the same file."""
        naming.require_staging_name(staging)
        catalogue.require_distinct_names(schema)
        made = sql.relations(schema, staging, native_type, deferred=None)
        with self._writing() as connection, transaction(connection):
            run(connection, sa.schema.DropSchema(sql.quoted(staging), cascade=True, if_exists=True))
            run(connection, sa.schema.CreateSchema(sql.quoted(staging)))
            for table in made.values():
                run(connection, sa.schema.CreateTable(table))

    def load(self, staging: str, table: Table, batches: Iterable[pa.RecordBatch]) -> int:
        """See `Warehouse.load`."""
        naming.require_staging_name(staging)
        into = sql.relations(Schema.of([table]), staging, native_type, deferred=None)[table.name]
        arriving = sql.source(replace(table, name="arriving_batches"), None)
        shape = declared_schema(table)
        feed = _Feed(conformed(table, batches, shape))
        with self._writing() as connection, transaction(connection):
            if run(connection, sa.select(sa.literal_column("1")).select_from(into).limit(sa.literal_column("1"))):
                raise WarehouseError(
                    "A staged table must be empty before it is loaded",
                    value=f"{table.name!r} has rows",
                    advice="create the staging area again",
                )
            connection.register(arriving.name, pa.RecordBatchReader.from_batches(shape, feed))
            try:
                written = run(connection, sql.copy_rows(arriving, into))[0][0]
            except duckdb.Error:
                if feed.broken_by:
                    raise feed.broken_by from None
                raise
            connection.unregister(arriving.name)
        return int(written)

    @contextmanager
    def validation_engine(self, staging: str) -> Iterator[sa.Engine]:
        """See `Warehouse.validation_engine`."""
        from synth_engine.warehouse.validation import engine_over

        naming.require_staging_name(staging)
        engine = engine_over(lambda: self._connect(read_only=True, wait_seconds=self.wait_seconds))
        try:
            yield engine
        finally:
            engine.dispose()

    def drop_staging(self, staging: str) -> None:
        """See `Warehouse.drop_staging`."""
        naming.require_staging_name(staging)
        if os.path.exists(self.location):
            with self._writing() as connection:
                run(connection, sa.schema.DropSchema(sql.quoted(staging), cascade=True, if_exists=True))

    # -- publishing --------------------------------------------------------------------------------------------------

    def check_target(
        self, target: str | None, schema: Schema, *, source: tuple[str, str | None] | None, replace_foreign_tables: bool
    ) -> None:
        """See `Warehouse.check_target`."""
        into = target or "main"
        # DuckDB's names are equal whatever their case
        if source and source[0] == self.location and (source[1] or "main").casefold() == into.casefold():
            raise naming.refuse_source(f"schema {into!r} of {self.location}")
        catalogue.require_distinct_names(schema)
        sql.require_publishable(schema)
        if os.path.exists(self.location):
            with self._reading() as connection:
                catalogue.refuse_obstacles(connection, into, schema, replace_foreign_tables)

    def publish(
        self, staging: str, target: str | None, schema: Schema, *, replace_foreign_tables: bool, lock_timeout_seconds: float
    ) -> None:
        """See `Warehouse.publish`. Keys that close a cycle between tables are not declared, because DuckDB has no
        ALTER TABLE that could; a warning and the table's comment name them."""
        naming.require_staging_name(staging)
        sql.require_publishable(schema)
        into = target or "main"
        with self._writing(lock_timeout_seconds) as connection, transaction(connection):
            if staging not in catalogue.schemas(connection):
                if not catalogue.is_published(connection, into, schema, staging):
                    raise naming.staging_missing(staging, self.location)
                return
            catalogue.refuse_obstacles(connection, into, schema, replace_foreign_tables)
            replace_tables(connection, staging, into, schema)
            run(connection, sa.schema.DropSchema(sql.quoted(staging), cascade=True))

    def has_tables(self, target: str | None, schema: Schema) -> bool:
        """See `Warehouse.has_tables`."""
        if not os.path.exists(self.location):
            return False
        with self._reading() as connection:
            return catalogue.has_tables(connection, target or "main", schema)

    def close(self) -> None:
        """See `Warehouse.close`. Nothing is held between operations."""

    # -- connections -------------------------------------------------------------------------------------------------

    def _connect(self, *, read_only: bool, wait_seconds: float) -> duckdb.DuckDBPyConnection:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                return duckdb.connect(self.location, read_only=read_only)
            except duckdb.ConnectionException:
                # this process has the file open in the other mode; a writer's connection can also read
                if not read_only:
                    raise
                return duckdb.connect(self.location)
            except duckdb.IOException as error:
                if "lock" not in str(error).lower() or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    @contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        if not os.path.exists(self.location):
            raise ConfigurationError(
                [f"A DuckDB warehouse must exist before it is read. Found: no file {self.location}. Next step: correct its path"]
            )
        with self._translated():
            connection = self._connect(read_only=True, wait_seconds=self.wait_seconds)
            try:
                yield connection
            finally:
                connection.close()

    @contextmanager
    def _writing(self, wait_seconds: float | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._translated():
            connection = self._connect(read_only=False, wait_seconds=self.wait_seconds if wait_seconds is None else wait_seconds)
            try:
                yield connection
            finally:
                connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            raise translated(error, self.location) from None


class _Feed:
    """Batches on their way into DuckDB, which would report only the text of what broke them."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self.broken_by: BaseException | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._batches
        except BaseException as error:
            self.broken_by = error
            raise


class DuckDBSnapshot:
    """The tables of one schema inside one transaction."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, schema: str, identifier: str) -> None:
        self.identifier = identifier
        self._connection, self._schema = connection, schema

    def read(self, table: Table) -> pa.RecordBatchReader:
        """See `Snapshot.read`. A table must be read to its end before the next one is begun."""
        return reader(table, self._batches(table))

    def _batches(self, table: Table) -> Iterator[pa.RecordBatch]:
        source = sql.source(table, self._schema)
        columns = [sql.cast_through(source.columns[c.name], [readable_type(c.data_type)]) for c in table.columns]
        try:
            yield from self._connection.sql(sql.text_of(sa.select(*columns))).to_arrow_reader(BATCH_ROWS)
        except duckdb.Error as error:  # its message may repeat a value
            raise WarehouseError(
                f"Table {table.name!r} must be readable as its schema says",
                value=f"{type(error).__name__} in {self._schema!r}",
                advice="run the reflect step again; read one table to its end before the next",
            ) from None
