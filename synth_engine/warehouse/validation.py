"""A SQLAlchemy engine over DuckDB on which Great Expectations works."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import DDLCompiler
from sqlalchemy.sql.ddl import ExecutableDDLElement

from synth_engine.warehouse import sql

if TYPE_CHECKING:
    import duckdb


def engine_over(connect: Callable[[], duckdb.DuckDBPyConnection]) -> sa.Engine:
    """An engine whose every connection comes from `connect`."""
    from duckdb_engine import ConnectionWrapper

    engine = sa.create_engine("duckdb:///:memory:", creator=lambda: ConnectionWrapper(connect()), poolclass=sa.pool.StaticPool)
    quotes = engine.dialect.identifier_preparer  # it knows PostgreSQL's words; a column may be called `at`, or `anti`
    quotes.reserved_words = {*quotes.reserved_words, *_reserved_words()}
    sa.event.listen(engine, "after_cursor_execute", _buffer)
    return engine


def _reserved_words() -> Iterator[str]:
    import duckdb

    with duckdb.connect() as connection:
        asked = connection.execute("SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category <> 'unreserved'")
        yield from (word for (word,) in asked.fetchall())


def _buffer(_connection: sa.Connection, cursor: Any, _statement: str, _parameters: Any, context: Any, _many: bool) -> None:
    # Great Expectations leaves the connection before it fetches; DuckDB's result is gone by then unless it is kept here
    if cursor.description:
        context.cursor_fetch_strategy = FullyBufferedCursorFetchStrategy(
            cursor, initial_buffer=cursor.fetchall(), alternate_description=cursor.description
        )


def add_views(connection: duckdb.DuckDBPyConnection, schema: str, files: Mapping[str, Path]) -> None:
    """Make a schema with one view over each Parquet file, by name of the view."""
    connection.execute(sql.text_of(sa.schema.CreateSchema(sql.quoted(schema))))
    for name, file in files.items():
        view = sa.Table(sql.quoted(name), sa.MetaData(), schema=sql.quoted(schema))
        connection.execute(sql.text_of(_ParquetView(view, file)))


class _ParquetView(ExecutableDDLElement):
    """CREATE VIEW over one Parquet file; such a statement takes no parameters, so the path is a literal."""

    def __init__(self, view: sa.Table, file: Path) -> None:
        self.view, self.file = view, file


@compiles(_ParquetView)
def _create_view(element: _ParquetView, compiler: DDLCompiler, **_: object) -> str:
    path = compiler.sql_compiler.render_literal_value(escape(str(element.file)), sa.String())
    return " ".join(["CREATE VIEW", compiler.preparer.format_table(element.view), "AS SELECT * FROM read_parquet(", path, ")"])
