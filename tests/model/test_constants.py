"""Columns in which the rows of one parent do not differ."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from synth_engine.model.artefacts import read_model, write_model
from synth_engine.model.constants import find_constants, first_of_parent
from synth_engine.model.learning import learn
from synth_engine.model.preparation import prepare
from synth_engine.schema import Column, ForeignKey, Kind, Schema, Table
from synth_engine.workspace import Workspace
from tests.model.conftest import CONFIG, generate


def visits(doctors: int = 40, rows: int = 800) -> tuple[Schema, dict[str, pa.Table]]:
    """Visits to a doctor are in one ward, at one price and by one code, of which the table of doctors knows nothing."""
    rng = np.random.default_rng(5)
    doctor = rng.integers(0, doctors, rows)
    ward, price = rng.choice(["a", "b", "c"], doctors), rng.gamma(2, 40, doctors).round(2)
    columns = (
        Column("id", Kind.IDENTIFIER, "int64", False),
        Column("doctor", Kind.IDENTIFIER, "int64", True),
        Column("ward", Kind.CATEGORY, "string", False),
        Column("price", Kind.DECIMAL, "float64", False),
        Column("code", Kind.TEXT, "string", False),
        Column("minutes", Kind.INTEGER, "int64", False),
    )
    key = ForeignKey(("doctor",), "doctors", ("id",))
    schema = Schema.of([Table("doctors", columns[:1], ("id",)), Table("visits", columns, ("id",), foreign_keys=(key,))])
    data = {
        "id": pa.array(np.arange(rows)),
        "doctor": pa.array(doctor),
        "ward": pa.array(ward[doctor]),
        "price": pa.array(price[doctor]),
        "code": pa.array([f"{d:03d}-{d * 7919 % 1000:03d}" for d in doctor]),
        "minutes": pa.array(rng.integers(5, 90, rows)),
    }
    return schema, {"doctors": pa.table({"id": np.arange(doctors)}), "visits": pa.table(data)}


def constants(schema: Schema, tables: dict[str, pa.Table], fixed: tuple[str, ...] = ()) -> list[str]:
    return [one.column for one in find_constants(prepare(schema, dict(tables), 0)["visits"], fixed)]


def test_columns_in_which_rows_of_one_parent_do_not_differ_are_found():
    schema, tables = visits()
    assert constants(schema, tables) == ["ward", "price", "code"]
    assert constants(schema, tables, ("ward",)) == ["price", "code"]


def test_one_row_that_differs_is_enough():
    schema, tables = visits()
    ward = tables["visits"]["ward"].to_pylist()
    ward[3] = next(other for other in "abc" if other != ward[3])
    place = tables["visits"].column_names.index("ward")
    assert constants(schema, {**tables, "visits": tables["visits"].set_column(place, "ward", pa.array(ward))}) == ["price", "code"]


def test_parents_of_hardly_more_than_one_row_prove_nothing():
    schema, tables = visits(doctors=60, rows=24)
    assert constants(schema, tables) == []


def test_the_first_row_of_each_parent_stands_for_the_others():
    assert first_of_parent(np.array([2, -1, 0, 2, -1, 0])).tolist() == [0, 1, 2, 0, 4, 2]
    assert first_of_parent(np.zeros(0, np.int64)).tolist() == []


def test_rows_of_one_parent_share_in_the_twin_what_they_share_in_the_source(tmp_path):
    schema, tables = visits()
    model = learn(schema, tables, CONFIG)
    workspace = Workspace(str(tmp_path))
    write_model(model, workspace)
    twins = [generate(model, {"doctors": 100}, batch_rows=10**6), generate(read_model(workspace), {"doctors": 100}, batch_rows=33)]
    assert all(twins[0][name].equals(twins[1][name]) for name in twins[0])
    found = twins[0]["visits"].to_pandas().groupby("doctor").nunique()
    assert (found[["ward", "price", "code"]] == 1).all(axis=None) and (found["minutes"] > 1).any()
    assert twins[0]["visits"]["price"].to_pandas().nunique() > 30
    assert model.rules() == [f"visits.{name}: the same in all rows of one row of doctors" for name in ("ward", "price", "code")]


def test_rows_without_a_parent_have_values_of_their_own():
    schema, tables = visits()
    doctor = pa.array([None if i % 4 == 0 else value for i, value in enumerate(tables["visits"]["doctor"].to_pylist())])
    tables["visits"] = tables["visits"].set_column(1, "doctor", doctor)
    twin = generate(learn(schema, tables, CONFIG))["visits"].to_pandas()
    assert (twin.dropna().groupby("doctor")["ward"].nunique() == 1).all()
    assert twin[twin["doctor"].isna()]["price"].nunique() > 20


def test_of_two_rules_for_one_column_what_rows_share_goes_first():
    """A seller is in one region and sells in its cities: the region cannot follow the city of each row."""
    rng = np.random.default_rng(6)
    seller, region = rng.integers(0, 40, 2_000), rng.integers(0, 4, 40)
    city = 10 * region[seller] + rng.integers(0, 10, 2_000)
    columns = [Column(name, Kind.CATEGORY, "string", False) for name in ("city", "region")]
    schema, tables = visits()
    visit = schema.tables["visits"]
    sales = Table("visits", (*visit.columns[:2], *columns), ("id",), foreign_keys=visit.foreign_keys)
    tables["visits"] = pa.table(
        {
            "id": np.arange(2_000),
            "doctor": seller,
            "city": pa.array([f"c{c}" for c in city]),
            "region": pa.array([f"r{r}" for r in region[seller]]),
        }
    )
    model = learn(Schema.of([schema.tables["doctors"], sales]), tables, CONFIG)
    assert model.rules() == ["visits.region: the same in all rows of one row of doctors"]
    assert (generate(model)["visits"].to_pandas().groupby("doctor")["region"].nunique() == 1).all()


def test_what_rows_share_settles_the_same_for_all_of_them():
    schema, tables = visits(doctors=150, rows=1_500)
    ward = tables["visits"]["ward"].to_pylist()
    building = Column("building", Kind.CATEGORY, "string", False)
    visit = schema.tables["visits"]
    wider = Table("visits", (*visit.columns, building), ("id",), foreign_keys=visit.foreign_keys)
    tables["visits"] = tables["visits"].append_column("building", pa.array(["north" if w == "a" else "south" for w in ward]))
    twin = generate(learn(Schema.of([schema.tables["doctors"], wider]), tables, CONFIG))["visits"].to_pandas()
    assert (twin.groupby("doctor")[["ward", "building"]].nunique() == 1).all(axis=None)
    assert ((twin["ward"] == "a") == (twin["building"] == "north")).all()


def test_of_two_keys_the_one_of_fewest_parents_explains_the_other():
    """All lines of an order come from one warehouse, in one city each: the city is the warehouse's."""
    rng = np.random.default_rng(17)
    order = np.sort(rng.integers(0, 200, 900))
    warehouse = rng.integers(0, 12, 200)[order]
    city = Column("city", Kind.CATEGORY, "string", False)
    ids, *keys = (Column(name, Kind.IDENTIFIER, "int64", False) for name in ("id", "order", "warehouse"))
    to = tuple(ForeignKey((name,), f"{name}s", ("id",)) for name in ("order", "warehouse"))
    lines = Table("visits", (ids, *keys, city), ("id",), foreign_keys=to)
    schema = Schema.of([Table("orders", (ids,), ("id",)), Table("warehouses", (ids,), ("id",)), lines])
    towns = pa.array([f"town {w % 5}" for w in warehouse])
    tables = {
        "orders": pa.table({"id": np.arange(200)}),
        "warehouses": pa.table({"id": np.arange(12)}),
        "visits": pa.table({"id": np.arange(900), "order": order, "warehouse": warehouse, "city": towns}),
    }
    model = learn(schema, tables, CONFIG)
    assert model.rules() == ["visits.city: the same in all rows of one row of warehouses"]
    assert (generate(model)["visits"].to_pandas().groupby("warehouse")["city"].nunique() == 1).all()
