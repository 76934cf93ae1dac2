"""Fixtures that several rooms share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.postgres_server import NoServer, some_server


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of an empty database that is dropped at the end of the session."""
    psycopg = pytest.importorskip("psycopg", reason="COULD NOT RUN: psycopg is not installed")
    from psycopg.sql import SQL, Identifier
    from sqlalchemy import make_url

    name = Identifier(f"synth_test_{uuid.uuid4().hex[:12]}")
    try:
        with some_server() as server:
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute(SQL("CREATE DATABASE {}").format(name))
            yield make_url(server).set(database=name.as_string().strip('"')).render_as_string(hide_password=False)
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(name))
    except NoServer as error:
        pytest.skip(f"COULD NOT RUN: {error}")
