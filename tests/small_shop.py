"""A shop of a few hundred rows in a DuckDB file, for whole runs: two tables, two keys between them, and a canary.

The canary is a customer whose e-mail and home town nobody else has: neither may be found outside `real/`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from synth_engine import pipeline
from synth_engine.config import Config
from synth_engine.schema import Schema
from synth_engine.warehouse import Warehouse, open_warehouse
from synth_engine.workspace import Manifest, Workspace

CUSTOMERS, ORDERS = 150, 400
CANARY_EMAIL, CANARY_TOWN = "zebedee.canary@aviary.test", "Llanfairpwllgwyngyll"

SETTINGS: dict[str, Any] = {
    "source_schema": "shop",
    "target_schema": "twin",
    "training": {"size": "small", "max_epochs": 2, "device": "cpu"},
    "validation": {"distribution_distance": 100},
}
"""As little training as there is, and bounds on distributions that so little training can meet."""

TABLES = (
    "CREATE TABLE shop.customer (id integer PRIMARY KEY, email varchar NOT NULL, town varchar, born date)",
    """CREATE TABLE shop.purchase (id bigint PRIMARY KEY, customer integer NOT NULL REFERENCES shop.customer (id),
        payer integer REFERENCES shop.customer (id), price decimal(8,2), placed timestamp NOT NULL, paid boolean)""",
)
LOOSE_TABLES = tuple(text.replace(" PRIMARY KEY", "").replace(" REFERENCES shop.customer (id)", "") for text in TABLES)
"""The same tables without keys, for sources whose rows break them."""

LOOSE_KEYS = """
tables:
  customer: {primary_key: [id]}
  purchase:
    primary_key: [id]
    foreign_keys:
      - {columns: [customer], references: {table: customer, columns: [id]}}
      - {columns: [payer], references: {table: customer, columns: [id]}}
"""


def customers() -> list[tuple[Any, ...]]:
    draw = random.Random(1)
    towns = ["Ulm", "Bonn", "Kiel", None]
    rows: list[tuple[Any, ...]] = [
        (
            i,
            f"{draw.choice(['ann', 'bob', 'eve'])}{i:04d}@mail.test",
            draw.choice(towns),
            f"{draw.randint(1950, 1999)}-0{draw.randint(1, 9)}-15",
        )
        for i in range(1, CUSTOMERS)
    ]
    return [*rows, (CUSTOMERS, CANARY_EMAIL, CANARY_TOWN, "1970-01-01")]


def purchases() -> list[tuple[Any, ...]]:
    draw = random.Random(2)
    return [
        (
            1000 + i,
            draw.randint(1, CUSTOMERS),
            draw.choice([None, draw.randint(1, CUSTOMERS)]),
            draw.randint(100, 9999) / 100,
            f"2024-0{draw.randint(1, 9)}-{draw.randint(10, 28)} {draw.randint(10, 23)}:15:00",
            draw.random() < 0.8,
        )
        for i in range(ORDERS)
    ]


def build(path: Path, *, keys: bool = True, extra: Sequence[str] = ()) -> str:
    """Make the shop in schema `shop` of a DuckDB file, execute the `extra` statements; returns the file's URL."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE SCHEMA shop")
        for statement in TABLES if keys else LOOSE_TABLES:
            connection.execute(statement)
        connection.executemany("INSERT INTO shop.customer VALUES (?, ?, ?, ?)", customers())
        connection.executemany("INSERT INTO shop.purchase VALUES (?, ?, ?, ?, ?, ?)", purchases())
        for statement in extra:
            connection.execute(statement)
    return f"duckdb:///{path}"


def query(path: Path, statement: str) -> list[tuple[Any, ...]]:
    """The rows of one statement on a DuckDB file."""
    with duckdb.connect(str(path)) as connection:
        return connection.execute(statement).fetchall()


def config(**settings: Any) -> Config:
    """The settings of a small run, with changes."""
    return Config.build(SETTINGS, settings)


class Place:
    """A shop with a workspace beside it."""

    def __init__(self, folder: Path, *, keys: bool = True, extra: Sequence[str] = ()) -> None:
        self.folder = folder
        self.file = folder / "warehouse.duckdb"
        self.url = build(self.file, keys=keys, extra=extra)
        self.workspace = Workspace(str(folder / "work"))

    @property
    def warehouse(self) -> Warehouse:
        return open_warehouse(self.url)

    def run(self, **settings: Any) -> dict[str, Manifest]:
        """The whole job, from schema `shop` of the file to schema `twin` of the same file."""
        return pipeline.run(config(**settings), self.workspace, self.warehouse, self.warehouse)

    def extract(self, **settings: Any) -> Manifest:
        """The first two steps."""
        pipeline.reflect(config(**settings), self.workspace, self.warehouse)
        return pipeline.extract(config(**settings), self.workspace, self.warehouse)

    def schema(self) -> Schema:
        """The schema that reflect left."""
        return Schema.from_dict(self.workspace.read_json(self.workspace.schema))

    def manifests(self) -> dict[str, bytes]:
        """The bytes of every manifest that is there, by step."""
        return {path.stem: path.read_bytes() for path in (self.folder / "work" / "manifests").glob("*.json")}

    def files(self, part: str) -> dict[str, bytes]:
        """The bytes of every file below a part of the workspace, by path."""
        root = self.folder / "work" / part
        return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
