"""At every step of publishing, an error or a killed process leaves the target old or new, and a retry completes it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import psycopg
import pyarrow as pa
import pytest

from synth_engine.errors import ConfigurationError, SynthError
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.warehouse import open_warehouse
from tests.warehouse import faults
from tests.warehouse.shop import Shop, read_all

TARGET = "twin"


State = tuple[Schema, dict[str, pa.Table]]
"""A schema and the rows of its tables."""


@dataclass(frozen=True)
class Change:
    """The publication before and the one that is disturbed."""

    name: str
    before: State | None
    after: State


def _family(*, extra: bool = False, rows: int) -> State:
    def column(name: str, *, nullable: bool = True) -> Column:
        return Column(name, Kind.INTEGER, "int64", nullable)

    columns = (column("id", nullable=False), column("older")) + ((column("extra"),) if extra else ())
    parent = Table("parent", columns, ("id",), (), (ForeignKey(("older",), "parent", ("id",)),))
    child = Table("child", (column("parent_id"), column("n")), (), (), (ForeignKey(("parent_id",), "parent", ("id",)),))
    numbers = pa.array(range(rows), pa.int64())
    parents = {"id": numbers, "older": pa.array([None, *range(rows - 1)], pa.int64())} | ({"extra": numbers} if extra else {})
    return Schema.of([child, parent]), {"parent": pa.table(parents), "child": pa.table({"parent_id": numbers, "n": numbers})}


CHANGES = [
    Change("first publication", None, _family(rows=3)),
    Change("same structure", _family(rows=2), _family(rows=3)),
    Change("other structure", _family(rows=2), _family(rows=3, extra=True)),
]


def _checksum(place: str) -> str:
    """Of everything in the target: names, columns, keys, rows. An absent target has one too."""
    warehouse = open_warehouse(place)
    try:
        schema = warehouse.reflect(TARGET)
        rows = read_all(warehouse, TARGET, schema)
    except ConfigurationError:
        return "absent"
    finally:
        warehouse.close()
    return hashlib.sha256(repr((schema.fingerprint(), sorted((n, t.to_pylist()) for n, t in rows.items()))).encode()).hexdigest()


@dataclass(frozen=True)
class Scene:
    """A target in its old state, a staging area ready to be published, and the checksums of both states."""

    shop: Shop
    change: Change
    old: str
    new: str

    def set_up(self) -> str:
        """Bring the target to the old state and stage the new one; returns the staging area."""
        _bring_about(self.shop, self.change.before)
        return self.shop.stage("new", *self.change.after, TARGET)


def _forget(shop: Shop) -> None:
    """Remove the target as a person would."""
    if shop.warehouse.dialect == "folder":
        shutil.rmtree(Path(shop.place) / TARGET, ignore_errors=True)
    elif shop.warehouse.dialect == "duckdb":
        with duckdb.connect(shop.warehouse.location) as connection:
            connection.execute("DROP SCHEMA IF EXISTS twin CASCADE").fetchall()
    else:
        with psycopg.connect(shop.place, autocommit=True) as connection:
            connection.execute("DROP SCHEMA IF EXISTS twin CASCADE")


def _bring_about(shop: Shop, state: State | None) -> None:
    """Publish a state of the target; None is its absence."""
    if state is None:
        _forget(shop)
    else:
        shop.publish(shop.stage("state", *state, TARGET), state[0], TARGET)


@pytest.fixture(params=CHANGES, ids=[c.name for c in CHANGES])
def scene(request: pytest.FixtureRequest, any_shop: Shop) -> Scene:
    """The scene of each change in each warehouse."""
    change: Change = request.param
    _bring_about(any_shop, change.after)
    new = _checksum(any_shop.place)
    _forget(any_shop)
    _bring_about(any_shop, change.before)
    return Scene(any_shop, change, _checksum(any_shop.place), new)


def _positions(scene: Scene) -> int:
    """How many positions an undisturbed publication passes."""
    counter = faults.Injector()
    faults.publish(scene.shop.place, scene.set_up(), TARGET, scene.change.after[0], counter)
    assert _checksum(scene.shop.place) == scene.new
    return counter.position


def _disturb(scene: Scene, disturb: Callable[[str, int], None]) -> None:
    """Disturb the publication at one position after the other. As long as the target stays old, the next attempt is
    the retry of the one before and comes one step further; the last retry is not disturbed."""
    positions = _positions(scene)
    seen, staging = set(), None
    for at in range(positions):
        staging = staging or scene.set_up()
        disturb(staging, at)
        left = _checksum(scene.shop.place)
        assert left in (scene.old, scene.new), f"position {at} of {positions} left the target neither old nor new"
        seen.add(left)
        if left == scene.new or at == positions - 1:
            scene.shop.publish(staging, scene.change.after[0], TARGET)
            assert _checksum(scene.shop.place) == scene.new, f"the retry after position {at} did not complete"
            staging = None
    assert seen == {scene.old, scene.new}, "there must have been faults before and after the decisive step"


@pytest.mark.slow
def test_an_error_at_any_step_leaves_the_target_old_or_new(scene: Scene) -> None:
    def disturb(staging: str, at: int) -> None:
        with pytest.raises((SynthError, faults.Fault)):
            faults.publish(scene.shop.place, staging, TARGET, scene.change.after[0], faults.Injector(at, faults.fail))

    _disturb(scene, disturb)


@pytest.mark.slow
def test_a_process_killed_at_any_step_leaves_the_target_old_or_new(scene: Scene) -> None:
    def disturb(staging: str, at: int) -> None:
        assert faults.publish_in_a_process_that_dies(scene.shop.place, staging, TARGET, scene.change.after[0], at) == -9

    _disturb(scene, disturb)
