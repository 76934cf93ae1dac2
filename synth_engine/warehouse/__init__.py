"""The only room that speaks SQL. `open_warehouse` turns a URL, a folder or an engine into a `Warehouse`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from synth_engine.errors import ConfigurationError
from synth_engine.warehouse.base import Snapshot, Warehouse, staging_name

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

__all__ = ["Snapshot", "Warehouse", "open_warehouse", "staging_name"]


def open_warehouse(place: str | Engine) -> Warehouse:
    """The warehouse at a SQLAlchemy URL (`duckdb:///shop.db`, `postgresql://user@host/shop`), in a folder of CSV or
    Parquet files, or behind a SQLAlchemy engine. Nothing is connected yet.

    Raises `ConfigurationError` for an address nobody can open, or if the driver it needs is not installed.
    """
    address = _address(place)
    dialect = "folder" if isinstance(address, str) else address.get_backend_name()
    try:
        if isinstance(address, str):
            from synth_engine.warehouse.folder import FolderWarehouse

            return FolderWarehouse(address)
        if dialect == "duckdb":
            from synth_engine.warehouse.duckdb import DuckDBWarehouse

            return DuckDBWarehouse(address)
        if dialect in ("postgresql", "postgres"):
            from synth_engine.warehouse.postgres import PostgresWarehouse

            return PostgresWarehouse(address)
    except ImportError as error:
        raise ConfigurationError(
            [
                f"The driver of a {dialect} warehouse must be installed. Found: {error.name} is missing. "
                f"Next step: install airflow-provider-synth[{'duckdb' if dialect in ('duckdb', 'folder') else 'postgres'}]"
            ]
        ) from None
    raise ConfigurationError(
        [
            f"A warehouse must be DuckDB, PostgreSQL or a folder. Found: {dialect!r}. "
            "Next step: use duckdb:///FILE, postgresql://… or a folder's path"
        ]
    )


def _address(place: str | Engine) -> str | URL:
    """The path of a folder, or the URL of a database."""
    if isinstance(place, str) and "://" not in place:
        if not place.strip():
            raise ConfigurationError(["A warehouse must be a URL or a folder. Found: an empty text"])
        if re.match(r"[A-Za-z][\w.+-]+:", place) and not Path(place).exists():
            raise _no_url()  # a slash was forgotten: as a folder it would be repeated, password included
        return place
    url = _parsed(place) if isinstance(place, str) else place.url
    return f"{url.host or ''}/{url.database or ''}" if url.get_backend_name() == "file" else url


def _parsed(place: str) -> URL:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(place)
    except (ArgumentError, ValueError):  # their message repeats the URL, password included
        raise _no_url() from None


def _no_url() -> ConfigurationError:
    return ConfigurationError(
        [
            "A warehouse URL must have the form dialect://user:password@host:port/database. Found: a text that cannot be read so. "
            "Next step: correct it; a folder whose name has a colon must exist"
        ]
    )
