"""A folder of CSV or Parquet files as a warehouse.

The folder itself is the default schema; a sub-folder is a schema of its name. Keys and kinds come from the schema
file, since files declare none. A published folder holds one Parquet file a table and `.synth.json`, which lists the
tables that are ours.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from synth_engine.errors import ConfigurationError, PublicationRefused, WarehouseError, WarehouseUnavailable
from synth_engine.schema import Schema, Table
from synth_engine.warehouse import naming
from synth_engine.warehouse.batches import conformed, declared_schema, reader
from synth_engine.warehouse.tabular_files import MARKER_FILE, TableFiles, batches_of, columns_of, file_name, tables_in

if TYPE_CHECKING:
    from sqlalchemy import Engine


@dataclass(frozen=True)
class _Marker:
    """What `.synth.json` says: the publication a folder came from, and the tables in it that are ours."""

    publication: str | None
    tables: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path) -> _Marker:
        path = folder / MARKER_FILE
        if not path.exists():
            return cls(None, ())
        raw = json.loads(path.read_text(encoding="utf-8"))
        return cls(raw["publication"], tuple(raw["tables"]))

    def write(self, folder: Path) -> None:
        text = json.dumps({"made_by": naming.MARKER, "publication": self.publication, "tables": list(self.tables)}, indent=1)
        _write_aside(folder / MARKER_FILE, lambda path: path.write_text(text + "\n", encoding="utf-8"))


class FolderWarehouse:
    """A `Warehouse` made of files on a local disk."""

    dialect = "folder"

    def __init__(self, folder: str) -> None:
        self._root = Path(os.path.realpath(os.path.expanduser(folder)))
        self.location = str(self._root)

    # -- reading -----------------------------------------------------------------------------------------------------

    def reflect(self, schema: str | None, tables: Sequence[str] | None = None) -> Schema:
        """See `Warehouse.reflect`. No keys: files declare none."""
        found = self._tables(schema)
        where = str(self._folder(schema))
        if tables is not None:
            naming.require_known("Table", where, tables, list(found))
        if not found:
            raise ConfigurationError(
                [f"A folder warehouse must hold CSV or Parquet files. Found: none in {where}. Next step: correct its path"]
            )
        return Schema.of(Table(name, columns_of(files)) for name, files in found.items() if tables is None or name in tables)

    @contextmanager
    def snapshot(self, schema: str | None) -> Iterator[FolderSnapshot]:
        """See `Warehouse.snapshot`. Files cannot be locked: a table that changes while the snapshot is open is noticed
        when it is read, and raises `WarehouseUnavailable`."""
        yield FolderSnapshot(self._tables(schema))

    # -- staging -----------------------------------------------------------------------------------------------------

    def create_staging(self, staging: str, schema: Schema) -> None:
        """See `Warehouse.create_staging`. The staging area is a hidden sibling of the folder, so that publishing is a
        rename."""
        area = self._staging(staging)
        with _translated(area):
            if self._root.exists() and self._root.stat().st_dev != self._root.parent.stat().st_dev:
                raise WarehouseError("A folder warehouse must not be a mount point", value=self.location, advice="use a sub-folder of it")
            if area.exists():
                shutil.rmtree(area)
            area.mkdir(parents=True)
            for table in schema.tables.values():
                _write_table(area, table, ())
            _Marker(staging, tuple(schema.tables)).write(area)

    def load(self, staging: str, table: Table, batches: Iterable[pa.RecordBatch]) -> int:
        """See `Warehouse.load`."""
        area = self._staging(staging)
        if table.name not in _Marker.of(area).tables:
            raise WarehouseError(
                "A table must be in the staging area before it is loaded", value=repr(table.name), advice="create the staging area first"
            )
        with _translated(area):
            if pq.read_metadata(area / file_name(table.name)).num_rows:
                raise WarehouseError(
                    "A staged table must be empty before it is loaded",
                    value=f"{table.name!r} has rows",
                    advice="create the staging area again",
                )
            return _write_table(area, table, batches)

    @contextmanager
    def validation_engine(self, staging: str) -> Iterator[Engine]:
        """See `Warehouse.validation_engine`: an in-memory DuckDB with a view over each staged file."""
        import duckdb

        from synth_engine.warehouse.validation import add_views, engine_over

        area = self._staging(staging)
        with duckdb.connect() as connection:
            add_views(connection, staging, {name: files.entry for name, files in tables_in(area).items()})
            engine = engine_over(connection.cursor)
            try:
                yield engine
            finally:
                engine.dispose()

    def drop_staging(self, staging: str) -> None:
        """See `Warehouse.drop_staging`."""
        area = self._staging(staging)
        with _translated(area):
            if area.exists():
                shutil.rmtree(area)

    # -- publishing --------------------------------------------------------------------------------------------------

    def check_target(
        self, target: str | None, schema: Schema, *, source: tuple[str, str | None] | None, replace_foreign_tables: bool
    ) -> None:
        """See `Warehouse.check_target`."""
        folder = self._folder(target)
        if source:
            origin = Path(os.path.realpath(Path(source[0]) / (source[1] or "")))
            if origin == folder or origin.is_relative_to(folder):
                raise naming.refuse_source(str(folder))
        _recover(folder)
        _refuse(folder, schema, replace_foreign_tables)

    def publish(
        self, staging: str, target: str | None, schema: Schema, *, replace_foreign_tables: bool, lock_timeout_seconds: float
    ) -> None:
        """See `Warehouse.publish`. The folder is replaced by two renames; whoever opens it after a crash between them
        puts the old one back."""
        area, folder = self._staging(staging), self._folder(target)
        with _translated(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _locked(folder, lock_timeout_seconds):
                _put_right(folder)
                if not area.exists():
                    if _Marker.of(folder).publication != staging:
                        raise naming.staging_missing(staging, str(self._root.parent))
                    return
                _refuse(folder, schema, replace_foreign_tables)
                _carry_over(folder, area, schema, staging)
                _swap(area, folder)

    def has_tables(self, target: str | None, schema: Schema) -> bool:
        """See `Warehouse.has_tables`."""
        folder = self._folder(target)
        _recover(folder)
        return folder.is_dir() and tables_in(folder).keys() >= schema.tables.keys()

    def close(self) -> None:
        """See `Warehouse.close`. Nothing is held between operations."""

    # -- places ------------------------------------------------------------------------------------------------------

    def _folder(self, schema: str | None) -> Path:
        if schema is None:
            return self._root
        if schema in ("", ".", "..") or "/" in schema or schema.startswith("."):
            raise ConfigurationError([f"A schema of a folder warehouse must be the name of a sub-folder. Found: {schema!r}"])
        return Path(os.path.realpath(self._root / schema))

    def _staging(self, staging: str) -> Path:
        naming.require_staging_name(staging)
        return self._root.parent / f".{self._root.name}.{staging.replace('/', '%2F')}"

    def _tables(self, schema: str | None) -> dict[str, TableFiles]:
        folder = self._folder(schema)
        with _translated(folder):
            _recover(folder)
            return self._found(folder, schema)

    def _found(self, folder: Path, schema: str | None) -> dict[str, TableFiles]:
        if not folder.is_dir():
            if schema is not None and self._root.is_dir():
                naming.require_known(
                    "Schema", self.location, [schema], sorted(p.name for p in self._root.iterdir() if p.is_dir() and p.name[0] != ".")
                )
            raise ConfigurationError(
                [f"A folder warehouse must exist before it is read. Found: no folder {folder}. Next step: correct its path"]
            )
        return tables_in(folder)


class FolderSnapshot:
    """The files as they were when the snapshot was opened."""

    def __init__(self, tables: dict[str, TableFiles]) -> None:
        self._tables = tables
        self._states = {name: files.state() for name, files in tables.items()}
        self.identifier = "files " + hashlib.sha256(json.dumps(self._states, sort_keys=True).encode()).hexdigest()[:16]

    def read(self, table: Table) -> pa.RecordBatchReader:
        """See `Snapshot.read`."""
        return reader(table, self._unchanged(table))

    def _unchanged(self, table: Table) -> Iterator[pa.RecordBatch]:
        naming.require_known("Table", "the folder", [table.name], list(self._tables))
        files = self._tables[table.name]
        yield from batches_of(files, table)
        with _translated(files.entry):
            if files.state() != self._states[table.name]:
                raise WarehouseUnavailable(
                    f"The files of table {table.name!r} must not change while they are read",
                    value=f"{files.entry} changed",
                    advice="run the extract step again",
                )


def _write_table(area: Path, table: Table, batches: Iterable[pa.RecordBatch]) -> int:
    """Write a table's Parquet file, aside and then renamed into place; returns the rows."""
    shape = _for_pandas(declared_schema(table))

    def stream(path: Path) -> int:
        rows = 0
        with pq.ParquetWriter(path, shape) as writer:
            for batch in conformed(table, batches, shape):
                writer.write_batch(batch)
                rows += batch.num_rows
        return rows

    return _write_aside(area / file_name(table.name), stream)


def _for_pandas(shape: pa.Schema) -> pa.Schema:
    """The schema, with a word to pandas: integers with nulls are integers, not floats (else keys do not join as text)."""
    columns = [
        {"name": f.name, "field_name": f.name, "pandas_type": str(f.type), "numpy_type": str(f.type).capitalize(), "metadata": None}
        for f in shape
        if pa.types.is_integer(f.type)
    ]
    told = {"index_columns": [], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    return shape.with_metadata({"pandas": json.dumps(told)})


def _write_aside(path: Path, write: Callable[[Path], int]) -> int:
    """Write a file so that it is there whole, or not at all."""
    aside = path.with_name(f".{hashlib.sha256(path.name.encode()).hexdigest()[:16]}.tmp")
    result = write(aside)
    with open(aside, "rb") as stream:
        os.fsync(stream.fileno())
    os.replace(aside, path)
    return result


def _refuse(folder: Path, schema: Schema, replace_foreign_tables: bool) -> None:
    """Raise `PublicationRefused` if tables of somebody else stand where ours would go."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise PublicationRefused("The target must be a folder", value=str(folder))
    ours = _Marker.of(folder).tables
    foreign = [name for name in tables_in(folder) if name in schema.tables and name not in ours]
    if foreign and not replace_foreign_tables:
        raise naming.refuse_foreign(str(folder), foreign)


def _carry_over(folder: Path, area: Path, schema: Schema, staging: str) -> None:
    """Bring everything that the publication does not replace into the staging area, as links: nothing is copied."""
    earlier = _Marker.of(folder).tables
    _Marker(staging, tuple(sorted({*schema.tables, *earlier}))).write(area)
    if not folder.exists():
        return
    replaced = {files.entry.name for name, files in tables_in(folder).items() if name in schema.tables}
    for entry in folder.iterdir():
        if entry.name in replaced or entry.name == MARKER_FILE:
            continue
        kept = area / entry.name
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, kept, symlinks=True, copy_function=_link, dirs_exist_ok=True)
        else:
            _link(str(entry), str(kept))


def _link(entry: str, kept: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(kept)
    os.link(entry, kept, follow_symlinks=False)


# -- the two renames -----------------------------------------------------------------------------------------------------


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.synth-old")


def _swap(area: Path, folder: Path) -> None:
    """Put the staging area in the folder's place. Dying between the renames leaves only the folder aside, which
    `_put_right` recognises."""
    if folder.exists():
        os.rename(folder, _aside(folder))
    try:
        os.rename(area, folder)
    except OSError:
        _put_right(folder)
        raise
    if _aside(folder).exists():
        shutil.rmtree(_aside(folder))


def _put_right(folder: Path) -> None:
    """Finish or undo what a crash interrupted: the caller holds the lock."""
    aside = _aside(folder)
    if not aside.exists():
        return
    if folder.exists():
        shutil.rmtree(aside)
    else:
        os.rename(aside, folder)


def _recover(folder: Path) -> None:
    """Before reading: wait for a publication in progress, or put right what a dead one left."""
    if _aside(folder).exists():
        with _translated(folder), _locked(folder, wait_seconds=60):
            _put_right(folder)


@contextmanager
def _locked(folder: Path, wait_seconds: float) -> Iterator[None]:
    """An exclusive lock on the folder's parent; the system gives it back if the process dies."""
    deadline = time.monotonic() + wait_seconds
    handle = os.open(folder.parent, os.O_RDONLY)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise WarehouseUnavailable(
                        "Only one run at a time may publish to a folder",
                        value=f"{folder} was locked for {wait_seconds:g} s",
                        advice="wait for the other run",
                    ) from None
                time.sleep(0.1)
        yield
    finally:
        os.close(handle)


@contextmanager
def _translated(place: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise WarehouseError(
            "The folder warehouse must be readable and writable",
            value=f"{error.strerror}: {error.filename or place}",
            advice="correct its path or rights",
        ) from None
    except OSError as error:
        raise WarehouseUnavailable(
            "The folder warehouse must have room and answer",
            value=f"{error.strerror}: {error.filename or place}",
            advice="free space, then try again",
        ) from None
