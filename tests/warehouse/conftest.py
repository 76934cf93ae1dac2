"""The shop in each warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.warehouse import shop
from tests.warehouse.shop import Shop


@pytest.fixture
def empty_postgres(postgres_url: str) -> Iterator[str]:
    """The test database without any schema of a test."""
    yield postgres_url
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        found = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'")
        for (name,) in found.fetchall():
            connection.execute(psycopg.sql.SQL("DROP SCHEMA {} CASCADE").format(psycopg.sql.Identifier(name)))
        connection.execute("CREATE SCHEMA public")


@pytest.fixture
def duckdb_shop(tmp_path: Path) -> Shop:
    return shop.build_duckdb(tmp_path / "shop.duckdb")


@pytest.fixture
def folder_shop(tmp_path: Path) -> Shop:
    return shop.build_folder(tmp_path / "shop", tmp_path)


@pytest.fixture
def postgres_shop(empty_postgres: str) -> Iterator[Shop]:
    made = shop.build_postgres(empty_postgres)
    yield made
    made.warehouse.close()


@pytest.fixture(params=["duckdb", "folder", pytest.param("postgres", marks=pytest.mark.postgres)])
def any_shop(request: pytest.FixtureRequest) -> Shop:
    """The shop, once in every warehouse."""
    made: Shop = request.getfixturevalue(f"{request.param}_shop")
    return made


@pytest.fixture(params=["duckdb", pytest.param("postgres", marks=pytest.mark.postgres)])
def declaring_shop(request: pytest.FixtureRequest) -> Shop:
    """The shop, once in every warehouse that declares keys."""
    made: Shop = request.getfixturevalue(f"{request.param}_shop")
    return made
