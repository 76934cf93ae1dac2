"""Paths along ways that many share: the twin's keep to the ways, which neither number by itself can tell."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from synth_engine.config import Config
from synth_engine.encode.base import EncodingSettings
from synth_engine.model.artefacts import read_model, write_model
from synth_engine.model.learning import learn
from synth_engine.model.placing import find_places
from synth_engine.model.preparation import prepare
from synth_engine.model.state import Model
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.workspace import Workspace
from tests.model.conftest import generate

WALKERS, STEPS, CORNERS = 80, 60, 320
CONFIG = Config.build({"training": {"size": "small", "max_epochs": 12, "device": "cpu"}})

_id = Column("id", Kind.IDENTIFIER, "int64", False)
SCHEMA = Schema.of(
    [
        Table("walkers", (_id,), ("id",)),
        Table(
            "points",
            (
                Column("walker", Kind.IDENTIFIER, "int64", False),
                Column("number", Kind.INTEGER, "int64", False),
                Column("lat", Kind.DECIMAL, "float64", True),
                Column("lon", Kind.DECIMAL, "float64", True),
            ),
            ("walker", "number"),
            foreign_keys=(ForeignKey(("walker",), "walkers", ("id",)),),
        ),
    ]
)


def streets(rng: np.random.Generator) -> np.ndarray:
    """Ways along a ring of many corners that is a few kilometres across, from anywhere on, in either direction."""
    angle = 2 * np.pi * np.arange(CORNERS) / CORNERS
    corners = np.stack([52.5 + 0.05 * np.sin(angle), 13.4 + 0.08 * np.cos(angle)], axis=1).round(6)
    start, turn = rng.integers(0, CORNERS, (WALKERS, 1)), rng.choice([-1, 1], (WALKERS, 1))
    return corners[(start + turn * np.arange(STEPS)) % CORNERS]


def fields(rng: np.random.Generator) -> np.ndarray:
    """Ways over open land, each its own."""
    return (np.array([52.5, 13.4]) + np.cumsum(rng.normal(0, 0.001, (WALKERS, STEPS, 2)), axis=1)).round(6)


def apart(rng: np.random.Generator) -> np.ndarray:
    """Two numbers that have nothing to do with each other, and of which all pairs are had by many."""
    steps = rng.integers(-1, 2, (WALKERS, STEPS, 2))
    return 0.1 * np.clip(np.cumsum(steps, axis=1) + 60, 0, 120)


def source(path: np.ndarray) -> dict[str, pa.Table]:
    number = np.tile(np.arange(1, STEPS + 1), WALKERS)
    points = {"walker": np.repeat(np.arange(WALKERS), STEPS), "number": number, "lat": path[..., 0].ravel(), "lon": path[..., 1].ravel()}
    return {"walkers": pa.table({"id": np.arange(WALKERS)}), "points": pa.table(points)}


def placed(path: np.ndarray) -> list[tuple[str, str]]:
    one = prepare(SCHEMA, source(path), 0)["points"]
    return [places.columns for places, _ in find_places(one, EncodingSettings(), np.random.default_rng(0))]


def beside(points: pa.Table) -> np.ndarray:
    """How far each point is from the ring, in radii."""
    lat, lon = (points[name].to_numpy() for name in ("lat", "lon"))
    return np.abs(np.hypot((lat - 52.5) / 0.05, (lon - 13.4) / 0.08) - 1)


@pytest.fixture(scope="module")
def learned() -> Model:
    return learn(SCHEMA, source(streets(np.random.default_rng(0))), CONFIG)


def test_two_numbers_are_places_where_their_ways_are_shared_and_not_by_chance():
    assert placed(streets(np.random.default_rng(0))) == [("lat", "lon")]
    assert placed(fields(np.random.default_rng(0))) == []
    assert placed(apart(np.random.default_rng(0))) == []


def test_paths_keep_to_the_ways(learned: Model):
    points = generate(learned)["points"]
    assert points.num_rows == WALKERS * STEPS and np.quantile(beside(points), 0.95) < 0.02


def test_paths_do_not_jump_about(learned: Model):
    frame = generate(learned)["points"].to_pandas().sort_values(["walker", "number"])
    moved = np.hypot(*(frame.groupby("walker")[name].diff().dropna() / size for name, size in (("lat", 0.05), ("lon", 0.08))))
    assert np.quantile(moved, 0.9) < 4 * (2 * np.pi / CORNERS)


def test_a_point_that_few_have_been_at_does_not_come_out():
    path = streets(np.random.default_rng(0))
    path[0, 5:9] = [[52.512345, 13.412345]]
    twin = generate(learn(SCHEMA, source(path), CONFIG))["points"]
    assert (52.512345, 13.412345) not in set(zip(twin["lat"].to_pylist(), twin["lon"].to_pylist(), strict=True))


def test_points_that_are_missing_stay_as_many():
    path = streets(np.random.default_rng(0))
    path[np.random.default_rng(1).random((WALKERS, STEPS)) < 0.1] = np.nan
    tables = source(path)
    known = [pa.array(tables["points"][name].to_numpy(), from_pandas=True) for name in ("lat", "lon")]
    tables["points"] = tables["points"].set_column(2, "lat", known[0]).set_column(3, "lon", known[1])
    points = generate(learn(SCHEMA, tables, CONFIG))["points"]
    assert abs(points["lat"].null_count / points.num_rows - 0.1) < 0.03
    assert abs(points["lon"].null_count / points.num_rows - 0.1) < 0.03


def test_a_model_from_disk_gives_the_same_bytes(learned: Model, tmp_path):
    workspace = Workspace(str(tmp_path))
    write_model(learned, workspace)
    assert generate(read_model(workspace), batch_rows=77)["points"].equals(generate(learned)["points"])
