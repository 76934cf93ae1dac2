"""Paths along ways that many share: the twin's keep to the ways, which neither number by itself can tell."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from synth_engine.config import Config
from synth_engine.encode.base import EncodingSettings
from synth_engine.model.artefacts import read_model, write_model
from synth_engine.model.learning import learn
from synth_engine.model.placing import Placed, find_places
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
    walkers, steps = path.shape[:2]
    number = np.tile(np.arange(1, steps + 1), walkers)
    points = {"walker": np.repeat(np.arange(walkers), steps), "number": number, "lat": path[..., 0].ravel(), "lon": path[..., 1].ravel()}
    return {"walkers": pa.table({"id": np.arange(walkers)}), "points": pa.table(points)}


def places_of(path: np.ndarray) -> list[Placed]:
    return find_places(prepare(SCHEMA, source(path), 0)["points"], EncodingSettings(), np.random.default_rng(0))


def placed(path: np.ndarray) -> list[tuple[str, str]]:
    return [places.columns for places, _ in places_of(path)]


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
    assert np.quantile(moved, 0.9) < 4 * (2 * np.pi / CORNERS) and moved.max() < 12 * (2 * np.pi / CORNERS)


def test_where_each_row_is_an_entity_places_are_of_several_sequences_all_the_same():
    """Walkers of so many points each are none; one has stayed at home for a while, where nobody else has been."""
    rng = np.random.default_rng(0)
    angle = 2 * np.pi * np.arange(CORNERS) / CORNERS
    corners = np.stack([52.5 + 0.05 * np.sin(angle), 13.4 + 0.08 * np.cos(angle)], axis=1).round(6)
    path = corners[(rng.integers(0, CORNERS, (24, 1)) + rng.choice([-1, 1], (24, 1)) * np.arange(450)) % CORNERS]
    path[0, 100:107] = home = [52.512345, 13.412345]
    one = prepare(SCHEMA, source(path), 0)["points"]
    ((places, at),) = find_places(one, EncodingSettings(), np.random.default_rng(0))
    assert one.part_of is None and not (places.low == home).all(axis=1).any()
    assert all(len(np.unique(one.sequence[at == place])) >= 5 for place in range(len(places.low)))


def test_what_only_rises_is_no_place():
    steps = np.random.default_rng(0).integers(1, 3, (WALKERS, STEPS, 2)).astype(float)
    assert placed(np.cumsum(steps, axis=1)) == []


def test_of_several_pairs_the_one_that_most_rows_are_at_places_of_is_taken():
    """The height of each path is its own."""
    path, rng = streets(np.random.default_rng(0)), np.random.default_rng(1)
    height = np.cumsum(rng.normal(0, 0.0001, (WALKERS, STEPS)), axis=1) + rng.normal(0, 0.05, (WALKERS, 1))
    points = SCHEMA.tables["points"]
    columns = (*points.columns[:2], Column("height", Kind.DECIMAL, "float64", False), *points.columns[2:])
    wider = Table("points", columns, points.primary_key, foreign_keys=points.foreign_keys)
    tables = source(path)
    tables["points"] = tables["points"].append_column("height", pa.array(height.ravel().round(6)))
    one = prepare(Schema.of([SCHEMA.tables["walkers"], wider]), tables, 0)["points"]
    assert [places.columns for places, _ in find_places(one, EncodingSettings(), np.random.default_rng(0))] == [("lat", "lon")]


def test_a_column_of_the_name_that_a_place_would_have_keeps_its_values():
    points = SCHEMA.tables["points"]
    columns = (*points.columns, Column("lat and lon", Kind.CATEGORY, "string", False))
    wider = Table("points", columns, points.primary_key, foreign_keys=points.foreign_keys)
    tables = source(streets(np.random.default_rng(0)))
    tables["points"] = tables["points"].append_column("lat and lon", pa.array(["here", "there"] * (WALKERS * STEPS // 2)))
    model = learn(Schema.of([SCHEMA.tables["walkers"], wider]), tables, CONFIG)
    assert model.tables["points"].place_names == ["lat and lon "]
    assert set(generate(model)["points"]["lat and lon"].to_pylist()) == {"here", "there"}


def test_places_are_no_columns(learned: Model):
    assert generate(learned)["points"].column_names == ["walker", "number", "lat", "lon"]
    assert not any(name in known["points"] for known in (learned.categories(), learned.protections()) for name in ("lat and lon",))


@pytest.mark.parametrize("rows", [{"walkers": 3}, {"points": 0}, {"walkers": 200}])
def test_any_number_of_rows_can_be_drawn(learned: Model, rows: dict[str, int]):
    points = generate(learned, rows)["points"]
    assert points["lat"].null_count == points["lon"].null_count == 0


def test_the_sources_own_graph_has_places_too():
    settings = Config.build({"training": {"size": "small", "max_epochs": 1, "device": "cpu"}, "structure": "original"})
    assert generate(learn(SCHEMA, source(streets(np.random.default_rng(0))), settings))["points"].num_rows == WALKERS * STEPS


def test_a_point_that_few_have_been_at_does_not_come_out():
    path = streets(np.random.default_rng(0))
    path[0, 5:9] = [[52.512345, 13.412345]]
    twin = generate(learn(SCHEMA, source(path), CONFIG))["points"]
    assert (52.512345, 13.412345) not in set(zip(twin["lat"].to_pylist(), twin["lon"].to_pylist(), strict=True))


def test_points_that_are_missing_stay_as_many_and_whole():
    path = streets(np.random.default_rng(0))
    path[np.random.default_rng(1).random((WALKERS, STEPS)) < 0.1] = np.nan
    tables = source(path)
    known = [pa.array(tables["points"][name].to_numpy(), from_pandas=True) for name in ("lat", "lon")]
    tables["points"] = tables["points"].set_column(2, "lat", known[0]).set_column(3, "lon", known[1])
    model = learn(SCHEMA, tables, CONFIG)
    points = generate(model)["points"]
    assert model.tables["points"].places
    assert abs(points["lat"].null_count / points.num_rows - 0.1) < 0.03
    assert abs(points["lon"].null_count / points.num_rows - 0.1) < 0.03


def test_a_model_from_disk_gives_the_same_bytes(learned: Model, tmp_path):
    workspace = Workspace(str(tmp_path))
    write_model(learned, workspace)
    assert generate(read_model(workspace), batch_rows=77)["points"].equals(generate(learned)["points"])
