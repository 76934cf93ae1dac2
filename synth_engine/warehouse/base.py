"""What every warehouse can do for the pipeline. One file a warehouse implements it; the contract tests hold each to it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from synth_engine.schema import Schema, Table

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Engine


class Snapshot(Protocol):
    """All tables of a schema as they were at one point in time."""

    identifier: str
    """What the warehouse calls this point in time; recorded in the manifest."""

    def read(self, table: Table) -> pa.RecordBatchReader:
        """Stream a table in bounded batches, columns in schema order, in the Arrow types of `schema.types.to_arrow`."""
        ...


class Warehouse(Protocol):
    """A place that holds relational tables. `schema` names below are the warehouse's own schema names; None means
    its default one."""

    dialect: str
    """`duckdb`, `postgresql` or `folder`."""

    @property
    def location(self) -> str:
        """Where it physically is, without credentials: equal for two connections to the same database. May connect."""
        ...

    def reflect(self, schema: str | None, tables: Sequence[str] | None = None) -> Schema:
        """Columns, types, nullability, primary, unique and foreign keys of the base tables.

        Raises `ConfigurationError` for a schema or table that is not there (all of them at once), and
        `WarehouseUnavailable` if the warehouse cannot be reached.
        """
        ...

    def snapshot(self, schema: str | None) -> AbstractContextManager[Snapshot]:
        """Open a read-only view of the schema that other writers cannot change."""
        ...

    def create_staging(self, staging: str, schema: Schema) -> None:
        """Make an empty staging area with the tables, types and not-null rules of `schema`; an earlier one of the
        same name is replaced."""
        ...

    def load(self, staging: str, table: Table, batches: Iterable[pa.RecordBatch]) -> int:
        """Stream batches into an empty staged table and return the rows written; all or nothing."""
        ...

    def validation_engine(self, staging: str) -> AbstractContextManager[Engine]:
        """A SQLAlchemy engine on which the staged tables can be read as `staging.table`, fit for Great Expectations."""
        ...

    def check_target(
        self, target: str | None, schema: Schema, *, source: tuple[str, str | None] | None, replace_foreign_tables: bool
    ) -> None:
        """Raise `PublicationRefused` if publishing to `target` would overwrite the source (`(location, schema)`,
        compared after names are resolved) or tables that this product did not create."""
        ...

    def publish(
        self, staging: str, target: str | None, schema: Schema, *, replace_foreign_tables: bool, lock_timeout_seconds: float
    ) -> None:
        """Make the staged tables the target's, with all keys, in one transaction: a reader, and whoever comes after a
        crash, sees all old or all new tables. The staging area is dropped afterwards. Idempotent: if the staging area
        is gone and the target already holds this publication, nothing happens."""
        ...

    def has_tables(self, target: str | None, schema: Schema) -> bool:
        """Whether `target` has a table of every name in `schema`, whoever made it."""
        ...

    def drop_staging(self, staging: str) -> None:
        """Remove a staging area, if it is there."""
        ...

    def close(self) -> None:
        """Give connections back."""
        ...


def staging_name(target: str | None, run_key: str) -> str:
    """The deterministic name of a run's staging area: a retry finds what the attempt before it left.

    At most 63 bytes, the longest name that every warehouse takes.
    """
    digest = hashlib.sha256("\0".join((target or "", run_key)).encode()).hexdigest()[:8]
    readable = (target or "default").encode()[:43].decode(errors="ignore")
    return f"{readable}__synth_stg_{digest}"
