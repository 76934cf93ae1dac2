"""Faults at every step of a publication: an error, or a process that is killed.

A publication is a row of steps: SQL statements, or calls that change the disk. A position lies before each step, and
one after each step that decides (a commit, a rename).
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import duckdb
import sqlalchemy as sa

from synth_engine.schema import Schema
from synth_engine.warehouse import Warehouse, open_warehouse
from synth_engine.warehouse.duckdb import DuckDBWarehouse
from synth_engine.warehouse.postgres import PostgresWarehouse

STEPS_ON_DISK = ((os, "rename"), (os, "replace"), (os, "link"), (shutil, "rmtree"))


class Fault(OSError):
    """The injected error; an OSError, so that it also passes where the disk's own errors do."""


class Injector:
    """Counts positions and acts at one of them."""

    def __init__(self, at: int | None = None, act: Callable[[], None] = lambda: None) -> None:
        self.at, self.act, self.position = at, act, 0

    def pass_by(self) -> None:
        """One position further."""
        if self.position == self.at:
            self.act()
        self.position += 1

    def before(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The step with a position before it."""

        def wrapped(*arguments: Any, **options: Any) -> Any:
            self.pass_by()
            return step(*arguments, **options)

        return wrapped

    def around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The step with a position before and one after it."""

        def wrapped(*arguments: Any, **options: Any) -> Any:
            self.pass_by()
            result = step(*arguments, **options)
            self.pass_by()
            return result

        return wrapped


class _Connection:
    """A DuckDB connection whose every `execute` is a step."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, injector: Injector) -> None:
        self._connection = connection
        self._injector = injector

    def execute(self, statement: str, parameters: list[object]) -> Any:
        run = self._injector.around if statement == "COMMIT" else self._injector.before
        return run(self._connection.execute)(statement, parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@contextmanager
def injected(warehouse: Warehouse, injector: Injector) -> Iterator[None]:
    """Within, every step of this warehouse passes by the injector."""
    if isinstance(warehouse, DuckDBWarehouse):
        connect = warehouse._connect

        def wrapped(**options: Any) -> Any:
            return _Connection(connect(**options), injector)

        with patch.object(warehouse, "_connect", wrapped):
            yield
    elif isinstance(warehouse, PostgresWarehouse):
        dialect = warehouse._engine.dialect
        sa.event.listen(warehouse._engine, "before_cursor_execute", lambda *_: injector.pass_by())
        with patch.object(dialect, "do_commit", injector.around(dialect.do_commit)):
            yield
    else:
        with ExitStack() as patches:
            for module, name in STEPS_ON_DISK:
                patches.enter_context(patch.object(module, name, injector.around(getattr(module, name))))
            yield


def publish(place: str, staging: str, target: str, schema: Schema, injector: Injector) -> None:
    """Publish through a warehouse of its own."""
    warehouse = open_warehouse(place)
    with injected(warehouse, injector):
        warehouse.publish(staging, target, schema, replace_foreign_tables=False, lock_timeout_seconds=20)
    warehouse.close()


def fail() -> None:
    raise Fault("injected")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _publish_and_die(place: str, staging: str, target: str, schema: dict[str, Any], at: int) -> None:
    publish(place, staging, target, Schema.from_dict(schema), Injector(at, die))


def publish_in_a_process_that_dies(place: str, staging: str, target: str, schema: Schema, at: int) -> int | None:
    """Publish in another process, killed at this position; returns its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.warehouse.faults"])
    process = context.Process(target=_publish_and_die, args=(place, staging, target, schema.to_dict(), at))
    process.start()
    process.join(60)
    return process.exitcode
