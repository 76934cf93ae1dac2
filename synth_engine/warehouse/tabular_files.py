"""Tables as files: `<table>.csv`, `<table>.parquet`, or a sub-folder `<table>` of Parquet parts.

CSV is RFC 4180 (comma, double quotes, a header line, UTF-8), an empty field is null. Types are inferred over the
whole file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from synth_engine.errors import ConfigurationError, SourceDataError, WarehouseError
from synth_engine.schema import Column, Table
from synth_engine.schema.types import default_kind, from_arrow
from synth_engine.warehouse import sql
from synth_engine.warehouse.batches import BATCH_ROWS
from synth_engine.warehouse.csv_faults import fault_of_lines, fault_of_names

MARKER_FILE = ".synth.json"
_NOT_IN_FILE_NAMES = '%/\\:*?"<>|\0\n\r\t'
_LARGEST_EXACT = "9007199254740992"  # 2**53: above it a float does not hold every integer
_CSV: dict[str, Any] = {"header": True, "sep": ",", "quotechar": '"', "escapechar": '"', "skiprows": 0, "comment": ""}
"""What is a row is not left to DuckDB to guess: it would pass over first lines of another width, and lines that begin with `#`."""

ADVICE = "correct or export the file again, or leave the table out"


@dataclass(frozen=True)
class TableFiles:
    """The files of one table, in order. `entry` is what stands in the folder: a file or a sub-folder."""

    name: str
    entry: Path
    files: tuple[Path, ...]

    @property
    def is_csv(self) -> bool:
        return self.entry.suffix.lower() == ".csv"

    def state(self) -> str:
        """Changes whenever a file is replaced or written to."""
        facts = [(f.name, s.st_size, s.st_mtime_ns, s.st_ino) for f in self.files for s in (f.stat(),)]
        return hashlib.sha256(repr(facts).encode()).hexdigest()


def file_name(table: str) -> str:
    """The Parquet file of a table, whatever its name: characters that no file name may hold are escaped."""
    escaped = "".join(f"%{ord(c):02X}" if c in _NOT_IN_FILE_NAMES else c for c in table)
    hidden = escaped[:1] in (".", "_")
    return (f"%{ord(escaped[0]):02X}{escaped[1:]}" if hidden else escaped) + ".parquet"


def tables_in(folder: Path) -> dict[str, TableFiles]:
    """The tables of a folder by name. Names that begin with `.` or `_`, folders with our marker and all other files
    are no tables. Raises `ConfigurationError` if two entries claim one name."""
    found: dict[str, TableFiles] = {}
    faults = []
    for entry in sorted(folder.iterdir()):
        table = _table_at(entry)
        if table is None:
            continue
        if table.name in found:
            faults.append(
                f"A table must be one file or one sub-folder. Found: {table.name!r} is {found[table.name].entry.name} and {entry.name}"
            )
        found[table.name] = table
    if faults:
        raise ConfigurationError(faults)
    return found


def _table_at(entry: Path) -> TableFiles | None:
    if entry.name.startswith((".", "_")):
        return None
    if entry.is_dir():
        parts = tuple(sorted(p for p in entry.glob("*.parquet") if not p.name.startswith((".", "_"))))
        return TableFiles(unquote(entry.name), entry, parts) if parts and not (entry / MARKER_FILE).exists() else None
    if entry.suffix.lower() in (".csv", ".parquet"):
        return TableFiles(unquote(entry.stem), entry, (entry,))
    return None


def columns_of(table: TableFiles) -> tuple[Column, ...]:
    """Names and types of a table's columns; from a CSV file by reading it once. A file declares no keys, and a CSV
    file no not-null rules."""
    with _readable(table):
        if table.is_csv:
            with duckdb.connect() as connection:
                types = _csv_types(connection, table.entry)
                first = connection.read_csv(escape(str(table.entry)), all_varchar=True, **{**_CSV, "header": False}).limit(1).fetchall()
            if fault := fault_of_names(first[0], types):
                raise _unreadable(table, f"in {table.entry}, {fault}")
            return tuple(Column(name, default_kind(data_type), data_type) for name, data_type in types.items())
        schema = pq.read_schema(table.files[0])
        for part in table.files[1:]:
            if not pq.read_schema(part).equals(schema):
                raise WarehouseError(
                    f"All parts of table {table.name!r} must have the same columns", value=f"{part.name} differs from {table.files[0].name}"
                )
    return tuple(Column(f.name, default_kind(from_arrow(f.type)), from_arrow(f.type), f.nullable) for f in schema)


def batches_of(table: TableFiles, schema: Table) -> Iterator[pa.RecordBatch]:
    """The table's rows in file order, in the file's own types where the warehouse's reader can cast them."""
    with _readable(table):
        if table.is_csv:
            with duckdb.connect() as connection:
                yield from _csv_batches(connection, table.entry, schema)
            return
        for part in table.files:
            with pq.ParquetFile(part) as file:
                for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=[c.name for c in schema.columns]):
                    yield _as_text(batch, schema)


def _as_text(batch: pa.RecordBatch, schema: Table) -> pa.RecordBatch:
    """Nested values, which have no neutral type, become text."""
    for position, field in enumerate(batch.schema):
        if pa.types.is_nested(field.type):
            values = pa.array([None if v is None else str(v) for v in batch.column(position).to_pylist()], pa.string())
            batch = batch.set_column(position, field.name, values)
    return batch


@contextmanager
def _readable(table: TableFiles) -> Iterator[None]:
    """Translate what readers raise, without their message: it may repeat a value."""
    try:
        yield
        return
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        value = f"{type(error).__name__} in {table.entry}"
        raise WarehouseError(f"The files of table {table.name!r} must be there and fit", value=value, advice=ADVICE) from None
    except (duckdb.Error, pa.ArrowException) as error:
        kind, said = type(error).__name__, str(error)
    fault = _fault_of_lines(table.entry, said) if table.is_csv else None  # not above: what is raised there would bring the message along
    raise _unreadable(table, f"in {table.entry}, {fault}" if fault else f"{kind} in {table.entry}")


def _fault_of_lines(path: Path, said: str) -> str | None:
    try:
        return fault_of_lines(path, said)
    except OSError:  # gone meanwhile
        return None


def _unreadable(table: TableFiles, value: str) -> SourceDataError:
    rule = f"Table {table.name!r} must be readable CSV (comma, double quotes, header, UTF-8) or Parquet"
    return SourceDataError(rule, value=value, advice=ADVICE)


# -- CSV ---------------------------------------------------------------------------------------------------------------


def _sniffed(connection: duckdb.DuckDBPyConnection, path: Path, strings: Iterable[str] = ()) -> duckdb.DuckDBPyRelation:
    """The file with the types DuckDB infers from all of it, but for the columns that have to be `strings`."""
    types = dict.fromkeys(strings, "VARCHAR")
    return connection.read_csv(escape(str(path)), sample_size=-1, dtype=types or None, **_CSV)


def _raw(connection: duckdb.DuckDBPyConnection, path: Path) -> duckdb.DuckDBPyRelation:
    return connection.read_csv(escape(str(path)), all_varchar=True, **_CSV)


def _csv_types(connection: duckdb.DuckDBPyConnection, path: Path) -> dict[str, str]:
    """Neutral types of a CSV file's columns.

    DuckDB's inference is corrected where it would change values: integers that lose a leading zero, and numbers with
    more digits than a float holds, are strings. Floats that are all integral beside nulls are integers: other tools
    write integer columns with nulls as `2004.0`.
    """
    relation = _sniffed(connection, path)
    types = {name: _CSV_NEUTRAL.get(str(spelling), "string") for name, spelling in zip(relation.columns, relation.types, strict=True)}
    doubtful = [name for name, data_type in types.items() if data_type in ("int64", "float64")]
    if doubtful:
        question = sa.select(*(_corrected(sa.column(sql.quoted(name)), types[name]) for name in doubtful))
        types.update(zip(doubtful, _ask(_raw(connection, path), question).fetchall()[0], strict=True))
    return types


def _corrected(column: sa.ColumnClause[str], data_type: str) -> sa.ColumnElement[str]:
    """The neutral type of a numeric column, judged by the text of all its values."""
    lossy = sa.func.bool_or(sa.func.regexp_matches(column, sa.literal_column("'^[+-]?(0[0-9].*|[0-9]{20,})$'")))
    if data_type == "int64":
        return sa.case((lossy, _word("string")), else_=_word("int64"))
    number = sa.cast(column, sql.NativeType("DOUBLE"))
    integral = sa.and_(number == sa.func.trunc(number), sa.func.abs(number) < sa.literal_column(_LARGEST_EXACT))
    with_nulls = sa.and_(sa.func.bool_and(sa.func.coalesce(integral, sa.true())), sa.func.bool_or(column.is_(None)))
    return sa.case((lossy, _word("string")), (with_nulls, _word("int64")), else_=_word("float64"))


def _word(data_type: str) -> sa.ColumnClause[str]:
    return sa.literal_column(sql.text_literal(data_type))


def _csv_batches(connection: duckdb.DuckDBPyConnection, path: Path, schema: Table) -> Iterator[pa.RecordBatch]:
    """Read as inferred, but strings from the raw text: `007` is not 7."""
    relation = _sniffed(connection, path, [c.name for c in schema.columns if c.data_type == "string"])
    wanted = sa.select(*(sa.column(sql.quoted(c.name)) for c in schema.columns))
    yield from _ask(relation, wanted).to_arrow_reader(BATCH_ROWS)


def _ask(relation: duckdb.DuckDBPyRelation, question: sa.Select[Any]) -> duckdb.DuckDBPyRelation:
    """A SELECT without FROM, asked of a relation."""
    answer = relation.query("file_rows", sql.text_of(question.select_from(sa.table("file_rows"))))
    assert answer is not None  # it would be None for a statement that is no SELECT
    return answer


_CSV_NEUTRAL = {
    "BOOLEAN": "boolean",
    "BIGINT": "int64",
    "DOUBLE": "float64",
    "DATE": "date",
    "TIME": "time",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
}
