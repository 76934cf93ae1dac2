"""Preparation: parents found, the owner chosen by what siblings tell, entities held out whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from synth_engine.encode import table as table_encoding
from synth_engine.encode.base import EncodingSettings
from synth_engine.encode.relative import Reference, RelativeEncoder
from synth_engine.model.owners import LONGEST_SEQUENCE, SERIES_WINDOW
from synth_engine.model.preparation import HELD_OUT, encode_table, prepare
from synth_engine.model.prepared import PreparedTable, in_units_of, previous_values
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from tests.model import shop


@pytest.fixture(scope="module")
def prepared(real) -> dict[str, PreparedTable]:
    return prepare(shop.SCHEMA, dict(real), 0)


def fleet(cars: int, per_car: int, told: float = 0.0, every: bool = False, entity_tables: Sequence[str] = ()) -> PreparedTable:
    """Trips of cars; `told` is the share of trips whose purpose is the car's own, `every` makes them one an hour."""
    rng = np.random.default_rng(0)
    rows = cars * per_car
    car = np.repeat(np.arange(cars), per_car)
    purpose = np.where(rng.random(rows) < told, car % 4, rng.integers(0, 4, rows))
    hour = np.tile(np.arange(per_car), cars) if every else rng.integers(0, 50, rows)
    columns = (
        Column("id", Kind.IDENTIFIER, "int64", False),
        Column("car", Kind.IDENTIFIER, "int64"),
        Column("purpose", Kind.CATEGORY, "int32"),
        Column("at", Kind.TIMESTAMP, "timestamp"),
    )
    schema = Schema.of(
        [Table("cars", columns[:1], ("id",)), Table("trips", columns, ("id",), foreign_keys=(ForeignKey(("car",), "cars", ("id",)),))]
    )
    trips = {
        "id": pa.array(rng.permutation(rows)),
        "car": pa.array(car),
        "purpose": pa.array(purpose, pa.int32()),
        "at": pa.array(hour * 3_600_000_000, pa.int64()).cast(pa.timestamp("us")),
    }
    return prepare(schema, {"cars": pa.table({"id": pa.array(np.arange(cars))}), "trips": pa.table(trips)}, 0, entity_tables)["trips"]


def test_every_row_finds_its_parents(real, prepared):
    orders = prepared["orders"]
    assert orders.table.name == "orders"
    for i, key in enumerate(orders.keys):
        ids = prepared[key.parent].data[key.parent_columns[0]]
        at = orders.parents[i]
        found = [None if row < 0 else ids[int(row)].as_py() for row in at]
        assert found == orders.data[key.columns[0]].to_pylist()
    assert sorted(orders.source_row) == list(range(real["orders"].num_rows))


def test_rows_of_an_owner_stand_together_by_their_moment(prepared):
    orders = prepared["orders"]
    assert orders.keys[orders.owner].parent == "users"
    assert (np.diff(orders.parents[orders.owner]) >= 0).all()
    same = orders.sequence[1:] == orders.sequence[:-1]
    assert (np.diff(orders.moments["created"])[same] >= 0).all()


def test_a_reference_to_the_own_table_waits_and_owns_nothing(prepared):
    users = prepared["users"]
    assert users.plan.deferred == (True,)
    assert users.owner is None
    assert (users.parents[0] >= 0).any()


def test_entities_are_held_out_with_all_that_descends_from_them(prepared):
    users, orders, items = (prepared[name] for name in ("users", "orders", "items"))
    for child in (orders, items):
        parent = prepared[child.keys[child.owner].parent]
        assert (child.held_out == parent.held_out[child.parents[child.owner]]).all()
        assert (child.entity == parent.entity[child.parents[child.owner]]).all()
    assert users.held_out.mean() == pytest.approx(HELD_OUT, abs=0.06)
    assert len(np.unique(users.entity)) == users.rows


def test_each_row_of_a_table_of_entities_is_one_with_what_descends_from_it(real):
    users, orders, items = (prepare(shop.SCHEMA, dict(real), 0, ["orders"])[name] for name in ("users", "orders", "items"))
    assert orders.keys[orders.owner].parent == "users"  # they are sequences as before
    assert len(np.unique(orders.entity)) == orders.rows
    assert not np.isin(orders.entity, users.entity).any()
    assert (items.entity == orders.entity[items.parents[items.owner]]).all()
    assert (items.held_out == orders.held_out[items.parents[items.owner]]).all()
    assert (orders.held_out != users.held_out[orders.parents[orders.owner]]).any()
    runs = np.flatnonzero(np.diff(np.r_[False, orders.held_out, False].astype(int)))
    assert np.diff(runs)[::2].mean() > 1.5  # in windows: a row between two learned ones is hardly held out


def test_what_refers_to_a_table_of_entities_is_part_of_them_though_its_rows_are_no_sequence():
    trips, said = fleet(20, 100), fleet(20, 100, entity_tables=["cars"])
    assert trips.owner is None
    assert said.owner is None
    assert len(np.unique(trips.entity)) == trips.rows
    assert len(np.unique(said.entity)) == 20


def test_short_sequences_are_owned_even_if_siblings_tell_little():
    assert fleet(200, 4).owner == 0


def test_longer_sequences_have_to_tell_something():
    assert fleet(20, 100).owner is None
    assert fleet(20, 100, told=0.9).owner == 0


def test_sequences_too_long_to_learn_are_nobodys():
    assert fleet(3, LONGEST_SEQUENCE + 200, told=0.9).owner is None


def test_a_time_series_is_kept_in_order_however_long_and_held_out_in_windows():
    trips = fleet(3, LONGEST_SEQUENCE + 200, every=True)
    assert trips.owner == 0
    assert len(np.unique(trips.entity)) == trips.rows
    windows = trips.held_out.reshape(-1, SERIES_WINDOW)
    assert (windows == windows[:, :1]).all()
    assert 0 < trips.held_out.mean() < 0.25


@pytest.mark.parametrize(("stations", "entities"), [(3, 3 * 70), (30, 30)])
def test_readings_of_a_few_stations_are_entities_of_their_own(stations, entities):
    assert len(np.unique(fleet(stations, 70, every=True).entity)) == entities


def test_rows_without_an_owner_stand_alone():
    rows = shop.tables()["orders"]
    lost = pa.array([None if i % 10 == 0 else v for i, v in enumerate(rows["user_id"].to_pylist())], pa.int64())
    rows = rows.set_column(1, "user_id", lost)
    orders = prepare(shop.SCHEMA, {**shop.tables(), "orders": rows}, 0)["orders"]
    assert orders.keys[orders.owner].parent == "users"
    alone = orders.parents[orders.owner] < 0
    assert alone.sum() == 90
    assert len(np.unique(orders.sequence[alone])) == 90


def test_a_moment_is_told_from_the_parents_moment_it_always_follows(prepared):
    references = prepared["orders"].references["created"]
    assert Reference("parent", 0, "joined") in references


def test_previous_values_start_anew_with_each_sequence():
    found = previous_values(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 0, 1, 1]))
    assert np.isnan(found[[0, 2]]).all()
    assert found[[1, 3]].tolist() == [1.0, 3.0]


def test_previous_values_are_the_last_that_are_known():
    found = previous_values(np.array([1.0, np.nan, np.nan, 4.0, np.nan, 6.0, 7.0]), np.array([0, 0, 0, 0, 1, 1, 1]))
    assert np.isnan(found[[0, 4, 5]]).all()
    assert found[[1, 2, 3, 6]].tolist() == [1.0, 1.0, 1.0, 6.0]


def test_references_are_in_the_unit_of_the_column_they_serve():
    date, instant = Column("d", Kind.DATE, "date"), Column("t", Kind.TIMESTAMP, "timestamp")
    assert in_units_of(np.array([2.0]), date, instant).tolist() == [172_800.0]
    assert in_units_of(np.array([172_801.0]), instant, date).tolist() == [2.0]
    assert in_units_of(np.array([2.0]), date, date).tolist() == [2.0]


def test_tokens_do_not_depend_on_how_many_rows_are_encoded_at_a_time(prepared, monkeypatch):
    tables = [*prepared.values(), journeys(stops=60)]
    encoders = encode_table(tables[-1], prepared, EncodingSettings(), 0, {}, {})[0].columns
    assert any(isinstance(c.encoder, RelativeEncoder) and c.encoder.pacer for c in encoders)  # what rows are told lies far ahead

    def encoded():
        return [array for one in tables for array in encode_table(one, prepared, EncodingSettings(), 0, {}, {})[1:3]]

    whole = encoded()
    monkeypatch.setattr(table_encoding, "CHUNK", 7)
    assert all(np.array_equal(a, b) for a, b in zip(whole, encoded(), strict=True))


def journeys(owners: int = 40, stops: int = 30) -> PreparedTable:
    """Stops of trips: paths, arrivals and departures, a mileage, weather, and the day they were planned and held."""
    rng = np.random.default_rng(0)
    rows = owners * stops
    arrival = (rng.integers(0, 50_000, (owners, 1)) + np.cumsum(rng.integers(0, 5, (owners, stops)) * 60, axis=1)).reshape(-1)
    path = (rng.normal(0, 1, (owners, 1)) + np.cumsum(rng.normal(0, 0.002, (owners, stops)), axis=1)).reshape(-1)
    planned = rng.integers(0, 4_000, rows)
    numbers = {
        "departure": arrival + rng.integers(0, 2, rows) * 30,
        "arrival": arrival,
        "latitude": path,
        "mileage": np.cumsum(rng.integers(1, 200, (owners, stops)), axis=1).reshape(-1),
        "wind": rng.gamma(4, 3, rows),
    }
    kinds = {name: Kind.INTEGER if values.dtype.kind == "i" else Kind.DECIMAL for name, values in numbers.items()}
    columns = (
        Column("id", Kind.IDENTIFIER, "int64", False),
        Column("trip", Kind.IDENTIFIER, "int64", False),
        Column("held", Kind.TIMESTAMP, "timestamp"),
        Column("planned", Kind.DATE, "date"),
        *(Column(name, kind, "int64" if kind is Kind.INTEGER else "float64") for name, kind in kinds.items()),
    )
    schema = Schema.of(
        [Table("trips", columns[:1], ("id",)), Table("stops", columns, ("id",), foreign_keys=(ForeignKey(("trip",), "trips", ("id",)),))]
    )
    held = planned * 86_400 + rng.integers(0, 20 * 86_400, rows)
    stopped = {
        "id": pa.array(np.arange(rows)),
        "trip": pa.array(np.repeat(np.arange(owners), stops)),
        "held": pa.array(held * 1_000_000).cast(pa.timestamp("us")),
        "planned": pa.array(planned.astype(np.int32)).cast(pa.date32()),
        **{name: pa.array(values) for name, values in numbers.items()},
    }
    plain = Schema.of([schema.tables["trips"], schema.tables["stops"]])
    return prepare(plain, {"trips": pa.table({"id": pa.array(np.arange(owners))}), "stops": pa.table(stopped)}, 0)["stops"]


def test_a_moment_is_told_from_another_of_its_row_that_it_never_precedes():
    found = journeys().references
    names = list(found)
    (told,) = (name for name in ("held", "planned") if any(r.source == "row" for r in found[name]))
    other = "planned" if told == "held" else "held"
    assert Reference("row", column=other) in found[told]
    assert names.index(other) < names.index(told)


def test_numbers_that_are_all_but_another_of_their_row_are_told_from_it():
    found = journeys().references
    (told,) = (name for name in ("arrival", "departure") if any(r.source == "row" for r in found[name]))
    assert found[told][0].column in ("arrival", "departure") and found[told][0].column != told


def references_of(numbers: dict[str, np.ndarray], stops: int = 30) -> dict[str, list[Reference]]:
    """What these columns of the stops of trips are told from."""
    rows = len(next(iter(numbers.values())))
    id_of, trip = Column("id", Kind.IDENTIFIER, "int64", False), Column("trip", Kind.IDENTIFIER, "int64", False)
    columns = [
        Column(name, *((Kind.INTEGER, "int64") if values.dtype.kind == "i" else (Kind.DECIMAL, "float64")))
        for name, values in numbers.items()
    ]
    key = ForeignKey(("trip",), "trips", ("id",))
    schema = Schema.of([Table("trips", (id_of,), ("id",)), Table("stops", (id_of, trip, *columns), ("id",), foreign_keys=(key,))])
    table = {"id": np.arange(rows), "trip": np.repeat(np.arange(rows // stops), stops), **numbers}
    return prepare(schema, {"trips": pa.table({"id": np.arange(rows // stops)}), "stops": pa.table(table)}, 0)["stops"].references


def walk(rng: np.random.Generator, step: float, stops: int = 30) -> np.ndarray:
    return (rng.normal(0, 1, (40, 1)) + np.cumsum(rng.normal(0, step, (40, stops)), axis=1)).reshape(-1)


def test_numbers_that_wander_or_are_drawn_anew_in_every_row_are_not_told_by_steps():
    assert "wind" not in journeys().references
    rng = np.random.default_rng(1)
    few = np.repeat(rng.integers(0, 50, 40), 30) + rng.integers(0, 2, 1_200)
    assert references_of({"path": walk(rng, 0.002), "wanders": walk(rng, 0.1), "few": few}) == {"path": [Reference("previous")]}


def test_the_two_coordinates_of_a_path_are_told_from_where_it_was_though_one_is_always_above_the_other():
    rng = np.random.default_rng(2)
    found = references_of({"north": walk(rng, 0.002) + 52, "east": walk(rng, 0.002) + 60})
    assert [references[0] for references in found.values()] == [Reference("previous")] * 2


def test_a_number_that_stays_with_its_owner_is_no_step_however_many_levels_it_has():
    """Rows of one parent share it (see `constants`)."""
    rng = np.random.default_rng(3)
    assert references_of({"size": np.repeat(rng.integers(1, 6, 40), 30), "weight": np.repeat(rng.permutation(400)[:40], 30)}) == {}
    assert references_of({"path": np.repeat(walk(rng, 0.002), 1)}) == {"path": [Reference("previous")]}


def test_a_number_that_repeats_itself_at_regular_distances_is_seen_with_all_its_levels():
    assert references_of({"count": np.tile(np.arange(200), 80)}, stops=200) == {"count": [Reference("previous")]}


def test_a_rare_value_that_rows_repeat_of_their_parent_is_placed_as_it_is_there():
    """Customers of 10 frequent and 60 rare cities, and orders that repeat the city but for one: so do their tokens, whatever the city
    became."""
    customer = np.repeat(np.arange(320), 4)
    city = np.r_[np.repeat(np.arange(10), 20), np.repeat(np.arange(10, 70), 2)].astype(str)
    columns = (Column("id", Kind.IDENTIFIER, "int64", False), Column("city", Kind.CATEGORY, "string"))
    key = ForeignKey(("customer",), "customers", ("id",))
    orders = (columns[0], Column("customer", Kind.IDENTIFIER, "int64", False), columns[1])
    schema = Schema.of([Table("customers", columns, ("id",)), Table("orders", orders, ("id",), foreign_keys=(key,))])
    ids = {name: pa.array(np.arange(rows)) for name, rows in (("customers", 320), ("orders", 1280))}
    tables = {
        "customers": pa.table({"id": ids["customers"], "city": pa.array(city)}),
        "orders": pa.table({"id": ids["orders"], "customer": pa.array(customer), "city": pa.array(["1", *city[customer][1:]])}),
    }
    prepared = prepare(schema, tables, 0)
    encoded, names = {}, {}
    for name, one in prepared.items():
        encoder, tokens, *_ = encode_table(one, prepared, EncodingSettings(), 0, {}, encoded)
        encoded[name] = encoder, tokens
        names[name] = np.array(encoder.columns[0].encoder.values.to_pylist())[tokens[:, 0] - 2]
    assert set(names["customers"]) == set(names["orders"]) == set(np.arange(10).astype(str))
    assert (names["orders"] == names["customers"][prepared["orders"].parents[0]]).mean() > 0.9
