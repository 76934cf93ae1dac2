"""A small real warehouse with traps in it: hostile names, every type, composite and self-referring keys, an empty table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from synth_engine.schema import ForeignKey, Schema
from synth_engine.warehouse import Warehouse, open_warehouse, staging_name
from synth_engine.warehouse.tabular_files import file_name

SOURCE = "real Data"
TARGET = 'synth "per%cent" 🏪'
REGION = 'reg"ion; DROP TABLE x; --'

STATEMENTS = [
    'CREATE SCHEMA "real Data"',
    """CREATE TABLE "real Data"."reg""ion; DROP TABLE x; --" (
        "select" integer NOT NULL, "per%cent" smallint NOT NULL, "it's" varchar, PRIMARY KEY ("select", "per%cent"), UNIQUE ("it's"))""",
    """CREATE TABLE "real Data"."Cust omers" (
        id bigint PRIMARY KEY, "Mixed Case" varchar NOT NULL, boss bigint REFERENCES "real Data"."Cust omers" (id),
        price numeric(10,2), rate double precision, small real, active boolean, born date, wakes time, seen timestamp,
        paid timestamptz, "key🔑" uuid, doc json, raw bytea, "a.b" integer, "{brace}" smallint,
        FOREIGN KEY ("a.b", "{brace}") REFERENCES "real Data"."reg""ion; DROP TABLE x; --" ("select", "per%cent"))""",
    """CREATE TABLE "real Data".orders (
        buyer bigint NOT NULL REFERENCES "real Data"."Cust omers" (id), payer bigint REFERENCES "real Data"."Cust omers" (id),
        number integer NOT NULL, note varchar, UNIQUE (buyer, number))""",
    'CREATE TABLE "real Data".empty (id integer PRIMARY KEY, "group" varchar)',
    'CREATE TABLE "real Data".large (id integer NOT NULL, half double precision)',
    """INSERT INTO "real Data"."reg""ion; DROP TABLE x; --" VALUES (1, 1, 'north'), (1, 2, NULL), (2, 1, 'a"b,c''d')""",
    """INSERT INTO "real Data"."Cust omers" VALUES (
        1, 'Ann', NULL, 12.50, 0.1, 1.5, true, '2001-02-03', '12:34:56.789',
        '2020-02-29 23:59:59.123456',
        '2020-01-01 00:00:00+02',
        'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a": [1, null]}', NULL, 1, 2)""",
    """INSERT INTO "real Data"."Cust omers" VALUES (2, '', 1, -0.01,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)""",
    """INSERT INTO "real Data"."Cust omers" VALUES (3, 'line
        break, "quoted" 🦉 \\N', 2, 99999999.99, -1e300, 0, false,
        '1900-01-01', '00:00:00', '1969-12-31 23:59:59', NULL, NULL, '[]', '', 2, 1)""",
    """INSERT INTO "real Data".orders VALUES (1, 2, 1, 'first'), (1, NULL, 2, NULL), (3, 3, 1, '')""",
    'INSERT INTO "real Data".large SELECT i, i / 2.0 FROM generate_series(1, 70000) AS t(i)',
]

CYCLE = [
    'CREATE TABLE "real Data".teams (id integer PRIMARY KEY, captain integer)',
    'CREATE TABLE "real Data".players (id integer PRIMARY KEY, team integer REFERENCES "real Data".teams (id))',
    'INSERT INTO "real Data".teams VALUES (1, NULL)',
    'INSERT INTO "real Data".players VALUES (7, 1), (8, NULL)',
    'UPDATE "real Data".teams SET captain = 7',
    'ALTER TABLE "real Data".teams ADD FOREIGN KEY (captain) REFERENCES "real Data".players (id)',
]
"""Two tables that refer to each other, which only PostgreSQL can declare."""

KEYS: dict[str, dict[str, Any]] = {
    REGION: {"primary_key": ("select", "per%cent"), "unique": (("it's",),), "foreign_keys": ()},
    "Cust omers": {
        "primary_key": ("id",),
        "unique": (),
        "foreign_keys": (
            ForeignKey(("boss",), "Cust omers", ("id",)),
            ForeignKey(("a.b", "{brace}"), REGION, ("select", "per%cent")),
        ),
    },
    "orders": {
        "primary_key": (),
        "unique": (("buyer", "number"),),
        "foreign_keys": (ForeignKey(("buyer",), "Cust omers", ("id",)), ForeignKey(("payer",), "Cust omers", ("id",))),
    },
    "empty": {"primary_key": ("id",), "unique": (), "foreign_keys": ()},
    "large": {"primary_key": (), "unique": (), "foreign_keys": ()},
}

TYPES = {
    "id": "int64",
    "Mixed Case": "string",
    "boss": "int64",
    "price": "decimal(10,2)",
    "rate": "float64",
    "small": "float32",
    "active": "boolean",
    "born": "date",
    "wakes": "time",
    "seen": "timestamp",
    "paid": "timestamptz",
    "key🔑": "uuid",
    "doc": "json",
    "raw": "binary",
    "a.b": "int32",
    "{brace}": "int16",
}
"""Neutral types of the columns of `Cust omers`."""


@dataclass(frozen=True)
class Shop:
    """The shop in one warehouse. `place` opens it, `source` is the schema it stands in."""

    place: str
    warehouse: Warehouse
    source: str

    @property
    def schema(self) -> Schema:
        """Its schema but for the large table; for a folder with the keys that a schema file would add."""
        return with_keys(self._small(self.source))

    def rows(self, schema: str | None = None) -> dict[str, pa.Table]:
        """All rows of a schema (the source if None) but for the large table, each table sorted."""
        return read_all(self.warehouse, schema or self.source, self._small(schema or self.source))

    def _small(self, schema: str) -> Schema:
        found = self.warehouse.reflect(schema).tables
        return Schema.of(table for name, table in found.items() if name != "large")

    def stage(self, run: str, schema: Schema, rows: dict[str, pa.Table], target: str | None = TARGET) -> str:
        """Create and load a staging area; returns its name."""
        staging = staging_name(target, run)
        self.warehouse.create_staging(staging, schema)
        for name, table in schema.tables.items():
            self.warehouse.load(staging, table, rows[name].to_batches())
        return staging

    def publish(self, staging: str, schema: Schema, target: str | None = TARGET, *, replace_foreign_tables: bool = False) -> None:
        self.warehouse.publish(staging, target, schema, replace_foreign_tables=replace_foreign_tables, lock_timeout_seconds=5)


def with_keys(schema: Schema) -> Schema:
    """The schema with the shop's keys where nothing declares them."""
    if any(table.primary_key for table in schema.tables.values()):
        return schema
    return Schema.of(replace(table, **KEYS[name]) for name, table in schema.tables.items() if name in KEYS)


def read_all(warehouse: Warehouse, schema: str | None, of: Schema | None = None) -> dict[str, pa.Table]:
    """Every table of a schema, rows in an order that does not depend on how they are stored."""
    found = of or warehouse.reflect(schema)
    with warehouse.snapshot(schema) as snapshot:
        tables = {name: snapshot.read(table).read_all() for name, table in found.tables.items()}
    return {name: table.sort_by([(c, "ascending") for c in table.column_names]).combine_chunks() for name, table in tables.items()}


def build_duckdb(path: Path) -> Shop:
    with duckdb.connect(str(path)) as connection:
        for statement in STATEMENTS:
            connection.execute(statement).fetchall()
    place = f"duckdb:///{path}"
    return Shop(place, open_warehouse(place), SOURCE)


def build_postgres(url: str, *, cycle: bool = False) -> Shop:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in STATEMENTS + (CYCLE if cycle else []):
            connection.execute(statement.encode())
    return Shop(url, open_warehouse(url), SOURCE)


def build_folder(root: Path, scratch: Path) -> Shop:
    origin = build_duckdb(scratch / "origin.duckdb")
    (root / SOURCE).mkdir(parents=True)
    for name, rows in read_all(origin.warehouse, SOURCE).items():
        pq.write_table(rows, root / SOURCE / file_name(name))
    return Shop(str(root), open_warehouse(str(root)), SOURCE)
