"""Statements and transactions on a DuckDB connection, and its errors as ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import sqlalchemy as sa

from synth_engine.errors import SynthError, WarehouseError, WarehouseUnavailable
from synth_engine.warehouse import sql


def run(connection: duckdb.DuckDBPyConnection, statement: str | sa.Executable, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """Run one statement to its end: an unfinished result would block the connection."""
    text = statement if isinstance(statement, str) else sql.text_of(statement)
    rows: list[tuple[Any, ...]] = connection.execute(text, list(parameters)).fetchall()
    return rows


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All or nothing."""
    run(connection, "BEGIN TRANSACTION")
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    run(connection, "COMMIT")


def translated(error: duckdb.Error, where: str) -> SynthError:
    """The driver's error as one of ours."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, duckdb.ConnectionException | duckdb.TransactionException) or (
        isinstance(error, duckdb.IOException) and "lock" in reason.lower()
    ):
        return WarehouseUnavailable(
            f"The DuckDB file {where} must be free for writing", value=reason, advice="close other connections to it, then try again"
        )
    return WarehouseError(f"The DuckDB file {where} must accept every statement", value=reason)
