"""Keys of every shape through a whole run, with all constraints enforced by a Postgres server on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import psycopg.sql
import pytest

from synth_engine import pipeline
from synth_engine.config import Config
from synth_engine.warehouse import open_warehouse
from synth_engine.workspace import Workspace

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

SOURCE = """
CREATE SCHEMA chain;
CREATE TABLE chain.tenant (tenant integer PRIMARY KEY, plan varchar NOT NULL);
CREATE TABLE chain.staff (
    tenant integer NOT NULL REFERENCES chain.tenant, staff integer NOT NULL, manager integer, store integer, role varchar NOT NULL,
    PRIMARY KEY (tenant, staff), FOREIGN KEY (tenant, manager) REFERENCES chain.staff (tenant, staff)
);
CREATE TABLE chain.store (
    store integer PRIMARY KEY, tenant integer NOT NULL, head integer NOT NULL, opened date NOT NULL, UNIQUE (tenant, head),
    FOREIGN KEY (tenant, head) REFERENCES chain.staff (tenant, staff)
);
CREATE TABLE chain.address (store integer PRIMARY KEY REFERENCES chain.store, town varchar NOT NULL);
CREATE TABLE chain.product (
    tenant integer NOT NULL REFERENCES chain.tenant, sku varchar NOT NULL, price numeric(8, 2) NOT NULL, PRIMARY KEY (tenant, sku)
);
CREATE TABLE chain.sale (
    tenant integer NOT NULL, staff integer NOT NULL, number integer NOT NULL, sku varchar, amount integer NOT NULL,
    PRIMARY KEY (tenant, staff, number), FOREIGN KEY (tenant, staff) REFERENCES chain.staff (tenant, staff),
    FOREIGN KEY (tenant, sku) REFERENCES chain.product (tenant, sku)
);
CREATE TABLE chain.stock (store integer REFERENCES chain.store, tenant integer, sku varchar, PRIMARY KEY (store, sku),
    FOREIGN KEY (tenant, sku) REFERENCES chain.product (tenant, sku));

INSERT INTO chain.tenant SELECT t, CASE WHEN t % 3 = 0 THEN 'large' ELSE 'small' END FROM generate_series(1, 12) t;
INSERT INTO chain.staff SELECT t, s, CASE WHEN s > 2 THEN 1 + s % 2 END, NULL, CASE WHEN s < 3 THEN 'head' ELSE 'clerk' END
    FROM generate_series(1, 12) t, generate_series(1, 8) s WHERE s <= 4 + t % 5;
INSERT INTO chain.store SELECT 10 * t + s, t, s, DATE '2020-01-01' + 30 * t + s FROM generate_series(1, 12) t, generate_series(1, 2) s;
UPDATE chain.staff SET store = 10 * tenant + 1 + staff % 2 WHERE staff % 4 <> 0;
ALTER TABLE chain.staff ADD FOREIGN KEY (store) REFERENCES chain.store;
INSERT INTO chain.address SELECT store, CASE WHEN store % 2 = 0 THEN 'Bergen' ELSE 'Oslo' END FROM chain.store;
INSERT INTO chain.product SELECT t, 'SKU-' || lpad(p::text, 4, '0'), 1 + p * 7 % 50
    FROM generate_series(1, 12) t, generate_series(1, 9) p WHERE p <= 4 + t % 6;
INSERT INTO chain.sale SELECT s.tenant, s.staff, n, CASE WHEN n % 5 > 0 THEN 'SKU-' || lpad((1 + n % 4)::text, 4, '0') END, n % 7
    FROM chain.staff s, generate_series(1, 9) n WHERE n <= 3 + s.staff % 7;
INSERT INTO chain.stock SELECT s.store, p.tenant, p.sku FROM chain.store s JOIN chain.product p ON p.tenant = s.tenant;
"""

CONSTRAINTS = """
SELECT c.conrelid::regclass::text, replace(pg_get_constraintdef(c.oid), %(schema)s || '.', '') FROM pg_constraint c
JOIN pg_namespace n ON n.oid = c.connamespace WHERE n.nspname = %(schema)s AND c.convalidated AND c.contype IN ('p', 'u', 'f')
"""


@pytest.fixture(scope="module")
def database(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[psycopg.Connection]:
    """A database with the source schema `chain` and its published twin."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(SOURCE)
        folder: Path = tmp_path_factory.mktemp("chain")
        settings = {"source_schema": "chain", "target_schema": "twin", "training": {"size": "small", "max_epochs": 2}}
        warehouse = open_warehouse(postgres_url)
        try:
            pipeline.run(Config.build(settings), Workspace(str(folder)), warehouse, warehouse)
            yield connection
        finally:
            warehouse.close()
            connection.execute("DROP SCHEMA IF EXISTS twin CASCADE")
            connection.execute("DROP SCHEMA chain CASCADE")


def constraints(database: psycopg.Connection, schema: str) -> set[tuple[str, str]]:
    rows = database.execute(CONSTRAINTS, {"schema": schema}).fetchall()
    return {(table.removeprefix(f"{schema}."), definition) for table, definition in rows}


def test_the_server_enforces_the_same_constraints_on_the_twin(database: psycopg.Connection) -> None:
    assert len(constraints(database, "chain")) == 18
    assert constraints(database, "twin") == constraints(database, "chain")


@pytest.mark.parametrize("table", ["tenant", "staff", "store", "address", "product", "sale", "stock"])
def test_every_table_has_its_rows(database: psycopg.Connection, table: str) -> None:
    counts = [
        database.execute(psycopg.sql.SQL("SELECT count(*) FROM {}").format(psycopg.sql.Identifier(schema, table))).fetchone()
        for schema in ("chain", "twin")
    ]
    assert counts[0] == counts[1]


def test_managers_form_trees_that_are_hardly_deeper_than_the_sources(database: psycopg.Connection) -> None:
    depths = """
        WITH RECURSIVE tree AS (
            SELECT tenant, staff, 0 AS depth FROM {0} WHERE manager IS NULL
            UNION ALL SELECT s.tenant, s.staff, depth + 1 FROM {0} s JOIN tree t ON t.tenant = s.tenant AND t.staff = s.manager
        ) SELECT max(depth), count(*) FROM tree
    """
    (deepest, rows), (deepest_twin, rows_twin) = (
        database.execute(psycopg.sql.SQL(depths).format(psycopg.sql.Identifier(schema, "staff"))).fetchone() for schema in ("chain", "twin")
    )
    assert rows_twin == rows
    assert deepest <= deepest_twin <= deepest + 1


def test_numbers_count_the_sales_of_each_clerk(database: psycopg.Connection) -> None:
    gaps = "SELECT count(*) FROM (SELECT max(number) - count(*) AS gap FROM twin.sale GROUP BY tenant, staff) g WHERE gap <> 0"
    assert database.execute(gaps).fetchone() == (0,)
